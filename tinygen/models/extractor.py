"""A title out of a text: which of its characters belong there, and the stretch that has most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..nn import functional as F
from ..ops.host import numpy_function
from ..tensor import Tensor
from .base import check_positive, inference, learnt, placed

__all__ = ["SpanExtractor", "best_span", "shared_pairs"]

_BUCKETS = 262_139          # of pairs of tokens; a prime, so that pairs spread evenly
_FEATURES = 9


class SpanExtractor(nn.Module):
    """Token numbers (N, L) of texts to the logits (N, L) that each belongs in the title.

    Embeddings and what is counted (below) pass through a convolution of five tokens, a transformer
    layer, in which each token sees all others, and another convolution: h. A learnt query attends
    to all tokens, a = softmax(h q), so that s = W sum of a_i h_i is what the text is about; each
    token is judged from h_i and h_i * s. The loss is the binary cross entropy, a mean over tokens.

    Counted are, for the pairs of a token with the next and with the one before: how often the
    pair stands in this text, and how rare it is in all texts (`count_pairs`), log(texts / texts
    that have it); with their products, the token's place, and the length of the text. Token 0 is
    padding.

    Args:
        vocab_size: how many tokens there are, padding included.
        width, heads: of the layers.
        dropout: on embeddings, in the layers and before the judgement.
        vectors: (vocab_size, width) to begin with, such as `text.word_vectors` (default: random).

    Sources: K. Spärck Jones, "A statistical interpretation of term specificity", 1972 (rarity);
    Z. Lin et al., "A Structured Self-Attentive Sentence Embedding", ICLR 2017 (the query);
    J. Cheng and M. Lapata, "Neural Summarization by Extracting Sentences and Words", ACL 2016.

    >>> SpanExtractor(9, width=8, heads=2)([[3, 4, 0], [5, 6, 7]]).shape
    (2, 3)
    """

    name = "span-extractor"

    def __init__(self, vocab_size: int, *, width: int = 64, heads: int = 4, dropout: float = 0.3,
                 vectors: Any = None):
        super().__init__()
        check_positive(self.name, vocab_size=vocab_size, width=width, heads=heads)
        self.vocab_size = vocab_size
        self.register_buffer("rarity", ops.zeros(_BUCKETS))
        self.tokens = nn.Embedding(vocab_size, width, padding_idx=0)
        nn.init.normal_(self.tokens.weight, 0.0, 0.15)
        if vectors is not None:
            self._begin_with(vectors)
        self.counts = nn.Sequential(nn.Linear(_FEATURES, width), nn.Tanh(), nn.Linear(width, width))
        self.before = nn.Conv1d(width, width, 5, padding=2)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 1, nn.LayerNorm(width))
        self.after = nn.Conv1d(width, width, 5, padding=2)
        self.query, self.about = nn.Linear(width, 1), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.judge = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout),
                                   nn.Linear(width, 1))

    def _begin_with(self, vectors: Any) -> None:
        if np.shape(vectors) != self.tokens.weight.shape:
            raise ValueError(f"[{self.name}] vectors: {np.shape(vectors)}; (vocab_size, width) = "
                             f"{self.tokens.weight.shape} are expected")
        known = np.asarray(vectors, np.float32)
        self.tokens.weight.assign_(Tensor(known * (0.15 / known.std())))

    def count_pairs(self, texts: Sequence[Sequence[int]]) -> None:
        """Learn from texts, without titles, how rare each pair of neighbouring tokens is."""
        if not len(texts):
            raise ValueError(f"[{self.name}] count_pairs needs at least one text")
        seen = np.zeros(_BUCKETS)
        for text in texts:
            ids = np.asarray(text, np.int64)
            seen[np.unique((ids[:-1] * self.vocab_size + ids[1:]) % _BUCKETS)] += 1
        rarity = np.log(len(texts) / np.maximum(seen, 1))
        self.rarity.assign_(Tensor(rarity.astype(np.float32)))

    def forward(self, tokens: Any) -> Tensor:
        """Logits (N, L)."""
        h, a, _ = self._read(tokens)
        about = self.about((ops.expand_dims(a, -1) * h).sum(axis=1))[:, None]      # (N, 1, W)
        seen = self.dropout(ops.concat([h, h * about], axis=2))                    # (N, L, 2 W)
        return self.judge(seen)[:, :, 0]

    def attention(self, tokens: Any) -> Tensor:
        """How much each token counts for what the text is about, (N, L); each row adds up to 1."""
        with inference(self):
            return self._read(tokens)[1]

    def probabilities(self, tokens: Any) -> np.ndarray:
        """The probability of each token to belong in the title, (N, L); 0 for padding."""
        with inference(self):
            tokens = self._tokens(tokens)
            return ops.where(ops.equal(tokens, 0), 0.0, ops.sigmoid(self(tokens))).numpy()

    def _tokens(self, tokens: Any) -> Tensor:
        tokens = placed(self, tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.shape[1]:
            raise ValueError(f"[{self.name}] tokens: {tokens.dtype} {tokens.shape}; integers "
                             "(N, L), with L at least 1, are expected")
        return tokens

    def _read(self, tokens: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens as the layers see them (N, L, W), the query's attention, and the padding."""
        tokens = self._tokens(tokens)
        padding = ops.equal(tokens, 0)
        real = ops.expand_dims(ops.logical_not(padding), -1).astype("float32")     # (N, L, 1)
        counted = numpy_function(self._counted, tokens, self.rarity)               # (N, L, 9)
        x = (self.dropout(self.tokens(tokens)) + self.counts(counted)) * real      # (N, L, W)
        x = x + self._along(self.before, x)
        h = self.body(x, src_key_padding_mask=padding) * real
        h = h + self._along(self.after, h)
        a = F.softmax(ops.where(padding, -1e9, self.query(h)[:, :, 0]), dim=1)     # (N, L)
        return h, a, padding

    @staticmethod
    def _along(conv: nn.Module, x: Tensor) -> Tensor:
        return F.gelu(conv(x.swapaxes(1, 2)).swapaxes(1, 2))                       # (N, L, W)

    def _counted(self, tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
        """What is counted, about zero and of the size of one, (N, L, 9)."""
        n, length = tokens.shape
        out = np.zeros((n, length, _FEATURES), np.float32)
        for row, ids in enumerate(tokens.astype(np.int64)):
            size = int((ids != 0).sum())
            pairs = (ids[:size - 1] * self.vocab_size + ids[1:size]) % _BUCKETS
            _, which, often = np.unique(pairs, return_inverse=True, return_counts=True)
            count = np.concatenate([[0], np.log1p(often[which]), [0]])[:size + 1]
            rare = np.concatenate([[0], known[pairs] / 4, [0]])[:size + 1]
            place = np.arange(size)
            here = [count[1:], count[:-1], rare[1:], rare[:-1], count[1:] * rare[1:],
                    count[:-1] * rare[:-1], np.log1p(place) / 3 - 1, place / max(size, 1),
                    np.full(size, size / 300)]
            if size:
                out[row, :size] = np.stack(here, axis=1)
        return out

    # -- learning ----------------------------------------------------------------------------------

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """AdamW with learning rate 2e-3."""
        return {"model": optim.AdamW(learnt(self), lr=2e-3 if lr is None else lr)}

    def loss(self, tokens: Any, labels: Any) -> Tensor:
        """Binary cross entropy with labels (N, L) in [0, 1], a mean over what is no padding."""
        tokens = self._tokens(tokens)
        labels = labels if isinstance(labels, Tensor) else Tensor(labels)
        if labels.shape != tokens.shape:
            raise ValueError(f"[{self.name}] labels: {labels.shape}; {tokens.shape}, one for each "
                             "token, are expected")
        real = ops.not_equal(tokens, 0).astype("float32")
        each = F.binary_cross_entropy_with_logits(self(tokens), labels.astype("float32"),
                                                  reduction="none")
        return (each * real).sum() / real.sum()

    def training_step(self, tokens: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from tokens (N, L) and labels (N, L); returns `loss`, in nats per token."""
        if not self.training:
            self.train()
        loss = self.loss(tokens, labels)
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def evaluate(self, tokens: Any, labels: Any) -> dict[str, Tensor]:
        """`loss`, in nats per token, in eval mode."""
        with inference(self):
            return {"loss": self.loss(tokens, labels)}


def shared_pairs(text: Sequence[Any], title: Sequence[Any]) -> np.ndarray:
    """Labels (L,) of a text: 1 for tokens in a pair of neighbours that also stands in the title.

    >>> shared_pairs("a cat sat", "the cat").tolist()
    [0, 1, 1, 1, 1, 0, 0, 1, 1]
    """
    pairs = set(zip(title, title[1:]))
    found = np.array([pair in pairs for pair in zip(text, text[1:])], bool)
    return (np.append(found, False) | np.append(False, found)).astype(np.int64)[:len(text)]


def best_span(p: Any, prior: float, shortest: int = 5, longest: int = 45) -> tuple[int, int]:
    """Begin and end of the stretch of tokens that maximises 2 sum of p / (its length + prior).

    With p the probability of each token (L,) to stand in the title and `prior` the title's length,
    this is the F measure to expect. A smaller prior makes up for what repeats within a stretch,
    which counts once in a title.

    >>> best_span([0.1, 0.9, 0.8, 0.9, 0.1, 0.2], prior=2, shortest=2)
    (1, 4)
    """
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not p.size or prior <= 0 or not 1 <= shortest <= longest:
        raise ValueError(f"[best_span] p {p.shape}, prior {prior}, shortest {shortest}, longest "
                         f"{longest}; (L,), a positive prior, 1 <= shortest <= longest are needed")
    total = np.concatenate([[0.0], np.cumsum(p)])
    best, span = -1.0, (0, len(p))
    for n in range(min(shortest, len(p)), min(longest, len(p)) + 1):
        values = 2 * (total[n:] - total[:-n]) / (n + prior)
        at = int(values.argmax())
        if values[at] > best:
            best, span = float(values[at]), (at, at + n)
    return span
