"""Recordings: WAV files, and spoken digits."""

from __future__ import annotations

import io
import os
import re
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import ArrayDataset
from .sources import DataError, atomic_file, fetch

__all__ = ["SpokenDigits", "fit_length", "read_wav", "trim_silence", "write_wav"]

_ZIP = "fsdd/fsdd_recordings.zip"
_NAME = re.compile(r"recordings/(\d)_([a-z]+)_(\d+)\.wav")
_TEST = 5                # recordings 0 to 4 of each speaker and digit: the set's own split


def read_wav(source: str | os.PathLike[str] | bytes, rate: int | None = None) -> tuple[
        np.ndarray, int]:
    """Samples in [-1, 1), float32 (n,), and samples a second, of a mono WAV file of 16 bits.

    Args:
        source: a path, or the content of a file.
        rate: refuse files of another rate.

    Raises:
        DataError: it is no WAV file, cut off, empty, of another rate, stereo, or not of 16 bits.
    """
    name = "this file" if isinstance(source, bytes) else os.fspath(source)
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else name, "rb") as file:
            channels, width, found, frames = file.getparams()[:4]
            data = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise DataError(f"[read_wav] {name} is no WAV file, or cut off in its header: "
                        f"{str(error) or 'it ends too early'}") from None
    if channels != 1:
        raise DataError(f"[read_wav] {name} has {channels} channels; mono is expected")
    if width != 2:
        raise DataError(f"[read_wav] {name} has samples of {8 * width} bits; 16 are expected")
    if rate is not None and found != rate:
        raise DataError(f"[read_wav] {name} has {found} samples a second; {rate} are expected")
    if len(data) != 2 * frames or not frames:
        raise DataError(f"[read_wav] {name} is cut off: {len(data) // 2} samples, and its header "
                        f"says {frames}")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768, found


def write_wav(path: str | os.PathLike[str], sound: Any, rate: int, record: Any = None) -> Path:
    """Write samples (n,) in [-1, 1] as a mono WAV file of 16 bits, atomically; returns the path.

    What lies outside is clipped. `record`, a `tinygen.provenance.Provenance`, says in the file
    where the sound comes from.
    """
    array = np.asarray(sound.numpy() if hasattr(sound, "numpy") else sound)
    if array.ndim != 1 or array.dtype.kind not in "fV" or not np.isfinite(array).all():
        raise ValueError(f"[write_wav] sound: {array.dtype} {array.shape}; finite floating point "
                         "samples (n,) are expected")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(np.rint(array * 32768.0).clip(-32768, 32767).astype("<i2").tobytes())
    data = stream.getvalue()
    if record is not None:
        from ..provenance import embed  # here, because the engine alone does not need it
        data = embed(data, "wav", record)
    with atomic_file(Path(path)) as target:
        target.write(data)
    return Path(path)


def trim_silence(sound: np.ndarray, below: float = 35.0, frame: int = 80) -> np.ndarray:
    """The sound without its quiet ends: frames more than `below` dB under the loudest one.

    One frame is kept on either side.
    """
    count = len(sound) // frame
    if count < 3:
        return sound
    power = np.square(sound[:count * frame].reshape(count, frame), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-below / 10))
    if not len(loud):                                   # silence throughout
        return sound
    first, last = max(loud[0] - 1, 0), min(loud[-1] + 2, count)
    return sound[first * frame:last * frame]


def fit_length(sound: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples, with zeros behind where there are fewer."""
    return np.pad(sound[:length], (0, max(length - len(sound), 0)))


class SpokenDigits(ArrayDataset):
    """3000 recordings of the digits, 8000 samples a second: ten digits, six speakers, 50 times.

    A sample is `(sound, digit)`: float32 (length,), its silent ends cut off, its highest peak at
    `peak`, filled up with silence behind; and an int64. `.sounds` (N, length), `.labels` and
    `.speakers` (N,), indices into `.speaker_names`, hold all of them.

    Args:
        train: recordings 5 to 49 of each speaker and digit (2700), or 0 to 4 (300).
        length: samples of each; 5040, 0.63 s, hold 98% of them whole.
        peak: the largest magnitude of each.
        download: allows fetching the file, where it has an address.

    Raises:
        DataError: the file is missing or damaged.

    Source: Z. Jackson et al., "Free Spoken Digit Dataset", 2016 to 2020,
    github.com/Jakobovski/free-spoken-digit-dataset. CC BY-SA 4.0.
    """

    rate = 8000

    def __init__(self, train: bool = True, length: int = 5040, peak: float = 0.9,
                 download: bool = False) -> None:
        if length < 1:
            raise ValueError(f"[SpokenDigits] length must be at least 1, got {length}")
        path = fetch(_ZIP, download=download)
        sounds, labels, speakers = [], [], []
        with zipfile.ZipFile(path) as files:
            for digit, speaker, number, name in _names(files, path):
                if (number >= _TEST) == train:
                    sound = trim_silence(read_wav(files.read(name), self.rate)[0])
                    highest = max(float(np.abs(sound).max()), 1e-6)
                    sounds.append(fit_length(sound * np.float32(peak / highest), length))
                    labels.append(digit)
                    speakers.append(speaker)
        self.speaker_names = sorted(set(speakers))
        self.sounds = np.stack(sounds)
        self.labels = np.array(labels, np.int64)
        self.speakers = np.array([self.speaker_names.index(s) for s in speakers], np.int64)
        self.classes = [str(digit) for digit in range(10)]
        super().__init__(self.sounds, self.labels)


def _names(files: zipfile.ZipFile, path: Path) -> list[tuple[int, str, int, str]]:
    """Digit, speaker and number of each recording, and its name in the archive, in order."""
    found = []
    for name in files.namelist():
        match = _NAME.fullmatch(name)
        if match:
            found.append((int(match[1]), match[2], int(match[3]), name))
    if not found:
        raise DataError(f"[SpokenDigits] {path} holds no recordings/<digit>_<speaker>_<n>.wav")
    return sorted(found)
