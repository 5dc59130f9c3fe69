"""Batches of images as one picture that a person can look at."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.provenance import Provenance, embed
from tinygen.viz.png import checked, encode_png, write_atomic

LONGEST_SIDE = 1024  # pixels; small images are enlarged as far as fits
GAP_GRAY = 96  # between the images; tells black images from white ones and from each other
NAN_COLOR = (255, 0, 255)  # magenta: a model that has diverged should be seen, not look black


def image_grid(
    images: Any,
    rows: int | None = None,
    cols: int | None = None,
    pad: int = 2,
    scale: int | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """One picture (height, width, 3), uint8, of a batch of images, row by row from the top left.

    `images` is an array or a Tensor (N, H, W) or (N, C, H, W), C being 1 (grey) or 3 (RGB). Floats
    map from `value_range` to 0..255, and what lies outside is clipped; NaN becomes magenta; uint8
    is taken as it is. `rows` and `cols` default to a grid close to square. `scale` repeats each
    pixel so many times both ways; by default as often as keeps the picture within 1024 pixels, so
    that small images give one of 512 to 1024. `pad` is the gap, in pixels of the picture.

    Raises ValueError for other shapes and for a grid with too few places, TypeError for other
    dtypes.
    """
    array = _as_images(images)  # (N, H, W, 1 or 3)
    count, height, width, _ = array.shape
    rows, cols = _layout(count, rows, cols)
    if pad < 0:
        raise ValueError(f"image_grid: pad must be 0 or more, got {pad}")
    if scale is None:
        scale = min(
            (LONGEST_SIDE - pad * (rows + 1)) // (rows * height),
            (LONGEST_SIDE - pad * (cols + 1)) // (cols * width),
        )
        scale = max(scale, 1)
    elif scale < 1:
        raise ValueError(f"image_grid: scale must be 1 or more, got {scale}")

    pixels = _to_rgb(array, value_range).repeat(scale, axis=1).repeat(scale, axis=2)
    step_y, step_x = height * scale + pad, width * scale + pad
    picture = np.full((rows * step_y + pad, cols * step_x + pad, 3), GAP_GRAY, np.uint8)
    for i, image in enumerate(pixels):
        y, x = pad + i // cols * step_y, pad + i % cols * step_x
        picture[y : y + height * scale, x : x + width * scale] = image
    return picture


def save_image(
    array: np.ndarray, path: str | os.PathLike[str], record: Provenance | None = None
) -> Path:
    """Write a uint8 picture (H, W) or (H, W, 3) as a PNG file, atomically; returns the path.

    `record` says in the file where it comes from: see `tinygen.provenance`. Missing folders are
    made. Raises ValueError for another suffix than .png or another shape, TypeError for another
    dtype, OSError where the file cannot be written (the old one then stays).
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"pictures are written as PNG: give a path that ends in .png, not {path}")
    data = encode_png(array)
    return write_atomic(path, data if record is None else embed(data, "png", record))


def save_jpeg(array: np.ndarray, path: str | os.PathLike[str], quality: int = 90) -> Path:
    """Write a uint8 picture (H, W) or (H, W, 3) as a JPEG file, atomically; returns the path.

    For photos and paintings, of which a PNG is five times as large. Needs Pillow. Raises
    ValueError for another suffix than .jpg and .jpeg, for another shape or a quality outside
    1..100, TypeError for another dtype.
    """
    if Path(path).suffix.lower() not in (".jpg", ".jpeg"):
        raise ValueError(f"save_jpeg: give a path that ends in .jpg, not {path}")
    if not 1 <= quality <= 100:
        raise ValueError(f"save_jpeg: quality must be 1 to 100, got {quality}")
    array = checked(array)
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError("save_jpeg needs Pillow: pip install 'tinygen[app]'") from error
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="JPEG", quality=quality)
    return write_atomic(path, buffer.getvalue())


def save_grid(
    images: Any, path: str | os.PathLike[str], record: Provenance | None = None, **options: Any
) -> Path:
    """`save_image(image_grid(images, **options), path, record)`: a batch as one PNG file."""
    return save_image(image_grid(images, **options), path, record)


def _as_images(images: Any) -> np.ndarray:
    """The batch as an array (N, H, W, C)."""
    array = np.asarray(images.numpy() if hasattr(images, "numpy") else images)
    if array.ndim not in (3, 4):
        hint = "; for a single image, add an axis: image[None]" if array.ndim == 2 else ""
        raise ValueError(
            f"image_grid: images must be (N, H, W) or (N, C, H, W), got {array.shape}{hint}"
        )
    if array.size == 0:
        raise ValueError(f"image_grid: nothing to draw in images of shape {array.shape}")
    if array.ndim == 3:
        return array[..., None]
    if array.shape[1] not in (1, 3):
        channels_last = array.shape[3] in (1, 3)
        hint = "; channels come first: images.transpose(0, 3, 1, 2)" if channels_last else ""
        raise ValueError(
            f"image_grid: images (N, C, H, W) need C = 1 or 3, got {array.shape}{hint}"
        )
    return array.transpose(0, 2, 3, 1)


def _layout(count: int, rows: int | None, cols: int | None) -> tuple[int, int]:
    for name, value in (("rows", rows), ("cols", cols)):
        if value is not None and value < 1:
            raise ValueError(f"image_grid: {name} must be 1 or more, got {value}")
    if cols is None:
        cols = math.ceil(math.sqrt(count)) if rows is None else math.ceil(count / rows)
    if rows is None:
        rows = math.ceil(count / cols)
    if rows * cols < count:
        raise ValueError(f"image_grid: {count} images do not fit {rows} rows of {cols}")
    return rows, cols


def _to_rgb(array: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """(N, H, W, C) in any accepted dtype -> (N, H, W, 3) uint8."""
    if array.dtype == np.uint8:
        return np.broadcast_to(array, (*array.shape[:3], 3))
    if array.dtype.kind in "iucOSU":  # bfloat16, from ml_dtypes, is of kind V
        raise TypeError(
            f"image_grid: images must be float, bool or uint8, got {array.dtype}; "
            "for 0..255 use .astype(np.uint8)"
        )
    low, high = value_range
    if not low < high:
        raise ValueError(f"image_grid: value_range must be (low, high), got {value_range}")
    array = array.astype(np.float64)
    missing = np.isnan(array).any(axis=-1)
    array = np.where(np.isnan(array), low, array.clip(low, high))
    unit = (array - low) / (high - low)
    rgb = np.broadcast_to(np.rint(unit * 255).astype(np.uint8), (*array.shape[:3], 3)).copy()
    rgb[missing] = NAN_COLOR
    return rgb
