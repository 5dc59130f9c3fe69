"""Chains of elementwise operations: a kernel of its own for each, generated as CUDA C.

    for each element:  v2 = formula of inputs;  v3 = formula of v2 and others;  ...

Every input is read once and every result that somebody needs is written once; what is between them
stays in registers. A sum or mean of all elements at the end of a chain is added up on the way, by
block, and by a second small launch where there are several blocks: always in the same order. The
formulas are those of `source/formulas.cuh`, in float32 whatever the arrays hold.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from math import prod
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import HALVES, SUFFIXES, Source, blocks, plain, read
from .pointwise import CONSTANTS, same_order
from .updates import dense

__all__ = ["chain_cost", "prepared", "source"]

THREADS, CHUNK = 256, 4096      # threads of a block; elements that a block adds up
FEW = 24                        # arrays whose packs fit into a thread's registers
C_TYPES = {"float32": "float", "bfloat16": "bf16", "float16": "f16"}
SUMS = ("sum", "mean")
LOSSES = ("mse_loss", "bce_with_logits")
SAME = ("broadcast_to", "astype")       # a value as it is: of another shape, or another type


@functools.cache
def formulas() -> frozenset[str]:
    """The operations that `source/formulas.cuh` has."""
    text = read("formulas.cuh")
    named = re.findall(r"^(?:FUNCTION|GRADIENT|OPERATION)\((\w+),", text, re.M)
    return frozenset(named + re.findall(r"(\w+)_formula\(float x, float y, float g\)", text))


def chain_cost(name: str, attrs: dict[str, Any], given: Any, made: Any) -> tuple[int, ...] | None:
    """The shape that a step goes over, if it may be in a chain; one that ends in () adds it up."""
    arrays = [k for k in given if k is not None]
    if not arrays or len(made) != 1 or made[0] is None or any(
            k[0] not in SUFFIXES for k in (*arrays, made[0])):
        return None
    if _adds(name, attrs):
        shape = arrays[0][1]
        whole = attrs.get("axis") in (None, tuple(range(len(shape)))) and made[0][1] == ()
        return shape if whole and shape and all(k[1] == shape for k in arrays) else None
    shape: tuple[int, ...] = made[0][1]
    if name not in formulas() and name not in SAME:
        return None
    return shape if all(_spread(k[1], shape) is not None for k in arrays) else None


def _adds(name: str, attrs: dict[str, Any]) -> bool:
    """Is it a sum of elements?"""
    return name in SUMS or (name in LOSSES and attrs["reduction"] != "none")


def _spread(shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[int, int] | None:
    """(inner, count): element i of the whole meets number i // inner % count of the array.

    None where no such numbers say it: the array has gaps between its axes.
    """
    if prod(shape) == 1:
        return 1, 1
    full = (1,) * (len(whole) - len(shape)) + shape
    if len(full) > len(whole) or any(a not in (1, b) for a, b in zip(full, whole, strict=True)):
        return None
    axes = [k for k, n in enumerate(full) if n > 1]
    first, end = axes[0], axes[-1] + 1
    if full[first:end] != whole[first:end]:
        return None
    return prod(whole[end:]), prod(full)


class _Chain:
    """The text of a group's kernel, and what a call of it has to know."""

    def __init__(self, group: Any):
        self.group = group
        first = group.steps[0]                        # all go over the same elements
        self.shape = group.kinds[first.sources[0] if _adds(first.name, first.attrs)
                                 else first.results[0]][1]
        self.n = prod(self.shape)
        self.sums: dict[int, float] = {}              # value -> what its sum is multiplied by
        self.spread = {i: _spread(group.kinds[i][1], self.shape) for i in range(group.inputs)}
        self.wide = [i for i in self.spread if group.kinds[i][1] == self.shape]
        # Rows, columns and channels are those of C's order.
        self.ordered = any(i not in self.wide and s != (1, 1) for i, s in self.spread.items())
        self.steps = [line for step in group.steps for line in self._step(step)]
        self.made = [v for v in group.outputs if v not in self.sums]
        arrays = [*self.wide, *self.made]
        narrow = all(group.kinds[i][0] != "float32" for i in arrays)
        self.pack = 1 if len(arrays) > FEW else 8 if narrow else 4
        self.text = self._text()

    def type(self, value: int) -> str:
        """The C type of what is stored of a value."""
        return C_TYPES[self.group.kinds[value][0]]

    def _step(self, step: Any) -> list[str]:
        """The lines of a step on one element."""
        value = step.results[0]
        given = [_number(x[0]) if isinstance(x, tuple) else f"v{x}" for x in step.sources]
        if step.name in SUMS or step.name in SAME:
            text = given[0]
        else:
            given += [_number(step.attrs[key]) for key in CONSTANTS.get(step.name, ())]
            text = f"{step.name}_formula<{self.type(value)}>({', '.join(given)})"
        if not _adds(step.name, step.attrs):
            return [f"float v{value} = {text};"]
        mean = "mean" in (step.name, step.attrs.get("reduction"))
        self.sums[value] = 1 / self.n if mean else 1.0
        return [f"if (first + k < n) some{value} += {text};"]

    def _text(self) -> str:
        """The source: a kernel, and the one that adds up its parts."""
        wide, pack, sums = self.wide, self.pack, list(self.sums)
        tiles = CHUNK // (THREADS * pack) if sums else 1
        index = "unsigned" if self.n < 1 << 31 else "long long"
        some = [i for i in range(self.group.inputs) if i not in wide]
        parameters = [f"const {self.type(i)}* __restrict__ x{i}" for i in range(self.group.inputs)]
        parameters += [f"{self.type(v)}* __restrict__ y{v}" for v in self.made]
        totals = [f"double share{v}, {self.type(v)}* y{v}" for v in sums]
        parameters += [*(["double* parts"] if sums else []), *totals]
        parameters += ["long long n", "int packs", "long long ones"]
        loop = [f"long long first = ((long long)blockIdx.x * {tiles} + tile) * "
                f"{THREADS * pack} + threadIdx.x * {pack};",
                *[f"auto a{i} = fetch<{pack}>(x{i}, first, n, packs, ones >> {k} & 1);"
                  for k, i in enumerate(wide)],
                *[f"Pack<{self.type(v)}, {pack}> b{v};" for v in self.made],
                *[f"float some{v} = 0.f;" for v in sums]]
        body = [f"{index} i = ({index})min(first + k, n - 1);"] if some else []
        body += [f"float v{i} = to_float(a{i}.at[k]);" if i in wide
                 else f"float v{i} = to_float(x{i}[{self._place(i)}]);"
                 for i in range(self.group.inputs)]
        body += self.steps
        body += [f"b{v}.at[k] = from_float<{self.type(v)}>(v{v});" for v in self.made]
        after = [f"put<{pack}>(y{v}, first, n, packs, b{v});" for v in self.made]
        after += [f"sum{v} += some{v};" for v in sums]
        end = [f"finish(sum{v}, parts + {k} * gridDim.x, share{v}, y{v});"
               for k, v in enumerate(sums)]
        lines = [*(f'#include "{name}"' for name in (
                     "common.cuh", "formulas.cuh", "sums.cuh", "chains.cuh")), "",
                 f"// {', '.join(step.name for step in self.group.steps)}",
                 f'extern "C" __global__ void __launch_bounds__({THREADS}, 1)',
                 f"chain({', '.join(parameters)}) {{",
                 *[f"  double sum{v} = 0.;" for v in sums],
                 f"  for (int tile = 0; tile < {tiles}; tile++) {{",
                 *[f"    {line}" for line in loop],
                 "#pragma unroll",
                 f"    for (int k = 0; k < {pack}; k++) {{",
                 *[f"      {line}" for line in body], "    }",
                 *[f"    {line}" for line in after], "  }",
                 *[f"  {line}" for line in end], "}"]
        if sums:
            lines += ["", f'extern "C" __global__ void __launch_bounds__({THREADS}, 1)',
                      f"totals(const double* parts, long long count, {', '.join(totals)}) {{",
                      *[f"  if (blockIdx.x == {k}) total(parts + {k} * count, count, share{v}, "
                        f"y{v});" for k, v in enumerate(sums)], "}"]
        return "\n".join([*lines, ""])

    def _place(self, i: int) -> str:
        """Where an array that repeats has the number for element i."""
        inner, count = self.spread[i] or (1, 1)
        if count == 1:
            return "0"
        place = "i" if inner == 1 else f"i / {inner}"
        return place if inner * count == self.n else f"{place} % {count}"


def _number(x: Any) -> str:
    """A number as a float of C."""
    value = float(np.float32(x))
    if np.isfinite(value):
        return f"{value!r}f"
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


# -- calls -----------------------------------------------------------------------------------------


@functools.cache
def _compiled(text: str) -> Source:
    """Chains of the same text share one; it is compiled now, for the current device."""
    made = Source("chain", text=text)
    made.find("chain")
    return made


@kernel("fused", cupy.ndarray, dtypes=HALVES)
def fused(*arrays: Any, group: Any) -> Any:
    """All steps of a chain in one launch, or in two if it ends in a sum."""
    return prepared(group)(*arrays)


def prepared(group: Any) -> Callable[..., tuple[Any, ...]]:
    """The function of a group: it allocates the results and launches what was compiled.

    Raises:
        Unavailable: NVRTC does not work here.
    """
    made = group.made.get(cupy.ndarray)
    if made is None:
        made = group.made[cupy.ndarray] = _prepare(group)
    return made


def _prepare(group: Any) -> Callable[..., tuple[Any, ...]]:
    chain = _Chain(group)
    native, n, sums = _compiled(chain.text), chain.n, chain.sums
    dtypes = {v: np.dtype(group.kinds[v][0]) for v in group.outputs}
    shapes = {v: group.kinds[v][1] for v in group.outputs}
    count = blocks(n, CHUNK if sums else THREADS * chain.pack)
    shares = {v: np.float64(share) for v, share in sums.items()}

    def run(*arrays: Any) -> tuple[Any, ...]:
        arrays, lead, ones = _aligned(arrays, chain.wide, chain.ordered)
        made = {v: cupy.empty(shapes[v], dtypes[v]) if lead is None or v in sums
                else cupy.empty_like(lead, dtype=dtypes[v]) for v in group.outputs}
        packs = not any(x.data.ptr % 16 for x in (*[arrays[i] for i in chain.wide],
                                                  *[made[v] for v in chain.made]))
        parts = cupy.empty(count * len(sums), np.float64) if sums and count > 1 else None
        totals = [x for v, share in shares.items() for x in (share, made[v])]
        between = [parts] if sums else []
        native("chain", count, THREADS, *arrays, *[made[v] for v in chain.made], *between, *totals,
               n, packs, ones)
        if parts is not None:
            native("totals", len(sums), THREADS, parts, count, *totals)
        return tuple([made[v] for v in group.outputs])
    return run


def _aligned(arrays: tuple[Any, ...], wide: list[int],
             ordered: bool) -> tuple[tuple[Any, ...], Any, int]:
    """The arrays, such that those of the whole shape lie in one order without gaps; one of those
    in whose order results lie, or None for C's; and as bits, which of them are one number."""
    if all(x.flags.c_contiguous for x in arrays):
        return arrays, None, 0
    repeats = {i: k for k, i in enumerate(wide) if not any(arrays[i].strides) and k < 63}
    ones = sum(1 << k for k in repeats.values())
    lead = next((arrays[i] for i in wide if i not in repeats), None)
    if ordered or lead is None:
        return tuple([x if i in repeats else plain(x) for i, x in enumerate(arrays)]), None, ones
    lead = lead if dense(lead) else plain(lead)
    return tuple([x if i in repeats else same_order(x, lead) if i in wide else plain(x)
                  for i, x in enumerate(arrays)]), lead, ones


def source(group: Any, name: str) -> str:
    """The text of a chain's kernels."""
    return _Chain(group).text.replace("\nchain(", f"\n{name}(")


def cost(name: str, attrs: dict[str, Any], given: Any, made: Any) -> None:
    """There are no groups of small operations on a GPU."""


fused.cost, fused.chain_cost = cost, chain_cost             # type: ignore[attr-defined]
fused.prepared, fused.source = prepared, source             # type: ignore[attr-defined]
