"""What a text says, judged by self-attention, and by one number for each word."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..grad_mode import no_grad
from ..nn import functional as F
from ..tensor import Tensor
from .base import check_positive, inference, learnt, placed

__all__ = ["AttentionClassifier", "WordWeights"]


class _TextClassifier(nn.Module):
    """The training step that classifiers of token numbers (N, L) share; token 0 is padding."""

    name = "text-classifier"
    num_classes: int

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of outputs for labels (N,), a mean over the texts."""
        raise NotImplementedError(f"{type(self).__name__} has no loss()")

    def decide(self, outputs: Tensor) -> Tensor:
        """The classes (N,) that outputs stand for."""
        raise NotImplementedError(f"{type(self).__name__} has no decide()")

    def training_step(self, tokens: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns `loss` and `accuracy` of the batch."""
        if not self.training:
            self.train()
        results = self._results(tokens, labels)
        optimizers["model"].zero_grad()
        results["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in results.items()}

    def evaluate(self, tokens: Any, labels: Any) -> dict[str, Tensor]:
        """`loss` and `accuracy`, means over the texts, in eval mode."""
        with inference(self):
            return self._results(tokens, labels)

    def _results(self, tokens: Any, labels: Any) -> dict[str, Tensor]:
        outputs = self(tokens)
        labels = labels if isinstance(labels, Tensor) else Tensor(labels)
        if labels.shape != (len(outputs),) or labels.dtype.kind not in "iu":
            raise ValueError(f"[{self.name}] labels: {labels.dtype} {labels.shape}; integers "
                             f"({len(outputs)},), one for each text, are expected")
        right = ops.equal(self.decide(outputs.detach()), labels)
        return {"loss": self.loss(outputs, labels), "accuracy": right.astype(outputs.dtype).mean()}

    def _tokens(self, tokens: Any, longest: int | None = None) -> Tensor:
        tokens = placed(self, tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.shape[1]:
            raise ValueError(f"[{self.name}] tokens: {tokens.dtype} {tokens.shape}; integers "
                             "(N, L), with L at least 1, are expected")
        if longest is not None and tokens.shape[1] > longest:
            raise ValueError(f"[{self.name}] {tokens.shape[1]} tokens; this model reads at most "
                             f"{longest} (longest={longest})")
        return tokens


class AttentionClassifier(_TextClassifier):
    """Token numbers (N, L) to logits (N, num_classes): words look at each other, then one at all.

    Word and position embeddings pass through transformer layers, in which each word attends to all
    others; then a learnt query q attends to the words h, and what it sees is classified:

    a = softmax(h q) over the words, logits = W (sum of a_i h_i) + b.

    `attention` gives these a: how much each word counts. Token 0 is padding and counts nothing.

    Args:
        vocab_size: how many tokens there are, padding included.
        width, heads, layers, hidden: of the transformer.
        longest: the longest text.
        dropout: on embeddings and on the sum; the layers have 0.6 of it.
        word_dropout: the rate at which training replaces words by the token `unk`.
        vectors: (vocab_size, width) to begin with, such as `text.word_vectors` (default: random).

    Source: Z. Lin et al., "A Structured Self-Attentive Sentence Embedding", ICLR 2017, with a
    transformer layer in place of its LSTM.

    >>> AttentionClassifier(9, 2, width=8, heads=2, hidden=8)([[3, 4, 0], [5, 6, 7]]).shape
    (2, 2)
    """

    name = "attention-classifier"

    def __init__(self, vocab_size: int, num_classes: int = 2, *, width: int = 64, heads: int = 4,
                 layers: int = 1, hidden: int = 128, longest: int = 64, dropout: float = 0.5,
                 word_dropout: float = 0.2, unk: int = 1, vectors: Any = None):
        super().__init__()
        check_positive(self.name, vocab_size=vocab_size, num_classes=num_classes, width=width,
                       heads=heads, layers=layers, hidden=hidden, longest=longest)
        self.num_classes, self.longest = num_classes, longest
        self.word_dropout, self.unk = word_dropout, unk
        self.words = nn.Embedding(vocab_size, width, padding_idx=0)
        self.positions = nn.LearnedPositions(longest, width)
        nn.init.normal_(self.words.weight, 0.0, 0.1)
        if vectors is not None:
            self._begin_with(vectors)
        nn.init.normal_(self.positions.weight, 0.0, 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, 0.6 * dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.query = nn.Linear(width, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Any) -> Tensor:
        """Logits (N, num_classes)."""
        h, a = self._read(tokens)
        summary = (ops.expand_dims(a, -1) * h).sum(axis=1)                   # (N, W)
        return self.head(self.dropout(summary))

    def attention(self, tokens: Any) -> Tensor:
        """How much each word counts, (N, L): each row adds up to 1, padding has 0."""
        with inference(self):
            return self._read(tokens)[1]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, in nats per text."""
        return F.cross_entropy(outputs, labels)

    def decide(self, outputs: Tensor) -> Tensor:
        """The likeliest class."""
        return outputs.argmax(axis=1)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3."""
        return {"model": optim.Adam(learnt(self), lr=1e-3 if lr is None else lr)}

    def _begin_with(self, vectors: Any) -> None:
        table = self.words.weight
        if np.shape(vectors) != table.shape:
            raise ValueError(f"[{self.name}] vectors: {np.shape(vectors)}; (vocab_size, width) = "
                             f"{table.shape} are expected")
        # The spread of random ones: larger vectors learn too little of the task (74% on MR)
        known = np.asarray(vectors, np.float32)
        spread = float(known[np.abs(known).sum(axis=1) > 0].std())
        with no_grad():
            table.assign_(Tensor(known * (0.15 / spread)))

    def _read(self, tokens: Any) -> tuple[Tensor, Tensor]:
        """The words as the layers see them, (N, L, W), and the weight of each, (N, L)."""
        tokens = self._tokens(tokens, self.longest)
        padding = ops.equal(tokens, 0)
        if self.training and self.word_dropout:
            kept = F.dropout(ops.ones(tokens.shape, device=tokens.device), self.word_dropout)
            hidden = ops.logical_and(ops.equal(kept, 0), ops.logical_not(padding))
            tokens = ops.where(hidden, self.unk, tokens)
        x = self.dropout(self.positions(self.words(tokens)))                 # (N, L, W)
        h = self.body(x, src_key_padding_mask=padding)                       # (N, L, W)
        scores = ops.where(padding, -1e9, self.query(h)[:, :, 0])            # (N, L)
        return h, F.softmax(scores, dim=1)


class WordWeights(_TextClassifier):
    """A linear classifier of two classes: a number for each word, added up over a text.

    f(x) = b + sum of w_i over the distinct words i of the text; positive means class 1. With
    y = 2 label - 1, the loss is that of a support vector machine,

    mean of max(0, 1 - y f(x)) + l2 / 2 |w|^2.

    Args:
        vocab_size: how many tokens there are, padding (token 0, which counts nothing) included.
        l2: how strongly the weights are kept small; 1 / (C n) in libraries for such machines.

    Source: C. Cortes and V. Vapnik, "Support-Vector Networks", Machine Learning, 1995.
    """

    name = "word-weights"
    num_classes = 2

    def __init__(self, vocab_size: int, *, l2: float = 1e-3):
        super().__init__()
        check_positive(self.name, vocab_size=vocab_size)
        self.l2 = l2
        self.words = nn.Embedding(vocab_size, 1, padding_idx=0)
        nn.init.zeros_(self.words.weight)
        self.bias = nn.Parameter(ops.zeros((1,)))

    def forward(self, tokens: Any) -> Tensor:
        """f(x) of each text, (N,)."""
        tokens = self._tokens(tokens)
        ordered = ops.sort(tokens, axis=1)                                   # equal words in a row
        first = ops.concat([ops.ones_like(ordered[:, :1]), ordered[:, 1:] - ordered[:, :-1]],
                           axis=1)
        new = ops.logical_and(ops.greater(first, 0), ops.greater(ordered, 0))      # (N, L)
        weights = self.words(ordered)[:, :, 0]
        return ops.where(new, weights, 0.0).sum(axis=1) + self.bias

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The hinge loss and the price of the weights."""
        margins = outputs * (2 * labels - 1).astype(outputs.dtype)
        price = (self.words.weight * self.words.weight).sum() * (self.l2 / 2)
        return F.relu(1 - margins).mean() + price

    def decide(self, outputs: Tensor) -> Tensor:
        """1 where f(x) is positive."""
        return ops.greater(outputs, 0).astype("int64")

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-2."""
        return {"model": optim.Adam(learnt(self), lr=1e-2 if lr is None else lr)}

    def strongest(self, n: int = 10) -> tuple[list[int], list[int]]:
        """The `n` tokens that count most for class 0 and the `n` for class 1."""
        order = self.words.weight.detach().numpy()[:, 0].argsort().tolist()
        return order[:n], order[:-n - 1:-1]
