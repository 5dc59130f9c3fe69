"""What the project set out to reach with jit, against the best of the peers that were measured."""

from __future__ import annotations

from collections.abc import Callable

from .results import JIT, Measurement, Result
from .targets import Summary, mean, spread

__all__ = ["COLD", "MEAN", "TARGETS", "WARM", "jit_summaries", "jit_verdict"]

# The best peer's time / tinygen-jit's, at least.
TARGETS = {"micro-mlp": 3.0, "mlp-gan": 1.15, "conv-vae": 1.3, "dcgan-64x64-w32": 1.2,
           "dcgan-64x64-w64": 1.2, "lstm-vae": 1.15, "char-gpt": 1.15, "translation": 1.15}
MEAN = 1.4             # the same, geometric mean of all macro rows
COLD = 1 / 3           # of jax.jit's time from the first call to the end of the second step
WARM = 0.5             # seconds for the same, with generated kernels on disk
_START = "first call to second step"


def jit_verdict(result: Result) -> bool | None:
    """Whether the row reached its target; None without one, without a peer, or when disturbed."""
    best = result.best_peer()
    ratio = None if best is None else result.ratio(best, JIT)
    target = TARGETS.get(result.row.name)
    return None if target is None or ratio is None or result.disturbed else ratio >= target


def jit_summaries(results: list[Result]) -> list[Summary]:
    """One entry for each target that was measured."""
    macro = [r for r in results if r.row.group == "macro" and JIT in r.sides]
    found = []
    for r in macro:
        best = r.best_peer()
        if r.row.name in TARGETS and best is not None:
            shown = "-" if r.disturbed else f"{r.ratio(best, JIT):.2f} ({best})"
            found.append(Summary(r.row.name, f"{TARGETS[r.row.name]:.2f}", shown,
                                 int(bool(jit_verdict(r))), 1, int(r.disturbed)))
    ratios = [x for r in macro if not r.disturbed and (best := r.best_peer()) is not None
              and (x := r.ratio(best, JIT)) is not None]
    if ratios:
        found.append(Summary("macro rows, geometric mean", f"{MEAN:.2f}", f"{mean(ratios):.2f}",
                             int(mean(ratios) >= MEAN), 1))
    return [*found, *_starts(macro), *_memory(macro)]


def _starts(macro: list[Result]) -> list[Summary]:
    """Times from the first call to the end of the second step."""
    found = []
    cold = [r.sides[JIT].cold / r.sides["jax"].two_steps for r in macro
            if "jax" in r.sides and r.sides[JIT].cold and r.sides["jax"].two_steps]
    if cold:
        found.append(_at_most(f"{_START}, cold: tinygen-jit / jax", COLD, cold))
    warm = [r.sides[JIT].two_steps for r in macro if r.sides[JIT].two_steps]
    if warm:
        found.append(_at_most(f"{_START}, warm: seconds", WARM, warm))
    return found


def _memory(macro: list[Result]) -> list[Summary]:
    """Peak memory against the smallest of all other sides, tinygen without jit among them."""
    def whole(m: Measurement) -> int:
        return m.memory

    def above(m: Measurement) -> int:
        return m.above_idle
    found = []
    for name, of in (("peak memory, tinygen-jit / the least of the others", whole),
                     ("the same, above a process that trains micro-mlp", above)):
        ratios = [x for r in macro if (x := _to_least(r, of)) is not None]
        if ratios:
            found.append(_at_most(name, 1.0, ratios))
    return found


def _to_least(r: Result, of: Callable[[Measurement], int]) -> float | None:
    others = [of(m) for side, m in r.sides.items() if side != JIT]
    if not others or not all(others) or not of(r.sides[JIT]):
        return None
    return of(r.sides[JIT]) / min(others)


def _at_most(what: str, limit: float, values: list[float]) -> Summary:
    return Summary(what, f"at most {limit:.2f}", spread(values), sum(x <= limit for x in values),
                   len(values))
