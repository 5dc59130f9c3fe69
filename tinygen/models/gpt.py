"""A GPT: a language model that predicts each token from those before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import generate, nn, optim
from ..backend import Generator
from ..nn import functional as F
from ..nn.cache import DecodingCache
from ..ops import concat
from ..optim.lr_scheduler import LRScheduler, WarmupCosine
from ..tensor import Tensor
from .base import check_positive, inference, learnt, placed

__all__ = ["GPT"]


class GPT(nn.Module):
    """Token numbers (N, L) to the logits of the token that follows each, (N, L, V).

    Token and position embeddings are added; transformer layers follow, each of which normalises
    its input, uses GELU, and lets a token attend to itself and to those before it; after a last
    norm the token table, transposed, gives the logits. No linear layer has a bias.

    Args:
        vocab_size: V, how many tokens there are.
        block: the longest sequence that the model sees at once.
        layers, heads, width: how many layers, heads in each, and numbers for each token.
        dropout: in attention, in the layers, and on the embeddings.

    Sources: A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; the
    default sizes and the training, but for the rate, are those of nanoGPT's example for a CPU
    (A. Karpathy, 2022).

    >>> import tinygen as tg
    >>> GPT(65, block=8, layers=1, heads=2, width=16)(tg.zeros((2, 5), dtype="int64")).shape
    (2, 5, 65)
    """

    def __init__(self, vocab_size: int, *, block: int = 64, layers: int = 4, heads: int = 4,
                 width: int = 128, dropout: float = 0.0, name: str = "gpt"):
        super().__init__()
        check_positive(name, vocab_size=vocab_size, block=block, layers=layers, heads=heads,
                       width=width)
        if width % heads:
            raise ValueError(f"[{name}] width {width} does not divide into {heads} heads of one "
                             "size")
        self.name, self.vocab_size, self.block = name, vocab_size, block
        self.options: dict[str, Any] = {"block": block, "layers": layers, "heads": heads,
                                        "width": width, "dropout": dropout}
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.LearnedPositions(block, width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True, bias=False)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width, bias=False))
        # Each layer adds to the stream twice; so scaled, its variance does not grow with depth.
        narrow = 0.02 / math.sqrt(2 * layers)
        for key, p in self.named_parameters():
            if p.ndim > 1:
                adds = key.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(p, 0.0, narrow if adds else 0.02)

    def config(self) -> dict[str, Any]:
        """JSON-serialisable arguments: `build(**model.config())` gives the same architecture."""
        return {"name": self.name, "vocab_size": self.vocab_size, **self.options}

    def forward(self, tokens: Any, cache: DecodingCache | None = None) -> Tensor:
        """Logits (N, L, V); with a `cache`, tokens are those after the ones that it has seen."""
        tokens = placed(self, tokens)
        start = 0 if cache is None else cache.length
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise ValueError(f"[{self.name}] tokens: {tokens.dtype} {tokens.shape}; integers "
                             "(N, L) are expected")
        length = tokens.shape[1]
        if start + length > self.block:
            raise ValueError(f"[{self.name}] {start + length} tokens; this model sees at most "
                             f"{self.block} (block={self.block}); write() slides over longer texts")
        x = self.dropout(self.positions(self.tokens(tokens), offset=start))         # (N, L, W)
        mask = None
        if cache is None:
            mask = nn.Transformer.generate_square_subsequent_mask(
                length, device=x.device, dtype=x.dtype)                             # (L, L)
        x = self.body(x, mask, is_causal=True, cache=cache)                         # (N, L, W)
        return F.linear(x, self.tokens.weight)                                      # (N, L, V)

    # -- learning ----------------------------------------------------------------------------------

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """AdamW: rate 3e-3, betas (0.9, 0.99), decay 0.1 of matrices, none of norms.

        nanoGPT's example has 1e-3; after its 2,000 steps the loss on unseen Shakespeare is 1.90
        with that rate and 1.77 with this one.
        """
        parameters = learnt(self)
        groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
                  {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
        return {"model": optim.AdamW([g for g in groups if g["params"]],
                                     lr=3e-3 if lr is None else lr, betas=(0.9, 0.99))}

    def configure_schedulers(self, optimizers: dict[str, optim.Optimizer],
                             steps: int) -> dict[str, LRScheduler]:
        """The rate rises for 100 steps (or a tenth of a shorter run), then falls to its tenth.

        To be stepped with every batch: `Trainer(..., schedule_per="step")`.
        """
        rate = optimizers["model"].param_groups[0]["lr"]
        return {"model": WarmupCosine(optimizers["model"], min(100, steps // 10), steps,
                                      eta_min=float(rate) / 10)}

    def training_step(self, tokens: Any, targets: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update; returns `loss`, in nats per token.

        Args:
            tokens: (N, L). targets: (N, L), the token that follows each.
        """
        if not self.training:
            self.train()
        loss = self.loss(tokens, targets)
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def evaluate(self, tokens: Any, targets: Any = None) -> dict[str, Tensor]:
        """`loss`, in nats per token, in eval mode."""
        with inference(self):
            return {"loss": self.loss(tokens, targets)}

    def loss(self, tokens: Any, targets: Any) -> Tensor:
        """Cross entropy of the predictions after `tokens` (N, L) with `targets` (N, L), a mean."""
        if np.shape(getattr(targets, "data", targets)) != tuple(tokens.shape):
            raise ValueError(f"[{self.name}] tokens: {tokens.shape}, targets: "
                             f"{getattr(targets, 'shape', targets)}; each token needs one target, "
                             "the token that follows it")
        logits = self(tokens)
        return F.cross_entropy(logits.reshape(-1, self.vocab_size), targets.reshape(-1))

    # -- writing -----------------------------------------------------------------------------------

    def write(self, prompt: Any, length: int, *, temperature: float = 1.0,
              top_k: int | None = None, top_p: float | None = None,
              generator: Generator | None = None) -> Tensor:
        """Prompts (N, L) continued by `length` tokens, (N, L + length); filters as in `sample`.

        Up to `block` tokens a cache saves all work but that for the newest token. From there on
        every position moves with each new token, so the last `block` are read anew.

        Source of the filters: see `tinygen.generate.filter_logits`.
        """
        given = prompt if isinstance(prompt, Tensor) else Tensor(prompt)
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p,
                                   "generator": generator}
        if given.ndim != 2 or not given.shape[1]:
            raise ValueError(f"[{self.name}] prompt: {given.shape}; (N, L) tokens, at least one "
                             "each, are expected")
        if length < 0:
            raise ValueError(f"[{self.name}] length must not be negative, got {length}")

        def window(tokens: Tensor) -> Tensor:
            return self(tokens[:, -self.block:])
        with inference(self):
            cached = max(0, min(length, self.block - given.shape[1]))
            text = given
            if cached:
                cache = DecodingCache(self.options["layers"])
                text = generate.sample(self, given, cached, cache=cache, **options)
            if length > cached:
                text = generate.sample(window, text, length - cached, **options)
        return text if text is not given else concat([given], axis=0)
