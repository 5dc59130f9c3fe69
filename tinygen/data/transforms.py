"""Transforms of picture batches, each a callable `(batch, rng) -> batch` on (N, C, H, W) arrays.

The random ones draw from the `numpy.random.Generator` they are given and from nothing else;
`DataLoader` hands one in that is seeded for each batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Our names, which are SciPy's and Keras's, and numpy.pad's.
_FILLS: dict[str, Any] = {"nearest": "edge", "constant": "constant", "reflect": "symmetric"}


class Transform:
    """Base of the transforms here: checks the batch, then calls `apply(batch, rng)`."""

    random = False

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        batch = np.asarray(batch)
        if batch.ndim != 4:
            raise self._error(f"batch has shape {batch.shape}; expected (N, C, H, W)")
        if self.random and not isinstance(rng, np.random.Generator):
            raise self._error(
                f"rng must be a numpy.random.Generator, not {type(rng).__name__}; "
                "pass numpy.random.default_rng(seed)"
            )
        return self.apply(batch, rng)

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        """The transform itself, on a batch known to be (N, C, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} has to define apply(batch, rng)")

    def __repr__(self) -> str:
        arguments = (f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"[{type(self).__name__}] {problem}")


class Compose(Transform):
    """Apply transforms one after the other; any callable `(batch, rng)` will do."""

    def __init__(self, transforms: Sequence[Callable[..., np.ndarray]]) -> None:
        self.transforms = list(transforms)
        for position, transform in enumerate(self.transforms):
            if not callable(transform):
                raise self._error(f"transforms[{position}] is {transform!r}, which is not callable")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class ToFloat(Transform):
    """Pictures as float32 in [0, 1]: uint8 is divided by 255, bool and floats are only cast.

    Raises ValueError for other integers, whose full scale is unknown.
    """

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        if batch.dtype == np.uint8:
            return batch / np.float32(255)
        if batch.dtype.kind in "bfV":
            return batch.astype(np.float32, copy=False)
        raise self._error(f"batch is {batch.dtype}; expected uint8, bool or float (or use Rescale)")


class Rescale(Transform):
    """`x * scale + offset`; integers become float32 and floats keep their dtype."""

    def __init__(self, scale: float = 1 / 255, offset: float = 0.0) -> None:
        self.scale, self.offset = float(scale), float(offset)

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        return _floats(batch) * self.scale + self.offset


class Normalize(Transform):
    """`(x - mean) / std` per channel; integers become float32 and floats keep their dtype.

    `mean` and `std` are a number for all channels or one per channel, in the units of the batch.
    Raises ValueError when a std is not positive or the channels do not match.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = _as_list(mean), _as_list(std)
        if not all(value > 0 for value in self.std):
            raise self._error(f"std must be positive, not {self.std}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        batch = _floats(batch)
        return (batch - self._per_channel("mean", batch)) / self._per_channel("std", batch)

    def _per_channel(self, name: str, batch: np.ndarray) -> np.ndarray:
        values = getattr(self, name)
        if len(values) not in (1, batch.shape[1]):
            raise self._error(
                f"{name} has {len(values)} values and batch {batch.shape} has {batch.shape[1]} "
                f"channels; give 1 or {batch.shape[1]}"
            )
        return np.array(values, dtype=batch.dtype).reshape(1, -1, 1, 1)


class RandomHorizontalFlip(Transform):
    """Mirror each picture left to right with probability `p`."""

    random = True

    def __init__(self, p: float = 0.5) -> None:
        self.p = float(p)
        if not 0 <= self.p <= 1:
            raise self._error(f"p must be in [0, 1], not {p}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        chosen = rng.random(len(batch)) < self.p
        flipped = batch.copy()
        flipped[chosen] = batch[chosen][..., ::-1]
        return flipped


class RandomShift(Transform):
    """Move each picture by a random distance, as Keras's ImageDataGenerator shifts do.

    `width` and `height` bound the distance: below 1 a fraction of the side, from 1 on pixels. An
    int draws whole pixels from -n..n; a float draws any real distance and interpolates linearly.
    `fill` says what comes in at the edge: the edge pixel repeated ("nearest"), `cval` ("constant")
    or the mirrored picture with the edge pixel doubled ("reflect"). Raises ValueError when the
    shift is negative or reaches the whole side.
    """

    random = True

    def __init__(
        self, width: float = 0.1, height: float = 0.1, fill: str = "nearest", cval: float = 0
    ) -> None:
        self.width, self.height, self.fill, self.cval = width, height, fill, cval
        for name, value in (("width", width), ("height", height)):
            if not 0 <= value < math.inf:
                raise self._error(f"{name} must be a fraction below 1 or pixels, not {value}")
        if fill not in _FILLS:
            raise self._error(f"fill must be one of {', '.join(_FILLS)}, not {fill!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        height, width = batch.shape[2:]
        up = -self._distances("height", len(batch), height, rng)
        left = -self._distances("width", len(batch), width, rng)
        rows, columns = np.floor(up).astype(np.int64), np.floor(left).astype(np.int64)
        # One pixel more than the picture, for the right-hand neighbours of the interpolation.
        window = self._windows(batch, rows, columns, (height + 1, width + 1))
        if rows.dtype == up.dtype and columns.dtype == left.dtype:
            return np.ascontiguousarray(window[:, :, :-1, :-1])
        window = _floats(window)
        down, right = (_each(f.astype(window.dtype)) for f in (up - rows, left - columns))
        window = window[:, :, :-1] * (1 - down) + window[:, :, 1:] * down
        moved = window[..., :-1] * (1 - right) + window[..., 1:] * right
        return moved if batch.dtype.kind in "fV" else np.rint(moved).astype(batch.dtype)

    def _windows(
        self, batch: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """(N, C, *size): picture n from (rows[n], columns[n]) on, which may lie outside it."""
        top, left = (int(np.abs(start).max(initial=0)) + 1 for start in (rows, columns))
        pad = ((0, 0), (0, 0), (top, top), (left, left))
        value = {"constant_values": self.cval} if self.fill == "constant" else {}
        padded = np.pad(batch, pad, mode=_FILLS[self.fill], **value)
        return _cut(padded, rows + top, columns + left, size)

    def _distances(self, name: str, count: int, side: int, rng: Any) -> np.ndarray:
        limit = getattr(self, name)
        pixels = limit * side if limit < 1 else limit
        if pixels >= side:
            raise self._error(f"{name}={limit} moves the whole picture out of its side of {side}")
        if isinstance(limit, (int, np.integer)):
            return rng.integers(-limit, limit, size=count, endpoint=True)
        return rng.uniform(-pixels, pixels, size=count)


class RandomCrop(Transform):
    """Cut a random window of `size` (one int, or height and width) from each picture.

    `padding` zeros are put around the picture first. Raises ValueError when the window is larger
    than the padded picture.
    """

    random = True

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size, self.padding = _pair(self, size), padding
        if not isinstance(padding, (int, np.integer)) or padding < 0:
            raise self._error(f"padding must be an int >= 0, not {padding!r}")

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        p, (height, width) = self.padding, self.size
        padded = np.pad(batch, ((0, 0), (0, 0), (p, p), (p, p))) if p else batch
        _check_window(self, self.size, padded.shape)
        tops = rng.integers(0, padded.shape[2] - height, size=len(batch), endpoint=True)
        lefts = rng.integers(0, padded.shape[3] - width, size=len(batch), endpoint=True)
        return _cut(padded, tops, lefts, self.size)


class CenterCrop(Transform):
    """Cut the window of `size` (one int, or height and width) from the middle of each picture.

    Where the margin is odd, the larger half is at the bottom and on the right. Raises ValueError
    when the window is larger than the picture.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = _pair(self, size)

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        _check_window(self, self.size, batch.shape)
        height, width = self.size
        top, left = (batch.shape[2] - height) // 2, (batch.shape[3] - width) // 2
        return batch[:, :, top : top + height, left : left + width]


class Resize(Transform):
    """Scale each picture to `size` (one int for a square, or height and width), bilinearly.

    Each output pixel is a weighted mean of input pixels under a triangle two output pixels wide
    (two input pixels when enlarging), so shrinking does not alias; this is what Pillow's BILINEAR
    does. Integers are rounded and keep their dtype, floats keep theirs.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = _pair(self, size)

    def apply(self, batch: np.ndarray, rng: Any) -> np.ndarray:
        if batch.shape[2] == 0 or batch.shape[3] == 0:
            raise self._error(f"batch has shape {batch.shape}; a picture needs at least one pixel")
        if batch.shape[2:] == self.size:
            return batch
        floats = _floats(batch)
        rows = _resize_weights(batch.shape[2], self.size[0]).astype(floats.dtype)
        columns = _resize_weights(batch.shape[3], self.size[1]).astype(floats.dtype)
        scaled = rows @ (floats @ columns.T)  # (h, H) @ (N, C, H, W) @ (W, w)
        return scaled if batch.dtype.kind in "fV" else np.rint(scaled).astype(batch.dtype)


def _resize_weights(old: int, new: int) -> np.ndarray:
    """(new, old): row i holds the weights of the input pixels in output pixel i; rows sum to 1."""
    scale = old / new
    reach = max(scale, 1.0)  # half the width of the triangle, in input pixels
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def _cut(
    batch: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(N, C, *size): from picture n the window whose corner is (tops[n], lefts[n])."""
    windows = np.lib.stride_tricks.sliding_window_view(batch, size, axis=(2, 3))
    return windows[np.arange(len(batch)), :, tops, lefts]


def _each(values: np.ndarray) -> np.ndarray:
    return values[:, None, None, None]  # (N, 1, 1, 1)


def _floats(batch: np.ndarray) -> np.ndarray:
    return batch if batch.dtype.kind in "fV" else batch.astype(np.float32)


def _as_list(value: float | Sequence[float]) -> list[float]:
    return [float(v) for v in np.atleast_1d(np.asarray(value, dtype=np.float64))]


def _pair(owner: Transform, size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in pair):
        raise owner._error(f"size must be a positive int or (height, width), not {size!r}")
    return int(pair[0]), int(pair[1])


def _check_window(owner: Transform, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    if size[0] > shape[2] or size[1] > shape[3]:
        raise owner._error(
            f"size {size} is larger than the pictures of batch {shape}; at most {shape[2:]} fits"
        )
