"""PyTorch's side: the same architectures, sizes and hyperparameters, written as its users do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..rows import Row
from .torch_models import ConvVAE, DenseVAE, conv_pair, dense_pair

__all__ = ["load", "version"]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def version() -> str:
    """What was measured, for the report."""
    return f"PyTorch {torch.__version__} eager"


def load(row: Row) -> tuple[Any, int]:
    """The step of a row, and the number of learnt parameters."""
    torch.manual_seed(0)
    if row.group == "micro":
        return _micro(row), 0
    o = row.options
    if row.name == "micro-mlp":
        return _micro_mlp(row)
    if row.name == "mlp-gan":
        return _gan_step(*dense_pair(o["latent"], o["hidden"], o["dropout"]), (1, 28, 28), row)
    if row.name.startswith("dcgan"):
        return _gan_step(*conv_pair(o["image_shape"], o["width"], o["latent"]),
                         o["image_shape"], row)
    if row.name == "mlp-vae":
        return _vae_step(DenseVAE(o["hidden"], o["latent"]), (1, 28, 28), row)
    return _vae_step(ConvVAE(o["width"], o["latent"]), o["image_shape"], row)


# -- training steps -----------------------------------------------------------------------------


def _micro_mlp(row: Row) -> tuple[Any, int]:
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(),
                          nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.standard_normal((row.options["batch"], 2), np.float32))
    target = torch.from_numpy((draw.random((row.options["batch"], 1)) < 0.5).astype(np.float32))

    def step() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step, _count(model)


def _images(shape: Any, row: Row) -> torch.Tensor:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.random((row.options["batch"], *shape), np.float32))


def _gan_step(generator: Any, discriminator: Any, shape: Any, row: Row) -> tuple[Any, int]:
    """D learns from real and generated images, then G from the updated, frozen D."""
    images, n = _images(shape, row), row.options["batch"]
    side_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    side_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    ones, zeros = torch.ones(n, 1), torch.zeros(n, 1)

    def step() -> float:
        fake = generator(torch.randn(n, row.options["latent"]))
        loss = (F.binary_cross_entropy_with_logits(discriminator(images * 2 - 1), ones)
                + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros))
        side_d.zero_grad()
        loss.backward()
        side_d.step()
        discriminator.requires_grad_(False)
        side_g.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake), ones).backward()
        discriminator.requires_grad_(True)
        side_g.step()
        return loss.item()
    return step, _count(generator) + _count(discriminator)


def _vae_step(model: Any, shape: Any, row: Row) -> tuple[Any, int]:
    images = _images(shape, row)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        logits, mu, logvar = model(images)
        loss = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = loss / images.shape[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step, _count(model)


def _count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


# -- single operations ----------------------------------------------------------------------------


def _operation(op: str, shapes: list[list[int]]) -> Any:
    if op == "cross_entropy":
        target = torch.arange(shapes[0][0]) % shapes[0][1]
        return lambda x: F.cross_entropy(x, target)
    return {
        "matmul": lambda a, b: a @ b,
        "linear": F.linear,
        "softmax": lambda x: F.softmax(x, -1),
        "layer_norm": lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b),
        "conv2d": lambda x, w, b: F.conv2d(x, w, b, 1, 1),
        "conv_transpose2d": lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
    }[op]


def _micro(row: Row) -> Any:
    draw = np.random.default_rng(0)
    backward = row.options["backward"]
    xs = [torch.from_numpy(draw.standard_normal(s, np.float32)).requires_grad_(backward)
          for s in row.options["shapes"]]
    op = _operation(row.options["op"], row.options["shapes"])
    weight = torch.from_numpy(np.asarray(draw.standard_normal(tuple(op(*xs).shape), np.float32)))

    def forward() -> None:
        with torch.no_grad():
            op(*xs)

    def both() -> None:
        for x in xs:
            x.grad = None
        op(*xs).backward(weight)
    return both if backward else forward
