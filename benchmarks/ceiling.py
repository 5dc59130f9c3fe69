"""The machine's own limit: how fast it multiplies large float32 matrices."""

from __future__ import annotations

from time import perf_counter

import numpy as np

__all__ = ["gflops"]

_N = 1024
_a = np.random.default_rng(0).standard_normal((_N, _N), np.float32)
_b = _a.T.copy()
_out = np.empty_like(_a)


def gflops(seconds: float = 0.1) -> float:
    """The fastest of the products 1024x1024 that fit into `seconds`, in 10^9 operations/s."""
    best, end = float("inf"), perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        np.matmul(_a, _b, out=_out)
        best = min(best, perf_counter() - start)
    return 2 * _N ** 3 / best * 1e-9
