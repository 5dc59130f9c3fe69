"""How alike two images are: structural similarity, PSNR; and losses for masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...constants import beside
from ...ops.loss import checked, reduced
from ...tensor import Tensor

__all__ = ["dice_loss", "ms_ssim", "psnr", "sigmoid_focal_loss", "ssim", "total_variation"]

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _images(x: Any, y: Any, op: str) -> None:
    if getattr(x, "ndim", 0) != 4 or tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"[{op}] two batches of images (N, C, H, W) of one shape are needed, got "
                         f"{tuple(x.shape)} and {tuple(y.shape)}")


def _blur(x: Tensor, window_size: int, sigma: float) -> Tensor:
    """Local means under a Gaussian window, without the border: (N, C, H - w + 1, W - w + 1)."""
    n, c, h, w = x.shape
    at = np.arange(window_size) - (window_size - 1) / 2
    weights = np.exp(-at ** 2 / (2 * sigma ** 2))
    window = Tensor.wrap(beside((weights / weights.sum()).astype(x.dtype), x))
    rows = ops.conv2d(ops.reshape(x, (n * c, 1, h, w)), window.reshape((1, 1, -1, 1)))
    y = ops.conv2d(rows, window.reshape((1, 1, 1, -1)))
    return ops.reshape(y, (n, c, *y.shape[2:]))


def _similarity(x: Any, y: Any, data_range: float, window_size: int, sigma: float, k1: float,
                k2: float, op: str) -> tuple[Tensor, Tensor]:
    """(luminance x contrast x structure, contrast x structure), one number per window."""
    _images(x, y, op)
    if min(x.shape[2:]) < window_size:
        raise ValueError(f"[{op}] images of {tuple(x.shape[2:])} are smaller than the window of "
                         f"{window_size}")
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    mean_x, mean_y = _blur(x, window_size, sigma), _blur(y, window_size, sigma)
    var_x = _blur(x * x, window_size, sigma) - mean_x * mean_x
    var_y = _blur(y * y, window_size, sigma) - mean_y * mean_y
    cov = _blur(x * y, window_size, sigma) - mean_x * mean_y
    contrast = (2 * cov + c2) / (var_x + var_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * contrast, contrast


def ssim(x: Any, y: Any, data_range: float = 1.0, window_size: int = 11, sigma: float = 1.5,
         k1: float = 0.01, k2: float = 0.03, reduction: str = "mean") -> Tensor:
    """The structural similarity of two batches of images (N, C, H, W): 1 where they are equal.

    (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2)) with means,
    variances and covariance under a Gaussian window, c_i = (k_i data_range)^2, averaged over all
    windows inside the image. As a loss take 1 - ssim.

    Args:
        data_range: the largest value of a pixel less the smallest (2 for images in [-1, 1]).
        reduction: ``"none"`` gives one number per image.

    Source: Z. Wang et al., "Image Quality Assessment", IEEE Trans. Image Processing 13, 2004.
    """
    checked(reduction, "ssim")
    full, _ = _similarity(x, y, data_range, window_size, sigma, k1, k2, "ssim")
    return reduced(ops.mean(full, axis=(1, 2, 3)), reduction)


def ms_ssim(x: Any, y: Any, data_range: float = 1.0, window_size: int = 11, sigma: float = 1.5,
            k1: float = 0.01, k2: float = 0.03, weights: Sequence[float] = SCALES,
            reduction: str = "mean") -> Tensor:
    """SSIM over several scales: contrast at each, luminance at the coarsest, as a product.

    Source: Z. Wang et al., "Multi-scale Structural Similarity", Asilomar 2003.
    """
    op = "ms_ssim"
    checked(reduction, op)
    _images(x, y, op)
    least = (window_size - 1) * 2 ** (len(weights) - 1) + 1
    if min(x.shape[2:]) < least:
        raise ValueError(f"[{op}] {len(weights)} scales need images of {least} pixels or more, "
                         f"got {tuple(x.shape[2:])}; give fewer weights or a smaller window")
    result: Any = 1.0
    for i, weight in enumerate(weights):
        full, contrast = _similarity(x, y, data_range, window_size, sigma, k1, k2, op)
        last = i == len(weights) - 1
        value = ops.mean(full if last else contrast, axis=(2, 3))             # (N, C)
        result = result * ops.relu(value) ** weight
        if not last:
            x, y = (ops.avg_pool2d(v, 2) for v in (x, y))
    return reduced(ops.mean(result, axis=1), reduction)


def psnr(x: Any, y: Any, data_range: float = 1.0, reduction: str = "mean") -> Tensor:
    """The peak signal-to-noise ratio in decibel: 10 log10(data_range^2 / mean((x - y)^2))."""
    checked(reduction, "psnr")
    x, y = (v if hasattr(v, "shape") else Tensor(v) for v in (x, y))
    if tuple(x.shape) != tuple(y.shape) or x.ndim < 2:
        raise ValueError(f"[psnr] two batches of one shape (N, ...) are needed, got "
                         f"{tuple(x.shape)} and {tuple(y.shape)}")
    error = ops.mean(ops.square(x - y), axis=tuple(range(1, x.ndim)))
    return reduced(20 * math.log10(data_range) - 10 * ops.log10(error), reduction)


def total_variation(x: Any, reduction: str = "mean") -> Tensor:
    """The sum of |differences| between neighbouring pixels of each image (N, C, H, W).

    Source: L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal", 1992.
    """
    checked(reduction, "total_variation")
    _images(x, x, "total_variation")
    down = ops.absolute(x[:, :, 1:] - x[:, :, :-1])
    right = ops.absolute(x[..., 1:] - x[..., :-1])
    return reduced(ops.sum(down, axis=(1, 2, 3)) + ops.sum(right, axis=(1, 2, 3)), reduction)


def dice_loss(input: Any, target: Any, smooth: float = 1.0, reduction: str = "mean") -> Tensor:
    """1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth) for masks of probabilities (N, ...).

    Source: F. Milletari et al., "V-Net", 3DV 2016.
    """
    checked(reduction, "dice_loss")
    if tuple(input.shape) != tuple(target.shape) or input.ndim < 2:
        raise ValueError(f"[dice_loss] two batches of one shape (N, ...) are needed, got "
                         f"{tuple(input.shape)} and {tuple(target.shape)}")
    axes = tuple(range(1, input.ndim))
    shared = ops.sum(input * target, axis=axes)
    return reduced(1 - (2 * shared + smooth) / (ops.sum(input, axis=axes)
                                                + ops.sum(target, axis=axes) + smooth), reduction)


def sigmoid_focal_loss(input: Any, target: Any, alpha: float = 0.25, gamma: float = 2.0,
                       reduction: str = "none") -> Tensor:
    """alpha_t (1 - p_t)^gamma (-log p_t) with p = sigmoid(input): hard examples count more.

    Names and defaults of torchvision's function; alpha < 0 leaves the factor out.

    Source: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    checked(reduction, "sigmoid_focal_loss")
    p = ops.sigmoid(input)
    loss = ops.binary_cross_entropy_with_logits(input, target, reduction="none")
    loss = loss * (1 - (p * target + (1 - p) * (1 - target))) ** gamma
    if alpha >= 0:
        loss = (alpha * target + (1 - alpha) * (1 - target)) * loss
    return reduced(loss, reduction)
