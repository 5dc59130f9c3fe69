"""How well moments of a video are found."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["temporal_iou"]


def temporal_iou(predicted: Any, true: Any) -> np.ndarray:
    """Length of what two moments share over the length of what they cover together, (...).

    |a and b| / |a or b| for moments [start, end), (..., 2), in frames or seconds: 1 for equal ones,
    0 for those that only touch. Its mean, and the share of moments above 0.5 or 0.7 (recall at
    that overlap), are what is usually reported.

    Raises:
        ValueError: the moments are not (..., 2), or one ends before it starts.

    Source: J. Gao et al., "TALL: Temporal Activity Localization via Language Query", ICCV 2017.

    >>> temporal_iou([[0, 4], [2, 6]], [[0, 4], [4, 8]]).round(3)
    array([1.   , 0.333])
    """
    a, b = (np.asarray(x.numpy() if hasattr(x, "numpy") else x, np.float64)
            for x in (predicted, true))
    if a.shape != b.shape or a.shape[-1:] != (2,):
        raise ValueError(f"[temporal_iou] predicted: {a.shape}, true: {b.shape}; equally many "
                         "moments (..., 2) are expected")
    for name, moments in (("predicted", a), ("true", b)):
        wrong = moments[..., 1] <= moments[..., 0]
        if wrong.any():
            start, end = moments[wrong][0]
            raise ValueError(f"[temporal_iou] {name}: a moment from {start:g} to {end:g}; each "
                             "must end after it starts")
    shared = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    shared = shared.clip(0)
    return shared / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared)
