"""Gradients of leaves: how they are added up in `.grad`, handed to a caller, and forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from . import backend, ops
from .mode import TAPE, local
from .tensor import Tensor

__all__ = ["accumulate", "add", "as_tensor", "forget", "handed_out"]


def accumulate(leaf: Tensor, g: Any, owned: set[int]) -> None:
    """Put `g` into `leaf.grad`; the leaf gets an array of its own, so that it may be changed."""
    if local.mode & TAPE and local.tape.first_sum(leaf):
        _recorded(leaf, g, owned)
        return
    old = leaf.grad
    if old is not None:
        leaf.grad = old + g if isinstance(g, Tensor) else as_tensor(old.data + g)
        return
    leaf.grad = _own_tensor(g, owned) if isinstance(g, Tensor) else Tensor.wrap(_own(g, owned))


def _recorded(leaf: Tensor, g: Tensor, owned: set[int]) -> None:
    """The same while a tape records, for what a replay adds to a gradient that may be there."""
    g = _own_tensor(g, owned)
    add(leaf, g)
    local.tape.sums[id(leaf)] = leaf, g


def add(leaf: Tensor, g: Tensor) -> None:
    """Add to the gradient that a leaf may have, and record nothing of it."""
    leaf._grad = g if leaf._grad is None else as_tensor(leaf._grad.data + g.data)


def _own_tensor(g: Tensor, owned: set[int]) -> Tensor:
    """`g` as a tensor that its owner may change, unless there is a graph behind it."""
    taping = local.mode & TAPE            # a copy costs a row: where two leaves share it
    if not g.requires_grad and (not taping or id(g.data) in owned):
        g = ops.positive(g)
    owned.add(id(g.data))
    return g


def forget(tensors: Iterable[Tensor], set_to_none: bool) -> None:
    """Forget the gradients of some tensors, or fill those that there are with zeros."""
    for x in tensors:
        if set_to_none:
            x.grad = None
        elif x._grad is not None:
            x.grad = Tensor.wrap(backend.array_module(x.data).zeros_like(x.data))
        elif local.mode & TAPE:         # a recording rests on it: it is none
            local.tape.finds_gradient(x)


def handed_out(g: Any, owned: set[int]) -> Any:
    """A gradient for the caller: with a graph behind it as it is, else with memory of its own."""
    if not isinstance(g, Tensor):
        return _own(g, owned)
    return g if g.requires_grad else Tensor.wrap(_own(g.data, owned))


def as_tensor(g: Any) -> Tensor:
    """A bare gradient as a tensor; NumPy's arithmetic turns 0-d arrays into scalars."""
    return Tensor.wrap(np.asarray(g) if isinstance(g, np.generic) else g)


def _own(g: Any, owned: set[int]) -> Any:
    """`g`, or a copy of it if it is a view or has an owner: whoever gets it may change it."""
    if isinstance(g, np.generic):
        g = np.asarray(g)
    if id(g) in owned or not g.flags.owndata:
        g = g.copy()
    owned.add(id(g))
    return g
