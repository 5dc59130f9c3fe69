"""Activations, normalisation and losses."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from scipy import special

from tests import layer_calls as layers
from tests.drawing import Case, between
from tests.families import binary, moving, unary, unary_with

# Normalisation divides by a standard deviation that may be small: narrow types lose digits there.
STEEP = {"half": None, "single": 2e-4}
SLOPES = st.sampled_from([0.0, 0.01, 0.2, 1.0])

CASES = [
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
    # softmax, normalisation, losses
    moving("softmax", layers.softmax, layers.softmax_attrs, min_dims=1),
    moving("log_softmax", lambda x, axis: np.log(layers.softmax(x, axis)), layers.softmax_attrs,
           min_dims=1),
    Case("softmax_grad", layers.softmax_grad_sample,
         lambda g, y, axis: y * g - y * (g * y).sum(axis, keepdims=True), inputs=(0, 1)),
    Case("log_softmax_grad", layers.softmax_grad_sample,
         lambda g, y, axis: g - np.exp(y) * g.sum(axis, keepdims=True), inputs=(0, 1)),
    Case("layer_norm", layers.layer_norm_sample, layers.layer_norm_reference, inputs=(0, 1, 2),
         **STEEP),
    Case("add_layer_norm", layers.of_sum(layers.layer_norm_sample),
         layers.add_reference(layers.layer_norm_reference), inputs=(0, 1, 2, 3), **STEEP),
    Case("batch_norm", layers.batch_norm_sample, layers.batch_norm_reference, inputs=(0, 1, 2),
         **STEEP),
    Case("batch_norm_activation", layers.batch_norm_activation_sample,
         layers.batch_norm_activation_reference, inputs=(0, 1, 2), **STEEP),
    Case("cross_entropy", layers.cross_entropy_sample, layers.cross_entropy_reference),
    Case("bce_with_logits", layers.pair_loss_sample,
         lambda x, t, reduction: layers.reduced(
             -t * special.log_expit(x) - (1 - t) * special.log_expit(-x), reduction),
         inputs=(0, 1)),
    binary("bce", lambda p, t: -t * np.log(p) - (1 - t) * np.log(1 - p),
           x=lambda s: between(s, 0.2, 0.8), y=lambda s: between(s, 0.0, 1.0)),
    Case("mse_loss", layers.pair_loss_sample,
         lambda x, t, reduction: layers.reduced((x - t) ** 2, reduction), inputs=(0, 1)),
]
