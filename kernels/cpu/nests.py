"""Loop nests as data: what the steps of a group become.

A *tree* is the value of one element: a `Leaf` reads an array, a `Number` stands for itself, a
`Node` is a formula over other trees. All leaves of a tree have one stride for each axis of the
*nest* that they are in; a stride of 0 repeats a number along an axis. A nest is

    for each kept axis:  s = 0;  for each reduced axis:  s = s + tree;  out = last(s)

and has as few loops as its strides allow: neighbouring axes are one where all arrays agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["ACCUMULATED", "Leaf", "Nest", "Node", "Number", "Tree", "grouped", "leaves", "mapped",
           "summed_axes"]


@dataclass(frozen=True)
class Leaf:
    """An element of an array: its name, the first one that is used, and a step for each axis."""

    name: str
    strides: tuple[int, ...]
    offset: int = 0

    def along(self, axes: Iterable[int]) -> Leaf:
        """The same elements with axes in another order; -1 is an axis along which it repeats."""
        return Leaf(self.name, tuple(0 if k < 0 else self.strides[k] for k in axes), self.offset)


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Node:
    """A formula of `formulas.py` by name, of `args`; `constants` are its a, b and c."""

    name: str
    args: tuple[Tree, ...]
    constants: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """In `Nest.last`, what the reduction gave."""


Tree = Leaf | Number | Node | Result
ACCUMULATED = Result()


class Nest(NamedTuple):
    """One loop nest. The first `kept` axes of `sizes` are those of the result `out`, whose leaf has
    strides for them alone, as those in `last` have; the others are added up."""

    sizes: tuple[int, ...]
    kept: int
    tree: Tree
    out: Leaf
    last: Tree = ACCUMULATED


def summed_axes(attrs: dict[str, Any], shape: Sequence[int]) -> list[int]:
    """The axes that a sum or mean goes over, counted from the first."""
    axis = attrs.get("axis")
    if axis is None or not shape:
        return list(range(len(shape)))
    return [k % len(shape) for k in ((axis,) if isinstance(axis, int) else axis)]


def leaves(tree: Tree) -> list[Leaf]:
    """All that is read for an element."""
    if isinstance(tree, Leaf):
        return [tree]
    return [leaf for x in tree.args for leaf in leaves(x)] if isinstance(tree, Node) else []


def mapped(tree: Tree, change: dict[Leaf, Leaf]) -> Tree:
    """The tree with other leaves."""
    if isinstance(tree, Node):
        return Node(tree.name, tuple(mapped(x, change) for x in tree.args), tree.constants)
    return change.get(tree, tree) if isinstance(tree, Leaf) else tree


def grouped(sizes: Sequence[int], reads: Sequence[Leaf]) -> list[list[int]]:
    """Neighbouring axes that are one loop, since every array steps through them evenly."""
    found: list[list[int]] = []
    for k, n in enumerate(sizes):
        if n == 1:
            continue
        if found and all(r.strides[found[-1][-1]] == r.strides[k] * n for r in reads):
            found[-1].append(k)
        else:
            found.append([k])
    return found
