"""Random turns, zooms, slants and gaps: transforms that need more than a shift of the pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .transforms import Transform

__all__ = ["RandomAffine", "RandomErasing", "RandomRotation"]

_FILLS = ("nearest", "constant", "reflect")


class RandomAffine(Transform):
    """Turn, move, zoom and slant each picture by chance, around its centre, bilinearly.

    With p a place relative to the centre (x to the right, y down), the new picture at
    R(angle) S(slant) zoom p + move is the old one at p; places between pixels are interpolated.
    All four are drawn uniformly for each picture: angle from -degrees..degrees (positive turns
    counter-clockwise, as in PIL), slant from -shear..shear degrees, zoom from `scale`, and moves
    up to the fractions `translate` (across, down) of the sides.

    `fill` says what comes in at the edge, as in `RandomShift`: the edge pixel ("nearest"), `cval`
    ("constant") or the mirrored picture ("reflect"). Floats keep their dtype; integers are
    rounded and keep theirs. Raises ValueError for a negative range or a zoom that is not positive.
    """

    random = True

    def __init__(
        self,
        degrees: float = 0.0,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: str = "constant",
        cval: float = 0.0,
    ) -> None:
        self.degrees, self.translate, self.scale = degrees, translate, scale
        self.shear, self.fill, self.cval = shear, fill, cval
        if degrees < 0 or not 0 <= shear < 90 or min(translate) < 0 or max(translate) >= 1:
            raise self._error(f"degrees {degrees}, shear {shear} and translate {translate}: "
                              "expected 0 or more, 0 to below 90, and fractions below 1")
        if not 0 < scale[0] <= scale[1]:
            raise self._error(f"scale must be (least, greatest), both positive, not {scale}")
        if fill not in _FILLS:
            raise self._error(f"fill must be one of {', '.join(_FILLS)}, not {fill!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        n, (height, width) = len(batch), batch.shape[2:]
        angle = np.radians(rng.uniform(-self.degrees, self.degrees, n))
        slant = np.tan(np.radians(rng.uniform(-self.shear, self.shear, n)))
        zoom = rng.uniform(*self.scale, n)
        reach = np.array([self.translate[0] * width, self.translate[1] * height])
        moves = rng.uniform(-reach, reach, (n, 2))  # across, down
        # Rows of the matrix give x and y; y points down, so +angle is counter-clockwise.
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        slanted = np.array([[np.ones(n), slant], [np.zeros(n), np.ones(n)]])
        matrices = np.einsum("ijn,jkn,n->nik", turn, slanted, zoom)  # (N, 2, 2)
        return warp(batch, matrices, moves, self.fill, self.cval)


class RandomRotation(RandomAffine):
    """Turn each picture around its centre by a random angle from -degrees..degrees.

    `fill` and `cval`: see `RandomAffine`, of which this is a special case.
    """

    def __init__(self, degrees: float, fill: str = "constant", cval: float = 0.0) -> None:
        super().__init__(degrees, fill=fill, cval=cval)


class RandomErasing(Transform):
    """Put a random rectangle of `value` on each picture, with probability `p`.

    Its share of the picture is drawn from `area`, its height over its width log-uniformly from
    `ratio`; a side that would be longer than the picture is cut to it. All channels are erased
    alike. Raises ValueError for ranges that are empty or not positive.

    Source: Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020; their defaults.
    """

    random = True

    def __init__(
        self,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        value: float = 0.0,
    ) -> None:
        self.p, self.area, self.ratio, self.value = p, area, ratio, value
        if not 0 <= p <= 1:
            raise self._error(f"p must be in [0, 1], not {p}")
        if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise self._error(f"area {area} and ratio {ratio} must be (least, greatest), positive, "
                              "and an area at most 1")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        n, (height, width) = len(batch), batch.shape[2:]
        chosen = rng.random(n) < self.p
        pixels = rng.uniform(*self.area, n) * height * width
        ratio = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n))
        tall = np.rint(np.sqrt(pixels * ratio)).clip(1, height)
        wide = np.rint(np.sqrt(pixels / ratio)).clip(1, width)
        top = np.floor(rng.random(n) * (height - tall + 1))
        left = np.floor(rng.random(n) * (width - wide + 1))
        y, x = np.arange(height), np.arange(width)
        rows = (y >= top[:, None]) & (y < (top + tall)[:, None])  # (N, H)
        columns = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (N, W)
        gaps = rows[:, None, :, None] & columns[:, None, None, :] & chosen[:, None, None, None]
        return np.where(gaps, np.asarray(self.value, batch.dtype), batch)


def warp(
    batch: np.ndarray, matrices: np.ndarray, moves: np.ndarray, fill: str, cval: float
) -> np.ndarray:
    """Pictures (N, C, H, W), each under its own affine map around its centre.

    The new picture n at matrices[n] p + moves[n] is the old one at p, bilinearly; p = (x, y) is
    relative to the centre. `matrices` is (N, 2, 2), `moves` (N, 2) in pixels.
    """
    height, width = batch.shape[2:]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    places = np.stack([x.ravel(), y.ravel()], axis=1) - centre  # (H*W, 2)
    back = np.linalg.inv(matrices)  # (N, 2, 2)
    sources = (places - moves[:, None]) @ back.transpose(0, 2, 1) + centre  # (N, H*W, 2)
    floats = batch if batch.dtype.kind in "fV" else batch.astype(np.float32)
    corner = np.floor(sources).astype(np.int64)
    part = (sources - corner).astype(floats.dtype)
    made = np.zeros((*floats.shape[:2], height * width), floats.dtype)
    for down in (0, 1):
        for right in (0, 1):
            columns, inside_x = _within(corner[..., 0] + right, width, fill)
            rows, inside_y = _within(corner[..., 1] + down, height, fill)
            flat = (rows * width + columns)[:, None]  # (N, 1, H*W)
            pixels = np.take_along_axis(floats.reshape(*floats.shape[:2], -1), flat, axis=2)
            if fill == "constant":
                pixels = np.where((inside_x & inside_y)[:, None], pixels, floats.dtype.type(cval))
            weight = ((part[..., 0] if right else 1 - part[..., 0])
                      * (part[..., 1] if down else 1 - part[..., 1]))  # (N, H*W)
            made += pixels * weight[:, None]
    made = made.reshape(floats.shape)
    return made if batch.dtype.kind in "fV" else np.rint(made).astype(batch.dtype)


def _within(index: np.ndarray, side: int, fill: str) -> tuple[np.ndarray, np.ndarray]:
    """The index of the pixel that stands at a place, and whether the place is in the picture."""
    inside = (index >= 0) & (index < side)
    if fill == "reflect":  # d c b a | a b c d | d c b a
        index = index % (2 * side)
        return np.minimum(index, 2 * side - 1 - index), inside
    return index.clip(0, side - 1), inside
