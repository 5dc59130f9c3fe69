"""The page and the chart for docs/."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .report import Report, footnote
from .results import JIT, Result
from .tables import tables

__all__ = ["write_chart", "write_markdown"]

_INTRODUCTION = """\
`python -m benchmarks` measures single operations, whole training steps and sampling against
PyTorch, PyTorch with torch.compile, and JAX, as far as they are installed. The work is the same on
each side: architecture, sizes, hyperparameters, the way weights are drawn; tests hold the losses
of tinygen and PyTorch together, and their FLOPs to PyTorch's counter.

- Each side runs in a process of its own with as many threads as the others, and a new one for each
  model; sides take turns. What counts is the fastest round; the median stands beside it.
- A star marks rows in which other processes had a part of the machine even in a side's fastest
  round: their figures are worth little, and no target is judged by them.
- Shares are of what this machine's sgemm (where FLOPs limit) or its parallel copy (where memory
  does) reached in the same run. FLOPs and bytes are what the work needs at the least.
- Peak memory is that of the whole process, library included, and in brackets what the model adds
  to a process of the same library that trains the smallest one. Targets are judged on both.
- The first step counts from the start of the process: imports and compiling included.
- PyTorch is written as its users write it: default optimizers (rows named `-fused` ask for the
  other one), `scaled_dot_product_attention`, a preallocated KV cache. JAX has whole steps in one
  program, images NHWC, and generates all tokens in one call.
- Names of operations end in `-forward` (nothing recorded) or `-backward` (forward and backward).
  `--list` shows all rows, `--filter` chooses: `python -m benchmarks --filter attention
  --peers torch --rounds 5`.
- `tinygen-jit` is the same training step under `tg.jit`. Two steps count from the first call to the
  end of the second: recording, passes and compiling; cold is without the kernels that jit has
  generated before, those that tinygen comes with stay compiled. `--no-jit` leaves this side out.
- Targets are the project's own: against PyTorch eager, and under jit against the best of the peers
  of the run. Nothing fails by a time; CI's one gate is a ratio, `benchmarks/overhead.py`."""


def write_markdown(report: Report, path: Path) -> None:
    """A page with the tables and, where matplotlib is installed, a chart beside it."""
    chart = path.with_suffix(".png")
    drawn = write_chart(report, chart)
    page = ["# Benchmarks", "", *_INTRODUCTION.splitlines(), "",
            *([f"![Speed of tinygen relative to each peer]({chart.name})", ""] if drawn else [])]
    for title, lines in tables(report, titles=True):
        rule = ["---", *["---:"] * (len(title) - 1)]
        page += ["| " + " | ".join(line) + " |" for line in [title, rule, *lines]] + [""]
    page += [*[f"- {line}" for line in footnote(report)], "",
             f"Measured {datetime.now(UTC):%Y-%m-%d} by", "", f"    {report.command}", ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(page), encoding="utf-8")


# -- the chart ------------------------------------------------------------------------------------


def write_chart(report: Report, path: Path) -> bool:
    """Speed relative to each peer: bars for whole models (under jit where that was measured, with
    a mark for the eager step), dots for single operations.

    Returns whether a chart was written: not without matplotlib, nor without a peer's figures.
    """
    measured = [r for r in report.results if any(r.ratio(p) is not None for p in report.peers)]
    if not measured or importlib.util.find_spec("matplotlib") is None:
        return False
    models = [r for r in measured if r.row.group != "micro"]
    families = _families(r for r in measured if r.row.group == "micro")
    drawings: list[tuple[Any, Any, float]] = []
    if models:
        drawings.append((_bars, models, 0.3 * len(models) * len(report.peers)))
    if families:
        drawings.append((_dots, families, 0.3 * len(families)))
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(
        1, len(drawings), figsize=(9 * len(drawings), 2 + max(h for _, _, h in drawings)),
        squeeze=False, layout="constrained")
    for (draw, content, _), axis in zip(drawings, axes[0]):
        draw(axis, content, report.peers)
        axis.axvline(1.0, color="black", linewidth=1)
        axis.invert_yaxis()
        axis.set_xlabel("speed of tinygen relative to the peer (1 = equally fast)")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


def _families(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Operations with all their sizes: forward+backward, and what has no direction."""
    found: dict[str, list[Result]] = {}
    for r in results:
        o = r.row.options
        name = {"adamw": "AdamW step" + (" (fused)" if o.get("fused") else ""),
                "overhead": "60 operations on 4x4"}.get(o["op"], o["op"])
        if o.get("backward", True):
            found.setdefault(name, []).append(r)
    return found


def _bars(axis: Any, models: list[Result], peers: list[str]) -> None:
    height = 0.8 / len(peers)
    for k, peer in enumerate(peers):
        values = [r.ratio(peer, JIT) or r.ratio(peer) or 0.0 for r in models]
        drawn = axis.barh([i + k * height for i in range(len(models))], values, height * 0.9,
                          label=f"against {peer}")
        axis.bar_label(drawn, [f"{v:.2f}" if v else "" for v in values], padding=3)
    eager = [(x, i + k * height) for i, r in enumerate(models) if JIT in r.sides
             for k, peer in enumerate(peers) if (x := r.ratio(peer)) is not None]
    if eager:
        axis.scatter([x for x, _ in eager], [y for _, y in eager], s=14, color="black", marker="D",
                     zorder=3, label="without jit")
    axis.set_yticks([i + 0.4 - height / 2 for i in range(len(models))],
                    [r.row.title for r in models])
    axis.set_title("training steps and sampling")
    axis.margins(x=0.12, y=0.01)


def _dots(axis: Any, families: dict[str, list[Result]], peers: list[str]) -> None:
    for k, peer in enumerate(peers):
        points = [(x, i + 0.2 * (k - (len(peers) - 1) / 2)) for i, members in
                  enumerate(families.values()) for r in members if (x := r.ratio(peer)) is not None]
        axis.scatter([x for x, _ in points], [y for _, y in points], s=18, alpha=0.7,
                     label=f"against {peer}")
    axis.set_yticks(range(len(families)), list(families))
    axis.set_title("operations, forward+backward; a dot for each size")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axis.grid(axis="y", linewidth=0.3)
