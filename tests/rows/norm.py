"""Limits, root-mean-square normalisation, bags of rows; what is written in place is exempt."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, between, far_from_zero, flags, shapes, spread, whole
from tests.families import unary_with
from tests.layer_calls import add_reference, of_sum, optional


def rms_norm_sample(draw):
    last = draw(shapes(min_dims=1, max_dims=2, empty=False))
    shape = draw(shapes(max_dims=2, empty=False)) + last
    return Sample((far_from_zero(shape), *optional(draw, (between(last),))),
                  {"axes": tuple(range(len(shape) - len(last), len(shape))),
                   "eps": draw(st.sampled_from([1e-5, 0.1]))})


def rms_norm_reference(x, weight=None, *, axes, eps):
    rstd = ((x ** 2).mean(axes, keepdims=True) + eps) ** -0.5
    return x * rstd * (1 if weight is None else weight), rstd


def group_norm_sample(draw):
    groups = draw(st.integers(1, 2))
    n, c = draw(st.integers(1, 3)), groups * draw(st.integers(1, 2))
    shape = (n, c, draw(st.integers(2, 4)), *draw(shapes(max_dims=1, empty=False)))
    return Sample((spread(shape), *optional(draw, (between((c,)), between((c,))))),
                  {"groups": groups, "eps": draw(st.sampled_from([1e-5, 0.1]))})


def channels(v, x):
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def group_norm_reference(x, weight=None, bias=None, *, groups, eps):
    rows = x.reshape(x.shape[0], groups, -1)
    mean, var = rows.mean(2), rows.var(2)
    y = ((rows - mean[:, :, None]) / np.sqrt(var + eps)[:, :, None]).reshape(x.shape)
    y = y * (1 if weight is None else channels(weight, x))
    return y + (0 if bias is None else channels(bias, x)), mean, var


def scale_channels_sample(draw):
    shape = draw(shapes(min_dims=2))
    return Sample((between(shape), between((shape[1],)), between((shape[1],))))


def bags_sample(draw):
    n, d, count = draw(st.integers(0, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    keep = flags((n,)) if draw(st.booleans()) else None
    return Sample((whole((n, d)), lambda rng: rng.integers(0, count + 1, n), keep),
                  {"count": count})


def bags_reference(rows, bags, keep=None, *, count):
    out = np.full((count, rows.shape[1]), -1)
    for i, (row, bag) in enumerate(zip(rows, bags, strict=True)):
        if bag < count and (keep is None or keep[i]):
            for j, x in enumerate(row):
                if out[bag, j] < 0 or x > rows[out[bag, j], j]:
                    out[bag, j] = i
    return out


CASES = [
    unary_with("hardtanh", lambda x, low, high: np.clip(x, low, high),
               {"low": st.sampled_from([-1.0, 0.0]), "high": st.sampled_from([0.5, 1.5])},
               avoid=lambda low, high: (low, high)),
    unary_with("softshrink", lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
               {"lambd": st.sampled_from([0.0, 0.5, 1.0])}, avoid=lambda lambd: (-lambd, lambd)),
    Case("argmax_in_bags", bags_sample, bags_reference, inputs=()),
    Case("rms_norm", rms_norm_sample, rms_norm_reference, inputs=(0, 1), single=2e-4, half=None),
    Case("add_rms_norm", of_sum(rms_norm_sample), add_reference(rms_norm_reference),
         inputs=(0, 1, 2), single=2e-4, half=None),
    Case("group_norm", group_norm_sample, group_norm_reference, inputs=(0, 1, 2), single=2e-4,
         half=None),
    Case("scale_channels", scale_channels_sample,
         lambda x, scale, shift: x * channels(scale, x) + channels(shift, x), inputs=(0, 1, 2)),
]

EXEMPT = {
    "limit_rows": "changes its inputs in place; tests/nn/test_embedding.py",
    "power_iteration": "changes its inputs in place; tests/nn/test_parametrize.py",
    "update_statistics": "changes its inputs in place; tests/nn/test_statistics.py",
}
