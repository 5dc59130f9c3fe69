"""Ratings of items by users: MovieLens, drawn ones, and how they are divided to measure a model."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset
from .sources import DataError, fetch

__all__ = ["MovieLens", "Ratings", "draw_ratings", "fold_in", "user_folds"]


class Ratings(Dataset):
    """Who rated what, and how: sample i is `((user, item), rating)`, as a factorisation learns it.

    Args:
        pairs: (N, 2) integers, the number of a user and of an item, both counted from 0.
        values: (N,) ratings.
        num_users, num_items: how many there are (default: the largest number and one).
        titles: a name for each item (default: none).
    """

    def __init__(self, pairs: Any, values: Any, num_users: int | None = None,
                 num_items: int | None = None, titles: Sequence[str] | None = None):
        self.pairs = np.asarray(pairs, np.int64)
        self.values = np.asarray(values, np.float32)
        if self.pairs.ndim != 2 or self.pairs.shape[1] != 2 or not len(self.pairs):
            raise ValueError(f"[Ratings] pairs: {self.pairs.shape}; (N, 2) numbers of users and "
                             "items are expected, N at least 1")
        if self.values.shape != self.pairs.shape[:1]:
            raise ValueError(f"[Ratings] values: {self.values.shape}; expected one rating for each "
                             f"of the {len(self.pairs)} pairs")
        self.num_users, self.num_items = (
            int(most) + 1 if given is None else int(given)
            for given, most in zip((num_users, num_items), self.pairs.max(axis=0)))
        if self.pairs.min() < 0 or (self.pairs >= (self.num_users, self.num_items)).any():
            raise ValueError(f"[Ratings] pairs: numbers must be in [0, {self.num_users}) for users "
                             f"and [0, {self.num_items}) for items")
        self.titles = list(titles) if titles is not None else None
        if self.titles is not None and len(self.titles) != self.num_items:
            raise ValueError(f"[Ratings] titles: {len(self.titles)} for {self.num_items} items")

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: np.ndarray,
              rng: np.random.Generator | None = None) -> tuple[np.ndarray, ...]:
        """Pairs (n, 2) and ratings (n,)."""
        return self.pairs[indices], self.values[indices]

    def split(self, fraction: float, seed: int = 0) -> tuple[Ratings, Ratings]:
        """Two sets of ratings, at random: what is left, and `fraction` of all, held out."""
        held = round(fraction * len(self))
        if not 0 < held < len(self):
            raise ValueError(f"[Ratings] fraction {fraction} of {len(self)} ratings leaves one "
                             "part empty")
        order = np.random.default_rng(seed).permutation(len(self))
        kept, out = np.sort(order[held:]), np.sort(order[:held])
        return self._part(kept), self._part(out)

    def _part(self, indices: np.ndarray) -> Ratings:
        return Ratings(self.pairs[indices], self.values[indices], self.num_users, self.num_items,
                       self.titles)

    def clicks(self, least: float = 4.0) -> np.ndarray:
        """(num_users, num_items) float32: 1 where a user rated an item with `least` or more."""
        rows = np.zeros((self.num_users, self.num_items), np.float32)
        liked = self.pairs[self.values >= least]
        rows[liked[:, 0], liked[:, 1]] = 1
        return rows

    def __repr__(self) -> str:
        return (f"{type(self).__name__}({len(self)} ratings of {self.num_items} items by "
                f"{self.num_users} users)")


class MovieLens(Ratings):
    """ml-latest-small: 100,836 ratings, 0.5 to 5 stars, of 9,724 films by 610 people.

    Users and films are numbered in the order of their numbers in the files; films that nobody rated
    are left out. `.titles` are the films' names. Licence: research and other non-commercial use;
    the README of the data set stays beside it.

    Raises DataError when a file is missing, damaged or not what it should be. Source: F. M. Harper
    and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """

    def __init__(self) -> None:
        rows = _read(fetch("ml-latest-small/ratings.csv"), ("userId", "movieId", "rating"))
        names = _read(fetch("ml-latest-small/movies.csv"), ("movieId", "title"))
        users, user = np.unique([int(row[0]) for row in rows], return_inverse=True)
        films, film = np.unique([int(row[1]) for row in rows], return_inverse=True)
        title = {int(number): text for number, text in names}
        super().__init__(np.stack([user, film], axis=1), [float(row[2]) for row in rows],
                         len(users), len(films), [title[int(f)] for f in films])


def _read(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """Columns of a CSV file with a header, row by row."""
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if not set(columns) <= set(header):
            raise DataError(f"[MovieLens] {path}: the columns {', '.join(columns)} are expected, "
                            f"and its first line is {','.join(header)!r}")
        places = [header.index(name) for name in columns]
        return [[row[p] for p in places] for row in reader]


def draw_ratings(num_users: int = 200, num_items: int = 120, groups: int = 4, each: int = 24,
                 noise: float = 0.4, seed: int = 0) -> Ratings:
    """Ratings with a structure to find: `groups` of users, each fond of its own group of items.

    Every user rates `each` items, three of four from the group's own; popular items more often.
    An item of the own group gets 4.2 stars on average and another one 2.8, shifted by what is
    particular about the user and the item, and by `noise`; all within 0.5 to 5.
    """
    if not 1 <= groups <= num_items or not 1 <= each <= num_items // 2:
        raise ValueError(f"[draw_ratings] {groups} groups and {each} ratings each do not fit "
                         f"{num_items} items; at most {num_items // 2} each are possible")
    rng = np.random.default_rng(seed)
    fond, kind = rng.integers(groups, size=num_users), rng.integers(groups, size=num_items)
    popular = 1 / np.arange(3, num_items + 3) ** 0.7
    generous, good = rng.normal(0, 0.3, num_users), rng.normal(0, 0.3, num_items)
    pairs, values = [], []
    for user in range(num_users):
        own = kind == fond[user]
        weight = popular * np.where(own, 3 * max((~own).sum(), 1) / max(own.sum(), 1), 1)
        items = rng.choice(num_items, each, replace=False, p=weight / weight.sum())
        stars = np.where(own[items], 4.2, 2.8) + generous[user] + good[items]
        pairs += [(user, item) for item in items]
        values.append(np.clip(stars + rng.normal(0, noise, each), 0.5, 5))
    return Ratings(pairs, np.concatenate(values), num_users, num_items)


def user_folds(num_users: int, folds: int = 5, seed: int = 0) -> list[np.ndarray]:
    """All users in `folds` groups of nearly one size, at random: each is held out once."""
    if not 2 <= folds <= num_users:
        raise ValueError(f"[user_folds] folds must be from 2 to {num_users}, got {folds}")
    return np.array_split(np.random.default_rng(seed).permutation(num_users), folds)


def fold_in(rows: Any, fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each user's items in two: those that a model is shown, and `fraction` to be predicted.

    `rows` is (N, items) of 0 and 1; both results have its shape. A user with fewer than two items
    cannot be divided and is left with nothing to predict.

    Source: D. Liang et al., WWW 2018, section 4.2.
    """
    shown = np.array(rows, np.float32)
    if shown.ndim != 2 or not 0 < fraction < 1:
        raise ValueError(f"[fold_in] rows: {shown.shape}, fraction {fraction}; (N, items) and a "
                         "number between 0 and 1 are expected")
    held = np.zeros_like(shown)
    rng = np.random.default_rng(seed)
    for i, row in enumerate(shown):
        items = np.flatnonzero(row)
        n = 0 if len(items) < 2 else min(max(1, round(fraction * len(items))), len(items) - 1)
        out = rng.choice(items, n, replace=False)
        held[i, out], shown[i, out] = 1, 0
    return shown, held
