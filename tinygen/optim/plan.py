"""How a step is carried out: which parameters of a group share one call of the update rule.

A small parameter costs a call much more than arithmetic. Those of a group are packed: their state
lies in shared buffers and one call updates all of them. A plan is made at the first step and
holds until something that it rests on changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any

from ..backend import array_module
from ..tensor import Tensor

__all__ = ["Pack", "Plan", "Single", "separate_scalars"]

# Up to this size a parameter is packed: copying it in and out costs less than a call of its own.
PACK_LIMIT = 1 << 12

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


class Pack:
    """Small parameters of one dtype and step count, updated by one call.

    Rules are elementwise, so the bits are those of separate calls. The parameters keep their
    own arrays: values are copied in before the call and out after it. The tensors in `entries`
    become views into the shared buffers, and all entries share one `step` and any other state
    that is a single number: see `separate_scalars`.
    """

    def __init__(self, params: Sequence[Tensor], entries: Sequence[Entry], slots: Slots,
                 scalars: Sequence[str]):
        xp, dtype = array_module(params[0].data), params[0].dtype
        size = sum(p.size for p in params)
        self.params, self.scalars = params, scalars
        self.p, self.g = Tensor.wrap(xp.empty(size, dtype)), Tensor.wrap(xp.empty(size, dtype))
        self.p_views, self.g_views = self._views(self.p), self._views(self.g)
        self.state = [None if name is None else self._share(name, entries) for name in slots]

    def _views(self, flat: Tensor) -> list[Any]:
        views, start = [], 0
        for p in self.params:
            views.append(flat.data[start:start + p.size].reshape(p.shape))
            start += p.size
        return views

    def _share(self, name: str, entries: Sequence[Entry]) -> Tensor:
        if name in self.scalars:
            shared = entries[0][name]
            for entry in entries:
                entry[name] = shared
            return shared
        xp = array_module(entries[0][name].data)
        flat = Tensor.wrap(xp.empty_like(self.p.data))
        for entry, view in zip(entries, self._views(flat)):
            view[...] = entry[name].data
            entry[name] = Tensor.wrap(view)
        return flat

    def update(self, rule: Any, lr: float, options: dict[str, Any]) -> None:
        """Copy parameters and gradients in, update, and copy the parameters out."""
        for p, p_view, g_view in zip(self.params, self.p_views, self.g_views):
            p_view[...] = p.data
            g_view[...] = p.grad.data  # type: ignore[union-attr]  # a plan covers those with one
        rule(self.p, self.g, *self.state, lr, **options)
        for p, view in zip(self.params, self.p_views):
            p.data[...] = view
            p.touch()


class Plan:
    """The calls that update one group, and what they rest on.

    Args:
        params: the group's parameters; those without a gradient are left out.
        state: the optimizer's state, complete for parameters with a gradient.
        slots: the names of the state that the rule takes.
        scalars: the names of state that is a single number.
        pack: whether small parameters may share a call.
    """

    def __init__(self, params: Sequence[Tensor], state: dict[Tensor, Entry], slots: Slots,
                 scalars: Sequence[str], pack: bool):
        self.slots = slots
        live = [p for p in params if p.grad is not None]
        kept, counts = any(slots), [name for name in scalars if name in slots]
        together: dict[Any, list[Tensor]] = {}
        for i, p in enumerate(live):
            small = pack and p.size <= PACK_LIMIT
            key = (p.device, p.dtype, *[state[p][n].item() for n in counts]) if small else i
            together.setdefault(key, []).append(p)
        self.parts: list[Single | Pack] = []
        for same in together.values():
            entries = [state[p] if kept else {} for p in same]
            self.parts.append(Pack(same, entries, slots, scalars) if len(same) > 1
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
