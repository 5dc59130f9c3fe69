"""Shows the outcome: a table in the terminal, JSON, and a page with a chart for docs/."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .runner import Result

__all__ = ["Report", "print_table", "write_chart", "write_json", "write_markdown"]


@dataclass
class Report:
    """The results of a run, and the circumstances under which they were measured."""

    results: list[Result]
    ceiling: float               # GFLOP/s of sgemm
    peers: list[str]
    rounds: int
    threads: int
    quick: bool
    command: str
    load: tuple[float, float]    # the machine's load average before and after

    def machine(self) -> str:
        """The processor in words."""
        return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"

    def versions(self) -> list[str]:
        """What was compared."""
        found = [m.version for r in self.results for m in r.sides.values()]
        return [f"Python {platform.python_version()}", *dict.fromkeys(found)]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


# -- the table ------------------------------------------------------------------------------------


def header(report: Report) -> list[str]:
    """The titles of the columns."""
    sides = ["tinygen", *report.peers]
    return ["workload", *[f"{s} min" for s in sides], *[f"{s} median" for s in sides],
            *[f"{p} / tinygen" for p in report.peers], "share of sgemm", "peak MiB",
            "first step s"]


def cells(report: Report, result: Result) -> list[str]:
    """One line of the table; "-" where there is no figure."""
    sides = ["tinygen", *report.peers]
    found = [result.sides.get(s) for s in sides]
    speeds = [result.speed(s) for s in sides]
    shared = result.row.group == "micro"      # says nothing about one operation
    return [result.row.title,
            *["-" if m is None else duration(m.best) for m in found],
            *["-" if m is None else duration(m.typical) for m in found],
            *["-" if (x := result.ratio(p)) is None else f"{x:.2f}" for p in report.peers],
            " : ".join("-" if s is None else f"{s / report.ceiling:.0%}" for s in speeds),
            "-" if shared else " : ".join("-" if m is None or not m.memory
                                          else f"{m.memory / 2 ** 20:.0f}" for m in found),
            "-" if shared else " : ".join("-" if m is None else f"{m.first_step:.1f}"
                                          for m in found)]


def duration(seconds: float) -> str:
    """Three figures and a unit: 845 us, 12.3 ms, 1.52 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def footnote(report: Report) -> list[str]:
    """What a reader has to know to judge the figures."""
    lines = [
        f"{report.machine()}; {report.threads} thread{'s' * (report.threads > 1)} on each side; "
        f"{', '.join(report.versions())}",
        f"sgemm 1024x1024: {report.ceiling:.0f} GFLOP/s; load average {report.load[0]:.1f} before "
        f"and {report.load[1]:.1f} after; {report.rounds} alternating rounds"
        + ("; quick: smaller batches" if report.quick else ""),
        "time per step; ratio of the fastest rounds, above 1.00 tinygen is faster; pairs are "
        f"{' : '.join(['tinygen', *report.peers])}"]
    if max(report.load) > 1.5 * report.threads:
        lines.append("the machine was busy with other work: trust no absolute time, and with more "
                     "than one thread no ratio either (threads wait for one another)")
    for result in report.results:
        lines += [f"{result.row.name}: {reason}" for reason in result.failures.values()]
    return lines


def print_table(report: Report) -> None:
    """The table on standard output, by rich where it is installed."""
    title, lines = header(report), [cells(report, r) for r in report.results]
    try:
        console = importlib.import_module("rich.console")
        tables = importlib.import_module("rich.table")
    except ModuleNotFoundError:
        print(plain_table(title, lines))
    else:
        table = tables.Table(box=importlib.import_module("rich.box").SIMPLE_HEAD)
        for i, name in enumerate(title):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in lines:
            table.add_row(*row)
        wide = None if sys.stdout.isatty() else 200
        console.Console(width=wide, highlight=False).print(table)
    for line in footnote(report):
        print(line)


def plain_table(title: list[str], lines: list[list[str]]) -> str:
    """Columns of text, the first flush left."""
    widths = [max(len(row[i]) for row in [title, *lines]) for i in range(len(title))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(row, widths))).rstrip()
                     for row in [title, *lines])


# -- files ----------------------------------------------------------------------------------------


def write_json(report: Report, path: Path) -> None:
    """Everything that was measured, all rounds included."""
    data: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": report.command, "machine": report.machine(), "versions": report.versions(),
        "threads": report.threads, "rounds": report.rounds, "quick": report.quick,
        "load_average": list(report.load), "sgemm_gflops": report.ceiling,
        "rows": [{**asdict(r.row), "failures": r.failures,
                  "sides": {s: asdict(m) for s, m in r.sides.items()},
                  "ratio": {p: r.ratio(p) for p in report.peers},
                  "paired_ratio": {p: r.paired_ratio(p) for p in report.peers}}
                 for r in report.results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def write_markdown(report: Report, path: Path) -> None:
    """A page with the table and, where matplotlib is installed, a chart beside it."""
    title, lines = header(report), [cells(report, r) for r in report.results]
    chart = path.with_suffix(".png")
    drawn = write_chart(report, chart)
    rule = ["---", *["---:"] * (len(title) - 1)]
    table = ["| " + " | ".join(line) + " |" for line in [title, rule, *lines]]
    page = ["# Benchmarks", "", "Whole training steps (forward, backward, optimizer), the same "
            "architecture and hyperparameters on each side, each side in a process of its own, "
            "in alternating rounds.", "",
            *([f"![Speed of tinygen relative to each peer]({chart.name})", ""] if drawn else []),
            *table, "", *[f"- {line}" for line in footnote(report)], "",
            f"Measured {datetime.now(UTC):%Y-%m-%d} by", "",
            f"    {report.command}", ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(page), encoding="utf-8")


def write_chart(report: Report, path: Path) -> bool:
    """Speed relative to each peer as bars; returns whether a chart was written."""
    shown = [r for r in report.results if any(r.ratio(p) is not None for p in report.peers)]
    if not shown or importlib.util.find_spec("matplotlib") is None:
        return False
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.45 * len(shown) * len(report.peers)))
    height = 0.8 / len(report.peers)
    for k, peer in enumerate(report.peers):
        places = [i + k * height for i in range(len(shown))]
        values = [r.ratio(peer) or 0.0 for r in shown]
        bars = axes.barh(places, values, height * 0.9, label=f"against {peer}")
        axes.bar_label(bars, [f"{v:.2f}x" if v else "" for v in values], padding=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(shown))],
                    [r.row.title for r in shown])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("speed of tinygen relative to the peer (1 = equally fast)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return True
