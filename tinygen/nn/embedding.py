"""Tables of vectors: Embedding and EmbeddingBag."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, new_parameter
from .module import Module, Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A table `weight` (num_embeddings, embedding_dim) that starts standard normal."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
                 max_norm: float | None, norm_type: float, scale_grad_by_freq: bool, sparse: bool,
                 weight: Tensor | None, freeze: bool, device: Any, dtype: Any):
        super().__init__()
        name = type(self).__name__
        if sparse:
            raise NotImplementedError(f"[{name}] sparse gradients are not offered; sparse=False "
                                      "computes the same numbers")
        self.num_embeddings = rows = count(num_embeddings, name, "num_embeddings")
        self.embedding_dim = count(embedding_dim, name, "embedding_dim", 0)
        if padding_idx is not None and not -rows <= padding_idx < rows:
            raise ValueError(f"[{name}] padding_idx {padding_idx} is outside of the {rows} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % rows
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, False
        if weight is None:
            self.weight = new_parameter((rows, self.embedding_dim), dtype, device)
            self.reset_parameters()
        elif tuple(weight.shape) != (rows, self.embedding_dim):
            raise ValueError(f"[{name}] the table has shape {tuple(weight.shape)}, expected "
                             f"{(rows, self.embedding_dim)}")
        else:
            self.weight = Parameter(weight.detach())
        self.weight.requires_grad_(not freeze)

    def reset_parameters(self) -> None:
        """Draw the table anew; the row for padding is zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        for name, default in (("padding_idx", None), ("max_norm", None), ("norm_type", 2.0),
                              ("scale_grad_by_freq", False)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


def _table(embeddings: Any, layer: str) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ValueError(f"[{layer}] a table (rows, dim) is needed, got {embeddings.shape}")
    return embeddings.shape


class Embedding(_Table):
    """A table of vectors looked up by integer: (...,) -> (..., embedding_dim).

    Args:
        padding_idx: this row starts as zeros and never gets a gradient.
        max_norm: rows that are looked up are first scaled down, in place, to at most this
            `norm_type`-norm.
        scale_grad_by_freq: the gradient of a row is divided by the number of times it occurs.
        sparse: must be false; gradients are dense.

    `weight` (num_embeddings, embedding_dim) starts standard normal.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False,
                 _weight: Tensor | None = None, _freeze: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, _freeze, device, dtype)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True,
                        padding_idx: int | None = None, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        sparse: bool = False) -> Embedding:
        """An embedding whose table is `embeddings` (rows, dim), frozen by default."""
        return cls(*_table(embeddings, "Embedding"), padding_idx, max_norm, norm_type,
                   scale_grad_by_freq, sparse, embeddings, freeze)

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq)


class EmbeddingBag(_Table):
    """The sum, mean or maximum over bags of rows of a table: (bags, embedding_dim).

    Args:
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        include_last_offset: the last of the offsets is where the last bag ends.
        padding_idx: this row starts as zeros and is left out of its bags.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for `Embedding`.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                 sparse: bool = False, _weight: Tensor | None = None,
                 include_last_offset: bool = False, padding_idx: int | None = None,
                 device: Any = None, dtype: Any = None):
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"[EmbeddingBag] mode must be 'sum', 'mean' or 'max', got {mode!r}")
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, False, device, dtype)
        self.mode, self.include_last_offset = mode, include_last_offset

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                        include_last_offset: bool = False,
                        padding_idx: int | None = None) -> EmbeddingBag:
        """A layer whose table is `embeddings` (rows, dim), frozen by default."""
        layer = cls(*_table(embeddings, "EmbeddingBag"), max_norm, norm_type, scale_grad_by_freq,
                    mode, sparse, embeddings, include_last_offset, padding_idx)
        layer.weight.requires_grad_(not freeze)
        return layer

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type,
                               self.scale_grad_by_freq, self.mode, False, per_sample_weights,
                               self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        return super().extra_repr() + f", mode={self.mode!r}"
