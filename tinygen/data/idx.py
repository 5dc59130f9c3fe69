"""The idx file format of MNIST: a type code, the lengths of the axes, then the numbers."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from .sources import DataError

# Type code: dtype as stored, big-endian.
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an idx file, gzipped or not, into an array of native byte order.

    Layout: two zero bytes, a type code, the number of axes, one big-endian uint32 per axis, then
    the elements in C order. Raises DataError, naming the file and what was expected, when the file
    is damaged or of another format. Format: http://yann.lecun.com/exdb/mnist/
    """
    path = Path(path)
    data = _read_bytes(path)
    if len(data) < 4:
        raise _error(path, f"it has {len(data)} bytes; the header alone takes 4")
    if data[:2] != b"\0\0" or data[2] not in _DTYPES:
        codes = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise _error(
            path,
            f"magic number 0x{data[:4].hex()}; expected 0x0000TTDD with type TT one of {codes}",
        )
    dtype, axes = np.dtype(_DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise _error(path, f"it has {len(data)} bytes; a header of {axes} axes takes {start}")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    if len(data) - start != expected:
        raise _error(
            path,
            f"{len(data) - start} bytes follow the header; shape {shape} of {dtype.name} "
            f"takes {expected}",
        )
    array = np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))  # a copy, so that it can be written to


def _read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise _error(path, f"the gzip stream ({len(data)} bytes) is damaged: {error}") from error


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"[read_idx] {path}: {problem}")
