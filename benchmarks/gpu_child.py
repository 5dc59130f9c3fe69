"""The child process of `make gpu`: one side, told by its parent which row to time.

Started as `python -m benchmarks.gpu_child SIDE DEVICE`. Each line on standard input is a JSON
request, each line on standard output the JSON answer; what libraries print goes to standard error.

    {"row": NAME, "quick": BOOL, "seconds": S} -> {"groups": [...], "steps": N, "loss": X or None}
    {"copy": BYTES}                            -> {"bytes_per_second": B}
    {"about": true}                            -> {"version": TEXT}
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .gpu_rows import gpu_rows
from .gpu_timing import ClockMarks, measure
from .gpu_work import Side, work

__all__ = ["answer", "main", "make_side", "tinygen_side", "torch_side"]


class CupyMarks:
    """CUDA events of CuPy's current stream."""

    def __init__(self) -> None:
        import cupy

        self._cuda = cupy.cuda

    def mark(self) -> Any:
        """An event, recorded."""
        event = self._cuda.Event()
        event.record()
        return event

    def wait(self) -> None:
        """Wait for the stream."""
        self._cuda.get_current_stream().synchronize()

    def seconds(self, start: Any, end: Any) -> float:
        """Between two events."""
        return self._cuda.get_elapsed_time(start, end) / 1e3


class TorchMarks:
    """CUDA events of PyTorch's current stream."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda

    def mark(self) -> Any:
        """An event, recorded."""
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Wait for the device."""
        self._cuda.synchronize()

    def seconds(self, start: Any, end: Any) -> float:
        """Between two events."""
        return start.elapsed_time(end) / 1e3


def tinygen_side(device: str, jit: bool) -> Side:
    """tinygen, with training steps as they are or recorded."""
    import tinygen as tg

    on_gpu = device != "cpu"
    about = f"tinygen {tg.__version__}{' jit' if jit else ''}, NumPy {np.__version__}"
    if on_gpu:
        import cupy
        about += f", CuPy {cupy.__version__}"

    def place(a: np.ndarray, dtype: str | None) -> Any:
        return tg.asarray(a).to(dtype=dtype or a.dtype, device=device)

    def cast(dtype: str) -> Any:
        return tg.autocast(device, dtype=dtype) if dtype else contextlib.nullcontext()

    def forget() -> None:
        if on_gpu:
            import cupy
            cupy.get_default_memory_pool().free_all_blocks()
    return Side("tinygen-jit" if jit else "tinygen", about, tg.nn, tg.nn.functional, tg.optim,
                place, lambda shape: tg.randn(*shape, device=device), tg.no_grad, cast,
                lambda model: model.to(device), tg.jit if jit else lambda step: step,
                lambda model: model, CupyMarks() if on_gpu else ClockMarks(), forget,
                tg.manual_seed)


def torch_side(device: str, compiled: bool) -> Side:
    """PyTorch, eager or with compiled models."""
    import torch

    on_gpu = device != "cpu"
    about = f"PyTorch {torch.__version__}, {'compiled' if compiled else 'eager'}"
    if on_gpu:
        about += f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"

    def place(a: np.ndarray, dtype: str | None) -> Any:
        return torch.from_numpy(a).to(device=device, dtype=getattr(torch, dtype) if dtype else None)

    def cast(dtype: str) -> Any:
        if not dtype:
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=getattr(torch, dtype))

    def forget() -> None:
        if on_gpu:
            torch.cuda.empty_cache()
    return Side("torch-compile" if compiled else "torch", about, torch.nn, torch.nn.functional,
                torch.optim, place, lambda shape: torch.randn(*shape, device=device),
                torch.no_grad, cast, lambda model: model.to(device), lambda step: step,
                torch.compile if compiled else lambda model: model,
                TorchMarks() if on_gpu else ClockMarks(), forget, torch.manual_seed)


_SIDES: dict[str, Callable[[str], Side]] = {
    "tinygen": lambda device: tinygen_side(device, False),
    "tinygen-jit": lambda device: tinygen_side(device, True),
    "torch": lambda device: torch_side(device, False),
    "torch-compile": lambda device: torch_side(device, True)}


def make_side(name: str, device: str) -> Side:
    """A side by its name."""
    return _SIDES[name](device)


def answer(side: Side, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request; what goes wrong in a row is an answer, too."""
    if "about" in request:
        return {"version": side.version}
    if "copy" in request:
        return {"bytes_per_second": _copy(side, request["copy"])}
    side.forget()
    (row,) = (r for r in gpu_rows(request["quick"]) if r.name == request["row"])
    try:
        step = work(side, row.kind, row.options)
        first = step()
        loss = float(first) if row.samples else None
        if loss is not None and not math.isfinite(loss):
            return {"failed": f"the first loss is {loss}"}
        del first
        timing = measure(step, side.marks, request["seconds"])
    except Exception as error:      # the other rows can still be measured
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    return {"groups": timing.groups, "steps": timing.steps, "loss": loss}


def _copy(side: Side, size: int) -> float:
    """The bandwidth of copying so many bytes, read and written."""
    x = side.place(np.zeros(size // 4, np.float32), None)

    def step() -> Any:
        with side.no_grad():
            return x.clone()
    return 2 * size / measure(step, side.marks, 0.5).best


def main(name: str, device: str) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side = make_side(name, device)
    for line in sys.stdin:
        answers.write(json.dumps(answer(side, json.loads(line))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
