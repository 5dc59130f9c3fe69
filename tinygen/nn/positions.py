"""Where a token stands, as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..constants import beside
from ..tensor import Tensor
from . import functional as F
from .dropout import Dropout
from .embedding import Embedding
from .linear import count
from .module import Module

__all__ = ["LearnedPositions", "RelativePositionBias", "RotaryPositions", "SinusoidalPositions"]


def _along(table: Any, x: Any, batch_first: bool) -> Any:
    """(L, D) to add to (N, L, D), (L, N, D) or (L, D)."""
    return table if batch_first or x.ndim < 3 else ops.expand_dims(table, 1)


def _length(x: Any, dim: int, batch_first: bool, layer: str) -> int:
    if x.ndim not in (2, 3) or x.shape[-1] != dim:
        raise ValueError(f"[{layer}] x must be {'(N, L, ' if batch_first else '(L, N, '}{dim}) or "
                         f"(L, {dim}), got {tuple(x.shape)}")
    return x.shape[1 if batch_first and x.ndim == 3 else 0]


class SinusoidalPositions(Module):
    """x + sin and cos of the position, for any length (see `F.sinusoidal_positions`).

    Args:
        dropout: of the sum, in training.
        batch_first: (N, L, D), the default, instead of (L, N, D).
    """

    def __init__(self, d_model: int, dropout: float = 0.0, base: float = 10000.0,
                 batch_first: bool = True):
        super().__init__()
        self.d_model = count(d_model, "SinusoidalPositions", "d_model")
        self.base, self.batch_first = base, batch_first
        self.dropout = Dropout(dropout)

    def forward(self, x: Any, offset: int = 0) -> Tensor:
        """The first token stands at `offset`: the length of a cache, for instance."""
        n = _length(x, self.d_model, self.batch_first, "SinusoidalPositions")
        table = F.sinusoidal_positions(n, self.d_model, self.base, offset, x.dtype, x.device)
        return self.dropout(x + _along(table, x, self.batch_first))

    def extra_repr(self) -> str:
        return f"{self.d_model}, base={self.base}, batch_first={self.batch_first}"


class LearnedPositions(Embedding):
    """x + a learnt vector for each position up to `max_length`; `weight` (max_length, d_model)."""

    def __init__(self, max_length: int, d_model: int, batch_first: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__(max_length, d_model, device=device, dtype=dtype)
        self.batch_first = batch_first

    def forward(self, x: Any, offset: int = 0) -> Tensor:
        """The first token stands at `offset`."""
        n = _length(x, self.embedding_dim, self.batch_first, "LearnedPositions")
        if offset < 0 or offset + n > self.num_embeddings:
            raise ValueError(f"[LearnedPositions] positions {offset} to {offset + n - 1} are asked "
                             f"for, there are {self.num_embeddings}")
        return x + _along(self.weight[offset:offset + n], x, self.batch_first)


class RotaryPositions(Module):
    """Queries or keys (..., L, D) turned by their positions; see `F.rotary_embedding`.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> turn = nn.RotaryPositions(layout="interleaved")
    >>> turn(tg.ones((2, 4, 7, 8)), offset=3).shape
    (2, 4, 7, 8)
    """

    def __init__(self, dim: int | None = None, base: float = 10000.0, layout: str = "half"):
        super().__init__()
        self.dim, self.base, self.layout = dim, base, layout

    def forward(self, x: Any, positions: Any = None, offset: int = 0) -> Tensor:
        return F.rotary_embedding(x, positions, self.dim, self.base, self.layout, offset)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, base={self.base}, layout={self.layout!r}"


class RelativePositionBias(Module):
    """A learnt number per head and bucket of distance, to add to scores: (num_heads, L, S).

    `table.weight` is (num_buckets, num_heads); see `F.relative_position_bucket`.

    Source: C. Raffel et al., "Exploring the Limits of Transfer Learning" (T5), JMLR 2020.
    """

    def __init__(self, num_heads: int, num_buckets: int = 32, max_distance: int = 128,
                 bidirectional: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        layer = "RelativePositionBias"
        least = 4 if bidirectional else 2
        self.num_buckets = count(num_buckets, layer, "num_buckets", least)
        self.max_distance = count(max_distance, layer, "max_distance", num_buckets)
        self.bidirectional = bidirectional
        self.table = Embedding(num_buckets, count(num_heads, layer, "num_heads"), device=device,
                               dtype=dtype)

    def forward(self, length: int, keys: int | None = None) -> Tensor:
        """The bias for the last `length` of `keys` positions (default: all)."""
        keys = length if keys is None else keys
        distance = np.arange(keys)[None, :] - np.arange(keys - length, keys)[:, None]
        buckets = F.relative_position_bucket(distance, self.num_buckets, self.max_distance,
                                             self.bidirectional)
        places = Tensor.wrap(beside(buckets, self.table.weight))
        return ops.permute_dims(self.table(places), (2, 0, 1))

    def extra_repr(self) -> str:
        return (f"num_buckets={self.num_buckets}, max_distance={self.max_distance}, "
                f"bidirectional={self.bidirectional}")
