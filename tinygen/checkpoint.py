"""checkpoint: trade time for memory by recomputing a part of the forward pass in backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .autograd import enable_grad, is_grad_enabled, walk
from .leaves import as_tensor
from .primitive import RAW, TAPE, Primitive, local, pick_output
from .random.draws import restore, snapshot
from .tensor import Tensor, _next
from .transforms import flatten, unflatten

__all__ = ["checkpoint"]


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, keeping only its inputs; backward runs it once more.

    Gradients reach the arguments and everything that the function uses from outside, such as the
    parameters of a layer. Random draws from the default generator repeat exactly. The function
    must return a tensor or a nested structure of tensors, and must compute the same again:
    side effects (batch-norm statistics, say) happen twice.

    Source: T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if not is_grad_enabled() or local.mode & TAPE:      # a program decides itself what it keeps
        return function(*args, **kwargs)
    started = _next()
    draws = snapshot()
    local_args = _cut(args)
    result = function(*local_args, **kwargs)
    outs = flatten(result)
    if not outs or not all(isinstance(y, Tensor) for y in outs):
        raise TypeError("[checkpoint] the function must return tensors, got "
                        f"{type(result).__name__}")
    outside = _outside(outs, started, {id(x) for x in flatten(local_args)})
    if not any(y.requires_grad for y in outs):
        return result
    inputs = tuple(x for x in flatten(args) if isinstance(x, Tensor)) + tuple(outside)
    op = _Segment(_as_now(function), args, kwargs, outside, draws, len(outs))
    node = Tensor.wrap(tuple(y.data for y in outs))
    node.requires_grad, node.op, node.inputs = True, op, inputs
    picked = (pick_output(node, y.data, i) for i, y in enumerate(outs))
    return unflatten(result, (p if y.requires_grad else y.detach()
                              for p, y in zip(picked, outs, strict=True)))


def _as_now(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which will run again with the types that autocast chooses now."""
    region = local.autocast
    return function if region is None else region.again(function)


def _cut(args: Any) -> Any:
    """The arguments as leaves of their own, so that the segment's graph ends at them."""
    def leaf(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return Tensor.wrap(x.data).requires_grad_() if x.requires_grad else x
    return unflatten(args, iter([leaf(x) for x in flatten(args)]))


def _outside(outs: list[Tensor], started: int, own: set[int]) -> list[Tensor]:
    """Tensors older than the segment that it used, and that require grad."""
    found: dict[int, Tensor] = {}
    stack = [y for y in outs if y.requires_grad]
    seen = {id(y) for y in stack}
    while stack:
        node = stack.pop()
        if node.seq < started or node.op is None:
            if id(node) not in own:
                found[id(node)] = node
            continue
        for x in node.inputs:
            if isinstance(x, Tensor) and x.requires_grad and id(x) not in seen:
                seen.add(id(x))
                stack.append(x)
    return list(found.values())


class _Segment(Primitive):
    """The node of one checkpointed call: its rule is to run the function again and walk it."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any],
                 outside: list[Tensor], draws: dict[str, Any], outputs: int):
        super().__init__(_not_called, "checkpoint", outputs=max(outputs, 2))
        self.differentiable = outputs
        self.call = (function, args, kwargs, outside, draws)

    # Properties, because an attribute that holds the object itself would be a reference cycle.
    joint = property(lambda self: self, lambda self, _: None)         # the walker calls it
    composite = property(lambda self: self._again, lambda self, _: None)

    def __call__(self, *flat: Any, needs: tuple[bool, ...], **_: Any) -> list[Any]:
        """First order: recompute on cut inputs, then an inner walk with its own graph."""
        function, args, kwargs, outside, draws = self.call
        gs = [g if isinstance(g, Tensor) else as_tensor(g) for g in flat[:self.differentiable]]
        cut, fresh = _cut((args, outside))
        started = _next()
        lift = bool(local.mode & TAPE)
        with enable_grad():
            outs = self._replay(function, cut, kwargs, draws)
            links = {id(x): leaf for x, leaf in zip(outside, fresh, strict=True)}
            outs = _relink(outs, links, started)    # the inner walk must end at outside tensors
            pairs = [(y, g) for y, g in zip(outs, gs, strict=True) if y.requires_grad]
            targets = [x for x in flatten(cut) if isinstance(x, Tensor)] + fresh
            grads = walk([y for y, _ in pairs], [g for _, g in pairs], targets, False, False)
        raw = local.mode & RAW and not lift
        return [g.data if raw and isinstance(g, Tensor) else g for g in grads]

    def _again(self, *inputs: Tensor) -> list[Tensor]:
        """Higher order: the same computation, recorded on the walker's copies of the inputs."""
        function, args, kwargs, outside, draws = self.call
        slots = iter(inputs)
        mine = unflatten(args, iter([next(slots) if isinstance(x, Tensor) else x
                                     for x in flatten(args)]))
        started = _next()
        outs = self._replay(function, mine, kwargs, draws)
        # what the function took from outside cannot be handed in: link the copies to it
        links = {id(x): copy for x, copy in zip(outside, slots, strict=True)}
        return _relink(outs, links, started) if links else outs

    @staticmethod
    def _replay(function: Callable[..., Any], args: Any, kwargs: dict[str, Any],
                draws: dict[str, Any]) -> list[Tensor]:
        now = snapshot()
        restore(draws)
        try:
            return flatten(function(*args, **kwargs))
        finally:
            restore(now)


def _relink(outs: list[Tensor], links: dict[int, Tensor], started: int) -> list[Tensor]:
    """Make what was recomputed since `started` read the copies in place of outside tensors."""
    stack, seen = list(outs), set(map(id, outs))
    while stack:
        node = stack.pop()
        if node.seq < started or not node.inputs:
            continue
        for x in node.inputs:
            if isinstance(x, Tensor) and id(x) not in seen:
                seen.add(id(x))
                stack.append(x)
        node.inputs = tuple(links.get(id(x), x) for x in node.inputs)
    return [links.get(id(y), y) for y in outs]


def _not_called(xp: Any, *inputs: Any) -> None:
    """A checkpointed call is made by `checkpoint`, never through dispatch."""
    raise TypeError("[checkpoint] call tinygen.checkpoint(function, *args)")

