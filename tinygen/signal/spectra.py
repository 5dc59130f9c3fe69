"""Sounds as spectra over time and back: short-time Fourier transform, Griffin-Lim, mel bands.

tinygen's tensors are real, so these are functions of NumPy arrays, outside of any graph: a model
learns pictures of sounds (`MelSpectrogram`), and what it draws becomes sound again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["MelSpectrogram", "griffin_lim", "istft", "mel_filters", "spectral_convergence", "stft"]


def stft(sound: Any, n_fft: int = 256, hop: int | None = None) -> np.ndarray:
    """X[f, t] = sum over n of w[n] x[t hop + n - n_fft / 2] exp(-2 pi i f n / n_fft).

    Frame t is centred on sample t hop; both ends are extended by reflection. w is the periodic
    Hann window.

    Args:
        sound: samples (..., n), with n above n_fft / 2.
        n_fft: the length of a frame, even.
        hop: samples between two frames (default: n_fft / 4).

    Returns:
        complex (..., n_fft / 2 + 1, 1 + n // hop), complex64 of float32 samples.

    >>> stft(np.zeros((2, 800)), n_fft=256, hop=80).shape
    (2, 129, 11)
    """
    sound = _samples("stft", sound)
    hop = _check_sizes("stft", n_fft, hop)
    half = n_fft // 2
    if sound.shape[-1] <= half:
        raise ValueError(f"[stft] sound: {sound.shape}; n_fft={n_fft} needs more than {half} "
                         "samples, for a reflection at both ends")
    wide = np.pad(sound, [(0, 0)] * (sound.ndim - 1) + [(half, half)], mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(wide, n_fft, axis=-1)[..., ::hop, :]
    spectra = np.fft.rfft(frames * _hann(n_fft, sound.dtype), axis=-1)          # (..., t, f)
    return np.swapaxes(spectra, -1, -2)


def istft(spectra: Any, n_fft: int = 256, hop: int | None = None,
          length: int | None = None) -> np.ndarray:
    """The sound whose `stft` is nearest to these spectra, (..., n_fft / 2 + 1, t) -> (..., n).

    x[n] = sum over t of w[n - t hop] y_t[n - t hop] / sum over t of w[n - t hop]^2, with y_t the
    inverse transform of frame t. It undoes `stft`; of spectra that belong to no sound it gives the
    least squares solution.

    Args:
        length: how many samples; the default (t - 1) hop is what certainly was there.

    Source: D. W. Griffin and J. S. Lim, "Signal Estimation from Modified Short-Time Fourier
    Transform", IEEE Trans. ASSP 32, 1984.
    """
    spectra = np.asarray(spectra)
    hop = _check_sizes("istft", n_fft, hop)
    if spectra.ndim < 2 or spectra.shape[-2] != n_fft // 2 + 1 or not spectra.shape[-1]:
        raise ValueError(f"[istft] spectra: {spectra.shape}; (..., {n_fft // 2 + 1}, frames) are "
                         f"expected for n_fft={n_fft}")
    frames = spectra.shape[-1]
    length = (frames - 1) * hop if length is None else length
    if not 0 <= length <= (frames - 1) * hop + n_fft // 2:
        raise ValueError(f"[istft] length: {length}; {frames} frames hold at most "
                         f"{(frames - 1) * hop + n_fft // 2} samples")
    y = np.fft.irfft(np.swapaxes(spectra, -1, -2), n_fft, axis=-1)              # (..., t, n_fft)
    window = _hann(n_fft, y.dtype)
    sound = np.zeros((*y.shape[:-2], (frames - 1) * hop + n_fft), y.dtype)
    weight = np.zeros(sound.shape[-1], y.dtype)
    for t in range(frames):
        here = slice(t * hop, t * hop + n_fft)
        sound[..., here] += y[..., t, :] * window
        weight[here] += window * window
    kept = slice(n_fft // 2, n_fft // 2 + length)
    return sound[..., kept] / np.maximum(weight[kept], 1e-8)


def griffin_lim(magnitude: Any, n_fft: int = 256, hop: int | None = None, *,
                iterations: int = 60, momentum: float = 0.99, length: int | None = None,
                seed: int = 0) -> np.ndarray:
    """A sound with the given magnitudes |X|, (..., n_fft / 2 + 1, t) -> (..., n).

    Spectra that overlap are redundant: only some phases belong to a sound. From random ones it
    goes back and forth, Y = stft(istft(|X| exp(i phase))), each time with the phases of
    Y + momentum (Y - the Y before). Momentum 0 is Griffin and Lim's own algorithm, in which
    `spectral_convergence` never rises.

    Sources: D. W. Griffin and J. S. Lim, IEEE Trans. ASSP 32, 1984; N. Perraudin, P. Balazs and
    P. L. Soendergaard, "A Fast Griffin-Lim Algorithm", WASPAA 2013 (momentum).
    """
    magnitude = np.asarray(magnitude)
    hop = _check_sizes("griffin_lim", n_fft, hop)
    if magnitude.dtype.kind not in "fV" or not (magnitude >= 0).all():
        raise ValueError(f"[griffin_lim] magnitude: {magnitude.dtype} {magnitude.shape}; real "
                         "numbers that are not negative are expected")
    if iterations < 0 or not 0 <= momentum:
        raise ValueError("[griffin_lim] iterations and momentum must not be negative, got "
                         f"{iterations} and {momentum}")
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, magnitude.shape)
    phase = np.exp(1j * angles).astype(np.result_type(magnitude.dtype, np.complex64))
    before = np.zeros_like(phase)
    for _ in range(iterations):
        after = stft(istft(magnitude * phase, n_fft, hop), n_fft, hop)
        phase = after + momentum * (after - before)
        phase /= np.maximum(np.abs(phase), 1e-12)
        before = after
    return istft(magnitude * phase, n_fft, hop, length)


def spectral_convergence(magnitude: Any, sound: Any, n_fft: int = 256,
                         hop: int | None = None) -> float:
    """How far a sound is from the magnitudes it should have: || |stft(x)| - S || / || S ||."""
    magnitude = np.asarray(magnitude)
    found = np.abs(stft(sound, n_fft, hop))
    if found.shape != magnitude.shape:
        raise ValueError(f"[spectral_convergence] magnitude: {magnitude.shape}; the sound's "
                         f"spectra are {found.shape}")
    return float(np.linalg.norm(found - magnitude) / np.linalg.norm(magnitude))


def mel_filters(bands: int, n_fft: int, rate: int, low: float = 0.0,
                high: float | None = None) -> np.ndarray:
    """Triangles that overlap by half and are equally wide in mel: (bands, n_fft / 2 + 1).

    mel(f) = 2595 log10(1 + f / 700) is how high a tone of f Hz sounds. Each row adds up to 1, so
    that a band is a weighted mean of magnitudes.

    Args:
        low, high: where the first band begins and the last one ends, in Hz (default: 0, rate / 2).

    Raises:
        ValueError: a band is so narrow that no frequency of the transform lies in it.

    Source of the scale: D. O'Shaughnessy, "Speech Communication: Human and Machine", 1987.
    """
    high = rate / 2 if high is None else high
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"[mel_filters] low={low}, high={high}; 0 <= low < high <= rate / 2 = "
                         f"{rate / 2:g} is expected")
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (low, high))
    mel = np.linspace(lowest, highest, bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)                                   # (bands + 2,) in Hz
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    f = np.arange(n_fft // 2 + 1) * rate / n_fft
    filters = np.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clip(0)
    empty = np.flatnonzero(filters.sum(axis=1) == 0)
    if len(empty):
        at = empty[0]
        raise ValueError(f"[mel_filters] band {at}, {edges[at]:.0f} to {edges[at + 2]:.0f} Hz, "
                         f"holds none of the frequencies, {rate / n_fft:.1f} Hz apart; take fewer "
                         "bands or a longer n_fft")
    return filters / filters.sum(axis=1, keepdims=True)


class MelSpectrogram:
    """Sounds (..., n) as pictures (..., bands, frames) in [0, 1], and back.

    Each value is the loudness of a band, 20 log10(mean magnitude), on a line from `floor` (0) to
    `top` (1) dB, where 0 dB is a sine of amplitude 1. Band 0 is the lowest.

    Args:
        rate: samples a second.
        bands, n_fft, hop: see `mel_filters` and `stft`.
        floor, top: the range in dB; what lies outside is clipped.

    >>> MelSpectrogram(8000, bands=32, n_fft=256, hop=80)(np.zeros((3, 800))).shape
    (3, 32, 11)
    """

    def __init__(self, rate: int, bands: int = 64, n_fft: int = 320, hop: int = 80,
                 floor: float = -85.0, top: float = -15.0):
        if not floor < top:
            raise ValueError(f"[MelSpectrogram] floor={floor} must lie below top={top}")
        self.rate, self.n_fft, self.hop = rate, n_fft, _check_sizes("MelSpectrogram", n_fft, hop)
        self.floor, self.top = floor, top
        self.filters = mel_filters(bands, n_fft, rate).astype(np.float32)    # (bands, f)

    def __call__(self, sounds: Any) -> np.ndarray:
        """The pictures of sounds, float32."""
        magnitude = np.abs(stft(sounds, self.n_fft, self.hop)) * (4 / self.n_fft)
        loudness = 20 * np.log10(np.maximum(self.filters @ magnitude, 1e-10))
        return ((loudness - self.floor) / (self.top - self.floor)).clip(0, 1).astype(np.float32)

    def magnitude(self, pictures: Any, iterations: int = 100) -> np.ndarray:
        """Magnitudes (..., n_fft / 2 + 1, frames) with these bands, not negative.

        The bands do not determine them. From even ones, S <- S (F' m) / (F' F S) lowers
        |F S - m|^2 each time, where F are the filters and m the bands.

        Source: D. D. Lee and H. S. Seung, "Algorithms for Non-negative Matrix Factorization",
        NeurIPS 2000.
        """
        pictures = np.asarray(pictures, np.float32)
        if pictures.ndim < 2 or pictures.shape[-2] != len(self.filters):
            raise ValueError(f"[MelSpectrogram] pictures: {pictures.shape}; (..., "
                             f"{len(self.filters)}, frames) are expected")
        bands = 10 ** ((self.floor + pictures * (self.top - self.floor)) / 20)
        bands[pictures <= 0] = 1e-10                     # clipped: as good as silent
        back = self.filters.T @ bands                                        # (..., f, frames)
        square = self.filters.T @ self.filters                               # (f, f)
        found = back.copy()
        for _ in range(iterations):
            found *= back / np.maximum(square @ found, 1e-12)
        return found * (self.n_fft / 4)

    def invert(self, pictures: Any, iterations: int = 60, seed: int = 0) -> np.ndarray:
        """Sounds (..., (frames - 1) hop) for pictures, with phases found by `griffin_lim`."""
        return griffin_lim(self.magnitude(pictures), self.n_fft, self.hop, iterations=iterations,
                           seed=seed)


def _hann(n: int, dtype: Any) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(dtype)


def _samples(name: str, sound: Any) -> np.ndarray:
    array = np.asarray(sound.numpy() if isinstance(sound, Tensor) else sound)
    if array.dtype.kind not in "fV" or array.ndim < 1:
        raise ValueError(f"[{name}] sound: {array.dtype} {array.shape}; floating point samples "
                         "(..., n) are expected: integers of 16 bits are divided by 32768")
    return array


def _check_sizes(name: str, n_fft: int, hop: int | None) -> int:
    hop = n_fft // 4 if hop is None else hop
    if n_fft < 4 or n_fft % 2 or not 0 < hop <= n_fft // 2:
        raise ValueError(f"[{name}] n_fft={n_fft}, hop={hop}; an even n_fft of at least 4 and a "
                         "hop from 1 to half of it are expected")
    return hop
