"""Threads: how many the kernels and NumPy's BLAS use.

Thread pools fight: idle OpenMP threads spin, and a Numba loop beside BLAS made `relu(a @ w)` ten
times slower (0.7 to 8 ms). The kernels' own pool (`kernels/cpu/native/pool.py`) lets others run
while it looks out for work, and sleeps after a tenth of a millisecond.
"""

from __future__ import annotations

import importlib.util
import os

__all__ = ["count", "get_num_threads", "set_num_threads"]

_VARIABLES = ("TINYGEN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


def available() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wanted() -> int:
    """Threads asked for by the first variable of the environment that is a number, else all."""
    for name in _VARIABLES:
        value = os.environ.get(name, "").partition(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            return int(value)
    return available()


class _Count:
    """How many threads a kernel may use now; kernels read `count.value` at each call."""

    __slots__ = ("largest", "value")

    def __init__(self) -> None:
        self.value = self.largest = _wanted()


count = _Count()


def get_num_threads() -> int:
    """How many threads the CPU kernels use."""
    return count.value


def set_num_threads(n: int) -> None:
    """Let the CPU kernels use `n` threads, and NumPy's BLAS too where threadpoolctl is installed.

    Raises:
        ValueError: `n` is below 1, or above what the process started with (TINYGEN_NUM_THREADS,
            NUMBA_NUM_THREADS or OMP_NUM_THREADS, else the number of processors).
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= count.largest:
        raise ValueError(f"[set_num_threads] n must be a whole number from 1 to {count.largest}, "
                         f"got {n!r}; set TINYGEN_NUM_THREADS before Python starts for more")
    count.value = n
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits
        threadpool_limits(n, user_api="blas")
