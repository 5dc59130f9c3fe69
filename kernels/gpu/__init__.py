"""Kernels in CUDA C for CuPy arrays, one file per family of primitives.

The files here say which calls are taken (type, layout, size), and with which grids; the kernels are
in `source/`, compiled by NVRTC when the first of a file is used. A kernel declines a call by
returning a string that says why. This package is imported when the first CuPy array is used.
"""

import importlib.util
import sys

if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
    raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

from . import arithmetic, channels, linear, norm, softmax  # noqa: E402, F401
from . import dropout, element_loss, gather, padding, pointwise  # noqa: E402, F401
from . import recurrent, updates, windows  # noqa: E402, F401
from . import attention, chains, conv, matmul  # noqa: E402, F401
