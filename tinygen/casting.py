"""What autocast does to a call: inputs are turned into the type that suits the operation.

`tinygen.amp` opens regions and puts `casting` around the calls of primitives; functions that are
made of several (most losses, distances) ask by themselves, through `casts`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .mode import RAW, local

__all__ = ["FUNCTIONS", "casts", "is_autocasting"]

# Functions of `nn.functional` that are made of several operations, and compute in float32.
FUNCTIONS = frozenset((
    "cdist", "clip_loss", "cosine_embedding_loss", "cosine_similarity", "ctc_loss", "dice_loss",
    "gaussian_nll_loss", "grid_sample", "hinge_embedding_loss", "hinge_loss", "huber_loss",
    "info_nce", "kl_div", "l1_loss", "local_response_norm", "margin_ranking_loss", "ms_ssim",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
    "normalize", "nt_xent", "pairwise_distance", "pdist", "poisson_nll_loss",
    "sigmoid_focal_loss", "smooth_l1_loss", "soft_margin_loss", "ssim", "total_variation",
    "triplet_margin_loss", "triplet_margin_with_distance_loss"))


def is_autocasting() -> bool:
    """Does an open region of autocast choose types in this thread?"""
    region = local.autocast
    return region is not None and region.dtype is not None


def casts(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, given tensors of the type that autocast's policy has for its name."""
    name = function.__name__

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        region = local.autocast
        if region is not None and not local.mode & RAW:
            args, kwargs = region.cast_for(name, args, kwargs)
        return function(*args, **kwargs)
    return run
