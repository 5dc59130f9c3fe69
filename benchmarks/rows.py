"""What is measured: the rows of the table, their sizes, FLOPs and bytes. All sides read this.

Macro rows are whole training steps: forward, backward and optimizer, drawing of noise included.
Sampling rows make tokens or images with a model. Micro rows are single operations, forward alone
(names end in `-forward`) and forward with backward (`-backward`), optimizer steps, and chains of
tiny operations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["GROUPS", "Row", "rows", "select"]

GROUPS = ("macro", "sampling", "micro")


@dataclass(frozen=True)
class Row:
    """One workload, the same on all sides.

    `flops` and `bytes` are what the work needs at the least: the products' operations, and the
    traffic of arrays that fit in no cache. A row has one of them, whichever limits it; or neither.
    """

    name: str
    title: str
    group: str                                   # one of GROUPS
    samples: int | None = None                   # images or tokens per step
    flops: int | None = None
    bytes: int | None = None
    target: float | None = None                  # PyTorch's time / ours, at least
    options: dict[str, Any] = field(default_factory=dict)


def rows(quick: bool = False) -> list[Row]:
    """All rows; `quick` makes large ones smaller, so that all can be tried in seconds."""
    from .macro_rows import macro_rows, sampling_rows
    from .micro_rows import micro_rows
    return [*macro_rows(quick), *sampling_rows(quick), *micro_rows(quick)]


def select(wanted: list[str], quick: bool = False) -> list[Row]:
    """The rows of the groups named in `wanted`, and those whose names contain another of its
    entries; all rows without any."""
    return [r for r in rows(quick)
            if not wanted or any(w == r.group if w in GROUPS else w in r.name for w in wanted)]
