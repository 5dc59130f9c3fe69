"""Calls of softmax, normalisation and losses, and their definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import (
    Sample,
    between,
    shapes,
    spread,
)

# -- softmax, normalisation, losses ----------------------------------------------------------------


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def softmax_grad_sample(draw):
    shape = draw(shapes(min_dims=1))
    return Sample((between(shape), between(shape)), softmax_attrs(draw, shape))


def softmax_attrs(draw, shape):
    return {"axis": draw(st.integers(0, len(shape) - 1))}


def optional(draw, makers):
    """The makers with the last ones left out, and any of the rest None."""
    kept = makers[:draw(st.integers(0, len(makers)))]
    return tuple(m if draw(st.booleans()) else None for m in kept)


def layer_norm_sample(draw):
    shape = draw(shapes(empty=False))
    last = draw(shapes(min_dims=1, max_dims=2, empty=False)) + (draw(st.integers(2, 4)),)
    shape = shape[:2] + last
    axes = tuple(range(len(shape) - len(last), len(shape)))
    return Sample((spread(shape), *optional(draw, (between(last), between(last)))),
                  {"axes": axes, "eps": draw(st.sampled_from([1e-5, 0.1]))})


def layer_norm_reference(x, weight=None, bias=None, *, axes, eps):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else weight)
    return y + (0 if bias is None else bias), mean, 1 / np.sqrt(var + eps)


def of_sum(sample):
    """Calls of a norm, with another array of x's shape behind it."""
    def drawn(draw):
        call = sample(draw)
        x, *params = call.makers
        def like(rng):
            return 0.1 * rng.standard_normal(np.shape(x(rng)))
        return Sample((x, like, *params), call.attrs)
    return drawn


def add_reference(reference):
    """The sum of the first two arrays, and the norm of that."""
    return lambda x, other, *params, **attrs: (x + other, *reference(x + other, *params, **attrs))


def batch_norm_sample(draw):
    n, c = draw(st.integers(3, 5)), draw(st.integers(1, 3))
    shape = (n, c, *draw(shapes(max_dims=2, empty=False)))
    return Sample((spread(shape), *optional(draw, (between((c,)), between((c,))))),
                  {"eps": draw(st.sampled_from([1e-5, 0.1]))})


def batch_norm_reference(x, weight=None, bias=None, *, eps):
    axes = (0, *range(2, x.ndim))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)

    def channels(v):
        return v.reshape(mean.shape)
    y = (x - mean) / np.sqrt(var + eps) * (1 if weight is None else channels(weight))
    return y + (0 if bias is None else channels(bias)), mean.reshape(-1), var.reshape(-1)


def batch_norm_activation_sample(draw):
    """Each channel on one side of the activation's corner; tests/jit/test_norms.py has both."""
    c = draw(st.integers(1, 3))
    x = spread((draw(st.integers(3, 5)), c, *draw(shapes(max_dims=2, empty=False))))
    return Sample((x, between((c,), 0.5, 1.0), lambda rng: rng.choice([-4.0, 4.0], c)),
                  {"eps": draw(st.sampled_from([1e-5, 0.1])),
                   "slope": draw(st.sampled_from([0.0, 0.3]))})


def batch_norm_activation_reference(x, weight=None, bias=None, *, eps, slope):
    z, mean, var = batch_norm_reference(x, weight, bias, eps=eps)
    return np.where(z > 0, z, slope * z), mean, var


REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def reduced(loss, reduction):
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def pair_loss_sample(draw):
    reduction = draw(REDUCTIONS)
    shape = draw(shapes(empty=reduction != "mean"))
    return Sample((between(shape), between(shape)), {"reduction": reduction})


def cross_entropy_sample(draw):
    n, c, reduction = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(REDUCTIONS)

    def target(rng):
        classes = rng.integers(0, c, n)
        return np.where((rng.random(n) < 0.3) & (np.arange(n) > 0), -100, classes)
    return Sample((between((n, c)), target, *optional(draw, (between((c,), 0.3, 2),))),
                  {"ignore_index": -100, "reduction": reduction,
                   "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0]))})


def cross_entropy_reference(x, target, weight=None, *, ignore_index, reduction, label_smoothing):
    n, c = x.shape
    weight = np.ones(c) if weight is None else weight
    q = np.full((n, c), label_smoothing / c)
    q[np.arange(n), np.where(target == ignore_index, 0, target)] += 1 - label_smoothing
    used = target != ignore_index
    loss = -(q * weight * np.log(softmax(x, 1))).sum(1) * used
    if reduction == "mean":
        loss = loss.sum() / (weight[np.where(used, target, 0)] * used).sum()
    top = x.max(1)
    kept = np.stack([top, logsumexp(x - top[:, None], 1)], 1)
    return reduced(loss, reduction) if reduction != "mean" else loss, kept
