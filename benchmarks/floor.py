"""`python -m benchmarks.floor`: what training steps cost on paper, and where their time goes.

Each macro row is recorded by `tg.jit`; every row of its program has a floor: its operations at the
speed of a large matrix product, or its bytes at that of a large copy, whichever takes longer.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import tinygen as tg
from tinygen.jit import Program, jit
from tinygen.jit.ceilings import ceilings
from tinygen.jit.memory import lives, totals
from tinygen.jit.report import Cost, costs, total
from tinygen.threads import get_num_threads
from tinygen.transforms import flatten

from . import workloads
from .rows import Row, select
from .tables import Table, plain_table

__all__ = ["Floor", "by_operation", "main", "measure", "tables"]

_TOP = 6          # operations that are named for each model
_TURNS = 4        # of the whole step and of its rows


@dataclass
class Floor:
    """A training step: its program, what its rows cost, and how long the whole takes."""

    row: Row
    program: Program
    found: list[Cost]
    recorded: Cost           # of the program before any pass, not measured
    step: float              # seconds of a replayed step, the fastest

    @property
    def sum(self) -> Cost:
        """All rows together."""
        return total(self.found)

    @property
    def least(self) -> float:
        """Seconds: every row at its own floor."""
        return sum(c.least for c in self.found)


class _Kept:
    """A jitted function that remembers the tensors it was called with."""

    def __init__(self, function: Callable[..., Any]):
        self.jitted, self.tensors = jit(function), list[Any]()

    def __call__(self, *args: Any) -> Any:
        self.tensors = [x for x in flatten(args) if isinstance(x, tg.Tensor)]
        return self.jitted(*args)


def measure(row: Row, seconds: float = 2.0) -> Floor:
    """Record the step of a macro row, and measure its rows and the whole, each for so long."""
    kept: list[_Kept] = []

    def keep(function: Callable[..., Any]) -> _Kept:
        kept.append(_Kept(function))
        return kept[0]
    work = workloads.load(row, keep)
    work.step()
    work.step()              # chooses what each row calls
    (update,) = kept
    program = update.jitted.program()
    first = program.before[0][1] if program.before else program
    step, found = float("inf"), costs(program, repeats=0)
    for _ in range(_TURNS if seconds else 1):     # in turns: machines get faster and slower
        step = min(step, _fastest(work.step, seconds / _TURNS))
        repeats = max(1, min(100, round(seconds / _TURNS / step)))
        found = [b if a.seconds is None else min(a, b, key=_seconds)
                 for a, b in zip(found, costs(program, update.tensors, repeats), strict=True)]
    return Floor(row, program, found, total(costs(first, repeats=0)), step)


def _fastest(call: Callable[[], Any], seconds: float) -> float:
    best, end = float("inf"), perf_counter() + seconds
    while best == float("inf") or perf_counter() < end:
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best


def _seconds(cost: Cost) -> float:
    return cost.seconds or 0.0


def by_operation(floor: Floor) -> list[tuple[str, int, float, float]]:
    """(operation, rows, seconds, seconds at the floor), those that lose most first."""
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for row, cost in zip(floor.program.rows, floor.found, strict=True):
        entry = found[row.op.name]
        entry[0] += 1
        entry[1] += cost.seconds or 0.0
        entry[2] += cost.least
    return sorted(((name, int(n), spent, least) for name, (n, spent, least) in found.items()),
                  key=lambda x: x[3] - x[2])


# -- showing ---------------------------------------------------------------------------------------


def tables(floors: list[Floor], titles: bool = False) -> list[Table]:
    """The steps and their floors; and where the time between goes."""
    return [_floors(floors, titles), _lost(floors, titles)]


def _floors(floors: list[Floor], titles: bool) -> Table:
    products, copies = ceilings()
    lines = []
    for f in floors:
        c, peak = f.sum, max(totals(f.program, lives(f.program)), default=0)
        lines.append([f.row.title if titles else f.row.name, str(len(f.program.rows)),
                      f"{c.flops / 1e6:.1f}", f"{f.recorded.bytes / 1e6:.1f}",
                      f"{c.bytes / 1e6:.1f}", f"{peak / 1e6:.1f}", _ms(c.flops / products),
                      _ms(c.bytes / copies), _ms(f.least), _ms(c.seconds or 0.0), _ms(f.step),
                      f"{f.least / f.step:.0%}"])
    return ["workload", "rows", "MFLOP", "MB recorded", "MB run", "MB at once", "products ms",
            "copies ms", "floor ms", "rows ms", "step ms", "floor / step"], lines


def _lost(floors: list[Floor], titles: bool) -> Table:
    """Operations that are furthest above their floors, and what is spent between the rows."""
    lines = []
    for f in floors:
        name = f.row.title if titles else f.row.name
        for op, n, spent, least in by_operation(f)[:_TOP]:
            lines.append([name, op, str(n), _ms(spent), _ms(least), _ms(max(0.0, spent - least))])
            name = ""
        between = f.step - (f.sum.seconds or 0.0)
        lines.append([name, "between rows, and reading the loss", "", _ms(between), "",
                      _ms(between)])
    return ["workload", "operation", "rows", "ms", "floor ms", "above it ms"], lines


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


_INTRODUCTION = """\
A training step is recorded by `tg.jit`, and each row of the program that runs is measured on its
own (the fastest of several runs) beside its floor: its operations at the speed of a 1024x1024
sgemm, or the bytes that it reads and writes at that of copying 16 MiB, whichever takes longer.

- MFLOP counts multiplications and additions of products, and one operation for each element of the
  rest. MB recorded are read and written by the program before all passes, MB run after them.
- MB at once is the most that arrays made by the step take together, parameters not counted.
- Products: all operations at sgemm's speed. Copies: all bytes at the copy's. The floor is the sum
  over rows of the greater of the two; rows are their measured times; the step is a whole replay.
- The copy goes through memory. Arrays that stay in a cache are read faster, so single rows, and
  small models with them, can be below their floor by bytes.
- A row's time is its fastest run, the step's is the fastest whole step: where a machine's speed
  varies, no step has the luck of each of its rows, and the difference looks like time between them.
  Timed in place, within one step, that was 0.3 to 0.4 ms for the LSTM text VAE: 52 calls and 102
  arrays, whose memory caused no page fault."""


def markdown(floors: list[Floor], command: str) -> str:
    """The page for docs/."""
    page = ["# Floors of training steps", "", *_INTRODUCTION.splitlines(), ""]
    for title, lines in tables(floors, titles=True):
        page += ["| " + " | ".join(line) + " |" for line in
                 [title, ["---", *["---:"] * (len(title) - 1)], *lines]] + [""]
    return "\n".join([*page, f"- {_machine()}", "",
                      f"Measured {datetime.now(UTC):%Y-%m-%d} by", "", f"    {command}", ""])


def _machine() -> str:
    products, copies = ceilings()
    return (f"ceilings, the fastest of the run, {get_num_threads()} threads: sgemm "
            f"{products / 1e9:.0f} GFLOP/s, copying {copies / 1e9:.1f} GB/s read and "
            f"written; tinygen {tg.__version__}")


def main(argv: list[str] | None = None) -> int:
    """Measure the macro rows that fit, and show them; 1 if none fits."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    p.add_argument("--filter", action="append", default=[], metavar="TEXT",
                   help="only rows whose name contains TEXT; may be repeated")
    p.add_argument("--quick", action="store_true", help="smaller sizes, and one run of each row")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="also write a page to FILE")
    args = p.parse_args(argv)
    chosen = [r for r in select(args.filter, args.quick) if r.group == "macro"]
    if not chosen:
        print(f"no macro row fits --filter {' '.join(args.filter)}", file=sys.stderr)
        return 1
    floors = []
    for row in chosen:
        print(f"{row.name}: measuring", file=sys.stderr)
        ceilings(again=True)
        floors.append(measure(row, 0.0 if args.quick else 2.0))
    ceilings(again=True)
    for title, lines in tables(floors):
        print(plain_table(title, lines), end="\n\n")
    print(_machine())
    if args.markdown:
        command = " ".join(["python -m benchmarks.floor", *(sys.argv[1:] if argv is None
                                                           else argv)])
        args.markdown.write_text(markdown(floors, command), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
