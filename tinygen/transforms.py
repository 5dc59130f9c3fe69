"""Functions from functions: grad, value_and_grad, vjp, jvp, jacobian, hessian.

Arguments may be tensors, arrays, numbers, or lists, tuples and dicts of them; gradients come back
in the same structure. Transforms nest: `grad(grad(f))` is the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from . import backend, ops
from .autograd import _oldest_first, enable_grad, grad_of, is_grad_enabled, walk
from .leaves import as_tensor
from .tensor import Tensor

__all__ = ["grad", "hessian", "jacobian", "jvp", "value_and_grad", "vjp"]


# -- nested arguments ---------------------------------------------------------------------------


def flatten(tree: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, in order."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in flatten(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in flatten(value)]
    return [tree]


def unflatten(tree: Any, leaves: Any) -> Any:
    """A structure like `tree` with its leaves taken from the iterator `leaves`."""
    if isinstance(tree, dict):
        return {key: unflatten(value, leaves) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(unflatten(value, leaves) for value in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(unflatten(value, leaves) for value in tree)
    return next(leaves)


def _fresh(x: Any, transform: str) -> Tensor:
    """A new graph input with the value of x, linked to x if x is being differentiated itself."""
    t = x if isinstance(x, Tensor) else Tensor(x)
    if t.dtype.kind not in "fV":
        raise TypeError(f"[{transform}] arguments to differentiate must be floating point, got "
                        f"{t.dtype} {t.shape}; use .astype('float32') or write 1.0 for 1")
    if t.requires_grad and is_grad_enabled():
        return ops.positive(t)
    return Tensor.wrap(t.data).requires_grad_()


class _Call:
    """One evaluation of `fun` with fresh inputs in place of the arguments `argnums`."""

    def __init__(self, transform: str, fun: Callable[..., Any], argnums: int | Sequence[int],
                 args: tuple[Any, ...], kwargs: dict[str, Any], has_aux: bool = False):
        self.single = isinstance(argnums, (int, np.integer))
        chosen = (argnums,) if self.single else tuple(argnums)  # type: ignore[arg-type]
        for n in chosen:
            if not -len(args) <= n < len(args):  # type: ignore[operator]
                raise ValueError(f"[{transform}] argnums={n}, but {len(args)} arguments were given")
        self.trees = [args[n] for n in chosen]  # type: ignore[index]
        self.recording = is_grad_enabled()
        self.inputs = [_fresh(x, transform) for x in flatten(self.trees)]
        replaced = list(args)
        for n, tree in zip(chosen, unflatten(self.trees, iter(self.inputs)), strict=True):
            replaced[n] = tree  # type: ignore[index]
        with enable_grad():
            result = fun(*replaced, **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(f"[{transform}] has_aux=True needs a function that returns "
                            "(output, aux)")
        self.aux: Any = None
        self.output: Any = result
        if has_aux:
            self.output, self.aux = result

    def differentiable(self, create_graph: bool | None) -> bool:
        """Whether the gradients must be recorded: another leaf than our inputs may want them."""
        if create_graph is not None:
            return create_graph
        if not self.recording:
            return False
        ours = {id(x) for x in self.inputs}
        outs = [y for y in flatten(self.output) if isinstance(y, Tensor) and y.requires_grad]
        return any(node.op is None and id(node) not in ours
                   for node in _oldest_first(outs))

    def pack(self, grads: list[Any]) -> Any:
        """Gradients in the structure of the arguments, zeros where nothing depends on them."""
        full = [Tensor.wrap(backend.array_module(x.data).zeros_like(x.data)) if g is None
                else g if isinstance(g, Tensor)
                else as_tensor(g)
                for x, g in zip(self.inputs, grads, strict=True)]
        trees = unflatten(self.trees, iter(full))
        return trees[0] if self.single else tuple(trees)


# -- reverse mode -------------------------------------------------------------------------------


def value_and_grad(fun: Callable[..., Any], argnums: int | Sequence[int] = 0,
                   has_aux: bool = False, create_graph: bool | None = None) -> Callable[..., Any]:
    """A function that returns the value of `fun` and its gradient.

    Args:
        fun: returns a one-element tensor (or `(tensor, aux)` with `has_aux`).
        argnums: which positional arguments to differentiate: a number, or several.
        create_graph: whether the gradients can be differentiated in turn; decided by default
            from whether anything beside the arguments requires grad.

    >>> value, slope = value_and_grad(lambda x: x ** 3)(2.0)
    >>> value.item(), slope.item()
    (8.0, 12.0)
    """
    if not callable(fun):
        raise TypeError(f"[grad] a function is needed, got {type(fun).__name__}")

    @wraps(fun)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        call = _Call("grad", fun, argnums, args, kwargs, has_aux)
        y = call.output
        if not isinstance(y, Tensor) or y.size != 1:
            got = f"{y.dtype} {y.shape}" if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"[grad] the function must return a one-element tensor, got {got}; "
                            "use jacobian or vjp for others")
        keep = call.differentiable(create_graph)
        grads = walk([y], [None], call.inputs, keep, keep) if y.requires_grad else (
            [None] * len(call.inputs))
        value = y if keep else y.detach()
        return ((value, call.aux) if has_aux else value), call.pack(grads)
    return evaluate


def grad(fun: Any, argnums: Any = 0, has_aux: bool = False, create_graph: bool | None = None,
         **options: Any) -> Any:
    """A function that returns the gradient of `fun`: `grad(f)(x)`; see `value_and_grad`.

    Called with tensors in place of a function, it is PyTorch's `autograd.grad(outputs, inputs)`.

    >>> grad(grad(lambda x: x ** 3))(2.0).item()
    12.0
    """
    if isinstance(fun, (Tensor, list, tuple)):
        return grad_of(fun, argnums, create_graph=bool(create_graph), **options)
    if options:
        raise TypeError(f"[grad] unexpected arguments {sorted(options)}")
    both = value_and_grad(fun, argnums, has_aux, create_graph)

    @wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slope = both(*args, **kwargs)
        return (slope, value[1]) if has_aux else slope
    return gradient


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of `fun(*primals)` and a function that pulls output gradients back.

    Returns `(y, pull)` (or `(y, pull, aux)`); `pull(g)`, with g in the structure of y, gives one
    gradient per primal: g^T J. It may be called any number of times.
    """
    call = _Call("vjp", fun, range(len(primals)), primals, {}, has_aux)
    keep = call.differentiable(None)
    outs = flatten(call.output)

    def pull(g: Any) -> tuple[Any, ...]:
        seeds = flatten(g)
        if len(seeds) != len(outs):
            raise ValueError(f"[vjp] {len(outs)} outputs, but {len(seeds)} gradients were given")
        used = [(y, s) for y, s in zip(outs, seeds, strict=True) if y.requires_grad]
        grads = walk([y for y, _ in used], [s for _, s in used], call.inputs, keep, True)
        return call.pack(grads)
    y = call.output if keep else unflatten(call.output, (y.detach() for y in outs))
    return (y, pull, call.aux) if has_aux else (y, pull)


# -- forward mode -------------------------------------------------------------------------------


def jvp(fun: Callable[..., Any], primals: Sequence[Any],
        tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `fun(*primals)` and its directional derivative J t along `tangents`.

    The pullback g -> g^T J is linear in g, so pulling it back in turn gives J t: forward mode
    from two reverse passes, with no rules of its own.
    """
    if len(primals) != len(tangents):
        raise ValueError(f"[jvp] {len(primals)} primals, but {len(tangents)} tangents")
    call = _Call("jvp", fun, range(len(primals)), tuple(primals), {})
    directions = [t if isinstance(t, Tensor) else Tensor(t, dtype=x.dtype)
                  for t, x in zip(flatten(list(tangents)), call.inputs, strict=True)]
    for i, (t, x) in enumerate(zip(directions, call.inputs, strict=True)):
        if t.shape != x.shape:
            raise ValueError(f"[jvp] tangent {i} has shape {t.shape}, its primal {x.shape}")
    outs = flatten(call.output)
    keep = call.differentiable(None)
    tangent = _push(outs, call.inputs, directions, keep)
    y = call.output if keep else unflatten(call.output, (y.detach() for y in outs))
    return y, unflatten(call.output, iter(tangent))


def _push(outs: list[Tensor], inputs: list[Tensor], directions: list[Tensor],
          keep: bool) -> list[Tensor]:
    dummies = [ops.zeros_like(y).requires_grad_() for y in outs]
    used = [(y, u) for y, u in zip(outs, dummies, strict=True) if y.requires_grad]
    zero = [ops.zeros_like(y) for y in outs]
    if not used:
        return zero
    with enable_grad():
        pulled = walk([y for y, _ in used], [u for _, u in used], inputs, True, True)
        total: Any = None
        for g, t in zip(pulled, directions, strict=True):
            if g is not None and g.requires_grad:
                term = (g * t).sum()
                total = term if total is None else total + term
    if total is None:
        return zero
    found = walk([total], [None], dummies, keep, keep)
    return [z if g is None else g if isinstance(g, Tensor) else as_tensor(g)
            for g, z in zip(found, zero, strict=True)]


# -- whole matrices of derivatives --------------------------------------------------------------


def jacobian(fun: Callable[..., Any], argnums: Any = 0,
             create_graph: bool | None = None) -> Any:
    """All first derivatives: `jacobian(f)(x)` has shape y.shape + x.shape, row i = dy_i/dx.

    `jacobian(f, x)` with tensors evaluates at once, as in PyTorch.
    """
    if isinstance(argnums, Tensor) or (isinstance(argnums, tuple) and argnums
                                       and isinstance(argnums[0], Tensor)):
        xs = (argnums,) if isinstance(argnums, Tensor) else argnums
        chosen = 0 if isinstance(argnums, Tensor) else tuple(range(len(xs)))
        return jacobian(fun, chosen, create_graph)(*xs)

    @wraps(fun)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        call = _Call("jacobian", fun, argnums, args, kwargs)
        y = call.output
        if not isinstance(y, Tensor):
            raise TypeError(f"[jacobian] the function must return a tensor, got {type(y).__name__}")
        keep = call.differentiable(create_graph)
        rows = [_row(call, y, i, keep) for i in range(y.size)]
        stacked = [ops.stack([row[k] for row in rows]).reshape(y.shape + x.shape) if rows
                   else ops.zeros(y.shape + x.shape, dtype=x.dtype)
                   for k, x in enumerate(call.inputs)]
        trees = unflatten(call.trees, iter(stacked))
        return trees[0] if call.single else tuple(trees)
    return evaluate


def _row(call: _Call, y: Tensor, i: int, keep: bool) -> list[Tensor]:
    seed = backend.array_module(y.data).zeros_like(y.data)
    seed.reshape(-1)[i] = 1
    grads: list[Any] = [None] * len(call.inputs)
    if y.requires_grad:
        grads = walk([y], [seed], call.inputs, keep, True)
    return flatten(call.pack(grads))


def hessian(fun: Callable[..., Any], argnums: Any = 0) -> Any:
    """All second derivatives of a one-element function: shape x.shape + x.shape.

    >>> hessian(lambda x: (x ** 3).sum())(np.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    if isinstance(argnums, Tensor):
        return hessian(fun)(argnums)
    return jacobian(grad(fun, argnums), argnums)
