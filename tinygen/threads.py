"""Threads: how many the kernels use, and the threading layer that Numba runs them on.

Thread pools fight: idle OpenMP threads spin, and a Numba loop beside BLAS made `relu(a @ w)` ten
times slower (0.7 to 8 ms). Intel's tbb does not spin; OpenMP does not either when GOMP_SPINCOUNT
is 0 before its library loads; Numba's own `workqueue` aborts the process when two Python threads
call kernels at once, so it is never used: kernels then run on one thread.

Nothing here imports Numba: `prepare` sets the stage just before `kernels/cpu/native` does.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["count", "get_num_threads", "layer", "prepare", "set_num_threads"]

_VARIABLES = ("TINYGEN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
_layer = "not started"


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


def layer() -> str:
    """What `prepare` chose, in words."""
    return _layer


def prepare() -> str:
    """Choose Numba's threading layer and vector width; call it before Numba is imported.

    Returns:
        "tbb", "omp", or "serial": then kernels must run on one thread.
    """
    global _layer
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(count.largest, available())))
    elif count.largest > _numba_limit():
        count.largest = _numba_limit()
        count.value = min(count.value, count.largest)
    asked = os.environ.get("NUMBA_THREADING_LAYER", "default")
    if asked in ("default", "tbb", "safe", "threadsafe", "forksafe") and _load_tbb():
        _choose("tbb")
        _layer = "tbb"
        return "tbb"
    if importlib.util.find_spec("numba.np.ufunc.omppool") is not None and asked != "tbb":
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        _choose("omp")
        _layer = f"omp, GOMP_SPINCOUNT={os.environ['GOMP_SPINCOUNT']}"
        return "omp"
    count.value = count.largest = 1
    _layer = "one thread (neither tbb nor OpenMP; Numba's workqueue is not safe)"
    return "serial"


def _numba_limit() -> int:
    config: Any = importlib.import_module("numba.core.config")
    return int(config.NUMBA_NUM_THREADS)


def _choose(name: str) -> None:
    os.environ["NUMBA_THREADING_LAYER"] = name
    if "numba" in sys.modules:
        config: Any = importlib.import_module("numba.core.config")
        config.THREADING_LAYER = name


def _load_tbb() -> bool:
    """Load the library of the wheel `tbb`, which lies where Numba does not look for it."""
    if importlib.util.find_spec("numba.np.ufunc.tbbpool") is None:
        return False
    places = [Path(sys.prefix) / "lib" / "libtbb.so.12", Path(sys.prefix) / "lib/libtbb.12.dylib",
              Path(sys.prefix) / "Library" / "bin" / "tbb12.dll", Path("libtbb.so.12")]
    for path in places:
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False
