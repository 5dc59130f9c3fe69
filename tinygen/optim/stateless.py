"""A step on other parameters: swap them into an optimizer, with their state, for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]


@contextmanager
def swap_in_optimizer_params_and_state(optimizer: Optimizer,
                                       swapin_parameters: Mapping[str, Tensor],
                                       swapin_optim_state: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the optimizer works on these parameters, with this state and these options.

    Afterwards its own are back. Steps change the given tensors in place; what is put beside them
    into the state meanwhile is forgotten.

    Args:
        optimizer: one that has made a step, so that it has state.
        swapin_parameters: the tensors, in the order of the optimizer's own.
        swapin_optim_state: in the form of `optimizer.state_dict()`.

    Raises:
        RuntimeError: something does not fit; nothing was swapped then.

    >>> import tinygen as tg
    >>> w, other = (tg.Tensor([x], requires_grad=True) for x in (1.0, 5.0))
    >>> optimizer = tg.optim.Adam([w], lr=0.5)
    >>> w.grad = other.grad = tg.ones(1)
    >>> optimizer.step()
    >>> state = optimizer.state_dict()
    >>> with swap_in_optimizer_params_and_state(optimizer, {"w": other}, state):
    ...     optimizer.step()
    >>> w.item(), other.item(), int(state["state"][0]["step"])
    (0.5, 4.5, 2)
    """
    groups = _checked(optimizer, swapin_parameters, swapin_optim_state)
    state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
    for group, keys in groups:
        for key, p in zip(keys, group["params"]):
            state[p] = dict(swapin_optim_state["state"].get(key, {}))
    own_state, own_groups, own_packs = optimizer.state, optimizer.param_groups, optimizer.packs
    live = [dict(group) for group in own_groups]
    try:
        for group, (new, _) in zip(own_groups, groups):
            group.update(new)
        # parameters that are updated together would share their step
        optimizer.state, optimizer.packs = state, False
        optimizer._plans.clear()
        yield
    finally:
        for group, old in zip(own_groups, live):
            group.clear()
            group.update(old)
        optimizer.state, optimizer.param_groups = own_state, own_groups
        optimizer.packs = own_packs
        optimizer._plans.clear()


def _checked(optimizer: Optimizer, parameters: Mapping[str, Tensor],
             saved: Any) -> list[tuple[dict[str, Any], list[Any]]]:
    """The groups to swap in, each with the keys of its parameters in the given state."""
    where = "[swap_in_optimizer_params_and_state]"
    if not optimizer.state:
        raise RuntimeError(f"{where} the optimizer has no state yet: let it make a step first")
    if not isinstance(saved, Mapping) or not {"state", "param_groups"} <= set(saved):
        raise RuntimeError(f"{where} swapin_optim_state must be of the form of "
                           "optimizer.state_dict()")
    news, olds = saved["param_groups"], optimizer.param_groups
    if [len(g["params"]) for g in news] != [len(g["params"]) for g in olds]:
        raise RuntimeError(f"{where} the state is for groups of "
                           f"{[len(g['params']) for g in news]} parameters, the optimizer has "
                           f"groups of {[len(g['params']) for g in olds]}")
    tensors = list(parameters.values())
    if len(tensors) < sum(len(g["params"]) for g in olds):
        raise RuntimeError(f"{where} {len(tensors)} parameters are too few for the groups")
    found, start, known = [], 0, set()
    for i, (new, old) in enumerate(zip(news, olds)):
        if new.keys() != old.keys():
            raise RuntimeError(f"{where} group {i} has other options: "
                               f"{', '.join(sorted(new.keys() ^ old.keys()))} on one side only")
        keys = list(new["params"])
        known.update(keys)
        found.append(({**new, "params": tensors[start:start + len(keys)]}, keys))
        start += len(keys)
    extra = [key for key in saved["state"] if key not in known]
    if extra:
        raise RuntimeError(f"{where} there is state for {extra}, which no group has")
    return found
