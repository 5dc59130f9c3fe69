"""Several drawings as one picture: the plots of examples and of the documentation."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.viz.png import write_atomic

LETTERS = 14  # of a title, that fit an inch of panel


def save_panels(
    drawers: Sequence[Callable[[Any], Any]],
    path: str | os.PathLike[str],
    columns: int = 3,
    size: tuple[float, float] = (3.6, 3.0),
    dpi: int = 80,
) -> Path:
    """Call each drawer with matplotlib axes of its own and save all as one PNG file; its path.

    The panels stand row by row from the top left; `size` is width and height of one, in inches.
    The first line of a drawer's docstring becomes the title of its panel, unless it sets one.

    Raises ModuleNotFoundError without matplotlib, ValueError for no drawers, for another suffix
    than .png and for a column count below 1; what a drawer raises passes through, and the old
    file stays.
    """
    if not drawers:
        raise ValueError("save_panels: no drawers were given; one function of axes is the least")
    if columns < 1:
        raise ValueError(f"save_panels: columns must be 1 or more, got {columns}")
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"pictures are written as PNG: give a path that ends in .png, not {path}")
    try:
        # Figure and Agg themselves: pyplot would keep global state and look for a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModuleNotFoundError(
            "save_panels needs matplotlib: pip install 'tinygen[app]' (or matplotlib itself)"
        ) from error

    columns = min(columns, len(drawers))
    rows = -(-len(drawers) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=dpi, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for position, draw in enumerate(drawers, start=1):
        axes = figure.add_subplot(rows, columns, position)
        draw(axes)
        if not axes.get_title():
            title = (draw.__doc__ or "").strip().split("\n")[0].rstrip(".")
            axes.set_title(textwrap.fill(title, round(LETTERS * size[0])), fontsize=9)
        axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return write_atomic(path, buffer.getvalue())


def overlay_attention(axes: Any, picture: Any, weights: Any = None, title: str = "") -> None:
    """A grey picture (H, W), or one (3, H, W), with what `weights` (h, w) look at, in colour.

    Pictures are uint8 or floats in [0, 1]. Without weights the picture alone. Meant for a drawer
    of `save_panels`.
    """
    pixels = np.asarray(picture)
    axes.imshow(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0), cmap="gray", vmin=0,
                vmax=255 if pixels.dtype == np.uint8 else 1, extent=(0, 1, 0, 1))
    if weights is not None:
        axes.imshow(np.asarray(weights), cmap="inferno", alpha=0.55, vmin=0,
                    extent=(0, 1, 0, 1), interpolation="bilinear")
    axes.set_title(textwrap.fill(title, 26), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
