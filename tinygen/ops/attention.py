"""Scaled dot-product attention in one node: softmax(q k^T * scale + mask) v.

The node keeps the logarithm of each row's sum instead of the weights, so that between forward and
backward nothing of size L x S lies in memory; backward computes the weights again.

Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017; recomputation after T. Dao et
al., "FlashAttention", NeurIPS 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import backend
from ..casting import casts
from ..primitive import primitive
from ..tensor import Tensor
from .arrange import restack
from .elementwise import equal, logical_and, where
from .linalg import matmul
from .norm import softmax_p
from .reduce import max_p
from .shape import permute_dims, reshape

__all__ = ["attention"]

# Elements of the scores that are worked on at a time: 512 KB of float32, so that the passes of the
# softmax over them find them in the cache.
TILE = 1 << 17


def _allowed(xp: Any, length: int, keys: int, offset: int) -> Any:
    """(L, S) booleans: query i sees the keys up to i + offset."""
    return xp.arange(keys)[None, :] <= xp.arange(length)[:, None] + offset


def _definition(q, k, v, mask=None, keep=None, *, causal, offset, scale):
    s = matmul(q * scale, k.swapaxes(-1, -2))                              # (..., L, S)
    allowed = None
    if causal:
        allowed = _allowed(backend.array_module(_raw(q)), q.shape[-2], k.shape[-2], offset)
    if mask is not None and mask.dtype.kind == "b":
        allowed = mask if allowed is None else logical_and(allowed, mask)
    elif mask is not None:
        s = s + mask
    if allowed is not None:
        s = where(allowed, s, -math.inf)
    if s.shape[-1]:
        nothing = equal(max_p(s, axis=-1, keepdims=True), -math.inf)       # (..., L, 1)
        s = where(nothing, 0.0, softmax_p(where(nothing, 0.0, s), axis=-1))
    return matmul(s if keep is None else s * keep, v), None


def _raw(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


@primitive(name="attention", composite=_definition, outputs=2, differentiable=1)
def attention_p(xp, q, k, v, mask=None, keep=None, *, causal, offset, scale):
    """softmax(q k^T scale + mask) v over (..., L, E), (..., S, E), (..., S, Ev); and each row's
    log of the sum of exponentials, (..., L), which is 0 for a row that sees no key.

    A boolean mask is true where a query sees a key; `causal` lets query i see the keys up to
    i + offset; `keep` multiplies the weights (dropout: 0 or 1 / (1 - p)).
    """
    lead, q, k, v, mask, keep = _spread(xp, q, k, v, mask, keep)
    y = xp.empty((*lead, q.shape[-2], v.shape[-1]), q.dtype)
    lse = xp.empty((*lead, q.shape[-2], 1), q.dtype)
    for rows, keys, first in _tiles(xp, lead, q.shape[-2], k.shape[-2], causal, offset):
        s = _scores(xp, q[rows], k[keys], _part(mask, rows, keys), causal, first + offset, scale)
        top = _largest(xp, s)
        top = xp.where(top == -math.inf, 0, top)                           # no key: exp gives 0
        s -= top
        xp.exp(s, out=s)                                                   # (..., L, S)
        total = s.sum(axis=-1, keepdims=True)
        total = xp.where(total == 0, 1, total)
        s *= 1 / total
        if keep is not None:
            s *= _part(keep, rows, keys)
        xp.matmul(s, v[keys], out=y[rows])
        lse[rows] = xp.log(total) + top
    return y, lse[..., 0]


@attention_p.vjp_joint
def _(needs, gs, ys, q, k, v, mask=None, keep=None, *, causal, offset, scale):
    xp, (g,), (y, lse) = backend.array_module(q), gs, ys
    shapes = q.shape, k.shape, v.shape
    lead, q, k, v, mask, keep = _spread(xp, q, k, v, mask, keep)
    gq, gk, gv = (xp.zeros((*lead, *x.shape[-2:]), q.dtype) if needed else None
                  for x, needed in zip((q, k, v), needs, strict=False))
    full = (*lead, q.shape[-2], k.shape[-2])
    g_mask = xp.zeros(full, q.dtype) if len(needs) > 3 and needs[3] else None
    inner = (g * y).sum(axis=-1, keepdims=True)                            # sum_j p_ij dp_ij
    lse = lse[..., None]
    for rows, keys, first in _tiles(xp, lead, q.shape[-2], k.shape[-2], causal, offset):
        p = _scores(xp, q[rows], k[keys], _part(mask, rows, keys), causal, first + offset, scale)
        p -= lse[rows]
        xp.exp(p, out=p)                                                   # the weights
        kept = _part(keep, rows, keys)
        if gv is not None:
            gv[keys] += xp.matmul((p if kept is None else p * kept).swapaxes(-1, -2), g[rows])
        if gq is None and gk is None and g_mask is None:
            continue
        ds = xp.matmul(g[rows], v[keys].swapaxes(-1, -2))
        if kept is not None:
            ds *= kept
        ds -= inner[rows]
        ds *= p
        if g_mask is not None:
            g_mask[(*rows, keys[-1])] = ds
        if gq is not None:
            xp.matmul(ds, k[keys], out=gq[rows])
        if gk is not None:
            gk[keys] += xp.matmul(ds.swapaxes(-1, -2), q[rows])
    for gx in (gq, gk):
        if gx is not None:
            gx *= scale
    return (*(x if x is None else sum_to(x, shape)
              for x, shape in zip((gq, gk, gv), shapes, strict=True)), g_mask)


def _largest(xp: Any, s: Any) -> Any:
    """The largest score of each row, (..., L, 1); -inf where there are no keys."""
    if s.shape[-1]:
        return s.max(axis=-1, keepdims=True)
    return xp.full((*s.shape[:-1], 1), -math.inf, s.dtype)


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """The sum of x over the leading axes along which an array of `shape` was broadcast."""
    if x.shape == shape:
        return x
    extra = x.ndim - len(shape)
    axes = tuple(i for i in range(x.ndim) if i < extra or x.shape[i] != shape[i - extra])
    return x.sum(axis=axes, keepdims=True).reshape(shape)


def _scores(xp: Any, q: Any, k: Any, mask: Any, causal: bool, offset: int, scale: float) -> Any:
    """q k^T scale + mask of one tile; -inf where a query does not see a key."""
    s = xp.matmul(q * scale, k.swapaxes(-1, -2))
    if causal:
        hidden = ~_allowed(xp, s.shape[-2], s.shape[-1], offset)
        xp.copyto(s, -math.inf, where=hidden)
    if mask is not None and mask.dtype.kind == "b":
        xp.copyto(s, -math.inf, where=~mask)
    elif mask is not None:
        s += mask
    return s


def _part(m: Any, rows: tuple[Any, ...], keys: tuple[Any, ...]) -> Any:
    """The tile of a mask (..., L, S), if there is one."""
    return m if m is None else m[(*rows, keys[-1])]


def _spread(xp: Any, q: Any, k: Any, v: Any, mask: Any, keep: Any) -> tuple[Any, ...]:
    """The leading axes of q, k and v together, and all inputs broadcast to them, as views."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (xp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (q, k, v))
    full = (*lead, q.shape[-2], k.shape[-2])
    mask, keep = (m if m is None else xp.broadcast_to(m, full) for m in (mask, keep))
    return lead, q, k, v, mask, keep


Index = tuple[Any, ...]


def _tiles(xp: Any, lead: tuple[int, ...], length: int, keys: int, causal: bool,
           offset: int) -> Iterator[tuple[Index, Index, int]]:
    """Indices of queries (..., L, E) and keys (..., S, E) whose scores, at most TILE elements or
    so, are worked on together, and the number of the first query.

    A causal tile has the keys only that its queries may see.
    """
    if xp is not np:
        yield (..., slice(None)), (..., slice(None)), 0
        return
    depth = 0
    while depth < len(lead) and math.prod(lead[depth:]) * length * keys > TILE:
        depth += 1
    rest = (slice(None),) * (len(lead) - depth)
    step = max(16, TILE // max(1, keys))
    if causal:
        step = min(step, max(64, length // 4))   # fewer rows save more keys, until calls cost more
    for i in np.ndindex(lead[:depth]):
        for first in range(0, length, step):
            stop = min(first + step, length)
            seen = min(keys, max(0, stop + offset)) if causal else keys
            yield (*i, *rest, slice(first, stop)), (*i, *rest, slice(0, seen)), first


# -- heads of a packed projection ------------------------------------------------------------------


def _split_definition(x, *, heads, batch):
    e = x.shape[-1] // 3
    axes = (0, 2, 1, 3) if batch == 0 else (1, 2, 0, 3)
    return tuple(permute_dims(reshape(x[..., i * e:(i + 1) * e],
                                      (*x.shape[:2], heads, e // heads)), axes) for i in range(3))


@primitive(name="split_heads", composite=_split_definition, outputs=3)
def split_heads_p(xp, x, *, heads, batch):
    """Queries, keys and values (N, H, L, E / H) of a packed projection (N, L, 3 E), as views.

    With `batch` 1 the projection is (L, N, 3 E).
    """
    parts = x.reshape(*x.shape[:2], 3, heads, x.shape[-1] // (3 * heads))
    order = (0, 2, 1, 3) if batch == 0 else (1, 2, 0, 3)
    return tuple(parts[:, :, i].transpose(order) for i in range(3))


@split_heads_p.vjp_joint
def _(needs, gs, ys, x, *, heads, batch):
    order = (0, 2, 1, 3) if batch == 0 else (2, 0, 1, 3)
    xp = backend.array_module(x)
    return (restack.fn(xp, *(g.transpose(order) for g in gs), axis=2).reshape(x.shape),)


def split_heads(x: Any, heads: int, batch: int) -> tuple[Tensor, ...]:
    """Queries, keys and values (N, H, L, E / H) of a packed projection.

    Args:
        x: (N, L, 3 E) with `batch` 0, (L, N, 3 E) with 1.
    """
    return split_heads_p(x, heads=heads, batch=batch)


@attention_p.explains
def _(q, k, v, mask=None, keep=None, **_):
    return misfit(q, k, v, mask)


def misfit(q: Any, k: Any, v: Any, mask: Any = None) -> str | None:
    """What does not fit in a call of attention, in words; None if all fits."""
    sq, sk, sv = [x.shape if hasattr(x, "shape") else np.shape(x) for x in (q, k, v)]
    if mask is None and (len(sq) > 1 and sq[:-2] == sk[:-2] == sv[:-2] and sq[-1:] == sk[-1:]
                         and sk[-2:-1] == sv[-2:-1]):
        return None                     # nearly always
    for name, shape in (("q", sq), ("k", sk), ("v", sv)):
        if len(shape) < 2:
            return f"{name} must be (..., length, width), got {shape}"
    if sq[-1] != sk[-1]:
        return f"q {sq} and k {sk} must have the same width (last axis)"
    if sk[-2] != sv[-2]:
        return f"k {sk} and v {sv} must have the same length (last axis but one)"
    try:
        lead = sq[:-2]
        if not lead == sk[:-2] == sv[:-2]:
            lead = np.broadcast_shapes(lead, sk[:-2], sv[:-2])
    except ValueError:
        return (f"the leading axes of q {sq}, k {sk} and v {sv} do not broadcast; grouped heads "
                "need enable_gqa=True")
    if mask is not None:
        full, shape = (*lead, sq[-2], sk[-2]), tuple(mask.shape)
        if len(shape) > len(full) or any(n not in (1, m) for n, m in zip(
                shape[::-1], full[::-1], strict=False)):
            return f"the mask {shape} does not broadcast to {full} (queries, keys last)"
    return None


def attention(q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *, causal: bool = False,
              offset: int = 0, scale: float | None = None) -> Tensor:
    """softmax(q k^T scale + mask) v: each query's average of the values, weighted by its keys.

    Args:
        q: (..., L, E). k: (..., S, E). v: (..., S, Ev). Leading axes broadcast.
        mask: broadcasts to (..., L, S): true where a query sees a key, or numbers to add to the
            scores. A row that sees no key gives zeros.
        keep: multiplies the weights, for dropout: 0 or 1 / (1 - p).
        causal: query i sees the keys up to i + `offset` only.
        scale: 1 / sqrt(E) by default.

    Returns:
        (..., L, Ev).

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """
    return attend("attention", q, k, v, mask, keep, causal, offset, scale)


@casts
def attend(op: str, q: Any, k: Any, v: Any, mask: Any, keep: Any, causal: bool, offset: int,
           scale: float | None) -> Tensor:
    """`attention` under the name `op`, which errors begin with."""
    if not (isinstance(q, Tensor) and isinstance(k, Tensor) and isinstance(v, Tensor)):
        q, k, v = (x if hasattr(x, "dtype") else Tensor(x) for x in (q, k, v))
    problem = misfit(q, k, v, mask)
    if problem:
        raise ValueError(f"[{op}] {problem}")
    dtype = q.dtype
    if dtype.kind not in "fV" or not dtype == k.dtype == v.dtype:
        raise TypeError(f"[{op}] query, key and value must have one floating point dtype, got "
                        f"{dtype}, {k.dtype} and {v.dtype}")
    if mask is not None and mask.dtype.kind not in "bfV":
        raise TypeError(f"[{op}] the mask must be boolean (true: the query sees the key) or "
                        f"floating point (added to the scores), got {mask.dtype}")
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 0.0
    attrs = {"causal": bool(causal), "offset": int(offset), "scale": float(scale)}
    if mask is not None and mask.dtype.kind in "fV" and mask.dtype != dtype:
        mask = mask.astype(dtype)
    return attention_p(q, k, v, mask, keep, **attrs)[0]
