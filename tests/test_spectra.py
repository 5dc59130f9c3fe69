"""Spectra over time against SciPy and by their own laws; mel bands; errors."""

import numpy as np
import pytest
import scipy.signal

from tinygen.signal import (
    MelSpectrogram,
    griffin_lim,
    istft,
    mel_filters,
    spectral_convergence,
    stft,
)

RATE = 8000


def speechlike(seconds=0.4, seed=0):
    """A gliding harmonic sound that fades in and out, float64 (n,)."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (120 * t + 100 * t * t)
    sound = sum(np.sin(k * phase + k) / k for k in range(1, 12))
    noise = np.random.default_rng(seed).normal(size=len(t))
    return (0.2 * sound + 0.01 * noise) * np.sin(np.pi * t / seconds)


@pytest.mark.parametrize("n_fft, hop, n", [(256, 64, 3200), (320, 80, 5040), (64, 20, 1000)])
def test_transform_is_scipys(n_fft, hop, n):
    sound = np.random.default_rng(1).normal(size=(2, n))
    ours = stft(sound, n_fft, hop)
    _, _, theirs = scipy.signal.stft(sound, window="hann", nperseg=n_fft, noverlap=n_fft - hop,
                                     boundary="even", padded=False)
    np.testing.assert_allclose(ours, theirs * (n_fft / 2), rtol=1e-10, atol=1e-10)
    assert ours.shape == (2, n_fft // 2 + 1, 1 + n // hop)


@pytest.mark.parametrize("n_fft, hop, n", [(256, 64, 3201), (320, 80, 5040), (64, 20, 1000)])
def test_inverse_gives_the_sound_back(n_fft, hop, n):
    sound = np.random.default_rng(2).normal(size=(3, n))
    again = istft(stft(sound, n_fft, hop), n_fft, hop, length=n)
    np.testing.assert_allclose(again, sound, rtol=0, atol=1e-10)
    assert istft(stft(sound, n_fft, hop), n_fft, hop).shape == (3, n // hop * hop)


def test_inverse_of_changed_spectra_is_scipys():
    spectra = stft(speechlike(), 256, 64)
    spectra[40:] = 0
    _, theirs = scipy.signal.istft(spectra / 128, window="hann", nperseg=256, noverlap=192)
    ours = istft(spectra, 256, 64)
    np.testing.assert_allclose(ours, theirs[:len(ours)], atol=1e-10)


def test_float32_stays_float32():
    sound = speechlike().astype(np.float32)
    spectra = stft(sound)
    assert spectra.dtype == np.complex64 and istft(spectra).dtype == np.float32
    assert griffin_lim(np.abs(spectra), iterations=2).dtype == np.float32


def test_griffin_lim_never_gets_worse_and_momentum_gets_further():
    magnitude = np.abs(stft(speechlike(), 256, 64))
    plain = [spectral_convergence(magnitude, griffin_lim(
        magnitude, 256, 64, iterations=n, momentum=0), 256, 64) for n in (0, 1, 5, 20, 60)]
    assert all(b < a for a, b in zip(plain, plain[1:])), plain
    fast = griffin_lim(magnitude, 256, 64, iterations=60)
    assert spectral_convergence(magnitude, fast, 256, 64) < plain[-1]
    assert np.array_equal(fast, griffin_lim(magnitude, 256, 64, iterations=60)), "a seed decides"
    assert not np.array_equal(fast, griffin_lim(magnitude, 256, 64, iterations=60, seed=1))


def test_bands_add_up_to_one_and_are_equally_wide_in_mel():
    filters = mel_filters(20, 512, RATE)
    np.testing.assert_allclose(filters.sum(axis=1), 1)
    peaks = filters.argmax(axis=1) * RATE / 512
    mel = 2595 * np.log10(1 + peaks / 700)
    step = 2595 * np.log10(1 + 4000 / 700) / 21
    np.testing.assert_allclose(mel, step * np.arange(1, 21), atol=15)   # a bin is 16 Hz


def test_loudness_of_a_sine_is_its_amplitude_in_decibel():
    """A Hann frame spreads a sine over three bins: (1/2, 1, 1/2) of its amplitude."""
    mel = MelSpectrogram(RATE, bands=40, n_fft=320, hop=80, floor=-100, top=0)
    sine = np.sin(2 * np.pi * 1000 * np.arange(4000) / RATE)               # bin 40 of 25 Hz
    for amplitude in (1.0, 0.1):
        picture = mel(amplitude * sine)                                    # (bands, frames)
        band = picture[:, 10].argmax()
        expected = amplitude * (mel.filters[band, 39:42] @ [0.5, 1.0, 0.5])
        assert picture[band, 10] * 100 - 100 == pytest.approx(20 * np.log10(expected), abs=1e-3)
    assert mel(0 * sine).max() == 0


def test_there_and_back_shows_the_same_picture():
    mel = MelSpectrogram(RATE)
    picture = mel(speechlike(0.63).astype(np.float32))                     # (64, 64)
    assert picture.shape == (64, 64)
    sound = mel.invert(picture)
    assert sound.shape == (5040,)
    error = np.abs(mel(sound) - picture)[:, 2:-2]
    assert error.mean() < 0.02, "a fiftieth of 70 dB: 1.4 dB"


def test_magnitudes_have_the_bands_they_were_made_from():
    mel = MelSpectrogram(RATE, bands=32, n_fft=256, hop=64)
    picture = mel(speechlike())
    found = mel.magnitude(picture, iterations=300) / 64
    assert (found >= 0).all()
    bands = 10 ** ((mel.floor + picture * (mel.top - mel.floor)) / 20)
    loud = picture > 0.5
    np.testing.assert_allclose((mel.filters @ found)[loud], bands[loud], rtol=0.05)


@pytest.mark.parametrize("call, message", [
    (lambda: stft(np.zeros(100)), r"\[stft\] sound: \(100,\); n_fft=256 needs more than 128"),
    (lambda: stft(np.zeros(400, int)), r"\[stft\] sound: int64 \(400,\)"),
    (lambda: stft(np.zeros(400), 255), r"\[stft\] n_fft=255, hop=63; an even"),
    (lambda: stft(np.zeros(400), 256, 200), r"hop=200; .* a hop from 1 to half"),
    (lambda: istft(np.zeros((100, 4))), r"\[istft\] spectra: \(100, 4\); \(\.\.\., 129, frames\)"),
    (lambda: istft(np.zeros((129, 4)), length=999), r"4 frames hold at most 320 samples"),
    (lambda: griffin_lim(-np.ones((129, 4))), r"\[griffin_lim\] magnitude: .* not negative"),
    (lambda: griffin_lim(np.ones((129, 4)), iterations=-1), r"iterations and momentum"),
    (lambda: spectral_convergence(np.ones((129, 9)), np.zeros(400)), r"\(129, 9\); the sound's"),
    (lambda: mel_filters(64, 128, RATE), r"\[mel_filters\] band 0, 0 to \d+ Hz, holds none"),
    (lambda: mel_filters(4, 128, RATE, 3000, 5000), r"high=5000; .* rate / 2 = 4000"),
    (lambda: MelSpectrogram(RATE, floor=0, top=-3), r"floor=0 must lie below top=-3"),
    (lambda: MelSpectrogram(RATE).magnitude(np.zeros((32, 5))), r"\(\.\.\., 64, frames\)"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
