"""Padding: arrays made larger at their edges, and the transpose of that."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import beside
from ..primitive import primitive
from ..tensor import Tensor

MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap",
         "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}


@primitive(name="pad")
def pad_p(xp, x, *, width, mode, value):
    """x with more elements at the ends of its axes, in x's memory order."""
    out = xp.empty_like(x, shape=tuple(n + a + b for n, (a, b) in zip(x.shape, width)))
    out[_core(out.shape, width)] = x
    for axis, (n, (before, after)) in enumerate(zip(x.shape, width)):
        lead, end = (slice(None),) * axis, before + n
        if mode == "constant":
            out[(*lead, slice(0, before))] = value
            out[(*lead, slice(end, None))] = value
        elif before or after:      # corners too: the other axes' padding is copied along
            sources = beside(before + _sources(n, before, after, mode), out)
            out[(*lead, slice(0, before))] = out[(*lead, sources[:before])]
            out[(*lead, slice(end, None))] = out[(*lead, sources[end:])]
    return out
pad_p.vjp(lambda g, out, x, width, mode, value: unpad_p(g, width=width, mode=mode))


@primitive(name="unpad")
def unpad_p(xp, g, *, width, mode):
    """The transpose of pad: each padded element is added to the one that it was a copy of."""
    if mode == "constant":
        return g[_core(g.shape, width)]
    for axis, (before, after) in enumerate(width):
        if before or after:
            g = _fold(xp, g, axis, before, after, mode)
    return g
unpad_p.vjp(lambda g, out, x, width, mode: pad_p(g, width=width, mode=mode, value=0))


def _core(shape: tuple[int, ...], width: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(a, n - b) for n, (a, b) in zip(shape, width))


def _fold(xp: Any, g: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """unpad along one axis."""
    n = g.shape[axis] - before - after
    sources = _sources(n, before, after, mode)
    lead = (slice(None),) * axis
    out = g[(*lead, slice(before, before + n))].copy(order="K")
    for start in (*range(0, before, max(n, 1)), *range(before + n, len(sources), max(n, 1))):
        stop = min(start + n, before if start < before else len(sources))
        part = sources[start:stop]
        if mode != "edge" and len(set(part.tolist())) == len(part):
            out[(*lead, beside(part, out))] += g[(*lead, slice(start, stop))]
        else:                                     # some are added to the same element: one by one
            for i, source in enumerate(part.tolist(), start):
                out[(*lead, source)] += g[(*lead, i)]
    return out


def _sources(n: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which of n elements each element of a padded axis is a copy of."""
    return np.pad(np.arange(n), (before, after), mode=mode)  # type: ignore[call-overload]


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """`x` with elements added at the ends of its axes.

    Args:
        pad_width: ((before, after), ...) for each axis, (before, after) for all axes, or one int,
            as in NumPy. A negative number crops.
        mode: ``"constant"``, ``"reflect"`` (mirrored without the edge), ``"symmetric"`` (with it),
            ``"edge"`` (PyTorch: ``"replicate"``), ``"wrap"`` (PyTorch: ``"circular"``).
        constant_values: what ``"constant"`` fills in.

    >>> import tinygen as tg
    >>> pad(tg.arange(3), (2, 1), mode="reflect").tolist()
    [2, 1, 0, 1, 2, 1]
    """
    x = x if hasattr(x, "shape") else Tensor(x)
    if mode not in MODES:
        raise ValueError(f"[pad] mode must be one of {', '.join(MODES)}, got {mode!r}")
    width = _widths(pad_width, x.ndim)
    if any(n + min(a, 0) + min(b, 0) < 0 for n, (a, b) in zip(x.shape, width)):
        raise ValueError(f"[pad] pad_width {pad_width!r} crops more than there is of "
                         f"{tuple(x.shape)}")
    if any(v < 0 for w in width for v in w):
        x = x[tuple(slice(max(0, -a), n - max(0, -b) if b < 0 else None)
                    for n, (a, b) in zip(x.shape, width))]
        width = tuple((max(0, a), max(0, b)) for a, b in width)
    if mode != "constant":
        for axis, (n, w) in enumerate(zip(x.shape, width)):
            if any(w) and n == 0:
                raise ValueError(f"[pad] axis {axis} of {x.shape} is empty: {mode!r} has nothing "
                                 "to copy")
    return pad_p(x, width=width, mode=MODES[mode], value=constant_values)


def _widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """NumPy's forms of pad_width as one (before, after) per axis."""
    try:
        if not isinstance(pad_width, Sequence | np.ndarray):
            n = operator.index(pad_width)
            return ((n, n),) * ndim
        rows = [tuple(map(operator.index, p)) if isinstance(p, Sequence | np.ndarray)
                else operator.index(p) for p in pad_width]
        if all(isinstance(r, int) for r in rows):
            if len(rows) in (1, 2):
                return ((rows[0], rows[-1]),) * ndim  # type: ignore[return-value]
        elif all(isinstance(r, tuple) and len(r) in (1, 2) for r in rows):
            pairs = tuple((r[0], r[-1]) for r in rows)  # type: ignore[index]
            if len(pairs) in (1, ndim):
                return pairs * ndim if len(pairs) == 1 else pairs
    except TypeError:
        rows = []  # falls through to the message
    raise ValueError(f"[pad] pad_width {pad_width!r} does not fit {ndim} axes: give an int, "
                     "(before, after), or one such pair for each axis")
