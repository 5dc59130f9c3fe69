"""One row per primitive: how to draw inputs for it, and what NumPy says its result is.

`tests/engine/test_primitives.py` runs every property of the engine over these rows, and fails when
a primitive has none. A row is a `Case`: its `sample` draws the structure of a call (shapes, axes,
static arguments) with hypothesis and returns *makers* of the inputs, functions of a NumPy generator,
so that one structure can be filled with several sets of values. Makers keep clear of kinks, ties
and poles by more than the step of a finite difference.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import tinygen
from tinygen.ops.index import SLOT
from tinygen.primitive import PRIMITIVES

Maker = Callable[[np.random.Generator], np.ndarray]


def import_all(path: Any = tinygen.__path__, prefix: str = "tinygen.") -> None:
    """Import every module of tinygen, so that all primitives are registered."""
    for found in pkgutil.iter_modules(path, prefix):
        if found.name in ("tinygen.kernels", "tinygen.__main__", "tinygen.models", "tinygen.optim", "tinygen.train", "tinygen.cli"):  # XXX
            continue
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("tinygen"):
                raise
            continue                     # an optional package is not installed here
        if found.ispkg:
            import_all(module.__path__, f"{found.name}.")


import_all()

EXEMPT = {
    "pick": "reads one output of the node of another primitive; every row with several outputs "
            "goes through it",
    "random_normal": "its values come from a generator; tests/engine/test_random.py",
    "random_uniform": "its values come from a generator; tests/engine/test_random.py",
    "random_integers": "its values come from a generator; tests/engine/test_random.py",
    "random_permutation": "its values come from a generator; tests/engine/test_random.py",
    "sgd_update": "changes its inputs in place; tests/optim/test_updates.py",
    "rmsprop_update": "changes its inputs in place; tests/optim/test_updates.py",
    "adam_update": "changes its inputs in place; tests/optim/test_updates.py",
    "total_norm": "never differentiated, float64 inside; tests/optim/test_clip.py",
    "scale_to_norm": "changes its inputs in place; tests/optim/test_clip.py",
    "clip_in_place": "changes its inputs in place; tests/optim/test_clip.py",
}


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


# -- drawing shapes and axes ----------------------------------------------------------------------


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


# -- makers of values -------------------------------------------------------------------------------


def between(shape, low=-2.0, high=2.0, avoid=(), gap=0.15) -> Maker:
    """Uniform values, pushed away from the points `avoid` by at least `gap`."""
    def make(rng):
        x = rng.uniform(low, high, shape)
        for point in avoid:
            d = x - point
            x = np.where(np.abs(d) < gap, point + np.copysign(gap + np.abs(d), d), x)
        return x
    return make


def distinct(shape, offset=0.0) -> Maker:
    """Values in random order that differ by at least 0.2; with another offset, no ties either."""
    n = math.prod(shape)
    return lambda rng: (0.2 * (rng.permutation(n) - n // 2) + offset).reshape(shape)


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


# -- rows for families of primitives ---------------------------------------------------------------


def unary(name, reference, low=-2.0, high=2.0, avoid=(), **options):
    """An elementwise function of one tensor on a range."""
    def sample(draw):
        return Sample((between(draw(shapes()), low, high, avoid),))
    return Case(name, sample, reference, **options)


def unary_with(name, reference, attrs, avoid=lambda **_: (), **options):
    """The same with drawn static arguments; `avoid(**attrs)` gives the kinks."""
    def sample(draw):
        chosen = {key: draw(strategy) for key, strategy in attrs.items()}
        return Sample((between(draw(shapes()), -2, 2, avoid(**chosen)),), chosen)
    return Case(name, sample, reference, **options)


def binary(name, reference, x=between, y=between, **options):
    """An elementwise function of two tensors that broadcast; x and y make values for a shape."""
    def sample(draw):
        a, b = draw(broadcastable(2))
        return Sample((x(a), y(b)))
    return Case(name, sample, reference, **{"inputs": (0, 1), **options})


def predicate(name, reference, make):
    """A function with a boolean result: no gradients."""
    def sample(draw):
        return Sample((make(draw(shapes())),))
    return Case(name, sample, reference, inputs=())


def reduction(name, reference, make=between, empty=False, several=True, extra=None, **options):
    """A function that removes axes; `extra(count)` gives strategies of further arguments."""
    def sample(draw):
        shape = draw(shapes(empty=empty))
        attrs = {"axis": draw(axes_of(len(shape), several)), "keepdims": draw(st.booleans())}
        if extra is not None:
            count = math.prod(np.take(shape, np.arange(len(shape)) if attrs["axis"] is None
                                      else attrs["axis"], mode="wrap").reshape(-1).astype(int))
            attrs.update({key: draw(s) for key, s in extra(count).items()})
        return Sample((make(shape),), attrs)
    return Case(name, sample, reference, **options)


def moving(name, reference, attrs, min_dims=0, **options):
    """A function that moves elements; `attrs(draw, shape)` draws its static arguments."""
    def sample(draw):
        shape = draw(shapes(min_dims=min_dims))
        return Sample((between(shape),), attrs(draw, shape))
    return Case(name, sample, reference, **options)


# -- static arguments of shape operations -------------------------------------------------------------


def _reshape_attrs(draw, shape):
    n = math.prod(shape)
    target = list(draw(st.permutations(shape)))
    for _ in range(draw(st.integers(0, 2))):
        target.insert(draw(st.integers(0, len(target))), 1)
    if draw(st.booleans()):
        target = [n]
    if n and target and draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return {"shape": tuple(target)}


def _permute_attrs(draw, shape):
    order = draw(st.permutations(range(len(shape))))
    return {"axes": tuple(a - len(shape) if draw(st.booleans()) else a for a in order)}


def _roll_attrs(draw, shape):
    shift = st.integers(-4, 4)
    axis = draw(axes_of(len(shape)))
    if axis is None or axis == () or isinstance(axis, int):     # NumPy rolls no empty tuple
        return {"shift": draw(shift), "axis": None if axis == () else axis}
    return {"shift": tuple(draw(shift) for _ in axis), "axis": axis}


def _flip_attrs(draw, shape):
    return {"axis": draw(axes_of(len(shape)))}


def _triangle_attrs(draw, shape):
    return {"k": draw(st.integers(-3, 3))}


def _broadcast_sample(draw):
    shape = draw(shapes(max_dims=3))
    target = tuple(draw(st.integers(1, 3)) if n == 1 else n for n in shape)
    lead = draw(shapes(max_dims=4 - len(shape), empty=False, max_side=2))
    return Sample((between(shape),), {"shape": lead + target})


def _concat_sample(draw):
    shape = draw(shapes(min_dims=1))
    axis = draw(one_axis(len(shape)))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = list(shape)
        part[axis] = draw(st.integers(0, 3))
        parts.append(between(tuple(part)))
    return Sample(tuple(parts), {"axis": axis})


def _clip_sample(draw):
    low = draw(st.sampled_from([None, -1.0, -0.5]))
    high = draw(st.sampled_from([None, 0.5, 1.0] if low is not None else [0.5, 1.0]))
    bounds = [b for b in (low, high) if b is not None]
    return Sample((between(draw(shapes()), avoid=bounds),), {"low": low, "high": high})


def _where_sample(draw):
    a, b, c = draw(broadcastable(3))
    return Sample((flags(a), between(b), between(c)))


# -- indexing ---------------------------------------------------------------------------------------


def index_from(template, arrays):
    """A NumPy index: tuples in the template are slices, SLOT is the next array."""
    it = iter(arrays)
    return tuple(next(it) if t is SLOT else slice(*t) if isinstance(t, tuple) else t
                 for t in template)


@st.composite
def _slice(draw, n):
    edge = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    return draw(edge), draw(edge), draw(st.sampled_from([None, 1, 2, -1, -2]))


def _integers(n, shape) -> Maker:
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
            template.append(draw(_slice(n)))
        elif kind == "int":
            template.append(draw(st.integers(-n, n - 1)))
        elif kind == "array":
            template.append(SLOT)
            shorter = common[draw(st.integers(0, len(common))):]
            makers.append(_integers(n, shorter))
        else:
            width = draw(st.integers(1, stop - axis))
            size = math.prod(shape[axis:axis + width])
            template.append(SLOT)
            makers.append(mask_of(shape[axis:axis + width], draw(st.integers(0, size))))
            template += [draw(_slice(m)) for m in shape[axis + width:stop]]
            axis = stop
        axis += 1
        if draw(st.integers(0, 5)) == 0:
            template.append(None)
    if stop < ndim or draw(st.booleans()):
        where = draw(st.integers(0, len(template))) if stop == ndim else len(template)
        template.insert(where, Ellipsis)
    return tuple(template), tuple(makers)


def _getitem_sample(draw):
    shape = draw(shapes(max_dims=3))
    template, makers = draw(indices(shape))
    return Sample((between(shape), *makers), {"template": template})


def _picked_shape(shape, template, makers):
    """The shape of x[index], and whether no element is met twice, for one set of arrays."""
    rng = np.random.default_rng(0)
    return np.empty(shape)[index_from(template, [m(rng) for m in makers])].shape


def _scatter_sample(draw):
    shape = draw(shapes(max_dims=3))
    template, makers = draw(indices(shape))
    g = between(_picked_shape(shape, template, makers))
    return Sample((g, *makers), {"template": template, "shape": shape})


def _scatter_reference(g, *arrays, template, shape):
    out = np.zeros(shape)
    np.add.at(out, index_from(template, arrays), g)
    return out


def _put_sample(draw):
    """Writing twice to one place has no defined winner, so index arrays are permutations here."""
    shape = draw(shapes(min_dims=1, max_dims=3))
    if draw(st.booleans()):
        n = shape[0]
        k = draw(st.integers(0, n))
        template: tuple[Any, ...] = (SLOT,)
        makers: tuple[Maker, ...] = (lambda rng: rng.permutation(n)[:k],)
    else:
        template = tuple(draw(_slice(n)) for n in shape[:draw(st.integers(0, len(shape)))])
        makers = ()
    picked = _picked_shape(shape, template, makers)
    value = picked[draw(st.integers(0, len(picked))):]
    value = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in value)
    return Sample((between(shape), between(value), *makers), {"template": template})


def _put_reference(x, value, *arrays, template):
    out = x.copy()
    out[index_from(template, arrays)] = value
    return out


def _along_sample(draw):
    shape = draw(shapes(min_dims=1, max_dims=3, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    rows = list(shape)
    rows[axis] = draw(st.integers(0, 4))
    return Sample((between(shape), _integers(shape[axis], tuple(rows))), {"axis": axis})


def _scatter_along_sample(draw):
    taken = _along_sample(draw)
    shape = taken.values(0)[0].shape
    rows = taken.values(0)[1].shape
    return Sample((between(rows), taken.makers[1]), {**taken.attrs, "shape": shape})


def _scatter_along_reference(g, rows, axis, shape):
    out = np.zeros(shape)
    for where in np.ndindex(*rows.shape):
        place = list(where)
        place[axis] = rows[where]
        out[tuple(place)] += g[where]
    return out


def _argsort_sample(draw):
    shape = draw(shapes(min_dims=1))
    return Sample((whole(shape),), {"axis": draw(st.integers(0, len(shape) - 1)),
                                    "descending": draw(st.booleans()), "stable": True})


def _argsort_reference(x, axis, descending, stable):
    return np.argsort(-x if descending else x, axis=axis, kind="stable")


def _argtopk_sample(draw):
    shape = draw(shapes(min_dims=1, empty=False))
    axis = draw(st.integers(0, len(shape) - 1))
    return Sample((distinct(shape),), {"axis": axis, "k": draw(st.integers(0, shape[axis])),
                                       "largest": draw(st.booleans())})


def _argtopk_reference(x, k, axis, largest):
    return np.take(np.argsort(-x if largest else x, axis=axis), np.arange(k), axis=axis)


# -- products -----------------------------------------------------------------------------------------


def _matmul_sample(draw):
    m, k, n = (draw(st.integers(0, 3)) for _ in range(3))
    a, b = draw(broadcastable(2, max_dims=2, empty=False, max_side=2))
    left = (k,) if draw(st.integers(0, 3)) == 0 else (*a, m, k)
    right = (k,) if draw(st.integers(0, 3)) == 0 else (*b, k, n)
    return Sample((between(left), between(right)))


def _linear_sample(draw):
    lead = draw(shapes(max_dims=3))
    n_in, n_out = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    makers = [between((*lead, n_in)), between((n_out, n_in))]
    kind = draw(st.sampled_from(["bias", "none", "missing"]))
    if kind != "missing":
        makers.append(between((n_out,)) if kind == "bias" else None)
    return Sample(tuple(makers))


def _linear_reference(x, weight, bias=None):
    y = np.einsum("...i,oi->...o", x, weight)
    return y if bias is None else y + bias


def _einsum_sample(draw):
    size = {c: draw(st.integers(1, 3)) for c in "abcd"}
    size["d"] = draw(st.integers(0, 2))
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    out = "".join(draw(st.permutations(used))[:draw(st.integers(0, len(used)))])
    makers = [between(tuple(size[c] for c in term)) for term in terms]
    return Sample(tuple(makers), {"spec": f"{','.join(terms)}->{out}"})


def _einsum_reference(*xs, spec):
    return np.einsum(spec, *xs)


# -- softmax, normalisation, losses ---------------------------------------------------------------------


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_attrs(draw, shape):
    return {"axis": draw(st.integers(0, len(shape) - 1))}


def _optional(draw, makers):
    """The makers with the last ones left out, and any of the rest None."""
    kept = makers[:draw(st.integers(0, len(makers)))]
    return tuple(m if draw(st.booleans()) else None for m in kept)


def _layer_norm_sample(draw):
    shape = draw(shapes(empty=False))
    last = draw(shapes(min_dims=1, max_dims=2, empty=False)) + (draw(st.integers(2, 4)),)
    shape = shape[:2] + last
    axes = tuple(range(len(shape) - len(last), len(shape)))
    return Sample((between(shape), *_optional(draw, (between(last), between(last)))),
                  {"axes": axes, "eps": draw(st.sampled_from([1e-5, 0.1]))})


def _layer_norm_reference(x, weight=None, bias=None, *, axes, eps):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else weight)
    return y + (0 if bias is None else bias), mean, 1 / np.sqrt(var + eps)


def _batch_norm_sample(draw):
    n, c = draw(st.integers(3, 5)), draw(st.integers(1, 3))
    shape = (n, c, *draw(shapes(max_dims=2, empty=False)))
    return Sample((between(shape), *_optional(draw, (between((c,)), between((c,))))),
                  {"eps": draw(st.sampled_from([1e-5, 0.1]))})


def _batch_norm_reference(x, weight=None, bias=None, *, eps):
    axes = (0, *range(2, x.ndim))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)

    def channels(v):
        return v.reshape(mean.shape)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else channels(weight))
    return y + (0 if bias is None else channels(bias)), mean.reshape(-1), var.reshape(-1)


REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def reduced(loss, reduction):
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _pair_loss_sample(draw):
    reduction = draw(REDUCTIONS)
    shape = draw(shapes(empty=reduction != "mean"))
    return Sample((between(shape), between(shape)), {"reduction": reduction})


def _cross_entropy_sample(draw):
    n, c, reduction = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(REDUCTIONS)

    def target(rng):
        classes = rng.integers(0, c, n)
        return np.where((rng.random(n) < 0.3) & (np.arange(n) > 0), -100, classes)
    return Sample((between((n, c)), target, *_optional(draw, (between((c,), 0.3, 2),))),
                  {"ignore_index": -100, "reduction": reduction,
                   "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0]))})


def _cross_entropy_reference(x, target, weight=None, *, ignore_index, reduction, label_smoothing):
    n, c = x.shape
    weight = np.ones(c) if weight is None else weight
    q = np.full((n, c), label_smoothing / c)
    q[np.arange(n), np.where(target == ignore_index, 0, target)] += 1 - label_smoothing
    used = target != ignore_index
    loss = -(q * weight * np.log(softmax(x, 1))).sum(1) * used
    if reduction == "mean":
        loss = loss.sum() / (weight[np.where(used, target, 0)] * used).sum()
    return reduced(loss, reduction) if reduction != "mean" else loss, softmax(x, 1)


# -- padding, convolution, pooling ----------------------------------------------------------------------------


PAD_MODES = ["constant", "reflect", "edge", "wrap", "symmetric"]


def _pad_parts(draw, shape):
    mode = draw(st.sampled_from(PAD_MODES))
    side = st.integers(0, 3)
    width = tuple((draw(side), draw(side)) if n or mode == "constant" else (0, 0) for n in shape)
    return width, mode


def _pad_sample(draw):
    shape = draw(shapes(max_dims=3))
    width, mode = _pad_parts(draw, shape)
    return Sample((between(shape),), {"width": width, "mode": mode,
                                      "value": draw(st.sampled_from([0, 1.5]))})


def _pad_reference(x, width, mode, value):
    if not width:                   # NumPy pads no 0-d array
        return x
    return np.pad(x, width, mode, **({"constant_values": value} if mode == "constant" else {}))


def _unpad_sample(draw):
    shape = draw(shapes(max_dims=3, empty=False))
    width, mode = _pad_parts(draw, shape)
    wide = tuple(n + a + b for n, (a, b) in zip(shape, width, strict=True))
    return Sample((between(wide),), {"width": width, "mode": mode})


def _unpad_reference(g, width, mode):
    shape = tuple(n - a - b for n, (a, b) in zip(g.shape, width, strict=True))
    n = math.prod(shape)
    sources = _pad_reference(np.arange(n).reshape(shape), width, mode, n)
    return np.bincount(sources.reshape(-1), g.reshape(-1), n + 1)[:n].reshape(shape)


def _conv_sizes(draw):
    """Static arguments with exact padding, and the lengths (image, kernel, output) per axis."""
    sizes, how = [], {"stride": [], "padding": [], "dilation": []}
    for _ in range(2):
        k, m, s, d = (draw(st.integers(1, n)) for n in (3, 3, 2, 2))
        span = (m - 1) * s + d * (k - 1) + 1
        a = draw(st.integers(-1, min(2, span - 1)))
        b = draw(st.integers(-1, max(-1, min(2, span - 1 - a))))
        sizes.append((span - a - b, k, m))
        for key, value in (("stride", s), ("padding", (a, b)), ("dilation", d)):
            how[key].append(value)
    groups = draw(st.integers(1, 2))
    counts = [groups * draw(st.integers(1, 2)) for _ in range(2)]          # C, O
    attrs = {**{key: tuple(v) for key, v in how.items()}, "groups": groups}
    (h, kh, oh), (w, kw, ow) = sizes
    n = draw(st.integers(1, 2))
    return attrs, (n, counts[0], h, w), (counts[1], counts[0] // groups, kh, kw), (
        n, counts[1], oh, ow)


def _conv_sample(draw):
    attrs, image, kernel, _ = _conv_sizes(draw)
    return Sample((between(image), between(kernel),
                   *_optional(draw, (between((kernel[0],)),))), attrs)


def _conv_transpose_sample(draw):
    attrs, image, kernel, out = _conv_sizes(draw)
    return Sample((between(out), between(kernel), *_optional(draw, (between((image[1],)),))), attrs)


def _conv_weight_sample(draw):
    attrs, image, _, out = _conv_sizes(draw)
    return Sample((between(image), between(out)), attrs)


def _conv_terms(image, kernel, out, stride, padding, dilation, groups):
    """Every product in a convolution as index tuples (image, kernel, output): the definition."""
    n, c, h, w = image
    o, per_group, kh, kw = kernel
    for b, f, i, j, p, u, v in np.ndindex(n, o, *out[2:], per_group, kh, kw):
        y = i * stride[0] + u * dilation[0] - padding[0][0]
        x = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= y < h and 0 <= x < w:
            group = f // (o // groups)
            yield (b, group * per_group + p, y, x), (f, p, u, v), (b, f, i, j)


def _conv_reference(x, weight, bias=None, *, stride, padding, dilation, groups):
    size = [(n + sum(e) - d * (k - 1) - 1) // s + 1 for n, k, s, e, d in zip(
        x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]
    y = np.zeros((x.shape[0], weight.shape[0], *size))
    for a, b, c in _conv_terms(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        y[c] += x[a] * weight[b]
    return y if bias is None else y + bias[:, None, None]


def _conv_transpose_reference(g, weight, bias=None, *, stride, padding, dilation, groups):
    size = [(m - 1) * s + d * (k - 1) + 1 - sum(e) for m, k, s, e, d in zip(
        g.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]
    x = np.zeros((g.shape[0], weight.shape[1] * groups, *size))
    for a, b, c in _conv_terms(x.shape, weight.shape, g.shape, stride, padding, dilation, groups):
        x[a] += g[c] * weight[b]
    return x if bias is None else x + bias[:, None, None]


def _conv_weight_reference(x, g, *, stride, padding, dilation, groups):
    size = [(n + sum(e) - (m - 1) * s - 1) // d + 1 for n, m, s, e, d in zip(
        x.shape[2:], g.shape[2:], stride, padding, dilation, strict=True)]
    weight = np.zeros((g.shape[1], x.shape[1] // groups, *size))
    for a, b, c in _conv_terms(x.shape, weight.shape, g.shape, stride, padding, dilation, groups):
        weight[b] += x[a] * g[c]
    return weight


def _pool_sizes(draw, dilated):
    """Static arguments of a pooling, and the image's shape; every window meets the image."""
    how: dict[str, list[int]] = {"kernel": [], "stride": [], "padding": [], "size": []}
    if dilated:
        how["dilation"] = []
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
    for _ in range(2):
        k, s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        d = d if dilated else 1
        p = draw(st.integers(0, k // 2))
        n = draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), d * (k - 1) + 4))
        if p and d > 1 and n < d:       # a window could lie in the padding alone
            n = d
        room = n + 2 * p - d * (k - 1) - 1
        up = draw(st.booleans())
        m = (room + (s - 1 if up else 0)) // s + 1
        m -= up and (m - 1) * s >= n + p
        for key, value in (("kernel", k), ("stride", s), ("padding", p), ("size", m),
                           ("dilation", d)):
            if key in how:
                how[key].append(value)
        shape.append(n)
    return tuple(shape), {key: tuple(v) for key, v in how.items()}


def _max_pool_sample(draw):
    shape, how = _pool_sizes(draw, dilated=True)
    return Sample((distinct(shape),), how)


def _taps(shape, kernel, stride, padding, dilation, size):
    """For each output place: the number of each tap inside the image, and its place there."""
    for b, c, i, j in np.ndindex(*shape[:2], *size):
        inside = []
        for u, v in np.ndindex(*kernel):
            y = i * stride[0] + u * dilation[0] - padding[0]
            x = j * stride[1] + v * dilation[1] - padding[1]
            if 0 <= y < shape[2] and 0 <= x < shape[3]:
                inside.append((u * kernel[1] + v, (b, c, y, x)))
        yield (b, c, i, j), inside


def _max_pool_reference(x, **how):
    y = np.zeros((*x.shape[:2], *how["size"]))
    tap = np.zeros(y.shape, np.uint8)
    for place, inside in _taps(x.shape, **how):
        y[place], tap[place] = max((x[at], k) for k, at in inside)
    return y, tap


def _tap_maker(shape, how):
    """Taps that lie inside the image, as max pooling of random images gives them."""
    return lambda rng: _max_pool_reference(rng.permutation(math.prod(shape)).reshape(shape),
                                           **how)[1]


def _max_unpool_sample(draw):
    shape, how = _pool_sizes(draw, dilated=True)
    return Sample((between((*shape[:2], *how["size"])), _tap_maker(shape, how)),
                  {**how, "shape": shape})


def _max_unpool_reference(g, tap, *, shape, **how):
    x = np.zeros(shape)
    for place, inside in _taps(shape, **how):
        x[dict(inside)[tap[place]]] += g[place]
    return x


def _max_pick_sample(draw):
    shape, how = _pool_sizes(draw, dilated=True)
    return Sample((between(shape), _tap_maker(shape, how)), how)


def _max_pick_reference(x, tap, **how):
    y = np.zeros(tap.shape)
    for place, inside in _taps(x.shape, **how):
        y[place] = x[dict(inside)[tap[place]]]
    return y


def _avg_pool_sample(draw):
    shape, how = _pool_sizes(draw, dilated=False)
    return Sample((between(shape),), {**how, "include_pad": draw(st.booleans())})


def _avg_unpool_sample(draw):
    shape, how = _pool_sizes(draw, dilated=False)
    return Sample((between((*shape[:2], *how["size"])),),
                  {**how, "include_pad": draw(st.booleans()), "image": shape[2:]})


def _shares(shape, include_pad, **how):
    """For each output place: the places it averages, and how many elements it counts."""
    for place, inside in _taps(shape, dilation=(1, 1), **how):
        spans = [min(i * s - p + k, n + p) - (i * s - p) for i, s, p, k, n in zip(
            place[2:], how["stride"], how["padding"], how["kernel"], shape[2:], strict=True)]
        yield place, [at for _, at in inside], math.prod(spans) if include_pad else len(inside)


def _avg_pool_reference(x, **how):
    y = np.zeros((*x.shape[:2], *how["size"]))
    for place, inside, count in _shares(x.shape, **how):
        y[place] = sum(x[at] for at in inside) / count
    return y


def _avg_unpool_reference(g, *, image, **how):
    x = np.zeros((*g.shape[:2], *image))
    for place, inside, count in _shares(x.shape, **how):
        for at in inside:
            x[at] += g[place] / count
    return x


def _transfer_sample(draw):
    return Sample((between(draw(shapes())),), {"device": "cpu"})


def _astype_sample(draw):
    return Sample((between(draw(shapes())),), {"dtype": np.dtype(np.float64)})


def _half_line(x):
    """Values that are not close to a jump of floor, ceil, trunc or round."""
    def make(rng):
        return rng.integers(-3, 3, x) + rng.uniform(0.15, 0.35, x) + 0.5 * rng.integers(0, 2, x)
    return make


def _half(shape):
    return lambda rng: rng.integers(-4, 4, shape) + 0.5


def _divisor(shape):
    return lambda rng: rng.integers(1, 4, shape) * rng.choice([-1.0, 1.0], shape)


def _odd(shape):
    return distinct(shape, 0.1)


def _strange(shape):
    return lambda rng: rng.choice([0.0, 1.0, -2.0, np.nan, np.inf, -np.inf], shape)


def _far_from_zero(shape):
    return between(shape, avoid=(0,), gap=0.4)


def _sigmoid(x):
    return special.expit(x)


# Normalisation divides by a standard deviation that may be small: narrow types lose digits there.
STEEP = {"half": None, "single": 2e-4}
SLOPES = st.sampled_from([0.0, 0.01, 0.2, 1.0])

CASES = [
    # arithmetic
    binary("add", np.add),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply),
    binary("divide", np.divide, y=_far_from_zero),
    binary("floor_divide", np.floor_divide, x=_half, y=_divisor),
    binary("remainder", np.remainder, x=_half, y=_divisor),
    binary("power", np.power, x=lambda s: between(s, 0.4, 2), y=between),
    unary("square", np.square),
    unary("negative", np.negative),
    unary("positive", np.positive),
    unary("reciprocal", np.reciprocal, avoid=(0,)),
    unary("absolute", np.abs, avoid=(0,)),
    unary("sign", np.sign, avoid=(0,)),
    # rounding
    *(Case(name, lambda draw: Sample((_half_line(draw(shapes())),)), reference)
      for name, reference in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc))),
    Case("round", lambda draw: Sample((_half_line(draw(shapes())),), {"decimals": 0}), np.round),
    # exponentials and roots
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("exp2", np.exp2),
    unary("log", np.log, 0.3, 4),
    unary("log1p", np.log1p, -0.6, 4),
    unary("log2", np.log2, 0.3, 4),
    unary("log10", np.log10, 0.3, 4),
    unary("sqrt", np.sqrt, 0.3, 4),
    unary("rsqrt", lambda x: x ** -0.5, 0.3, 4),
    # trigonometric and hyperbolic functions
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("tan", np.tan, -1, 1),
    unary("asin", np.arcsin, -0.8, 0.8),
    unary("acos", np.arccos, -0.8, 0.8),
    unary("atan", np.arctan),
    binary("atan2", np.arctan2, x=_far_from_zero),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh),
    unary("acosh", np.arccosh, 1.4, 4),
    unary("atanh", np.arctanh, -0.8, 0.8),
    # choosing
    Case("where", _where_sample, np.where, inputs=(1, 2)),
    binary("maximum", np.maximum, x=distinct, y=_odd),
    binary("minimum", np.minimum, x=distinct, y=_odd),
    Case("clip", _clip_sample, lambda x, low, high: np.clip(x, low, high)),
    # comparison and logic
    *(binary(name, getattr(np, name), x=whole, y=whole, inputs=())
      for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
                   "logical_and", "logical_or", "logical_xor")),
    predicate("logical_not", np.logical_not, whole),
    predicate("isnan", np.isnan, _strange),
    predicate("isinf", np.isinf, _strange),
    predicate("isfinite", np.isfinite, _strange),
    # activations
    unary("relu", lambda x: np.where(x > 0, x, 0), avoid=(0,)),
    unary_with("leaky_relu", lambda x, slope: np.where(x > 0, x, slope * x), {"slope": SLOPES},
               avoid=lambda slope: (0,)),
    unary_with("elu", lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
               {"alpha": st.sampled_from([0.5, 1.0, 2.0])}, avoid=lambda alpha: (0,)),
    unary("sigmoid", _sigmoid),
    unary("log_sigmoid", special.log_expit),
    unary_with("softplus",
               lambda x, beta, threshold: np.where(beta * x > threshold, x,
                                                   np.log1p(np.exp(beta * x)) / beta),
               {"beta": st.sampled_from([0.5, 1.0, 2.0]),
                "threshold": st.sampled_from([1.0, 20.0])},
               avoid=lambda beta, threshold: (threshold / beta,)),
    unary("silu", lambda x: x * _sigmoid(x)),
    unary("erf", special.erf, -5, 5),
    unary("gelu_exact", lambda x: x * special.ndtr(x), -4, 4),
    unary("gelu_tanh", lambda x: x / (1 + np.exp(-2 * math.sqrt(2 / math.pi)
                                                 * (x + 0.044715 * x ** 3))), -4, 4),
    # reductions
    reduction("sum", np.sum, empty=True),
    reduction("mean", np.mean),
    reduction("var", lambda x, axis, keepdims, correction: np.var(
        x, axis=axis, keepdims=keepdims, ddof=correction),
        extra=lambda n: {"correction": st.sampled_from([0, 1] if n > 1 else [0])}),
    reduction("max", np.max, make=distinct),
    reduction("min", np.min, make=distinct),
    reduction("prod", np.prod, make=lambda s: between(s, -1.5, 1.5), empty=True),
    reduction("prod", np.prod, make=lambda s: whole(s, 0, 3), note="zeros", half=None),
    reduction("logsumexp", logsumexp, make=lambda s: between(s, -3, 3)),
    reduction("argmax", np.argmax, make=whole, several=False, inputs=()),
    reduction("argmin", np.argmin, make=whole, several=False, inputs=()),
    reduction("any", np.any, make=whole, empty=True, inputs=()),
    reduction("all", np.all, make=whole, empty=True, inputs=()),
    moving("cumsum", np.cumsum, lambda draw, shape: {"axis": draw(one_axis(len(shape)))},
           min_dims=1),
    # moving elements
    Case("astype", _astype_sample, lambda x, dtype: x, keeps_dtype=False),
    Case("transfer", _transfer_sample, lambda x, device: x),
    moving("reshape", lambda x, shape: x.reshape(shape), _reshape_attrs),
    moving("permute_dims", np.transpose, _permute_attrs),
    Case("broadcast_to", _broadcast_sample, np.broadcast_to),
    Case("concat", _concat_sample, lambda *xs, axis: np.concatenate(xs, axis), inputs=(0, 1, 2)),
    moving("flip", np.flip, _flip_attrs),
    moving("roll", np.roll, _roll_attrs),
    moving("tril", np.tril, _triangle_attrs, min_dims=2),
    moving("triu", np.triu, _triangle_attrs, min_dims=2),
    # indexing and sorting
    Case("getitem", _getitem_sample,
         lambda x, *arrays, template: x[index_from(template, arrays)]),
    Case("scatter_index", _scatter_sample, _scatter_reference),
    Case("put_index", _put_sample, _put_reference, inputs=(0, 1)),
    Case("take_along_axis", _along_sample, np.take_along_axis),
    Case("scatter_along", _scatter_along_sample, _scatter_along_reference),
    Case("argsort", _argsort_sample, _argsort_reference, inputs=()),
    Case("argtopk", _argtopk_sample, _argtopk_reference, inputs=()),
    # products
    Case("matmul", _matmul_sample, np.matmul, inputs=(0, 1)),
    Case("linear", _linear_sample, _linear_reference, inputs=(0, 1, 2)),
    Case("einsum", _einsum_sample, _einsum_reference, inputs=(0, 1, 2)),
    # softmax, normalisation, losses
    moving("softmax", softmax, _softmax_attrs, min_dims=1),
    moving("log_softmax", lambda x, axis: np.log(softmax(x, axis)), _softmax_attrs, min_dims=1),
    Case("layer_norm", _layer_norm_sample, _layer_norm_reference, inputs=(0, 1, 2), **STEEP),
    Case("batch_norm", _batch_norm_sample, _batch_norm_reference, inputs=(0, 1, 2), **STEEP),
    Case("cross_entropy", _cross_entropy_sample, _cross_entropy_reference),
    Case("bce_with_logits", _pair_loss_sample,
         lambda x, t, reduction: reduced(-t * np.log(special.expit(x))
                                         - (1 - t) * np.log(special.expit(-x)), reduction),
         inputs=(0, 1)),
    unary("log_at_least_minus_100", np.log, 0.3, 4),
    Case("mse_loss", _pair_loss_sample, lambda x, t, reduction: reduced((x - t) ** 2, reduction),
         inputs=(0, 1)),
    # padding, convolution, pooling
    Case("pad", _pad_sample, _pad_reference),
    Case("unpad", _unpad_sample, _unpad_reference),
    Case("conv2d", _conv_sample, _conv_reference, inputs=(0, 1, 2)),
    Case("conv_transpose2d", _conv_transpose_sample, _conv_transpose_reference, inputs=(0, 1, 2)),
    Case("conv2d_weight", _conv_weight_sample, _conv_weight_reference, inputs=(0, 1)),
    Case("max_pool2d", _max_pool_sample, _max_pool_reference),
    Case("max_unpool2d", _max_unpool_sample, _max_unpool_reference),
    Case("max_pick2d", _max_pick_sample, _max_pick_reference),
    Case("avg_pool2d", _avg_pool_sample, _avg_pool_reference),
    Case("avg_unpool2d", _avg_unpool_sample, _avg_unpool_reference),
]


def missing() -> set[str]:
    """Primitives that have neither a row nor a reason to have none."""
    return set(PRIMITIVES) - {case.name for case in CASES} - set(EXEMPT)


def stale() -> set[str]:
    """Rows and exemptions for primitives that do not exist."""
    return ({case.name for case in CASES} | set(EXEMPT)) - set(PRIMITIVES)
