"""Arrays without their owners, for the bodies of loops that several threads run."""

from __future__ import annotations

from llvmlite import ir
from numba.extending import intrinsic

__all__ = ["borrowed"]


@intrinsic
def borrowed(typingctx, array):
    """The array without its owner: its views count no references.

    The counter is one for all threads, and each view of a row changes it twice: softmax over 4096
    rows of 64 took 0.37 ms on one thread and 1.25 on two. Whoever calls the loop keeps the array.
    """
    def generate(context, builder, signature, values):
        made = context.make_array(signature.args[0])(context, builder, values[0])
        made.meminfo = ir.Constant(made.meminfo.type, None)
        return made._getvalue()
    return array(array), generate
