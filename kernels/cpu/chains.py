"""Chains of elementwise operations on large arrays: one loop, generated as Numba source.

    for each element:  t = formula of inputs;  u = formula of t and others;  ...

Every input is read once and every result that somebody needs is written once; what is between them
stays in registers. Sums and means at the end of a chain, of all elements or of rows, are added up
on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .formulas import CONSTANTS, FORMULAS, LOSSES, MORE
from .lazy import Native, address_of, threads_for
from .nests import summed_axes
from .pointwise import pieces
from .steps import Unfit

__all__ = ["chain_cost", "chain_source", "prepared_chain"]

native = Native("chains")

SUMS = ("sum", "mean")
# Elements that pay for one more thread, and of the parts that are added up for themselves: sums
# do not depend on the number of threads, and an error grows with the length of a part.
GRAIN, PART = 1 << 14, 1 << 14


def chain_cost(name: str, attrs: dict[str, Any], given: Any, made: Any) -> tuple[int, ...] | None:
    """The shape that a step goes over, if it may be in a chain; one that ends in () adds it up."""
    arrays = [k for k in given if k is not None]
    if not arrays or not made or made[0] is None or len(made) > 1:
        return None
    kind = arrays[0][0]
    if kind not in (np.float32, np.float64) or any(
            k[0] != kind for k in (*arrays, made[0])):
        return None
    shape = arrays[0][1]
    if name in SUMS:
        whole = len(set(summed_axes(attrs, shape))) == len(shape) and not attrs.get("keepdims")
        return shape if whole or _of_rows(attrs, shape) else None
    if name in LOSSES and attrs["reduction"] != "none":
        return shape if all(k[1] == shape for k in arrays) else None
    if name not in FORMULAS and name not in MORE:
        return None
    shape = made[0][1]
    return shape if all(_pattern(k[1], shape) is not None for k in arrays) else None


def _of_rows(attrs: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Does a sum go over the last axis alone?"""
    return len(shape) > 1 and summed_axes(attrs, shape) == [len(shape) - 1]


def _pattern(shape: tuple[int, ...], whole: tuple[int, ...]) -> Any:
    """How an array fills `whole`: "all", "one", ("row", elements) or ("column", elements)."""
    if shape == whole:
        return "all"
    if prod(shape) == 1:
        return "one"
    if len(shape) > len(whole):
        return None
    full = (1,) * (len(whole) - len(shape)) + shape
    differ = [k for k, (a, b) in enumerate(zip(full, whole, strict=True)) if a != b]
    if any(full[k] != 1 for k in differ):
        return None
    if not differ:
        return "all"
    if all(n == 1 for n in full[:max(differ) + 1]):
        return "row", prod(whole[max(differ) + 1:])
    if all(n == 1 for n in full[min(differ):]):
        return "column", prod(whole[min(differ):])
    return None


class _Chain:
    """The text of a group's loop, and what a call of it has to know."""

    def __init__(self, group: Any):
        self.group = group
        self.kind = np.dtype(group.kinds[0][0])
        shapes = [k[1] for k in group.kinds if k is not None]
        self.shape = max(shapes, key=lambda shape: (prod(shape), len(shape)))
        self.patterns = {i: _pattern(group.kinds[i][1], self.shape) for i in range(group.inputs)}
        lengths = {p[1] for p in self.patterns.values() if isinstance(p, tuple)}
        # of rows: value -> how many elements are added up for a mean, 1 for a sum
        self.rows = {step.results[0]: self.shape[-1] if step.name == "mean" else 1
                     for step in group.steps if step.name in SUMS and _of_rows(
                         step.attrs, group.kinds[step.sources[0]][1])}
        lengths |= {self.shape[-1]} if self.rows else set()
        if len(lengths) > 1 or None in self.patterns.values() or (
                len(group.outputs) > native.OUTPUTS):
            raise Unfit("arrays that repeat in different ways")
        self.inner = lengths.pop() if lengths else 0          # elements of a row; 0: one loop
        self.sums: list[tuple[int, int]] = []                 # (value, divisor)
        self.outputs = list(group.outputs)
        self.text = self._text()

    def _text(self) -> str:
        """A function of a table of addresses, and of the range of elements (or rows) to do."""
        table = 0
        names: dict[int, str] = {}
        head, body = [f"table = carray(table, {self.group.inputs + len(self.outputs)})"], []
        place = f"i * {self.inner} + j" if self.inner else "i"
        for i in range(self.group.inputs):
            head.append(f"a{i} = pointer(table[{table}], like)")
            table += 1
            pattern = self.patterns[i]
            names[i] = f"x{i}"
            at = {"all": place, "one": "0"}.get(pattern) if isinstance(pattern, str) else (
                "j" if pattern[0] == "row" else "i")
            line = f"x{i} = get(a{i}, {at})"
            (head if pattern == "one" else body).append(line)
        for step in self.group.steps:
            self._step(step, names, body)
        for k, v in enumerate(self.outputs):
            head.append(f"o{k} = pointer(table[{table}], like)")
            table += 1
            if v in names:
                body.append(f"put(o{k}, {place}, {names[v]}, {k})")
        head += [f"s{v} = zero" for v, _ in self.sums]
        tail = [f"put(o{k}, part, s{v}, {k})" for k, v in enumerate(self.outputs)
                if v in dict(self.sums)]
        loop = ["for i in range(first, last):", *(f"    s{v} = zero" for v in self.rows)]
        after = [f"    put(o{k}, i, s{v} / kind({self.rows[v]}), {k})"
                 for k, v in enumerate(self.outputs) if v in self.rows]
        if self.inner:
            loop.append(f"    for j in range({self.inner}):")
        indent = "        " if self.inner else "    "
        return "\n".join([f"def chain(table, first, last, part):  # {self.kind}",
                          *("    " + line for line in (
                              *head, *loop, *(indent + line for line in body), *after, *tail))])

    def _step(self, step: Any, names: dict[int, str], body: list[str]) -> None:
        value = step.results[0]
        given = [f"kind({float(x[0])!r})" if isinstance(x, tuple) else names[x]
                 for x in step.sources]
        adds = step.name in SUMS or (step.name in LOSSES and step.attrs["reduction"] != "none")
        formula = (FORMULAS | MORE)["sum" if step.name in SUMS else step.name]
        letters = dict(zip("xyz", given, strict=False)) | {
            letter: f"kind({float(step.attrs[key])!r})"
            for letter, key in zip("abc", CONSTANTS.get(step.name, ()), strict=False)}
        text = re.sub(r"\b[xyzabc]\b", lambda m: letters[m[0]], formula)
        if not adds:
            names[value] = f"t{value}"
            body.append(f"t{value} = {text}")
            return
        mean = "mean" in (step.name, step.attrs.get("reduction"))
        source = step.sources[0]
        elements = prod(self.group.kinds[source][1])
        if elements != prod(self.shape) or value not in self.outputs:
            raise Unfit("a sum that is read in the chain")
        if value not in self.rows:
            self.sums.append((value, elements if mean else 1))
        body.append(f"s{value} += {text}")


def chain_source(group: Any) -> str:
    """The text of the loop of a chain."""
    return _Chain(group).text


def prepared_chain(group: Any) -> Callable[..., tuple[Any, ...]]:
    """The function of a chain: it allocates, and divides the elements among threads.

    Raises:
        Unfit: the arrays repeat in ways that one loop, or rows and columns, do not cover.
    """
    chain = _Chain(group)
    code = native.compiled(chain.text, chain.kind)
    kind, sums = chain.kind, dict(chain.sums)
    wide = [i for i, p in chain.patterns.items() if p == "all"]
    lead = next((i for i in wide if group.kinds[i][1] == chain.shape), None)
    total = prod(chain.shape)
    outer = total // chain.inner if chain.inner else total
    ordered = bool(chain.inner)                # rows and columns are those of C's order

    def run(*arrays: Any) -> tuple[Any, ...]:
        arrays = _aligned(arrays, wide, ordered)
        parts = max(1, -(-total // PART)) if sums else pieces(threads_for(total, GRAIN))
        parts = min(parts, outer, 60000)
        model = arrays[lead] if lead is not None else None
        made = [np.empty(parts, kind) if v in sums else
                np.empty(group.kinds[v][1], kind) if model is None or ordered else
                np.empty_like(model)
                for v in chain.outputs]
        table = np.fromiter(map(address_of, (*arrays, *made)), np.int64, len(arrays) + len(made))
        native.launch(code, address_of(table), outer, parts, threads_for(total, GRAIN) > 1)
        return tuple((y.sum(dtype=np.float64) / sums[v]).astype(kind).reshape(()) if v in sums
                     else y for v, y in zip(chain.outputs, made, strict=True))
    return run


def _aligned(arrays: tuple[Any, ...], wide: list[int], ordered: bool) -> tuple[Any, ...]:
    """The arrays such that those of the whole shape lie in one order, without gaps."""
    strides = arrays[wide[0]].strides if wide else None
    dense = not wide or arrays[wide[0]].flags.c_contiguous or (
        not ordered and arrays[wide[0]].strides == np.empty_like(arrays[wide[0]]).strides)
    if dense and all(a.strides == strides if k in wide else a.flags.c_contiguous
                     for k, a in enumerate(arrays)):
        return arrays
    return tuple(np.ascontiguousarray(a) for a in arrays)


