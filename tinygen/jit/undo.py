"""A replay that fails half-way leaves everything as it was, but gradients of large models.

Updates stand at the end of a program (`passes.last`), so most failures come before anything has
changed. What is changed earlier is copied before each replay, and so is where generators stand;
the last update needs no copy, because a kernel runs as a whole or not at all. Gradients are
handed out when all rows have run; those that they replace are put back, or, where they are more
than 256 KB, gone by then, as after `zero_grad`: memory for both would be a step's peak.

One thing is not copied: an update of more than `SMALL` bytes in the middle of a program after
which no row can fail because of its values. Such is the discriminator's in a GAN; its copies would
take 0.35 ms of a step of 3.5 (MLP of 233,000 weights, two cores). There, running out of memory or
Ctrl-C between the two updates leaves the first one done, as it does without jit. On a GPU, where a
copy of any size is a launch and no operation looks at values, that is so of small updates too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from ..backend import Generator
from ..tensor import Tensor
from .bind import array_type
from .kept import set_state, state_of
from .program import Known, Program, Row, changed_inputs

__all__ = ["Undo"]

SMALL = 1 << 18         # bytes that are copied in any case: some 20 us
TINY = 1 << 14          # and by each row
# Beside elementwise operations, those that succeed for all values
_SURE = """
    add_layer_norm add_rms_norm all any argmax argmin attention avg_pool avg_unpool batch_norm
    batch_norm_activation bce_with_logits broadcast_to channel_sum concat conv2d conv2d_weight
    conv_transpose2d cumsum dropout flip group_norm layer_norm linear linear_activation
    log_softmax log_softmax_grad logsumexp matmul max max_pool max_unpool mean min mse_loss pad
    permute_dims prod reshape resample rms_norm roll scale_channels softmax softmax_grad
    split_heads std sum total_norm tril triu unpad unstack var
"""
SURE = frozenset(_SURE.split())


class Undo:
    """What a replay of a program may have to put back: made once, used at every call."""

    def __init__(self, program: Program):
        exposed = _exposed(program)
        self.places = [i for i, slot in enumerate(program.inputs)
                       if program.kinds[slot][2] in exposed]
        self.outside = list({id(x): x for x in _outside(program, exposed)}.values())
        self.generators = list({id(g): g for g in _generators(program)
                                if g.device == "cpu"}.values())      # those of a GPU go on

    @property
    def needed(self) -> bool:
        """Is there anything to keep?"""
        return bool(self.places or self.outside or self.generators)

    def keep(self, tensors: list[Tensor]) -> Callable[[], None]:
        """Copy what may change too early; the function that puts it back."""
        arrays = [x.data for x in self.outside] + [tensors[i].data for i in self.places]
        copies = [a.copy() for a in arrays]
        states = [state_of(g) for g in self.generators]

        def back() -> None:
            for array, copy in zip(arrays, copies, strict=True):
                array[...] = copy
            for generator, state in zip(self.generators, states, strict=True):
                set_state(generator, state)
        return back


def _exposed(program: Program) -> set[int]:
    """The memories that are changed before a row that may fail."""
    rows = program.rows
    on_cpu = array_type(program) is np.ndarray
    end = len(rows) - 1 if rows and program.written(rows[-1]) else len(rows)
    sizes = _sizes(program)
    early = {m for row in rows[:end] for m in program.written(row) if m in sizes}
    if on_cpu and sum(sizes[m] for m in early) <= SMALL:
        return early
    found: set[int] = set()
    risky = False
    for row in reversed(rows[:end]):
        changed = {m for m in program.written(row) if m in sizes}
        if risky or (on_cpu and sum(sizes[m] for m in changed) <= TINY):     # all, or nothing
            found |= changed
        risky = risky or not (_is_sure(row) if on_cpu else row.op.name != "numpy_function")
    return found


def _is_sure(row: Row) -> bool:
    """Is there no value of its inputs for which it fails?"""
    if row.parts:
        return all(map(_is_sure, row.parts))
    name = row.op.name.removesuffix("_vjp")
    return bool(row.op.elementwise or row.op.writes or name in SURE or name.startswith("random_"))


def _sizes(program: Program) -> dict[int, int]:
    """The bytes of each memory that outlives a replay: of arguments and tensors from outside."""
    found: dict[int, int] = {}
    for slot in program.inputs:
        dtype, shape, memory = program.kinds[slot]
        found[memory] = prod(shape) * dtype.itemsize
    for row in program.rows:
        for x in row.inputs:
            if isinstance(x, Known) and x.memory is not None and isinstance(x.value, Tensor):
                found[x.memory] = max(found.get(x.memory, 0), x.value.nbytes)
    return found


def _outside(program: Program, memories: set[int]) -> Iterator[Tensor]:
    """The tensors from outside that lie in some memories; those that are written, if there are."""
    written = {id(x) for row in program.rows if row.op.writes
               for x in changed_inputs(row.op, row.inputs, row.attrs) if isinstance(x, Known)}
    found: dict[int, list[Known]] = {}
    for row in program.rows:
        for x in row.inputs:
            if isinstance(x, Known) and x.memory in memories and isinstance(x.value, Tensor):
                found.setdefault(x.memory, []).append(x)
    for known in found.values():
        chosen = [x for x in known if id(x) in written] or known
        yield from (x.value for x in chosen)


def _generators(program: Program) -> Iterator[Generator]:
    def walk(row: Row) -> Iterator[Generator]:
        if isinstance(row.attrs.get("generator"), Generator):
            yield row.attrs["generator"]
        for part in row.parts:
            yield from walk(part)
    for row in program.rows:
        yield from walk(row)
