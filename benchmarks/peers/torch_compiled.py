"""PyTorch with torch.compile: the models, operations and optimizer steps of the eager side."""

from __future__ import annotations

import dataclasses

import torch

from ..operations import Work, micro
from ..rows import Row
from . import torch_workloads as eager

__all__ = ["load", "version"]

_LIBRARY = dataclasses.replace(eager.LIBRARY, compile=torch.compile)


def version() -> str:
    """What was measured, for the report."""
    return f"PyTorch {torch.__version__} torch.compile"


def load(row: Row) -> Work:
    """The work of a row; the first step compiles. Nothing compiled for another row is kept."""
    torch.compiler.reset()
    if row.group == "micro":
        torch.manual_seed(0)
        return micro(_LIBRARY, row.options)
    return eager.load(row, torch.compile)
