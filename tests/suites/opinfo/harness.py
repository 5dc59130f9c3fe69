"""One sample of PyTorch's op_db, run by PyTorch and by tinygen: results and gradients in float64.

`run(op, ours)` goes through all samples that PyTorch generates for the op. Every sample is either
compared or counted under a reason; nothing is dropped unseen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import tinygen as tg

RTOL, ATOL = 1e-8, 1e-9       # float64; sums of many terms come in another order
MAX_SAMPLES = 200             # of one op, evenly spaced; most have fewer


NO_AXES = "axis 0 or -1 of a 0-d tensor: it has no axes (NumPy's rule; PyTorch allows it)"


class Refused(Exception):
    """Raised by an adapter for a sample that tinygen refuses, with the reason."""


@dataclass
class Outcome:
    """What came of the samples of one op."""

    compared: int = 0
    gradients: int = 0
    refused: dict[str, int] = field(default_factory=dict)


def operators() -> dict[str, Any]:
    """All ops of op_db by name and variant: `div/trunc_rounding`."""
    return {op.name + (f"/{op.variant_test_name}" if op.variant_test_name else ""): op
            for op in op_db}


# -- from PyTorch to tinygen and back -------------------------------------------------------------


def translate(value: Any, leaves: list[tuple[Any, Any]]) -> Any:
    """PyTorch's values as tinygen's; tensors that require grad are collected as pairs."""
    if isinstance(value, torch.Tensor):
        array = value.detach().numpy()
        made = tg.Tensor.wrap(np.array(array, copy=True, order="K"))
        if value.requires_grad:
            leaves.append((value, made.requires_grad_()))
        return made
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(translate(v, leaves) for v in value)
    if isinstance(value, dict):
        return {k: translate(v, leaves) for k, v in value.items()}
    return value


def tensors(value: Any) -> list[Any]:
    """The tensors (and numbers) of a result, flat, in order."""
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors(v)]
    return [] if value is None else [value]


def compare(ours: Any, theirs: Any, what: str, rtol: float = RTOL) -> None:
    a = np.asarray(ours.detach().data if isinstance(ours, tg.Tensor) else ours)
    b = theirs.detach().numpy(force=True) if isinstance(theirs, torch.Tensor) else (
        np.asarray(theirs))
    assert a.shape == b.shape, f"{what}: shape {a.shape}, PyTorch {b.shape}"
    kinds = a.dtype.kind + b.dtype.kind
    assert a.dtype.kind == b.dtype.kind or kinds in ("iu", "ui"), (
        f"{what}: {a.dtype}, PyTorch {b.dtype}")
    if a.dtype.kind == "f":
        scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
        atol = ATOL * (rtol / RTOL) if b.dtype == np.float64 else 1e-5   # parts cancel in PyTorch
        np.testing.assert_allclose(a, b, rtol=rtol,
                                   atol=atol * scale, err_msg=what)
    else:
        np.testing.assert_array_equal(a, b, err_msg=what)


# -- one op ---------------------------------------------------------------------------------------


def samples(op: Any) -> list[Any]:
    """PyTorch's samples in float64, or in the nearest type that the op takes."""
    torch.manual_seed(0)
    dtype = next(t for t in (torch.float64, torch.int64, torch.bool) if t in op.dtypes)
    wants = op.supports_autograd and dtype is torch.float64
    drawn = list(op.sample_inputs("cpu", dtype, requires_grad=wants))
    step = max(1, -(-len(drawn) // MAX_SAMPLES))
    return drawn[::step]


def run(op: Any, ours: Any, gradients: bool = True, rtol: float = RTOL) -> Outcome:
    """Compare all samples of `op` with `ours(input, *args, **kwargs)`."""
    outcome = Outcome()
    for sample in samples(op):
        leaves: list[tuple[Any, Any]] = []
        given = translate((sample.input, sample.args, sample.kwargs), leaves)
        theirs = op(sample.input, *sample.args, **sample.kwargs)
        try:
            result = ours(given[0], *given[1], **given[2])
        except Refused as reason:
            outcome.refused[str(reason)] = outcome.refused.get(str(reason), 0) + 1
            continue
        except Exception as error:
            if isinstance(error, IndexError) and _axis_of_number(sample):
                outcome.refused[NO_AXES] = outcome.refused.get(NO_AXES, 0) + 1
                continue
            error.add_note(f"sample: {describe(sample)}")
            raise
        try:
            check(result, theirs, leaves if gradients else [], outcome, rtol)
        except AssertionError as error:
            error.add_note(f"sample: {describe(sample)}")
            raise
        outcome.compared += 1
    return outcome


def _axis_of_number(sample: Any) -> bool:
    return isinstance(sample.input, torch.Tensor) and sample.input.ndim == 0


def check(result: Any, theirs: Any, leaves: list[tuple[Any, Any]],
          outcome: Outcome, rtol: float) -> None:
    """The results, and their vector-Jacobian products with one random cotangent."""
    mine, yours = tensors(result), tensors(theirs)
    assert len(mine) == len(yours), f"{len(mine)} results, PyTorch gives {len(yours)}"
    for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
        compare(a, b, f"result {i}", rtol)
    pairs = [(a, b) for a, b in zip(mine, yours, strict=True)
             if isinstance(b, torch.Tensor) and b.requires_grad and b.is_floating_point()]
    if not leaves or not pairs:
        return
    rng = np.random.default_rng(0)
    seeds = [rng.standard_normal(tuple(b.shape)) for _, b in pairs]
    reference = torch.autograd.grad([b for _, b in pairs], [t for t, _ in leaves],
                                    [torch.tensor(s, dtype=b.dtype)
                                     for s, (_, b) in zip(seeds, pairs, strict=True)],
                                    allow_unused=True)
    used = [(a, s) for (a, _), s in zip(pairs, seeds, strict=True)
            if isinstance(a, tg.Tensor) and a.requires_grad]
    found: list[Any] = [None] * len(leaves)
    if used:
        found = tg.autograd.grad_of([a for a, _ in used], [x for _, x in leaves],
                                    [s.astype(a.dtype) for a, s in used], allow_unused=True)
    for i, ((t, x), g, r) in enumerate(zip(leaves, found, reference, strict=True)):
        g = tg.zeros_like(x) if g is None else g
        compare(g, torch.zeros_like(t) if r is None else r, f"gradient of input {i}", rtol)
    outcome.gradients += 1


def describe(sample: Any) -> str:
    def short(v: Any) -> Any:
        if isinstance(v, torch.Tensor):
            return f"{str(v.dtype).removeprefix('torch.')}{tuple(v.shape)}" + (
                f"={v.item()}" if v.numel() == 1 else "")
        if isinstance(v, (list, tuple)):
            return [short(x) for x in v]
        return {k: short(x) for k, x in v.items()} if isinstance(v, dict) else v
    return f"{short(sample.input)}, {short(sample.args)}, {short(sample.kwargs)}"
