"""The adaptive softmax for many classes of very different frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import ops
from ..ops.index import SLOT, scatter_index_p
from ..tensor import Tensor
from .containers import ModuleList, Sequential
from .linear import Linear, count
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class ASMoutput(NamedTuple):
    """The log-probability of each target, and their negative mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax over classes in order of frequency: a head of frequent ones, rare ones in tails.

    log p(class) = log p(head entry), plus log p(class | tail) for classes from the first cutoff
    on. Tail i sees its input through a projection of in_features / div_value^(i + 1) features.

    Args:
        cutoffs: where the tails begin, increasing, each between 1 and n_classes - 1.
        div_value: how much narrower each tail is than the one before.
        head_bias: whether the head has a bias.

    Source: E. Grave et al., "Efficient softmax approximation for GPUs", ICML 2017.
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int],
                 div_value: float = 4.0, head_bias: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        edges = list(cutoffs)
        if not edges or edges != sorted({int(c) for c in edges}) or not (
                0 < edges[0] and edges[-1] < n_classes):
            raise ValueError(f"[AdaptiveLogSoftmaxWithLoss] cutoffs must be increasing integers "
                             f"between 1 and n_classes - 1 = {n_classes - 1}, got {edges}")
        self.in_features = count(in_features, "AdaptiveLogSoftmaxWithLoss", "in_features")
        self.n_classes, self.div_value, self.head_bias = n_classes, div_value, head_bias
        self.cutoffs = [*edges, n_classes]
        self.shortlist_size, self.n_clusters = edges[0], len(edges)
        self.head_size = self.shortlist_size + self.n_clusters
        place = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, hidden, bias=False, **place),
                                        Linear(hidden, size, bias=False, **place)))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in (self.head, *(linear for pair in self.tail for linear in pair)):
            layer.reset_parameters()

    def _rows(self, input: Any) -> Any:
        if input.ndim not in (1, 2) or input.shape[-1] != self.in_features:
            raise ValueError(f"[AdaptiveLogSoftmaxWithLoss] expected (N, {self.in_features}) or "
                             f"({self.in_features},), got x of shape {tuple(input.shape)}")
        return ops.reshape(input, (-1, self.in_features))

    def forward(self, input_: Any, target_: Any) -> ASMoutput:
        """(N, in_features) and (N,) classes -> log-probabilities (N,) and the loss; or one example.

        Raises:
            ValueError: shapes differ, or a class is not in [0, n_classes).
        """
        x, target = self._rows(input_), target_ if isinstance(target_, Tensor) else Tensor(target_)
        if target.shape != tuple(input_.shape[:-1]):
            raise ValueError(f"[AdaptiveLogSoftmaxWithLoss] input {tuple(input_.shape)} needs "
                             f"targets {tuple(input_.shape[:-1])}, got {target.shape}")
        classes = target.data
        if classes.size and not (classes.min() >= 0 and classes.max() < self.n_classes):
            raise ValueError(f"[AdaptiveLogSoftmaxWithLoss] targets from {classes.min()} to "
                             f"{classes.max()}, there are classes 0 to {self.n_classes - 1}")
        t = ops.reshape(target, (-1,))
        entry = t
        for i, low in enumerate(self.cutoffs[:-1]):
            entry = ops.where(ops.greater_equal(t, low), self.shortlist_size + i, entry)
        out = _chosen(self.head(x), entry)
        for tail, low, high in zip(self.tail, self.cutoffs, self.cutoffs[1:], strict=False):
            mask = ops.logical_and(ops.greater_equal(t, low), ops.less(t, high))
            inside = _chosen(tail(x[mask]), t[mask] - low)
            out = out + scatter_index_p(inside, mask, template=(SLOT,), shape=t.shape)
        return ASMoutput(ops.reshape(out, target.shape), -ops.mean(out))

    def log_prob(self, input: Any) -> Tensor:
        """The log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        x = self._rows(input)
        head = ops.log_softmax(self.head(x), axis=1)
        parts = [head[:, :self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            entry = self.shortlist_size + i
            parts.append(ops.log_softmax(tail(x), axis=1) + head[:, entry:entry + 1])
        out = ops.concat(parts, axis=1)
        return ops.reshape(out, (*input.shape[:-1], self.n_classes))

    def predict(self, input: Any) -> Tensor:
        """The class of the most probable head entry, or the most probable class if that is a tail.

        (N, in_features) -> (N,).
        """
        best = ops.argmax(self.head(self._rows(input)), axis=1)
        whole = ops.argmax(self.log_prob(self._rows(input)), axis=1)
        classes = ops.where(ops.less(best, self.shortlist_size), best, whole)
        return ops.reshape(classes, tuple(input.shape[:-1]))


def _chosen(scores: Any, index: Any) -> Any:
    """log softmax(scores)[i, index[i]]."""
    logs = ops.log_softmax(scores, axis=1)
    return ops.take_along_axis(logs, ops.reshape(index, (-1, 1)), axis=1)[:, 0]
