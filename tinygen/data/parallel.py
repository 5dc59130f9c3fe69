"""Sentences and their translations, and batches of them."""

from __future__ import annotations

import difflib
import gzip
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .loader import DataLoader
from .sources import DataError, MissingDataError, fetch

__all__ = ["PAIRS", "SentencePairs", "load_pairs", "multi30k", "pair_loader", "tatoeba"]

PAIRS = ("tatoeba", "multi30k-de", "multi30k-fr")

SPLITS = ("train", "val", "test")
_MULTI30K = dict(zip(SPLITS, ("train", "val", "test_2016_flickr"), strict=True))
_HELD_OUT = {"test": 1000, "val": 500}     # English sentences of Tatoeba


class SentencePairs(NamedTuple):
    """Sentences, a translation of each, and whom to credit for each pair where that is asked."""

    source: list[str]
    target: list[str]
    credits: list[str] = []

    def grouped(self) -> tuple[list[str], list[list[str]]]:
        """Each source once, in order, with all its translations: what BLEU compares with."""
        found: dict[str, list[str]] = {}
        for source, target in zip(self.source, self.target, strict=True):
            found.setdefault(source, []).append(target)
        return list(found), list(found.values())


def multi30k(language: str = "de", split: str = "train", download: bool = False) -> SentencePairs:
    """English descriptions of photographs with German ("de") or French ("fr") translations.

    29,000 pairs to train on, 1,014 in "val"; "test" is test_2016_flickr, 1,000. Source:
    D. Elliott et al., "Multi30K: Multilingual English-German Image Descriptions", 2016; for
    non-commercial research and education.
    """
    if language not in ("de", "fr"):
        raise ValueError(f"[multi30k] language must be 'de' or 'fr', got {language!r}")
    names = [f"multi30k/{_MULTI30K[_split(split, 'multi30k')]}.{end}.gz"
             for end in ("en", language)]
    texts = [gzip.decompress(fetch(name, download).read_bytes()).decode("utf-8")
             .strip("\n").split("\n") for name in names]
    if len(texts[0]) != len(texts[1]):
        raise DataError(f"[multi30k] {names[0]} has {len(texts[0])} lines, {names[1]} "
                        f"{len(texts[1])}; they must go together")
    return SentencePairs(*([line.strip() for line in lines] for lines in texts))


def tatoeba(split: str = "train", seed: int = 0, download: bool = False) -> SentencePairs:
    """English sentences with Chinese translations, of which some have several.

    `seed` picks 1,000 English sentences for "test" and 500 for "val", with all their translations
    and all that differ from them in case or punctuation only; about 27,500 pairs are left for
    "train". Credits name the authors. Source: tatoeba.org by way of manythings.org; CC BY 2.0 FR.
    """
    rows = _rows(fetch("tatoeba-cmn-eng/cmn.txt", download), 3)
    keys = [" ".join(re.findall(r"[\w']+", row[0].lower())) for row in rows]
    alike = np.array(list(dict.fromkeys(keys)))
    order = alike[np.random.default_rng(seed).permutation(len(alike))].tolist()
    bounds = {"test": (0, _HELD_OUT["test"]), "train": (sum(_HELD_OUT.values()), None),
              "val": (_HELD_OUT["test"], sum(_HELD_OUT.values()))}
    kept = set(order[slice(*bounds[_split(split, "tatoeba")])])
    chosen = [row for row, key in zip(rows, keys, strict=True) if key in kept]
    return SentencePairs(*(list(column) for column in zip(*chosen)))


def load_pairs(name_or_file: str | os.PathLike[str], split: str = "train",
               download: bool = False) -> SentencePairs:
    """Pairs by name (one of `PAIRS`), or those of a file: a tab between source and target.

    Of a file, UTF-8 with a pair a line (further columns are left out), every tenth sentence with
    all its translations is "val", the one after it "test".
    """
    name = os.fspath(name_or_file)
    key = name.lower().replace("_", "-")
    if key == "tatoeba":
        return tatoeba(split, download=download)
    if key in PAIRS:
        return multi30k(key.removeprefix("multi30k-"), split, download)
    if not Path(name).expanduser().is_file():
        close = difflib.get_close_matches(key, PAIRS, n=1)
        raise MissingDataError(
            f"[load_pairs] {name!r} is neither a set of pairs nor a file"
            + (f"; did you mean {close[0]!r}?" if close else "")
            + f" Sets: {', '.join(PAIRS)}; or give the path of a text file with tabs.")
    rows = _rows(Path(name).expanduser(), 2)
    order = {source: i % 10 for i, source in enumerate(dict.fromkeys(row[0] for row in rows))}
    wanted = {"val": {0}, "test": {1}, "train": set(range(2, 10))}[_split(split, "load_pairs")]
    chosen = [row for row in rows if order[row[0]] in wanted]
    if not chosen:
        raise DataError(f"[load_pairs] {name} has {len(order)} sentences, too few for "
                        f"{split!r}; twenty are enough")
    return SentencePairs([row[0] for row in chosen], [row[1] for row in chosen])


def pair_loader(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]],
                batch_size: int, *, pool: int = 200, shuffle: bool = True,
                seed: int = 0) -> DataLoader:
    """Batches (source (N, S), target (N, T)) of token numbers, padded with 0.

    A batch has pairs of nearly one length: `pool` batches at a time are sorted by the length of
    the target, and where that is equal by that of the source.

    >>> for source, target in pair_loader([[4, 5], [6]], [[2, 7, 3], [2, 3]], 2, shuffle=False):
    ...     print(source.tolist(), target.tolist())
    [[6, 0], [4, 5]] [[2, 3, 0], [2, 7, 3]]
    """
    from ..text import BucketSampler, PadCollate

    if len(sources) != len(targets):
        raise ValueError(f"[pair_loader] {len(sources)} sources and {len(targets)} targets; each "
                         "source needs one target")
    pad = PadCollate()

    def collate(picked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        source, _, target, _ = pad(picked)
        return source, target
    longest = 1 + max(map(len, sources), default=0)
    lengths = [len(t) * longest + len(s) for s, t in zip(sources, targets, strict=True)]
    return DataLoader(list(zip(sources, targets, strict=True)), collate_fn=collate, seed=seed,
                      batch_sampler=BucketSampler(lengths, batch_size, pool=pool, shuffle=shuffle,
                                                  seed=seed))


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The first columns of a file with tabs, without empty lines."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"[load_pairs] {path} is not UTF-8 text: {error}") from None
    rows = [line.strip("\r").split("\t")[:columns] for line in lines if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < columns or not all(part.strip() for part in row):
            raise DataError(f"[load_pairs] {path}: pair {number} has no {columns} columns with "
                            f"tabs between them: {chr(9).join(row)[:60]!r}")
    return rows


def _split(split: str, name: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"[{name}] split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split
