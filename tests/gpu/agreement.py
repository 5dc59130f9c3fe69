"""A kernel against its primitive's definition in float64, in every order of threads."""

import numpy as np

from tests.doubles.cuda.build import ORDERS
from tests.gpu.running import TOLERANCE, agrees, definition, launch

__all__ = ["check"]


def check(cupy, name, dtype, *inputs, scale=1.0, **attrs):
    """Run a kernel on inputs rounded to a type: near the definition, with the same bits always.

    `scale` times the type's tolerance is allowed. Returns what the kernel gave.
    """
    rounded = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
               for x in inputs]
    wanted = definition(name, *rounded, **attrs)
    bits = None
    for order in range(len(ORDERS)):
        found = launch(cupy, name, *rounded, order=order, **attrs)
        several = found if isinstance(found, tuple) else (found,)
        for got, want in zip(several, wanted if isinstance(wanted, tuple) else (wanted,)):
            if got is not None and want is not None:
                agrees(got, want, scale * TOLERANCE[np.dtype(dtype)])
        now = [None if y is None else y.tobytes() for y in several]
        assert bits in (None, now), "the order of threads changes the result"
        bits = now
    return found
