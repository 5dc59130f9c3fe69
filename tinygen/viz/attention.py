"""What a model looks at while it writes, as a grid."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["draw_attention"]

_BLANKS = {" ": "\u2423", "": "\u2205"}


def draw_attention(axes: Any, weights: Any, read: Sequence[str], written: Sequence[str]) -> Any:
    """Draw weights (T, S), a row for each token written and a column for each one read.

    Dark is much. Where no installed font has the characters of a side, its tokens are numbered
    from 1 instead, and the side's label says so. `axes` are matplotlib's, as `save_panels` gives;
    they are returned.

    Raises ValueError where the weights do not have a row and a column for each token.
    """
    table = np.asarray(weights.numpy() if hasattr(weights, "numpy") else weights)
    if table.shape != (len(written), len(read)):
        raise ValueError(f"[draw_attention] weights: {table.shape}; ({len(written)}, {len(read)}), "
                         "a row for each token written and a column for each read, are expected")
    axes.imshow(table, cmap="Greys", vmin=0.0, vmax=max(float(table.max()), 1e-9), aspect="auto")
    for axis, tokens, what in ((axes.xaxis, read, "read"), (axes.yaxis, written, "written")):
        font = _font("".join(tokens))
        names = [str(i) for i in range(1, len(tokens) + 1)] if font is None else [
            _BLANKS.get(t, t) for t in tokens]
        axis.set_ticks(range(len(tokens)), names, fontsize=8, family=font)
        if font is None:
            axis.set_label_text(f"{what}: numbers of tokens (no font here has them)", fontsize=7)
    for label in axes.get_xticklabels():
        label.set(rotation=90)
    return axes


def _font(text: str) -> str | None:
    """The family of an installed font that has all characters of a text, or None."""
    from matplotlib import font_manager, rcParams

    needed = {ord(c) for c in text if not unicodedata.category(c).startswith(("C", "Z"))}
    families = [font_manager.FontProperties(family=rcParams["font.family"]).get_name()]
    if needed and max(needed) > 0x2FFF:
        # only fonts of East Asia are worth opening, and their names say so
        families += sorted({f.name for f in font_manager.fontManager.ttflist if any(
            word in f.name for word in ("CJK", "Hei", "Song", "Ming", "Gothic", "Kai", "Fang"))})
    return next((name for name in families if needed <= _characters(name)), None)


@functools.cache
def _characters(family: str) -> frozenset[int]:
    """What a font has: the numbers of its characters."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_manager.findfont(family)).get_charmap())
