"""SparseAdam, which needs sparse gradients, is refused by name."""

from __future__ import annotations

from typing import Any

__all__ = ["SparseAdam"]


class SparseAdam:
    """PyTorch's Adam for sparse gradients; tinygen's gradients are dense, so it cannot be made.

    Raises:
        NotImplementedError: always. `Adam` moves all rows of an embedding, also those that had no
            gradient, by their running means; with `betas=(0.0, ...)` they rest.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError(
            "[SparseAdam] needs sparse gradients, and those of tinygen are dense: use Adam "
            "(betas=(0.0, 0.999) leaves elements without a gradient where they are)")
