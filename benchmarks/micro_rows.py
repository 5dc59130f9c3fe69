"""The rows that time single operations, optimizer steps and chains of tiny operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import flops
from .rows import Row

__all__ = ["micro_rows"]

Shapes = Sequence[tuple[int, ...]]


@dataclass
class Case:
    """An operation at one size: the shapes of the arrays that are differentiated, and its cost.

    `work` is FLOPs of the forward pass. Where memory is the limit, `passes` says how often all
    elements of the first array are read or written, forward alone and with backward.
    """

    op: str
    label: str
    shapes: Shapes
    work: int | None = None
    passes: tuple[float, float] | None = None
    target: float | None = None            # for forward+backward
    options: dict[str, Any] = field(default_factory=dict)


def micro_rows(quick: bool = False) -> list[Row]:
    """All of them; `quick` caps all sizes at 64, and says nothing of FLOPs and bytes then."""
    cases = [*_matmul(), *_linear(), *_attention(), *_conv(), *_conv_transpose(), *_elements(),
             *_small(), *_maps(), *_tables(), *_recurrent()]
    if quick:
        cases = [_capped(case) for case in cases]
    return [*(r for case in cases for r in _pair(case)), *_optimizers(quick), *_overhead()]


def _capped(case: Case, most: int = 64) -> Case:
    options = dict(case.options)
    if "groups" in options:
        options["groups"] = min(options["groups"], most)
    return replace(case, shapes=[tuple(min(n, most) for n in s) for s in case.shapes], work=None,
                   passes=None, options=options)


def _pair(case: Case) -> list[Row]:
    found, size = [], 4 * math.prod(case.shapes[0])
    for i, direction in enumerate(("forward", "backward")):
        # matmul has its target in both directions, the others forward and backward together
        target = case.target if i or case.op == "matmul" else None
        found.append(Row(
            f"{case.op}-{case.label}-{direction}",
            f"{case.op} {case.label}" + (", forward+backward" if i else ", forward"), "micro",
            flops=None if case.work is None else case.work * (3 if i else 1),
            bytes=None if case.passes is None else round(case.passes[i] * size), target=target,
            options={"op": case.op, "shapes": [list(s) for s in case.shapes],
                     "backward": bool(i), **case.options}))
    return found


# -- products -------------------------------------------------------------------------------------


def _matmul() -> list[Case]:
    found = [Case("matmul", str(n), [(n, n), (n, n)], flops.linear(n, n, n), target=1.0)
             for n in (64, 128, 256, 512, 1024)]
    for m, k, n in ((4096, 64, 64), (64, 4096, 64), (64, 64, 4096), (1024, 768, 16)):
        found.append(Case("matmul", f"{m}x{k}x{n}", [(m, k), (k, n)], flops.linear(m, k, n),
                          target=1.0))
    for flags in ("tn", "nt", "tt"):
        found.append(Case("matmul", f"512-{flags}", [(512, 512)] * 2, flops.linear(512, 512, 512),
                          target=1.0, options={"transposed": flags}))
    for batch, m, k, n, flags in (((64,), 128, 64, 128, "nn"), ((512,), 64, 64, 64, "nn"),
                                  ((8, 8), 256, 64, 256, "nt"), ((16, 4), 128, 32, 128, "nt")):
        b = (n, k) if flags == "nt" else (k, n)
        label = "x".join(map(str, (*batch, m, k, n))) + ("-nt" if flags == "nt" else "")
        found.append(Case("matmul", f"batched-{label}", [(*batch, m, k), (*batch, *b)],
                          math.prod(batch) * flops.linear(m, k, n), target=1.0,
                          options={"transposed": flags}))
    return found


def _linear() -> list[Case]:
    return [Case("linear" + (f"-{activation}" if activation else ""), f"{n}x{a}-{b}",
                 [(n, a), (b, a), (b,)], flops.linear(n, a, b),
                 options={"activation": activation, "op": "linear"})
            for activation in (None, "relu", "gelu")
            for n, a, b in ((64, 784, 256), (128, 1024, 1024), (768, 128, 512), (4096, 256, 256))]


def _attention() -> list[Case]:
    found = []
    for n, heads, length, width in ((8, 8, 256, 64), (2, 8, 1024, 64), (16, 4, 128, 32),
                                    (12, 4, 64, 32), (1, 8, 2048, 64)):
        for kind in ("plain", "causal"):
            causal = kind == "causal"
            found.append(Case(
                "attention", f"{n}x{heads}x{length}x{width}-{kind}",
                [(n, heads, length, width)] * 3,
                flops.attention(n, heads, length, length, width, causal),
                target=None if (n, heads) in ((12, 4), (1, 8)) else 1.4 if causal else 1.2,
                options={"causal": causal, "padded": False}))
    n, heads, queries, keys, width = 32, 4, 24, 24, 32
    found.append(Case("attention", f"{n}x{heads}x{queries}x{width}-padded",
                      [(n, heads, queries, width)] + [(n, heads, keys, width)] * 2,
                      flops.attention(n, heads, queries, keys, width),
                      options={"causal": False, "padded": True}))
    return found


# (batch, channels in, channels out, side) for each (kernel, stride, padding)
_CONVOLUTIONS = {
    (3, 1, 1): [(16, 3, 64, 64), (16, 32, 32, 28), (16, 64, 64, 32), (16, 128, 128, 16),
                (16, 256, 256, 7)],
    (4, 2, 1): [(16, 3, 64, 64), (32, 1, 32, 28), (16, 64, 128, 32), (16, 128, 256, 16),
                (32, 32, 64, 14)],
    (5, 1, 2): [(16, 3, 32, 32), (16, 32, 64, 28), (16, 64, 64, 14)],
    (1, 1, 0): [(16, 64, 256, 32), (16, 256, 64, 16), (16, 256, 256, 7)],
}
_TARGET_CHANNELS = range(3, 257)


def _conv() -> list[Case]:
    found = []
    for (kernel, stride, padding), sizes in _CONVOLUTIONS.items():
        for n, a, b, side in sizes:
            out = (side + 2 * padding - kernel) // stride + 1
            found.append(Case(
                "conv2d", f"{kernel}x{kernel}s{stride}-{n}x{a}x{side}-{b}",
                [(n, a, side, side), (b, a, kernel, kernel), (b,)],
                flops.conv(n, a, b, kernel, out), target=1.0 if a in _TARGET_CHANNELS else None,
                options={"stride": stride, "padding": padding, "groups": 1}))
    for n, c, side in ((16, 64, 32), (16, 256, 14)):
        found.append(Case("conv2d", f"depthwise3x3-{n}x{c}x{side}",
                          [(n, c, side, side), (c, 1, 3, 3), (c,)], passes=(2, 6),
                          options={"stride": 1, "padding": 1, "groups": c}))
    return found


def _conv_transpose() -> list[Case]:
    return [Case("conv_transpose2d", f"4x4s2-{n}x{a}x{side}-{b}",
                 [(n, a, side, side), (a, b, 4, 4), (b,)],
                 flops.conv_transpose(n, a, b, 4, side), target=1.0,
                 options={"stride": 2, "padding": 1})
            for n, a, b, side in ((16, 256, 128, 8), (16, 128, 64, 16), (16, 64, 3, 32),
                                  (32, 64, 32, 7), (32, 32, 1, 14))]


# -- memory ---------------------------------------------------------------------------------------

# How often the elements pass: forward reads x and writes y; backward reads y (or x) and g and
# writes the gradient. Batch norm needs its statistics first, so it reads twice on both ways.
_POINTWISE = {"tanh": (3.0, (2, 5)), "sigmoid": (None, (2, 5)), "exp": (None, (2, 5)),
              "gelu": (1.4, (2, 5)), "relu": (None, (2, 5)), "dropout": (5.0, (2, 4))}
_ROWWISE = {"softmax": (1.2, (2, 5)), "layer_norm": (1.4, (2, 5)), "rms_norm": (None, (2, 5)),
            "cross_entropy": (1.5, (1, 3))}


def _elements() -> list[Case]:
    """4M elements."""
    rows, n, found = 4096, 1024, []
    for op, (target, passes) in {**_POINTWISE, **_ROWWISE}.items():
        found.append(Case(op, "4M", _with_weights(op, rows, n), passes=passes, target=target))
    maps = (16, 64, 64, 64)
    for op, target, passes in (("group_norm", None, (2, 5)), ("batch_norm", 1.8, (3, 8))):
        found.append(Case(op, "4M", [maps, (maps[1],), (maps[1],)], passes=passes, target=target))
    return found


def _small() -> list[Case]:
    """Sizes as small models have them."""
    sizes = {"softmax": (256, 65), "layer_norm": (768, 128), "rms_norm": (768, 128),
             "cross_entropy": (768, 65), "gelu": (768, 512), "tanh": (64, 784),
             "sigmoid": (128, 784), "dropout": (768, 128), "relu": (64, 256)}
    known = {**_POINTWISE, **_ROWWISE}
    found = [Case(op, f"{n}x{m}", _with_weights(op, n, m), passes=known[op][1])
             for op, (n, m) in sizes.items()]
    for n, c, side in ((64, 64, 16), (64, 256, 4)):
        found.append(Case("batch_norm", f"{n}x{c}x{side}", [(n, c, side, side), (c,), (c,)],
                          passes=(3, 8)))
    return found


def _with_weights(op: str, rows: int, n: int) -> Shapes:
    return [(rows, n), *[(n,)] * {"layer_norm": 2, "rms_norm": 1}.get(op, 0)]


def _maps() -> list[Case]:
    """Pooling and resizing; an output of a quarter or of four times the size."""
    return [
        Case("max_pool2d", "2x2-16x64x32", [(16, 64, 32, 32)], passes=(1.25, 2.5)),
        Case("max_pool2d", "3x3s2-16x64x56", [(16, 64, 56, 56)], passes=(1.25, 2.5),
             options={"kernel": 3, "stride": 2, "padding": 1}),
        Case("avg_pool2d", "2x2-16x64x32", [(16, 64, 32, 32)], passes=(1.25, 2.5)),
        Case("interpolate", "bilinear2x-16x64x16", [(16, 64, 16, 16)], passes=(5, 10)),
        Case("interpolate", "bilinear2x-16x3x32", [(16, 3, 32, 32)], passes=(5, 10))]


def _tables() -> list[Case]:
    """Embeddings: rows are gathered; backward writes a gradient of the whole table."""
    found = []
    for tokens, words, width in ((768, 65, 128), (768, 4000, 128), (4096, 32000, 256)):
        moved = 2 * tokens / words
        found.append(Case("embedding", f"{tokens}of{words}x{width}", [(words, width)],
                          passes=(moved, moved + 1 + tokens / words), options={"tokens": tokens}))
    return found


def _recurrent() -> list[Case]:
    return [Case(op, f"{steps}x{n}x{inputs}-{hidden}", [(steps, n, inputs)],
                 flops.recurrent(steps, n, inputs, hidden, gates),
                 target=1.2 if hidden == 256 else None,
                 options={"hidden": hidden})
            for op, gates in (("lstm", 4), ("gru", 3))
            for steps, n, inputs, hidden in ((64, 32, 128, 256), (24, 12, 64, 128))]


# -- steps and chains -----------------------------------------------------------------------------


def _optimizers(quick: bool) -> list[Row]:
    """AdamW reads p, g, m and v and writes p, m and v. PyTorch: its default, and fused."""
    found = []
    for label, count, width in (("1M", 16, 256), ("10M", 10, 1024)):
        width = min(width, 64) if quick else width
        shapes = [[width, width], [width]] * count
        size = count * (width * width + width)
        for fused in (False, True):
            found.append(Row(
                f"adamw-{label}" + ("-fused" if fused else ""),
                f"AdamW step, {label} parameters in {2 * count} tensors"
                + (" (PyTorch: fused)" if fused else ""), "micro",
                bytes=None if quick else 7 * 4 * size,
                target=1.0 if fused else 2.0,
                options={"op": "adamw", "shapes": shapes, "fused": fused}))
    return found


def _overhead() -> list[Row]:
    """A chain of 60 operations on 4x4, recorded; time per chain."""
    return [Row(f"overhead-4x4-{direction}", f"60 operations on 4x4, {direction}"
                + ("" if direction == "forward" else " after forward"), "micro", target=1.5,
                options={"op": "overhead", "shapes": [[4, 4]] * 2, "chain": 60,
                         "backward": direction == "backward"})
            for direction in ("forward", "backward")]
