"""Texts: the collections that tinygen knows by name, files of one's own, and blocks of tokens."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .dataset import Dataset
from .sources import DataError, MissingDataError, fetch

__all__ = ["TEXTS", "LabelledTexts", "TextBlocks", "TitledTexts", "csl_titles", "film_texts",
           "load_text", "movie_reviews"]

TEXTS = {"tinyshakespeare": "tinyshakespeare/input.txt", "names": "names/names.txt"}


def load_text(name_or_file: str | os.PathLike[str], download: bool = False) -> str:
    """A text by name ("tinyshakespeare": plays, 1.1 million characters; "names"), or a file's.

    Files are read as UTF-8; `download` allows fetching a known one. A name wins over a file of
    that name. Raises DataError for an unknown name, and for a file that is damaged, empty or not
    UTF-8. Source of Tiny Shakespeare: A. Karpathy, char-rnn, 2015; the text is in the public
    domain.
    """
    name = os.fspath(name_or_file)
    key = name.lower().replace("_", "-")
    path = fetch(TEXTS[key], download) if key in TEXTS else Path(name).expanduser()
    if not path.is_file():
        close = difflib.get_close_matches(key, TEXTS, n=1)
        raise MissingDataError(
            f"[load_text] {name!r} is neither a text nor a file"
            + (f"; did you mean {close[0]!r}?" if close else "")
            + f" Texts: {', '.join(TEXTS)}; or give the path of a text file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"[load_text] {path} is not UTF-8 text: {error}") from None
    if not text:
        raise DataError(f"[load_text] {path} is empty")
    return text


class TextBlocks(Dataset):
    """Pieces of a long text for a language model: (tokens, targets), each (block,) integers.

    Sample i begins at token i * block, and each target is the token after its input. With `jitter`
    the loader's generator moves every sample on by 0 to block - 1 tokens, so that all positions
    come up, equally often, and an epoch still is as long as the text.

    Args:
        tokens: the token numbers of the text, (T,). block: how many a sample has.

    Raises:
        ValueError: the text is shorter than one block and the token after it.

    >>> TextBlocks(range(9), block=4)[1]
    (array([4, 5, 6, 7]), array([5, 6, 7, 8]))
    """

    def __init__(self, tokens: Sequence[int] | np.ndarray, block: int, jitter: bool = False):
        self.tokens = np.asarray(tokens)
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            raise ValueError(f"[TextBlocks] tokens: {self.tokens.dtype} {self.tokens.shape}; "
                             "integers (T,) are expected")
        if block < 1 or len(self.tokens) <= block:
            raise ValueError(f"[TextBlocks] {len(self.tokens)} tokens make no block of {block} and "
                             "the token after it; use a longer text or a smaller block")
        self.block, self.jitter = block, jitter

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.block

    def batch(self, indices: np.ndarray,
              rng: np.random.Generator | None = None) -> tuple[np.ndarray, ...]:
        starts = np.asarray(indices) * self.block
        if self.jitter and rng is not None:
            starts = starts + rng.integers(0, self.block, len(starts))
            starts = np.minimum(starts, len(self.tokens) - 1 - self.block)
        at = starts[:, None] + np.arange(self.block + 1)                   # (N, block + 1)
        piece = self.tokens[at].astype(np.int64)
        return piece[:, :-1], piece[:, 1:]

    def __repr__(self) -> str:
        return f"TextBlocks({len(self.tokens)} tokens, block={self.block}, jitter={self.jitter})"


class LabelledTexts(NamedTuple):
    """Texts, the number of each one's class, and what the classes are called."""

    texts: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


def movie_reviews(train: bool = True, seed: int = 0, download: bool = False) -> LabelledTexts:
    """10,662 sentences from film reviews, negative (0) or positive (1), half of them each.

    `seed` shuffles all sentences, of which every tenth is held out for `train=False`: 9,595 and
    1,067. They are in lower case with spaces between tokens. Source: B. Pang and L. Lee, "Seeing
    Stars", ACL 2005 (rt-polarity 1.0); no licence is stated, research use is customary.
    """
    texts: list[str] = []
    labels: list[int] = []
    for label, kind in enumerate(("neg", "pos")):
        path = fetch(f"rt-polarity/rt-polarity.{kind}", download)
        lines: Any = path.read_text(encoding="cp1252", errors="replace").strip("\n").split("\n")
        texts += [line.strip() for line in lines]
        labels += [label] * len(lines)
    order = np.random.default_rng(seed).permutation(len(texts))
    held_out = np.arange(len(order)) % 10 == 0
    kept = order[~held_out if train else held_out]
    return LabelledTexts([texts[i] for i in kept], np.array(labels)[kept], ("negative", "positive"))


def film_texts(download: bool = False) -> list[str]:
    """7,000 longer film reviews without their labels, in lower case: words to learn from.

    Source: A. Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011, a part of its
    50,000 reviews; no licence is stated, research use is customary.
    """
    import tarfile  # 10 ms that only this function should pay

    texts = []
    with tarfile.open(fetch("imdb/aclImdb_subset.tar.gz", download)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".txt") else None
            if stream is not None:
                text = stream.read().decode("utf-8").lower()
                texts.append(text.replace("<br />", " "))
    return texts


class TitledTexts(NamedTuple):
    """Texts and the title of each."""

    texts: list[str]
    titles: list[str]


def csl_titles(train: bool = True, download: bool = False) -> TitledTexts:
    """1,000 abstracts of Chinese scientific papers with their titles; 1,000 others for a test.

    The training part is what the source calls dev. Source: Y. Li et al., "CSL: A Large-scale
    Chinese Scientific Literature Dataset", COLING 2022 (its benchmark's title generation);
    Apache-2.0.
    """
    path = fetch(f"csl-title/ts_{'dev' if train else 'test'}.tsv", download)
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").strip("\n").split("\n")]
    bad = next((i for i, row in enumerate(rows, 1) if len(row) != 3), None)
    if bad is not None:
        raise DataError(f"[csl_titles] line {bad} of {path} has {len(rows[bad - 1])} columns; "
                        "3 are expected")
    return TitledTexts([text.strip() for _, text, _ in rows], [title.strip() for *_, title in rows])
