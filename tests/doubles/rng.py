"""`cupy.random`: the generators that the project uses, with NumPy's streams behind them."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from . import capture, names
from .array import run
from .counting import count
from .functions import _shape

__all__ = ["Generator", "Philox4x3210", "random"]


class Philox4x3210:
    """A seed for a `Generator`; as in CuPy, its state cannot be read."""

    def __init__(self, seed: Any = None, *, size: int = -1):
        self._bits = np.random.Philox(seed)


class Generator:
    """Draws whose arguments CuPy's class has; parameters may be device arrays."""

    def __init__(self, bit_generator: Any):
        if not isinstance(bit_generator, Philox4x3210):
            raise TypeError(f"a bit generator of cupy.random is needed, got {bit_generator!r}")
        self._bit_generator = bit_generator
        self._stream = np.random.Generator(bit_generator._bits)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in names.TABLE["Generator"]:
            raise AttributeError(f"'cupy.random.Generator' object has no attribute {name!r}")

        def draw(*args: Any, **kwargs: Any) -> Any:
            names.check("Generator", name, (self, *args), kwargs)
            kind = kwargs.pop("dtype", None)
            if name in ("random", "standard_normal", "integers") and kind is not None:
                kwargs["dtype"] = kind
            function = getattr(self._stream, name)
            if "size" in kwargs and kwargs["size"] is not None:
                kwargs["size"] = _shape(kwargs["size"])
            y = run(f"random.{name}", function, args, kwargs)
            if not hasattr(y, "_a"):          # a number of Python: CuPy gives an array
                from .array import wrap
                y = wrap(np.asarray(y))
            return y if kind is None or y.dtype == kind else y.astype(kind)
        return draw


class RandomState:
    """The older class, of which only angles are drawn here."""

    def __init__(self, seed: Any = None, method: Any = None):
        self._stream = np.random.RandomState(seed)

    def vonmises(self, mu: Any, kappa: Any, size: Any = None, dtype: Any = float) -> Any:
        """Angles of the circular normal law."""
        capture.refuse("RandomState.vonmises")
        y = run("random.vonmises", self._stream.vonmises, (mu, kappa), {"size": size})
        return y.astype(dtype)


def seed(seed: Any = None) -> None:
    """Restart CuPy's own default stream, which tinygen does not draw from."""
    count("launches", "random.seed")


def random() -> types.ModuleType:
    """The module `cupy.random`."""
    module = types.ModuleType("cupy.random")
    for part in (Generator, Philox4x3210, RandomState, seed):
        setattr(module, part.__name__, part)
    return module
