"""What the project set out to reach against PyTorch eager, and whether a run reached it.

Targets inform; nothing passes or fails by them. A row's own target is in `rows.py`; those of
tinygen under `tg.jit` are in `jit_targets.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .results import Ceiling, Result

__all__ = ["BANDWIDTH", "MEMORY", "PEER", "Summary", "mean", "spread", "summaries", "verdict"]

PEER = "torch"
BANDWIDTH = 0.85       # rows on 4M elements may reach this share of the copy bandwidth instead
MEMORY = 0.8           # peak memory of macro rows, ours / PyTorch's, at most
_CONVOLUTIONS = ("conv2d", "conv_transpose2d")
_CONVOLUTIONS_MEAN = 1.3


@dataclass
class Summary:
    """A target and what became of it in the rows that it is about; disturbed ones do not count."""

    what: str
    target: str
    found: str
    met: int
    rows: int
    disturbed: int = 0


def verdict(result: Result, ceiling: Ceiling) -> bool | None:
    """Whether the row reached its target; None without a target or without PyTorch's time, and
    where other processes disturbed the row."""
    ratio = result.ratio(PEER)
    if result.row.target is None or ratio is None or result.disturbed:
        return None
    if ratio >= result.row.target:
        return True
    share = result.share("tinygen", ceiling)
    return "-4M-" in result.row.name and share is not None and share >= BANDWIDTH


def summaries(results: list[Result], ceiling: Ceiling) -> list[Summary]:
    """One entry for each kind of work that has a target and was measured."""
    families: dict[tuple[str, float], list[Result]] = {}
    for r in results:
        if r.row.target is not None and r.ratio(PEER) is not None:
            families.setdefault((_family(r), r.row.target), []).append(r)
    found = []
    for (name, target), members in families.items():
        quiet = [r for r in members if not r.disturbed]
        found.append(Summary(name, f"{target:.1f}", spread([r.ratio(PEER) or 0.0 for r in quiet]),
                             sum(bool(verdict(r, ceiling)) for r in quiet), len(members),
                             len(members) - len(quiet)))
    return [*found, *_convolutions(results), *_memory(results)]


def _family(result: Result) -> str:
    o = result.row.options
    if result.row.group != "micro":
        return result.row.name
    if o["op"] == "attention":
        return "attention, " + ("causal" if o["causal"] else "plain")
    if o["op"] == "adamw":
        return "AdamW step" + (", PyTorch fused" if o["fused"] else "")
    if o["op"] == "overhead":
        return result.row.name
    return o["op"] + (" 4M elements" if "-4M-" in result.row.name else "")


def spread(values: list[float]) -> str:
    """The least and the greatest of some ratios, and their mean."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    return f"{min(values):.2f} to {max(values):.2f}, geometric mean {mean(values):.2f}"


def mean(values: list[float]) -> float:
    """The geometric one."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _convolutions(results: list[Result]) -> list[Summary]:
    ratios = [x for r in results if r.row.options.get("op") in _CONVOLUTIONS
              and r.row.target is not None and (x := r.ratio(PEER)) is not None
              and not r.disturbed]
    if not ratios:
        return []
    found = mean(ratios)
    return [Summary("convolutions, geometric mean", f"{_CONVOLUTIONS_MEAN:.1f}", f"{found:.2f}",
                    int(found >= _CONVOLUTIONS_MEAN), 1)]


def _memory(results: list[Result]) -> list[Summary]:
    found = []
    for above, name in ((False, "peak memory of macro rows, tinygen / torch, whole process"),
                        (True, "the same, above a process that trains micro-mlp")):
        ratios = [x for r in results if r.row.group == "macro"
                  and (x := r.memory_ratio(PEER, above)) is not None]
        if ratios:
            found.append(Summary(name, f"at most {MEMORY}", spread(ratios),
                                 sum(x <= MEMORY for x in ratios), len(ratios)))
    return found
