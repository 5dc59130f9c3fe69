"""Recording: a function runs once under a tape, and its program is what the tape holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from ..mode import TAPE, CaptureError, local
from ..tensor import Tensor
from ..transforms import flatten, unflatten
from .around import Around
from .program import Known, Program, kind
from .tape import Tape, assign_p, check_total

__all__ = ["capture", "surroundings"]


def capture(function: Callable[..., Any], *args: Any, around: Around | None = None) -> Program:
    """Run `function(*args)` once and record its primitive calls, backward passes included.

    If it fails, everything that it changed is put back: values and gradients of tensors, states
    of optimizers and generators, attributes and lists, as far as they are in `around` (by default:
    what the function and its arguments hold). If `around` is given, what else changed in it, which
    a replay would not change, is an error too.

    Raises:
        CaptureError: the function looked at values (`item()`, `bool()`, `print`, `nonzero`, ...):
            see `tinygen.mode.reads`. Or a tensor that it read was changed in place meanwhile by
            other means than a primitive that names what it `writes`: replaying would miss that.
        RuntimeError: a capture is running in this thread already.
    """
    if local.mode & TAPE:
        raise RuntimeError("[capture] a capture is running in this thread already")
    checked = around is not None
    around = around or surroundings(function, args)
    try:
        return _captured(function, args, around, checked)
    except BaseException:
        around.back()
        raise


def surroundings(function: Callable[..., Any], args: Any) -> Around:
    """What is around a call of a function, as it is now."""
    from ..random import default_generator

    around = Around([("the generator of tinygen.random", default_generator()),
                     *(("an argument", x) for x in flatten(args) if not isinstance(x, Tensor))])
    around.follow(function)
    return around


def _captured(function: Callable[..., Any], args: Any, around: Around,
              checked: bool) -> Program:
    tape, before = Tape(around, strict=checked), (local.mode, local.tape)
    tensors = _tensors(args)
    inputs = [_argument(x) for x in tensors]
    slots = [tape.slot(x.data) for x in inputs]
    tape.watch(*inputs)
    given = iter(inputs)
    args = unflatten(args, (next(given) if isinstance(x, Tensor) else x for x in flatten(args)))
    chance, versions = _chance(), [x.seq for x in inputs]
    arrays = [x.data for x in inputs]
    for x in tensors:
        around.add(x, "an argument", owned=True)
    local.mode, local.tape = local.mode | TAPE, tape
    try:
        result = function(*args)
    finally:
        local.mode, local.tape = before
        for x, mine, version in zip(tensors, inputs, versions, strict=True):
            if mine.seq != version:
                x.touch()
    if any(x.grad is not None for x in inputs):
        raise CaptureError("[capture] an argument was given a gradient in its `.grad`, which a "
                           "replay could not do for other arguments: return gradients instead, "
                           "as tg.grad does")
    for (name, state), now in zip(chance, _chance(), strict=True):
        if now[1] != state:
            raise CaptureError(f"[capture] the function drew from {name}; a replay would get the "
                               "same numbers each time. Draw with tinygen.random, or outside the "
                               "function")
    for ref, *_ in list(tape.seen.values()):
        x = ref()
        if x is not None:
            tape.check(x)
    for entry in tape.totals.values():
        check_total(*entry)
    _check_views(tape)
    for mine, array in zip(inputs, arrays, strict=True):
        if mine.data is not array:
            raise CaptureError("[capture] an argument was given another array, which no replay "
                               "could do for other arguments; use x.assign_(value)")
    changed = around.change(tape.written | {*tape.totals}) if checked else None
    if changed is not None:
        raise CaptureError(f"[jit] the function changes {changed}; a replay would not. Keep it in "
                           "a tensor (a module's register_buffer), give it as an argument and "
                           "return it, or do it outside of the function")
    for row in tape.rows:
        for source in row.inputs:        # the state of an optimizer is made here, and changes
            if isinstance(source, Known) and id(source.array) in tape.written:
                source.fixed = False
    outputs = [tape.source_of(y) if isinstance(y, Tensor) else Known(y, True, None)
               for y in flatten(result)]
    graded = [x for x in tape.graded.values() if x.grad is not None]
    outputs += [tape.source_of(x.grad) for x in graded]
    outputs += [tape.source_of(g) for _, g in tape.sums.values()]
    cleared = [x for x in tape.graded.values() if x.grad is None]
    return Program(tape.rows, slots, [kind(x) for x in tensors], outputs, result, tape.kinds,
                   graded, cleared, [x for x, _ in tape.sums.values()],
                   list(tape.bare.values()), tape.told, list(tape.layers.values()))


def _check_views(tape: Tape) -> None:
    """Raise if values were assigned to a part of something that was made from nothing."""
    made = {x.memory for row in tape.rows for x in row.inputs if isinstance(x, Known) and x.fixed}
    for row in tape.rows:
        if row.op is assign_p:
            x = row.inputs[0]
            memory = tape.kinds[x][2] if isinstance(x, int) else x.memory
            if memory is not None and memory in made:
                raise CaptureError("[assign_] values were assigned to a view of a tensor that was "
                                   "made from nothing in the recorded function; write x[...] = "
                                   f"value into that tensor itself\n  at {row.line}")


def _chance() -> list[tuple[str, Any]]:
    """The states of the generators that everyone shares, beside tinygen's own."""
    kind, keys, *rest = np.random.get_state()
    return [("numpy.random", (kind, np.asarray(keys).tobytes(), *rest)),
            ("Python's random", random.getstate())]


def _argument(x: Tensor) -> Tensor:
    """A tensor of the recording's own in the memory of an argument.

    The same array may be two arguments, or be known to the function as a parameter too; the next
    arguments will be others.
    """
    mine = Tensor.wrap(x.data[...])
    return mine.requires_grad_() if x.requires_grad else mine


def _tensors(args: Any) -> list[Tensor]:
    return [x for x in flatten(args) if isinstance(x, Tensor)]
