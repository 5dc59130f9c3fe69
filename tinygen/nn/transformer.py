"""The transformer: encoder and decoder layers, stacks of them, and the whole.

Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017; normalisation before each
block (`norm_first`): R. Xiong et al., "On Layer Normalization in the Transformer Architecture",
ICML 2020.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..tensor import Tensor
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .cache import DecodingCache, LayerCache
from .containers import ModuleList
from .dropout import Dropout
from .fused import activated
from .linear import Linear, count
from .module import Module
from .norm import LayerNorm

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]

Activation = str | Callable[[Any], Any]


def _activation(activation: Activation, layer: str) -> Callable[[Any], Any]:
    if isinstance(activation, str):
        if activation not in ("relu", "gelu"):
            raise ValueError(f"[{layer}] activation must be 'relu', 'gelu' or a function, got "
                             f"{activation!r}")
        return F.relu if activation == "relu" else F.gelu
    if not callable(activation):
        raise TypeError(f"[{layer}] activation must be 'relu', 'gelu' or a function, got "
                        f"{activation!r}")
    return activation


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two linear layers, each with a residual and a LayerNorm.

    x = norm1(x + attention(x)); x = norm2(x + W2 act(W1 x)); with `norm_first` each block
    normalises its input instead: x = x + attention(norm1(x)); x = x + W2 act(W1 norm2(x)).

    Args:
        d_model: the width. nhead: the number of heads.
        dim_feedforward: width between the two linear layers.
        dropout: of attention weights, of both blocks' outputs, and between the linear layers.
        activation: "relu", "gelu", or a function (a module too).
        layer_norm_eps: what the norms add to the variance.
        batch_first: (N, L, d_model) instead of (L, N, d_model).
        bias: whether linear layers and norms add a bias.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> nn.TransformerEncoderLayer(16, 4, 32)(tg.ones((5, 2, 16))).shape
    (5, 2, 16)
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias,
                                            batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation, "TransformerEncoderLayer")

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool = False, *, cache: LayerCache | None = None) -> Tensor:
        """The layer's output, of the shape of `src`; masks as in `MultiheadAttention`.

        With a `cache`, `src` are new tokens after those that it has seen.
        """
        x = src
        mask, padding = src_mask, src_key_padding_mask
        if self.norm_first:
            x = x + self._attend(self.norm1(x), mask, padding, is_causal, cache)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attend(x, mask, padding, is_causal, cache))
        return self.norm2(x + self._feed_forward(x))

    def _attend(self, x: Any, mask: Any, padding: Any, is_causal: bool,
                cache: LayerCache | None) -> Any:
        return self.dropout1(self.self_attn(
            x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False,
            is_causal=is_causal, cache=None if cache is None else cache.self_attn)[0])

    def _feed_forward(self, x: Any) -> Any:
        return self.dropout2(self.linear2(self.dropout(
            activated(self.linear1, self.activation, x))))


class TransformerDecoderLayer(Module):
    """Self-attention, attention to the encoder's output (`memory`), and two linear layers.

    Each of the three blocks has a residual and a LayerNorm; arguments as in
    `TransformerEncoderLayer`.
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias,
                                            batch_first=batch_first, **place)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias,
                                                 batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation, "TransformerDecoderLayer")

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool = False, memory_is_causal: bool = False, *,
                cache: LayerCache | None = None) -> Tensor:
        """The layer's output, of the shape of `tgt`; masks as in `MultiheadAttention`.

        With a `cache`, `tgt` are new tokens after those that it has seen, and the keys and values
        of `memory` are computed once.
        """
        def attend(x: Any) -> Any:
            return self.dropout1(self.self_attn(
                x, x, x, attn_mask=tgt_mask, key_padding_mask=tgt_key_padding_mask,
                need_weights=False, is_causal=tgt_is_causal,
                cache=None if cache is None else cache.self_attn)[0])

        def look_up(x: Any) -> Any:
            return self.dropout2(self.multihead_attn(
                x, memory, memory, attn_mask=memory_mask,
                key_padding_mask=memory_key_padding_mask, need_weights=False,
                is_causal=memory_is_causal, cache=None if cache is None else cache.cross_attn)[0])

        def feed_forward(x: Any) -> Any:
            return self.dropout3(self.linear2(self.dropout(
                activated(self.linear1, self.activation, x))))

        x = tgt
        for block, norm in ((attend, self.norm1), (look_up, self.norm2),
                            (feed_forward, self.norm3)):
            x = x + block(norm(x)) if self.norm_first else norm(x + block(x))
        return x


def _stack(layer: Module, n: int, name: str) -> ModuleList:
    """Copies of a layer: the same start, then each on its own."""
    return ModuleList([copy.deepcopy(layer) for _ in range(count(n, name, "num_layers", 0))])


def _caches(cache: DecodingCache | None, layers: ModuleList, name: str) -> list[Any]:
    if cache is None:
        return [None] * len(layers)
    if len(cache.layers) != len(layers):
        raise ValueError(f"[{name}] the cache is for {len(cache.layers)} layers, there are "
                         f"{len(layers)}")
    return cache.layers


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after another, and a final `norm`.

    PyTorch's `enable_nested_tensor` and `mask_check` are accepted; they choose a fast path there
    that fills hidden positions with zeros, which has no counterpart here.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True):
        super().__init__()
        self.layers = _stack(encoder_layer, num_layers, "TransformerEncoder")
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool | None = None, *, cache: DecodingCache | None = None) -> Tensor:
        """The last layer's output, of the shape of `src`; masks as in `MultiheadAttention`."""
        x = src
        for layer, part in zip(self.layers, _caches(cache, self.layers, "TransformerEncoder"),
                               strict=True):
            extra = {} if part is None else {"cache": part}
            x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
                      is_causal=bool(is_causal), **extra)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after another, and a final `norm`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__()
        self.layers = _stack(decoder_layer, num_layers, "TransformerDecoder")
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False, *,
                cache: DecodingCache | None = None) -> Tensor:
        """The last layer's output, of the shape of `tgt`; masks as in `MultiheadAttention`."""
        x = tgt
        for layer, part in zip(self.layers, _caches(cache, self.layers, "TransformerDecoder"),
                               strict=True):
            extra = {} if part is None else {"cache": part}
            x = layer(x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                      tgt_key_padding_mask=tgt_key_padding_mask,
                      memory_key_padding_mask=memory_key_padding_mask,
                      tgt_is_causal=bool(tgt_is_causal), memory_is_causal=memory_is_causal, **extra)
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder that reads a source, and a decoder that writes a target while it looks at it.

    Args:
        custom_encoder, custom_decoder: modules to use instead of PyTorch's standard stacks.

    The other arguments are those of `TransformerEncoderLayer`; both stacks end with a LayerNorm.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> model = nn.Transformer(16, 4, 2, 2, 32, batch_first=True)
    >>> model(tg.ones((3, 7, 16)), tg.ones((3, 5, 16))).shape
    (3, 5, 16)
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, custom_encoder: Module | None = None,
                 custom_decoder: Module | None = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                 norm_first, bias, device, dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.encoder: Module = (TransformerEncoder(
            TransformerEncoderLayer(*layer), num_encoder_layers, norm())
            if custom_encoder is None else custom_encoder)
        self.decoder: Module = (TransformerDecoder(
            TransformerDecoderLayer(*layer), num_decoder_layers, norm())
            if custom_decoder is None else custom_decoder)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all matrices anew (Xavier)."""
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None,
                memory_mask: Any = None, src_key_padding_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                src_is_causal: bool | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Tensor:
        """The decoder's output, of the shape of `tgt`; masks as in `MultiheadAttention`."""
        batch = 0 if self.batch_first else 1
        if src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[batch] != tgt.shape[batch]):
            raise ValueError(f"[Transformer] src {tuple(src.shape)} and tgt {tuple(tgt.shape)} "
                             f"must have the same batch (axis {batch})")
        for name, x in (("src", src), ("tgt", tgt)):
            if x.shape[-1] != self.d_model:
                raise ValueError(f"[Transformer] {name} {tuple(x.shape)} must have width d_model = "
                                 f"{self.d_model}")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask,
                            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask (sz, sz) to add: 0 up to the diagonal, -inf after it.

        >>> Transformer.generate_square_subsequent_mask(2)
        Tensor([[  0., -inf],
                [  0.,   0.]], dtype=float32)
        """
        return ops.triu(ops.full((sz, sz), -math.inf, dtype=dtype or "float32", device=device), 1)
