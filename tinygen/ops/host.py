"""What no operation computes: a NumPy function as a step of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend
from ..primitive import primitive
from ..tensor import Tensor

__all__ = ["numpy_function"]


@primitive(name="numpy_function")
def numpy_function_p(xp, *arrays, function):
    """The array that `function` makes of arrays in main memory."""
    return xp.asarray(np.asarray(function(*[backend.to_device(x, "cpu") for x in arrays])))


def numpy_function(function: Callable[..., Any], *inputs: Any) -> Tensor:
    """`function` of NumPy arrays, as an operation on tensors: without a gradient, and recorded.

    A recorded program calls it again at every replay. It must not change its arguments, nor do
    anything else that matters, and give arrays of the same shape and dtype for arguments of the
    same shapes.

    >>> import tinygen as tg
    >>> numpy_function(np.cumprod, tg.Tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 6.0]
    """
    given = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    return numpy_function_p(*[x.detach() for x in given], function=function)
