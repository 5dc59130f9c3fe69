"""einops works on tensors without a word from the user: its backend is added when einops loads.

einops finds its backends among the subclasses of `einops._backends.AbstractBackend` that exist
when it meets an unknown type. tinygen must not import einops, so the subclass is made at the
moment when einops itself is imported: at once if that has happened, else by a finder that waits for
that one module name and then leaves.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

__all__ = ["offer_einops_backend"]

_MODULE = "einops._backends"


def offer_einops_backend() -> None:
    """Add tinygen's backend to einops, now or when einops is imported."""
    loaded = sys.modules.get(_MODULE)
    if loaded is not None and hasattr(loaded, "AbstractBackend"):
        _make_backend(loaded)
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """A finder that finds nothing, but sees when einops is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _make_backend(module)
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _make_backend(module: Any) -> None:
    """Put the subclass of einops' AbstractBackend for Tensor into einops' own module.

    A class knows its subclasses by weak references: somebody must hold this one.
    """
    if hasattr(module, "TinygenBackend"):
        return
    from . import ops
    from .tensor import Tensor

    class TinygenBackend(module.AbstractBackend):
        framework_name = "tinygen"

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, Tensor)

        def from_numpy(self, x: Any) -> Tensor:
            made = ops.asarray(x)
            return made.requires_grad_() if made.dtype.kind in "fV" else made

        def to_numpy(self, x: Tensor) -> Any:
            return x.detach().to(device="cpu").numpy()

        def arange(self, start: int, stop: int) -> Tensor:
            return ops.arange(start, stop)

        def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
            return ops.stack(tensors)

        def add_axis(self, x: Tensor, new_position: int) -> Tensor:
            return ops.expand_dims(x, new_position)

        def tile(self, x: Tensor, repeats: Any) -> Tensor:
            return ops.tile(x, repeats)

        def concat(self, tensors: Any, axis: int) -> Tensor:
            return ops.concat(tensors, axis=axis)

        def is_float_type(self, x: Tensor) -> bool:
            return x.dtype.kind in "fV"

        def einsum(self, pattern: str, *x: Tensor) -> Tensor:
            return ops.einsum(pattern, *x)

        def layers(self) -> Any:
            from .nn import einops
            return einops

    module.TinygenBackend = TinygenBackend
