"""One row per primitive: how to draw inputs for it, and what NumPy says its result is.

`tests/engine/test_primitives.py` runs every property of the engine over these rows, and fails when
a primitive has none. How inputs are drawn is told in `tests/drawing.py`; what is drawn for shape,
index and product primitives in `tests/array_calls.py`, for layers and losses in
`tests/layer_calls.py`.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import tinygen
from tests import array_calls as arrays
from tests import layer_calls as layers
from tests.drawing import (
    Case,
    Sample,
    axes_of,
    between,
    between_jumps,
    broadcastable,
    distinct,
    divisor,
    far_from_zero,
    halves,
    index_from,
    odd_tenths,
    one_axis,
    shapes,
    spread,
    strange,
    whole,
)
from tinygen.primitive import PRIMITIVES


def import_all(path: Any = tinygen.__path__, prefix: str = "tinygen.") -> None:
    """Import every module of tinygen, so that all primitives are registered."""
    for found in pkgutil.iter_modules(path, prefix):
        if found.name in ("tinygen.kernels", "tinygen.__main__"):
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


# Normalisation divides by a standard deviation that may be small: narrow types lose digits there.
STEEP = {"half": None, "single": 2e-4}
SLOPES = st.sampled_from([0.0, 0.01, 0.2, 1.0])

CASES = [
    # arithmetic
    binary("add", np.add),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply),
    binary("divide", np.divide, y=far_from_zero),
    binary("floor_divide", np.floor_divide, x=halves, y=divisor),
    binary("remainder", np.remainder, x=halves, y=divisor),
    binary("power", np.power, x=lambda s: between(s, 0.4, 2), y=between),
    unary("square", np.square),
    unary("negative", np.negative),
    unary("positive", np.positive),
    unary("reciprocal", np.reciprocal, avoid=(0,)),
    unary("absolute", np.abs, avoid=(0,)),
    unary("sign", np.sign, avoid=(0,)),
    # rounding
    *(Case(name, lambda draw: Sample((between_jumps(draw(shapes())),)), reference)
      for name, reference in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc))),
    Case("round", lambda draw: Sample((between_jumps(draw(shapes())),), {"decimals": 0}), np.round),
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
    binary("atan2", np.arctan2, x=far_from_zero),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh),
    unary("acosh", np.arccosh, 1.4, 4),
    unary("atanh", np.arctanh, -0.8, 0.8),
    # choosing
    Case("where", arrays.where_sample, np.where, inputs=(1, 2)),
    binary("maximum", np.maximum, x=distinct, y=odd_tenths),
    binary("minimum", np.minimum, x=distinct, y=odd_tenths),
    Case("clip", arrays.clip_sample, lambda x, low, high: np.clip(x, low, high)),
    # comparison and logic
    *(binary(name, getattr(np, name), x=whole, y=whole, inputs=())
      for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
                   "logical_and", "logical_or", "logical_xor")),
    predicate("logical_not", np.logical_not, whole),
    predicate("isnan", np.isnan, strange),
    predicate("isinf", np.isinf, strange),
    predicate("isfinite", np.isfinite, strange),
    # activations
    unary("relu", lambda x: np.where(x > 0, x, 0), avoid=(0,)),
    unary_with("leaky_relu", lambda x, slope: np.where(x > 0, x, slope * x), {"slope": SLOPES},
               avoid=lambda slope: (0,)),
    unary_with("elu", lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
               {"alpha": st.sampled_from([0.5, 1.0, 2.0])}, avoid=lambda alpha: (0,)),
    unary("sigmoid", special.expit),
    unary("log_sigmoid", special.log_expit),
    unary_with("softplus",
               lambda x, beta, threshold: np.where(beta * x > threshold, x,
                                                   np.log1p(np.exp(beta * x)) / beta),
               {"beta": st.sampled_from([0.5, 1.0, 2.0]),
                "threshold": st.sampled_from([1.0, 20.0])},
               avoid=lambda beta, threshold: (threshold / beta,)),
    unary("silu", lambda x: x * special.expit(x)),
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
    reduction("std", lambda x, axis, keepdims, correction: np.std(
        x, axis=axis, keepdims=keepdims, ddof=correction), make=spread,
        extra=lambda n: {"correction": st.sampled_from([0, 1] if n > 1 else [0])}),
    reduction("max", np.max, make=distinct),
    reduction("min", np.min, make=distinct),
    reduction("prod", np.prod, make=lambda s: between(s, -1.5, 1.5), empty=True),
    reduction("prod", np.prod, make=lambda s: whole(s, 0, 3), note="zeros", half=None),
    reduction("logsumexp", layers.logsumexp, make=lambda s: between(s, -3, 3)),
    reduction("argmax", np.argmax, make=whole, several=False, inputs=()),
    reduction("argmin", np.argmin, make=whole, several=False, inputs=()),
    reduction("any", np.any, make=whole, empty=True, inputs=()),
    reduction("all", np.all, make=whole, empty=True, inputs=()),
    moving("cumsum", np.cumsum, lambda draw, shape: {"axis": draw(one_axis(len(shape)))},
           min_dims=1),
    # moving elements
    Case("astype", arrays.astype_sample, lambda x, dtype: x, keeps_dtype=False),
    Case("transfer", arrays.transfer_sample, lambda x, device: x),
    moving("reshape", lambda x, shape: x.reshape(shape), arrays.reshape_attrs),
    moving("permute_dims", np.transpose, arrays.permute_attrs),
    Case("broadcast_to", arrays.broadcast_sample, np.broadcast_to),
    Case("concat", arrays.concat_sample, lambda *xs, axis: np.concatenate(xs, axis),
         inputs=(0, 1, 2)),
    moving("flip", np.flip, arrays.flip_attrs),
    moving("roll", np.roll, arrays.roll_attrs),
    moving("tril", np.tril, arrays.triangle_attrs, min_dims=2),
    moving("triu", np.triu, arrays.triangle_attrs, min_dims=2),
    # indexing and sorting
    Case("getitem", arrays.getitem_sample,
         lambda x, *arrays, template: x[index_from(template, arrays)]),
    Case("scatter_index", arrays.scatter_sample, arrays.scatter_reference),
    Case("put_index", arrays.put_sample, arrays.put_reference, inputs=(0, 1)),
    Case("take_along_axis", arrays.along_sample, np.take_along_axis),
    Case("scatter_along", arrays.scatter_along_sample, arrays.scatter_along_reference),
    Case("argsort", arrays.argsort_sample, arrays.argsort_reference, inputs=()),
    Case("argtopk", arrays.argtopk_sample, arrays.argtopk_reference, inputs=()),
    # products
    Case("matmul", arrays.matmul_sample, np.matmul, inputs=(0, 1)),
    Case("linear", arrays.linear_sample, arrays.linear_reference, inputs=(0, 1, 2)),
    Case("einsum", arrays.einsum_sample, arrays.einsum_reference, inputs=(0, 1, 2)),
    # softmax, normalisation, losses
    moving("softmax", layers.softmax, layers.softmax_attrs, min_dims=1),
    moving("log_softmax", lambda x, axis: np.log(layers.softmax(x, axis)), layers.softmax_attrs,
           min_dims=1),
    Case("layer_norm", layers.layer_norm_sample, layers.layer_norm_reference, inputs=(0, 1, 2),
         **STEEP),
    Case("batch_norm", layers.batch_norm_sample, layers.batch_norm_reference, inputs=(0, 1, 2),
         **STEEP),
    Case("cross_entropy", layers.cross_entropy_sample, layers.cross_entropy_reference),
    Case("bce_with_logits", layers.pair_loss_sample,
         lambda x, t, reduction: layers.reduced(
             -t * special.log_expit(x) - (1 - t) * special.log_expit(-x), reduction),
         inputs=(0, 1)),
    unary("log_at_least_minus_100", np.log, 0.3, 4),
    Case("mse_loss", layers.pair_loss_sample,
         lambda x, t, reduction: layers.reduced((x - t) ** 2, reduction), inputs=(0, 1)),
    # padding, convolution, pooling
    Case("pad", layers.pad_sample, layers.pad_reference),
    Case("unpad", layers.unpad_sample, layers.unpad_reference),
    Case("conv2d", layers.conv_sample, layers.conv_reference, inputs=(0, 1, 2)),
    Case("conv_transpose2d", layers.conv_transpose_sample, layers.conv_transpose_reference,
         inputs=(0, 1, 2)),
    Case("conv2d_weight", layers.conv_weight_sample, layers.conv_weight_reference, inputs=(0, 1)),
    Case("max_pool2d", layers.max_pool_sample, layers.max_pool_reference),
    Case("max_unpool2d", layers.max_unpool_sample, layers.max_unpool_reference),
    Case("max_pick2d", layers.max_pick_sample, layers.max_pick_reference),
    Case("avg_pool2d", layers.avg_pool_sample, layers.avg_pool_reference),
    Case("avg_unpool2d", layers.avg_unpool_sample, layers.avg_unpool_reference),
]


def missing() -> set[str]:
    """Primitives that have neither a row nor a reason to have none."""
    return set(PRIMITIVES) - {case.name for case in CASES} - set(EXEMPT)


def stale() -> set[str]:
    """Rows and exemptions for primitives that do not exist."""
    return ({case.name for case in CASES} | set(EXEMPT)) - set(PRIMITIVES)
