"""The outcome of a run with its circumstances, and the JSON file that holds all of it."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .jit_targets import TARGETS, jit_verdict
from .results import DISTURBED, JIT, OURS, Ceiling, Result
from .targets import verdict

__all__ = ["Report", "duration", "footnote", "write_json"]


@dataclass
class Report:
    """The results of a run, and the circumstances under which they were measured."""

    results: list[Result]
    ceiling: Ceiling
    peers: list[str]
    rounds: int
    threads: int
    quick: bool
    command: str
    load: tuple[float, float]    # the machine's load average before and after

    def machine(self) -> str:
        """The processor in words."""
        return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"

    @property
    def jit(self) -> bool:
        """Whether tinygen was measured under `tg.jit`, too."""
        return any(JIT in r.sides or JIT in r.failures for r in self.results)

    def sides(self, whole: bool) -> list[str]:
        """What is compared, in the order of pairs; `whole` models have more than operations."""
        return ["tinygen", *([JIT] if whole and self.jit else []), *self.peers]

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
        f"ceilings, the fastest of the run: sgemm 1024x1024 {report.ceiling.gflops:.0f} GFLOP/s, "
        f"copying 16 MiB {report.ceiling.bandwidth:.1f} GB/s read and written; load average "
        f"{report.load[0]:.1f} before and {report.load[1]:.1f} after; {report.rounds} alternating "
        "rounds" + ("; quick: smaller sizes" if report.quick else ""),
        "times: fastest round, median round; ratios are of the fastest rounds, above 1.00 tinygen "
        f"is faster; pairs are {' : '.join(report.sides(True))}"
        + (" (operations: without tinygen-jit)" if report.jit else "")]
    if any(m.memory for r in report.results for m in r.sides.values()):
        lines.append("peak MiB: resident memory of the process, and in brackets what it adds to a "
                     "process of the same library that trains the smallest model (micro-mlp)")
    disturbed = sum(r.disturbed for r in report.results)
    if disturbed:
        lines.append(f"* {disturbed} of {len(report.results)} rows: other processes kept more than "
                     f"{DISTURBED} cores busy even in a side's fastest round; trust neither its "
                     "time nor its ratios, for threads wait for one another")
    for result in report.results:
        lines += [f"{result.row.name}: {reason}" for reason in result.failures.values()]
    missing: dict[str, list[str]] = {}
    for result in report.results:
        for side, reason in result.unsupported.items():
            missing.setdefault(f"{side}: {reason}", []).append(result.row.name)
    return [*lines, *(f"{reason} ({', '.join(names)})" for reason, names in missing.items())]


def write_json(report: Report, path: Path) -> None:
    """Everything that was measured, all rounds included."""
    data: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": report.command, "machine": report.machine(), "versions": report.versions(),
        "threads": report.threads, "rounds": report.rounds, "quick": report.quick,
        "load_average": list(report.load), "sgemm_gflops": report.ceiling.gflops,
        "copy_gb_per_s": report.ceiling.bandwidth,
        "rows": [_row(report, r) for r in report.results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _row(report: Report, r: Result) -> dict[str, Any]:
    best, peers = r.best_peer(), report.peers
    return {
        **asdict(r.row), "disturbed": [s for s, m in r.sides.items() if m.disturbed],
        "failures": r.failures, "unsupported": r.unsupported,
        "sides": {s: {"min": m.best, "median": m.typical, **asdict(m),
                      "share_of_ceiling": r.share(s, report.ceiling),
                      "samples_per_s": r.row.samples and r.row.samples / m.best}
                  for s, m in r.sides.items()},
        "ratio": {p: r.ratio(p) for p in peers},
        "paired_ratio": {p: r.paired_ratio(p) for p in peers},
        "best_peer": best, "ratio_to_best_peer": best and r.ratio(best),
        "memory_ratio": {p: r.memory_ratio(p) for p in peers},
        "memory_ratio_above_idle": {p: r.memory_ratio(p, above_idle=True) for p in peers},
        "memory_ratio_to_best_peer": _least_memory(r, False),
        "memory_ratio_above_idle_to_best_peer": _least_memory(r, True),
        "target_met": verdict(r, report.ceiling),
        **({"jit": _jit(report, r)} if JIT in r.sides else {})}


def _jit(report: Report, r: Result) -> dict[str, Any]:
    best = r.best_peer()
    return {"ratio": {p: r.ratio(p, JIT) for p in report.peers},
            "paired_ratio": {p: r.paired_ratio(p, JIT) for p in report.peers},
            "ratio_to_best_peer": best and r.ratio(best, JIT),
            "ratio_to_eager": r.ratio("tinygen", JIT),
            "memory_ratio": {s: r.memory_ratio(s, side=JIT) for s in r.sides if s != JIT},
            "target": TARGETS.get(r.row.name), "target_met": jit_verdict(r)}


def _least_memory(r: Result, above_idle: bool) -> float | None:
    """Our memory divided by that of the peer with the least."""
    found = [x for p in r.sides if p not in OURS and (x := r.memory_ratio(p, above_idle))]
    return max(found, default=None)
