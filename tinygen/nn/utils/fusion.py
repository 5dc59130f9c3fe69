"""Batch normalisation folded into the convolution or linear layer before it, for inference."""

from __future__ import annotations

import copy
from typing import Any

from ... import ops
from ...autograd import no_grad
from ...tensor import Tensor
from ..module import Module, Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval",
           "fuse_linear_bn_weights"]


def fuse_conv_bn_weights(conv_w: Any, conv_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float,
                         bn_w: Any, bn_b: Any, transpose: bool = False) -> tuple[Any, Any]:
    """Weight and bias of a convolution that normalises its result with these statistics.

    w' = w * scale, b' = (b - mean) * scale + bn_b, scale = bn_w / sqrt(var + eps).
    """
    with no_grad():
        scale = ops.rsqrt(bn_rv + bn_eps)
        if bn_w is not None:
            scale = scale * bn_w
        shape = [1] * conv_w.ndim
        shape[1 if transpose else 0] = -1
        weight = conv_w * ops.reshape(scale, tuple(shape))
        bias = (-bn_rm if conv_b is None else conv_b - bn_rm) * scale
        if bn_b is not None:
            bias = bias + bn_b
    free = [conv_w.requires_grad, conv_w.requires_grad if conv_b is None else conv_b.requires_grad]
    weight, bias = (Parameter(t.astype(conv_w.dtype, copy=False), requires_grad=f)
                    for t, f in zip((weight, bias), free, strict=True))
    return weight, bias


def fuse_linear_bn_weights(linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float,
                           bn_w: Any, bn_b: Any) -> tuple[Any, Any]:
    """`fuse_conv_bn_weights` for a linear layer."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _fuse(layer: Any, bn: Any, op: str, transpose: bool) -> Any:
    if layer.training or bn.training:
        raise ValueError(f"[{op}] works for inference only: call eval() on both layers first")
    if not isinstance(bn.running_mean, Tensor) or not isinstance(bn.running_var, Tensor):
        raise ValueError(f"[{op}] the batch normalisation has no running statistics")
    fused = copy.deepcopy(layer)
    weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, bn.running_mean, bn.running_var,
                                        bn.eps, bn.weight, bn.bias, transpose)
    fused.weight, fused.bias = weight, bias
    return fused


def fuse_conv_bn_eval(conv: Module, bn: Module, transpose: bool = False) -> Module:
    """One convolution that does what `conv` and then `bn` do in evaluation.

    `transpose` is for transposed convolutions, whose outputs lie along axis 1 of the weight.
    """
    return _fuse(conv, bn, "fuse_conv_bn_eval", transpose)


def fuse_linear_bn_eval(linear: Module, bn: Any) -> Module:
    """One linear layer that does what `linear` and then `bn` do in evaluation."""
    features = getattr(linear, "out_features", None)
    if bn.num_features != features:
        raise ValueError(f"[fuse_linear_bn_eval] the linear layer has {features} outputs, the "
                         f"batch normalisation {bn.num_features} features")
    return _fuse(linear, bn, "fuse_linear_bn_eval", False)
