"""What was measured of a row: the times of each side, and how they compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from .rows import Row

__all__ = ["DISTURBED", "JIT", "OURS", "Ceiling", "Measurement", "Result"]

JIT = "tinygen-jit"
OURS = ("tinygen", JIT)
# From so many cores in other hands on, a round says little: threads wait for one another.
DISTURBED = 0.2


@dataclass
class Measurement:
    """One side of one row; times are in seconds per step."""

    rounds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)  # cores that others kept busy, each round
    first_step: float = 0.0      # from the start of the process to the end of its first step
    building: float = 0.0        # the part of it after the imports; all there is for micro rows
    two_steps: float = 0.0       # from the first call to the end of the second step
    cold: float = 0.0            # the same with no generated kernel on disk, where that differs
    memory: int = 0              # peak resident bytes; 0 where the process is shared or unknown
    above_idle: int = 0          # of these, what a process that trains `micro-mlp` does not need
    parameters: int = 0
    version: str = ""

    @property
    def best(self) -> float:
        """The fastest round."""
        return min(self.rounds)

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.rounds)

    @property
    def disturbed(self) -> bool:
        """Whether other processes had a part of the machine even in the fastest round."""
        return bool(self.others) and self.others[self.rounds.index(self.best)] > DISTURBED


@dataclass
class Ceiling:
    """What the machine can do, the fastest of the whole run: of all rows' shares, the divisor."""

    gflops: float = 0.0          # of sgemm
    bandwidth: float = 0.0       # GB/s of copying, read and written


@dataclass
class Result:
    """All sides of one row. `failures` says in words which sides gave no figures, and why;
    `unsupported` which have no counterpart for the row."""

    row: Row
    sides: dict[str, Measurement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)

    @property
    def disturbed(self) -> bool:
        """Whether other processes disturbed any side."""
        return any(m.disturbed for m in self.sides.values())

    def ratio(self, peer: str, side: str = "tinygen") -> float | None:
        """The peer's time divided by ours, fastest rounds: above 1, tinygen is faster."""
        if peer not in self.sides or side not in self.sides:
            return None
        return self.sides[peer].best / self.sides[side].best

    def paired_ratio(self, peer: str, side: str = "tinygen") -> float | None:
        """The same from neighbouring rounds: the median of their ratios."""
        if peer not in self.sides or side not in self.sides:
            return None
        return median(theirs / ours for ours, theirs in zip(self.sides[side].rounds,
                                                            self.sides[peer].rounds))

    def best_peer(self) -> str | None:
        """The fastest side that is not tinygen."""
        peers = [s for s in self.sides if s not in OURS]
        return min(peers, key=lambda s: self.sides[s].best, default=None)

    def memory_ratio(self, peer: str, above_idle: bool = False,
                     side: str = "tinygen") -> float | None:
        """Our peak memory divided by the peer's: below 1, tinygen needs less."""
        ours, theirs = (self.sides.get(s) for s in (side, peer))
        if ours is None or theirs is None:
            return None
        a, b = ((m.above_idle if above_idle else m.memory) for m in (ours, theirs))
        return a / b if a and b else None

    def share(self, side: str, ceiling: Ceiling) -> float | None:
        """What the fastest round makes of the machine: of its sgemm's or of its copies' speed."""
        if side not in self.sides:
            return None
        best = self.sides[side].best * 1e9
        if self.row.flops is not None and ceiling.gflops:
            return self.row.flops / best / ceiling.gflops
        if self.row.bytes is not None and ceiling.bandwidth:
            return self.row.bytes / best / ceiling.bandwidth
        return None
