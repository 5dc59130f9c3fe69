"""The walk: gradients of recorded computations, from the newest node to the oldest.

`backward` and every transform (`grad`, `vjp`, `jvp`, `jacobian`, `hessian` in `transforms.py`)
come down to one function, `walk`. It visits each node once, in order of creation backwards, asks
the node's rule for the gradients of its inputs, and adds them up. It is iterative, so chains of
any length work, and it frees the graph as it passes.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from . import anomaly, backend, ops
from .grad_mode import enable_grad, is_grad_enabled, mode, no_grad, set_grad_enabled
from .halves import KEEPS, in_float32
from .leaves import accumulate, as_tensor, handed_out
from .primitive import RAW, RECORD, TAPE, Primitive, _none, local, pick, pick_output
from .tensor import RETAIN, Tensor

__all__ = ["backward", "enable_grad", "grad_of", "is_grad_enabled", "no_grad", "set_grad_enabled"]


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
    if gradient is None and local.loss_scale is not None and self.data.size == 1:
        gradient = local.loss_scale.reshape(self.shape).astype(self.dtype)
    if inputs is None:
        walk([self], [gradient], None, create_graph, retain)
        return
    targets: list[Tensor] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    grads = walk([self], [gradient], targets, create_graph, retain)
    for tensor, g in zip(targets, grads, strict=True):
        if g is not None:
            accumulate(tensor, g, set())


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
    return tuple(g if g is None or isinstance(g, Tensor) else as_tensor(g) for g in grads)


grad = grad_of  # `tinygen.autograd.grad`, where PyTorch users look for it


def walk(outputs: list[Tensor], seeds: list[Any], targets: list[Tensor] | None,
         create_graph: bool, retain_graph: bool) -> list[Any]:
    """Gradients of `outputs`, weighted by `seeds`: into `.grad` of leaves, or for `targets`.

    Rules are read raw (bare arrays) unless the graph of the gradient is wanted or a tape records.
    """
    before = local.mode
    taping = before & TAPE
    lift = bool(create_graph or taping)
    todo = _Walk(lift, create_graph, before, outputs, targets)
    region = local.autocast
    with backend.home(getattr(outputs[0], "data", None) if outputs else None):
        for out, seed in zip(outputs, seeds, strict=True):
            todo.start(out, _seed(out, seed, lift))
        local.mode = ((RECORD if create_graph else 0) | taping) if lift else RAW
        local.autocast = None       # rules compute in the types that the forward pass had
        try:
            todo.run(retain_graph)
        finally:
            local.mode, local.autocast = before, region
    return [] if targets is None else [todo.found[id(t)] for t in targets]


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


def _useful(outputs: list[Tensor], targets: list[Tensor]) -> set[int]:
    """The ids of the tensors that lie on a path from an output to a target."""
    useful = {id(t) for t in targets}
    for node in _oldest_first(outputs):   # inputs come before what uses them
        if any(id(x) in useful for x in node.inputs):
            useful.add(id(node))
    return useful


def _oldest_first(outputs: list[Tensor]) -> list[Tensor]:
    """The tensors between outputs and leaves that require grad, sorted by creation."""
    seen = {id(t): t for t in outputs}
    stack = list(outputs)
    while stack:
        for x in stack.pop().inputs:
            if isinstance(x, Tensor) and x.requires_grad and id(x) not in seen:
                seen[id(x)] = x
                stack.append(x)
    return sorted(seen.values(), key=attrgetter("seq"))


class _Walk:
    """The tensors that have a gradient and wait for their turn, youngest first.

    What uses a tensor is younger than the tensor, so its gradient is complete when its turn comes.
    """

    __slots__ = ("checking", "create_graph", "found", "grads", "lift", "owned", "useful",
                 "user_mode", "waiting")

    def __init__(self, lift: bool, create_graph: bool, user_mode: int, outputs: list[Tensor],
                 targets: list[Tensor] | None):
        self.grads: dict[int, Any] = {}                 # by the tensor's id
        self.waiting: list[tuple[int, Tensor]] = []     # a heap of (-seq, tensor)
        self.checking = anomaly.active > 0
        self.lift = lift
        self.create_graph = create_graph
        self.user_mode = user_mode
        self.owned: set[int] = set()    # ids of arrays that have an owner outside this walk
        # Ids of the tensors that matter (None: all), and the gradients that were asked for.
        self.useful = None if targets is None else _useful(outputs, targets)
        self.found: dict[int, Any] = {} if targets is None else {id(t): None for t in targets}

    def start(self, out: Tensor, g: Any) -> None:
        """Give an output of the walk its weight."""
        if self.useful is None or id(out) in self.useful:
            self._add(out, g)
            total = self.grads[id(out)]
            self.owned.add(id(total.data if isinstance(total, Tensor) else total))

    def _add(self, x: Tensor, g: Any) -> None:
        key, grads = id(x), self.grads
        if key in grads:
            grads[key] = grads[key] + g   # never +=: the same g may serve twice
        else:
            grads[key] = g
            heappush(self.waiting, (-x.seq, x))

    def run(self, retain_graph: bool) -> None:
        """Visit what waits until nothing does: ask each node's rules for the gradients of its
        inputs, and note them.

        One loop with everything that most nodes need, because a call takes 0.1 us.
        """
        waiting, grads, useful, lift = self.waiting, self.grads, self.useful, self.lift
        halves = backend.halves[0]
        while waiting:
            node = heappop(waiting)[1]
            g = grads.pop(id(node))
            op = node.op
            if op is None or node.hooks or useful is not None:
                g, going_on = self._arrive(node, g)
                if not going_on:
                    continue
            inputs, attrs, seq = node.inputs, node.attrs, node.seq
            args: Any = []
            for x in inputs:
                if isinstance(x, Tensor):
                    if x.seq > seq:
                        raise _stale(op, [z is x for z in inputs].index(True), x)
                    args.append(x.data)
                else:
                    args.append(x)
            y: Any = node.data
            if lift:
                args, y = inputs, node
            if op.outputs > 1:
                g, y = _fill_missing(node, g, lift), _outputs(node, lift)
            if halves and op.name not in KEEPS and op.joint is None:
                g, y, args = in_float32((g, y, args))     # `_fit` rounds what a rule gives
            if not op.rules:
                self._propagate_jointly(node, op, g, y, args)
            for x, rule in zip(inputs, op.rules):
                if (rule is None or not isinstance(x, Tensor) or not x.requires_grad
                        or (useful is not None and id(x) not in useful)):
                    continue
                gx = rule(g, y, *args, **attrs) if attrs else rule(g, y, *args)
                data = x.data
                if gx.shape != data.shape or gx.dtype is not data.dtype or self.checking:
                    gx = self._fit(x, gx, op, node)
                key = id(x)                                     # as in `_add`
                if key in grads:
                    grads[key] = grads[key] + gx
                else:
                    grads[key] = gx
                    heappush(waiting, (-x.seq, x))
            if not retain_graph:
                node.op, node.inputs, node.attrs = _freed, (), _none

    def _arrive(self, node: Tensor, g: Any) -> tuple[Any, bool]:
        """The gradient of a node after its hooks, given to whoever wants it; and whether it is to
        flow on to the node's inputs."""
        if node.hooks:
            g = _run_hooks(node, g, self.user_mode & ~RAW)
            self.owned.add(id(g))       # a hook may have kept it, or returned a tensor of its own
        if self.useful is None:
            if node.op is None:
                accumulate(node, g, self.owned)
        elif id(node) in self.found:
            taping = self.user_mode & TAPE
            self.found[id(node)] = g if taping else handed_out(g, self.owned)
            if not any(id(x) in self.useful for x in node.inputs):
                return g, False     # what lies behind was not asked for, and is not freed
        return g, node.op is not None

    def _propagate_jointly(self, node: Tensor, op: Primitive, g: Any, y: Any, args: Any) -> None:
        """The same for rules that give all gradients at once, and for nodes that have no rule."""
        if op is _freed:
            raise _was_freed()
        needs = tuple(isinstance(x, Tensor) and x.requires_grad
                      and (self.useful is None or id(x) in self.useful) for x in node.inputs)
        if op is pick:
            if needs[0]:
                self._gather(node, g)
            return
        found = _all_gradients(op, needs, g, y, args, node.attrs, self.create_graph)
        for x, needed, gx in zip(node.inputs, needs, found):
            if needed and gx is not None:
                self._add(x, self._fit(x, gx, op, node))

    def _fit(self, x: Tensor, g: Any, op: Primitive, node: Tensor) -> Any:
        """The gradient that a rule gave for input `x`, in the shape and dtype of `x`."""
        data = x.data
        if g.shape != data.shape:
            g = unbroadcast(in_float32(g), data.shape)
        dtype = data.dtype
        if g.dtype is not dtype and g.dtype != dtype:
            g = g.astype(dtype)
        if self.checking:
            anomaly.check_gradient(op, x, g, node)
        return g

    def _gather(self, node: Tensor, g: Any) -> None:
        """Note the gradient of one output of an op that has several."""
        parent, i = node.inputs[0], node.attrs["index"]
        if parent.op is _freed:
            raise _was_freed()
        if id(parent) not in self.grads:
            self._add(parent, [None] * min(parent.op.differentiable, len(parent.data)))
        slots = self.grads[id(parent)]
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
    out = op.composite(*in_float32(tuple(copies)), **attrs)
    outs, gs = ([out], [g]) if op.outputs == 1 else (list(out)[:op.differentiable], list(g))
    gs = in_float32(gs)
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


def _run_hooks(node: Tensor, g: Any, user_mode: int) -> Any:
    """Call the user's hooks with a Tensor, in the user's mode."""
    raw = not isinstance(g, Tensor)
    given: Tensor = as_tensor(g) if raw else g
    with mode(user_mode):
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


def _was_freed() -> RuntimeError:
    return RuntimeError("[backward] the graph behind this tensor was freed by an earlier "
                        "backward; pass retain_graph=True to the first call")


def _nothing(xp: Any) -> None:
    """Stands as the op of a node whose graph was freed by a backward pass."""


_freed = Primitive(_nothing, "freed")


Tensor.backward = backward  # type: ignore[method-assign]
