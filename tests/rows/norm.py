"""Normalisation beyond layer and batch norm, and what keeps its statistics."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawing import Case, Sample, between, far_from_zero, shapes
from tests.layer_calls import optional


def rms_norm_sample(draw):
    last = draw(shapes(min_dims=1, max_dims=2, empty=False))
    shape = draw(shapes(max_dims=2, empty=False)) + last
    return Sample((far_from_zero(shape), *optional(draw, (between(last),))),
                  {"axes": tuple(range(len(shape) - len(last), len(shape))),
                   "eps": draw(st.sampled_from([1e-5, 0.1]))})


def rms_norm_reference(x, weight=None, *, axes, eps):
    rstd = ((x ** 2).mean(axes, keepdims=True) + eps) ** -0.5
    return x * rstd * (1 if weight is None else weight), rstd


CASES = [
    Case("rms_norm", rms_norm_sample, rms_norm_reference, inputs=(0, 1), single=2e-4, half=None),
]

EXEMPT = {
    "update_statistics": "changes its inputs in place; tests/nn/test_statistics.py",
}
