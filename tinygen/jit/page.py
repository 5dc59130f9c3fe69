"""A program as one page for the browser: nothing is loaded, and no value of a tensor is in it.

The page itself is `page.html`, beside this file: a row can be followed there from the line of
Python that made it, through each pass, to the kernel that runs it, and the memory over time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..tensor import Tensor
from . import passes
from .bind import array_type
from .history import Stage, changes, costs_by_row, stages
from .kernels import implementation
from .memory import lives, outside, totals
from .program import Program, Row
from .report import Cost, total

__all__ = ["page"]

_KINDS = ("same", "changed", "left out", "added", "moved")     # by number, as page.html has them


def page(program: Program, path: str | Path | None = None, args: Sequence[Tensor] = (),
         repeats: int = 5) -> str:
    """The text of the page; also written to a file where `path` is given.

    With the arguments to run it on (or for a program that takes none) times are measured, as in
    `tinygen.jit.report.table`.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> text = page(capture(lambda x: tg.exp(x).sum(), tg.ones((3,))).optimized())
    >>> text.startswith("<!doctype html>"), "src=" in text, "https:" in text
    (True, False, False)
    """
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(_data(program, args, repeats), separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":               # a name like `</script>` must not end the data
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    text = template.replace("{{data}}", data)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _data(program: Program, args: Sequence[Tensor], repeats: int) -> dict[str, Any]:
    """What the page shows: rows once each, and lists of their places for every pass."""
    found = costs_by_row(program, args, repeats)
    first = program.before[0][1] if program.before else program
    pool = _Pool()
    recorded = [pool.row(first, row, found[0][row.number]) for row in first.rows]
    through = []
    for stage, before, after in zip(stages(program), found[:-1], found[1:], strict=True):
        through.append({"name": stage.name.replace("_", " "), "says": _says(stage.name),
                        "rows": _entries(stage, pool, before, after)})
    last = [pool.row(program, row, found[-1][row.number]) for row in program.rows]
    every = lives(program)
    return {
        "given": ", ".join(f"%{i} {program.shown(i)}" for i in program.inputs),
        "results": ", ".join(f"%{y}" if isinstance(y, int) else repr(y) for y in program.outputs),
        "rows": pool.rows, "lines": pool.lines, "recorded": recorded, "stages": through,
        "runs": last, "kernels": _kernels(program), "source": _replay(program),
        "costs": [_cost(total(list(found[0].values()))), _cost(total(list(found[-1].values())))],
        "lives": [[list(x.slots), x.bytes, x.first, x.last, x.place] for x in every],
        "totals": totals(program, every), "outside": sum(outside(program).values())}


class _Pool:
    """Rows as they were seen in some program: a row that a pass left as it was is there once."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.lines: list[str] = []
        self._places: dict[Any, int] = {}
        self._lines: dict[str, int] = {}

    def row(self, program: Program, row: Row, cost: Cost) -> int:
        """The place of a row: [number, text, what it makes, reads, makes, line, parts, cost]."""
        text, made = repr(row), program.made(row)
        key = (row.number, text, made)
        if key not in self._places:
            self._places[key] = len(self.rows)
            self.rows.append([row.number, text, made, row.slots(),
                              [o for o in row.outputs if o is not None], self._line(row.line),
                              _numbers(row), _cost(cost)])
        return self._places[key]

    def _line(self, text: str | None) -> int:
        text = text or "tinygen"
        if text not in self._lines:
            self._lines[text] = len(self.lines)
            self.lines.append(text)
        return self._lines[text]


def _numbers(row: Row) -> list[int]:
    """The rows that a pass put together in this one, and in its parts."""
    return [n for part in row.parts for n in (part.number, *_numbers(part))]


def _entries(stage: Stage, pool: _Pool, before: dict[int, Cost],
             after: dict[int, Cost]) -> list[list[Any]]:
    """[kind, row, numbers it comes from] of each row after a pass, and of those it left out."""
    found = []
    for kind, row, sources in changes(stage):
        gone = kind == "left out"
        place = pool.row(stage.before if gone else stage.after, row,
                         (before if gone else after)[row.number])
        found.append([_KINDS.index(kind), place,
                      *([[s.number for s in sources]] if kind == "added" else [])])
    return found


def _says(name: str) -> str:
    """What a pass does: the first sentence of its documentation."""
    function = getattr(passes, name, None)
    return ((function and function.__doc__) or "").strip().partition("\n")[0]


def _kernels(program: Program) -> dict[str, Any]:
    """What runs: titles and sources, once each, and for each row which of them."""
    texts: dict[tuple[str, str], int] = {}
    rows = [texts.setdefault(implementation(program, row), len(texts)) for row in program.rows]
    return {"texts": [list(t) for t in texts], "rows": rows}


def _replay(program: Program) -> str:
    return "Row by row: arrays lie in several places." if array_type(program) is None else (
        program.source())


def _cost(cost: Cost) -> list[Any]:
    """[operations, bytes, and if it was measured microseconds and the share in percent]."""
    if not cost.seconds:
        return [cost.flops, cost.bytes]
    return [cost.flops, cost.bytes, round(cost.seconds * 1e6, 1),
            round(100 * cost.least / cost.seconds)]
