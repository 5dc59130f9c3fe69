"""Words for a picture: a convolutional encoder, and a decoder that looks at its regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import generate, nn, ops, optim
from ..nn import functional as F
from ..nn.cache import DecodingCache
from ..tensor import Tensor
from .base import check_positive, inference, learnt, placed
from .image_text import ImageEncoder, attention_weights

__all__ = ["Captioner"]


class Captioner(nn.Module):
    """Pictures (N, C, H, W) and the words so far (N, L) to logits of the next, (N, L, V).

    p(words | picture) = prod_t p(w_t | w_<t, regions): transformer layers in which each word
    attends to the words before it, and then to the regions that an `ImageEncoder` finds.

    Args:
        image_shape: (C, H, W). vocab_size: V, padding (token 0) included.
        bos, eos: the tokens that begin and end a text.
        width, heads, layers: of the decoder; the encoder has `channels` and one layer.
        longest: the longest text, with both of them.

    Sources: K. Xu et al., "Show, Attend and Tell", ICML 2015, with the decoder of A. Vaswani et
    al., "Attention Is All You Need", NeurIPS 2017, in place of its LSTM.

    >>> model = Captioner((1, 8, 8), 9, width=8, heads=2, channels=(4,), bos=1, eos=2)
    >>> model(np.zeros((2, 1, 8, 8), np.float32), [[1, 4, 5], [1, 6, 2]]).shape
    (2, 3, 9)
    """

    name = "captioner"

    def __init__(self, image_shape: Sequence[int], vocab_size: int, *, bos: int, eos: int,
                 width: int = 96, heads: int = 4, layers: int = 2,
                 channels: Sequence[int] = (16, 32, 64), longest: int = 40, dropout: float = 0.0):
        super().__init__()
        check_positive(self.name, vocab_size=vocab_size, width=width, heads=heads, layers=layers,
                       longest=longest)
        for what, token in (("bos", bos), ("eos", eos)):
            if not 0 < token < vocab_size:
                raise ValueError(f"[{self.name}] {what} must be from 1 to {vocab_size - 1}, got "
                                 f"{token}")
        self.bos, self.eos, self.longest, self.vocab_size = int(bos), int(eos), longest, vocab_size
        self.images = ImageEncoder(image_shape, width, channels, heads=heads, dropout=dropout)
        self.words = nn.Embedding(vocab_size, width, padding_idx=0)
        self.positions = nn.LearnedPositions(longest, width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerDecoderLayer(width, heads, 2 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, vocab_size)
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, 0.0, 0.1)

    def forward(self, images: Any, tokens: Any) -> Tensor:
        """Logits (N, L, V) of the token that follows each of `tokens` (N, L)."""
        regions = self.images(images)
        tokens = self._tokens(tokens, len(regions))
        return self._read(regions, tokens)

    def _read(self, regions: Tensor, tokens: Any, cache: DecodingCache | None = None) -> Tensor:
        start, tokens = 0 if cache is None else cache.length, placed(self, tokens)
        x = self.dropout(self.positions(self.words(tokens), offset=start))   # (N, L, W)
        mask = None
        if cache is None:
            mask = nn.Transformer.generate_square_subsequent_mask(
                x.shape[1], device=x.device, dtype=x.dtype)                  # (L, L)
        return self.head(self.decoder(x, regions, mask, tgt_is_causal=True, cache=cache))

    # -- learning ----------------------------------------------------------------------------------

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """AdamW with learning rate 1e-3 and decay 0.01."""
        return {"model": optim.AdamW(learnt(self), lr=1e-3 if lr is None else lr)}

    def losses(self, images: Any, tokens: Any) -> dict[str, Tensor]:
        """`loss`, in nats per token: a mean over all tokens after the first, padding left out.

        Args:
            images: (N, C, H, W). tokens: (N, L), from `bos` to `eos`, padded with 0.
        """
        tokens = placed(self, tokens)
        logits = self(images, tokens[:, :-1])                                # (N, L - 1, V)
        loss = F.cross_entropy(logits.reshape(-1, self.vocab_size), tokens[:, 1:].reshape(-1),
                               ignore_index=0)
        return {"loss": loss}

    def training_step(self, images: Any, tokens: Any, groups: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from a batch of pairs; `groups` is not looked at."""
        if not self.training:
            self.train()
        losses = self.losses(images, tokens)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in losses.items()}

    def evaluate(self, images: Any, tokens: Any) -> dict[str, Tensor]:
        """`loss`, in nats per token, in eval mode."""
        with inference(self):
            return self.losses(images, tokens)

    # -- writing -----------------------------------------------------------------------------------

    def write(self, images: Any, beams: int = 1, length_penalty: float = 1.0,
              never: Sequence[int] = (), batch: int = 64) -> np.ndarray:
        """A caption for each picture, (N, T) tokens from `bos` on, padded with 0 after `eos`.

        The likeliest word at each step, or with `beams` the best caption that a search with so many
        open ones finds: see `tinygen.generate`. Tokens of `never`, such as the one for unknown
        words, are not written.
        """
        found = []
        for start in range(0, len(images), batch):
            with inference(self):
                regions = self.images(images[start:start + batch])           # (n, R, W)
                found.append(self._continue(regions, beams, length_penalty, never))
        rows = np.zeros((len(images), max((f.shape[1] for f in found), default=1)), np.int64)
        for start, part in zip(range(0, len(images), batch), found, strict=True):
            rows[start:start + len(part), :part.shape[1]] = part
        return rows

    def _continue(self, regions: Tensor, beams: int, length_penalty: float,
                  never: Sequence[int]) -> np.ndarray:
        if beams > 1:
            regions = ops.repeat(regions, beams, 0)

        def following(tokens: Tensor, cache: DecodingCache) -> np.ndarray:
            logits = self._read(regions, tokens, cache).numpy()[:, -1]       # (N, V)
            logits[:, list(never)] = -np.inf
            return logits
        prompt = np.full((len(regions) // beams, 1), self.bos)
        options: dict[str, Any] = {"eos": self.eos, "pad": 0,
                                   "cache": DecodingCache(len(self.decoder.layers))}
        if beams == 1:
            return generate.greedy(following, prompt, self.longest - 1, **options).numpy()
        return generate.beam_search(following, prompt, self.longest - 1, beams, penalty="plain",
                                    length_penalty=length_penalty, **options).tokens.numpy()[:, 0]

    def attention(self, images: Any, tokens: Any) -> np.ndarray:
        """Where the last layer looks when it writes each token after the first: (N, L - 1, R)."""
        with inference(self):
            regions = self.images(images)
            tokens = self._tokens(tokens, len(regions))
            return attention_weights(self.decoder.layers[-1].multihead_attn,
                                     lambda: self._read(regions, tokens[:, :-1]))

    def _tokens(self, tokens: Any, n: int) -> Tensor:
        tokens = placed(self, tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or len(tokens) != n or not (
                0 < tokens.shape[1] <= self.longest):
            raise ValueError(f"[{self.name}] tokens: {tokens.dtype} {tokens.shape}; integers "
                             f"({n}, L), with L from 1 to longest={self.longest}, are expected")
        return tokens
