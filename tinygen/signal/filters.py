"""Convolution and correlation of signals, images and volumes, under SciPy's names."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor

__all__ = ["convolve", "correlate"]

_BY_AXES = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}
MODES = ("full", "valid", "same")


def convolve(in1: Any, in2: Any, mode: str = "full") -> Tensor:
    """out[n] = sum over k of in1[k] in2[n - k], along all (one to three) axes.

    Args:
        mode: ``"full"`` (m + n - 1 values along each axis), ``"same"`` (the middle, as many as
            `in1` has) or ``"valid"`` (where one lies wholly inside the other).

    >>> import tinygen as tg
    >>> convolve(tg.Tensor([1.0, 2.0, 3.0]), tg.Tensor([1.0, 1.0])).tolist()
    [1.0, 3.0, 5.0, 3.0]
    """
    return _slide("convolve", in1, in2, mode)


def correlate(in1: Any, in2: Any, mode: str = "full") -> Tensor:
    """out[n] = sum over k of in1[n + k] in2[k], with the shapes and modes of `convolve`."""
    in2 = in2 if isinstance(in2, Tensor) else ops.asarray(in2)
    return _slide("correlate", in1, ops.flip(in2), mode)


def _slide(op: str, in1: Any, in2: Any, mode: str) -> Tensor:
    a, b = (x if isinstance(x, Tensor) else ops.asarray(x) for x in (in1, in2))
    if mode not in MODES:
        raise ValueError(f"[{op}] mode must be one of {', '.join(MODES)}, got {mode!r}")
    if a.ndim != b.ndim or a.ndim not in _BY_AXES or not a.size or not b.size:
        raise ValueError(f"[{op}] in1: {tuple(a.shape)}, in2: {tuple(b.shape)}; two tensors that "
                         "are not empty, with equally many (one to three) axes, are expected")
    if mode == "valid":
        lengths = list(zip(a.shape, b.shape, strict=True))
        if all(m <= n for m, n in lengths):
            a, b = b, a
        elif any(m < n for m, n in lengths):
            raise ValueError(f"[{op}] in1: {tuple(a.shape)}, in2: {tuple(b.shape)}; for 'valid' "
                             "one must be as long as the other along every axis")
    wide = a if mode == "valid" else ops.pad(a, [(n - 1, n - 1) for n in b.shape])
    full = _BY_AXES[a.ndim](wide[None, None], ops.flip(b)[None, None])[0, 0]
    if mode != "same":
        return full
    return full[tuple(slice((n - 1) // 2, (n - 1) // 2 + m)
                      for m, n in zip(a.shape, b.shape, strict=True))]
