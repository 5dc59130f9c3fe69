"""tinygen: a deep-learning engine for generative models, small enough to read."""

import numpy as _np

from . import autograd, ops, random
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
from . import nn
from . import optim

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64 = _np.int8, _np.int16, _np.int32, _np.int64
uint8, bool_ = _np.uint8, _np.bool_
