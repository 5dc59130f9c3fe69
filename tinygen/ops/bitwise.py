"""Integers and booleans: bits, shifts, divisors, distinct values. Nothing here has a gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..mode import reads
from ..primitive import primitive
from ..tensor import Tensor
from .creation import zeros_like
from .elementwise import positive
from .shape import as_tensor, reshape

__all__ = ["bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or",
           "bitwise_right_shift", "bitwise_xor", "conj", "gcd", "imag", "invert", "lcm",
           "left_shift", "real", "right_shift", "unique", "unique_all", "unique_counts",
           "unique_inverse", "unique_values"]


# -- bits ---------------------------------------------------------------------------------------


def _bits(name: str, of: str, text: str, booleans: bool = True) -> Any:
    def fn(xp, x, y):
        return getattr(xp, of)(x, y)
    fn.__name__, fn.__doc__ = name, text
    made = primitive(fn, elementwise=True)

    @made.explains
    def _(x, y):
        return _no_bits((x, y), booleans, f"; logical_{name[8:]} takes numbers as true or false"
                        if booleans else "")
    return made


def _no_bits(xs: tuple[Any, ...], booleans: bool, hint: str = "") -> str | None:
    kinds = [getattr(x, "dtype", np.asarray(x).dtype).kind for x in xs]
    if all(k in "biu" if booleans else k in "iu" for k in kinds):
        return None
    return f"integers{' or booleans' if booleans else ''} are needed{hint}"


bitwise_and: Any = _bits("bitwise_and", "bitwise_and", "The bits that x and y both have.")
bitwise_or: Any = _bits("bitwise_or", "bitwise_or", "The bits that x or y has.")
bitwise_xor: Any = _bits("bitwise_xor", "bitwise_xor", "The bits that exactly one of x, y has.")
bitwise_left_shift: Any = _bits("bitwise_left_shift", "left_shift",
                                "x * 2^y: the bits moved up by y places.", False)
bitwise_right_shift: Any = _bits("bitwise_right_shift", "right_shift",
                                 "floor(x / 2^y): the bits moved down, the sign kept.", False)
gcd: Any = _bits("gcd", "gcd", "The greatest common divisor.", False)
lcm: Any = _bits("lcm", "lcm", "The least common multiple.", False)


@primitive(elementwise=True)
def bitwise_invert(xp, x):
    """Every bit the other way round; for booleans, not x."""
    return xp.invert(x)


@bitwise_invert.explains
def _(x):
    return _no_bits((x,), True, "; logical_not takes numbers as true or false")


bitwise_not = invert = bitwise_invert
left_shift, right_shift = bitwise_left_shift, bitwise_right_shift


# -- the real part of numbers that are real -----------------------------------------------------


def real(x: Any) -> Tensor:
    """x itself: numbers are real here."""
    return positive(x)


conj = real


def imag(x: Any) -> Tensor:
    """Zeros: numbers are real here."""
    return zeros_like(x)


# -- distinct values ----------------------------------------------------------------------------


class UniqueAllResult(NamedTuple):
    """What `unique_all` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Any) -> UniqueAllResult:
    """The distinct elements in ascending order, and where and how often they stand in x.

    Returns values; indices, the first place of each in the flattened x; inverse_indices, of x's
    shape, with values[inverse_indices] = x; counts. Every NaN is distinct. Gradients of values
    flow to the first places.

    >>> import tinygen as tg
    >>> tg.unique_all(tg.Tensor([3, 1, 3])).counts
    Tensor([1, 2], dtype=int64)
    """
    x = as_tensor(x)
    reads("unique", x)
    _, first, inverse, counts = np.unique(x.numpy() if not x.requires_grad else x.detach().numpy(),
                                          return_index=True, return_inverse=True,
                                          return_counts=True, equal_nan=False)
    values = reshape(x, (-1,))[first] if x.size else reshape(x, (0,))
    found = (first, inverse.reshape(x.shape), counts)
    return UniqueAllResult(values, *(Tensor(array, device=x.device) for array in found))


def unique_counts(x: Any) -> UniqueCountsResult:
    """The distinct elements in ascending order, and how often each occurs."""
    found = unique_all(x)
    return UniqueCountsResult(found.values, found.counts)


def unique_inverse(x: Any) -> UniqueInverseResult:
    """The distinct elements in ascending order, and the index of each element of x among them."""
    found = unique_all(x)
    return UniqueInverseResult(found.values, found.inverse_indices)


def unique_values(x: Any) -> Tensor:
    """The distinct elements in ascending order; every NaN is distinct."""
    return unique_all(x).values


def unique(x: Any, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: int | None = None, *,
           equal_nan: bool = True) -> Any:
    """The distinct elements (or slices along `axis`) in order: NumPy's `unique`.

    Returns the values alone, or a tuple of the values and what was asked for, in this order:
    indices of first places, inverse indices, counts.
    """
    x = as_tensor(x)
    reads("unique", x)
    found = np.unique(x.detach().numpy(), True, True, True, axis, equal_nan=equal_nan)
    flat = reshape(x, (-1,)) if axis is None else x
    place = (slice(None),) * (0 if axis is None else axis % x.ndim)
    values = flat[(*place, found[1])]
    chosen = [Tensor(array, device=x.device) for array, wanted in zip(
        found[1:], (return_index, return_inverse, return_counts), strict=True) if wanted]
    return (values, *chosen) if chosen else values
