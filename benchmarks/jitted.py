"""tinygen with `tg.jit`: the training steps of the eager side, recorded, improved and replayed.

Models of the library are trained as the Trainer does it, by `jit(model.training_step)`. What
chooses by values (sampling of text) and single operations have no counterpart.
"""

from __future__ import annotations

import numpy as np

import tinygen as tg

from . import workloads as eager
from .operations import Unsupported, Work
from .rows import Row

__all__ = ["load", "version"]


def version() -> str:
    """What was measured, for the report."""
    return f"tinygen {tg.__version__} jit, NumPy {np.__version__}"


def load(row: Row) -> Work:
    """The work of a row; the first step records."""
    if row.group == "micro":
        raise Unsupported("jit is for whole steps")
    if row.options["model"] == "gpt-sampling":
        raise Unsupported("the next token is chosen by values")
    return eager.load(row, tg.jit)
