"""Negative log-likelihoods: of counts, of measurements with known noise, of large vocabularies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...ops.loss import checked, reduced
from ...tensor import Tensor
from .loss import chosen, cross_entropy

__all__ = ["gaussian_nll_loss", "linear_cross_entropy", "poisson_nll_loss"]


def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     size_average: None = None, eps: float = 1e-8, reduce: None = None,
                     reduction: str = "mean") -> Tensor:
    """rate - target * log(rate): -log of a Poisson distribution, up to a term of the target.

    Args:
        input: log(rate), or the rate itself with ``log_input=False``.
        full: add Stirling's approximation of log(target!) for targets above 1.
        eps: added to the rate before its logarithm is taken.
    """
    op = "poisson_nll_loss"
    chosen(op, size_average, reduce, reduction)
    input, target = (x if hasattr(x, "shape") else Tensor(x) for x in (input, target))
    loss = (ops.exp(input) - target * input if log_input
            else input - target * ops.log(input + eps))
    if full:
        many = ops.greater(target, 1)
        t = ops.where(many, target, 2)
        stirling = t * ops.log(t) - t + 0.5 * ops.log(2 * math.pi * t)
        loss = loss + ops.where(many, stirling, 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:
    """(log(var) + (input - target)^2 / var) / 2: -log of a normal distribution.

    Args:
        input: means.
        var: variances, a number or a tensor that broadcasts; (...,) serves for (..., D) too.
            Below `eps` they count as `eps`, and the gradient goes on as if they did not.
        full: add log(2 pi) / 2.

    Source: D. Nix and A. Weigend, "Estimating the mean and variance of the target probability
    distribution", ICNN 1994.
    """
    op = "gaussian_nll_loss"
    checked(reduction, op)
    if eps <= 0:
        raise ValueError(f"[{op}] eps must be positive, got {eps}")
    input, target = (x if hasattr(x, "shape") else Tensor(x) for x in (input, target))
    if not hasattr(var, "shape"):
        var = ops.full_like(input, var)
    if tuple(var.shape) != tuple(input.shape):
        if tuple(var.shape) == tuple(input.shape[:-1]):
            var = ops.expand_dims(var, -1)
        elif var.ndim != input.ndim or any(n not in (m, 1) for n, m in zip(
                var.shape, input.shape, strict=True)):
            raise ValueError(f"[{op}] var has shape {tuple(var.shape)}; for an input of "
                             f"{tuple(input.shape)} it must be that, that without its last axis, "
                             "or 1 along some axes")
    values = var.data if isinstance(var, Tensor) else var
    if isinstance(values, np.ndarray) and values.size and values.min() < 0:    # no wait for a GPU
        raise ValueError(f"[{op}] var must not be negative, got {values.min()}")
    floor = ops.maximum(var.detach() if isinstance(var, Tensor) else var, eps)
    var = var + (floor - (var.detach() if isinstance(var, Tensor) else var))
    loss = 0.5 * (ops.log(var) + ops.square(input - target) / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


def linear_cross_entropy(input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None,
                         weight: Any = None, reduction: str = "mean",
                         ignore_index: int | None = None, label_smoothing: float = 0.0,
                         options: Any = None) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target): the last layer of a model.

    Args:
        input: (N, D) or (D,).
        linear_weight: (C, D), or (C, d1, ..., D) for targets (N, d1, ...).
        options: PyTorch's choice of how to divide the work; has no effect on the result.
    """
    op, shape = "linear_cross_entropy", tuple(linear_weight.shape)
    if input.ndim not in (1, 2) or len(shape) < 2 or input.shape[-1] != shape[-1]:
        raise ValueError(f"[{op}] input: {tuple(input.shape)}, linear_weight: {shape}; (N, D) and "
                         "(C, ..., D) fit together")
    if linear_bias is not None and tuple(linear_bias.shape) != shape[:-1]:
        raise ValueError(f"[{op}] linear_bias has shape {tuple(linear_bias.shape)}; that of "
                         f"linear_weight without its last axis, {shape[:-1]}, is expected")
    if len(shape) > 2 and input.ndim < 2:
        raise ValueError(f"[{op}] a linear_weight of shape {shape} needs inputs (N, D), got "
                         f"{tuple(input.shape)}")
    flat = ops.reshape(linear_weight, (-1, shape[-1]))
    bias = None if linear_bias is None else ops.reshape(linear_bias, (-1,))
    logits = ops.linear(input, flat) if bias is None else ops.linear(input, flat, bias)
    logits = ops.reshape(logits, tuple(logits.shape[:-1]) + shape[:-1])
    return cross_entropy(logits, target, weight, reduction=reduction,
                         ignore_index=-100 if ignore_index is None else ignore_index,
                         label_smoothing=label_smoothing)
