"""The machine's own limits: how fast it multiplies large float32 matrices and copies arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from ..threads import get_num_threads

__all__ = ["bandwidth", "ceilings", "gflops"]

_N = 1024
_ELEMENTS = 1 << 22       # 16 MiB, as the benchmarks' rows on 4M elements have them


_fastest = [0.0, 0.0]


def ceilings(again: bool = False) -> tuple[float, float]:
    """Operations and bytes a second: the fastest that this process has measured so far.

    Measured at the first call, and `again` if asked: machines get faster and slower.
    """
    if again or not _fastest[0]:
        _fastest[:] = max(_fastest[0], gflops() * 1e9), max(_fastest[1], bandwidth() * 1e9)
    return _fastest[0], _fastest[1]


def gflops(seconds: float = 0.1) -> float:
    """The fastest of the products 1024x1024 that fit into `seconds`, in 10^9 operations/s."""
    a = np.random.default_rng(0).standard_normal((_N, _N), np.float32)
    b, out = a.T.copy(), np.empty_like(a)
    best, end = float("inf"), perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, perf_counter() - start)
    return 2 * _N ** 3 / best * 1e-9


def bandwidth(seconds: float = 0.1) -> float:
    """The fastest copy of 16 MiB, each thread its part, in 10^9 bytes/s read and written."""
    threads = get_num_threads()
    source, target = np.ones(_ELEMENTS, np.float32), np.zeros(_ELEMENTS, np.float32)
    pieces = list(zip(np.array_split(target, threads), np.array_split(source, threads),
                      strict=True))
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        end = perf_counter() + seconds
        while perf_counter() < end:
            start = perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), pieces))
            best = min(best, perf_counter() - start)
    return 2 * source.nbytes / best * 1e-9
