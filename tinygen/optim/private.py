"""Differentially private updates (DP-SGD): each example's gradient clipped, noise on their sum.

The gradient of one example, g_i, is shortened to a length of at most C; an update follows

(sum_i g_i min(1, C / |g_i|) + N(0, (noise C)^2)) / expected batch size,

over a batch in which each example is by chance, independently of the others (`poisson_batch`). No
single example then says much about the result; how much, an accountant computes (`epsilon`).

For fully connected layers no gradient of a single example is ever formed. That of a weight is an
outer product, delta_i x_i^T, of what came in and of the gradient that came back, so its length is
|delta_i| |x_i|, and the clipped sum is one matrix product, delta^T diag(c) x: an update costs
little more than an ordinary one.

Sources: M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016; I. Goodfellow,
"Efficient Per-Example Gradient Computations", 2015 (lengths); Z. Bu et al., "Differentially Private
Optimization on Large Model at Small Cost", ICML 2023 (sums from kept products).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn, ops, random
from ..autograd import grad_of
from ..backend import Generator
from ..grad_mode import no_grad
from ..tensor import Tensor

__all__ = ["clipped_gradients", "epsilon", "poisson_batch", "private_gradients"]


def private_gradients(model: nn.Module, losses: Callable[[], Tensor], max_norm: float,
                      noise: float, expected: float, generator: Generator | None = None) -> Tensor:
    """Set `.grad` of every parameter to a private mean gradient; returns the lengths before.

    Args:
        model: all of its parameters are in fully connected layers.
        losses: computes the losses of a batch, (N,), one for each example and depending on that
            example alone.
        max_norm: C, the length that gradients of single examples are clipped to.
        noise: the standard deviation of the noise, in units of C; 0 for clipping alone.
        expected: the expected batch size; with `poisson_batch`, rate times number of examples.
        generator: of the noise (default: the CPU's).

    Raises:
        ValueError: the model has parameters elsewhere, or the losses are not one for each example.
    """
    if not (max_norm > 0 and noise >= 0 and expected > 0):
        raise ValueError("[private_gradients] max_norm and expected must be positive and noise not "
                         f"negative, got {max_norm}, {expected} and {noise}")
    sums, lengths = clipped_gradients(model, losses, max_norm)
    for p, total in sums:
        if noise:
            draws = random.normal(p.shape, std=noise * max_norm, dtype=p.dtype,
                                  generator=generator)
            total = total + draws.to(device=p.device)
        p.grad = total * (1 / expected)
    return lengths


def clipped_gradients(model: nn.Module, losses: Callable[[], Tensor], max_norm: float,
                      ) -> tuple[list[tuple[nn.Parameter, Tensor]], Tensor]:
    """The sum of clipped gradients for each parameter, and the lengths (N,) before clipping.

    Arguments and errors as in `private_gradients`.
    """
    layers = _layers(model)
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []
    hooks = [layer.register_forward_hook(
        lambda module, args, out: calls.append((module, args[0], out))) for layer in layers]
    try:
        loss = losses()
    finally:
        for hook in hooks:
            hook.remove()
    _check_calls(calls, loss)
    deltas = grad_of(loss.sum(), [out for _, _, out in calls])            # (N, out) each
    with no_grad():
        squares: Any = 0.0                                                # (N,), of the lengths
        for (layer, x, _), delta in zip(calls, deltas):
            inputs = ops.square(x).sum(axis=1) + (1.0 if layer.bias is not None else 0.0)
            squares = squares + ops.square(delta).sum(axis=1) * inputs
        lengths = ops.sqrt(squares)
        c = ops.minimum(1.0, max_norm / ops.maximum(lengths, 1e-12))      # (N,)
        sums: list[tuple[nn.Parameter, Tensor]] = []
        for (layer, x, _), delta in zip(calls, deltas):
            delta = delta * c.reshape(-1, 1)                              # (N, out)
            sums.append((layer.weight, delta.T @ x.detach()))             # (out, in)
            if layer.bias is not None:
                sums.append((layer.bias, delta.sum(axis=0)))
    return sums, lengths


def _layers(model: nn.Module) -> list[nn.Linear]:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    known = {id(p) for layer in layers for p in (layer.weight, layer.bias) if p is not None}
    other = [name for name, p in model.named_parameters() if id(p) not in known]
    if other or not layers:
        raise ValueError("[private_gradients] all parameters must be those of nn.Linear; others: "
                         f"{', '.join(other[:5]) or 'none, and there is no such layer'}")
    return layers


def _check_calls(calls: list[tuple[nn.Linear, Tensor, Tensor]], loss: Tensor) -> None:
    if loss.ndim != 1:
        raise ValueError(f"[private_gradients] losses: {loss.shape}; expected (N,), one for each "
                         "example: sum over pixels, not over the batch")
    wrong = [x.shape for _, x, _ in calls if x.ndim != 2 or x.shape[0] != loss.shape[0]]
    if wrong:
        raise ValueError(f"[private_gradients] a layer got {wrong[0]} for losses {loss.shape}; "
                         f"(N, features) with N = {loss.shape[0]} is expected")
    if len({id(layer) for layer, _, _ in calls}) != len(calls):
        raise ValueError("[private_gradients] a layer was used twice; lengths would be wrong")


def poisson_batch(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The numbers of the examples in a batch, each of `n` with probability `rate`: about n * rate.

    The accountant's promise holds for batches drawn so, and not for an epoch that is shuffled.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"[poisson_batch] rate must be in (0, 1], got {rate}")
    return np.flatnonzero(rng.random(n) < rate)


def epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of (epsilon, delta)-differential privacy after `steps` private updates.

    For neighbouring data sets that differ in one example being there or not. Computed by the
    library dp-accounting from Renyi divergences: an upper bound; infinite without noise.

    Args:
        noise: in units of the clipping length, as in `private_gradients`.
        rate: the chance of an example to be in a batch, as in `poisson_batch`.
        steps: how many updates.
        delta: what may go wrong; less than one over the number of examples.

    Raises:
        ModuleNotFoundError: dp-accounting is not installed.

    Source: I. Mironov, K. Talwar and L. Zhang, "Renyi Differential Privacy of the Sampled Gaussian
    Mechanism", 2019.
    """
    if not (0 < delta < 1 and 0 < rate <= 1 and noise >= 0 and steps >= 0):
        raise ValueError("[epsilon] delta and rate must be in (0, 1), noise and steps not "
                         f"negative, got {delta}, {rate}, {noise} and {steps}")
    if not steps or not noise:
        return math.inf if steps else 0.0
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.rdp import RdpAccountant
    except ModuleNotFoundError:
        raise ModuleNotFoundError("epsilon needs the library dp-accounting: "
                                  "pip install 'tinygen[examples]'") from None
    accountant = RdpAccountant([*range(2, 65), 80, 128, 256, 512])   # fractions may not converge
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps)
    return float(accountant.get_epsilon(delta))
