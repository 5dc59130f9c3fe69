"""Gradients of elementwise functions, which are primitives of their own; and dropout."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from scipy import special

from tests.drawing import Case, Sample, between, broadcastable, shapes
from tests.families import binary, unary

C, K = math.sqrt(2 / math.pi), 0.044715


def slope(name, reference, attrs=None, kink=lambda **_: (), inputs=(0, 1), low=-3.0, high=3.0):
    """g times a slope at x: the two broadcast."""
    def sample(draw):
        chosen = {key: draw(values) for key, values in (attrs or {}).items()}
        a, b = draw(broadcastable(2))
        return Sample((between(a), between(b, low, high, kink(**chosen))), chosen)
    return Case(name, sample, reference, inputs=inputs)


def mish_slope(x):
    t = np.tanh(np.log1p(np.exp(x)))
    return t + x * (1 - t * t) * special.expit(x)


def gelu_tanh_slope(x):
    t = np.tanh(C * (x + K * x ** 3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * C * (1 + 3 * K * x * x)


def bce_sample(draw):
    a, b = draw(broadcastable(2))
    return Sample((between(b, -3, 3), between(b, 0, 1), between(a)))


def split_mix(key, i):
    """Number i of the 32-bit stream of a key, in Python's own integers."""
    z = (key + (i // 2 + 1) * 0x9E3779B97F4A7C15) % 2 ** 64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2 ** 64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2 ** 64
    z ^= z >> 31
    return z >> 32 if i % 2 else z % 2 ** 32


def dropout_sample(draw):
    key = np.uint64(draw(st.integers(0, 2 ** 64 - 1)))
    return Sample((between(draw(shapes())), lambda rng: np.asarray(key)),
                  {"p": draw(st.sampled_from([0.1, 0.5, 0.9]))})


def dropout(x, key, p):
    kept = [split_mix(int(key), i) / 2 ** 32 >= p for i in range(x.size)]
    return x * np.reshape(kept, x.shape) / (1 - p)


CASES = [
    Case("dropout", dropout_sample, dropout),
    binary("tanh_grad", lambda g, y: g * (1 - y * y)),
    binary("sigmoid_grad", lambda g, y: g * y * (1 - y)),
    slope("relu_grad", lambda g, x: np.where(x > 0, g, 0), kink=lambda: (0,), inputs=(0,)),
    slope("leaky_relu_grad", lambda g, x, slope: g * np.where(x > 0, 1, slope),
          {"slope": st.sampled_from([0.0, 0.01, 0.2, 1.0])}, lambda slope: (0,), inputs=(0,)),
    slope("elu_grad", lambda g, x, alpha: g * np.where(x > 0, 1, alpha * np.exp(x)),
          {"alpha": st.sampled_from([0.5, 1.0, 2.0])}, lambda alpha: (0,)),
    slope("log_sigmoid_grad", lambda g, x: g * special.expit(-x)),
    slope("softplus_grad",
          lambda g, x, beta, threshold: g * np.where(beta * x > threshold, 1,
                                                     special.expit(beta * x)),
          {"beta": st.sampled_from([0.5, 1.0, 2.0]), "threshold": st.sampled_from([1.0, 20.0])},
          lambda beta, threshold: (threshold / beta,)),
    slope("silu_grad", lambda g, x: g * (special.expit(x) * (1 + x * special.expit(-x)))),
    unary("mish", lambda x: x * np.tanh(np.log1p(np.exp(x))), -4, 4),
    slope("mish_grad", lambda g, x: g * mish_slope(x)),
    slope("gelu_exact_grad", lambda g, x: g * (
        special.ndtr(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))),
    slope("gelu_tanh_grad", lambda g, x: g * gelu_tanh_slope(x)),
    Case("bce_with_logits_grad", bce_sample, lambda x, t, g: g * (special.expit(x) - t),
         inputs=(0, 1, 2)),
]
