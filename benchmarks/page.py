"""The page and the chart for docs/."""

from __future__ import annotations

import importlib
import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from .report import Report, footnote
from .runner import Result
from .tables import tables

__all__ = ["write_chart", "write_markdown"]

_INTRODUCTION = """\
Single operations, whole training steps and sampling, the same work on each side: architecture,
sizes, hyperparameters and the way weights are drawn. Each side runs in a process of its own with
as many threads as the others; sides take turns. Shares are of what this machine's sgemm or
parallel copy reached in the same run. PyTorch's optimizers are its defaults; where its `fused=True`
is meant, the row says so. Targets are the project's own, against PyTorch eager."""


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


def _bars(report: Report) -> list[Result]:
    """What the chart shows: whole models; single operations, forward+backward, without them."""
    measured = [r for r in report.results if any(r.ratio(p) is not None for p in report.peers)]
    models = [r for r in measured if r.row.group != "micro"]
    return models or [r for r in measured if r.row.options.get("backward")] or measured


def write_chart(report: Report, path: Path) -> bool:
    """Speed relative to each peer as bars; returns whether a chart was written."""
    shown = _bars(report)
    if not shown or importlib.util.find_spec("matplotlib") is None:
        return False
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    bars = len(shown) * len(report.peers)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.25 * bars + 0.15 * len(shown)))
    height = 0.8 / len(report.peers)
    for k, peer in enumerate(report.peers):
        places = [i + k * height for i in range(len(shown))]
        values = [r.ratio(peer) or 0.0 for r in shown]
        drawn = axes.barh(places, values, height * 0.9, label=f"against {peer}")
        axes.bar_label(drawn, [f"{v:.2f}x" if v else "" for v in values], padding=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(shown))],
                    [r.row.title if r.row.group != "micro" else r.row.name for r in shown])
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel("speed of tinygen relative to the peer (1 = equally fast)")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.5 / (bars + 3)),
                ncols=len(report.peers))
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return True
