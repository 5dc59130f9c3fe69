"""A model on one screen: the nested repr, and the table of `Module.summary()`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import autograd, random
from ..tensor import Tensor
from .module import Module

__all__ = ["Summary", "SummaryRow", "module_repr", "summarize"]


def module_repr(module: Module) -> str:
    """`Type(arguments)`, with one indented line per submodule; equal neighbours share one."""
    extra = module.extra_repr()
    lines: list[tuple[int, int, str]] = []
    for i, name in enumerate(module._module_names):
        text = repr(module.__dict__[name]).replace("\n", "\n  ")
        last = lines[-1] if lines else None
        if name.isdigit() and last and last[2] == text and last[1] == i - 1:
            lines[-1] = (last[0], i, text)
        else:
            lines.append((i, i, text))
    if not lines:
        return f"{type(module).__name__}({extra})"
    names = list(module._module_names)
    shown = [extra] if extra else []
    for first, final, text in lines:
        name = names[first] if first == final else f"{names[first]}-{names[final]}"
        many = "" if first == final else f"{final - first + 1} x "
        shown.append(f"({name}): {many}{text}")
    return f"{type(module).__name__}(\n  " + "\n  ".join(shown) + "\n)"


@dataclass
class SummaryRow:
    """One layer of a `Summary`: its own parameters are counted, not those of its children."""

    path: str
    kind: str
    output_shape: Any
    parameters: int
    trainable: int
    depth: int


@dataclass
class Summary:
    """What `Module.summary()` found; printed, it is a table. Shared tensors count once.

    Bytes are those of parameters and of buffers.
    """

    rows: list[SummaryRow] = field(default_factory=list)
    total: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0

    @property
    def frozen(self) -> int:
        """The number of parameter elements that do not require gradients."""
        return self.total - self.trainable

    def __str__(self) -> str:
        head = ("Layer", "Type", "Output shape", "Parameters")
        body = [("  " * r.depth + (r.path.rpartition(".")[2] or "(model)"), r.kind,
                 _shape_text(r.output_shape), f"{r.parameters:,}" if r.parameters else "-")
                for r in self.rows]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(4)]

        def row(cells: tuple[str, ...]) -> str:
            left = [c.ljust(w) for c, w in zip(cells[:3], widths, strict=False)]
            return "  ".join([*left, cells[3].rjust(widths[3])])
        rule = "-" * (sum(widths) + 6)
        size = (f"{_bytes_text(self.parameter_bytes)} parameters, "
                f"{_bytes_text(self.buffer_bytes)} buffers")
        return "\n".join([row(head), rule, *map(row, body), rule,
                          f"Total parameters: {self.total:,} "
                          f"({self.trainable:,} trainable, {self.frozen:,} frozen)",
                          f"Memory: {size}"])

    __repr__ = __str__


def summarize(module: Module, inputs: tuple[Any, ...] = (), dtype: Any = None) -> Summary:
    """The table of `module` (see `Module.summary`).

    The example runs in evaluation mode and without recording; modes, buffers and the default
    generator are as before when it ends.
    """
    shapes = _output_shapes(module, _examples(module, inputs, dtype)) if inputs else {}
    out = Summary()
    counted: set[int] = set()
    for path, layer in module.named_modules():
        own = [p for p in layer.parameters(recurse=False) if id(p) not in counted]
        counted.update(map(id, own))
        n, learnt = sum(p.size for p in own), sum(p.size for p in own if p.requires_grad)
        depth = path.count(".") + 1 if path else 0
        out.rows.append(SummaryRow(path, type(layer).__name__, shapes.get(id(layer)), n, learnt,
                                   depth))
        out.total += n
        out.trainable += learnt
    out.parameter_bytes = sum(p.nbytes for p in module.parameters())
    out.buffer_bytes = sum(b.nbytes for b in module.buffers())
    return out


def _examples(module: Module, inputs: tuple[Any, ...], dtype: Any) -> list[Any]:
    first = next(module.parameters(), None)
    kind = dtype or (first.dtype if first is not None else np.float32)
    device = first.device if first is not None else "cpu"
    if all(isinstance(n, (int, np.integer)) for n in inputs):
        inputs = (inputs,)  # summary(8, 3, 32, 32): one shape, spelled out
    made: list[Any] = []
    for x in inputs:
        if isinstance(x, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in x):
            x = Tensor(np.zeros(tuple(x)), dtype=kind, device=device)
        made.append(x)
    return made


def _output_shapes(module: Module, examples: list[Any]) -> dict[int, Any]:
    """Run the model once and note the shape that each layer gave out (its last call's)."""
    shapes: dict[int, Any] = {}

    def note(layer: Module, args: Any, out: Any) -> None:
        shapes[id(layer)] = _shapes_of(out)
    modes = [(m, m.training) for m in module.modules()]
    handles = [m.register_forward_hook(note) for m in module.modules()]
    stream = random.get_state()
    try:
        module.eval()
        with autograd.no_grad():
            module(*examples)
    finally:
        random.set_state(stream)
        for handle in handles:
            handle.remove()
        for m, mode in modes:
            m.__dict__["training"] = mode
    return shapes


def _shapes_of(out: Any) -> Any:
    if isinstance(out, Tensor):
        return out.shape
    if isinstance(out, dict):
        return {k: _shapes_of(v) for k, v in out.items()}
    if isinstance(out, (tuple, list)):
        return [_shapes_of(v) for v in out]
    return None


def _shape_text(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{k} {_shape_text(v)}" for k, v in shape.items())
    if isinstance(shape, list):
        return ", ".join(_shape_text(v) for v in shape)
    return "-" if shape is None else str(shape)


def _bytes_text(n: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} bytes"
