"""A line search that ends at a point with the strong Wolfe conditions.

f(t) <= f(0) + c1 t f'(0)  and  |f'(t)| <= c2 |f'(0)|.

Source: J. Nocedal and S. Wright, "Numerical Optimization", 2006, algorithms 3.5 and 3.6, with
the safeguards of M. Schmidt's minFunc, which PyTorch's LBFGS follows too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Point", "strong_wolfe"]


class Point(NamedTuple):
    """A step length with the loss, the flat gradient and the slope along the line there."""

    t: float
    f: float
    g: Any
    slope: float


def strong_wolfe(at: Callable[[float], Point], start: Point, t: float, longest: float,
                 most: int, tolerance_change: float = 1e-9, c1: float = 1e-4,
                 c2: float = 0.9) -> tuple[Point, int]:
    """The point found, and how many points were evaluated.

    Args:
        at: evaluates the loss at a step length.
        start: the point at t = 0, with a negative slope.
        t: the first step length to try.
        longest: the largest element of the direction: lengths times it are distances.
        most: how many points may be evaluated after the first.
        tolerance_change: the distance between the ends of a bracket at which the search ends.
    """
    def too_high(p: Point) -> bool:
        return p.f > start.f + c1 * p.t * start.slope

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    before, new, extra = start, at(t), 0
    while extra < most:                    # walk outwards until a minimum lies between two points
        if too_high(new) or (extra > 1 and new.f >= before.f) or (
                not flat(new) and new.slope >= 0):
            bracket = [before, new]
            break
        if flat(new):
            return new, extra + 1
        t = _cubic_minimum(before, new, new.t + 0.01 * (new.t - before.t), 10 * new.t)
        before, new, extra = new, at(t), extra + 1
    else:
        bracket = [start, new]

    stuck = False
    low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
    while extra < most:                    # close in on it
        a, b = sorted((bracket[0].t, bracket[1].t))
        if (b - a) * longest < tolerance_change:
            break
        t, stuck = _inside(_cubic_minimum(bracket[0], bracket[1], a, b), a, b, stuck)
        new, extra = at(t), extra + 1
        if too_high(new) or new.f >= bracket[low].f:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
            continue
        done = flat(new)
        if not done and new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
        if done:
            break
    return bracket[low], extra + 1


def _inside(t: float, a: float, b: float, stuck: bool) -> tuple[float, bool]:
    """`t` kept away from the ends of [a, b] if it came too close to one, now and before."""
    margin = 0.1 * (b - a)
    if min(b - t, t - a) >= margin:
        return t, False
    if not (stuck or t >= b or t <= a):
        return t, True
    return (b - margin if abs(t - b) < abs(t - a) else a + margin), False


def _cubic_minimum(p: Point, q: Point, low: float, high: float) -> float:
    """The minimum in [low, high] of the cubic with the values and slopes of two points."""
    if q.t < p.t:
        p, q = q, p
    if p.t == q.t:
        return (low + high) / 2
    d1 = p.slope + q.slope - 3 * (p.f - q.f) / (p.t - q.t)
    square = d1 * d1 - p.slope * q.slope
    bottom = q.slope - p.slope + 2 * math.sqrt(square) if square >= 0 else 0.0
    if not bottom:                         # no minimum, or no number
        return (low + high) / 2
    root = math.sqrt(square)
    return min(max(q.t - (q.t - p.t) * ((q.slope + root - d1) / bottom), low), high)
