"""Rows for `native/small.py`: loop nests as numbers that a compiled loop carries out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .nests import ACCUMULATED, Leaf, Nest, Node, Number, Tree, grouped, leaves, mapped

__all__ = ["ADAM", "COPY", "COUNT", "DOTS", "LOOP", "ROWS", "SGD", "TILES", "Code", "Unfit"]

# What a row says in its first place.
LOOP, DOTS, ROWS, TILES, COPY, COUNT, ADAM, SGD = range(8)
WIDTH = 32
_NAMES = ("loop", "dots", "rows", "tiles", "copy", "count", "adam", "sgd")
TILE = 512            # products from which on the register tile, which packs, is worth its start


class Unfit(Exception):
    """A nest has more loops than a row has places for."""


class Code:
    """Steps in the order in which they run.

    Args:
        places: the place of each array in the table of addresses, by name; behind them comes one
            for all that is needed on the way.
        loops: gives the address of an elementwise loop: `native/pointwise.loop` for a dtype.
    """

    def __init__(self, places: dict[str, int], loops: Any):
        self.places, self.loops = places, loops
        self.rows: list[list[int]] = []
        self.numbers: list[tuple[float, ...]] = []
        self.lines: list[str] = []          # the rows in words
        self.scratch = 0
        self._rooms: dict[str, int] = {}

    def arrays(self) -> tuple[Any, Any]:
        """The rows, and the constants of each, as arrays."""
        code = np.zeros((len(self.rows), WIDTH), np.int64)
        numbers = np.zeros((len(self.rows), 5))
        for i, (row, given) in enumerate(zip(self.rows, self.numbers, strict=True)):
            code[i, :len(row)], numbers[i, :len(given)] = row, given
        return code, numbers

    def room(self, size: int) -> str:
        """A name for an array that is needed on the way."""
        name = f"t{len(self._rooms)}"
        self._rooms[name] = self.scratch
        self.scratch += -(-size // 16) * 16              # a cache line of float32
        return name

    def _add(self, row: Sequence[int], numbers: Sequence[float], text: str) -> None:
        self.rows.append(list(row))
        self.numbers.append(tuple(numbers))
        self.lines.append(f"{_NAMES[row[0]]:6}{text}")

    def _place(self, name: str, offset: int) -> list[int]:
        """Where an array's first element is: its place in the table, and how many come before."""
        if name in self._rooms:
            return [len(self.places), self._rooms[name] + offset]
        return [self.places[name], offset]

    def _array(self, leaf: Leaf, strides: Sequence[int], places: int) -> list[int]:
        return [*self._place(leaf.name, leaf.offset), *strides, *[0] * (places - len(strides))]

    # -- nests ------------------------------------------------------------------------------------

    def nest(self, nest: Nest) -> None:
        """The steps of a nest."""
        sizes, kept, tree, out, last = nest
        if 0 in sizes[:kept]:
            return
        if len(sizes) == kept:
            self._elementwise(tree, sizes, out)
            return
        if isinstance(tree, Node) and not (tree.name == "multiply" and all(
                isinstance(x, Leaf) for x in tree.args)):
            tree = self._stored(tree, sizes)
        if not isinstance(tree, (Leaf, Node)):
            raise Unfit("a sum of a constant")
        self._sum(sizes, kept, tree, out)
        if last != ACCUMULATED:
            self._elementwise(last, sizes[:kept], out)

    def _stored(self, tree: Tree, sizes: Sequence[int]) -> Leaf:
        """A tree in an array of its own."""
        strides = tuple(prod(sizes[k + 1:]) for k in range(len(sizes)))
        leaf = Leaf(self.room(prod(sizes)), strides)
        self._elementwise(tree, sizes, leaf)
        return leaf

    def _sum(self, sizes: Sequence[int], kept: int, tree: Tree, out: Leaf) -> None:
        factors = leaves(tree)
        wide = Leaf(out.name, (*out.strides, *[0] * (len(sizes) - kept)), out.offset)
        first = grouped(sizes[:kept], [*factors, wide])
        second = [[k + kept for k in g] for g in grouped(sizes[kept:], [
            Leaf(x.name, x.strides[kept:]) for x in factors])]
        if len(first) > 3 or len(second) > 2:
            raise Unfit("more loops than 3 and 2")
        axes = [-1] * (3 - len(first)) + [g[-1] for g in first]
        axes += [-1] * (2 - len(second)) + [g[-1] for g in second]
        count = [1] * (3 - len(first)) + [prod(sizes[k] for k in g) for g in first]
        count += [1] * (2 - len(second)) + [prod(sizes[k] for k in g) for g in second]
        arrays = [x.along(axes) for x in (wide, *factors)]
        if len(factors) == 2 and prod(count) >= TILE and self._tiles(count, arrays):
            return
        by_rows = (arrays[0].strides[2] == 1 and all(x.strides[2] in (0, 1) for x in arrays)
                   and any(x.strides[2] for x in arrays[1:])
                   and (any(x.strides[4] not in (0, 1) for x in arrays[1:]) or count[4] < 8))
        row = [ROWS if by_rows else DOTS, *count]
        for x in arrays:
            row += self._array(x, x.strides, 5)
        row += [-1, *[0] * 6] if len(arrays) == 2 else []
        text = " * ".join(x.name for x in factors)
        self._add(row, (), f"{out.name} = sum of {text} ({_by(count[:3])}, sums of "
                           f"{_by(count[3:])})")

    def _tiles(self, count: Sequence[int], arrays: Sequence[Leaf]) -> bool:
        """A product of matrices, or a stack of them, if that is what the sums are."""
        out, x, y = arrays
        many, m, n, also, k = count
        if x.strides[2] or y.strides[1] or also > 1 or out.strides[2] != 1 or n < 2:
            return False
        turned = [x.strides[4] != 1 and k > 1, y.strides[2] != 1]
        if (turned[0] and x.strides[1] != 1 and m > 1) or (turned[1] and y.strides[4] != 1
                                                           and k > 1):
            return False
        row = [TILES, many, m, n, k, *map(int, turned)]
        for a, between in ((out, out.strides[1]), (x, x.strides[4 if turned[0] else 1]),
                           (y, y.strides[2 if turned[1] else 4])):
            row += [*self._place(a.name, a.offset), a.strides[0], between]
        self._add(row, (), f"{out.name} = {x.name} {y.name} ({_by(count[:3])}, sums of {k})")
        return True

    def _elementwise(self, tree: Tree, sizes: Sequence[int], out: Leaf) -> None:
        """A formula for every element of `out`; in `tree`, what is accumulated is `out` itself."""
        if not isinstance(tree, Node):
            tree = Node("positive", (out if tree == ACCUMULATED else tree,))
        args = [out if x == ACCUMULATED else x for x in tree.args]
        args = [self._inner(x, sizes, out) if isinstance(x, Node) else x for x in args]
        self._loop(Node(tree.name, tuple(args), tree.constants), sizes, out)

    def _inner(self, tree: Node, sizes: Sequence[int], out: Leaf) -> Leaf:
        """A formula within a formula: in the result's memory, if it begins with what is there."""
        if _begins(tree):
            self._elementwise(tree, sizes, out)
            return out
        return self._stored(tree, sizes)

    def _loop(self, tree: Node, sizes: Sequence[int], out: Leaf) -> None:
        arrays = [x for x in tree.args if isinstance(x, Leaf)]
        axes = grouped(sizes, [out, *arrays])
        if axes:
            odd = [x for x in arrays if x.strides[axes[-1][-1]] not in (0, 1)]
            if odd:                         # neighbours of the result are none of this array
                tree = mapped(tree, {x: self._copied(x, sizes) for x in odd})  # type: ignore[assignment]
                self._loop(tree, sizes, out)
                return
        if len(axes) > 4:
            raise Unfit("more loops than 4")
        count = [prod(sizes[k] for k in g) for g in axes] or [1]
        order = [g[-1] for g in axes]
        constants, letters, row = list(tree.constants), "", []
        constants += [0.0] * (3 - len(constants))
        for letter, x in zip("xyz", tree.args, strict=False):
            inner = isinstance(x, Leaf) and (not order or x.strides[order[-1]] == 1)
            if isinstance(x, Number):
                constants = [*constants[1:], x.value] if letters else [*constants[:2], x.value]
            if not inner:
                letters += letter
            row += self._operand(x, order, not inner and isinstance(x, Leaf))
        if len(letters) > 1 and any(isinstance(x, Number) for x in tree.args) and any(
                isinstance(x, Leaf) and letter in letters
                for letter, x in zip("xyz", tree.args, strict=False)):
            raise Unfit("a number beside an array that repeats one")
        if len(letters) + len(tree.constants) > 3 or letters in ("xz", "xyz"):
            raise Unfit("three numbers, or the first and the last")
        in_place = bool(tree.args) and tree.args[0] == out and "x" not in letters
        address = self.loops(tree.name, letters, "in_place" if in_place else "loop")
        outer = [*[1] * (4 - len(count)), *count[:-1]]
        self._add([LOOP, address, count[-1], *outer, *self._operand(out, order, False), *row,
                   *[0] * (18 - len(row))], constants,
                  f"{out.name} = {tree.name}({', '.join(_shown(x) for x in tree.args)}) "
                  f"({_by(count)})")

    def _operand(self, x: Tree, order: Sequence[int], repeats: bool) -> list[int]:
        """Six numbers for an array: place, first, strides of the outer loops, whether it repeats
        one number along the inner loop."""
        if not isinstance(x, Leaf):
            return [0] * 6
        steps = [x.strides[k] for k in order[:-1]]
        return [*self._place(x.name, x.offset), *[0] * (3 - len(steps)), *steps, int(repeats)]

    def _copied(self, x: Leaf, sizes: Sequence[int]) -> Leaf:
        """The elements of an array in the order of the axes; it repeats where it did."""
        shape = [1 if s == 0 else n for n, s in zip(sizes, x.strides, strict=True)]
        dense = [prod(shape[k + 1:]) for k in range(len(shape))]
        made = Leaf(self.room(prod(shape)),
                    tuple(0 if s == 0 else d for s, d in zip(x.strides, dense, strict=True)))
        axes = grouped(shape, [made, x])
        if len(axes) > 4:
            raise Unfit("more loops than 4")
        count = [prod(shape[k] for k in g) for g in axes]
        order = [-1] * (4 - len(axes)) + [g[-1] for g in axes]
        row = [COPY, *[1] * (4 - len(axes)), *count]
        for leaf in (made.along(order), x.along(order)):
            row += self._array(leaf, leaf.strides, 4)
        self._add(row, (), f"{made.name} = {x.name} in another order ({_by(count)})")
        return made

    # -- updates ----------------------------------------------------------------------------------

    def count(self, t: Any, short: bool, given: int, numbers: Sequence[float]) -> None:
        """One more step of Adam: its corrections hold for the parameters that follow."""
        self._add([COUNT, *self._place(t.name, t.offset), given, int(short)], numbers,
                  f"{t.name} + 1")

    def adam(self, n: int, arrays: Sequence[Any], decoupled: bool, maximize: bool,
             numbers: Sequence[float]) -> None:
        """Adam on n elements of (p, g, m, v, the largest v or None)."""
        self._add([ADAM, n, int(decoupled), int(maximize), *self._kept(arrays)], numbers,
                  f"{', '.join(x.name for x in arrays if x is not None)} ({n})")

    def sgd(self, n: int, arrays: Sequence[Any], nesterov: bool, maximize: bool, given: int,
            numbers: Sequence[float]) -> None:
        """SGD on n elements of (p, g, the momentum's buffer or None)."""
        self._add([SGD, n, int(nesterov), int(maximize), given, *self._kept(arrays)], numbers,
                  f"{', '.join(x.name for x in arrays if x is not None)} ({n})")

    def _kept(self, arrays: Sequence[Any]) -> list[int]:
        return [k for x in arrays
                for k in ([-1, 0] if x is None else self._place(x.name, x.offset))]


def _begins(tree: Node) -> bool:
    """Does a formula use what is accumulated?"""
    return ACCUMULATED in tree.args or any(isinstance(x, Node) and _begins(x) for x in tree.args)


def _shown(x: Tree) -> str:
    return f"{x.value:g}" if isinstance(x, Number) else getattr(x, "name", "")


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(str(n) for n in sizes if n != 1) or "1"
