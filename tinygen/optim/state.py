"""Saving and loading an optimizer in PyTorch's layout: all of it, or nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import as_array, is_array
from ..tensor import Tensor
from .groups import check_again, check_flags, label

if TYPE_CHECKING:
    from .optimizer import Optimizer

__all__ = ["array_of", "load", "load_tensors", "save"]

# Options that a saved optimizer may lack: how PyTorch carries a step out, and what is younger.
_OPTIONAL = ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay",
             "maximize", "amsgrad", "nesterov")


def save(optimizer: Optimizer) -> dict[str, Any]:
    """State and options with indices in place of parameters; arrays are copied."""
    index = {id(p): i for i, p in enumerate(
        p for group in optimizer.param_groups for p in group["params"])}
    groups = [{**{k: _copy(v) for k, v in group.items() if k != "params"},
               "params": [index[id(p)] for p in group["params"]]}
              for group in optimizer.param_groups]
    state = {index[id(p)]: {k: _copy(v) for k, v in entry.items()}
             for p, entry in optimizer.state.items() if entry and id(p) in index}
    return {"state": dict(sorted(state.items())), "param_groups": groups}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Tensor.wrap(value.data.copy())
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return Tensor(array_of(value))               # a learning rate of PyTorch's, say
    return [_copy(v) for v in value] if isinstance(value, list) else value


def load(optimizer: Optimizer, saved: Any,
         ) -> tuple[defaultdict[Tensor, dict[str, Any]], list[dict[str, Any]]]:
    """The state and the groups that `saved` describes; `optimizer` itself is not changed."""
    where = f"[{optimizer.name}] load_state_dict"
    if not isinstance(saved, Mapping) or not {"state", "param_groups"} <= set(saved):
        raise TypeError(f"{where}: a dictionary with 'state' and 'param_groups' is needed, got "
                        f"{list(saved) if isinstance(saved, Mapping) else type(saved).__name__}")
    olds, news = optimizer.param_groups, saved["param_groups"]
    if len(olds) != len(news):
        raise ValueError(f"{where}: the saved optimizer has {len(news)} groups, this one "
                         f"{len(olds)}")
    groups = []
    owner: dict[str, tuple[str, Tensor, dict[str, Any]]] = {}
    for i, (old, new) in enumerate(zip(olds, news)):
        group = _group(optimizer, where, i, old, new)
        for j, (key, p) in enumerate(zip(new["params"], old["params"])):
            owner[str(key)] = label(group, i, j), p, group
        groups.append(group)
    state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
    for key, entry in saved["state"].items():
        if str(key) not in owner:
            raise ValueError(f"{where}: there is state for parameter {key}, which no group has")
        what, p, group = owner[str(key)]
        found = optimizer.load_entry(f"{where}: {what}", entry, p, group)
        if found:
            state[p] = found
    return state, groups


def _group(optimizer: Optimizer, where: str, i: int, old: dict[str, Any],
           new: Mapping[str, Any]) -> dict[str, Any]:
    if len(old["params"]) != len(new["params"]):
        raise ValueError(f"{where}: group {i} has {len(new['params'])} parameters in the saved "
                         f"optimizer and {len(old['params'])} in this one")
    missing = [k for k in optimizer.defaults if k not in new and k not in _OPTIONAL]
    if missing:
        raise KeyError(f"{where}: group {i} has no option {missing[0]!r} in the saved optimizer, "
                       f"only {', '.join(k for k in new if k != 'params')}; was it saved by "
                       f"{optimizer.name}?")
    group = {**old, **{k: _copy(v) for k, v in new.items() if k != "params"}}
    check_flags(optimizer, group)
    check_again(optimizer, group)
    return group


def load_tensors(where: str, optimizer: Optimizer, entry: Mapping[str, Any], p: Tensor,
                 group: dict[str, Any]) -> dict[str, Tensor]:
    """One parameter's state as tensors of its dtype, on its device."""
    if not hasattr(optimizer, "rule"):               # one of the user's own: anything goes
        return {k: _like(v, p, k) for k, v in entry.items()}
    given = {k: v for k, v in entry.items() if v is not None}
    names = [n for n in optimizer.slots(group)
             if n is not None and optimizer.shape_of(n, p) is not None]
    missing = [n for n in names if n not in given]
    if given and missing:
        raise KeyError(f"{where} has no {missing[0]!r} in the saved state, only "
                       f"{', '.join(given)}; was it saved by {optimizer.name}?")
    unknown = [k for k in given if k not in names]
    if unknown:
        raise KeyError(f"{where} has {unknown[0]!r} in the saved state; {optimizer.name} with "
                       f"these options keeps {', '.join(names) or 'nothing'}")
    found = {}
    for name, value in given.items():
        array, shape = array_of(value), optimizer.shape_of(name, p)
        if array.shape != shape or array.dtype.kind not in "fiuV":
            raise ValueError(f"{where} needs {name!r} of shape {shape}, the saved one is "
                             f"{array.dtype} {array.shape}")
        dtype = np.float32 if name in optimizer.scalars else p.dtype
        found[name] = Tensor(array, dtype=dtype, device=p.device)
    return found


def _like(value: Any, p: Tensor, name: str = "") -> Any:
    """A copy; what holds floats takes the dtype of the parameter, except for a `step`."""
    if isinstance(value, (list, tuple)):
        return type(value)(_like(v, p) for v in value)
    if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
        return value
    array = array_of(value)
    floats = array.dtype.kind in "fV" and name != "step"
    return Tensor(array, dtype=p.dtype if floats else None, device=p.device)


def array_of(value: Any) -> Any:
    """The bare array of a tensor of tinygen or PyTorch, or of anything that NumPy takes."""
    if isinstance(value, Tensor):
        return value.data
    return as_array(value if is_array(value) else np.asarray(value))
