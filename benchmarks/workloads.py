"""tinygen's side: a training step, or one operation, for each row of `rows.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import models, nn, optim
from tinygen.nn import functional as F

from .rows import Row

__all__ = ["load", "version"]

Step = Callable[[], float | None]    # does the work once; a training step returns its loss


def version() -> str:
    """What was measured, for the report."""
    return f"tinygen {tg.__version__}, NumPy {np.__version__}"


def load(row: Row) -> tuple[Step, int]:
    """The step of a row, and the number of learnt parameters."""
    tg.manual_seed(0)
    if row.group == "micro":
        return _micro(row), 0
    return {"micro-mlp": _micro_mlp, "mlp-gan": _gan, "dcgan": _dcgan, "mlp-vae": _vae,
            "conv-vae": _conv_vae}[row.name.partition("-64x64")[0]](row)


# -- training steps -----------------------------------------------------------------------------


def _micro_mlp(row: Row) -> tuple[Step, int]:
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(),
                          nn.Linear(16, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    x = tg.asarray(draw.standard_normal((row.options["batch"], 2), np.float32))
    target = tg.asarray((draw.random((row.options["batch"], 1)) < 0.5).astype(np.float32))

    def step() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step, _count(model)


def _gan(row: Row) -> tuple[Step, int]:
    o = row.options
    return _from_model(models.build("gan", (1, 28, 28), latent=o["latent"], hidden=o["hidden"],
                                    dropout=o["dropout"]), row)


def _dcgan(row: Row) -> tuple[Step, int]:
    o = row.options
    return _from_model(models.build("dcgan", o["image_shape"], width=o["width"],
                                    latent=o["latent"]), row)


def _vae(row: Row) -> tuple[Step, int]:
    o = row.options
    return _from_model(models.build("vae", (1, 28, 28), hidden=o["hidden"],
                                    latent=o["latent"]), row)


def _conv_vae(row: Row) -> tuple[Step, int]:
    o = row.options
    return _from_model(models.build("conv-vae", o["image_shape"], width=o["width"],
                                    latent=o["latent"]), row)


def _from_model(model: Any, row: Row) -> tuple[Step, int]:
    optimizers = model.configure_optimizers()
    shape = (row.options["batch"], *model.image_shape)
    images = tg.asarray(np.random.default_rng(0).random(shape, np.float32))

    def step() -> float:
        losses = model.training_step(images, None, optimizers)
        return next(iter(losses.values())).item()
    return step, _count(model)


def _count(model: Any) -> int:
    return sum(p.size for p in model.parameters())


# -- single operations ----------------------------------------------------------------------------


def _operation(op: str, shapes: list[list[int]]) -> Callable[..., Any]:
    if op == "cross_entropy":
        target = tg.asarray(np.arange(shapes[0][0]) % shapes[0][1])
        return lambda x: F.cross_entropy(x, target)
    operations: dict[str, Callable[..., Any]] = {
        "matmul": lambda a, b: a @ b,
        "linear": F.linear,
        "softmax": lambda x: F.softmax(x, -1),
        "layer_norm": lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b),
        "conv2d": lambda x, w, b: F.conv2d(x, w, b, 1, 1),
        "conv_transpose2d": lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
    }
    return operations[op]


def _micro(row: Row) -> Step:
    draw = np.random.default_rng(0)
    backward = row.options["backward"]
    xs = [tg.Tensor(draw.standard_normal(s, np.float32), requires_grad=backward)
          for s in row.options["shapes"]]
    op = _operation(row.options["op"], row.options["shapes"])
    weight = tg.asarray(draw.standard_normal(op(*xs).shape, np.float32))

    def forward() -> None:
        with tg.no_grad():
            op(*xs)

    def both() -> None:
        for x in xs:
            x.grad = None
        op(*xs).backward(weight)
    return both if backward else forward
