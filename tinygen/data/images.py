"""Picture datasets, and the decoding of picture files with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dataset import BatchTransform, Dataset, apply_to_first
from .sources import DataError
from .transforms import Resize

_RESIZE_CHUNK = 4096  # pictures resized at once: bounds the float32 copy


class ImageDataset(Dataset):
    """Pictures in memory, with labels or without.

    `images` is uint8 (N, C, H, W); `labels` integers (N,) or None; `classes` the names of the
    labels. A sample is `(picture, label)`, or the picture alone without labels: float32 (C, H, W)
    in [0, 1], and an int64. `transform(batch, rng)` is applied to the float pictures. Raises
    ValueError when the arrays do not fit each other.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        classes: Sequence[str] | None = None,
        transform: BatchTransform | None = None,
    ) -> None:
        name = type(self).__name__
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(
                f"[{name}] images: {images.dtype} {images.shape}; expected uint8 (N, C, H, W)"
            )
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(
                f"[{name}] labels {labels.shape} do not fit images {images.shape}; "
                f"expected ({len(images)},)"
            )
        self.images = images
        self.labels = None if labels is None else labels.astype(np.int64)
        self.classes = None if classes is None else list(classes)
        self.transform = transform

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture, before any transform."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels have, None without labels."""
        if self.classes is not None:
            return len(self.classes)
        return None if self.labels is None else int(self.labels.max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, ...]:
        pictures = self.images[indices] / np.float32(255)
        columns = (pictures,) if self.labels is None else (pictures, self.labels[indices])
        return apply_to_first(self.transform, columns, rng)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.image_shape)
        classes = f", {self.num_classes} classes" if self.num_classes else ""
        return f"{type(self).__name__}({len(self)} pictures of {shape}{classes})"


def resize_images(images: np.ndarray, size: int | None) -> np.ndarray:
    """uint8 pictures (N, C, H, W) scaled to `size` by `size`; None leaves them as they are."""
    if size is None:
        return images
    resize = Resize(size)
    chunks = [images[i : i + _RESIZE_CHUNK] for i in range(0, len(images), _RESIZE_CHUNK)]
    return np.concatenate([resize(chunk) for chunk in chunks]) if chunks else images


def decode_images(
    count: int,
    opener: Callable[[int], Any],
    name_of: Callable[[int], str],
    size: int,
    channels: int = 3,
    crop: int | None = None,
) -> np.ndarray:
    """Decode pictures into one uint8 array (count, channels, size, size).

    `opener(i)` gives what Pillow can open (a path or a stream) and `name_of(i)` what to call it in
    an error. Each picture is turned as its EXIF data says, cut to its central square (of side
    `crop`, or as large as fits) and scaled. Needs Pillow; raises DataError naming the first
    picture that cannot be read.
    """
    pillow = import_pillow()
    images = np.empty((count, channels, size, size), dtype=np.uint8)
    # One after the other: two threads were no faster (measured, Pillow 13 on 2 cores).
    for i in range(count):
        try:
            with pillow.open(opener(i)) as picture:
                images[i] = _to_square(picture, size, channels, crop)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error
            raise DataError(
                f"[data] cannot read the picture {name_of(i)}: {type(error).__name__}: {error}"
            ) from error
    return images


def import_pillow() -> Any:
    """The module PIL.Image; raises ImportError that says how to install it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "[data] reading pictures needs Pillow: pip install 'tinygen[app]' (or pillow)"
        ) from error
    return Image


def _to_square(picture: Any, size: int, channels: int, crop: int | None) -> np.ndarray:
    from PIL import Image, ImageOps

    picture = _plain(ImageOps.exif_transpose(picture), "RGB" if channels == 3 else "L")
    side = crop or min(picture.size)
    if side > min(picture.size):
        raise ValueError(f"a crop of {side} does not fit into {picture.width}x{picture.height}")
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    # crop, not resize(box=...), which lets pixels from outside the box in at its edges
    square = picture.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(square)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _plain(picture: Any, mode: str) -> Any:
    """The picture in RGB or L; transparency on white, 16-bit grey scaled to 8 bits."""
    if picture.mode.startswith("I;16"):
        from PIL import Image

        # convert() would clip at 255 and leave a white picture.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        from PIL import Image

        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert(mode)
