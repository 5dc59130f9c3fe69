"""Do the thread pools of BLAS and of the kernels get in each other's way?

    python benchmarks/interplay.py     # prints the ratio; ends with 1 above 1.5

NumPy's BLAS multiplies, then a kernel on all threads takes the result, again and again; beside it
each of the two runs alone. Idle threads that spin made the pair ten times slower than BLAS alone.
The ratio is (pair) / (BLAS + kernel), from the fastest of many turns; it is no part of `make test`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import tinygen as tg
from tinygen import threads
from tinygen.primitive import KERNELS

LIMIT = 1.5
TURNS, REPEATS = 60, 8


def best(work: Callable[[], object]) -> float:
    """Seconds of one call, in the fastest of many turns of several."""
    fastest = float("inf")
    for _ in range(TURNS):
        start = perf_counter()
        for _ in range(REPEATS):
            work()
        fastest = min(fastest, (perf_counter() - start) / REPEATS)
    return fastest


def main() -> int:
    """Measure and print."""
    draw = np.random.default_rng(0)
    a, w = (draw.standard_normal((512, 512), np.float32) for _ in range(2))
    x = tg.asarray(np.maximum(a, 0.0))
    tg.gelu(x)
    kernel = KERNELS.get(("gelu_exact", np.ndarray))
    if kernel is None or kernel.last is not True:
        print("no kernels here: nothing to compare")
        return 0
    blas, alone = best(lambda: a @ w), best(lambda: tg.gelu(x))
    pair = best(lambda: tg.gelu(tg.asarray(a @ w)))
    ratio = pair / (blas + alone)
    print(f"BLAS 512x512 {blas * 1e6:.0f} us, gelu {alone * 1e6:.0f} us, one after the other "
          f"{pair * 1e6:.0f} us: {ratio:.2f} times their sum, limit {LIMIT}; "
          f"{threads.get_num_threads()} threads")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
