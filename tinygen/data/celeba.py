"""CelebA: 10000 aligned photographs of faces with 40 attributes each."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from .catalog import KNOWN_FILES
from .dataset import BatchTransform
from .images import ImageDataset, decode_images, import_pillow
from .sources import DataError, atomic_file, cache_dir, fetch, sha256_of

_ZIP = "celeba/img_align_celeba_10k_89x109.zip"
_ATTRIBUTES = "celeba/list_attr_celeba.txt"
_COUNT, _TEST = 10000, 1000
_NARROW = 89  # the shorter side of a photograph, in pixels
_CACHE_VERSION = 1  # raise it when the decoding changes


class CelebA(ImageDataset):
    """The first 10000 aligned CelebA photographs (halved to 89x109), cut square and scaled.

    `crop` is the side of the central square that is kept, in pixels of the 89x109 source: 80
    frames the face, 89 keeps the full width. `train` picks the first 9000 (True), the last 1000
    (False) or all (None). `attribute`, such as "Smiling", makes that attribute the label.

    `.images` is uint8 (N, 3, size, size); `.attributes` is uint8 (N, 40), 1 where the attribute
    named in `.attribute_names` holds. Decoded pictures are kept in the cache folder. Needs Pillow
    the first time. Licence: non-commercial research only, no redistribution of the pictures.

    Raises DataError when a file is missing or damaged. Source: Liu, Luo, Wang and Tang, "Deep
    Learning Face Attributes in the Wild", ICCV 2015.
    """

    def __init__(
        self,
        size: int = 64,
        crop: int = 80,
        train: bool | None = None,
        attribute: str | None = None,
        transform: BatchTransform | None = None,
    ) -> None:
        for name, value, most in (("size", size, 1024), ("crop", crop, _NARROW)):
            if not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
                raise ValueError(f"[CelebA] {name} must be an int from 1 to {most}, not {value!r}")
        names, attribute_names, attributes = read_attributes(fetch(_ATTRIBUTES))
        part = _part(train)
        self.attribute_names = attribute_names
        self.attributes = attributes[part]
        labels, classes = self._labels(attribute)
        archive = fetch(_ZIP)
        key = f"celeba-{KNOWN_FILES[_ZIP].sha256[:16]}-crop{crop}-size{size}-v{_CACHE_VERSION}"
        images = cached_array(
            cache_dir() / "decoded" / f"{key}.npy",
            (_COUNT, 3, size, size),
            lambda: _decode(archive, names, size, crop),
        )
        super().__init__(images[part], labels, classes, transform)

    def _labels(self, attribute: str | None) -> tuple[np.ndarray | None, list[str] | None]:
        if attribute is None:
            return None, None
        if attribute not in self.attribute_names:
            known = ", ".join(self.attribute_names)
            raise ValueError(f"[CelebA] attribute {attribute!r} is not one of {known}")
        column = self.attributes[:, self.attribute_names.index(attribute)]
        return column, [f"not {attribute}", attribute]


def read_attributes(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """File names, attribute names and attributes, uint8 (N, A) of 0 and 1, from CelebA's list.

    The file has a count, a line of attribute names, then a file name and -1 or 1 for each
    attribute on every line. Raises DataError when it does not.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    attribute_names = lines[1].split() if len(lines) > 1 else []
    rows = [line.split() for line in lines[2:] if line.strip()]
    if not lines[0].strip().isdigit() or int(lines[0]) != len(rows):
        raise DataError(f"[CelebA] {path}: line 1 is {lines[0]!r} and {len(rows)} rows follow")
    for number, row in enumerate(rows, start=3):
        if len(row) != len(attribute_names) + 1 or not set(row[1:]) <= {"-1", "1"}:
            raise DataError(
                f"[CelebA] {path}, line {number}: expected a file name and "
                f"{len(attribute_names)} values of -1 or 1"
            )
    attributes = np.array([[value == "1" for value in row[1:]] for row in rows], dtype=np.uint8)
    return [row[0] for row in rows], attribute_names, attributes


def cached_array(path: Path, shape: tuple[int, ...], build) -> np.ndarray:
    """The uint8 array kept at `path`, or `build()`, which is then kept there.

    The file's SHA-256 lies beside it; a file that does not match is rebuilt, with a warning. A
    cache that cannot be written costs a warning and no more.
    """
    check = path.with_suffix(".sha256")
    if path.is_file() and check.is_file():
        if sha256_of(path) == check.read_text(encoding="ascii", errors="replace").strip():
            array = np.load(path)
            if array.shape == shape and array.dtype == np.uint8:
                return array
        warnings.warn(f"[data] the cache file {path} is damaged; rebuilding it", stacklevel=3)
    array = build()
    try:
        with atomic_file(path) as stream:
            np.save(stream, array)
        with atomic_file(check) as stream:
            stream.write(sha256_of(path).encode("ascii"))
    except OSError as error:
        warnings.warn(f"[data] cannot keep decoded pictures at {path}: {error}", stacklevel=3)
    return array


def _decode(archive: Path, names: list[str], size: int, crop: int) -> np.ndarray:
    import zipfile

    import_pillow()  # say so before anything is read
    entries = [f"img_align_celeba/{name}" for name in names]
    with zipfile.ZipFile(archive) as files:
        absent = sorted(set(entries) - set(files.namelist()))
        if absent:
            raise DataError(f"[CelebA] {archive} lacks {len(absent)} pictures, such as {absent[0]}")
        return decode_images(
            len(entries),
            lambda i: io.BytesIO(files.read(entries[i])),
            lambda i: f"{entries[i]} in {archive}",
            size,
            crop=crop,
        )


def _part(train: bool | None) -> slice:
    if train is None:
        return slice(None)
    return slice(None, _COUNT - _TEST) if train else slice(_COUNT - _TEST, None)
