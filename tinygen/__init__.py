"""tinygen: a deep-learning engine for generative models, small enough to read."""

from typing import Any as _Any

import numpy as _np

from . import autograd, cuda, linalg, nn, ops, optim, random, signal, special
from ._version import __version__
from .anomaly import AnomalyError, detect_anomaly
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .array_api import ArrayNamespaceInfo, from_dlpack
from .backend import Generator
from .checkpoint import checkpoint
from .interop import offer_einops_backend as _offer_einops_backend
from .ops import *  # noqa: F403
from .random import bernoulli, manual_seed, multinomial, poisson, rand, randn
from .serialization import load, save
from .tensor import Tensor
from .threads import get_num_threads, set_num_threads
from .transforms import grad, hessian, jacobian, jvp, value_and_grad, vjp

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64 = _np.int8, _np.int16, _np.int32, _np.int64
uint8, uint16, uint32, uint64 = _np.uint8, _np.uint16, _np.uint32, _np.uint64
bool_ = bool = _np.bool_

e, pi, inf, nan, newaxis = _np.e, _np.pi, _np.inf, _np.nan, None

# `dim` and `keepdim` mean `axis` and `keepdims`, as in the methods of Tensor.
for _name in ops.__all__:
    _fn = getattr(ops, _name)
    globals()[_name] = ops.methods.with_dims_if_any(_fn)


def __array_namespace_info__() -> ArrayNamespaceInfo:
    """What this array API namespace can do: capabilities, devices, types."""
    return ArrayNamespaceInfo()


_offer_einops_backend()


def __getattr__(name: str) -> _Any:
    # Imported on first use: a light `import tinygen`.
    if name in ("amp", "distributions", "jit"):
        from importlib import import_module
        return import_module(f".{name}", __name__)
    if name in ("GradScaler", "autocast"):
        from . import amp
        return getattr(amp, name)
    if name == "bfloat16":                           # needs ml_dtypes
        from .backend import bfloat16
        return bfloat16().type
    from ._elsewhere import hint
    raise AttributeError(hint(name) if not name.startswith("__") else (
        f"module 'tinygen' has no attribute {name!r}"))
