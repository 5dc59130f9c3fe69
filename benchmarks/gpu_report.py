"""What became of the targets on a card: verdicts, a page and a file with everything measured."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .gpu_rows import GpuRow
from .gpu_timing import Timing
from .report import duration
from .tables import plain_table

__all__ = ["GpuReport", "GpuResult", "page", "verdict", "write"]


@dataclass
class GpuResult:
    """All sides of a row, and in words why a side has no figures."""

    row: GpuRow
    sides: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def ours(self) -> str | None:
        """The faster of tinygen's sides."""
        mine = [s for s in ("tinygen", "tinygen-jit") if s in self.sides]
        return min(mine, key=lambda s: self.sides[s].best, default=None)

    def ratio(self, side: str, peer: str) -> float | None:
        """The peer's time / ours, the fastest groups: above 1, tinygen is faster."""
        if side not in self.sides or peer not in self.sides:
            return None
        return self.sides[peer].best / self.sides[side].best

    def rate(self, side: str) -> float | None:
        """FLOP or bytes per second."""
        amount = self.row.flops or self.row.bytes
        return amount / self.sides[side].best if amount and side in self.sides else None


@dataclass
class GpuReport:
    """A run on a card, with its circumstances."""

    card: str
    driver: str
    date: str
    versions: list[str]
    copy: float                                   # bytes per second
    results: list[GpuResult]
    steps: list[tuple[str, str]]                  # (what else was run, how it ended)
    seconds: float = 0.0
    quick: bool = False

    @property
    def stem(self) -> str:
        """The name of the files: date and card."""
        return f"{self.date}-{re.sub(r'[^a-z0-9]+', '-', self.card.lower()).strip('-')}"


def verdict(result: GpuResult, copy: float) -> tuple[float | None, bool | None]:
    """(what the target is compared with, whether it was reached); None where it is not known."""
    side, target = result.ours(), result.row.target
    if side is None:
        return None, None
    if result.row.bandwidth:
        rate = result.rate(side)
        found = rate / copy if rate and copy else None
    else:
        found = result.ratio(side, "torch")
    return found, None if target is None or found is None else found >= target


def page(report: GpuReport) -> str:
    """The report as Markdown."""
    lines = [f"# {report.card}, {report.date}", "",
             f"Driver {report.driver}; {'; '.join(report.versions)}. Copies run at "
             f"{report.copy / 1e12:.2f} TB/s, read and written. Times are of CUDA events around "
             "groups of steps, the fastest group; each side in a process of its own, all on the "
             "same card; "
             f"{report.seconds:.0f} s in all.", ""]
    if report.quick:
        lines += ["Quick: sizes are for trying the program out, and say nothing.", ""]
    lines += [f"* {what}: {how}" for what, how in report.steps] + [""]
    met, known = _count(report)
    lines += [f"Targets reached: {met} of {known}.", "", "```"]
    lines += [plain_table(*_table(report)), "```", ""]
    failures = [f"* {r.row.name}, {side}: {why}" for r in report.results
                for side, why in r.failures.items()]
    return "\n".join([*lines, *(["Without figures:", "", *failures, ""] if failures else [])])


def _count(report: GpuReport) -> tuple[int, int]:
    found = [verdict(r, report.copy)[1] for r in report.results]
    return sum(v is True for v in found), sum(v is not None for v in found)


def _table(report: GpuReport) -> tuple[list[str], list[list[str]]]:
    title = ["row", "tinygen", "jit", "torch", "compiled", "rate", "reached", "target", ""]
    lines = []
    for r in report.results:
        found, reached = verdict(r, report.copy)
        side = r.ours()
        lines.append([
            r.row.name, *[duration(r.sides[s].best) if s in r.sides else "-" for s in (
                "tinygen", "tinygen-jit", "torch", "torch-compile")],
            _rate(r, side), "-" if found is None else f"{found:.2f}",
            "-" if r.row.target is None else
            f"{r.row.target:g} {'of copying' if r.row.bandwidth else 'of torch'}",
            {True: "yes", False: "NO", None: ""}[reached]])
    return title, lines


def _rate(r: GpuResult, side: str | None) -> str:
    rate = None if side is None else r.rate(side)
    if rate is None:
        if side is None or r.row.samples is None:
            return "-"
        return f"{r.row.samples / r.sides[side].best:,.0f}/s"
    return f"{rate / 1e12:.1f} TFLOP/s" if r.row.flops else f"{rate / 1e12:.2f} TB/s"


def write(report: GpuReport, folder: Path) -> tuple[Path, Path]:
    """The page and the JSON file of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, data = (folder / f"{report.stem}.{ending}" for ending in ("md", "json"))
    markdown.write_text(page(report), encoding="utf-8")
    data.write_text(json.dumps(_data(report), indent=1) + "\n", encoding="utf-8")
    return markdown, data


def _data(report: GpuReport) -> dict[str, Any]:
    rows = []
    for r in report.results:
        found, reached = verdict(r, report.copy)
        rows.append({**asdict(r.row), "failures": r.failures, "losses": r.losses,
                     "found": found, "target_met": reached,
                     "sides": {s: {"best": t.best, "typical": t.typical, **asdict(t)}
                               for s, t in r.sides.items()}})
    return {"date": report.date, "card": report.card, "driver": report.driver,
            "versions": report.versions, "copy_bytes_per_second": report.copy,
            "steps": report.steps, "seconds": report.seconds, "quick": report.quick, "rows": rows}
