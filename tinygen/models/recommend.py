"""Recommendation: a variational autoencoder over what users chose, and a matrix factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn, ops, optim, random
from ..nn import functional as F
from ..tensor import Tensor
from .base import check_positive, inference, learnt
from .vae import grown, kl_standard_normal

__all__ = ["MatrixFactorization", "MultVAE"]


class MultVAE(nn.Module):
    """Mult-VAE: what a user chose, as draws from a distribution over all items.

    A row x of 0 and 1 (or counts) over the items, scaled to length 1 and with entries dropped at
    random, becomes z = mu + sigma * noise, and z one logit for each item. The loss, in nats per
    user, is

    -sum_i x_i log softmax(decoder(z))_i + beta KL(q(z | x) || N(0, I)),

    with beta growing from 0 to its value over the first `anneal_steps` updates.

    Args:
        num_items: how many items there are.
        hidden: the width of the one hidden layer on either side (tanh).
        latent: the length of z.
        dropout: the chance of an entry of x to be dropped while training.
        beta: the weight of the KL divergence once grown.
        anneal_steps: updates until then; 0 for the whole weight from the start.

    Source: D. Liang, R. Krishnan, M. Hoffman and T. Jebara, "Variational Autoencoders for
    Collaborative Filtering", WWW 2018, whose sizes are the default.

    >>> model = MultVAE(num_items=30, hidden=8, latent=2)
    >>> model.scores(np.eye(5, 30)).shape
    (5, 30)
    """

    name = "mult-vae"

    def __init__(self, num_items: int, *, hidden: int = 600, latent: int = 200,
                 dropout: float = 0.5, beta: float = 0.2, anneal_steps: int = 0):
        super().__init__()
        check_positive(self.name, num_items=num_items, hidden=hidden, latent=latent)
        if beta < 0 or anneal_steps < 0:
            raise ValueError(f"[{self.name}] beta and anneal_steps must not be negative, got "
                             f"{beta} and {anneal_steps}")
        self.num_items, self.latent, self.beta = num_items, latent, beta
        self.anneal_steps = anneal_steps
        self.register_buffer("updates", ops.zeros(1))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.Sequential(nn.Linear(num_items, hidden), nn.Tanh())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(),
                                     nn.Linear(hidden, num_items))
        for p in self.parameters():      # the paper's start
            if p.ndim > 1:
                nn.init.xavier_normal_(p)
            else:
                nn.init.trunc_normal_(p, std=0.001, a=-0.002, b=0.002)

    def forward(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, items), and mu and log sigma^2 of q(z | x), each (N, latent).

        In evaluation mode nothing is dropped and z is mu.
        """
        x = self.prepare(x)                                                   # (N, items)
        length = ops.sqrt((x * x).sum(axis=1, keepdims=True))                 # (N, 1)
        features = self.encoder(self.dropout(x / ops.maximum(length, 1e-12)))   # (N, hidden)
        mu, logvar = self.mu(features), self.logvar(features)                 # (N, latent)
        z = mu
        if self.training:
            z = mu + ops.exp(0.5 * logvar) * random.normal(mu.shape, dtype=mu.dtype,
                                                                 device=mu.device)
        return self.decoder(z), mu, logvar

    def prepare(self, x: Any) -> Tensor:
        """Rows (N, items) in the model's dtype and on its device; ValueError for other shapes."""
        x = x if isinstance(x, Tensor) else ops.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.num_items:
            raise ValueError(f"[{self.name}] x: {x.shape}; expected (N, {self.num_items}), one "
                             "column for each item")
        like = self.mu.weight
        return x.to(dtype=like.dtype, device=like.device)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3, as in the paper."""
        return {"model": optim.Adam(learnt(self), lr=1e-3 if lr is None else lr)}

    def losses(self, x: Any) -> dict[str, Tensor]:
        """`loss`, `reconstruction` and `kl` in nats per user, recorded: means over the batch."""
        x = self.prepare(x)
        logits, mu, logvar = self(x)
        reconstruction = -(x * F.log_softmax(logits, -1)).sum() * (1 / x.shape[0])
        kl = kl_standard_normal(mu, logvar)
        weight = self.beta * grown(self.updates, self.anneal_steps)
        return {"loss": reconstruction + weight * kl,
                "reconstruction": reconstruction, "kl": kl}

    def training_step(self, x: Any, labels: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from rows (N, items); `labels` is not looked at."""
        if not self.training:
            self.train()
        losses = self.losses(x)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        self.updates.assign_(self.updates + 1)
        return {name: value.detach() for name, value in losses.items()}

    def evaluate(self, x: Any, labels: Any = None) -> dict[str, Tensor]:
        """`loss`, `reconstruction` and `kl` in evaluation mode, at the mean of z."""
        with inference(self):
            return self.losses(x)

    def scores(self, x: Any, exclude: bool = True) -> np.ndarray:
        """How likely each item is to be chosen next, as logits (N, items), for users with rows x.

        With `exclude` the items that a user has already are -inf.
        """
        rows = self.prepare(x)
        with inference(self):
            logits = self(rows)[0].numpy().copy()
        if exclude:
            logits[rows.numpy() > 0] = -np.inf
        return logits


class MatrixFactorization(nn.Module):
    """Ratings from biases and a product of factors.

    rating(u, i) = mean + b_u + b_i + p_u . q_i, learnt from the squared error of each rating and
    `weight_decay` times the squares of what stands in its formula.

    Args:
        num_users, num_items: how many there are.
        factors: the length of p_u and q_i; 0 leaves the biases.
        mean: the mean rating, to start from; `fit_mean` sets it.
        weight_decay: the weight of the squares of factors.
        bias_decay: that of the squares of biases.
        std: of the factors at the start.

    Source: Y. Koren, R. Bell and C. Volinsky, "Matrix Factorization Techniques for Recommender
    Systems", IEEE Computer 42(8), 2009.

    >>> model = MatrixFactorization(num_users=4, num_items=3, factors=2, mean=3.5)
    >>> model([[0, 1], [3, 2]]).shape
    (2,)
    """

    name = "matrix-factorization"

    def __init__(self, num_users: int, num_items: int, *, factors: int = 50, mean: float = 0.0,
                 weight_decay: float = 0.05, bias_decay: float = 0.02, std: float = 0.1):
        super().__init__()
        check_positive(self.name, num_users=num_users, num_items=num_items)
        if factors < 0 or weight_decay < 0 or bias_decay < 0:
            raise ValueError(f"[{self.name}] factors, weight_decay and bias_decay must not be "
                             f"negative, got {factors}, {weight_decay} and {bias_decay}")
        self.num_users, self.num_items = num_users, num_items
        self.weight_decay, self.bias_decay = weight_decay, bias_decay
        self.register_buffer("mean", ops.full((1,), float(mean)))
        self.user_bias, self.item_bias = nn.Embedding(num_users, 1), nn.Embedding(num_items, 1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)
        self.user_factors = self.item_factors = None
        if factors:
            self.user_factors = nn.Embedding(num_users, factors)
            self.item_factors = nn.Embedding(num_items, factors)
            for table in (self.user_factors, self.item_factors):
                nn.init.normal_(table.weight, std=std)

    def _parts(self, pairs: Any) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Ratings (N,), the biases (N, 1) in them, and the factors (N, factors)."""
        pairs = pairs if isinstance(pairs, Tensor) else ops.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(f"[{self.name}] pairs: {pairs.dtype} {pairs.shape}; integers (N, 2), "
                             "the numbers of users and items, are expected")
        users, items = pairs[:, 0], pairs[:, 1]                              # (N,)
        biases = [self.user_bias(users), self.item_bias(items)]              # (N, 1)
        found = self.mean + (biases[0] + biases[1]).reshape(-1)              # (N,)
        if self.user_factors is None or self.item_factors is None:
            return found, biases, []
        p, q = self.user_factors(users), self.item_factors(items)            # (N, factors)
        return found + (p * q).sum(axis=1), biases, [p, q]

    def forward(self, pairs: Any) -> Tensor:
        """The ratings (N,) of pairs (N, 2) of users and items."""
        return self._parts(pairs)[0]

    def fit_mean(self, ratings: Any) -> None:
        """Take the mean of these ratings as what all others are measured from."""
        self.mean.assign_(ops.full((1,), float(np.mean(ratings))))

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 5e-3."""
        return {"model": optim.Adam(learnt(self), lr=5e-3 if lr is None else lr)}

    def losses(self, pairs: Any, ratings: Any) -> dict[str, Tensor]:
        """`loss` with the squares of parameters, `mse` without: means over the batch, recorded."""
        found, biases, factors = self._parts(pairs)
        ratings = ratings if isinstance(ratings, Tensor) else ops.asarray(ratings)
        if ratings.shape != found.shape:
            raise ValueError(f"[{self.name}] ratings: {ratings.shape}; expected {found.shape}, one "
                             "for each pair")
        mse = F.mse_loss(found, ratings.to(dtype=found.dtype))
        loss = mse
        for parts, weight in ((biases, self.bias_decay), (factors, self.weight_decay)):
            for part in parts:
                loss = loss + (weight / found.shape[0]) * ops.square(part).sum()
        return {"loss": loss, "mse": mse}

    def training_step(self, pairs: Any, ratings: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from pairs (N, 2) and their ratings (N,)."""
        if not self.training:
            self.train()
        losses = self.losses(pairs, ratings)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in losses.items()}

    def evaluate(self, pairs: Any, ratings: Any) -> dict[str, Tensor]:
        """`loss` and `mse` without learning."""
        with inference(self):
            return self.losses(pairs, ratings)

    def predict(self, pairs: Any, low: float = 0.5, high: float = 5.0) -> np.ndarray:
        """Ratings (N,) within `low` and `high`, the ends of the scale."""
        with inference(self):
            return np.clip(self(pairs).numpy(), low, high)
