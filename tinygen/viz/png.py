"""PNG bytes with or without Pillow, and files that are either old or new, never half-written."""

from __future__ import annotations

import io
import os
import secrets
import struct
import zlib
from pathlib import Path

import numpy as np


def encode_png(array: np.ndarray) -> bytes:
    """The PNG file, as bytes, of a uint8 picture (H, W), (H, W, 1) or (H, W, 3).

    Pillow encodes where it is installed (smaller files); `encode_png_stdlib` does elsewhere, and
    both decode to the same pixels.

    Raises TypeError for another dtype, ValueError for another shape.
    """
    array = checked(array)
    try:
        from PIL import Image
    except ImportError:
        return encode_png_stdlib(array)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_png_stdlib(array: np.ndarray) -> bytes:
    """What `encode_png` gives, from zlib alone: 8 bits per channel, no row filters.

    Source: W3C, Portable Network Graphics (Third Edition), sections 5 and 11.
    """
    array = checked(array)
    height, width = array.shape[:2]
    color_type = 0 if array.ndim == 2 else 2  # grey, RGB
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    rows = array.reshape(height, -1)
    filtered = np.zeros((height, 1 + rows.shape[1]), np.uint8)  # each row: filter type 0, pixels
    filtered[:, 1:] = rows
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def write_atomic(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to `path`, so that a reader and a crash see the old file or the new one.

    Folders on the way are made. Raises OSError where the file cannot be written; the old file is
    then untouched, and nothing else is left behind.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since os.replace is atomic only within a file system. Not tempfile: its
    # files are private (0600), and a picture should have the permissions of any other new file.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name on an empty file
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def checked(array: np.ndarray) -> np.ndarray:
    """The picture as a contiguous uint8 array (H, W) or (H, W, 3); raises for anything else."""
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise TypeError(
            f"a picture file is made from uint8 pixels, got {array.dtype} {array.shape}; "
            "image_grid maps float images to uint8"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise ValueError(
            "a picture file is made from an array (H, W), (H, W, 1) or (H, W, 3), got "
            f"{array.shape}; image_grid makes one picture of a batch"
        )
    return np.ascontiguousarray(array)
