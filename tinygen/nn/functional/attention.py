"""Attention: scaled dot products, and several heads with their projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops, random
from ...backend import Generator
from ...ops.attention import attend, misfit, split_heads
from ...tensor import Tensor
from .dropout import dropout

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False,
                                 scale: float | None = None, enable_gqa: bool = False,
                                 generator: Generator | None = None) -> Tensor:
    """softmax(query key^T * scale + mask) value.

    Args:
        query: (..., L, E). key: (..., S, E). value: (..., S, Ev). Leading axes broadcast.
        attn_mask: broadcasts to (..., L, S). Boolean: true where a query sees a key. Floating
            point: added to the scores; it may require grad. A query that sees no key gives zeros.
        dropout_p: each weight is zero with this probability, always (there is no `training`).
        is_causal: query i sees the keys up to i, also where L and S differ.
        scale: 1 / sqrt(E) by default.
        enable_gqa: key and value (..., H_kv, S, E) may have fewer heads than query (..., H, L, E);
            each of theirs serves H / H_kv neighbouring query heads.
        generator: draws the dropout (default: the device's).

    Returns:
        (..., L, Ev).

    Raises:
        ValueError: shapes do not fit, `is_causal` meets a mask, or `dropout_p` is not in [0, 1].

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017; grouped heads: J. Ainslie
    et al., "GQA", EMNLP 2023.

    >>> import tinygen as tg
    >>> x = tg.ones((2, 4, 3, 8))                     # (batch, heads, length, width)
    >>> scaled_dot_product_attention(x, x, x, is_causal=True).shape
    (2, 4, 3, 8)
    """
    op = "[scaled_dot_product_attention]"
    if is_causal and attn_mask is not None:
        raise ValueError(f"{op} is_causal=True makes the mask itself: leave attn_mask out, or put "
                         "the triangle into it")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{op} dropout_p must be in [0, 1], got {dropout_p}")
    if attn_mask is not None and not hasattr(attn_mask, "dtype"):
        attn_mask = Tensor(attn_mask)
    shape = None
    if enable_gqa:
        query, key, value, attn_mask, shape = _grouped(query, key, value, attn_mask, op)
    keep = None
    if dropout_p:
        problem = misfit(query, key, value, attn_mask)
        if problem:
            raise ValueError(f"{op} {problem}")
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        keep = _kept((*lead, query.shape[-2], key.shape[-2]), dropout_p, query, generator)
    out = attend("scaled_dot_product_attention", query, key, value, attn_mask, keep, is_causal, 0,
                 scale)
    return out if shape is None else ops.reshape(out, shape)


def _kept(shape: tuple[int, ...], p: float, x: Any, generator: Generator | None) -> Tensor:
    """What dropout multiplies by: 0 with probability p, else 1 / (1 - p)."""
    kept = random.bernoulli(1 - p, shape, dtype=x.dtype, device=x.device, generator=generator)
    return kept * (1 / (1 - p) if p < 1 else 0.0)


def _grouped(query: Any, key: Any, value: Any, mask: Any, op: str) -> tuple[Any, ...]:
    """Heads in groups: query (..., H_kv, H / H_kv, L, E) against key (..., H_kv, 1, S, E)."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim < 3:
            raise ValueError(f"{op} enable_gqa needs (..., heads, length, width), got {name} "
                             f"{tuple(x.shape)}")
    heads, of_k, of_v = query.shape[-3], key.shape[-3], value.shape[-3]
    if not of_k or not of_v or heads % of_k or heads % of_v:
        raise ValueError(f"{op} the {heads} heads of query must be a multiple of those of key "
                         f"({of_k}) and of value ({of_v})")
    if of_k != of_v:
        key = ops.repeat(key, heads // of_k, axis=-3)
        value = ops.repeat(value, heads // of_v, axis=-3)
        of_k = heads
    shape = (*query.shape[:-1], value.shape[-1])
    query = ops.reshape(query, (*query.shape[:-3], of_k, heads // of_k, *query.shape[-2:]))
    key, value = ops.expand_dims(key, -3), ops.expand_dims(value, -3)
    if mask is not None and mask.ndim > 2:
        split = (1, 1) if mask.shape[-3] == 1 else (of_k, heads // of_k)
        if mask.shape[-3] not in (1, heads):
            raise ValueError(f"{op} attn_mask {tuple(mask.shape)} has {mask.shape[-3]} heads, "
                             f"query has {heads}")
        mask = ops.reshape(mask, (*mask.shape[:-3], *split, *mask.shape[-2:]))
    return query, key, value, mask, shape


# -- several heads --------------------------------------------------------------------------------


def multi_head_attention_forward(
        query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int,
        in_proj_weight: Any, in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool,
        dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
        key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
        use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
        k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None,
        static_v: Any = None, average_attn_weights: bool = True, is_causal: bool = False, *,
        batch_first: bool = False, cache: Any = None,
        generator: Generator | None = None) -> tuple[Tensor, Tensor | None]:
    """Concat(head_1 ... head_h) W_o with head_i = attention(query W_q, key W_k, value W_v).

    The function behind `nn.MultiheadAttention`, which describes masks and shapes; with PyTorch's
    arguments, and three of its own: `batch_first`, `cache` (a `KVCache`) and `generator`.

    Args:
        static_k, static_v: (N * num_heads, S, E / num_heads), used in place of the projections.

    Returns:
        The output, and the weights or None.
    """
    batched = _checked_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    batch = 0 if batch_first and batched else 1
    if not batched:
        query, key, value = _expanded(query, key, value)
        if key_padding_mask is not None:
            key_padding_mask = ops.expand_dims(key_padding_mask, 0)
    _checked_options(query, embed_dim_to_check, num_heads, is_causal and attn_mask is None, cache,
                     (bias_k, add_zero_attn or None, static_k, static_v))

    weights = ((q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight
               else in_proj_weight)
    known = cache is not None and cache.static and cache.length > 0
    q: Any
    k: Any
    v: Any
    alone = bias_k is None and bias_v is None and static_k is None and static_v is None
    if alone and query is key and key is value and not known and not use_separate_proj_weight:
        packed = _linear(query, weights, in_proj_bias)                     # (..., 3 E)
        q, k, v = split_heads(packed, num_heads, batch)                    # (N, H, L, E / H)
    else:
        q, k, v = _projected(query, key, value, weights, in_proj_bias, known)
        k, v = _with_bias(k, v, bias_k, bias_v, static_k, static_v, batch)
        q = _heads(q, num_heads, batch)                                    # (N, H, L, E / H)
        k, v = (x if x is None else _heads(x, num_heads, batch) for x in (k, v))
        k = k if static_k is None else _static(static_k, "static_k", q)
        v = v if static_v is None else _static(static_v, "static_v", q)
    past = 0
    if cache is not None:
        past = 0 if cache.static else cache.length
        k, v = (cache.keys, cache.values) if known else cache.append(k, v)
    if add_zero_attn:
        k, v = (ops.concat([x, ops.zeros((*x.shape[:2], 1, x.shape[3]), dtype=x.dtype,
                                         device=x.device)], axis=2) for x in (k, v))

    # the hint alone is enough where nothing else has to be masked or shown
    causal = is_causal and (attn_mask is None
                            or (key_padding_mask is None and not need_weights and cache is None))
    added = int(bias_k is not None) + int(bool(add_zero_attn))
    mask = _merged(None if causal else attn_mask, key_padding_mask, q, k.shape[2], added)
    dropped = dropout_p if training else 0.0
    shown = None
    if need_weights:
        out, shown = _with_weights(q, k, v, mask, causal, past, dropped, generator)
        shown = shown.mean(axis=1) if average_attn_weights else shown
    else:
        keep = _kept((*q.shape[:3], k.shape[2]), dropped, q, generator) if dropped else None
        out = ops.attention(q, k, v, mask, keep, causal=causal, offset=past)
    out = ops.permute_dims(out, (0, 2, 1, 3) if batch == 0 else (2, 0, 1, 3))
    out = _linear(ops.reshape(out, tuple(query.shape)), out_proj_weight, out_proj_bias)
    if not batched:
        out, shown = ops.squeeze(out, 1), shown if shown is None else ops.squeeze(shown, 0)
    return out, shown


_OP = "[multi_head_attention]"


def _checked_shapes(query: Any, key: Any, value: Any, padding: Any, mask: Any,
                    heads: int) -> bool:
    """Whether there is a batch axis; anything that does not fit is refused."""
    ndim = query.ndim
    if ndim not in (2, 3) or key.ndim != ndim or value.ndim != ndim:
        raise ValueError(f"{_OP} query, key and value must all be (L, N, E), or (N, L, E) with "
                         f"batch_first, or all (L, E); got {tuple(query.shape)}, "
                         f"{tuple(key.shape)}, {tuple(value.shape)}")
    if tuple(key.shape[:-1]) != tuple(value.shape[:-1]):
        raise ValueError(f"{_OP} key {tuple(key.shape)} and value {tuple(value.shape)} must agree "
                         "in length and batch")
    if padding is not None and padding.ndim != ndim - 1:
        raise ValueError(f"{_OP} key_padding_mask must be {'(N, S)' if ndim == 3 else '(S,)'}, got "
                         f"{tuple(padding.shape)}")
    if mask is not None and mask.ndim not in (2, 3):
        raise ValueError(f"{_OP} attn_mask must be (L, S) or (N * num_heads, L, S) with num_heads "
                         f"= {heads}, got {tuple(mask.shape)}")
    for name, m in (("key_padding_mask", padding), ("attn_mask", mask)):
        if m is not None and m.dtype.kind not in "bfV":
            raise TypeError(f"{_OP} {name} must be boolean (true: hidden) or floating point (added "
                            f"to the scores), got {m.dtype}")
    return ndim == 3


def _expanded(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """(L, E) as (L, 1, E); what was one tensor stays one."""
    if query is key and key is value:
        x = ops.expand_dims(query, 1)
        return x, x, x
    return ops.expand_dims(query, 1), ops.expand_dims(key, 1), ops.expand_dims(value, 1)


def _checked_options(query: Any, embed_dim: int, heads: int, hint_alone: bool, cache: Any,
                     not_cached: tuple[Any, ...]) -> None:
    """Refuse widths and options that do not go together."""
    if query.shape[2] != embed_dim or embed_dim % heads:
        raise ValueError(f"{_OP} query {tuple(query.shape)} has width {query.shape[2]}; expected "
                         f"{embed_dim}, a multiple of num_heads = {heads}")
    if hint_alone and cache is None:
        raise ValueError(f"{_OP} is_causal=True is a hint about attn_mask, which must be given "
                         "too (nn.Transformer.generate_square_subsequent_mask makes it)")
    if cache is not None and any(x is not None for x in not_cached):
        raise ValueError(f"{_OP} a cache cannot be combined with add_bias_kv, add_zero_attn or "
                         "static keys and values")


def _projected(query: Any, key: Any, value: Any, weights: Any, bias: Any,
               known: bool) -> tuple[Any, Any, Any]:
    """W_q query, W_k key, W_v value; one product where they are the same tensor.

    `known`: keys and values lie in a cache already, and only the query is projected.
    """
    e = query.shape[-1]
    packed = not isinstance(weights, tuple)
    if packed and query is key and key is value and not known:
        all_three = _linear(query, weights, bias)                     # (..., 3E)
        return tuple(all_three[..., i * e:(i + 1) * e] for i in range(3))
    w: Any = [weights[i * e:(i + 1) * e] for i in range(3)] if packed else weights
    b: Any = [None if bias is None else bias[i * e:(i + 1) * e] for i in range(3)]
    if known:
        return _linear(query, w[0], b[0]), None, None
    for name, x, weight in (("key", key, w[1]), ("value", value, w[2])):
        if x.shape[-1] != weight.shape[1]:
            raise ValueError(f"{_OP} {name} {tuple(x.shape)} has width {x.shape[-1]}, its "
                             f"projection takes {weight.shape[1]} (kdim, vdim)")
    return (_linear(query, w[0], b[0]), _linear(key, w[1], b[1]), _linear(value, w[2], b[2]))


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    return ops.linear(x, weight) if bias is None else ops.linear(x, weight, bias)


def _with_bias(k: Any, v: Any, bias_k: Any, bias_v: Any, static_k: Any, static_v: Any,
               batch: int) -> tuple[Any, Any]:
    """One learnt key and value after the others."""
    if bias_k is None and bias_v is None:
        return k, v
    if bias_k is None or bias_v is None or static_k is not None or static_v is not None:
        raise ValueError(f"{_OP} bias_k and bias_v are given together, and without static_k and "
                         "static_v")
    shape = tuple(1 if i != batch else k.shape[batch] for i in range(2)) + (k.shape[2],)
    return tuple(ops.concat([x, ops.broadcast_to(b, shape)], axis=1 - batch)
                 for x, b in ((k, bias_k), (v, bias_v)))  # type: ignore[return-value]


def _heads(x: Any, heads: int, batch: int) -> Any:
    """(N, L, E), or (L, N, E) with the batch axis second, as (N, H, L, E / H)."""
    x = ops.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))
    return ops.permute_dims(x, (0, 2, 1, 3) if batch == 0 else (1, 2, 0, 3))


def _static(x: Any, name: str, q: Any) -> Any:
    n, heads, _, width = q.shape
    if x.ndim != 3 or x.shape[0] != n * heads or x.shape[2] != width:
        raise ValueError(f"{_OP} {name} must be ({n * heads}, S, {width}), got {tuple(x.shape)}")
    return ops.reshape(x, (n, heads, *x.shape[1:]))


def _merged(mask: Any, padding: Any, q: Any, keys: int, added: int) -> Any:
    """Both masks as one for (N, H, L, S): true where visible, or numbers to add.

    `added` keys at the end (bias_k, zeros) are visible to all.
    """
    n, heads, length, _ = q.shape
    given = keys - added
    if mask is not None:
        fits = [(length, given), (n * heads, length, given)]
        if tuple(mask.shape) not in fits:
            raise ValueError(f"{_OP} attn_mask has shape {tuple(mask.shape)}; {fits[0]} or "
                             f"{fits[1]} would fit")
        if mask.ndim == 3:
            mask = ops.reshape(mask, (n, heads, length, given))
    if padding is not None:
        if tuple(padding.shape) != (n, given):
            raise ValueError(f"{_OP} key_padding_mask has shape {tuple(padding.shape)}; "
                             f"{(n, given)} would fit")
        padding = ops.reshape(padding, (n, 1, 1, given))
    masks = [m for m in (mask, padding) if m is not None]
    if not masks:
        return None
    if added:
        masks = [ops.concat([m, ops.zeros((*m.shape[:-1], added), dtype=m.dtype, device=q.device)],
                            axis=-1) for m in masks]
    if all(m.dtype.kind == "b" for m in masks):
        hidden = masks[0] if len(masks) == 1 else ops.logical_or(masks[0], masks[1])
        return ops.logical_not(hidden)
    masks = [_added(m, q) for m in masks]
    return masks[0] if len(masks) == 1 else masks[0] + masks[1]


def _added(mask: Any, q: Any) -> Any:
    """A mask as numbers to add; a boolean one is true where nothing may be seen."""
    if mask.dtype.kind in "fV":
        return mask if mask.dtype == q.dtype else mask.astype(q.dtype)
    zeros = ops.zeros(mask.shape, dtype=q.dtype, device=q.device)
    return ops.where(mask, -math.inf, zeros)


def _with_weights(q: Any, k: Any, v: Any, mask: Any, causal: bool, past: int, dropped: float,
                  generator: Generator | None) -> tuple[Any, Any]:
    """The output and the weights that made it; NaN for a query that sees no key, as PyTorch."""
    scores = ops.matmul(q * math.sqrt(1 / q.shape[-1]), ops.swapaxes(k, -1, -2))
    if causal:
        seen = ops.ones(scores.shape[-2:], dtype="bool", device=q.device)
        triangle = ops.tril(seen, past)
        mask = triangle if mask is None else (
            ops.logical_and(mask, triangle) if mask.dtype.kind == "b"
            else mask + _added(ops.logical_not(triangle), q))
    if mask is not None:
        scores = ops.where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    with np.errstate(invalid="ignore"):
        weights = dropout(ops.softmax(scores, axis=-1), dropped, generator=generator)
    return ops.matmul(weights, v), weights
