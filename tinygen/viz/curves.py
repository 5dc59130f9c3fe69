"""Training curves from a history of metrics."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from tinygen.viz.png import write_atomic

# The x axis is the first of these that every row has; else rows are counted.
X_KEYS = ("step", "iteration", "epoch")
# Written beside the metrics, on scales of their own.
NOT_METRICS = frozenset((*X_KEYS, "time", "seconds", "elapsed", "timestamp", "seed", "lr"))
LOG_SPAN = 100.0  # largest over smallest value from which a linear axis hides the small ones
MANY_POINTS = 200  # from here on the noise of single steps hides the trend

Points = list[tuple[float, float]]


def plot_curves(
    history: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
    path: str | os.PathLike[str],
    smooth: float | None = None,
    keys: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw each metric of a history over the steps, as a PNG file; returns its path.

    `history` is a list of rows such as `{"step": 10, "loss": 0.7}`, or the path of a metrics.jsonl
    file with one such row per line. A metric may be missing from rows, and where a resumed run has
    written a step again, the later row counts. All numeric fields are drawn but the step, times
    and the learning rate, or those named in `keys`. The y axis is logarithmic when positive values
    span two decades.

    `smooth` in [0, 1) draws the running mean m_t = smooth * m_{t-1} + (1 - smooth) * y_t, corrected
    for its start, over the pale raw curve; the default is 0.9 from 200 points on, else 0.

    Raises ModuleNotFoundError without matplotlib, ValueError for a history without such metrics
    and for a line that is not JSON.
    """
    if smooth is not None and not 0 <= smooth < 1:
        raise ValueError(f"plot_curves: smooth must be in [0, 1), got {smooth}")
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"pictures are written as PNG: give a path that ends in .png, not {path}")
    rows = read_jsonl(history) if isinstance(history, (str, os.PathLike)) else list(history)
    x_key, curves = _curves(rows, keys)
    try:
        # Figure and Agg themselves: pyplot would keep global state and look for a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModuleNotFoundError(
            "plot_curves needs matplotlib: pip install 'tinygen[app]' (or matplotlib itself)"
        ) from error

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points)
        color = f"C{i % 10}"
        weight = (0.9 if len(points) >= MANY_POINTS else 0.0) if smooth is None else smooth
        dots = "o" if len(points) <= 30 else ""
        if weight:
            axes.plot(xs, ys, color=color, alpha=0.25, linewidth=0.8)
            axes.plot(xs, _running_mean(ys, weight), color=color, linewidth=1.8, label=name)
        else:
            axes.plot(xs, ys, color=color, linewidth=1.5, marker=dots, markersize=3.5, label=name)
    if _spans_decades(curves):
        axes.set_yscale("log")
    axes.set_xlabel(x_key)
    axes.set_ylabel(next(iter(curves)) if len(curves) == 1 else "value")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()
    if title:
        axes.set_title(title)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return write_atomic(path, buffer.getvalue())


def read_jsonl(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object per line.

    A last line that was cut off, as a killed run leaves it, is left out; any other line that is not
    a JSON object raises ValueError with its number.
    """
    text = Path(path).read_text(encoding="utf-8")
    lines = text.split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline after it: still being written, or killed
                break
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected an object, got {line.strip()[:40]}")
        rows.append(row)
    return rows


def _curves(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str] | None
) -> tuple[str, dict[str, Points]]:
    """The name of the x axis, and for each metric its points, sorted, one per x."""
    x_key = next((key for key in X_KEYS if all(_is_number(row.get(key)) for row in rows)), "row")
    found: dict[str, dict[float, float]] = {}
    for number, row in enumerate(rows):
        x = number if x_key == "row" else float(row[x_key])
        for name, value in row.items():
            if _is_number(value) and (name in keys if keys else name not in NOT_METRICS):
                # What is not finite leaves a gap in the line.
                found.setdefault(name, {})[x] = float(value) if math.isfinite(value) else math.nan
    wanted = list(keys) if keys else list(found)
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        fields = sorted({name for row in rows for name in row})
        raise ValueError(
            f"plot_curves: no numbers to draw for {', '.join(missing) or 'any metric'} "
            f"in {len(rows)} rows with the fields {fields}"
        )
    return x_key, {name: sorted(found[name].items()) for name in wanted}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # NumPy scalars are Real too


def _running_mean(values: Iterable[float], weight: float) -> list[float]:
    """Exponential mean with the start corrected as in Adam (Kingma and Ba 2015)."""
    mean, correction, result = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean = weight * mean + (1 - weight) * value
            correction = weight * correction + (1 - weight)
            result.append(mean / correction)
        else:
            result.append(math.nan)
    return result


def _spans_decades(curves: Mapping[str, Points]) -> bool:
    values = [y for points in curves.values() for _, y in points if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_SPAN
