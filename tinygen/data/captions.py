"""Pictures with captions: batches of both, and 500 photographs of Flickr8k."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import BatchTransform, Dataset, apply_to_first
from .images import decode_images, import_pillow
from .sources import DataError, fetch

__all__ = ["CaptionedImages", "Flickr8kMini"]


class CaptionedImages(Dataset):
    """Pictures, one or more captions for each, and which pictures the same words fit.

    After `tokenize` a sample is `(picture, tokens, group)`: float32 (C, H, W) in [0, 1], integers
    (L,) that begin with `bos`, end with `eos` and are padded, and the picture's group. A batch
    draws one caption of each picture; without a generator it is the first.

    Args:
        images: uint8 (N, C, H, W).
        captions: N lists of texts, none of them empty.
        groups: (N,) integers; captions of a picture are right for all pictures of its group
            (default: every picture is a group of its own).
        transform: `transform(batch, rng)`, applied to the float pictures.

    >>> data = CaptionedImages(np.zeros((2, 1, 4, 4), np.uint8), [["a cat", "one cat"], ["a dog"]])
    >>> data.owners.tolist(), data.right().astype(int).tolist()
    ([0, 0, 1], [[1, 1, 0], [0, 0, 1]])
    """

    def __init__(self, images: np.ndarray, captions: Sequence[Sequence[str]], groups: Any = None,
                 transform: BatchTransform | None = None):
        name = type(self).__name__
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"[{name}] images: {images.dtype} {images.shape}; expected uint8 "
                             "(N, C, H, W)")
        if len(captions) != len(images) or not all(
                len(texts) and not isinstance(texts, str) for texts in captions):
            raise ValueError(f"[{name}] captions: a list of {len(captions)}; expected "
                             f"{len(images)} lists, one for each picture, with a text or more each")
        self.images = images
        self.captions = [list(texts) for texts in captions]
        self.groups = np.arange(len(images)) if groups is None else np.asarray(groups, np.int64)
        if self.groups.shape != (len(images),):
            raise ValueError(f"[{name}] groups: {self.groups.shape}; expected ({len(images)},)")
        self.transform = transform
        counts = np.array([len(texts) for texts in self.captions], np.int64)
        self.owners = np.repeat(np.arange(len(images)), counts)      # (M,), of all texts in a row
        self._counts, self._starts = counts, np.cumsum(counts) - counts
        self._tokens: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        return self.images.shape[1:]

    @property
    def texts(self) -> list[str]:
        """All captions in a row, those of picture 0 first: (M,), as in `owners` and `tokens`."""
        return [text for texts in self.captions for text in texts]

    def pictures(self) -> np.ndarray:
        """All pictures as float32 (N, C, H, W) in [0, 1], without the transform."""
        return self.images / np.float32(255)

    def right(self) -> np.ndarray:
        """(N, M), true where caption j is right for picture i: it was given to one of its group."""
        return self.groups[:, None] == self.groups[self.owners]

    def tokenize(self, tokenizer: Any, longest: int | None = None) -> CaptionedImages:
        """Turn the captions into numbers, cut to `longest`, which batches need; returns itself.

        `tokenizer` is one of `tinygen.text` that has `bos` and `eos`, and 0 for padding.
        """
        if tokenizer.pad_id != 0:
            raise ValueError(f"[{type(self).__name__}] the tokenizer pads with {tokenizer.pad_id}; "
                             "0 is expected")
        rows = tokenizer.encode_batch(self.texts, bos=True, eos=True)
        length = max(map(len, rows)) if longest is None else longest
        self._tokens = np.zeros((len(rows), length), np.int64)
        for place, row in zip(self._tokens, rows, strict=True):
            place[:len(row)] = row[:length]
        return self

    @property
    def tokens(self) -> np.ndarray:
        """The numbers of all captions, (M, L), padded with 0."""
        if self._tokens is None:
            raise RuntimeError(f"[{type(self).__name__}] the captions are texts still: call "
                               "tokenize(tokenizer) first")
        return self._tokens

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray,
              rng: np.random.Generator | None = None) -> tuple[np.ndarray, ...]:
        indices = np.asarray(indices)
        chosen = 0 if rng is None else rng.integers(self._counts[indices])
        columns = (self.images[indices] / np.float32(255),
                   self.tokens[self._starts[indices] + chosen], self.groups[indices])
        return apply_to_first(self.transform, columns, rng)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.image_shape)
        return (f"{type(self).__name__}({len(self)} pictures of {shape}, {len(self.owners)} "
                "captions)")


class Flickr8kMini(CaptionedImages):
    """500 photographs with five captions each: every fifth is held out, 400 are left to train.

    Pictures are cut square and scaled to `size`; captions are in lower case, as they stand in the
    file otherwise. Needs Pillow. Licence: the photographs belong to their authors; non-commercial
    research and education only, no redistribution.

    Raises DataError when a file is missing, damaged or not what it should be. Source: M. Hodosh, P.
    Young and J. Hockenmaier, "Framing Image Description as a Ranking Task", JAIR 47, 2013; the
    first 500 pictures by name.
    """

    def __init__(self, train: bool = True, size: int = 64,
                 transform: BatchTransform | None = None):
        captions = _read_captions(fetch("flickr8k-mini/captions.txt"))
        archive = fetch("flickr8k-mini/images.zip")
        self.names = [name for i, name in enumerate(captions) if (i % 5 != 4) == train]
        super().__init__(_decode(archive, self.names, size),
                         [captions[name] for name in self.names], transform=transform)


def _read_captions(path: Path) -> dict[str, list[str]]:
    """File name -> its captions, in the order of the file."""
    found: dict[str, list[str]] = {}
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if header != ["image", "caption"]:
            raise DataError(f"[Flickr8kMini] {path}: the first line is {','.join(header)!r}; "
                            "image,caption is expected")
        for number, row in enumerate(reader, start=2):
            if len(row) != 2:
                raise DataError(f"[Flickr8kMini] {path}, line {number}: a name and a caption are "
                                f"expected, found {len(row)} fields")
            found.setdefault(row[0], []).append(row[1].lower().strip())
    return found


def _decode(archive: Path, names: list[str], size: int) -> np.ndarray:
    import zipfile

    import_pillow()  # say so before anything is read
    entries = [f"Images/{name}" for name in names]
    with zipfile.ZipFile(archive) as files:
        absent = sorted(set(entries) - set(files.namelist()))
        if absent:
            raise DataError(f"[Flickr8kMini] {archive} lacks {len(absent)} pictures, such as "
                            f"{absent[0]}")
        return decode_images(len(entries), lambda i: io.BytesIO(files.read(entries[i])),
                             lambda i: f"{entries[i]} in {archive}", size)
