"""What is measured: the rows of the table, their sizes and their FLOPs. Both sides read this.

Macro rows are whole training steps: forward, backward and optimizer, drawing of noise included.
Micro rows are single operations, forward alone and forward with backward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import flops

__all__ = ["MICRO", "Row", "rows", "select"]


@dataclass(frozen=True)
class Row:
    """One workload, the same on all sides."""

    name: str
    title: str
    group: str                                   # "macro" or "micro"
    samples: int | None = None                   # images per step
    flops: int | None = None                     # per step; None where products play no part
    options: dict[str, Any] = field(default_factory=dict)


def rows(quick: bool = False) -> list[Row]:
    """All rows; `quick` makes the batches of the large ones smaller."""
    return [*_macro(quick), *_micro()]


def select(wanted: list[str], quick: bool = False) -> list[Row]:
    """The rows of the groups named in `wanted`, and those whose names contain another of its
    entries; all macro rows without any."""
    wanted = wanted or ["macro"]
    return [r for r in rows(quick)
            if any(w == r.group if w in ("macro", "micro") else w in r.name for w in wanted)]


def _macro(quick: bool) -> list[Row]:
    big = 16 if quick else 64
    found = [
        Row("micro-mlp", "MLP 2-16-16-1, batch 32, Adam", "macro", 32,
            flops.training(flops.mlp(32, [2, 16, 16, 1])), {"batch": 32}),
        Row("mlp-gan", "MLP GAN 784-256-128, batch 64, both updates", "macro", 64,
            flops.gan(flops.mlp(64, [64, 128, 256, 784]), flops.mlp(64, [784, 256, 128, 1])),
            {"batch": 64, "latent": 64, "hidden": [128, 256], "dropout": 0.3}),
        Row("mlp-vae", "MLP VAE 784-400-20, batch 128", "macro", 128,
            flops.vae(flops.mlp(128, [784, 400]), [flops.linear(128, 400, 20)] * 2,
                      flops.mlp(128, [20, 400, 784])),
            {"batch": 128, "hidden": 400, "latent": 20}),
    ]
    for width in (32, 64):
        found.append(Row(
            f"dcgan-64x64-w{width}", f"DCGAN 64x64x3, width {width}, batch {big}, both updates",
            "macro", big, flops.dcgan(big, 3, 64, width, 100),
            {"batch": big, "width": width, "latent": 100, "image_shape": [3, 64, 64]}))
    n = 32 if quick else 128
    found.append(Row(
        "conv-vae", f"Conv VAE 28x28, width 32, batch {n}", "macro", n,
        flops.vae([flops.conv(n, 1, 32, 4, 14), flops.conv(n, 32, 64, 4, 7)],
                  [flops.linear(n, 3136, 20)] * 2,
                  [flops.linear(n, 20, 3136), flops.conv_transpose(n, 64, 32, 4, 7),
                   flops.conv_transpose(n, 32, 1, 4, 14)]),
        {"batch": n, "width": 32, "latent": 20, "image_shape": [1, 28, 28]}))
    return found


# name: (title, shapes of the inputs that are differentiated, FLOPs forward)
MICRO: dict[str, tuple[str, list[tuple[int, ...]], int | None]] = {
    "matmul": ("matmul 512x512", [(512, 512), (512, 512)], flops.linear(512, 512, 512)),
    "linear": ("linear 128x1024 -> 1024", [(128, 1024), (1024, 1024), (1024,)],
               flops.linear(128, 1024, 1024)),
    "softmax": ("softmax 256x1000", [(256, 1000)], None),
    "layer_norm": ("layer_norm 2048x512", [(2048, 512), (512,), (512,)], None),
    "conv2d": ("conv2d 16x64x32x32 -> 64, 3x3", [(16, 64, 32, 32), (64, 64, 3, 3), (64,)],
               flops.conv(16, 64, 64, 3, 32)),
    "conv_transpose2d": ("conv_transpose2d 16x128x16x16 -> 64, 4x4, stride 2",
                         [(16, 128, 16, 16), (128, 64, 4, 4), (64,)],
                         flops.conv_transpose(16, 128, 64, 4, 16)),
    "cross_entropy": ("cross_entropy 256x1000", [(256, 1000)], None),
}


def _micro() -> list[Row]:
    found = []
    for name, (title, shapes, forward) in MICRO.items():
        shared = {"op": name, "shapes": [list(s) for s in shapes]}
        found.append(Row(f"{name}-forward", title, "micro", None, forward,
                         {**shared, "backward": False}))
        found.append(Row(f"{name}-backward", f"{title}, and backward", "micro", None,
                         None if forward is None else 3 * forward, {**shared, "backward": True}))
    return found
