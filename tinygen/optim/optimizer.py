"""Optimizer: parameter groups, state, and a step that changes all parameters or none.

A subclass names its update rule (a primitive, see `update.py`), the state that the rule keeps,
and its static options; everything else is here, in `groups.py`, `state.py` and `hooks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import enable_grad, no_grad
from ..backend import array_module, home
from ..leaves import forget
from ..mode import stays
from ..primitive import TAPE, Primitive, local
from ..tensor import Tensor
from . import state as saved
from .groups import (
    Params,
    as_groups,
    check_again,
    check_betas,
    check_flags,
    label,
    new_group,
    number,
    numbers,
)
from .hooks import (
    Hooked,
    hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from .plan import Plan, separate_scalars
from .update import together

__all__ = ["Optimizer", "Params", "check_betas", "number", "numbers",
           "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

# Options that say how PyTorch carries a step out. They are taken and kept, and change nothing:
# a step updates parameters together, fuses its passes and can be captured whatever they say.
FLAGS = ("foreach", "fused", "capturable", "differentiable")


class Optimizer(Hooked):
    """What all optimizers share; `defaults` are the options of groups that set none.

    Args:
        params: tensors, (name, tensor) pairs as `named_parameters()` gives, or dictionaries with
            a `"params"` entry and options of their own. A parameter that does not require grad
            stays as it is until it has a gradient.
        defaults: the value of each option.

    Attributes:
        param_groups: dictionaries of options, each with its `"params"`. Options are read at each
            step, so schedules and users may change them; `lr` may be a one-element tensor.
        state: for each parameter a dictionary of what the optimizer keeps, under PyTorch's names.

    Raises:
        TypeError, ValueError: no parameters, or one that is no leaf or is given twice; an option
            out of range. The message names the group and the parameter.
        NotImplementedError: `differentiable=True`.
    """

    rule: Any                             # the update rule; see update.py
    scalars: tuple[str, ...] = ("step",)  # state that is one number, whatever the parameter's shape
    packs = True                          # whether the rule is elementwise: see `together`
    together: Any = None                  # the rule for several parameters

    def __init__(self, params: Params, defaults: dict[str, Any]):
        if local.mode & TAPE:
            local.tape.fresh.append(self)
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._plans: list[Plan] = []
        self._forget_hooks()
        for group in as_groups(self.name, params):
            self.add_param_group(group)
        if not any(g["params"] for g in self.param_groups):
            raise ValueError(f"[{self.name}] there are no parameters to optimize: params is empty "
                             "(an iterator that was used up before?)")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(cls.__dict__.get("rule"), Primitive) and cls.packs:
            cls.together = together(cls.rule)

    # -- what a subclass gives ------------------------------------------------------------------

    def check(self, group: dict[str, Any]) -> None:
        """Raise if an option of the group is out of range."""

    def slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the state that `rule` takes after the gradient, None for what is off."""
        return ()

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The static arguments of `rule`."""
        return {}

    def shape_of(self, name: str, p: Tensor) -> tuple[int, ...] | None:
        """The shape of the state `name` of a parameter; None if it does not keep that one."""
        return () if name in self.scalars else p.shape

    def initial(self, name: str, p: Tensor, group: dict[str, Any]) -> Any:
        """The first value of the state `name` of a parameter: zeros."""
        xp = array_module(p.data)
        if name in self.scalars:
            return xp.zeros((), np.float32)
        shape = self.shape_of(name, p)
        return xp.zeros_like(p.data) if shape == p.shape else xp.zeros(shape, p.dtype)

    # -- groups ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The optimizer's name in messages."""
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: `{"params": tensors, option: value, ...}`; other options are the defaults.

        Raises:
            TypeError, ValueError: as on construction; nothing is added then.
        """
        self.param_groups.append(new_group(self, param_group))
        self._plans.clear()

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            count = sum(p.size for p in group["params"])
            options = ", ".join(f"{k}={v!r}" for k, v in group.items()
                                if k not in ("params", "param_names") and (k not in FLAGS or v))
            n = len(group["params"])
            lines.append(f"  group {i}: {n} tensor{'s' * (n != 1)}, {count:,} parameters, "
                         f"{options}\n")
        return f"{self.name}(\n{''.join(lines)})"

    # -- a step -----------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros if `set_to_none` is false."""
        if local.mode & TAPE:
            local.tape.touches(self)
        forget((p for group in self.param_groups for p in group["params"]), set_to_none)

    @hooked
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
        taped = local.mode & TAPE
        if taped:
            local.tape.touches(self)
        hyper = [(_rate(group, taped), self.options(group)) for group in self.param_groups]
        if not self._plans_fit():
            self._make_plans()
        if taped:
            local.tape.guard(self._taken_for_granted, f"an option or the state of {self.name}")
        with no_grad(), np.errstate(all="ignore"):
            for plan, (lr, options) in zip(self._plans, hyper):
                for part in plan.parts:
                    part.update(self.rule, lr, options)
        return loss

    def changes(self) -> list[Tensor]:
        """The tensors that the next step changes: parameters with a gradient, and their state."""
        if not self._plans_fit():
            self._make_plans()
        live = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        kept = [x for p in live for x in self.state.get(p, {}).values() if isinstance(x, Tensor)]
        return list({id(x): x for x in [*live, *kept]}.values())

    def _taken_for_granted(self) -> list[Any]:
        """What a recorded step cannot read anew: all options but the learning rate."""
        return [*self._plans, [*self.state.values()], {**self._step_pre}, {**self._step_post},
                *({**group, "lr": None} for group in self.param_groups)]

    def _plans_fit(self) -> bool:
        entry_of = self.state.get
        return len(self._plans) == len(self.param_groups) and all([
            plan.fits(group, self.slots(group), entry_of)
            for group, plan in zip(self.param_groups, self._plans)])

    def _make_plans(self) -> None:
        """Check everything, then create missing state and decide what is updated together."""
        for i, group in enumerate(self.param_groups):
            check_flags(self, group)
            check_again(self, group)
            names = [n for n in self.slots(group) if n is not None]
            for j, p in enumerate(group["params"]):
                if p.grad is not None:
                    self._check_grad(label(group, i, j), p)
                    self._check_state(label(group, i, j), p, names)
        separate_scalars(self.state.values(), self.scalars)
        plans = []
        for group in self.param_groups:
            slots = self.slots(group)
            for p in group["params"]:
                if p.grad is not None and any(slots):
                    self._complete_state(p, group, slots)
            plans.append(Plan(group["params"], self.state, slots, self.scalars,
                              self.together if self.packs else None))
        self._plans = plans

    def _complete_state(self, p: Tensor, group: dict[str, Any],
                        slots: tuple[str | None, ...]) -> None:
        entry = self.state[p]
        for name in sorted(filter(None, slots), key=lambda n: n != "step"):
            if not isinstance(entry.get(name), Tensor) and self.shape_of(name, p) is not None:
                with home(p.data):
                    entry[name] = Tensor.wrap(self.initial(name, p, group))
                if local.mode & TAPE:
                    local.tape.starts(self, entry[name])

    def _check_grad(self, what: str, p: Tensor) -> None:
        g: Any = p.grad
        if not isinstance(g, Tensor):
            raise TypeError(f"[{self.name}] the gradient of {what} must be a Tensor, "
                            f"got {type(g).__name__}; nothing was updated")
        if g.shape != p.shape or g.dtype != p.dtype or g.device != p.device:
            raise ValueError(f"[{self.name}] {what} is {p.dtype} {p.shape} on {p.device}, its "
                             f"gradient {g.dtype} {g.shape} on {g.device}; nothing was updated")
        if not getattr(p.data.flags, "writeable", True):
            raise ValueError(f"[{self.name}] {what}, {p.dtype} {p.shape}, is a read-only array; "
                             "nothing was updated")

    def _check_state(self, what: str, p: Tensor, names: list[str]) -> None:
        entry = self.state.get(p, {})
        for name in names:
            kept: Any = entry.get(name)
            if kept is None:
                continue
            if not isinstance(kept, Tensor):
                raise TypeError(f"[{self.name}] the state {name!r} of {what} must be a Tensor, "
                                f"got {type(kept).__name__}; nothing was updated")
            shape = self.shape_of(name, p)
            if name in self.scalars:
                fits = kept.shape == ()
            else:
                fits = (kept.shape, kept.dtype, kept.device) == (shape, p.dtype, p.device)
            if not fits:
                raise ValueError(
                    f"[{self.name}] {what} is {p.dtype} {p.shape} on {p.device}, its state "
                    f"{name!r} {kept.dtype} {kept.shape} on {kept.device}: the parameter was "
                    "changed after the optimizer's first step; make a new optimizer. Nothing was "
                    "updated")

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """A copy of state and options in PyTorch's layout, with indices in place of parameters.

        `{"state": {index: {name: Tensor}}, "param_groups": [{option: value, "params": [index]}]}`
        """
        for hook in self._save_pre.values():
            hook(self)
        made = saved.save(self)
        for hook in self._save_post.values():
            changed = hook(self, made)
            made = made if changed is None else changed
        return made

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict()`, of this optimizer or of PyTorch's of the same name.

        Values are copied, and cast to the dtype and device of their parameter.

        Raises:
            KeyError, TypeError, ValueError: it does not fit; the optimizer is as before then.
        """
        stays("load_state_dict", "the state of an optimizer")
        if self._load_pre:
            state_dict = dict(state_dict)
            for hook in self._load_pre.values():
                changed = hook(self, state_dict)
                state_dict = state_dict if changed is None else changed
        self.state, self.param_groups = saved.load(self, state_dict)
        self._plans.clear()
        for hook in self._load_post.values():
            hook(self)

    def load_entry(self, where: str, entry: dict[str, Any], p: Tensor,
                   group: dict[str, Any]) -> dict[str, Any]:
        """One parameter's saved state in the parameter's dtype, on its device, or an error."""
        return saved.load_tensors(where, self, entry, p, group)

    def __getstate__(self) -> dict[str, Any]:
        hooks = ("_step_pre", "_step_post", "_save_pre", "_save_post", "_load_pre", "_load_post")
        kept = {k: v for k, v in self.__dict__.items() if k not in hooks}
        return {**kept, "_plans": []}    # hooks stay behind, as PyTorch's do

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_hooks()


def _rate(group: dict[str, Any], taped: int) -> Any:
    """The learning rate as a number; a recorded step reads it anew at every replay."""
    lr = group["lr"]
    if taped and isinstance(lr, Tensor):
        return Tensor.wrap(lr.data.reshape(()))        # a view: what is written into it is read
    return local.tape.follow(lambda: float(group["lr"])) if taped else float(lr)
