"""A transformer that reads one sentence and writes another: translation by attention."""

from __future__ import annotations

import math
from typing import Any

from .. import generate, nn, ops, optim
from ..nn import functional as F
from ..nn.cache import DecodingCache
from ..optim.lr_scheduler import LRScheduler, WarmupCosine
from ..tensor import Tensor
from .base import check_positive, inference, learnt, placed

__all__ = ["Translator"]


class Translator(nn.Module):
    """Source tokens (N, S) and the target so far (N, T) to logits of the next token, (N, T, V).

    An encoder reads the source, each word seeing all others; a decoder writes the target, each
    token seeing those before it and, by cross-attention, what the encoder made of the source.
    Embeddings times sqrt(width) have sines of the position added; each layer normalises its input;
    the target's token table, transposed, gives the logits.

    Token 0 is padding, after the other tokens of a sentence, and nothing depends on it. A target
    begins with `bos` and ends with `eos`.

    Args:
        vocab_size: how many tokens the source has.
        target_vocab_size: V; None for one vocabulary, and one table, of both languages.
        layers: of the encoder, and as many of the decoder.
        heads, width, hidden, dropout: of the layers.
        label_smoothing: the share of the target's probability that is spread over all tokens.

    Sources: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017; O. Press and L. Wolf,
    "Using the Output Embedding to Improve Language Models", EACL 2017 (the shared table).

    >>> model = Translator(9, 7, layers=1, heads=2, width=8, hidden=16)
    >>> model([[4, 5, 6]], [[2, 4]]).shape
    (1, 2, 7)
    """

    def __init__(self, vocab_size: int, target_vocab_size: int | None = None, *, layers: int = 3,
                 heads: int = 4, width: int = 256, hidden: int = 1024, dropout: float = 0.1,
                 label_smoothing: float = 0.1, bos: int = 2, eos: int = 3,
                 name: str = "translator"):
        super().__init__()
        shared = target_vocab_size is None
        self.target_vocab_size = target_vocab_size or vocab_size
        check_positive(name, vocab_size=vocab_size, target_vocab_size=self.target_vocab_size,
                       layers=layers, heads=heads, width=width, hidden=hidden)
        if width % heads:
            raise ValueError(f"[{name}] width {width} does not divide into {heads} heads of one "
                             "size")
        if not all(0 < token < self.target_vocab_size for token in (bos, eos)) or bos == eos:
            raise ValueError(f"[{name}] bos and eos must be two of the tokens 1 to "
                             f"{self.target_vocab_size - 1}, got {bos} and {eos}")
        self.name, self.vocab_size, self.bos, self.eos = name, vocab_size, bos, eos
        self.options: dict[str, Any] = {
            "target_vocab_size": target_vocab_size, "layers": layers, "heads": heads,
            "width": width, "hidden": hidden, "dropout": dropout,
            "label_smoothing": label_smoothing, "bos": bos, "eos": eos}
        self.source_tokens = nn.Embedding(vocab_size, width)
        self.target_tokens = self.source_tokens if shared else nn.Embedding(
            self.target_vocab_size, width)
        self.positions = nn.SinusoidalPositions(width, dropout)
        sizes: dict[str, Any] = {"d_model": width, "nhead": heads, "dim_feedforward": hidden,
                                 "dropout": dropout, "batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes), layers, nn.LayerNorm(width))
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**sizes), layers, nn.LayerNorm(width))
        for key, p in self.named_parameters():
            if "tokens" in key:
                nn.init.normal_(p, 0.0, 1 / math.sqrt(width))    # logits of about unit size
            elif p.ndim > 1:
                nn.init.xavier_uniform_(p)                       # each layer differs from the start

    def config(self) -> dict[str, Any]:
        """JSON-serialisable arguments: `build(**model.config())` gives the same architecture."""
        return {"name": self.name, "vocab_size": self.vocab_size, **self.options}

    def forward(self, source: Any, target: Any) -> Tensor:
        """Logits (N, T, V) of the token after each of `target` (N, T), given `source` (N, S)."""
        source = self._check(source, "source", self.vocab_size)
        target = self._check(target, "target", self.target_vocab_size)
        if len(source) != len(target):
            raise ValueError(f"[{self.name}] {len(source)} sources and {len(target)} targets; each "
                             "source needs one target")
        return self.decode(target, self.encode(source), ops.equal(source, 0))

    def encode(self, source: Any) -> Tensor:
        """What the decoder looks at: a vector for each token of `source` (N, S), (N, S, W)."""
        source = self._check(source, "source", self.vocab_size)
        x = self._embed(self.source_tokens, source, 0)                              # (N, S, W)
        return self.encoder(x, src_key_padding_mask=ops.equal(source, 0))

    def decode(self, target: Any, memory: Tensor, padding: Any = None,
               cache: DecodingCache | None = None) -> Tensor:
        """Logits (N, T, V) after `target` (N, T), given `memory` of `encode`.

        Args:
            padding: (N, S), true where the source is padding.
            cache: then `target` are the tokens after those that it has seen.
        """
        start, target = 0 if cache is None else cache.length, placed(self, target)
        y = self._embed(self.target_tokens, target, start)                          # (N, T, W)
        mask = None
        if cache is None:
            mask = nn.Transformer.generate_square_subsequent_mask(
                y.shape[1], device=y.device, dtype=y.dtype)                         # (T, T)
        y = self.decoder(y, memory, tgt_mask=mask, memory_key_padding_mask=padding,
                         tgt_is_causal=True, cache=cache)                           # (N, T, W)
        return F.linear(y, self.target_tokens.weight)                               # (N, T, V)

    def _embed(self, table: Any, tokens: Any, start: int) -> Tensor:
        return self.positions(table(tokens) * math.sqrt(self.options["width"]), offset=start)

    def _check(self, tokens: Any, what: str, size: int) -> Tensor:
        tokens = placed(self, tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.shape[1]:
            raise ValueError(f"[{self.name}] {what}: {tokens.dtype} {tokens.shape}; integers "
                             f"(N, L) from 0 to {size - 1}, with L at least 1, are expected")
        return tokens

    # -- learning ----------------------------------------------------------------------------------

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with rate 1e-3 and betas (0.9, 0.98)."""
        return {"model": optim.Adam(learnt(self), lr=1e-3 if lr is None else lr,
                                    betas=(0.9, 0.98))}

    def configure_schedulers(self, optimizers: dict[str, optim.Optimizer],
                             steps: int) -> dict[str, LRScheduler]:
        """The rate rises for 400 steps (or a tenth of a shorter run), then falls to 0.

        To be stepped with every batch: `Trainer(..., schedule_per="step")`.
        """
        return {"model": WarmupCosine(optimizers["model"], min(400, steps // 10), steps)}

    def training_step(self, source: Any, target: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns the smoothed `loss`, in nats per token.

        Args:
            source: (N, S). target: (N, T), from `bos` to `eos`, then padding.
        """
        if not self.training:
            self.train()
        loss = self.loss(source, target)
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def evaluate(self, source: Any, target: Any) -> dict[str, Tensor]:
        """`loss`, in nats per token and without smoothing, in eval mode."""
        with inference(self):
            return {"loss": self.loss(source, target, 0.0)}

    def loss(self, source: Any, target: Any, label_smoothing: float | None = None) -> Tensor:
        """Cross entropy of each token of `target` (N, T) after the first, a mean without padding.

        `label_smoothing` stands in for the model's own.
        """
        target = self._check(target, "target", self.target_vocab_size)
        if target.shape[1] < 2:
            raise ValueError(f"[{self.name}] target: {target.shape}; at least two tokens, from bos "
                             "to eos, are expected")
        smoothing = self.options["label_smoothing"] if label_smoothing is None else label_smoothing
        logits = self(source, target[:, :-1])                                       # (N, T-1, V)
        return F.cross_entropy(logits.reshape(-1, self.target_vocab_size),
                               target[:, 1:].reshape(-1), ignore_index=0,
                               label_smoothing=smoothing)

    # -- translating -------------------------------------------------------------------------------

    def translate(self, source: Any, beams: int = 1, *, length_penalty: float = 1.0,
                  longest: int | None = None) -> list[list[int]]:
        """The tokens that the model writes for each source (N, S), without `bos` and `eos`.

        Args:
            beams: 1 takes the likeliest token at each step; more keep so many open sentences
                (see `tinygen.generate.beam_search`).
            length_penalty: with several beams; 0 favours short sentences.
            longest: where a sentence that does not end is cut (default: 2 S + 10).
        """
        source = self._check(source, "source", self.vocab_size)
        check_positive(self.name, beams=beams)
        n, limit = len(source), 2 * source.shape[1] + 10 if longest is None else longest
        cache, start = DecodingCache(self.options["layers"]), [[self.bos]] * n
        with inference(self):
            memory, padding = self.encode(source), ops.equal(source, 0)
            if beams > 1:
                memory, padding = (ops.repeat(x, beams, axis=0) for x in (memory, padding))

            def following(tokens: Tensor, cache: DecodingCache) -> Tensor:
                return self.decode(tokens, memory, padding, cache)[:, -1]           # (N, V)
            if beams == 1:
                found = generate.greedy(following, start, limit, eos=self.eos, cache=cache)
            else:
                found = generate.beam_search(
                    following, start, limit, beams, length_penalty=length_penalty, eos=self.eos,
                    pad=0, cache=cache).tokens[:, 0]
        return [_until(row[1:], self.eos) for row in found.tolist()]

    def attention(self, source: Any, target: Any) -> Tensor:
        """What each target token looks at in the source: (N, layers, heads, T, S).

        Row t is the softmax over the source with which the layer read it to write the token after
        `target[:, t]`; each adds up to 1, and padding of the source has 0.
        """
        seen: list[tuple[Any, ...]] = []
        source = self._check(source, "source", self.vocab_size)
        readers = [layer.multihead_attn for layer in self.decoder.layers]
        hooks = [r.register_forward_pre_hook(lambda _, given: seen.append(given)) for r in readers]
        try:
            with inference(self):
                self(source, target)
        finally:
            for hook in hooks:
                hook.remove()
        with inference(self):
            maps = [reader(*given, key_padding_mask=ops.equal(source, 0),
                           average_attn_weights=False)[1]
                    for reader, given in zip(readers, seen, strict=True)]           # (N, H, T, S)
        return ops.stack(maps, axis=1)


def _until(tokens: list[int], eos: int) -> list[int]:
    """The tokens before the first `eos`, without padding."""
    end = tokens.index(eos) if eos in tokens else len(tokens)
    return [t for t in tokens[:end] if t]
