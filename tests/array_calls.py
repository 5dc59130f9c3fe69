"""Calls of shape, index and product primitives: how they are drawn, and what NumPy gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.drawing import (
    SLOT,
    Maker,
    Sample,
    axes_of,
    between,
    broadcastable,
    distinct,
    flags,
    index_from,
    indices,
    one_axis,
    positions,
    shapes,
    slices,
    whole,
)

# -- static arguments of shape operations ----------------------------------------------------------


def reshape_attrs(draw, shape):
    n = math.prod(shape)
    target = list(draw(st.permutations(shape)))
    for _ in range(draw(st.integers(0, 2))):
        target.insert(draw(st.integers(0, len(target))), 1)
    if draw(st.booleans()):
        target = [n]
    if n and target and draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return {"shape": tuple(target)}


def permute_attrs(draw, shape):
    order = draw(st.permutations(range(len(shape))))
    return {"axes": tuple(a - len(shape) if draw(st.booleans()) else a for a in order)}


def roll_attrs(draw, shape):
    shift = st.integers(-4, 4)
    axis = draw(axes_of(len(shape)))
    if axis is None or axis == () or isinstance(axis, int):     # NumPy rolls no empty tuple
        return {"shift": draw(shift), "axis": None if axis == () else axis}
    return {"shift": tuple(draw(shift) for _ in axis), "axis": axis}


def flip_attrs(draw, shape):
    return {"axis": draw(axes_of(len(shape)))}


def triangle_attrs(draw, shape):
    return {"k": draw(st.integers(-3, 3))}


def broadcast_sample(draw):
    shape = draw(shapes(max_dims=3))
    target = tuple(draw(st.integers(1, 3)) if n == 1 else n for n in shape)
    lead = draw(shapes(max_dims=4 - len(shape), empty=False, max_side=2))
    return Sample((between(shape),), {"shape": lead + target})


def concat_sample(draw):
    shape = draw(shapes(min_dims=1))
    axis = draw(one_axis(len(shape)))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = list(shape)
        part[axis] = draw(st.integers(0, 3))
        parts.append(between(tuple(part)))
    return Sample(tuple(parts), {"axis": axis})


def clip_sample(draw):
    low = draw(st.sampled_from([None, -1.0, -0.5]))
    high = draw(st.sampled_from([None, 0.5, 1.0] if low is not None else [0.5, 1.0]))
    bounds = [b for b in (low, high) if b is not None]
    return Sample((between(draw(shapes()), avoid=bounds),), {"low": low, "high": high})


def where_sample(draw):
    a, b, c = draw(broadcastable(3))
    return Sample((flags(a), between(b), between(c)))


def getitem_sample(draw):
    shape = draw(shapes(max_dims=3))
    template, makers = draw(indices(shape))
    return Sample((between(shape), *makers), {"template": template})


def picked_shape(shape, template, makers):
    """The shape of x[index], and whether no element is met twice, for one set of arrays."""
    rng = np.random.default_rng(0)
    return np.empty(shape)[index_from(template, [m(rng) for m in makers])].shape


def scatter_sample(draw):
    shape = draw(shapes(max_dims=3))
    template, makers = draw(indices(shape))
    g = between(picked_shape(shape, template, makers))
    return Sample((g, *makers), {"template": template, "shape": shape})


def scatter_reference(g, *arrays, template, shape):
    out = np.zeros(shape)
    np.add.at(out, index_from(template, arrays), g)
    return out


def put_sample(draw):
    """Writing twice to one place has no defined winner, so index arrays are permutations here."""
    shape = draw(shapes(min_dims=1, max_dims=3))
    if draw(st.booleans()):
        n = shape[0]
        k = draw(st.integers(0, n))
        template: tuple[Any, ...] = (SLOT,)
        makers: tuple[Maker, ...] = (lambda rng: rng.permutation(n)[:k],)
    else:
        template = tuple(draw(slices(n)) for n in shape[:draw(st.integers(0, len(shape)))])
        makers = ()
    picked = picked_shape(shape, template, makers)
    value = picked[draw(st.integers(0, len(picked))):]
    value = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in value)
    return Sample((between(shape), between(value), *makers), {"template": template})


def put_reference(x, value, *arrays, template):
    out = x.copy()
    out[index_from(template, arrays)] = value
    return out


def along_sample(draw):
    shape = draw(shapes(min_dims=1, max_dims=3, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    rows = list(shape)
    rows[axis] = draw(st.integers(0, 4))
    return Sample((between(shape), positions(shape[axis], tuple(rows))), {"axis": axis})


def scatter_along_sample(draw):
    taken = along_sample(draw)
    shape = taken.values(0)[0].shape
    rows = taken.values(0)[1].shape
    return Sample((between(rows), taken.makers[1]), {**taken.attrs, "shape": shape})


def scatter_along_reference(g, rows, axis, shape):
    out = np.zeros(shape)
    for where in np.ndindex(*rows.shape):
        place = list(where)
        place[axis] = rows[where]
        out[tuple(place)] += g[where]
    return out


def argsort_sample(draw):
    shape = draw(shapes(min_dims=1))
    return Sample((whole(shape),), {"axis": draw(st.integers(0, len(shape) - 1)),
                                    "descending": draw(st.booleans()), "stable": True})


def argsort_reference(x, axis, descending, stable):
    return np.argsort(-x if descending else x, axis=axis, kind="stable")


def argtopk_sample(draw):
    shape = draw(shapes(min_dims=1, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    return Sample((distinct(shape),), {"axis": axis, "k": draw(st.integers(0, shape[axis])),
                                       "largest": draw(st.booleans())})


def argtopk_reference(x, k, axis, largest):
    return np.take(np.argsort(-x if largest else x, axis=axis), np.arange(k), axis=axis)


# -- products --------------------------------------------------------------------------------------


def matmul_sample(draw):
    m, k, n = (draw(st.integers(0, 3)) for _ in range(3))
    a, b = draw(broadcastable(2, max_dims=2, empty=False, max_side=2))
    left = (k,) if draw(st.integers(0, 3)) == 0 else (*a, m, k)
    right = (k,) if draw(st.integers(0, 3)) == 0 else (*b, k, n)
    return Sample((between(left), between(right)))


def look_up_sample(draw):
    rows, columns, lead = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(shapes(max_dims=2))
    return Sample((between((rows, columns)), lambda rng: rng.integers(0, rows, lead)))


def linear_sample(draw):
    lead = draw(shapes(max_dims=3))
    n_in, n_out = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    makers = [between((*lead, n_in)), between((n_out, n_in))]
    kind = draw(st.sampled_from(["bias", "none", "missing"]))
    if kind != "missing":
        makers.append(between((n_out,)) if kind == "bias" else None)
    return Sample(tuple(makers))


def linear_reference(x, weight, bias=None):
    y = np.einsum("...i,oi->...o", x, weight)
    return y if bias is None else y + bias


def linear_activation_sample(draw):
    sample = linear_sample(draw)
    name = draw(st.sampled_from(["relu", "leaky_relu", "tanh", "sigmoid"]))
    return Sample(sample.makers, {"activation": name, "slope": draw(st.sampled_from([0.0, 0.2]))})


def linear_activation_reference(x, weight, bias=None, *, activation, slope):
    z = linear_reference(x, weight, bias)
    return {"relu": np.maximum(z, 0), "leaky_relu": np.where(z > 0, z, slope * z),
            "tanh": np.tanh(z), "sigmoid": 1 / (1 + np.exp(-z))}[activation]


def einsum_sample(draw):
    size = {c: draw(st.integers(1, 3)) for c in "abcd"}
    size["d"] = draw(st.integers(0, 2))
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    out = "".join(draw(st.permutations(used))[:draw(st.integers(0, len(used)))])
    makers = [between(tuple(size[c] for c in term)) for term in terms]
    return Sample(tuple(makers), {"spec": f"{','.join(terms)}->{out}"})


def einsum_reference(*xs, spec):
    return np.einsum(spec, *xs)


def transfer_sample(draw):
    return Sample((between(draw(shapes())),), {"device": "cpu"})


def astype_sample(draw):
    return Sample((between(draw(shapes())),), {"dtype": np.dtype(np.float64)})
