"""Sentences and their translations, and batches of them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .loader import DataLoader
from .sources import DataError, fetch

__all__ = ["SentencePairs", "multi30k", "pair_loader", "tatoeba"]

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
    rows = [line.split("\t") for line in
            fetch("tatoeba-cmn-eng/cmn.txt", download).read_text("utf-8").strip("\n").split("\n")]
    if any(len(row) != 3 for row in rows):
        raise DataError("[tatoeba] cmn.txt must have three columns: English, Chinese, attribution")
    keys = [" ".join(re.findall(r"[\w']+", row[0].lower())) for row in rows]
    alike = np.array(list(dict.fromkeys(keys)))
    order = alike[np.random.default_rng(seed).permutation(len(alike))].tolist()
    bounds = {"test": (0, _HELD_OUT["test"]), "train": (sum(_HELD_OUT.values()), None),
              "val": (_HELD_OUT["test"], sum(_HELD_OUT.values()))}
    kept = set(order[slice(*bounds[_split(split, "tatoeba")])])
    chosen = [row for row, key in zip(rows, keys, strict=True) if key in kept]
    return SentencePairs(*(list(column) for column in zip(*chosen)))


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


def _split(split: str, name: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"[{name}] split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split
