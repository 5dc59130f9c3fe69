"""Numba kernels for NumPy arrays, one file per family of primitives.

The files here are light: each says which calls its kernels take (type, layout, size) and hands
those to the compiled functions in `native/`, which imports Numba on the first call that is taken.
What was compiled is cached on disk. A kernel declines a call by returning a string that says why.
"""

import importlib.util

if importlib.util.find_spec("numba") is None:
    raise ModuleNotFoundError("No module named 'numba'", name="numba")

from . import attention, channels, conv, dropout, matmul, pointwise, recurrent, rows, updates  # noqa: E402, F401
from . import fused, gather, losses, windows  # noqa: E402, F401
