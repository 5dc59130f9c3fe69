"""The text models of the benchmarks, as a user of tinygen writes them."""

from __future__ import annotations

import math
from typing import Any

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F

__all__ = ["GPT", "TextVAE", "Translator"]


class Block(nn.Module):
    """One layer of a GPT: attention, then a network with GELU, each on normalised input."""

    def __init__(self, heads: int, width: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any, cache: Any = None) -> Any:               # (N, L, W)
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)                           # (N, H, L, D) each
        if cache is not None:
            k, v = cache.append(k, v)                                  # (N, H, S, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Token numbers (N, L) to logits (N, L, V); the head shares the token table's weights.

    Source: A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """

    def __init__(self, vocabulary: int, block: int, layers: int, heads: int, width: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
        self.blocks = nn.ModuleList([Block(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, 0.0, 0.02)

    def forward(self, tokens: Any, cache: Any = None) -> Any:
        start = 0 if cache is None else cache.length
        x = self.tokens(tokens) + self.positions(tg.arange(start, start + tokens.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layers[i].self_attn)
        return self.head(self.norm(x))


class TextVAE(nn.Module):
    """Sentences (T, N) to logits (T, N, V), mu and log sigma^2: an LSTM reads, another writes.

    The writer sees the word before, and z at every step and in its first state.

    Source: S. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, latent: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, hidden)
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.start = nn.Linear(latent, 2 * hidden)
        self.decoder = nn.LSTM(embedding + latent, hidden)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Any) -> tuple[Any, Any, Any]:
        x = self.words(tokens)                                         # (T, N, E)
        _, (h, _) = self.encoder(x)                                    # (1, N, H)
        mu, logvar = self.mu(h[0]), self.logvar(h[0])
        z = mu + (0.5 * logvar).exp() * tg.random.normal(mu.shape)     # (N, Z)
        before = tg.concat([self.words(tg.zeros_like(tokens[:1])), x[:-1]])
        given = tg.concat([before, tg.broadcast_to(z, (len(x), *z.shape))], axis=2)
        h, c = F.tanh(self.start(z)).reshape(1, len(z), 2, -1).permute(2, 0, 1, 3)  # (1, N, H)
        return self.head(self.decoder(given, (h, c))[0]), mu, logvar


class Translator(nn.Module):
    """Source (N, S) and target so far (N, T) to logits (N, T, V); word 0 is padding.

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    def __init__(self, vocabulary: int, longest: int, layers: int, heads: int, width: int,
                 feed_forward: int, dropout: float):
        super().__init__()
        self.scale = math.sqrt(width)
        self.source, self.target = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Transformer(width, heads, layers, layers, feed_forward, dropout,
                                   batch_first=True)
        self.head = nn.Linear(width, vocabulary)
        for table in (self.source, self.target, self.positions):
            nn.init.normal_(table.weight, 0.0, 0.02)

    def forward(self, source: Any, target: Any) -> Any:
        length = target.shape[1]
        later = tg.triu(tg.ones((length, length), dtype="bool"), 1)   # true: must not see
        y = self.body(self._embed(source, self.source), self._embed(target, self.target),
                      tgt_mask=later, src_key_padding_mask=source == 0,
                      tgt_key_padding_mask=target == 0, memory_key_padding_mask=source == 0,
                      tgt_is_causal=True)
        return self.head(y)

    def _embed(self, words: Any, table: Any) -> Any:
        positions = self.positions(tg.arange(words.shape[1]))          # (L, W)
        return self.dropout(table(words) * self.scale + positions)
