"""Contrastive losses: what belongs together is alike, all else is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from .distance import normalize
from .loss import cross_entropy

__all__ = ["clip_loss", "info_nce", "nt_xent"]


def _pairs(a: Any, b: Any, op: str, temperature: float) -> None:
    if getattr(a, "ndim", 0) != 2 or tuple(a.shape) != tuple(b.shape):
        raise ValueError(f"[{op}] two tensors (N, D) of one shape are needed, got "
                         f"{tuple(a.shape)} and {tuple(b.shape)}")
    if temperature <= 0:
        raise ValueError(f"[{op}] temperature must be positive, got {temperature}")


def info_nce(query: Any, key: Any, negatives: Any = None, temperature: float = 0.1,
             reduction: str = "mean") -> Tensor:
    """-log(exp(q . k / t) / sum over candidates c of exp(q . c / t)), with unit vectors.

    Args:
        query: (N, D).
        key: (N, D); key i belongs to query i.
        negatives: (M, D) that belong to no query; without them the other keys serve.

    Source: A. van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    2018, equation 4.
    """
    _pairs(query, key, "info_nce", temperature)
    query, key = normalize(query, dim=-1), normalize(key, dim=-1)
    if negatives is None:
        scores = query @ key.T                                                # (N, N)
        targets = ops.arange(scores.shape[0], device=scores.device)
    else:
        if negatives.ndim != 2 or negatives.shape[1] != query.shape[1]:
            raise ValueError(f"[info_nce] negatives must be (M, {query.shape[1]}), got "
                             f"{tuple(negatives.shape)}")
        own = ops.sum(query * key, axis=1, keepdims=True)                     # (N, 1)
        scores = ops.concat([own, query @ normalize(negatives, dim=-1).T], 1)
        targets = ops.zeros(scores.shape[0], dtype="int64", device=scores.device)
    return cross_entropy(scores / temperature, targets, reduction=reduction)


def nt_xent(z1: Any, z2: Any, temperature: float = 0.5, reduction: str = "mean") -> Tensor:
    """SimCLR's loss of two views of a batch: each of 2 N views has to find its other one.

    Source: T. Chen et al., "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020, equation 1.
    """
    _pairs(z1, z2, "nt_xent", temperature)
    n = z1.shape[0]
    z = normalize(ops.concat([z1, z2], 0), dim=-1)                            # (2 N, D)
    scores = z @ z.T / temperature
    itself = ops.eye(2 * n, dtype=bool, device=scores.device)
    scores = ops.where(itself, -np.inf, scores)
    targets = (ops.arange(2 * n, device=scores.device) + n) % (2 * n)
    logp = scores - ops.logsumexp(scores, axis=1, keepdims=True)
    loss = -ops.take_along_axis(logp, targets[:, None], 1)[:, 0]
    if reduction == "none":
        return loss
    return ops.mean(loss) if reduction == "mean" else ops.sum(loss)


def clip_loss(images: Any, texts: Any, logit_scale: Any = 1 / 0.07,
              reduction: str = "mean") -> Tensor:
    """Half the cross entropy of finding the text of each image, half of finding its image.

    Source: A. Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", ICML 2021, figure 3.
    """
    _pairs(images, texts, "clip_loss", 1.0)
    scores = logit_scale * (normalize(images, dim=-1) @ normalize(texts, dim=-1).T)
    own = ops.arange(scores.shape[0], device=scores.device)
    return 0.5 * (cross_entropy(scores, own, reduction=reduction)
                  + cross_entropy(scores.T, own, reduction=reduction))
