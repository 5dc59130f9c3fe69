"""What each operation of a group becomes: loop nests over its inputs, or another view of them.

`cost(name, attrs, given, made)` says how many numbers a step computes, or that there is no rule for
it. `Lowering` walks the steps of a group and hands their nests to a `Code`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .formulas import CONSTANTS, FORMULAS, LOSSES, MORE
from .nests import (
    ACCUMULATED,
    Leaf,
    Nest,
    Node,
    Number,
    Tree,
    leaves,
    mapped,
    summed_axes,
)
from .steps import Code

__all__ = ["Lowering", "cost"]

DEEPEST = 8         # formulas within formulas; recursion walks them
_ELEMENTWISE = (FORMULAS | MORE).keys() - {"sum", *LOSSES}


class Held(NamedTuple):
    """A value in memory."""

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    def leaf(self, shape: Sequence[int]) -> Leaf:
        """Its elements, repeated to fill `shape`."""
        extra = len(shape) - len(self.shape)
        own = [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return Leaf(self.name, (*[0] * extra, *own), self.offset)


class Lazy(NamedTuple):
    """A value that is a formula still."""

    tree: Tree
    shape: tuple[int, ...]
    depth: int


Kinds = Sequence[tuple[Any, tuple[int, ...]] | None]


# -- what there are rules for ----------------------------------------------------------------------


def cost(name: str, attrs: dict[str, Any], given: Kinds, made: Kinds) -> int | None:
    """How many numbers a step computes; None if there is no rule for it. Views cost nothing."""
    rule = _RULES.get(name)
    arrays = [k for k in (*given, *made) if k is not None]
    if rule is None or not arrays:
        return None
    kind = arrays[0][0]
    if kind not in (np.float32, np.float64):
        return None
    if rule is _adam:                # the count of steps is float32 whatever the parameters are
        arrays.remove(given[-2])
        if given[-2] is None or given[-2][0] not in (np.float32, kind):
            return None
    if any(dtype != kind for dtype, _ in arrays):
        return None
    if rule in (_adam, _sgd) and given[-1] is not None:     # a learning rate in an array
        return None
    out = prod(made[0][1]) if made and made[0] is not None else 0
    if name in ("linear", "linear_activation"):
        return out * given[1][1][-1]
    if name in ("linear_vjp", "linear_activation_vjp"):
        return prod(given[0][1]) * given[3][1][-1] * max(1, sum(attrs["needs"][:2]))
    if name == "matmul":
        ndims = [len(given[i][1]) for i in range(2)]
        return out * given[0][1][-1] if min(ndims) > 1 else None
    if rule is _view:
        return None if _viewed(name, attrs, Held("", given[0][1], _dense(given[0][1])),
                               made[0][1]) is None else 0
    if rule in (_adam, _sgd):
        return 4 * sum(prod(given[i][1]) for i in range(attrs.get("count", 1)))
    if rule in (_reduced, _loss):
        return prod(given[0][1]) or None
    return out


def _dense(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[k + 1:]) for k in range(len(shape)))


def _viewed(name: str, attrs: dict[str, Any], x: Held, shape: tuple[int, ...]) -> Held | None:
    """Another view of an array, or None if its elements have to be moved."""
    if name == "permute_dims":
        axes = [k % len(x.shape) for k in attrs["axes"]]
        return Held(x.name, shape, tuple(x.strides[k] for k in axes), x.offset)
    if name == "broadcast_to":
        return Held(x.name, shape, x.leaf(shape).strides, x.offset)
    kept = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]   # reshape
    if [n for n in shape if n != 1] == [n for n, _ in kept]:
        steps = iter(s for _, s in kept)
        return Held(x.name, shape, tuple(0 if n == 1 else next(steps) for n in shape), x.offset)
    return Held(x.name, shape, _dense(shape), x.offset) if x.strides == _dense(x.shape) else None


# -- the walk --------------------------------------------------------------------------------------


class Lowering:
    """Writes the steps of a group into `code`.

    `names` are those of the group's inputs; `outputs` gives a name for a result that leaves it.
    """

    def __init__(self, group: Any, names: Sequence[str], outputs: dict[int, str], code: Code):
        self.group, self.code, self.outputs = group, code, outputs
        self.values: dict[int, Held | Lazy] = {}
        for i, name in enumerate(names):
            kind = group.kinds[i]
            if kind is not None:
                self.values[i] = Held(name, kind[1], _dense(kind[1]))
        self.uses = Counter(x for step in group.steps for x in step.sources if type(x) is int)
        for step in group.steps:
            _RULES[step.name](self, step)
        for value in outputs:
            self.held(value)

    def shape(self, value: int) -> tuple[int, ...]:
        """The shape of a value."""
        return self.group.kinds[value][1]

    def source(self, step: Any, k: int) -> int | None:
        """The number of the array that is input k of a step; None where there is none."""
        x = step.sources[k] if k < len(step.sources) else None
        return x if type(x) is int else None

    def tree(self, step: Any, k: int, shape: Sequence[int]) -> Tree:
        """Input k of a step for each element of `shape`."""
        x = step.sources[k]
        if type(x) is not int:
            return Number(float(x[0]))
        found = self.values[x]
        if isinstance(found, Lazy) and found.shape == tuple(shape):
            return found.tree
        return self.held(x).leaf(shape)

    def held(self, value: int) -> Held:
        """A value in memory; if it was a formula, its nest is written now."""
        found = self.values[value]
        if isinstance(found, Lazy):
            found = self.values[value] = self.store(found.shape, found.tree, value)
        assert isinstance(found, Held)
        return found

    def place(self, shape: tuple[int, ...], value: int | None = None) -> Held:
        """Room for a result, or for what is needed on the way."""
        name = self.outputs.get(value) if value is not None else None
        return Held(name or self.code.room(prod(shape)), shape, _dense(shape))

    def store(self, shape: tuple[int, ...], tree: Tree, value: int | None = None) -> Held:
        """A tree in memory."""
        made = self.place(shape, value)
        self.code.nest(Nest(shape, len(shape), tree, made.leaf(shape)))
        return made

    def define(self, step: Any, tree: Tree, k: int = 0) -> None:
        """Result k of a step is a formula: it is stored if several steps read it."""
        value = step.results[k]
        if value is not None:
            within = [self.values[x] for x in step.sources if type(x) is int]
            depth = 1 + max((x.depth for x in within if isinstance(x, Lazy)), default=0)
            self.values[value] = Lazy(tree, self.shape(value), depth)
            if self.uses[value] > 1 or value in self.outputs or depth >= DEEPEST:
                self.held(value)

    def sums(self, value: int | None, kept: Sequence[int], reduced: Sequence[int], tree: Tree,
             last: Tree = ACCUMULATED) -> None:
        """A result that adds up a tree; its axes may be more than `kept`, of length 1."""
        if value is not None:
            made = self.place(self.shape(value), value)
            out = Leaf(made.name, _dense(kept))
            self.code.nest(Nest((*kept, *reduced), len(kept), tree, out, last))
            self.values[value] = made

    def given(self, step: Any) -> int:
        """Which of the numbers that the group is given is the learning rate; -1 if it is none."""
        lr = step.sources[-1]
        numbers = [i for i in range(self.group.inputs) if self.group.kinds[i] is None]
        return numbers.index(lr) if type(lr) is int else -1

    def settle(self) -> None:
        """Store all formulas: what they read is going to change."""
        for value, found in list(self.values.items()):
            if isinstance(found, Lazy) and self.uses[value]:
                self.held(value)


def _node(name: str, attrs: dict[str, Any], *args: Tree) -> Node:
    """A formula of trees, with its constants from the static arguments."""
    return Node(name, args, tuple(float(attrs[key]) for key in CONSTANTS.get(name, ())))


# -- the rules -------------------------------------------------------------------------------------


def _elementwise(low: Lowering, step: Any) -> None:
    shape = low.shape(step.results[0])
    args = [low.tree(step, k, shape) for k in range(len(step.sources))]
    low.define(step, _node(step.name, step.attrs, *args))


def _view(low: Lowering, step: Any) -> None:
    value = step.results[0]
    found = _viewed(step.name, step.attrs, low.held(step.sources[0]), low.shape(value))
    if found is None:                         # a reshape of what lies in another order
        x = low.held(step.sources[0])
        moved = low.store(x.shape, x.leaf(x.shape))
        found = Held(moved.name, low.shape(value), _dense(low.shape(value)))
    low.values[value] = found
    if value in low.outputs:
        low.values[value] = low.store(found.shape, found.leaf(found.shape), value)


def _reduced(low: Lowering, step: Any) -> None:
    shape = low.shape(step.sources[0])
    axes = summed_axes(step.attrs, shape)
    order = [k for k in range(len(shape)) if k not in axes] + axes
    last = _last(step.name, prod(shape[k] for k in axes))
    tree = low.tree(step, 0, shape)
    sizes = [shape[k] for k in order]
    kept = len(shape) - len(axes)
    low.sums(step.results[0], sizes[:kept], sizes[kept:],
             mapped(tree, {x: x.along(order) for x in leaves(tree)}), last)


def _last(how: str, count: int) -> Tree:
    """What becomes of a sum of so many numbers: itself, or their mean."""
    return ACCUMULATED if how == "sum" else Node("divide", (ACCUMULATED, Number(float(count))))


def _loss(low: Lowering, step: Any) -> None:
    shape = low.shape(step.sources[0])
    tree = Node(step.name, (low.tree(step, 0, shape), low.tree(step, 1, shape)))
    how = step.attrs["reduction"]
    if how == "none":
        low.define(step, tree)
        return
    low.sums(step.results[0], (), shape, tree, _last(how, prod(shape)))


def _linear(low: Lowering, step: Any) -> None:
    x, w = low.held(step.sources[0]), low.held(step.sources[1])
    bias = low.source(step, 2)
    lead, (out, depth) = x.shape[:-1], w.shape
    product = Node("multiply", (Leaf(x.name, (*x.strides[:-1], 0, x.strides[-1]), x.offset),
                             Leaf(w.name, (*[0] * len(lead), *w.strides), w.offset)))
    last: Tree = ACCUMULATED
    if bias is not None:
        last = Node("add", (last, low.held(bias).leaf((*lead, out))))
    if step.name == "linear_activation":
        last = _node(step.attrs["activation"], step.attrs, last)
    low.sums(step.results[0], (*lead, out), (depth,), product, last)


def _linear_vjp(low: Lowering, step: Any) -> None:
    g, x, w = (low.held(step.sources[k]) for k in (0, 2, 3))
    if step.name == "linear_activation_vjp":
        y = low.held(step.sources[1])
        g = low.store(g.shape, _node(f"{step.attrs['activation']}_grad", step.attrs,
                                     g.leaf(g.shape), y.leaf(g.shape)))
    lead, (out, depth) = g.shape[:-1], w.shape
    n = len(lead)
    steps, last = g.strides[:-1], g.strides[-1]
    results = [*step.results, None, None][:3]
    low.sums(results[0], (*lead, depth), (out,), Node("multiply", (
        Leaf(g.name, (*steps, 0, last), g.offset),
        Leaf(w.name, (*[0] * n, w.strides[1], w.strides[0]), w.offset))))
    low.sums(results[1], (out, depth), lead, Node("multiply", (
        Leaf(g.name, (last, 0, *steps), g.offset),
        Leaf(x.name, (0, x.strides[-1], *x.strides[:-1]), x.offset))))
    low.sums(results[2], (out,), lead, Leaf(g.name, (last, *steps), g.offset))


def _matmul(low: Lowering, step: Any) -> None:
    a, b = low.held(step.sources[0]), low.held(step.sources[1])
    *lead, n, m = low.shape(step.results[0])
    depth = a.shape[-1]
    left, right = a.leaf((*lead, n, depth)), b.leaf((*lead, depth, m))
    low.sums(step.results[0], (*lead, n, m), (depth,), Node("multiply", (
        Leaf(a.name, (*left.strides[:-1], 0, left.strides[-1]), a.offset),
        Leaf(b.name, (*right.strides[:-2], 0, right.strides[-1], right.strides[-2]), b.offset))))


def _adam(low: Lowering, step: Any) -> None:
    count, how = step.attrs.get("count", 1), step.attrs
    low.settle()
    numbers = (_rate(step), how["beta1"], how["beta2"], how["eps"], how["weight_decay"])
    short = low.group.kinds[step.sources[-2]][0] == "float32"
    low.code.count(low.held(step.sources[-2]), short, low.given(step), numbers)
    for i in range(count):
        p, g, m, v = (low.held(step.sources[k * count + i]) for k in range(4))
        most = low.source(step, 4 * count + i)
        low.code.adam(prod(p.shape), (p, g, m, v, None if most is None else low.held(most)),
                      how["decoupled"], how["maximize"], numbers)
    low.values[step.results[0]] = low.held(step.sources[0])


def _sgd(low: Lowering, step: Any) -> None:
    count, how = step.attrs.get("count", 1), step.attrs
    low.settle()
    numbers = (_rate(step), how["momentum"], 1.0 - how["dampening"], how["weight_decay"])
    for i in range(count):
        p, g = (low.held(step.sources[k * count + i]) for k in range(2))
        buf = low.source(step, 2 * count + i)
        low.code.sgd(prod(p.shape), (p, g, None if buf is None else low.held(buf)),
                     how["nesterov"], how["maximize"], low.given(step), numbers)
    low.values[step.results[0]] = low.held(step.sources[0])


def _rate(step: Any) -> float:
    """The learning rate, if it is a constant."""
    lr = step.sources[-1]
    return float(lr[0]) if isinstance(lr, tuple) else 0.0


_RULES: dict[str, Callable[[Lowering, Any], None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise), **dict.fromkeys(LOSSES, _loss),
    "reshape": _view, "permute_dims": _view, "broadcast_to": _view,
    "sum": _reduced, "mean": _reduced,
    "linear": _linear, "linear_activation": _linear,
    "linear_vjp": _linear_vjp, "linear_activation_vjp": _linear_vjp, "matmul": _matmul,
    "adam_update": _adam, "adam_updates": _adam, "sgd_update": _sgd, "sgd_updates": _sgd,
}
