"""What works on parameters, gradients and sequences rather than being a layer itself."""

from typing import Any as _Any

from . import fusion, parametrizations, parametrize, rnn, stateless
from .clip import *
from .fusion import *
from .normed import *

_ELSEWHERE = {
    "clip_grad_norm": "use clip_grad_norm_", "clip_grad_value": "use clip_grad_value_",
    "clip_grads_with_norm_": "use clip_grad_norm_, which finds the norm itself",
    "skip_init": "make the layer as it is: drawing its weights costs little",
    "convert_conv2d_weight_memory_format": "weights lie in memory as the convolution needs them",
    "convert_conv3d_weight_memory_format": "weights lie in memory as the convolution needs them",
}


def __getattr__(name: str) -> _Any:
    if name in _ELSEWHERE:
        raise AttributeError(f"tinygen.nn.utils has no {name!r}: {_ELSEWHERE[name]}")
    raise AttributeError(f"module 'tinygen.nn.utils' has no attribute {name!r}")
