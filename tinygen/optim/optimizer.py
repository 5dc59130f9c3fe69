"""Optimizer: parameter groups, state, and a step that changes all parameters or none.

A subclass names its update rule (a primitive, see `update.py`), the state that the rule keeps,
and its static options; everything else is here and in `state.py`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from ..autograd import enable_grad, no_grad
from ..backend import array_module
from ..primitive import TAPE, local
from ..tensor import Tensor
from . import state as saved
from .plan import Plan, separate_steps

__all__ = ["Optimizer", "Params", "number"]

# Tensors, (name, tensor) pairs, or dictionaries {"params": tensors or pairs, option: value}.
Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Optimizer:
    """What all optimizers share; `defaults` are the options of groups that set none.

    Args:
        params: tensors, (name, tensor) pairs as `named_parameters()` gives, or dictionaries with
            a `"params"` entry and options of their own.
        defaults: the value of each option.

    Attributes:
        param_groups: dictionaries of options, each with its `"params"`. Options are read at each
            step, so schedules and users may change them.
        state: for each parameter a dictionary of what the optimizer keeps, under PyTorch's names.

    Raises:
        TypeError, ValueError: no parameters, or one that is no leaf, does not require grad or is
            given twice; an option out of range. The message names the group and the parameter.
    """

    rule: Any                  # the update rule; see update.py

    def __init__(self, params: Params, defaults: dict[str, Any]):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self._plans: list[Plan] = []
        self._captured = False
        for group in self._as_groups(params):
            self.add_param_group(group)
        if not any(g["params"] for g in self.param_groups):
            raise ValueError(f"[{self.name}] there are no parameters to optimize: params is empty "
                             "(an iterator that was used up before?)")

    # -- what a subclass gives ------------------------------------------------------------------

    def check(self, group: dict[str, Any]) -> None:
        """Raise if an option of the group is out of range."""

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the state that `rule` takes after the gradient, None for what is off."""
        return ()

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The static arguments of `rule`."""
        return {}

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        """The first value of the state `name` of a parameter: zeros of its shape."""
        xp = array_module(p.data)
        return xp.zeros((), np.float32) if name == "step" else xp.zeros_like(p.data)

    # -- groups ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The optimizer's name in messages."""
        return type(self).__name__

    def _as_groups(self, params: Any) -> list[dict[str, Any]]:
        module = hasattr(params, "parameters")
        if module or isinstance(params, (Tensor, dict, str)) or not isinstance(params, Iterable):
            hint = "pass its .parameters()" if module else "put it into a list"
            raise TypeError(f"[{self.name}] params must be an iterable of tensors or of parameter "
                            f"groups, got a {type(params).__name__}; {hint}")
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"[{self.name}] params must have an order; a set has none")
        items = list(params)
        if any(isinstance(item, dict) for item in items):
            return items
        return [{"params": items}]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: `{"params": tensors, option: value, ...}`; other options are the defaults.

        Raises:
            TypeError, ValueError: as on construction; nothing is added then.
        """
        index = len(self.param_groups)
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"[{self.name}] group {index} must be a dictionary with 'params', "
                            f"got {type(param_group).__name__} {param_group!r:.60}")
        for key in param_group:
            meant = get_close_matches(key, self.defaults, n=1, cutoff=0.8)
            if meant and key not in self.defaults:
                raise TypeError(f"[{self.name}] group {index} has an unknown option {key!r}; did "
                                f"you mean {meant[0]!r}?")
        group = {**self.defaults, **param_group}
        given = group["params"]
        items = [given] if isinstance(given, Tensor) else list(given)
        named = [x for x in items if isinstance(x, tuple) and len(x) == 2]
        if named and len(named) != len(items):
            raise TypeError(f"[{self.name}] group {index}: name all parameters or none")
        if named:
            group["param_names"] = [str(n) for n, _ in named]
            items = [p for _, p in named]
        group["params"] = items
        seen = {id(p): (g, i) for g, old in enumerate(self.param_groups)
                for i, p in enumerate(old["params"])}
        for i, p in enumerate(items):
            self._check_param(self._label(group, index, i), p)
            if id(p) in seen:
                other, j = seen[id(p)]
                raise ValueError(f"[{self.name}] {self._label(group, index, i)} is given twice: it "
                                 f"is parameter {j} of group {other} too")
            seen[id(p)] = index, i
        self.check(group)
        self.param_groups.append(group)
        self._plans.clear()

    def _label(self, group: dict[str, Any], index: int, i: int) -> str:
        names = group.get("param_names")
        return f"parameter {i} of group {index}" + (f" ({names[i]})" if names else "")

    def _check_param(self, label: str, p: Any) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"[{self.name}] {label} must be a Tensor, got {type(p).__name__}")
        if p.op is not None:
            raise ValueError(f"[{self.name}] {label}, {p.dtype} {p.shape}, was computed by "
                             f"{p.op.name}; only leaf tensors can be optimized")
        if not p.requires_grad:
            raise ValueError(
                f"[{self.name}] {label}, {p.dtype} {p.shape}, does not require grad and would "
                "never change: leave it out, or call requires_grad_() first")

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            count = sum(p.size for p in group["params"])
            options = ", ".join(f"{k}={v!r}" for k, v in group.items()
                                if k not in ("params", "param_names"))
            n = len(group["params"])
            lines.append(f"  group {i}: {n} tensor{'s' * (n != 1)}, {count:,} parameters, "
                         f"{options}\n")
        return f"{self.name}(\n{''.join(lines)})"

    # -- a step -----------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros if `set_to_none` is false."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = Tensor.wrap(array_module(p.data).zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what `closure`, if given, returned.

        All gradients are checked before the first parameter changes.

        Raises:
            TypeError, ValueError: a gradient, or the state, does not fit its parameter.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if local.mode & TAPE and not self._captured:
            self._captured = True       # a tape has to see parameters, not copies of them
            self._plans.clear()
        hyper = [(float(group["lr"]), self.options(group)) for group in self.param_groups]
        if not self._plans_fit():
            self._make_plans()
        with no_grad(), np.errstate(all="ignore"):
            for plan, (lr, options) in zip(self._plans, hyper):
                for part in plan.parts:
                    part.update(self.rule, lr, options)
        return loss

    def _plans_fit(self) -> bool:
        entry_of = self.state.get
        return len(self._plans) == len(self.param_groups) and all([
            plan.fits(group, self.slots(group), entry_of)
            for group, plan in zip(self.param_groups, self._plans)])

    def _make_plans(self) -> None:
        """Check everything, then create missing state and decide what is updated together."""
        for i, group in enumerate(self.param_groups):
            self.check(group)
            names = [n for n in self.slots(group) if n is not None]
            for j, p in enumerate(group["params"]):
                if p.grad is not None:
                    self._check_grad(self._label(group, i, j), p)
                    self._check_state(self._label(group, i, j), p, names)
        separate_steps(self.state.values())
        plans = []
        for group in self.param_groups:
            slots = self.slots(group)
            for p in group["params"]:
                if p.grad is not None and any(slots):
                    self._complete_state(p, group, slots)
            plans.append(Plan(group["params"], self.state, slots, not self._captured))
        self._plans = plans

    def _complete_state(self, p: Tensor, group: dict[str, Any],
                        slots: tuple[str | None, ...]) -> None:
        entry = self.state[p]
        for name in sorted(filter(None, slots), key=lambda n: n != "step"):
            if not isinstance(entry.get(name), Tensor):
                entry[name] = Tensor.wrap(self.initial(name, p, group))

    def _check_grad(self, label: str, p: Tensor) -> None:
        g: Any = p.grad
        if not isinstance(g, Tensor):
            raise TypeError(f"[{self.name}] the gradient of {label} must be a Tensor, "
                            f"got {type(g).__name__}; nothing was updated")
        if g.shape != p.shape or g.dtype != p.dtype or g.device != p.device:
            raise ValueError(f"[{self.name}] {label} is {p.dtype} {p.shape} on {p.device}, its "
                             f"gradient {g.dtype} {g.shape} on {g.device}; nothing was updated")
        if not getattr(p.data.flags, "writeable", True):
            raise ValueError(f"[{self.name}] {label}, {p.dtype} {p.shape}, is a read-only array; "
                             "nothing was updated")

    def _check_state(self, label: str, p: Tensor, names: list[str]) -> None:
        entry = self.state.get(p, {})
        for name in names:
            kept: Any = entry.get(name)
            if kept is None:
                continue
            if not isinstance(kept, Tensor):
                raise TypeError(f"[{self.name}] the state {name!r} of {label} must be a Tensor, "
                                f"got {type(kept).__name__}; nothing was updated")
            if name == "step":
                fits = kept.shape == ()
            else:
                fits = (kept.shape, kept.dtype, kept.device) == (p.shape, p.dtype, p.device)
            if not fits:
                raise ValueError(
                    f"[{self.name}] {label} is {p.dtype} {p.shape} on {p.device}, its state "
                    f"{name!r} {kept.dtype} {kept.shape} on {kept.device}: the parameter was "
                    "changed after the optimizer's first step; make a new optimizer. Nothing was "
                    "updated")

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """A copy of state and options in PyTorch's layout, with indices in place of parameters.

        `{"state": {index: {name: Tensor}}, "param_groups": [{option: value, "params": [index]}]}`
        """
        return saved.save(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict()`, of this optimizer or of PyTorch's of the same name.

        Values are copied, and cast to the dtype and device of their parameter.

        Raises:
            KeyError, TypeError, ValueError: it does not fit; the optimizer is as before then.
        """
        self.state, self.param_groups = saved.load(self, state_dict)
        self._plans.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": []}


def number(optimizer: Optimizer, group: dict[str, Any], name: str, low: float | None = 0.0) -> None:
    """Raise unless option `name` of the group is a finite number, and not below `low`."""
    value = group[name]
    try:
        fits = math.isfinite(value) and (low is None or value >= low)
    except TypeError:
        raise TypeError(f"[{optimizer.name}] {name} must be a number, got {value!r:.60}") from None
    if not fits:
        bound = "finite" if low is None else f"finite and at least {low:g}"
        raise ValueError(f"[{optimizer.name}] {name} must be {bound}, got {value!r}")
