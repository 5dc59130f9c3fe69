"""Passes: each takes a program and gives one that computes the same, to the last bit.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: tg.exp(x) + tg.exp(x) * tg.sqrt(tg.full((2,), 4.0)), tg.ones((2,)))
>>> len(program.rows), len(program.optimized().rows)
(5, 3)
"""

from copy import copy

from ..program import Program
from .dead import dead_code
from .fold import fold_constants
from .same import common_subexpressions
from .ssa import single_assignment

__all__ = ["PASSES", "common_subexpressions", "dead_code", "fold_constants", "optimize",
           "single_assignment"]

PASSES = (single_assignment, fold_constants, common_subexpressions, dead_code)


def optimize(program: Program) -> Program:
    """All passes, in their order; the program remembers what it was before each of them."""
    before = []
    for improve in PASSES:
        before.append((improve.__name__, program))
        program = improve(program)
    program = copy(program)        # a pass with nothing to do gives back what it got
    program.before = tuple(before)
    return program
