"""Attention of several heads, with PyTorch's arguments, masks and state dict."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from . import functional as F
from . import init
from .cache import KVCache
from .linear import Linear, count, new_parameter
from .module import Module

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Concat(head_1 ... head_h) W_o with head_i = softmax(Q_i K_i^T / sqrt(d)) V_i.

    Q_i, K_i and V_i are slices of width d = embed_dim / num_heads of the projected query, key and
    value.

    Args:
        dropout: probability with which a weight is zero in training.
        bias: whether the four projections add a bias.
        add_bias_kv: a learnt key and value after the others.
        add_zero_attn: a key and a value of zeros after the others.
        kdim, vdim: widths of key and value (default: embed_dim).
        batch_first: (N, L, E) instead of (L, N, E).

    The weights are `in_proj_weight` (3 embed_dim, embed_dim), or `q_proj_weight`, `k_proj_weight`
    and `v_proj_weight` where kdim or vdim differ; `in_proj_bias`; `out_proj`.

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> x = tg.ones((2, 5, 16))
    >>> out, weights = nn.MultiheadAttention(16, 4, batch_first=True)(x, x, x)
    >>> out.shape, weights.shape
    ((2, 5, 16), (2, 5, 5))
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        layer = "MultiheadAttention"
        self.embed_dim = count(embed_dim, layer, "embed_dim")
        self.num_heads = count(num_heads, layer, "num_heads")
        if embed_dim % num_heads:
            raise ValueError(f"[{layer}] embed_dim {embed_dim} is not a multiple of num_heads "
                             f"{num_heads}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"[{layer}] dropout must be in [0, 1], got {dropout}")
        self.kdim = embed_dim if kdim is None else count(kdim, layer, "kdim")
        self.vdim = embed_dim if vdim is None else count(vdim, layer, "vdim")
        self.head_dim = embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn

        def new(*shape: int) -> Any:
            return new_parameter(shape, dtype, device)
        self._packed = self.kdim == self.vdim == embed_dim
        self.register_parameter("in_proj_weight",
                                new(3 * embed_dim, embed_dim) if self._packed else None)
        for name, width in (("q_proj_weight", embed_dim), ("k_proj_weight", self.kdim),
                            ("v_proj_weight", self.vdim)):
            self.register_parameter(name, None if self._packed else new(embed_dim, width))
        self.register_parameter("in_proj_bias", new(3 * embed_dim) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, new(1, 1, embed_dim) if add_bias_kv else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew: Xavier; biases zero."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight,
                       self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
                need_weights: bool = True, attn_mask: Any = None,
                average_attn_weights: bool = True, is_causal: bool = False, *,
                cache: KVCache | None = None) -> tuple[Tensor, Tensor | None]:
        """The output and, if `need_weights`, the weights (None otherwise, which is faster).

        Args:
            query: (L, N, E), (N, L, E) with `batch_first`, or (L, E); key and value alike, of
                length S.
            key_padding_mask: (N, S), or (S,): true where a key is hidden, or numbers to add.
            attn_mask: (L, S) or (N * num_heads, L, S): true where a query must not see a key, or
                numbers to add to the scores. (`scaled_dot_product_attention` has it the other way
                round: true where it sees.)
            average_attn_weights: weights (N, L, S), the mean over the heads, instead of
                (N, num_heads, L, S).
            is_causal: a hint that `attn_mask` is the causal triangle. With a cache the mask may
                be left out: new queries see all earlier keys, and the new ones up to their own.
            cache: holds the keys and values of earlier calls; those of this call are added, and
                masks have to cover all of them.

        A query that sees no key gives zeros without weights, and NaN with them, as in PyTorch.
        """
        return F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._packed, q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight, v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
            batch_first=self.batch_first, cache=cache)

    def merge_masks(self, attn_mask: Any, key_padding_mask: Any,
                    query: Any) -> tuple[Tensor | None, int | None]:
        """Both masks as one, and its kind: 0 for attn_mask, 1 for padding, 2 for both."""
        if attn_mask is None and key_padding_mask is None:
            return None, None
        if attn_mask is None:
            return key_padding_mask, 1
        if key_padding_mask is None:
            return attn_mask, 0
        n, keys = key_padding_mask.shape
        if attn_mask.ndim == 3:
            attn_mask = ops.reshape(attn_mask, (n, self.num_heads, -1, keys))
        padding = ops.reshape(key_padding_mask, (n, 1, 1, keys))
        merged = (ops.logical_or(attn_mask, padding) if attn_mask.dtype.kind == "b"
                  else attn_mask + padding)
        return ops.broadcast_to(merged, (n, self.num_heads, *merged.shape[-2:])), 2

    def extra_repr(self) -> str:
        text = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + (", batch_first=True" if self.batch_first else "")
