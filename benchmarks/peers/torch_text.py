"""The text models of the benchmarks in PyTorch, written as its users do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["GPT", "TextVAE", "Translator", "sample"]


class Block(nn.Module):
    """One layer of a GPT: attention, then a network with GELU, each on normalised input."""

    def __init__(self, heads: int, width: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, cache: torch.Tensor | None = None,
                start: int = 0) -> torch.Tensor:
        """`cache` (2, N, H, capacity, D) holds keys and values up to `start`; more are written."""
        n, length, width = x.shape
        q, k, v = (y.view(n, length, self.heads, -1).transpose(1, 2)   # (N, H, L, D)
                   for y in self.qkv(self.norm1(x)).split(width, dim=2))
        if cache is not None:
            end = start + length
            cache[0, :, :, start:end], cache[1, :, :, start:end] = k, v
            k, v = cache[0, :, :, :end], cache[1, :, :, :end]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Token numbers (N, L) to logits (N, L, V); the head shares the token table's weights."""

    def __init__(self, vocabulary: int, block: int, layers: int, heads: int, width: int):
        super().__init__()
        self.sizes = layers, heads, block, width
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
        self.blocks = nn.ModuleList([Block(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0.0, 0.02)

    def forward(self, tokens: torch.Tensor, caches: torch.Tensor | None = None,
                start: int = 0) -> torch.Tensor:
        """With `caches` (layers, 2, N, H, capacity, D), tokens are those from `start` on."""
        x = self.tokens(tokens) + self.positions(torch.arange(start, start + tokens.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i], start)
        return self.head(self.norm(x))

    def caches(self, n: int) -> torch.Tensor:
        """Room for the keys and values of `n` sequences of full length."""
        layers, heads, block, width = self.sizes
        return torch.empty(layers, 2, n, heads, block, width // heads)


@torch.inference_mode()
def sample(model: GPT, run: Callable[..., Any], prompt: torch.Tensor, new: int,
           temperature: float) -> torch.Tensor:
    """Each prompt (N, L) continued by `new` tokens; `run` is the model, compiled or not."""
    n, start = prompt.shape
    tokens = torch.cat([prompt, prompt.new_empty(n, new)], dim=1)
    caches, fed = model.caches(n), 0
    for t in range(start, start + new):
        logits = run(tokens[:, fed:t], caches, fed)[:, -1]             # (N, V)
        p = torch.softmax(logits / temperature, dim=-1)
        tokens[:, t:t + 1], fed = torch.multinomial(p, 1), t
    return tokens


class TextVAE(nn.Module):
    """Sentences (T, N) to logits (T, N, V), mu and log sigma^2: an LSTM reads, another writes."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, latent: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, hidden)
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.start = nn.Linear(latent, 2 * hidden)
        self.decoder = nn.LSTM(embedding + latent, hidden)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: torch.Tensor) -> Any:
        x = self.words(tokens)                                         # (T, N, E)
        _, (h, _) = self.encoder(x)                                    # (1, N, H)
        mu, logvar = self.mu(h[0]), self.logvar(h[0])
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)        # (N, Z)
        before = torch.cat([self.words(torch.zeros_like(tokens[:1])), x[:-1]])
        given = torch.cat([before, z.expand(len(x), -1, -1)], dim=2)
        h, c = torch.tanh(self.start(z)).chunk(2, dim=1)
        state = h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()
        return self.head(self.decoder(given, state)[0]), mu, logvar


class Translator(nn.Module):
    """Source (N, S) and target so far (N, T) to logits (N, T, V); word 0 is padding."""

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

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        length = target.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)   # true: must not see
        y = self.body(self._embed(source, self.source), self._embed(target, self.target),
                      tgt_mask=later, src_key_padding_mask=source == 0,
                      tgt_key_padding_mask=target == 0, memory_key_padding_mask=source == 0,
                      tgt_is_causal=True)
        return self.head(y)

    def _embed(self, words: torch.Tensor, table: nn.Embedding) -> torch.Tensor:
        positions = self.positions(torch.arange(words.shape[1]))       # (L, W)
        return self.dropout(table(words) * self.scale + positions)
