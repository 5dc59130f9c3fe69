"""Parameter groups: what may be given as parameters, and the checks of options."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from .optimizer import Optimizer

__all__ = ["Params", "as_groups", "check_betas", "check_flags", "label", "new_group", "number",
           "numbers"]

# Tensors, (name, tensor) pairs, or dictionaries {"params": tensors or pairs, option: value}.
Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


def as_groups(name: str, params: Any) -> list[dict[str, Any]]:
    """What was given as `params`, as a list of group dictionaries."""
    module = hasattr(params, "parameters")
    if module or isinstance(params, (Tensor, dict, str)) or not isinstance(params, Iterable):
        hint = "pass its .parameters()" if module else "put it into a list"
        raise TypeError(f"[{name}] params must be an iterable of tensors or of parameter "
                        f"groups, got a {type(params).__name__}; {hint}")
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"[{name}] params must have an order; a set has none")
    items = list(params)
    if any(isinstance(item, dict) for item in items):
        return items
    return [{"params": items}]


def new_group(optimizer: Optimizer, given: Any) -> dict[str, Any]:
    """A checked group with all options; see `Optimizer.add_param_group`."""
    name, index = optimizer.name, len(optimizer.param_groups)
    if not isinstance(given, dict) or "params" not in given:
        raise TypeError(f"[{name}] group {index} must be a dictionary with 'params', "
                        f"got {type(given).__name__} {given!r:.60}")
    for key in given:
        meant = get_close_matches(key, optimizer.defaults, n=1, cutoff=0.8)
        if meant and key not in optimizer.defaults:
            raise TypeError(f"[{name}] group {index} has an unknown option {key!r}; did "
                            f"you mean {meant[0]!r}?")
    params = given["params"]
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"[{name}] group {index}: params must have an order; a set has none")
    group = {**optimizer.defaults, **given}
    items = [params] if isinstance(params, Tensor) else list(params)
    named = [x for x in items if isinstance(x, tuple) and len(x) == 2]
    if named and len(named) != len(items):
        raise ValueError(f"[{name}] group {index}: name all parameters or none")
    if named:
        group["param_names"] = [str(n) for n, _ in named]
        items = [p for _, p in named]
    group["params"] = items
    _check_params(optimizer, group, index)
    if any(("param_names" in group) != ("param_names" in old) for old in optimizer.param_groups):
        raise ValueError(f"[{name}] group {index} is {'named' if named else 'not named'}, group 0 "
                         f"{'is not' if named else 'is'}: name the parameters of all groups or of "
                         "none")
    check_flags(optimizer, group)
    optimizer.check(group)
    return group


def _check_params(optimizer: Optimizer, group: dict[str, Any], index: int) -> None:
    """Raise for a parameter that no optimizer can change, or that it has already."""
    seen = {id(p): (g, i) for g, old in enumerate(optimizer.param_groups)
            for i, p in enumerate(old["params"])}
    for i, p in enumerate(group["params"]):
        where = f"[{optimizer.name}] {label(group, index, i)}"
        if not isinstance(p, Tensor):
            raise TypeError(f"{where} must be a Tensor, got {type(p).__name__}")
        if p.op is not None:
            raise ValueError(f"{where}, {p.dtype} {p.shape}, was computed by {p.op.name}; only "
                             "leaf tensors can be optimized")
        if id(p) in seen:
            other, j = seen[id(p)]
            raise ValueError(f"{where} is given twice: it is parameter {j} of group {other} too")
        seen[id(p)] = index, i


def label(group: dict[str, Any], index: int, i: int) -> str:
    """What parameter `i` of group `index` is called in messages."""
    names = group.get("param_names")
    return f"parameter {i} of group {index}" + (f" ({names[i]})" if names else "")


def check_flags(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Refuse what cannot be had of PyTorch's options on how, not what, a step computes."""
    if group.get("differentiable"):
        raise NotImplementedError(
            f"[{optimizer.name}] differentiable=True is not supported: steps change parameters in "
            "place and leave no graph; to differentiate through a step, write it as a function of "
            "tensors, with gradients from tg.autograd.grad(..., create_graph=True)")
    if group.get("foreach") and group.get("fused"):
        raise RuntimeError(f"[{optimizer.name}] foreach and fused cannot both be True")


def number(optimizer: Optimizer, group: dict[str, Any], name: str, low: float | None = 0.0,
           high: float = math.inf) -> None:
    """Raise unless option `name` of the group is a finite number in [low, high]."""
    value = group[name]
    if isinstance(value, Tensor):
        if value.size != 1:
            raise ValueError(f"[{optimizer.name}] {name} must be one number, got a tensor of shape "
                             f"{value.shape}")
        value = value.data.item()          # only checked: what a recording uses stays a tensor
        if name != "lr":                 # a learning rate is read at each step
            group[name] = value
    try:
        fits = math.isfinite(value) and (low is None or value >= low) and value <= high
    except TypeError:
        raise TypeError(f"[{optimizer.name}] {name} must be a number, got {value!r:.60}") from None
    if not fits:
        bound = "finite" if low is None else f"finite and at least {low:g}"
        if high != math.inf:
            bound = f"in [{low:g}, {high:g}]"
        raise ValueError(f"[{optimizer.name}] {name} must be {bound}, got {value!r}")


def numbers(optimizer: Optimizer, group: dict[str, Any], *names: str) -> None:
    """Raise unless each of the options is a finite number and not negative."""
    for name in names:
        number(optimizer, group, name)


def check_betas(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Make `betas` a pair of floats in [0, 1), or raise."""
    given = group["betas"]
    try:
        beta1, beta2 = given
        mixed = isinstance(beta1, Tensor) != isinstance(beta2, Tensor)
        beta1, beta2 = float(beta1), float(beta2)
    except (TypeError, ValueError):
        raise TypeError(f"[{optimizer.name}] betas must be two numbers, got {given!r}") from None
    if mixed:
        raise ValueError(f"[{optimizer.name}] betas must be two numbers or two tensors, "
                         f"got {given!r}")
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(f"[{optimizer.name}] betas must both be in [0, 1), got {given!r}")
    group["betas"] = (beta1, beta2)


def check_again(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Check a group that was accepted once: a schedule may since have taken its rate below 0."""
    lr = group.get("lr")
    below = isinstance(lr, (int, float)) and lr < 0
    if below:
        group["lr"] = -lr     # type: ignore[operator]
    try:
        optimizer.check(group)
    finally:
        if below:
            group["lr"] = lr
