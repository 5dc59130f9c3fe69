"""Scenes of one to three things, composed of labelled pictures, and captions that say all of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .captions import CaptionedImages
from .images import ImageDataset
from .transforms import Resize
from .vision import Digits, FashionMNIST

__all__ = ["DIGIT_NOUNS", "FASHION_NOUNS", "Scene", "Scenes", "Thing", "digit_scenes",
           "fashion_scenes", "read_scene"]

FASHION_NOUNS = ("top", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt",
                 "sneaker", "bag", "boot")
DIGIT_NOUNS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# The side of a thing in cells, and the mean of its lit pixels: from, to.
_SIZES = {"large": (0.86, 1.0), "small": (0.5, 0.6)}
_SHADES = {"light": (0.65, 0.8), "dark": (0.2, 0.3)}

# Where the things of a layout may stand on two by two cells: (top, left, height, width) of each.
_PLACES = {
    "alone": ((0, 0, 2, 2),),
    "row": ((0.45, 0, 1.1, 1), (0.45, 1, 1.1, 1)),
    "column": ((0, 0.45, 1, 1.1), (1, 0.45, 1, 1.1)),
    "tip": ((0, 0.45, 1, 1.1), (1, 0, 1, 1), (1, 1, 1, 1)),
    "base": ((0, 0, 1, 1), (0, 1, 1, 1), (1, 0.45, 1, 1.1)),
}
# How a layout is worded: what stands between the things, and which thing is named first, second...
_WORDINGS = {
    "alone": (((), (0,)),),
    "row": ((("to the left of",), (0, 1)), (("to the right of",), (1, 0))),
    "column": ((("above",), (0, 1)), (("below",), (1, 0))),
    "tip": ((("above", "and"), (0, 1, 2)), (("and", "below"), (1, 2, 0))),
    "base": ((("and", "above"), (0, 1, 2)), (("below", "and"), (2, 0, 1))),
}
_READINGS = {joints: (layout, order) for layout, wordings in _WORDINGS.items()
             for joints, order in wordings}
_THING = re.compile(rf"a ({'|'.join(_SIZES)}) ({'|'.join(_SHADES)}) "
                    rf"({'|'.join((*FASHION_NOUNS, *DIGIT_NOUNS))})\b")


class Thing(NamedTuple):
    """One thing of a scene: "large" or "small", "light" or "dark", and what it is."""

    size: str
    shade: str
    noun: str

    def __str__(self) -> str:
        return f"a {self.size} {self.shade} {self.noun}"


class Scene(NamedTuple):
    """What a scene shows: its layout, and its things from the top left, row by row.

    The layouts: "alone"; two in a "row" or a "column"; three with one above two ("tip") or two
    above one ("base").

    >>> scene = Scene("column", (Thing("large", "dark", "coat"), Thing("small", "light", "bag")))
    >>> scene.captions()
    ['a large dark coat above a small light bag', 'a small light bag below a large dark coat']
    """

    layout: str
    things: tuple[Thing, ...]

    def captions(self) -> list[str]:
        """Every way of saying it: each names all that was chosen, so each means this scene only."""
        return [" ".join(part for i, joint in zip(order, (*joints, ""), strict=True)
                         for part in (str(self.things[i]), joint) if part)
                for joints, order in _WORDINGS[self.layout]]


def read_scene(caption: str) -> Scene | None:
    """The scene that a caption describes, None for a text that the grammar does not have.

    >>> read_scene("a small light bag below a large dark coat").things[0].noun
    'coat'
    """
    things = [Thing(*found) for found in _THING.findall(caption)]
    joints = tuple(part.strip() for part in _THING.sub("\n", caption).split("\n"))
    if not things or joints[0] or joints[-1] or joints[1:-1] not in _READINGS:
        return None
    layout, order = _READINGS[joints[1:-1]]
    return Scene(layout, tuple(things[order.index(i)] for i in range(len(order))))


class Scenes(CaptionedImages):
    """`n` scenes drawn from labelled grey pictures, each with all its captions.

    A tenth show one thing, the others two or, with `most` = 3, 40% two and half three. Size, grey
    level and place of a thing vary within what its words allow. Scenes that the same captions fit
    are one group. `.scenes` says what each shows.

    Args:
        things: pictures (N, 1, H, W) on black, with labels.
        nouns: a word for each label, from `FASHION_NOUNS` or `DIGIT_NOUNS`.
        cell: half the side of a scene, in pixels; a large thing fills it.
    """

    def __init__(self, things: ImageDataset, nouns: Sequence[str], n: int, seed: object = 0,
                 cell: int = 28, most: int = 3):
        if things.labels is None or things.image_shape[0] != 1:
            raise ValueError(f"[Scenes] {things!r}: grey pictures with labels are expected")
        if n < 1 or cell < 4 or most not in (1, 2, 3):
            raise ValueError(f"[Scenes] n={n}, cell={cell}, most={most}; n of at least 1, cells of "
                             "at least 4 pixels and at most 1, 2 or 3 things are expected")
        rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        self.scenes = [_draw(nouns, most, rng) for _ in range(n)]
        numbers: dict[Scene, int] = {}
        groups = [numbers.setdefault(scene, len(numbers)) for scene in self.scenes]
        super().__init__(_compose(things, nouns, self.scenes, cell, rng),
                         [scene.captions() for scene in self.scenes], groups)


def fashion_scenes(n: int, train: bool = True, seed: int = 0, most: int = 3) -> Scenes:
    """Scenes of 56x56 pixels from Fashion-MNIST: its training or its test pictures."""
    return Scenes(FashionMNIST(train), FASHION_NOUNS, n, (seed, int(train)), 28, most)


def digit_scenes(n: int, train: bool = True, seed: int = 0, most: int = 2) -> Scenes:
    """Scenes of 24x24 pixels from the bundled digits: a stand-in that needs no download."""
    return Scenes(Digits(train), DIGIT_NOUNS, n, (seed, int(train)), 12, most)


def _draw(nouns: Sequence[str], most: int, rng: np.random.Generator) -> Scene:
    count = min(most, int(np.searchsorted((0.1, 0.5), rng.random(), "right")) + 1)
    layouts = [name for name, places in _PLACES.items() if len(places) == count]
    things = tuple(Thing(("large", "small")[rng.integers(2)], ("light", "dark")[rng.integers(2)],
                         nouns[int(rng.integers(len(nouns)))]) for _ in range(count))
    return Scene(layouts[rng.integers(len(layouts))], things)


def _compose(data: ImageDataset, nouns: Sequence[str], scenes: Sequence[Scene], cell: int,
             rng: np.random.Generator) -> np.ndarray:
    """The scenes as uint8 (N, 1, 2 cell, 2 cell)."""
    canvas = np.zeros((len(scenes), 1, 2 * cell, 2 * cell), np.uint8)
    assert data.labels is not None
    of_noun = {noun: np.flatnonzero(data.labels == i) for i, noun in enumerate(nouns)}
    all_things = [(i, thing, place) for i, scene in enumerate(scenes)
                  for thing, place in zip(scene.things, _PLACES[scene.layout], strict=True)]
    picked = np.array([rng.choice(of_noun[thing.noun]) for _, thing, _ in all_things])
    sides = np.array([round(cell * rng.uniform(*_SIZES[thing.size])) for _, thing, _ in all_things])
    levels = np.array([rng.uniform(*_SHADES[thing.shade]) for _, thing, _ in all_things])
    for side in np.unique(sides):                                    # one scaling for each size
        which = np.flatnonzero(sides == side)
        drawn = _shaded(Resize(int(side))(data.images[picked[which]]), levels[which])
        for k, pixels in zip(which, drawn, strict=True):
            i, _, (top, left, height, width) = all_things[k]
            y = int(rng.integers(round(top * cell), round((top + height) * cell) - side + 1))
            x = int(rng.integers(round(left * cell), round((left + width) * cell) - side + 1))
            spot = canvas[i, 0, y:y + side, x:x + side]
            np.maximum(spot, pixels, out=spot)
    return canvas


def _shaded(pictures: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """uint8 pictures (n, 1, s, s) as (n, s, s) whose lit pixels have these means, in [0, 1]."""
    x = pictures[:, 0] / np.float32(255)
    lit = x > 0.1
    means = (x * lit).sum(axis=(1, 2)) / np.maximum(lit.sum(axis=(1, 2)), 1)
    scaled = x * (levels / np.maximum(means, 1e-3))[:, None, None]
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
