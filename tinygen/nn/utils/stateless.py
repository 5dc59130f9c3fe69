"""Calling a module with other tensors in place of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...tensor import Tensor
from ..module import Module

__all__ = ["functional_call"]


def functional_call(module: Module, parameters_and_buffers: Any, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:
    """`module(*args, **kwargs)` with the given tensors in place of its own: PyTorch's call.

    The module is as before afterwards. What it writes in place, such as running statistics, is
    written into the given tensors. With it a module is a function of its parameters, as `tg.grad`,
    `tg.jvp` and `tg.hessian` take them.

    Args:
        parameters_and_buffers: tensors by path, as in `state_dict()`; or several such mappings.
        args: the arguments; a single one need not stand in a tuple.
        tie_weights: a parameter with several paths is replaced under all of them.
        strict: refuse unless every parameter and buffer is given.

    Raises:
        KeyError: the module has no tensor at a path, or `strict` and one is missing.
        ValueError: two mappings have a path in common, or a shared parameter gets two values.

    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> g = tg.grad(lambda w: functional_call(layer, {"weight": w}, tg.ones((3, 2))).sum())
    >>> g(tg.zeros((1, 2))).tolist()
    [[3.0, 3.0]]
    """
    given = _merged(parameters_and_buffers)
    slots = _slots(module)
    unknown = [path for path in given if path not in slots]
    missing = [path for path in slots if path not in given] if strict else []
    if unknown or missing:
        problem = f"has no {unknown}" if unknown else f"also has {missing}, and strict=True"
        raise KeyError(f"[functional_call] {type(module).__name__} {problem}")
    if tie_weights:
        given = _tied(given, slots)
    before = [(owner, name, owner.__dict__[name])
              for owner, name in (slots[path] for path in given)]
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for path, tensor in given.items():
            owner, name = slots[path]
            owner.__dict__[name] = tensor
        return module(*args, **(kwargs or {}))
    finally:
        for owner, name, tensor in before:
            owner.__dict__[name] = tensor


def _merged(mappings: Any) -> dict[str, Tensor]:
    if isinstance(mappings, Mapping):
        mappings = (mappings,)
    if not isinstance(mappings, Sequence) or not all(isinstance(m, Mapping) for m in mappings):
        raise TypeError("[functional_call] parameters_and_buffers must be a mapping of paths to "
                        "tensors, or a tuple of such mappings")
    out: dict[str, Tensor] = {}
    for mapping in mappings:
        for path, tensor in mapping.items():
            if path in out:
                raise ValueError(f"[functional_call] {path!r} is given twice")
            if not isinstance(tensor, Tensor):
                raise TypeError(f"[functional_call] {path!r} must be a tensor, got "
                                f"{type(tensor).__name__}")
            out[path] = tensor
    return out


def _slots(module: Module) -> dict[str, tuple[Any, str]]:
    """Path -> the module that holds a tensor and the tensor's name there, shared ones too."""
    out: dict[str, tuple[Any, str]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        for name in (*owner._parameter_names, *owner._buffer_names):
            if owner.__dict__[name] is not None:
                out[f"{path}.{name}" if path else name] = owner, name
    return out


def _tied(given: dict[str, Tensor], slots: dict[str, tuple[Any, str]]) -> dict[str, Tensor]:
    """The given tensors under every path of the tensors that they replace."""
    wanted: dict[int, Tensor] = {}
    for path, tensor in given.items():
        owner, name = slots[path]
        if wanted.setdefault(id(owner.__dict__[name]), tensor) is not tensor:
            raise ValueError(f"[functional_call] {path!r} shares its tensor with another path that "
                             "is given another value")
    return {path: wanted[id(owner.__dict__[name])] for path, (owner, name) in slots.items()
            if id(owner.__dict__[name]) in wanted}
