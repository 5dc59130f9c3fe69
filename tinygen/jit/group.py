"""Groups: rows that a backend runs as one kernel, and `fused`, the primitive of one."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from ..mode import RAW, local
from ..primitive import PRIMITIVES, Primitive, primitive

__all__ = ["Group", "Step", "fused"]


class Step(NamedTuple):
    """A row of a group. A source is the number of a value, or a constant in a tuple of one."""

    name: str
    sources: tuple[int | tuple[Any], ...]
    attrs: dict[str, Any]
    results: tuple[int | None, ...]

    @property
    def op(self) -> Primitive:
        """The primitive of this name; those that are derivative rules end in `_vjp`."""
        found = PRIMITIVES.get(self.name) or PRIMITIVES[self.name.removesuffix("_vjp")].joint
        assert found is not None
        return found


class Group:
    """Steps on numbered values: first the inputs, then what the steps make.

    Args:
        steps: in order.
        kinds: (dtype, shape) of each value, or None for a Python number.
        inputs: how many values are given.
        outputs: the values that are returned.
        written: the inputs that are changed in place.
        aliases: values that are such an input, changed, by the number of the input.
        form: "small", steps on arrays whose calls cost the most; or "chain", elementwise steps on
            large arrays, which are one loop.
    """

    def __init__(self, steps: list[Step], kinds: list[Any], inputs: int, outputs: list[int],
                 written: tuple[int, ...], aliases: dict[int, int], form: str):
        self.steps, self.kinds, self.inputs, self.form = steps, kinds, inputs, form
        self.outputs, self.written, self.aliases = outputs, written, aliases
        self.made: dict[type, Any] = {}        # array type -> what a backend made of it

    @functools.cached_property
    def key(self) -> str:
        """A digest of all that a kernel depends on: groups with the same key share one."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        lines = [f"inputs {', '.join(self._shown(i) for i in range(self.inputs))}"]
        for step in self.steps:
            sources = ", ".join(repr(x[0]) if isinstance(x, tuple) else f"%{x}"
                                for x in step.sources)
            how = "".join(f" {k}={v!r}" for k, v in sorted(step.attrs.items()))
            made = ", ".join("_" if y is None else self._shown(y) for y in step.results)
            lines.append(f"{made} = {step.name}({sources}){how}")
        outputs, written = (", ".join(f"%{i}" for i in found)
                            for found in (self.outputs, self.written))
        return "\n".join([f"{self.form}", *lines,
                          f"outputs {outputs}; writes {written or 'nothing'}"])

    def _shown(self, value: int) -> str:
        kind = self.kinds[value]
        if kind is None:
            return f"%{value} number"
        return f"%{value} {kind[0]} {'x'.join(map(str, kind[1])) or 'scalar'}"

    def run(self, xp: Any, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """The definition: step by step, each by the function of its primitive."""
        return self._walk(xp, arrays, lambda op, given, attrs: op.fn(xp, *given, **attrs))

    def dispatched(self, xp: Any, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same by what dispatch chooses for each step: where no kernel fits the whole group."""
        before, local.mode = local.mode, RAW
        try:
            return self._walk(xp, arrays, lambda op, given, attrs: op(*given, **attrs))
        finally:
            local.mode = before

    def _walk(self, xp: Any, arrays: tuple[Any, ...], call: Any) -> tuple[Any, ...]:
        values: dict[int, Any] = dict(enumerate(arrays))
        for step in self.steps:
            given = [x[0] if isinstance(x, tuple) else values[x] for x in step.sources]
            made = call(step.op, given, step.attrs)
            made = made if isinstance(made, tuple) else (made,)
            for place, y in zip(step.results, made, strict=True):
                if place is not None:
                    values[place] = _as(xp, y, self.kinds[place][0])
        return tuple(values[i] for i in self.outputs)


def _as(xp: Any, y: Any, dtype: Any) -> Any:
    """A result as an array of the recorded dtype."""
    y = xp.asarray(y) if isinstance(y, np.generic) else y
    return y.astype(dtype, copy=False)


@primitive(outputs=99)
def fused(xp, *arrays, group):
    """The steps of a `Group` in one call. jit makes groups where there is a kernel for them."""
    return group.run(xp, arrays)


def _written(group: Group) -> tuple[int, ...]:
    return group.written


fused.writes = _written
