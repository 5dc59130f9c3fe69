"""A folder of pictures as a dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .dataset import BatchTransform
from .images import ImageDataset, decode_images
from .sources import DataError, MissingDataError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class ImageFolder(ImageDataset):
    """The jpg, png, bmp and webp pictures in a folder and its subfolders, sorted by path.

    Each is turned as its EXIF data says, converted to RGB (`channels=3`) or grey (`channels=1`),
    cut to its central square and scaled to `size` by `size`; all are kept in memory. If the
    pictures lie in subfolders, the first-level subfolders are the classes, in alphabetical order;
    otherwise there are no labels. `.paths` are the files. Names that start with a dot are skipped.

    Needs Pillow. Raises DataError for a missing or empty folder, for a picture that cannot be read
    (naming it), and for loose pictures beside subfolders of pictures.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int = 64,
        channels: int = 3,
        transform: BatchTransform | None = None,
    ) -> None:
        _check_arguments(size, channels)
        self.root = Path(path).expanduser()
        self.paths = _find_pictures(self.root)
        classes, labels = _classes_of(self.root, self.paths)
        images = decode_images(
            len(self.paths), self.paths.__getitem__, lambda i: str(self.paths[i]), size, channels
        )
        super().__init__(images, labels, classes, transform)


def _check_arguments(size: int, channels: int) -> None:
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"[ImageFolder] size must be an int of at least 1, not {size!r}")
    if channels not in (1, 3):
        raise ValueError(f"[ImageFolder] channels must be 1 (grey) or 3 (RGB), not {channels!r}")


def _find_pictures(root: Path) -> list[Path]:
    if not root.exists():
        raise MissingDataError(f"[ImageFolder] the folder {root} does not exist")
    if not root.is_dir():
        raise DataError(f"[ImageFolder] {root} is a file; give the folder that holds the pictures")
    found, seen, others = [], set(), 0
    for folder, subfolders, files in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = [name for name in files if not name.startswith(".")]
        pictures = [name for name in visible if name.lower().endswith(_SUFFIXES)]
        others += len(visible) - len(pictures)
        found += [Path(folder, name) for name in pictures]
    if not found:
        raise DataError(
            f"[ImageFolder] {root} holds no pictures ({', '.join(_SUFFIXES)})"
            + (f"; it holds {others} other files" if others else "; it is empty")
        )
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _classes_of(root: Path, paths: list[Path]) -> tuple[list[str] | None, np.ndarray | None]:
    parts = [path.relative_to(root).parts for path in paths]
    loose = [path for path, names in zip(paths, parts, strict=True) if len(names) == 1]
    if len(loose) == len(paths):
        return None, None
    if loose:
        raise DataError(
            f"[ImageFolder] {root} holds both loose pictures (such as {loose[0].name}) and "
            "subfolders of pictures; put each picture into the subfolder of its class, or all of "
            "them into one folder"
        )
    classes = sorted({names[0] for names in parts})
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[names[0]] for names in parts], dtype=np.int64)


def _raise(error: OSError) -> None:
    raise DataError(f"[ImageFolder] cannot list {error.filename}: {error.strerror}") from error
