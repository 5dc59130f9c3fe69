"""Passes: each takes a program and gives one that computes the same.

Those of `PASSES` change no bit of the results. Those of `FUSING` put rows together where a backend
has kernels for that, and results agree to rounding.

>>> import tinygen as tg
>>> from tinygen.jit import capture
>>> program = capture(lambda x: tg.exp(x) + tg.exp(x) * tg.sqrt(tg.full((2,), 4.0)), tg.ones((2,)))
>>> len(program.rows), len(program.optimized(fuse=False).rows)
(5, 3)
"""

from copy import copy

from ..program import Program
from .chain import fuse_elementwise
from .dead import dead_code
from .epilogue import product_epilogues
from .fold import fold_constants
from .gather import gather_small
from .last import updates_last
from .losses import loss_gradients
from .norms import norm_activations
from .residuals import join_residuals
from .same import common_subexpressions
from .ssa import single_assignment
from .transposes import fold_views, transposed_operands
from .unread import drop_unread

__all__ = ["FUSING", "PASSES", "common_subexpressions", "dead_code", "drop_unread",
           "fold_constants", "fold_views", "fuse_elementwise", "gather_small", "join_residuals",
           "loss_gradients", "norm_activations", "optimize", "product_epilogues",
           "single_assignment", "transposed_operands", "updates_last"]

PASSES = (single_assignment, fold_constants, fold_views, common_subexpressions, drop_unread,
          dead_code)
FUSING = (transposed_operands, product_epilogues, norm_activations, join_residuals,
          loss_gradients, fuse_elementwise, gather_small)


def optimize(program: Program, fuse: bool = True) -> Program:
    """All passes, in their order; the program remembers what it was before each of them."""
    before = []
    for improve in (*PASSES, *(FUSING if fuse else ()), updates_last):
        before.append((improve.__name__, program))
        program = improve(program)
    program = copy(program)        # a pass with nothing to do gives back what it got
    program.before = tuple(before)
    return program
