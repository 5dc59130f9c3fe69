"""How near a picture is to its original: PSNR and SSIM."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["psnr", "ssim"]


def psnr(images: Any, originals: Any, data_range: float = 1.0) -> np.ndarray:
    """The peak signal-to-noise ratio of each image, in decibels.

    10 log10(data_range^2 / mean((x - y)^2)), the mean over all channels and pixels of an image. An
    image equal to its original has infinitely many.

    Args:
        images, originals: arrays or tensors (N, C, H, W), or one picture (C, H, W) or (H, W).
        data_range: greatest minus least possible value: 1, or 255 for uint8.

    Returns:
        float64 (N,), or a number for one picture.

    Raises:
        ValueError: the shapes differ or are none of these, or data_range is not positive.

    >>> round(float(psnr(np.full((8, 8), 0.1), np.zeros((8, 8)))), 6)
    20.0
    """
    a, b = _pairs("psnr", images, originals, data_range)
    errors = np.square(a - b).mean(axis=(1, 2, 3))                         # (N,)
    with np.errstate(divide="ignore"):
        found = 10 * np.log10(data_range ** 2 / errors)
    return found if np.ndim(images) == 4 else found[0]


def ssim(images: Any, originals: Any, data_range: float = 1.0, window: int = 11,
         sigma: float = 1.5) -> np.ndarray:
    """The structural similarity of each image to its original: 1 where they are equal.

    ((2 m_x m_y + c1)(2 s_xy + c2)) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2)), with means,
    variances and covariance under a Gaussian window, c1 = (0.01 data_range)^2 and
    c2 = (0.03 data_range)^2; averaged over all places where the window fits, and over channels.

    Args:
        images, originals, data_range: see `psnr`.
        window: the side of the window, odd; smaller than the paper's 11 for small pictures.
        sigma: the standard deviation of its weights, in pixels.

    Returns:
        float64 (N,), or a number for one picture.

    Raises:
        ValueError: as for `psnr`; the window is even or does not fit into the pictures.

    Source: Z. Wang, A. Bovik, H. Sheikh and E. Simoncelli, "Image Quality Assessment: From Error
    Visibility to Structural Similarity", IEEE Trans. Image Processing 13(4), 2004.

    >>> picture = np.random.default_rng(0).random((16, 16))
    >>> round(float(ssim(picture, picture)), 12)
    1.0
    """
    x, y = _pairs("ssim", images, originals, data_range)
    if window < 1 or window % 2 == 0 or window > min(x.shape[2:]) or sigma <= 0:
        raise ValueError(f"[ssim] window {window} and sigma {sigma} on pictures of "
                         f"{x.shape[2]}x{x.shape[3]}; an odd window that fits into them and a "
                         "positive sigma are expected")
    weights = np.exp(-0.5 * np.square((np.arange(window) - window // 2) / sigma))
    weights /= weights.sum()

    def smooth(z: np.ndarray) -> np.ndarray:                  # (N, C, H, W) -> smaller H and W
        for axis in (2, 3):
            z = np.lib.stride_tricks.sliding_window_view(z, window, axis=axis) @ weights
        return z

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x ** 2
    variance_y = smooth(y * y) - mean_y ** 2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x ** 2 + mean_y ** 2 + c1) * (variance_x + variance_y + c2)))
    found = similarity.mean(axis=(1, 2, 3))
    return found if np.ndim(images) == 4 else found[0]


def _pairs(name: str, images: Any, originals: Any, data_range: float,
           ) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, C, H, W)."""
    a, b = (np.asarray(x.numpy() if hasattr(x, "numpy") else x, np.float64)
            for x in (images, originals))
    if a.shape != b.shape or a.ndim not in (2, 3, 4) or a.size == 0:
        raise ValueError(f"[{name}] images: {a.shape}, originals: {b.shape}; two equal shapes are "
                         "expected, (N, C, H, W), (C, H, W) or (H, W), with something in them")
    if not data_range > 0:
        raise ValueError(f"[{name}] data_range must be positive, got {data_range}")
    shape = (1,) * (4 - a.ndim) + a.shape
    return a.reshape(shape), b.reshape(shape)
