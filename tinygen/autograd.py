"""The walk: gradients of recorded computations, from the newest node to the oldest.

`backward` and every transform (`grad`, `vjp`, `jvp`, `jacobian`, `hessian` in `transforms.py`)
come down to one function, `walk`. It visits each node once, in order of creation backwards, asks
the node's rule for the gradients of its inputs, and adds them up. It is iterative, so chains of
any length work, and it frees the graph as it passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ContextDecorator, contextmanager
from operator import attrgetter
from typing import Any

import numpy as np

from . import anomaly, backend, ops
from .primitive import RAW, RECORD, TAPE, Primitive, local, pick, pick_output
from .tensor import RETAIN, Tensor

__all__ = ["backward", "enable_grad", "grad_of", "is_grad_enabled", "no_grad", "set_grad_enabled"]


# -- grad mode, per thread ----------------------------------------------------------------------


class set_grad_enabled(ContextDecorator):
    """Turn recording on or off in this thread: as a context, or as a decorator of a function."""

    def __init__(self, enabled: bool):
        self._enabled = bool(enabled)
        self._before: list[int] = []

    def __enter__(self) -> set_grad_enabled:
        mode = local.mode
        self._before.append(mode)
        local.mode = ((mode | RECORD) if self._enabled else (mode & ~RECORD)) & ~RAW
        return self

    def __exit__(self, *_: object) -> None:
        local.mode = self._before.pop()


class no_grad(set_grad_enabled):
    """Record nothing inside: `with no_grad(): ...`, or `@no_grad()` on a function."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """True while operations in this thread are recorded."""
    return bool(local.mode & RECORD)


@contextmanager
def _mode(mode: int) -> Iterator[None]:
    before = local.mode
    local.mode = mode
    try:
        yield
    finally:
        local.mode = before


# -- the walk -----------------------------------------------------------------------------------


def backward(self: Tensor, gradient: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradient of this tensor with respect to every leaf to the leaf's `.grad`.

    Args:
        gradient: the weight of each element, of this tensor's shape; may be left out for a
            tensor with one element (1 then).
        retain_graph: keep the graph, so that it can be walked again (default: `create_graph`).
        create_graph: record the gradients, so that they can be differentiated in turn.
        inputs: fill `.grad` of these tensors only.

    Raises:
        RuntimeError: the tensor does not require grad, the graph was freed by an earlier
            backward, or a tensor was modified in place after it was used.
    """
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        walk([self], [gradient], None, create_graph, retain)
        return
    targets: list[Tensor] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    grads = walk([self], [gradient], targets, create_graph, retain)
    for tensor, g in zip(targets, grads, strict=True):
        if g is not None:
            _accumulate_leaf(tensor, g, set())


def grad_of(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
            create_graph: bool = False, allow_unused: bool = False) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs` (PyTorch's `autograd.grad`).

    Nothing is added to `.grad`. Inputs may be leaves or computed tensors. Returns one tensor per
    input; None where an output does not depend on it and `allow_unused` is true.
    """
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    seeds = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs]
    if len(seeds) == 1:
        seeds *= len(outs)
    if len(seeds) != len(outs):
        raise ValueError(f"[grad] {len(outs)} outputs but {len(seeds)} grad_outputs")
    retain = create_graph if retain_graph is None else retain_graph
    for i, x in enumerate(ins):
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise RuntimeError(f"[grad] input {i} does not require grad")
    grads = walk(outs, seeds, ins, create_graph, retain)
    for i, g in enumerate(grads):
        if g is None and not allow_unused:
            raise RuntimeError(f"[grad] the outputs do not depend on input {i}; "
                               "pass allow_unused=True to get None for it")
    return tuple(g if g is None or isinstance(g, Tensor) else Tensor.wrap(np.asarray(g)
                 if isinstance(g, np.generic) else g) for g in grads)


grad = grad_of  # `tinygen.autograd.grad`, where PyTorch users look for it


def walk(outputs: list[Tensor], seeds: list[Any], targets: list[Tensor] | None,
         create_graph: bool, retain_graph: bool) -> list[Any]:
    """Gradients of `outputs`, weighted by `seeds`: into `.grad` of leaves, or for `targets`.

    Rules are read raw (bare arrays) unless the graph of the gradient is wanted or a tape records.
    """
    taping = local.mode & TAPE
    lift = bool(create_graph or taping)
    grads: dict[int, Any] = {}
    for out, seed in zip(outputs, seeds, strict=True):
        g = _seed(out, seed, lift)
        grads[id(out)] = grads[id(out)] + g if id(out) in grads else g
    order, useful = _oldest_first(outputs, targets)
    wanted = None if targets is None else {id(t) for t in targets}
    found: dict[int, Any] = {}
    owned = {id(g) for g in grads.values()}   # arrays that have an owner outside this walk
    user_mode = local.mode & ~RAW
    with _mode((RECORD if create_graph else 0) | taping if lift else RAW):
        while order:
            node = order.pop()
            g = grads.pop(id(node), None)
            if g is None:
                continue
            if node.hooks:
                g = _run_hooks(node, g, user_mode)
            if wanted is not None and id(node) in wanted:
                found[id(node)] = g
            op = node.op
            if op is None:
                if wanted is None:
                    _accumulate_leaf(node, g, owned)
                continue
            _propagate(node, op, g, grads, lift, create_graph, useful)
            if not retain_graph:
                node.op, node.inputs, node.attrs = _freed, (), {}
    return [] if targets is None else [found.get(id(t)) for t in targets]


def _seed(out: Tensor, seed: Any, lift: bool) -> Any:
    if not isinstance(out, Tensor):
        raise TypeError(f"[backward] a Tensor is needed, got {type(out).__name__}")
    if not out.requires_grad:
        raise RuntimeError("[backward] this tensor does not require grad: no leaf with "
                           "requires_grad=True led to it (or it was made under no_grad)")
    if seed is None:
        if out.data.size != 1:
            raise RuntimeError(f"[backward] a tensor of shape {out.shape} needs a gradient "
                               "argument of that shape; only one-element tensors have a default")
        seed = backend.array_module(out.data).ones_like(out.data)
    elif not isinstance(seed, Tensor):
        seed = backend.as_array(seed, out.dtype)
    if tuple(seed.shape) != out.shape:
        raise ValueError(f"[backward] gradient has shape {tuple(seed.shape)}, the tensor has "
                         f"{out.shape}")
    if lift:
        return seed if isinstance(seed, Tensor) else Tensor.wrap(seed)
    return seed.data if isinstance(seed, Tensor) else seed


def _oldest_first(outputs: list[Tensor], targets: list[Tensor] | None,
                  ) -> tuple[list[Tensor], set[int] | None]:
    """The nodes between outputs and leaves, sorted by creation.

    With targets: only those on a path to one, and the set of their ids.
    """
    seen = {id(t): t for t in outputs}
    stack = list(outputs)
    while stack:
        for x in stack.pop().inputs:
            if isinstance(x, Tensor) and x.requires_grad and id(x) not in seen:
                seen[id(x)] = x
                stack.append(x)
    order = sorted(seen.values(), key=_by_seq)
    if targets is None:
        return order, None
    useful = {id(t) for t in targets}   # keep what lies on a path to a target
    kept = []
    for node in order:
        if id(node) in useful or any(id(x) in useful for x in node.inputs):
            useful.add(id(node))
            kept.append(node)
    return kept, useful


_by_seq = attrgetter("seq")


def _propagate(node: Tensor, op: Primitive, g: Any, grads: dict[int, Any], lift: bool,
               create_graph: bool, useful: set[int] | None) -> None:
    """Ask the rule of `node` for the gradients of its inputs, and add them to `grads`."""
    if op is pick:
        _gather_output(node, g, grads)
        return
    if op is _freed:
        raise RuntimeError("[backward] the graph behind this tensor was freed by an earlier "
                           "backward; pass retain_graph=True to the first call")
    inputs, attrs, seq = node.inputs, node.attrs, node.seq
    args: Any = inputs if lift else []
    needs = []
    for x in inputs:
        if isinstance(x, Tensor):
            if x.seq > seq:
                raise _stale(op, [z is x for z in inputs].index(True), x)
            needs.append(x.requires_grad and (useful is None or id(x) in useful))
            if not lift:
                args.append(x.data)
        else:
            needs.append(False)
            if not lift:
                args.append(x)
    y = node if lift else node.data
    if op.outputs > 1:
        g, y = _fill_missing(node, g, lift), _outputs(node, lift)
    if op.rules:
        for x, needed, rule in zip(inputs, needs, op.rules, strict=False):
            if needed and rule is not None:
                _receive(grads, op, node, x, rule(g, y, *args, **attrs))
        return
    for x, needed, gi in zip(inputs, needs, _all_gradients(op, tuple(needs), g, y, args, attrs,
                                                           create_graph), strict=False):
        if needed and gi is not None:
            _receive(grads, op, node, x, gi)


def _receive(grads: dict[int, Any], op: Primitive, node: Tensor, x: Tensor, g: Any) -> None:
    """Add the gradient that a rule gave for input `x`, in the shape and dtype of `x`."""
    data = x.data
    if g.shape != data.shape:
        g = unbroadcast(g, data.shape)
    if g.dtype is not data.dtype and g.dtype != data.dtype:
        g = g.astype(data.dtype)
    if anomaly.active:
        anomaly.check_gradient(op, x, g, node)
    key = id(x)
    before = grads.get(key)
    grads[key] = g if before is None else before + g  # never +=: the same g may serve twice


def _gather_output(node: Tensor, g: Any, grads: dict[int, Any]) -> None:
    """Note the gradient of one output of an op that has several."""
    parent, i = node.inputs[0], node.attrs["index"]
    slots = grads.setdefault(id(parent), [None] * parent.op.differentiable)
    slots[i] = g if slots[i] is None else slots[i] + g


def _all_gradients(op: Primitive, needs: tuple[bool, ...], g: Any, y: Any, args: Any,
                   attrs: dict[str, Any], create_graph: bool) -> Any:
    """Gradients from a joint rule, or from one rule for any number of inputs."""
    if op.joint is not None:
        if create_graph:
            return _through_composite(op, needs, g, args, attrs)
        flat = (*g, *y, *args) if op.outputs > 1 else (g, y, *args)
        return op.joint(*flat, needs=needs, **attrs)
    rule = op.variadic_rule
    if rule is None:
        return ()
    return [rule(i, g, y, *args, **attrs) if needed else None for i, needed in enumerate(needs)]


def _through_composite(op: Primitive, needs: tuple[bool, ...], g: Any, args: tuple[Any, ...],
                       attrs: dict[str, Any]) -> list[Any]:
    """A fused op's gradients, recorded: differentiate the definition it stands for."""
    assert op.composite is not None
    copies = [ops.positive(x) if n else x for x, n in zip(args, needs, strict=True)]
    out = op.composite(*copies, **attrs)
    outs, gs = ([out], [g]) if op.outputs == 1 else (list(out)[:op.differentiable], list(g))
    pairs = [(o, s) for o, s in zip(outs, gs, strict=True) if o.requires_grad]
    wanted = [x for x, n in zip(copies, needs, strict=True) if n]
    found = iter(walk([o for o, _ in pairs], [s for _, s in pairs], wanted, True, True))
    return [next(found) if n else None for n in needs]


def _outputs(node: Tensor, lift: bool) -> tuple[Any, ...]:
    if not lift:
        return node.data
    return tuple(None if y is None else pick_output(node, y, i) for i, y in enumerate(node.data))


def _fill_missing(node: Tensor, g: list[Any], lift: bool) -> tuple[Any, ...]:
    """Gradients of all differentiable outputs: zeros for those that nothing used."""
    full = []
    for gi, y in zip(g, node.data, strict=False):
        if gi is None:
            zeros = backend.array_module(y).zeros_like(y)
            gi = Tensor.wrap(zeros) if lift else zeros
        full.append(gi)
    return tuple(full)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` down to `shape`: the reverse of broadcasting. Works on arrays and tensors."""
    extra = len(g.shape) - len(shape)
    if extra < 0:
        return ops.broadcast_to(g, shape)  # a rule may return a gradient with fewer axes
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    if extra:
        g = g.reshape(shape)
    return g if g.shape == shape else ops.broadcast_to(g, shape)


def _accumulate_leaf(leaf: Tensor, g: Any, owned: set[int]) -> None:
    """Put `g` into `leaf.grad`; the leaf gets an array of its own, so that it may be changed."""
    if leaf.grad is not None:
        leaf.grad = leaf.grad + g if isinstance(g, Tensor) else Tensor.wrap(leaf.grad.data + g)
        return
    if isinstance(g, Tensor):
        leaf.grad = g if g.requires_grad or local.mode & TAPE else ops.positive(g)
        return
    if not isinstance(g, np.ndarray) and np.isscalar(g):
        g = np.asarray(g)
    if id(g) in owned or not g.flags.owndata:
        g = g.copy()
    owned.add(id(g))
    leaf.grad = Tensor.wrap(g)


def _run_hooks(node: Tensor, g: Any, user_mode: int) -> Any:
    """Call the user's hooks with a Tensor, in the user's mode."""
    raw = not isinstance(g, Tensor)
    given: Tensor = Tensor.wrap(np.asarray(g) if isinstance(g, np.generic) else g) if raw else g
    with _mode(user_mode):
        for hook in list(node.hooks or ()):
            if hook is RETAIN:
                node.grad = ops.positive(given) if node.grad is None else node.grad + given
                continue
            result = hook(given)
            if result is None:
                continue
            if not isinstance(result, Tensor) or result.shape != node.shape:
                got = getattr(result, "shape", type(result).__name__)
                raise ValueError(f"[hook] must return None or a Tensor of shape {node.shape}, "
                                 f"got {got}")
            given = result
    return given.data if raw else given


def _stale(op: Primitive, i: int, x: Tensor) -> RuntimeError:
    names = op.arg_names
    name = names[i] if i < len(names) else f"input {i}"
    return RuntimeError(
        f"[{op.name}] {name} ({x.dtype} {x.shape}) was modified after it was used: its gradient "
        "would come from the new values. Call backward() before the update (optimizer.step, "
        "assign_, x[...] = ...), or use a copy")


@Primitive
def _freed(xp: Any) -> None:
    """Marks a node whose graph was freed."""


Tensor.backward = backward  # type: ignore[method-assign]
