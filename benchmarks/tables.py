"""The tables: whole models in one, single operations in another, targets in a third."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from .jit_targets import TARGETS, jit_summaries, jit_verdict
from .report import Report, duration, footnote
from .results import JIT, Result
from .targets import summaries, verdict

__all__ = ["Table", "plain_table", "print_tables", "tables"]

Table = tuple[list[str], list[list[str]]]         # titles and lines


def tables(report: Report, titles: bool = False) -> list[Table]:
    """All tables that have lines; `titles` writes what a model is instead of its row's name."""
    models = [r for r in report.results if r.row.group != "micro"]
    single = [r for r in report.results if r.row.group == "micro"]
    found = [(header(report, whole), [cells(report, r, whole, titles and whole) for r in results])
             for whole, results in ((True, models), (False, single)) if results]
    for what, targets in (("torch / tinygen", summaries(report.results, report.ceiling)),
                          ("best peer / tinygen-jit", jit_summaries(report.results))):
        if targets:
            found.append(([f"target: {what}", "at least", "found", "rows that meet it"],
                          [[t.what, t.target, t.found, f"{t.met} of {t.rows}"
                            + (f", {t.disturbed} disturbed" if t.disturbed else "")]
                           for t in targets]))
    return found


def header(report: Report, whole: bool) -> list[str]:
    """The titles of the columns; `whole` models have more of them than single operations."""
    return ["workload", *[f"{s} min, median" for s in report.sides(whole)],
            *[f"{p} / tinygen" for p in report.peers],
            *(["best peer"] if len(report.peers) > 1 else []), "share of ceiling",
            *(["per second", "peak MiB", "first step s"] if whole else []), "target",
            *(["tinygen / jit", "best peer / jit", "two steps s", "jit target"]
              if whole and report.jit else [])]


def cells(report: Report, result: Result, whole: bool, title: bool = False) -> list[str]:
    """One line of the table; "-" where there is no figure."""
    sides = report.sides(whole)

    def each(show: Callable[[str], str]) -> str:
        return " : ".join(show(s) if s in result.sides else "-" for s in sides)

    def times(side: str) -> str:
        m = result.sides.get(side)
        return "-" if m is None else f"{duration(m.best)}, {duration(m.typical)}"

    def memory(side: str) -> str:
        m = result.sides[side]
        return f"{m.memory / 2 ** 20:.0f} ({m.above_idle / 2 ** 20:.0f})" if m.memory else "-"
    name = result.row.title if title else result.row.name
    line = [name + " *" * result.disturbed, *map(times, sides)]
    line += ["-" if (x := result.ratio(p)) is None else f"{x:.2f}" for p in report.peers]
    if len(report.peers) > 1:
        best = result.best_peer()
        line.append("-" if best is None or (x := result.ratio(best)) is None
                    else f"{x:.2f} {best}")
    line.append(_shares(report, result, each))
    if whole:
        n = result.row.samples or 0
        line += [each(lambda s: f"{n / result.sides[s].best:.0f}"), each(memory),
                 each(lambda s: f"{result.sides[s].first_step:.1f}")]
    met = verdict(result, report.ceiling)
    line.append("" if result.row.target is None else f"{result.row.target:.1f}"
                + _judged(met))
    return line + (_jit_cells(result) if whole and report.jit else [])


def _judged(met: bool | None) -> str:
    return " ?" if met is None else " met" if met else " missed"


def _jit_cells(result: Result) -> list[str]:
    """Speed against tinygen without jit and against the best peer; first call to second step, with
    generated kernels on disk and without; the target."""
    if JIT not in result.sides:
        return ["-"] * 3 + [""]
    m, best = result.sides[JIT], result.best_peer()
    ratio = None if best is None else result.ratio(best, JIT)
    target = TARGETS.get(result.row.name)
    return [f"{result.ratio('tinygen', JIT) or 0.0:.2f}",
            "-" if ratio is None else f"{ratio:.2f} {best}",
            f"{m.two_steps:.2f}" + (f" (cold {m.cold:.2f})" if m.cold else ""),
            "" if target is None else f"{target:.2f}" + _judged(jit_verdict(result))]


def _shares(report: Report, result: Result, each: Callable[[Callable[[str], str]], str]) -> str:
    """Of sgemm or of copying, whichever limits the row."""
    if result.row.flops is None and result.row.bytes is None:
        return "-"
    kind = "sgemm" if result.row.flops is not None else "copy"
    return f"{each(lambda s: f'{result.share(s, report.ceiling) or 0.0:.0%}')} {kind}"


def print_tables(report: Report) -> None:
    """All tables on standard output, by rich where it is installed, and the footnotes."""
    for title, lines in tables(report):
        _print(title, lines)
    for line in footnote(report):
        print(line)


def _print(title: list[str], lines: list[list[str]]) -> None:
    try:
        console = importlib.import_module("rich.console")
        rich_table = importlib.import_module("rich.table")
    except ModuleNotFoundError:
        print(plain_table(title, lines), end="\n\n")
        return
    table = rich_table.Table(box=importlib.import_module("rich.box").SIMPLE_HEAD)
    for i, name in enumerate(title):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in lines:
        table.add_row(*row)
    wide = None if sys.stdout.isatty() else 400
    console.Console(width=wide, highlight=False).print(table)


def plain_table(title: list[str], lines: list[list[str]]) -> str:
    """Columns of text, the first flush left."""
    widths = [max(len(row[i]) for row in [title, *lines]) for i in range(len(title))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(row, widths))).rstrip()
                     for row in [title, *lines])
