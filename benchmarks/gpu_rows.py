"""What `make gpu` measures: single operations and training steps, with the project's targets.

A row's target is a share of PyTorch's rate (PyTorch's time / ours), or for operations that only
move memory a share of the bandwidth at which this card copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["GpuRow", "SIDES", "gpu_rows"]

SIDES = ("tinygen", "tinygen-jit", "torch", "torch-compile")
MICRO = ("tinygen", "torch")


@dataclass(frozen=True)
class GpuRow:
    """One workload; all sides run the same lines (`gpu_work.py`)."""

    name: str
    kind: str                              # the function in `gpu_work.py`
    options: dict[str, Any] = field(default_factory=dict)
    flops: int | None = None               # of a step
    bytes: int | None = None               # that a step has to move
    target: float | None = None
    bandwidth: bool = False                # the target is a share of the copy bandwidth
    sides: tuple[str, ...] = MICRO
    samples: int | None = None


def gpu_rows(quick: bool = False) -> list[GpuRow]:
    """All rows; `quick` makes them small enough for any processor."""
    return [*_matmul(quick), *_attention(quick), *_training(quick), *_convolution(quick),
            *_memory(quick)]


def _matmul(quick: bool) -> list[GpuRow]:
    n = 64 if quick else 8192
    return [GpuRow(f"matmul-{kind}-{n}", "matmul", {"n": n, "dtype": kind}, flops=2 * n ** 3,
                   target=0.95 if kind == "bfloat16" else None)
            for kind in ("bfloat16", "float16", "float32")]


def _attention(quick: bool) -> list[GpuRow]:
    """16 heads, 16384 tokens in all: forward alone, and with its gradients."""
    tokens, heads = (64, 2) if quick else (16384, 16)
    lengths = (32, 64) if quick else (1024, 2048, 4096, 8192, 16384)
    found = []
    for learns in (False, True):
        for width in (64, 128) if not quick else (16,):
            for length in lengths:
                for causal in (False, True):
                    pairs = length * (length + 1) // 2 if causal else length * length
                    work = 4 * tokens // length * heads * pairs * width
                    name = (f"attention-{'backward' if learns else 'forward'}-d{width}-{length}"
                            f"{'-causal' if causal else ''}")
                    found.append(GpuRow(
                        name, "attention",
                        {"batch": tokens // length, "heads": heads, "length": length,
                         "width": width, "causal": causal, "learns": learns},
                        flops=work * 7 // 2 if learns else work, target=0.95))
    return found


def _convolution(quick: bool) -> list[GpuRow]:
    shapes = [(64, 64, 64, 56, 3, 1, False), (64, 128, 128, 28, 3, 1, False),
              (64, 256, 256, 14, 3, 1, False), (128, 64, 128, 32, 4, 2, False),
              (128, 256, 128, 8, 4, 2, True)]
    if quick:
        shapes = [(2, 4, 8, 8, 3, 1, False), (2, 8, 4, 4, 4, 2, True)]
    found = []
    for kind in ("bfloat16", "float32"):
        for n, c, out, size, kernel, stride, transposed in shapes:
            ends = size * stride if transposed else size // stride
            small = size if transposed else ends
            name = f"conv{'-transpose' if transposed else ''}-{kind}-{n}x{c}x{size}-{out}"
            found.append(GpuRow(
                name, "conv", {"n": n, "channels": c, "out": out, "size": size, "kernel": kernel,
                               "stride": stride, "transposed": transposed, "dtype": kind},
                flops=6 * n * c * out * kernel ** 2 * small ** 2, target=0.95))
    return found


def _memory(quick: bool) -> list[GpuRow]:
    """Arrays far larger than a cache. Bytes: what is read and written at the least."""
    n = 1 << 12 if quick else 1 << 26
    wide, rows = (64, n // 64) if quick else (4096, n // 4096)
    words = 128 if quick else 32768
    found = []
    for kind, size in (("float32", 4), ("bfloat16", 2)):
        for name, passes in (("add", 3), ("gelu", 2), ("gelu-backward", 5), ("dropout", 2),
                             ("softmax", 2), ("layer-norm", 2), ("layer-norm-backward", 5),
                             ("sum", 1)):
            found.append(GpuRow(f"{name}-{kind}", "memory",
                                {"op": name, "rows": rows, "wide": wide, "dtype": kind},
                                bytes=passes * n * size, target=0.85, bandwidth=True))
        found.append(GpuRow(f"cross-entropy-backward-{kind}", "memory",
                            {"op": "cross-entropy", "rows": n // words // 2, "wide": words,
                             "dtype": kind},
                            bytes=3 * (n // words // 2) * words * size, target=0.85,
                            bandwidth=True))
    found.append(GpuRow("adamw-float32", "adamw", {"n": n // 2, "tensors": 2 if quick else 64},
                        bytes=7 * (n // 2) * 4, target=0.85, bandwidth=True))
    return found


def _training(quick: bool) -> list[GpuRow]:
    gpt = {"vocabulary": 65, "layers": 2, "heads": 2, "width": 64, "block": 32, "batch": 8}
    char = {"vocabulary": 65, "layers": 6, "heads": 6, "width": 384, "block": 256, "batch": 64,
            "dtype": "bfloat16"}
    dcgan = {"batch": 128, "width": 64, "latent": 100, "dtype": "bfloat16"}
    if quick:
        char |= {"layers": 1, "heads": 2, "width": 16, "block": 8, "batch": 2}
        dcgan |= {"batch": 4, "width": 4, "latent": 8}
    return [
        GpuRow("micro-mlp", "mlp", {"batch": 32}, target=2.0, sides=SIDES, samples=32),
        GpuRow("mlp-gan", "gan", {"batch": 64, "latent": 64}, target=2.0, sides=SIDES, samples=64),
        GpuRow("small-gpt", "gpt", gpt, target=2.0, sides=SIDES,
               samples=gpt["batch"] * gpt["block"]),
        GpuRow("dcgan-64x64", "dcgan", dcgan, target=1.2, sides=SIDES, samples=dcgan["batch"]),
        GpuRow("char-gpt", "gpt", char, target=1.2, sides=SIDES,
               samples=char["batch"] * char["block"])]
