"""Window functions for spectra: weights that fade a frame of a signal out at both ends.

All take the number of samples M and, by keyword, `sym`: True for filter design (symmetric), False
for spectra (periodic: the symmetric window of M + 1 samples without its last). Names, arguments
and values are those of `torch.signal.windows` and `scipy.signal.windows`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backend
from ..tensor import Tensor

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine",
           "general_hamming", "hamming", "hann", "kaiser", "nuttall"]


def _window(M: Any, sym: bool, dtype: Any, device: Any, name: str,
            weights: Callable[[np.ndarray, int], np.ndarray]) -> Tensor:
    """`weights(n, last)` at the samples n = 0, 1, ..., where `last` is the last symmetric one."""
    count = operator.index(M)
    if count < 0:
        raise ValueError(f"[{name}] M must not be negative, got {M}")
    last = count - 1 if sym else count
    n = np.arange(count, dtype=np.float64)
    values = np.ones(count) if count <= 1 else weights(n, last)
    kind = backend.canonical_dtype(dtype or np.float32)
    return Tensor.wrap(backend.to_device(values.astype(kind), backend.canonical_device(device)))


def general_cosine(M: int, *, a: Sequence[float], sym: bool = True, dtype: Any = None,
                   device: Any = None) -> Tensor:
    """A sum of cosines: w[n] = sum over k of (-1)^k a[k] cos(2 pi k n / (M - 1)).

    >>> general_cosine(3, a=[0.5, 0.5]).tolist()
    [0.0, 1.0, 0.0]
    """
    if not len(a):
        raise ValueError("[general_cosine] a must hold at least one coefficient")
    return _window(M, sym, dtype, device, "general_cosine", lambda n, last: np.sum(
        [(-1) ** k * c * np.cos(2 * math.pi * k * n / last) for k, c in enumerate(a)], axis=0))


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: Any = None,
                    device: Any = None) -> Tensor:
    """w[n] = alpha - (1 - alpha) cos(2 pi n / (M - 1))."""
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, dtype=dtype, device=device)


def hamming(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """w[n] = 0.54 - 0.46 cos(2 pi n / (M - 1))."""
    return general_hamming(M, sym=sym, dtype=dtype, device=device)


def hann(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """w[n] = 1/2 - 1/2 cos(2 pi n / (M - 1)), the raised cosine.

    >>> hann(4, sym=False).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, device=device)


def blackman(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """w[n] = 0.42 - 0.5 cos(2 pi n / (M - 1)) + 0.08 cos(4 pi n / (M - 1))."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, device=device)


def nuttall(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """The minimum 4-term Blackman-Harris window (A. Nuttall, IEEE Trans. ASSP 29, 1981)."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, dtype=dtype,
                          device=device)


def bartlett(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """The triangle: w[n] = 1 - |2 n / (M - 1) - 1|."""
    return _window(M, sym, dtype, device, "bartlett",
                   lambda n, last: 1 - np.abs(2 * n / last - 1))


def cosine(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """Half a wave of the sine: w[n] = sin(pi (n + 1/2) / M)."""
    return _window(M, sym, dtype, device, "cosine",
                   lambda n, last: np.sin(math.pi * (n + 0.5) / (last + 1)))


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
                dtype: Any = None, device: Any = None) -> Tensor:
    """w[n] = exp(-|n - center| / tau); the middle is the default centre."""
    if tau <= 0:
        raise ValueError(f"[exponential] tau must be positive, got {tau}")
    if center is not None and sym:
        raise ValueError("[exponential] center needs sym=False: a symmetric window has its own")
    return _window(M, sym, dtype, device, "exponential", lambda n, last: np.exp(
        -np.abs(n - (last / 2 if center is None else center)) / tau))


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None,
             device: Any = None) -> Tensor:
    """w[n] = exp(-((n - (M - 1) / 2) / std)^2 / 2); `std` in samples."""
    if std <= 0:
        raise ValueError(f"[gaussian] std must be positive, got {std}")
    return _window(M, sym, dtype, device, "gaussian",
                   lambda n, last: np.exp(-0.5 * ((n - last / 2) / std) ** 2))


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None,
           device: Any = None) -> Tensor:
    """w[n] = I0(beta sqrt(1 - (2 n / (M - 1) - 1)^2)) / I0(beta), with the Bessel function I0."""
    if beta < 0:
        raise ValueError(f"[kaiser] beta must not be negative, got {beta}")
    return _window(M, sym, dtype, device, "kaiser", lambda n, last: np.i0(
        beta * np.sqrt(np.maximum(1 - (2 * n / last - 1) ** 2, 0))) / np.i0(beta))
