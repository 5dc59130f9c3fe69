"""jit: a function is recorded once, improved, and replayed as one list of calls.

The module can be called: `tg.jit(step)` and `@tg.jit` are `tinygen.jit.jit`.
"""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import Any as _Any

from ..mode import CaptureError
from .function import Jitted, jit
from .program import Program
from .recording import capture

__all__ = ["CaptureError", "Jitted", "Program", "capture", "jit"]


class _Callable(_ModuleType):
    def __call__(self, function: _Any = None, **options: _Any) -> _Any:
        return jit(function, **options)


_sys.modules[__name__].__class__ = _Callable
