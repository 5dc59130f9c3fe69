"""What tinygen adds to NumPy's own call, per operation, forward and backward.

    python benchmarks/overhead.py            # the table
    python benchmarks/overhead.py --check    # exits with 1 when the budget is broken

The arrays have a handful of elements, so that what is timed is the call and not the arithmetic.
Each row times the same arithmetic twice, by hand in NumPy and through tinygen, in turns, and
keeps the fastest of many turns of each. A turn is shorter than a scheduler's time slice, so that
some are undisturbed on a busy machine, too. The budget is 3 us per op (DESIGN section 2) where
NumPy's own call takes 0.5 us; as a slower machine slows both alike, what is checked is the ratio

    (tinygen - NumPy) / NumPy,  at most 6 in the median row, forward and backward each.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import tinygen as tg

BUDGET_US = 3.0
NUMPY_CALL_US = 0.5          # NumPy's a * b on four float32 where the budget was set
LIMIT = BUDGET_US / NUMPY_CALL_US
ATTEMPTS = 3
CHAIN = 50                   # ops in a chain whose backward is timed
TURNS = 300                  # of NumPy and of tinygen each; a turn takes 0.1 to 0.5 ms


@dataclass
class Row:
    """One operation: seconds per op, NumPy by hand and through tinygen."""

    name: str
    numpy: float
    tinygen: float

    @property
    def overhead(self) -> float:
        """What tinygen adds, in microseconds per op."""
        return (self.tinygen - self.numpy) * 1e6

    @property
    def ratio(self) -> float:
        """What tinygen adds, in NumPy's own calls for the same op."""
        return (self.tinygen - self.numpy) / self.numpy


# (name, NumPy's own call, tinygen's): a, b, m are arrays; x, y, w tensors that require grad
# (w is a matrix); p, q tensors that do not.
FORWARD = [
    ("a * b, untracked", "a * b", "p * q"),
    ("a * b, tracked", "a * b", "x * y"),
    ("a * 2.0, tracked", "a * 2.0", "x * 2.0"),
    ("exp(a), tracked", "exp(a)", "tg.exp(x)"),
    ("a.sum(), tracked", "a.sum()", "x.sum()"),
    ("a.reshape(2, 2), tracked", "a.reshape(2, 2)", "x.reshape(2, 2)"),
    ("m @ m, 4x4, tracked", "m @ m", "w @ w"),
]


def forward_rows(repeats: int = TURNS, number: int = 100) -> list[Row]:
    """Each op of `FORWARD`, in turns with NumPy's own call."""
    a, b, m = (np.full(s, 0.5, np.float32) for s in ((4,), (4,), (4, 4)))
    names = {"np": np, "tg": tg, "exp": np.exp, "a": a, "b": b, "m": m,
             "p": tg.Tensor(a), "q": tg.Tensor(b), "x": tg.Tensor(a, requires_grad=True),
             "y": tg.Tensor(b, requires_grad=True), "w": tg.Tensor(m, requires_grad=True)}
    rows = []
    for name, ours, theirs in FORWARD:
        hand, engine = Timer(ours, globals=names), Timer(theirs, globals=names)
        best = _in_turns(repeats, partial(hand.timeit, number), partial(engine.timeit, number))
        rows.append(Row(name, *[t / number for t in best]))
    return rows


@dataclass
class Link:
    """One op of a chain, and its gradients by hand: `by_hand(g, y, x)` runs all that is needed."""

    name: str
    op: Callable[[Any, Any], Any]
    by_hand: Callable[[Any, Any, Any], Any]
    shape: tuple[int, ...] = (4,)
    other_tracked: bool = False



BACKWARD = [
    Link("x * c", lambda x, c: x * c, lambda g, x, c: g * c),
    Link("x * w, both tracked", lambda x, w: x * w,
         lambda g, x, w: (g * w, w + g * x)[0], other_tracked=True),
    Link("x + c", lambda x, c: x + c, lambda g, x, c: +g),
    Link("sin(x)", lambda x, c: tg.sin(x), lambda g, x, c: g * np.cos(x)),
    Link("x @ c, 4x4", lambda x, c: x @ c, lambda g, x, c: g @ c.swapaxes(-1, -2), shape=(4, 4)),
]


def backward_rows(repeats: int = TURNS, chains: int = 2) -> list[Row]:
    """The backward pass of a chain of each op of `BACKWARD`, per op."""
    rows = []
    for link in BACKWARD:
        best = _in_turns(repeats, partial(_time_by_hand, link, chains),
                         partial(_time_backward, link, chains))
        rows.append(Row(link.name, *[t / (chains * CHAIN) for t in best]))
    return rows


def _time_backward(link: Link, chains: int) -> float:
    """Seconds of `backward()` alone: the chains are recorded before the clock starts."""
    x = tg.Tensor(np.full(link.shape, 0.5, np.float32), requires_grad=True)
    c = tg.Tensor(np.full(link.shape, 0.5, np.float32), requires_grad=link.other_tracked)
    seed = np.ones(link.shape, np.float32)
    ends = []
    for _ in range(chains):
        y = x
        for _ in range(CHAIN):
            y = link.op(y, c)
        ends.append(y)
    start = perf_counter()
    for y in ends:
        y.backward(seed)
    return perf_counter() - start


def _time_by_hand(link: Link, chains: int) -> float:
    x = np.full(link.shape, 0.5, np.float32)
    c, g, by_hand = x.copy(), x.copy(), link.by_hand
    start = perf_counter()
    for _ in range(chains * CHAIN):
        by_hand(g, x, c)
    return perf_counter() - start


def _in_turns(repeats: int, *timed: Callable[[], float]) -> tuple[float, ...]:
    """The fastest of `repeats` turns of each; the collector stays out of the way."""
    best = [float("inf")] * len(timed)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for i, run in enumerate(timed):
                best[i] = min(best[i], run())
    finally:
        if collecting:
            gc.enable()
    return tuple(best)


def table(title: str, rows: list[Row]) -> str:
    """The rows as text, with the median of the overheads and of the ratios."""
    lines = [f"{title:28}{'NumPy':>9}{'tinygen':>9}{'added':>9}{'ratio':>8}",
             f"{'':28}{'us':>9}{'us':>9}{'us':>9}{'':>8}"]
    lines += [f"  {r.name:26}{r.numpy * 1e6:9.2f}{r.tinygen * 1e6:9.2f}{r.overhead:9.2f}"
              f"{r.ratio:8.2f}" for r in rows]
    lines.append(f"  {'median':26}{'':18}{median(r.overhead for r in rows):9.2f}"
                 f"{median(r.ratio for r in rows):8.2f}")
    return "\n".join(lines)


def broken(forward: list[Row], backward: list[Row], limit: float = LIMIT) -> list[str]:
    """In words, which of the two medians is above the limit; empty when both keep it."""
    return [f"{name}: tinygen adds {m:.2f} times NumPy's own call per op in the median row; "
            f"the limit is {limit:g}"
            for name, rows in (("forward", forward), ("backward", backward))
            if (m := median(r.ratio for r in rows)) > limit]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and with --check compare with the budget (up to three attempts)."""
    parser = argparse.ArgumentParser(description="Per-op overhead of tinygen over NumPy.")
    parser.add_argument("--check", action="store_true",
                        help=f"exit with 1 if a median ratio is above {LIMIT:g}")
    parser.add_argument("--repeats", type=int, default=TURNS,
                        help=f"turns of each side per row (default {TURNS})")
    args = parser.parse_args(argv)
    problems: list[str] = []
    for attempt in range(1, ATTEMPTS + 1):
        forward, backward = forward_rows(args.repeats), backward_rows(args.repeats)
        print(table("forward, per op", forward), end="\n\n")
        print(table(f"backward, per op of {CHAIN}", backward), flush=True)
        problems = broken(forward, backward) if args.check else []
        if not problems:
            return 0
        print(f"\nattempt {attempt} of {ATTEMPTS}: " + "; ".join(problems), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
