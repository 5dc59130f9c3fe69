"""Single pictures of any size, and patches cut from a few of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .catalog import KNOWN_FILES
from .dataset import Dataset
from .images import import_pillow
from .sources import DataError, fetch

__all__ = ["PicturePatches", "UnpairedPatches", "draw_pictures", "load_picture", "luminance"]


def load_picture(name: str | os.PathLike[str], height: int, width: int) -> np.ndarray:
    """One picture as float32 (3, height, width) in [0, 1].

    The largest window of that shape is cut from its middle and scaled. `name` is a known picture,
    such as "content/astronaut.png" (see `KNOWN_FILES`, below `pictures/`), or the path of a file.
    Needs Pillow; raises MissingDataError for a known picture that is not there and DataError for
    a file that cannot be read.
    """
    if min(height, width) < 1:
        raise ValueError(f"[load_picture] a picture of {height}x{width} has no pixels")
    known = f"pictures/{os.fspath(name)}"
    path = fetch(known) if known in KNOWN_FILES else Path(name).expanduser()
    pillow = import_pillow()
    from PIL import ImageOps

    try:
        with pillow.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except OSError as error:
        raise DataError(f"[load_picture] cannot read {path}: {error}; known pictures: "
                        f"{', '.join(k[9:] for k in KNOWN_FILES if k[:9] == 'pictures/')}"
                        ) from error
    scale = min(picture.height / height, picture.width / width)
    tall, wide = height * scale, width * scale
    top, left = (picture.height - tall) / 2, (picture.width - wide) / 2
    window = picture.resize((width, height), pillow.Resampling.LANCZOS,
                            box=(left, top, left + wide, top + tall))
    return np.asarray(window, np.float32).transpose(2, 0, 1) / np.float32(255)


def draw_pictures(height: int, width: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Made-up pictures: three "photos" of discs under a soft sky, and a "painting" of wavy stripes.

    Each is float32 (3, height, width) in [0, 1].
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]                             # (H, W) each
    photos = []
    for _ in range(3):
        top, bottom = rng.uniform(0.3, 1, (2, 3, 1, 1))
        photo = top + (bottom - top) * y                                         # (3, H, W)
        for _ in range(5):
            row, column, radius = rng.uniform((0.1, 0.1, 0.1), (0.9, 0.9, 0.3))
            photo[:, np.hypot(y - row, x - column) < radius] = rng.uniform(0, 1, (3, 1))
        photos.append(photo.astype(np.float32))
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * (8 * x + 0.5 * np.sin(6 * np.pi * y)))
    dark, light = np.array([0.1, 0.1, 0.5]), np.array([0.9, 0.8, 0.2])
    painting = dark[:, None, None] + (light - dark)[:, None, None] * stripes
    return photos, painting.astype(np.float32)


class PicturePatches(Dataset):
    """Square patches at random places of a few pictures, mirrored half of the time.

    A sample is `(patch, label)`: float32 (3, size, size) in [0, 1] and the cell that the middle of
    the patch lies in, of `cells` (rows, columns) that each picture is divided into. The place is
    drawn anew each time, so that `length` only says how many samples an epoch has.

    Args:
        pictures: float arrays (3, H, W) in [0, 1], of any sizes.
        size: the side of a patch.
        length: how many samples there are.
        cells: rows and columns of cells in a picture; (1, 1) labels patches by their picture.
        jitter: how far contrast and brightness of each colour may be off, as a fraction; 0 leaves
            all as it is.

    Raises ValueError for pictures that are no such arrays or smaller than a patch.

    >>> patches = PicturePatches([np.zeros((3, 40, 60), np.float32)], size=16, length=100)
    >>> patches[0][0].shape, patches.num_classes
    ((3, 16, 16), 1)
    """

    def __init__(self, pictures: Sequence[np.ndarray], size: int, length: int,
                 cells: tuple[int, int] = (1, 1), jitter: float = 0.0) -> None:
        self.pictures = [np.asarray(p) for p in pictures]
        self.size, self.length, self.cells, self.jitter = size, length, cells, jitter
        for i, picture in enumerate(self.pictures):
            if picture.ndim != 3 or picture.shape[0] != 3 or picture.dtype.kind not in "fV":
                raise ValueError(f"[PicturePatches] pictures[{i}]: {picture.dtype} {picture.shape};"
                                 " expected floats (3, H, W) in [0, 1]: see load_picture")
            if min(picture.shape[1:]) < size:
                raise ValueError(f"[PicturePatches] pictures[{i}] is {picture.shape[1]}x"
                                 f"{picture.shape[2]}: a patch of {size}x{size} does not fit")
        if not self.pictures or min(size, length, *cells) < 1 or jitter < 0:
            raise ValueError(f"[PicturePatches] {len(self.pictures)} pictures, size {size}, length "
                             f"{length}, cells {cells}, jitter {jitter}; expected a picture or "
                             "more, positive integers, and a jitter of 0 or more")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, size, size)."""
        return 3, self.size, self.size

    @property
    def num_classes(self) -> int:
        """How many cells there are in all pictures."""
        return len(self.pictures) * self.cells[0] * self.cells[1]

    def __len__(self) -> int:
        return self.length

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None = None,
              ) -> tuple[np.ndarray, ...]:
        rng = rng or np.random.default_rng(0)
        n, size, (rows, columns) = len(indices), self.size, self.cells
        patches = np.empty((n, *self.image_shape), np.float32)
        labels = np.empty(n, np.int64)
        for i, which in enumerate(rng.integers(len(self.pictures), size=n)):
            _, height, width = self.pictures[which].shape
            top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
            patches[i] = self.pictures[which][:, top:top + size, left:left + size]
            row = (top + size // 2) * rows // height
            column = (left + size // 2) * columns // width
            labels[i] = (which * rows + row) * columns + column
        mirrored = rng.random(n) < 0.5
        patches[mirrored] = patches[mirrored][..., ::-1]
        return (self._jittered(patches, rng) if self.jitter else patches), labels

    def _jittered(self, patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, j = len(patches), self.jitter
        gain = rng.uniform(1 - j, 1 + j, (n, 3, 1, 1)).astype(np.float32)
        offset = rng.uniform(-j / 2, j / 2, (n, 3, 1, 1)).astype(np.float32)
        return ((patches - np.float32(0.5)) * gain + np.float32(0.5) + offset).clip(0, 1)


class UnpairedPatches(Dataset):
    """Two sets of patches side by side: sample i is `(first[i], second[i])`, the patches alone.

    Nothing makes the two of a sample belong together. Raises ValueError when the sets differ in
    length or in the size of their patches.
    """

    def __init__(self, first: PicturePatches, second: PicturePatches) -> None:
        if len(first) != len(second) or first.image_shape != second.image_shape:
            raise ValueError(f"[UnpairedPatches] {len(first)} patches {first.image_shape} and "
                             f"{len(second)} patches {second.image_shape}; expected equally many "
                             "of equal size")
        self.first, self.second = first, second

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, size, size)."""
        return self.first.image_shape

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None = None,
              ) -> tuple[np.ndarray, ...]:
        rng = rng or np.random.default_rng(0)
        return self.first.batch(indices, rng)[0], self.second.batch(indices, rng)[0]

    def __repr__(self) -> str:
        return f"UnpairedPatches({len(self)} pairs of {self.image_shape})"


def luminance(picture: Any) -> np.ndarray:
    """The brightness (..., H, W) of colours (..., 3, H, W): 0.299 R + 0.587 G + 0.114 B (BT.601).

    >>> round(luminance(np.ones((3, 1, 1))).item(), 12)
    1.0
    """
    x = np.asarray(picture.numpy() if hasattr(picture, "numpy") else picture)
    if x.ndim < 3 or x.shape[-3] != 3:
        raise ValueError(f"[luminance] picture: {x.shape}; expected (..., 3, H, W)")
    return np.tensordot(np.array([0.299, 0.587, 0.114], x.dtype), np.moveaxis(x, -3, 0), 1)
