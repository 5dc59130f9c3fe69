"""How calls of primitives are drawn: shapes, axes, indices, and makers of values.

A `Case` is a row of the table in `tests/cases.py`. Its `sample` draws the structure of a call
(shapes, axes, static arguments) with hypothesis and returns *makers* of the inputs, functions of a
NumPy generator, so that one structure can be filled with several sets of values. Makers keep clear
of kinks, ties and poles by more than the step of a finite difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygen.ops.index import SLOT

Maker = Callable[[np.random.Generator], np.ndarray]


@dataclass
class Sample:
    """The structure of one call: makers of the inputs (None passes None) and static arguments."""

    makers: tuple[Maker | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    def values(self, seed: int) -> list[np.ndarray | None]:
        """The inputs, floats as float64."""
        rng = np.random.default_rng(seed)
        return [m if m is None else np.asarray(m(rng)) for m in self.makers]


@dataclass(frozen=True)
class Case:
    """A row: the primitive, how calls are drawn, the reference, and what is special about it."""

    name: str
    sample: Callable[[Any], Sample]
    reference: Callable[..., Any]
    inputs: tuple[int, ...] = (0,)   # inputs that receive gradients
    note: str = ""                   # tells rows of one primitive apart
    keeps_dtype: bool = True         # float32 in, float32 out (casts do not)
    half: float | None = 0.02        # tolerance of the float16 result; None: not checked
    single: float = 2e-5             # tolerance of the float32 result

    def __repr__(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name


# -- drawing shapes and axes -----------------------------------------------------------------------


@st.composite
def shapes(draw, min_dims=0, max_dims=4, empty=True, max_side=3):
    """A shape; about one in eight holds an axis of length 0, if allowed."""
    shape = draw(st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims))
    if empty and shape and draw(st.integers(0, 7)) == 7:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    return tuple(shape)


@st.composite
def broadcastable(draw, n, **options):
    """n shapes that broadcast: the full one with leading axes dropped and lengths set to 1."""
    full = draw(shapes(**options))
    result = []
    for _ in range(n):
        dropped = draw(st.integers(0, len(full)))
        rest = full[dropped:] if draw(st.booleans()) else full
        result.append(tuple(1 if draw(st.integers(0, 3)) == 0 else m for m in rest))
    return result


@st.composite
def axes_of(draw, ndim, several=True):
    """None, an axis, or (if `several`) a tuple of axes; negative ones too."""
    if ndim == 0:
        return draw(st.sampled_from([None, ()])) if several else None
    one = st.integers(-ndim, ndim - 1)
    many = st.lists(one, max_size=ndim, unique_by=lambda a: a % ndim).map(tuple)
    return draw(st.one_of(st.none(), one, many) if several else st.one_of(st.none(), one))


def one_axis(ndim):
    """One axis, which may count from the end."""
    return st.integers(-ndim, ndim - 1)


# -- makers of values ------------------------------------------------------------------------------


def between(shape, low=-2.0, high=2.0, avoid=(), gap=0.15) -> Maker:
    """Uniform values, pushed away from the points `avoid` by at least `gap`."""
    def make(rng):
        x = rng.uniform(low, high, shape)
        for point in avoid:
            d = x - point
            x = np.where(np.abs(d) < gap, point + np.copysign(gap + np.abs(d), d), x)
        return x
    return make


def distinct(shape, offset=0.0, gap=0.2) -> Maker:
    """Values in random order that differ by at least `gap`; with another offset, no ties either."""
    n = math.prod(shape)
    return lambda rng: (gap * (rng.permutation(n) - n // 2) + offset).reshape(shape)


def spread(shape) -> Maker:
    """Values with a variance that is not small along any axis with two or more elements."""
    return distinct(shape, 0.1, 0.4)


def whole(shape, low=-2, high=3, dtype=np.float64) -> Maker:
    """Small integers, so that many are equal."""
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def flags(shape) -> Maker:
    """Booleans."""
    return lambda rng: rng.integers(0, 2, shape).astype(bool)


def mask_of(shape, trues) -> Maker:
    """Booleans with a fixed number of true ones: what they select keeps its shape."""
    n = math.prod(shape)
    return lambda rng: (rng.permutation(n) < trues).reshape(shape)


def between_jumps(shape) -> Maker:
    """Values that are not close to a jump of floor, ceil, trunc or round."""
    def make(rng):
        fraction = rng.uniform(0.15, 0.35, shape) + 0.5 * rng.integers(0, 2, shape)
        return rng.integers(-3, 3, shape) + fraction
    return make


def halves(shape) -> Maker:
    """n + 1/2: no multiple of a small whole number."""
    return lambda rng: rng.integers(-4, 4, shape) + 0.5


def divisor(shape) -> Maker:
    """1, 2 or 3 of either sign."""
    return lambda rng: rng.integers(1, 4, shape) * rng.choice([-1.0, 1.0], shape)


def odd_tenths(shape) -> Maker:
    """Distinct values that equal none of `distinct(shape)`."""
    return distinct(shape, 0.1)


def strange(shape) -> Maker:
    """Numbers, infinities and NaN."""
    return lambda rng: rng.choice([0.0, 1.0, -2.0, np.nan, np.inf, -np.inf], shape)


def far_from_zero(shape) -> Maker:
    """Values to divide by."""
    return between(shape, avoid=(0,), gap=0.4)


# -- indexing --------------------------------------------------------------------------------------


def index_from(template, arrays):
    """A NumPy index: tuples in the template are slices, SLOT is the next array."""
    it = iter(arrays)
    return tuple(next(it) if t is SLOT else slice(*t) if isinstance(t, tuple) else t
                 for t in template)


@st.composite
def slices(draw, n):
    """(start, stop, step) of a slice of an axis of length n, past its ends too."""
    edge = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    return draw(edge), draw(edge), draw(st.sampled_from([None, 1, 2, -1, -2]))


def positions(n, shape) -> Maker:
    """Indices into an axis of length n, from either end."""
    return lambda rng: rng.integers(-n, n, shape)


@st.composite
def indices(draw, shape):
    """A template and makers of its arrays for a tensor of `shape`: every form that NumPy has."""
    template: list[Any] = []
    makers: list[Maker] = []
    common = draw(shapes(max_dims=2, max_side=3))
    axis, ndim = 0, len(shape)
    stop = draw(st.integers(0, ndim))
    while axis < stop:
        n = shape[axis]
        kinds = ["slice", "slice"] + (["int", "array", "array"] if n else []) + ["mask"]
        kind = draw(st.sampled_from(kinds))
        if kind == "mask" and any(t is SLOT for t in template):
            kind = "slice"   # a mask beside arrays would have to match their number
        if kind == "slice":
            template.append(draw(slices(n)))
        elif kind == "int":
            template.append(draw(st.integers(-n, n - 1)))
        elif kind == "array":
            template.append(SLOT)
            shorter = common[draw(st.integers(0, len(common))):]
            makers.append(positions(n, shorter))
        else:
            width = draw(st.integers(1, stop - axis))
            size = math.prod(shape[axis:axis + width])
            template.append(SLOT)
            makers.append(mask_of(shape[axis:axis + width], draw(st.integers(0, size))))
            template += [draw(slices(m)) for m in shape[axis + width:stop]]
            axis = stop
        axis += 1
        if draw(st.integers(0, 5)) == 0:
            template.append(None)
    if stop < ndim or draw(st.booleans()):
        where = draw(st.integers(0, len(template))) if stop == ndim else len(template)
        template.insert(where, Ellipsis)
    return tuple(template), tuple(makers)
