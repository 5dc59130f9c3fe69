"""Buffers that are used again: an elementwise row may write its result over an input that dies.

So may a cross entropy its gradient. The input must be all of an array that a row of the program has
made, and nobody may read it, or a view of it, after this row: neither a later row nor the caller.
"""

from __future__ import annotations

import math

from .program import Known, Program, Row

__all__ = ["reusable"]

# Beside elementwise ones, operations whose results are always arrays of their own. (Others give
# back a view, or a copy, as the memory of their arguments happens to lie.)
_NAMES = """
    add_layer_norm add_layer_norm_vjp add_rms_norm add_rms_norm_vjp avg_pool batch_norm
    batch_norm_activation batch_norm_activation_vjp batch_norm_vjp conv2d conv_transpose2d
    cross_entropy_and_gradient dropout group_norm group_norm_vjp layer_norm layer_norm_vjp
    linear linear_activation linear_activation_vjp linear_vjp log_softmax log_softmax_grad matmul
    max_pool random_normal random_uniform rms_norm rms_norm_vjp softmax softmax_grad
"""
ALLOCATE = frozenset(_NAMES.split())
COMMUTE = ("add", "multiply")       # kernels write over their first input: the second may go there
RESULT = {"cross_entropy_and_gradient": 1}      # which result, of rows that are not elementwise


def reusable(program: Program) -> dict[int, int]:
    """For the rows that may: the place of the input that the result may be written over.

    >>> import tinygen as tg
    >>> from tinygen.jit import capture
    >>> reusable(capture(lambda x: tg.tanh(tg.exp(x) * x), tg.ones((3,))))
    {1: 0, 2: 0}
    """
    kept = {program.memory(y) for y in program.outputs}
    kept |= {program.kinds[i][2] for i in program.inputs}
    kept |= {x.memory for row in program.rows for x in row.inputs if isinstance(x, Known)}
    own: dict[int, int] = {}                              # memory -> elements, or 0
    last: dict[int, int] = {}                             # memory -> the last row that touches it
    for i, row in enumerate(program.rows):
        for o in row.outputs:
            if o is not None:
                _, shape, memory = program.kinds[o]
                last[memory] = i
                own.setdefault(memory, math.prod(shape) if _allocates(row) else 0)
        for x in row.slots():
            last[program.kinds[x][2]] = i
    found = {}
    for i, row in enumerate(program.rows):
        alone = 0 if row.op.elementwise and len(row.outputs) == 1 else None
        place = RESULT.get(row.op.name, alone)
        y = None if place is None else row.outputs[place]
        if y is None:
            continue
        for k, source in enumerate(row.inputs[:2 if row.op.name in COMMUTE else 1]):
            if not isinstance(source, int):
                continue
            dtype, shape, memory = program.kinds[source]
            if sum(program.memory(x) == memory for x in row.inputs) > 1:
                continue
            if (memory not in kept and last[memory] == i and own[memory] == math.prod(shape)
                    and program.kinds[y][:2] == (dtype, shape)):
                found[i] = k
                break
    return found


def _allocates(row: Row) -> bool:
    if row.op.name == "fused":
        return not row.attrs["group"].written
    return not row.op.writes and (row.op.elementwise or row.op.name in ALLOCATE)
