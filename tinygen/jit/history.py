"""What each pass did to a program: which rows it left out, put together, changed or added."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..tensor import Tensor
from .program import Program, Row
from .report import Cost, costs, line, short, title, total

__all__ = ["Change", "Stage", "changes", "costs_by_row", "history", "stages"]

_WIDTH = 60
_SIGNS = {"same": " ", "changed": "~", "left out": "-", "added": "+", "moved": ">"}


class Stage(NamedTuple):
    """A pass: its name, and the program before and after it."""

    name: str
    before: Program
    after: Program


class Change(NamedTuple):
    """What became of a row: `kind` is same, changed, left out, added or moved.

    `sources` are the rows before the pass that the row was: itself, or what it was put together of
    or stands in for.
    """

    kind: str
    row: Row
    sources: tuple[Row, ...] = ()


def stages(program: Program) -> list[Stage]:
    """The passes that made a program, in their order; none of a program as it was recorded."""
    every = [p for _, p in program.before] + [program]
    return [Stage(name, before, after) for (name, before), after in
            zip(program.before, every[1:], strict=True)]


def changes(stage: Stage) -> list[Change]:
    """All rows after a pass, and in between, where they stood, those that it left out.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> program = capture(lambda x: tg.exp(x) * (tg.exp(x) + 1), tg.ones((3,))).optimized()
    >>> for change in changes(stages(program)[3]):
    ...     print(change.kind, change.row)
    same %1 = exp(%0)
    left out %2 = exp(%0)
    changed %3 = add(%1, 1)
    same %4 = multiply(%1, %3)
    """
    places = {row.number: i for i, row in enumerate(stage.before.rows)}
    sources = _sources(stage, places)
    kept = {i for found in sources for i in found}
    gone = [i for i in range(len(stage.before.rows)) if i not in kept]
    moved = _moved([origin[0] if row.number in places else -1
                    for row, origin in zip(stage.after.rows, sources, strict=True)])
    found: list[Change] = []
    for k, (row, origin) in enumerate(zip(stage.after.rows, sources, strict=True)):
        if origin and k not in moved:
            while gone and gone[0] < max(origin):
                found.append(Change("left out", stage.before.rows[gone.pop(0)]))
        before = tuple(stage.before.rows[i] for i in origin)
        found += [Change("left out", old) for old in before if old.number != row.number]
        kind = ("added" if row.number not in places else
                "changed" if not _alike(row, before[0]) else "moved" if k in moved else "same")
        found.append(Change(kind, row, before))
    return [*found, *(Change("left out", stage.before.rows[i]) for i in gone)]


def _sources(stage: Stage, places: dict[int, int]) -> list[list[int]]:
    """For each row after a pass, where the rows that it comes from stood before.

    A row that a pass wrote anew without saying what it is made of stands in for the one that made
    the same slots.
    """
    found = [sorted(set(_places(row, places))) for row in stage.after.rows]
    kept = {i for origin in found for i in origin}
    makers = {o: i for i, row in enumerate(stage.before.rows) if i not in kept
              for o in row.outputs if o is not None}
    for row, origin in zip(stage.after.rows, found, strict=True):
        if not origin:
            origin += sorted({makers[o] for o in row.outputs if o in makers})
    return found


def _places(row: Row, places: dict[int, int]) -> Iterator[int]:
    if row.number in places:
        yield places[row.number]
    else:
        for part in row.parts:
            yield from _places(part, places)


def _moved(places: list[int]) -> set[int]:
    """Which of these stand out of order: those not in the longest run of growing places, -1 aside.
    """
    ends: list[int] = []              # of the runs of each length, the least last place
    at: list[int] = []                # and which entry it is
    before: dict[int, int] = {}
    for k, place in enumerate(places):
        if place >= 0:
            n = bisect_left(ends, place)
            before[k] = at[n - 1] if n else -1
            ends[n:n + 1], at[n:n + 1] = [place], [k]
    k, ordered = (at[-1] if at else -1), set()
    while k >= 0:
        ordered.add(k)
        k = before[k]
    return set(before) - ordered


def _alike(row: Row, before: Row) -> bool:
    return row is before or (repr(row) == repr(before) and row.attrs is before.attrs)


# -- showing ---------------------------------------------------------------------------------------


def costs_by_row(program: Program, args: Sequence[Tensor] = (),
                 repeats: int = 5) -> list[dict[int, Cost]]:
    """The costs of the rows of a program before each pass and at the end, by their numbers.

    A row that only changed its inputs is not measured again.
    """
    known: dict[int, float] = {}
    found = []
    for now in [p for _, p in program.before] + [program]:
        new = any(row.number not in known for row in now.rows)
        measured = costs(now, args, repeats) if new else costs(now, repeats=0)
        pairs = list(zip(now.rows, measured, strict=True))
        for row, c in pairs:
            if c.seconds is not None:
                known.setdefault(row.number, c.seconds)
        found.append({row.number: c._replace(seconds=known.get(row.number)) for row, c in pairs})
    return found


def history(program: Program, args: Sequence[Tensor] = (), repeats: int = 5,
            everything: bool = False) -> str:
    """The passes of a program, each with the rows that it left out (-), changed (~), moved (>) or
    added (+), and then the rows that run; `everything` shows those that a pass left alone, too.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> program = capture(lambda x: tg.exp(x) * (tg.exp(x) + 1), tg.ones((3,))).optimized()
    >>> print("\\n".join(line[:60].rstrip() for line in history(program).splitlines()[5:9]))
    common_subexpressions: 4 rows to 3
    - %2 = exp(%0)                           float32 3
    ~ %3 = add(%1, 1)                        float32 3
    drop_unread: nothing to do
    """
    found = costs_by_row(program, args, repeats)
    timed = any(c.seconds is not None for c in found[-1].values())
    first = program.before[0][1] if program.before else program
    lines = [title("recorded", _WIDTH, timed),
             line(f"{len(first.rows)} rows", _WIDTH, total(list(found[0].values())))]
    for stage, before, after in zip(stages(program), found[:-1], found[1:], strict=True):
        lines += _stage(stage, {**before, **after}, timed, everything)
    lines += ["", title("runs", _WIDTH, timed)]
    lines += [_row(" ", program, row, found[-1][row.number], timed) for row in program.rows]
    return "\n".join([*lines, line(f"{len(program.rows)} rows", _WIDTH,
                                   total(list(found[-1].values())))])


def _stage(stage: Stage, found: dict[int, Cost], timed: bool, everything: bool) -> Iterator[str]:
    every = changes(stage)
    if all(change.kind == "same" for change in every):
        yield f"{stage.name}: nothing to do"
    else:
        yield f"{stage.name}: {len(stage.before.rows)} rows to {len(stage.after.rows)}"
    for kind, row, _ in every:
        if everything or kind != "same":
            program = stage.before if kind == "left out" else stage.after
            yield _row(_SIGNS[kind], program, row, found[row.number], timed)


def _row(sign: str, program: Program, row: Row, cost: Cost, timed: bool) -> str:
    text = f"{sign} {short(repr(row), 38):38} {short(program.made(row), 19)}"
    return line(text, _WIDTH, cost) + (f"  {row.line or ''}" if timed else "")
