"""PyTorch's nn.functional: tinygen has the same names and arguments, so most need no words."""

from __future__ import annotations

from typing import Any

import tinygen as tg
from tests.suites.opinfo.harness import Refused

F = tg.nn.functional


def functional(name: str) -> Any:
    return lambda *args, **options: getattr(F, name)(*args, **options)


SAME = """cross_entropy normalize cosine_similarity adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d
    avg_pool2d avg_pool3d binary_cross_entropy_with_logits relu conv_transpose1d conv_transpose2d
    conv_transpose3d conv1d conv2d conv3d group_norm instance_norm layer_norm rms_norm
    local_response_norm pad/constant pad/reflect pad/replicate pad/replicate_negative pad/circular
    hardswish unfold interpolate/nearest interpolate/nearest-exact interpolate/linear
    interpolate/bilinear interpolate/bicubic interpolate/trilinear interpolate/area
    soft_margin_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss leaky_relu
    multilabel_soft_margin_loss max_pool1d max_pool2d max_pool3d max_unpool1d max_unpool1d/grad
    max_unpool2d max_unpool2d/grad max_unpool3d max_unpool3d/grad linear bilinear glu elu prelu
    celu selu scaled_dot_product_attention silu hardsigmoid logsigmoid mish softsign tanhshrink
    threshold triplet_margin_loss triplet_margin_with_distance_loss batch_norm
    binary_cross_entropy softshrink hardshrink hardtanh gelu relu6 embedding embedding_bag
    softplus mse_loss grid_sample ctc_loss cosine_embedding_loss nll_loss gaussian_nll_loss
    hinge_embedding_loss huber_loss pdist poisson_nll_loss pairwise_distance pixel_shuffle
    pixel_unshuffle channel_shuffle kl_div smooth_l1_loss l1_loss softmin softmin/with_dtype
    linear_cross_entropy linear_cross_entropy/chunked
    linear_cross_entropy/chunked_none upsample_bilinear upsample_nearest"""

ADAPTERS: dict[str, Any] = {
    f"nn.functional.{name}": functional(name.partition("/")[0]) for name in SAME.split()}
def attention(*xs: Any, dropout_p: float = 0.0, **options: Any) -> Any:
    if dropout_p:
        raise Refused("dropout draws at random")
    return F.scaled_dot_product_attention(*xs, **options)


def batch_norm(x: Any, *args: Any, **options: Any) -> Any:
    if x.ndim < 2:
        raise Refused("a batch without channels")
    return F.batch_norm(x, *args, **options)


def embedding(weight: Any, index: Any, *args: Any, **options: Any) -> Any:
    return F.embedding(index, weight, *args, **options)


def embedding_bag(weight: Any, index: Any, *args: Any, **options: Any) -> Any:
    return F.embedding_bag(index, weight, *args, **options)


def triplet(*xs: Any, distance_function: Any = None, **options: Any) -> Any:
    """PyTorch's samples name its own module for the distance."""
    ours = None if distance_function is None else tg.nn.functional.pairwise_distance
    return F.triplet_margin_with_distance_loss(*xs, distance_function=ours, **options)


ADAPTERS |= {
    "nn.functional.triplet_margin_with_distance_loss": triplet,
    "nn.functional.scaled_dot_product_attention": attention,
    "nn.functional.batch_norm": batch_norm, "nn.functional.embedding": embedding,
    "nn.functional.embedding_bag": embedding_bag,
    "softmax": lambda x, dim, dtype=None: F.softmax(x, dim, dtype=dtype),
    "softmax/with_dtype": lambda x, dim, dtype=None: F.softmax(x, dim, dtype=dtype),
    "log_softmax": lambda x, dim, dtype=None: F.log_softmax(x, dim, dtype=dtype),
    "log_softmax/with_dtype": lambda x, dim, dtype=None: F.log_softmax(x, dim, dtype=dtype),
    "constant_pad_nd": lambda x, pad, value=0: F.pad(x, pad, "constant", value),
}
