"""Floating point functions, running extremes, scatters, places and counts."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import (
    Case,
    Sample,
    between,
    distinct,
    divisor,
    far_from_zero,
    halves,
    odd_tenths,
    shapes,
    strange,
    whole,
)
from tests.families import binary, moving, predicate, unary, unary_with
from tinygen.ops.index import SLOT


def whole_exponent(shape):
    return whole(shape, -3, 4, np.int32)


def running(better):
    def compute(x, axis):
        out = np.zeros(x.shape, np.int64)
        rows, result = np.moveaxis(x, axis, 0), np.moveaxis(out, axis, 0)
        if not rows.size:
            return out
        best, where = rows[0].copy(), np.zeros(rows[0].shape, np.int64)
        for i, row in enumerate(rows):
            where = np.where(better(row, best), i, where)
            best = np.where(better(row, best), row, best)
            result[i] = where
        return out
    return compute


def axis_attr(draw, shape):
    return {"axis": draw(st.integers(0, len(shape) - 1))}


def scatter_sample(draw):
    shape = draw(shapes(min_dims=1, max_dims=3, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    small = tuple(draw(st.integers(1, n + 2 if a == axis else n)) for a, n in enumerate(shape))
    how = draw(st.sampled_from(["amax", "amin", "prod"]))
    values = [lambda s: between(s, 0.4, 2.0)] * 2 if how == "prod" else [distinct, odd_tenths]
    n = shape[axis]
    return Sample((values[0](shape), lambda rng: rng.integers(0, n, small), values[1](small)),
                  {"axis": axis, "how": how})


def scatter_reference(x, indices, source, axis, how):
    out = x.copy()
    combine = {"amax": max, "amin": min, "prod": lambda a, b: a * b}[how]
    for place in np.ndindex(*indices.shape):
        to = list(place)
        to[axis] = indices[place]
        out[tuple(to)] = combine(out[tuple(to)], source[place])
    return out


def partition_sample(draw):
    shape = draw(shapes(min_dims=1, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    return Sample((distinct(shape),), {"kth": draw(st.integers(0, shape[axis] - 1)), "axis": axis})


def searchsorted_sample(draw):
    lead = draw(shapes(max_dims=2, empty=False))
    n, m = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    return Sample((lambda rng: np.sort(rng.integers(-2, 3, (*lead, n)).astype(float), -1),
                   whole((*lead, m))), {"side": draw(st.sampled_from(["left", "right"]))})


def searchsorted_reference(ordered, values, side):
    before = (np.less if side == "left" else np.less_equal)(ordered[..., None, :],
                                                            values[..., :, None])
    return before.sum(-1)


def bincount_sample(draw):
    n = draw(st.integers(1, 5))
    weights = [whole((n,))] if draw(st.booleans()) else []
    return Sample((whole((n,), 0, 4, np.int64), *weights),
                  {"minlength": draw(st.integers(4, 6))})


def bincount_reference(x, weights=None, *, minlength):
    return np.bincount(x, weights, minlength)


def written_sample(draw):
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return Sample((lambda rng: rng.integers(0, n, m),), {"template": (SLOT,), "shape": (n, 2)})


def written_reference(index, template, shape):
    last = {place: k for k, place in enumerate(index.tolist())}
    kept = np.array([last[place] == k for k, place in enumerate(index.tolist())])
    return np.repeat(kept[:, None], shape[1], 1)


def unstack_sample(draw):
    shape = draw(shapes(min_dims=1, max_dims=3, empty=False))
    return Sample((odd_tenths(shape),), axis_attr(draw, shape))


def restack_sample(draw):
    shape = draw(shapes(min_dims=0, max_dims=3, empty=False))
    axis = draw(st.integers(0, len(shape)))
    return Sample((odd_tenths(shape),) * 2, {"axis": axis})


CASES = [
    Case("restack", restack_sample, lambda *xs, axis: np.stack(xs, axis), inputs=(0, 1)),
    Case("unstack", unstack_sample, lambda x, axis: tuple(np.moveaxis(x, axis, 0))),
    Case("last_written", written_sample, written_reference, inputs=()),
    binary("copysign", np.copysign, x=far_from_zero, y=far_from_zero),
    predicate("signbit", np.signbit, strange),
    binary("nextafter", np.nextafter, x=distinct, y=odd_tenths, inputs=(0,)),
    binary("heaviside", np.heaviside, x=whole, y=whole, inputs=()),
    Case("frexp", lambda draw: Sample((between(draw(shapes()), 0.55, 0.9),)), np.frexp),
    binary("ldexp", lambda x, e: x * 2.0 ** e, y=whole_exponent, inputs=(0,)),
    binary("fmod", np.fmod, x=halves, y=divisor),
    binary("hypot", np.hypot, x=far_from_zero, y=far_from_zero),
    unary("cbrt", np.cbrt, avoid=(0,)),
    binary("fmax", np.fmax, x=distinct, y=odd_tenths),
    binary("fmin", np.fmin, x=distinct, y=odd_tenths),
    unary_with("nan_to_num", lambda x, nan, posinf, neginf: np.nan_to_num(
        x, nan=nan, posinf=posinf, neginf=neginf),
        {"nan": st.sampled_from([0.0, 1.5]), "posinf": st.just(9.0), "neginf": st.just(-9.0)}),
    moving("argcummax", running(np.greater_equal), axis_attr, min_dims=1, inputs=()),
    moving("argcummin", running(np.less_equal), axis_attr, min_dims=1, inputs=()),
    Case("scatter_combine", scatter_sample, scatter_reference, inputs=(0, 2)),
    Case("searchsorted", searchsorted_sample, searchsorted_reference, inputs=()),
    Case("argpartition", partition_sample, lambda x, kth, axis: np.argpartition(x, kth, axis),
         inputs=(), half=None),
    Case("isin", lambda draw: Sample((whole(draw(shapes())), whole(draw(shapes()))),
                                     {"invert": draw(st.booleans())}),
         lambda x, values, invert: np.any(x[..., None] == values.reshape(-1), -1) != invert,
         inputs=()),
    Case("bincount", bincount_sample, bincount_reference, inputs=(), keeps_dtype=False),
]
