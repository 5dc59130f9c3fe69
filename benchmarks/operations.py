"""Single operations, written once for every library that has PyTorch's names.

tinygen and PyTorch run the same lines, so that a row cannot compare two different operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Library", "Unsupported", "Work", "arrays", "micro", "operation"]

Operation = Callable[..., Any]


class Unsupported(Exception):
    """A side has nothing that could be compared in this row; the message says why."""


@dataclass
class Library:
    """What the operations need of a library: PyTorch's namespaces, and a few functions."""

    nn: Any
    functional: Any
    optim: Any
    no_grad: Callable[[], Any]
    constant: Callable[[np.ndarray], Any]            # an array as a tensor
    leaf: Callable[[np.ndarray], Any]                # the same, to be differentiated
    compile: Callable[[Any], Any] = lambda f: f      # what a compiling peer does to a function


@dataclass
class Work:
    """A row, ready to run: `step` does the work once; a training step returns its loss.

    `modules` hold the learnt parameters, `parameters` counts them.
    """

    step: Callable[[], float | None]
    parameters: int = 0
    modules: list[Any] = field(default_factory=list)


def micro(lib: Library, o: dict[str, Any]) -> Work:
    """A micro row, for every library with PyTorch's names and its ways of differentiating."""
    if o["op"] == "adamw":
        return _optimizer(lib, o)
    if o["op"] == "overhead":
        return _overhead(lib, o)
    op, own = operation(lib, o)
    op, backward = lib.compile(op), o["backward"]
    xs = [(lib.leaf if backward else lib.constant)(a) for a in arrays(o)]
    with lib.no_grad():
        shape = tuple(op(*xs).shape)
    weight = lib.constant(np.asarray(
        np.random.default_rng(2).standard_normal(shape, np.float32)))
    learnt = [*xs, *own]

    def forward() -> None:
        with lib.no_grad():
            op(*xs)

    def both() -> None:
        for x in learnt:
            x.grad = None
        op(*xs).backward(weight)
    return Work(both if backward else forward)


def _optimizer(lib: Library, o: dict[str, Any]) -> Work:
    """AdamW's step alone: the gradients stay as they are."""
    parameters = [lib.leaf(a) for a in arrays(o)]
    for p in parameters:
        p.grad = lib.constant(np.full(tuple(p.shape), 1e-3, np.float32))
    optimizer = lib.optim.AdamW(parameters, lr=1e-3, **({"fused": True} if o["fused"] else {}))
    step = lib.compile(optimizer.step)
    return Work(lambda: step() and None)


def _overhead(lib: Library, o: dict[str, Any]) -> Work:
    """A third of the operations are products; all are recorded."""
    x, w = (lib.leaf(a * np.float32(0.5)) for a in arrays(o))
    weight = lib.constant(np.ones((4, 4), np.float32))

    def run(x: Any, w: Any) -> Any:
        for _ in range(o["chain"] // 3):
            x = x @ w
            x = x * w
            x = x + w
        return x
    run = lib.compile(run)

    def forward() -> None:
        run(x, w)

    def both() -> None:
        x.grad = w.grad = None
        run(x, w).backward(weight)
    return Work(both if o["backward"] else forward)


def arrays(options: dict[str, Any]) -> list[np.ndarray]:
    """The arrays of a row, the same on all sides."""
    draw = np.random.default_rng(0)
    return [draw.standard_normal(s, np.float32) for s in options["shapes"]]


def operation(lib: Library, o: dict[str, Any]) -> tuple[Operation, list[Any]]:
    """The operation of a row as a function of its arrays, and the parameters it has itself."""
    if o["op"] in ("lstm", "gru"):
        layer = {"lstm": lib.nn.LSTM, "gru": lib.nn.GRU}[o["op"]](o["shapes"][0][2], o["hidden"])
        return lambda x: layer(x)[0], list(layer.parameters())
    return _BUILDERS[o["op"]](lib, o), []


def _matmul(lib: Library, o: dict[str, Any]) -> Operation:
    flags = o.get("transposed", "nn")
    return {"nn": lambda a, b: a @ b, "tn": lambda a, b: a.mT @ b, "nt": lambda a, b: a @ b.mT,
            "tt": lambda a, b: a.mT @ b.mT}[flags]


def _linear(lib: Library, o: dict[str, Any]) -> Operation:
    F = lib.functional
    if o["activation"] is None:
        return F.linear
    act = getattr(F, o["activation"])
    return lambda x, w, b: act(F.linear(x, w, b))


def _attention(lib: Library, o: dict[str, Any]) -> Operation:
    attend, mask = lib.functional.scaled_dot_product_attention, None
    if o["padded"]:                     # half of the sequences are shorter, by up to a half
        n, _, keys, _ = o["shapes"][1]
        lengths = keys - (np.arange(n) * 7) % (keys // 2)
        seen = np.arange(keys) < lengths[:, None]
        mask = lib.constant(np.ascontiguousarray(seen[:, None, None, :]))     # (N, 1, 1, S)
    return lambda q, k, v: attend(q, k, v, attn_mask=mask, is_causal=o["causal"])


def _cross_entropy(lib: Library, o: dict[str, Any]) -> Operation:
    rows, classes = o["shapes"][0]
    target = lib.constant(np.arange(rows) % classes)
    return lambda x: lib.functional.cross_entropy(x, target)


def _embedding(lib: Library, o: dict[str, Any]) -> Operation:
    numbers = np.random.default_rng(1).integers(0, o["shapes"][0][0], o["tokens"])
    index = lib.constant(numbers)
    return lambda table: lib.functional.embedding(index, table)


def _batch_norm(lib: Library, o: dict[str, Any]) -> Operation:
    c = o["shapes"][0][1]
    mean, var = lib.constant(np.zeros(c, np.float32)), lib.constant(np.ones(c, np.float32))
    return lambda x, w, b: lib.functional.batch_norm(x, mean, var, w, b, training=True)


def _pool(name: str) -> Callable[[Library, dict[str, Any]], Operation]:
    def build(lib: Library, o: dict[str, Any]) -> Operation:
        pool = getattr(lib.functional, name)
        sizes = o.get("kernel", 2), o.get("stride", 2), o.get("padding", 0)
        return lambda x: pool(x, *sizes)
    return build


def _pointwise(name: str) -> Callable[[Library, dict[str, Any]], Operation]:
    return lambda lib, o: getattr(lib.functional, name)


_BUILDERS: dict[str, Callable[[Library, dict[str, Any]], Operation]] = {
    "matmul": _matmul, "linear": _linear, "attention": _attention,
    "cross_entropy": _cross_entropy, "embedding": _embedding, "batch_norm": _batch_norm,
    "max_pool2d": _pool("max_pool2d"), "avg_pool2d": _pool("avg_pool2d"),
    "tanh": _pointwise("tanh"), "sigmoid": _pointwise("sigmoid"), "gelu": _pointwise("gelu"),
    "relu": _pointwise("relu"),
    "exp": lambda lib, o: lambda x: x.exp(),
    "dropout": lambda lib, o: lambda x: lib.functional.dropout(x, 0.1, True),
    "softmax": lambda lib, o: lambda x: lib.functional.softmax(x, -1),
    "layer_norm": lambda lib, o: lambda x, w, b: lib.functional.layer_norm(
        x, (x.shape[-1],), w, b),
    "rms_norm": lambda lib, o: lambda x, w: lib.functional.rms_norm(x, (x.shape[-1],), w),
    "group_norm": lambda lib, o: lambda x, w, b: lib.functional.group_norm(x, 32, w, b),
    "interpolate": lambda lib, o: lambda x: lib.functional.interpolate(
        x, scale_factor=2, mode="bilinear"),
    "conv2d": lambda lib, o: lambda x, w, b: lib.functional.conv2d(
        x, w, b, o["stride"], o["padding"], 1, o["groups"]),
    "conv_transpose2d": lambda lib, o: lambda x, w, b: lib.functional.conv_transpose2d(
        x, w, b, o["stride"], o["padding"]),
}
