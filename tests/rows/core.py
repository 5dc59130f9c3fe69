"""Arithmetic, mathematics, reductions, shapes, indexing and products."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests import array_calls as arrays
from tests import layer_calls as layers
from tests.drawing import (
    Case,
    Sample,
    between,
    between_jumps,
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
from tests.families import binary, moving, predicate, reduction, unary

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
    Case("look_up", arrays.look_up_sample, lambda table, numbers: table[numbers]),
    # products
    Case("matmul", arrays.matmul_sample, np.matmul, inputs=(0, 1)),
    Case("linear", arrays.linear_sample, arrays.linear_reference, inputs=(0, 1, 2)),
    Case("linear_activation", arrays.linear_activation_sample,
         arrays.linear_activation_reference, inputs=(0, 1, 2)),
    Case("einsum", arrays.einsum_sample, arrays.einsum_reference, inputs=(0, 1, 2)),
]
