"""Where a token stands: sinusoids, rotations, and biases that grow with distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import backend, ops
from ...constants import beside, constant
from ...tensor import Tensor

__all__ = ["alibi_bias", "alibi_slopes", "relative_position_bucket", "rotary_embedding",
           "sinusoidal_positions"]


def sinusoidal_positions(length: int, dim: int, base: float = 10000.0, offset: int = 0,
                         dtype: Any = None, device: Any = None) -> Tensor:
    """(length, dim): sin(p / base^(2i / dim)) in column 2i, the cosine in column 2i + 1.

    p is the row plus `offset`.

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5.
    """
    if dim < 1 or length < 0:
        raise ValueError("[sinusoidal_positions] length must not be negative and dim at least 1, "
                         f"got {length} and {dim}")
    even = np.arange(0, dim, 2)
    angle = (np.arange(length) + offset)[:, None] * base ** (-even / dim)    # (length, dim / 2)
    table = np.empty((length, dim))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, :dim // 2])
    return _table(table, dtype, device)


def _table(values: np.ndarray, dtype: Any, device: Any) -> Tensor:
    """A tensor of its own with the values of a table, which a GPU remembers."""
    kind, place = backend.canonical_dtype(dtype or "float32"), backend.canonical_device(device)
    return Tensor.wrap(constant(values.astype(kind), place).copy())


def rotary_embedding(x: Any, positions: Any = None, dim: int | None = None, base: float = 10000.0,
                     layout: str = "half", offset: int = 0) -> Tensor:
    """Queries or keys (..., L, D), pairs of numbers turned by angles p / base^(2i / dim).

    A pair (a, b) at position p becomes (a cos t - b sin t, b cos t + a sin t), so that the product
    of a query and a key depends on the distance between them only.

    Args:
        positions: p of each token, integers or floats, broadcasting to (..., L); 0, 1, ... plus
            `offset` by default.
        dim: the first `dim` numbers are turned, the others stay (default: all, D).
        layout: which numbers are pair i: "half" has i and i + dim / 2 (GPT-NeoX, Llama in Hugging
            Face's files), "interleaved" has 2i and 2i + 1 (RoFormer, GPT-J, Meta's Llama).

    Source: J. Su et al., "RoFormer", 2021.
    """
    width = x.shape[-1] if dim is None else dim
    if x.ndim < 2 or width % 2 or not 0 <= width <= x.shape[-1]:
        raise ValueError(f"[rotary_embedding] dim must be even and at most the width of x (..., L, "
                         f"D); got dim {width} and x {tuple(x.shape)}")
    if layout not in ("half", "interleaved"):
        raise ValueError("[rotary_embedding] layout must be 'half' or 'interleaved', got "
                         f"{layout!r}")
    if positions is None:
        places: Any = np.arange(x.shape[-2]) + offset
    else:
        places = positions.numpy() if isinstance(positions, Tensor) else np.asarray(positions)
        places = places + offset
    tokens = tuple(x.shape[:-1])
    if places.ndim > len(tokens) or any(
            n not in (1, m) for n, m in zip(places.shape[::-1], tokens[::-1], strict=False)):
        raise ValueError(f"[rotary_embedding] positions {places.shape} do not broadcast to the "
                         f"tokens of x, {tokens}")
    angle = places[..., None] * base ** (-np.arange(0, width, 2) / max(width, 1))
    cos, sin = (Tensor.wrap(beside(f(angle).astype(x.dtype), x))
                for f in (np.cos, np.sin))                                 # (..., L, dim / 2)
    turned = x[..., :width]
    if layout == "half":
        a, b = turned[..., :width // 2], turned[..., width // 2:]
        parts = [a * cos - b * sin, b * cos + a * sin]
    else:
        a, b = turned[..., 0::2], turned[..., 1::2]
        pairs = ops.stack([a * cos - b * sin, b * cos + a * sin], axis=-1)
        parts = [ops.reshape(pairs, tuple(turned.shape))]
    if width < x.shape[-1]:
        parts.append(x[..., width:])
    return parts[0] if len(parts) == 1 else ops.concat(parts, axis=-1)


def alibi_slopes(num_heads: int) -> np.ndarray:
    """How fast each head's bias falls with distance: 2^(-8/n), 2^(-16/n), ... for n heads.

    Where n is no power of two: the slopes of the next smaller power, then every second slope of
    the next larger one, as the authors' code does.

    Source: O. Press et al., "Train Short, Test Long", ICLR 2022.

    >>> alibi_slopes(4)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    """
    if num_heads < 1:
        raise ValueError(f"[alibi_slopes] num_heads must be at least 1, got {num_heads}")
    power = 2 ** int(math.log2(num_heads))
    first = 2.0 ** (-8 / power * np.arange(1, power + 1))
    more = 2.0 ** (-4 / power * np.arange(1, 2 * power + 1, 2))
    return np.concatenate([first, more[:num_heads - power]])


def alibi_bias(num_heads: int, length: int, keys: int | None = None, causal: bool = False,
               dtype: Any = None, device: Any = None) -> Tensor:
    """(num_heads, length, keys) to add to scores: -slope |i - j|, for the last `length` positions.

    Query row r stands at position i = keys - length + r, so that a row of a cached step is the same
    as in the whole. With `causal` keys after the query get -inf.
    """
    keys = length if keys is None else keys
    i = np.arange(keys - length, keys)[:, None]
    j = np.arange(keys)[None, :]
    bias = -alibi_slopes(num_heads)[:, None, None] * np.abs(i - j)
    if causal:
        bias = np.where(j > i, -np.inf, bias)
    return _table(bias, dtype, device)


def relative_position_bucket(distance: Any, num_buckets: int = 32, max_distance: int = 128,
                             bidirectional: bool = True) -> np.ndarray:
    """The bucket of key position minus query position: near ones alone, far ones by logarithm.

    Source: C. Raffel et al., "Exploring the Limits of Transfer Learning" (T5), JMLR 2020.
    """
    d = np.asarray(distance.numpy() if isinstance(distance, Tensor) else distance)
    if bidirectional:
        half = num_buckets // 2
        start, d = np.where(d > 0, half, 0), np.abs(d)
    else:
        half = num_buckets
        start, d = np.zeros_like(d), np.maximum(-d, 0)
    near = half // 2
    with np.errstate(divide="ignore"):
        far = near + np.floor(np.log(d / near) / math.log(max_distance / near)
                              * (half - near) + 1e-9)
    return start + np.where(d < near, d, np.minimum(far, half - 1)).astype(np.int64)
