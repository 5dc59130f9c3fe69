"""Rows for families of primitives: elementwise, reductions, functions that move elements."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, axes_of, between, broadcastable, shapes


def unary(name, reference, low=-2.0, high=2.0, avoid=(), **options):
    """An elementwise function of one tensor on a range."""
    def sample(draw):
        return Sample((between(draw(shapes()), low, high, avoid),))
    return Case(name, sample, reference, **options)


def unary_with(name, reference, attrs, avoid=lambda **_: (), **options):
    """The same with drawn static arguments; `avoid(**attrs)` gives the kinks."""
    def sample(draw):
        chosen = {key: draw(strategy) for key, strategy in attrs.items()}
        return Sample((between(draw(shapes()), -2, 2, avoid(**chosen)),), chosen)
    return Case(name, sample, reference, **options)


def binary(name, reference, x=between, y=between, **options):
    """An elementwise function of two tensors that broadcast; x and y make values for a shape."""
    def sample(draw):
        a, b = draw(broadcastable(2))
        return Sample((x(a), y(b)))
    return Case(name, sample, reference, **{"inputs": (0, 1), **options})


def predicate(name, reference, make):
    """A function with a boolean result: no gradients."""
    def sample(draw):
        return Sample((make(draw(shapes())),))
    return Case(name, sample, reference, inputs=())


def reduction(name, reference, make=between, empty=False, several=True, extra=None, **options):
    """A function that removes axes; `extra(count)` gives strategies of further arguments."""
    def sample(draw):
        shape = draw(shapes(empty=empty))
        attrs = {"axis": draw(axes_of(len(shape), several)), "keepdims": draw(st.booleans())}
        if extra is not None:
            count = math.prod(np.take(shape, np.arange(len(shape)) if attrs["axis"] is None
                                      else attrs["axis"], mode="wrap").reshape(-1).astype(int))
            attrs.update({key: draw(s) for key, s in extra(count).items()})
        return Sample((make(shape),), attrs)
    return Case(name, sample, reference, **options)


def moving(name, reference, attrs, min_dims=0, **options):
    """A function that moves elements; `attrs(draw, shape)` draws its static arguments."""
    def sample(draw):
        shape = draw(shapes(min_dims=min_dims))
        return Sample((between(shape),), attrs(draw, shape))
    return Case(name, sample, reference, **options)
