"""State dicts: the values of a module by path, taken out and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import backend
from ..mode import stays
from ..tensor import Tensor
from .module import LoadResult, Module

__all__ = ["convert", "load_state_dict", "match", "state_dict"]


def state_dict(module: Module, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
    """Parameters and persistent buffers of `module` by path, sharing its memory.

    A tensor that is shared stands under each of its paths. `keep_vars` gives the parameters
    themselves instead of detached tensors.
    """
    return {prefix + path: t if keep_vars else t.detach() for path, t in _slots(module)}


def load_state_dict(module: Module, values: Mapping[str, Any], strict: bool = True) -> LoadResult:
    """Copy `values` into `module` by path: all of them, or none (see `Module`)."""
    if not isinstance(values, Mapping):
        raise TypeError(f"[load_state_dict] expected a mapping of names to tensors, got "
                        f"{type(values).__name__}")
    stays("load_state_dict", "parameters and buffers")
    found = match(module, values)
    problems: list[str] = []
    if strict and found.missing:
        problems.append(f"missing keys: {', '.join(found.missing)}")
    if strict and found.unexpected:
        problems.append(f"unexpected keys: {', '.join(map(str, found.unexpected))}")
    problems += [f"{key}: {problem}" for key, problem in found.misfits]
    if problems:
        refuse("load_state_dict", module, problems)
    fill(found.ready)
    return LoadResult(found.missing, found.unexpected)


class Match(NamedTuple):
    """What of a mapping fits a module, and what does not; nothing is loaded yet."""

    slots: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    misfits: list[tuple[str, str]]     # name, and why the value does not fit
    ready: list[tuple[Tensor, Any]]    # slots and the arrays to copy into them

    def tied(self, name: str) -> bool:
        """Whether the module has the tensor under another name too, which is not missing."""
        slot = self.slots[name]
        return any(t is slot and other not in self.missing for other, t in self.slots.items())


def match(module: Module, values: Mapping[str, Any]) -> Match:
    """Lay the values of a mapping beside the tensors of a module, by name."""
    slots = dict(_slots(module))
    found = Match(slots, [key for key in slots if key not in values],
                  [key for key in values if key not in slots], [], [])
    for key, slot in slots.items():
        if key in values:
            array, problem = _fitting(values[key], slot)
            if problem:
                found.misfits.append((key, problem))
            else:
                found.ready.append((slot, array))
    return found


def refuse(op: str, module: Module, problems: list[str]) -> NoReturn:
    """Raise one error that lists everything that is wrong."""
    raise RuntimeError(f"[{op}] nothing was loaded into {type(module).__name__}:"
                       + "".join(f"\n  {line}" for line in problems))


def fill(ready: list[tuple[Tensor, Any]]) -> None:
    """Copy arrays into the tensors of a module."""
    for slot, array in ready:
        slot.data[...] = array
        slot.touch()


def convert(module: Module, args: tuple[Any, ...], device: Any, dtype: Any) -> None:
    """What `Module.to` does: all arrays are converted before the first one is replaced."""
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda", "gpu"):
            device = arg
        else:
            dtype = arg
    kind = None if dtype is None else backend.canonical_dtype(dtype)
    if kind is not None and kind.kind not in "fV":
        raise TypeError(f"[{type(module).__name__}] to() takes floating point dtypes, got {kind}")
    place = None if device is None else backend.canonical_device(device)
    state: list[Tensor] = [*module.parameters(), *module.buffers()]
    state += [p.grad for p in module.parameters() if p.grad is not None]
    stays = {id(m.__dict__[name]) for m in module.modules() for name in m.host_buffers}
    moved = [backend.as_array(t.data, kind if t.dtype.kind in "fV" else None,
                              None if id(t) in stays else place) for t in state]
    for t, array in zip(state, moved, strict=True):
        if array is not t.data:
            t.data = array
            t.touch()


def _slots(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Everything that a state dict holds, shared tensors under every path, in PyTorch's order."""
    for path, owner in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        names = [*owner._parameter_names, *(n for n, keep in owner._buffer_names.items() if keep)]
        for name in names:
            tensor = owner.__dict__[name]
            if tensor is not None:
                yield start + name, tensor


def as_array(value: Any) -> Any:
    """A tensor of tinygen or PyTorch, or anything else that NumPy takes, as an array."""
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu()
        # NumPy has no bfloat16: float32 holds all of its values
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = value.data if isinstance(value, Tensor) else value
    if backend.is_array(array):
        return array
    try:
        return np.asarray(array)
    except (TypeError, ValueError):
        return np.asarray(None)     # of dtype object, which fits nowhere


def _fitting(value: Any, slot: Tensor) -> tuple[Any, str | None]:
    """`value` as an array on the device of `slot`, and why it does not fit (or None)."""
    array = as_array(value)
    if array.dtype.kind not in "biufV":
        return None, f"expected a tensor, got {type(value).__name__}"
    if tuple(array.shape) != slot.shape:
        return None, f"shape {tuple(array.shape)} in the state dict, {slot.shape} in the module"
    if array.dtype.kind in "fV" and slot.dtype.kind not in "fV":
        return None, f"dtype {array.dtype} in the state dict, {slot.dtype} in the module"
    return backend.to_device(array, slot.device), None
