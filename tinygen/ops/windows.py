"""Windows that slide along axes, and their transpose, the sum of overlapping windows.

`windows` is a view: it costs nothing until its elements are used. `overlap_add` adds every window
back to where it came from. Each is the other's gradient.
"""

from __future__ import annotations

import itertools
from typing import Any

from ..primitive import primitive
from .patches import reach

__all__: list[str] = []


@primitive(name="windows")
def windows_p(xp, x, *, first, kernel, stride, padding, dilation):
    """Windows along the axes from `first` on: (..., *S, ...) -> (..., *kernel, *places, ...).

    y[u, i] = x[stride i + dilation u - before] with zeros around x; `padding` is (before, after)
    per axis, and where the last window ends earlier, the rest is left over.
    """
    for axis, (a, b) in enumerate(padding, first):
        if a or b:
            x = _widened(xp, x, axis, a, b)
    axes = range(first, first + len(kernel))
    places = tuple((x.shape[a] - d * (k - 1) - 1) // s + 1
                   for a, k, s, d in zip(axes, kernel, stride, dilation))
    steps = tuple(x.strides[a] for a in axes)
    end = first + len(kernel)
    view = xp.lib.stride_tricks.as_strided(
        x, (*x.shape[:first], *kernel, *places, *x.shape[end:]),
        (*x.strides[:first], *(d * step for d, step in zip(dilation, steps)),
         *(s * step for s, step in zip(stride, steps)), *x.strides[end:]))
    if hasattr(view.flags, "writeable"):
        view.flags.writeable = False          # elements appear several times
    return view
windows_p.vjp(lambda g, out, x, first, kernel, **how: overlap_add_p(
    g, first=first, kernel=kernel, size=tuple(x.shape[first:first + len(kernel)]), **how))


@primitive(name="overlap_add")
def overlap_add_p(xp, g, *, first, kernel, stride, padding, dilation, size):
    """The transpose of windows: (..., *kernel, *places, ...) -> (..., *size, ...)."""
    n, lead = len(kernel), (slice(None),) * first
    places = g.shape[first + n:first + 2 * n]
    one = g[(*lead, *(0,) * n)]
    out = xp.zeros_like(one, shape=(*one.shape[:first], *size, *one.shape[first + n:]))
    meets = [[reach(m, s, u * d - a, length) for u in range(k)] for m, s, d, k, (a, _), length
             in zip(places, stride, dilation, kernel, padding, size)]
    for taps in itertools.product(*(range(k) for k in kernel)):
        there, here = zip(*(meets[axis][u] for axis, u in enumerate(taps)))
        out[(*lead, *here)] += g[(*lead, *taps, *there)]
    return out
overlap_add_p.vjp(lambda g, out, x, size, **how: windows_p(g, **how))


def _widened(xp: Any, x: Any, axis: int, before: int, after: int) -> Any:
    """x with zeros at the ends of an axis (negative: cropped), in x's memory order."""
    lead, n = (slice(None),) * axis, x.shape[axis]
    start = min(n, max(0, -before))
    x = x[(*lead, slice(start, max(start, n - max(0, -after))))]
    if before <= 0 and after <= 0:
        return x
    kept, at = x.shape[axis], max(0, before) if x.shape[axis] else 0
    out = xp.empty_like(x, shape=(*x.shape[:axis], n + before + after, *x.shape[axis + 1:]))
    out[(*lead, slice(0, at))] = 0
    out[(*lead, slice(at + kept, None))] = 0
    out[(*lead, slice(at, at + kept))] = x
    return out
