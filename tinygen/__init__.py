"""tinygen: a deep-learning engine for generative models, small enough to read."""

from typing import Any as _Any

import numpy as _np

from . import autograd, linalg, nn, ops, optim, random, signal
from ._version import __version__
from .anomaly import AnomalyError, detect_anomaly
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .backend import Generator
from .checkpoint import checkpoint
from .ops import *  # noqa: F403
from .random import manual_seed, rand, randn
from .serialization import load, save
from .tensor import Tensor
from .transforms import grad, hessian, jacobian, jvp, value_and_grad, vjp

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64 = _np.int8, _np.int16, _np.int32, _np.int64
uint8, bool_ = _np.uint8, _np.bool_

# What other libraries call it -> what to write here, for the error message.
_ELSEWHERE = {
    "cat": "concat(xs, axis=...)", "unsqueeze": "expand_dims(x, axis)",
    "clamp": "clip(x, min, max)",
    "permute": "permute_dims(x, axes)", "view": "reshape(x, shape)", "mm": "matmul(a, b)",
    "bmm": "matmul(a, b)", "gather": "take_along_axis(x, indices, axis)", "sub": "subtract(x, y)",
    "mul": "multiply(x, y)", "div": "divide(x, y)", "neg": "negative(x)", "eq": "equal(x, y)",
    "ne": "not_equal(x, y)", "lt": "less(x, y)", "le": "less_equal(x, y)", "gt": "greater(x, y)",
    "ge": "greater_equal(x, y)", "chunk": "split(x, parts, axis)", "as_tensor": "asarray(data)",
    "array": "Tensor(data)", "repeat_interleave": "repeat(x, repeats, axis)", "float": "float32",
    "double": "float64", "half": "float16", "long": "int64", "randint": "random.randint(...)",
    "randperm": "random.permutation(n)", "bernoulli": "random.bernoulli(p)",
    "normal": "random.normal(shape)", "seed": "manual_seed(n)", "norm": "sqrt((x * x).sum(axis))",
    "masked_select": "x[mask]", "index_select": "take(x, indices, axis)", "Variable": "Tensor",
    "Module": "nn.Module", "functional": "nn.functional", "GradientTape": "grad or backward()",
}


def __getattr__(name: str) -> _Any:
    if name in _ELSEWHERE:
        raise AttributeError(f"tinygen has no {name!r}; use tinygen.{_ELSEWHERE[name]}")
    raise AttributeError(f"module 'tinygen' has no attribute {name!r}")
