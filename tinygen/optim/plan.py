"""How a step is carried out: which parameters of a group share one call of the update rule.

A plan is made at the first step and holds until something that it rests on changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any

from ..backend import to_numbers
from ..primitive import Primitive
from ..tensor import Tensor

__all__ = ["Plan", "Several", "Single", "separate_scalars"]

Entry = dict[str, Any]        # what an optimizer keeps for one parameter, by name
Slots = tuple[str | None, ...]


class Single:
    """One parameter, updated by a call of its own."""

    def __init__(self, p: Tensor, entry: Entry, slots: Slots):
        self.p = p
        self.state = [None if name is None else entry.get(name) for name in slots]

    def update(self, rule: Any, lr: float, options: dict[str, Any]) -> None:
        """Update the parameter and its state in place."""
        rule(self.p, self.p.grad, *self.state, lr, **options)
        self.p.touch()


class Several:
    """Parameters of one dtype and step count, updated by one call: see `update.together`.

    Rules are elementwise, so the bits are those of separate calls. All entries share one `step`
    and any other state that is a single number: see `separate_scalars`.
    """

    def __init__(self, together: Primitive, params: Sequence[Tensor], entries: Sequence[Entry],
                 slots: Slots, scalars: Sequence[str]):
        self.together, self.params = together, params
        self.state: list[Tensor | None] = []
        self.how = {"count": len(params),
                    "shared": tuple(2 + i for i, name in enumerate(slots) if name in scalars)}
        for name in slots:
            if name is None:
                self.state += [None] * len(params)
            elif name in scalars:
                for entry in entries:
                    entry[name] = entries[0][name]
                self.state.append(entries[0][name])
            else:
                self.state += [entry[name] for entry in entries]

    def update(self, rule: Any, lr: float, options: dict[str, Any]) -> None:
        """Update the parameters and their state in place."""
        params = self.params
        self.together(*params, *[p.grad for p in params], *self.state, lr, **self.how, **options)
        for p in params:
            p.touch()


class Plan:
    """The calls that update one group, and what they rest on.

    Args:
        params: the group's parameters; those without a gradient are left out.
        state: the optimizer's state, complete for parameters with a gradient.
        slots: the names of the state that the rule takes.
        scalars: the names of state that is a single number.
        together: the primitive that updates several parameters; None if each has its own call.
    """

    def __init__(self, params: Sequence[Tensor], state: dict[Tensor, Entry], slots: Slots,
                 scalars: Sequence[str], together: Primitive | None):
        self.slots = slots
        live = [p for p in params if p.grad is not None]
        kept, counts = any(slots), [name for name in scalars if name in slots]
        alike: dict[Any, list[Tensor]] = {}
        numbers = iter(to_numbers([state[p][n].data for p in live for n in counts])
                       if together else ())
        for i, p in enumerate(live):
            key = (p.device, p.dtype, *[next(numbers) for _ in counts]) if together else i
            alike.setdefault(key, []).append(p)
        self.parts: list[Single | Several] = []
        for same in alike.values():
            entries = [state[p] if kept else {} for p in same]
            self.parts.append(
                Several(together, same, entries, slots, scalars) if together and len(same) > 1
                else Single(same[0], entries[0], slots))
        # (parameter, its array or None without a gradient, its entry, the entry's tensors)
        self.members = [(p, None if p.grad is None else p.data, state.get(p), [
            *state.get(p, {}).values()]) for p in params]

    def fits(self, group: dict[str, Any], slots: Slots,
             entry_of: Callable[[Tensor], Entry | None]) -> bool:
        """Whether the group has the same arrays and state as before, and gradients that fit."""
        params = group["params"]
        if slots != self.slots or len(params) != len(self.members):
            return False
        for now, (p, array, entry, kept) in zip(params, self.members):
            if now is not p:
                return False
            g: Any = p.grad
            if g is None or array is None:
                if g is not array:
                    return False
                continue
            if p.data is not array or not isinstance(g, Tensor):
                return False
            a = g.data
            if (a.shape != array.shape or a.dtype is not array.dtype
                    or type(a) is not type(array)):
                return False
            if kept and (entry_of(p) is not entry or len(entry) != len(kept)  # type: ignore[arg-type]
                         or not all(map(is_, entry.values(), kept))):  # type: ignore[union-attr]
                return False
        return True


def separate_scalars(entries: Iterable[Entry], scalars: Sequence[str]) -> None:
    """Give every entry scalars (`step`) of its own, which members of a pack do not have."""
    claimed: set[int] = set()
    for entry in entries:
        for name in scalars:
            value = entry.get(name)
            if isinstance(value, Tensor) and id(value) in claimed:
                value = entry[name] = Tensor.wrap(value.data.copy())
            claimed.add(id(value))
