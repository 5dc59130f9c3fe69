"""Every primitive of the engine, and the functions made of them, under NumPy's names."""

# ruff: noqa: F401, A004  (this file is the list of what the package offers)
from .activation import elu, erf, gelu, leaky_relu, log_sigmoid, relu, sigmoid, silu, softplus
from .creation import (
    arange, asarray, empty, empty_like, eye, from_numpy, full, full_like, linspace, meshgrid,
    ones, ones_like, zeros, zeros_like,
)
from .elementwise import (
    absolute, acos, acosh, add, asin, asinh, atan, atan2, atanh, ceil, cos, cosh, divide, equal,
    exp, exp2, expm1, floor, floor_divide, greater, greater_equal, isfinite, isinf, isnan, less,
    less_equal, log, log1p, log2, log10, logical_and, logical_not, logical_or, logical_xor,
    maximum, minimum, multiply, negative, not_equal, positive, power, reciprocal, remainder,
    rsqrt, sign, sin, sinh, sqrt, square, subtract, tan, tanh, trunc, where,
)
from .index import (
    argsort, diagonal, getitem, nonzero, one_hot, put_index, scatter_add, sort, take,
    take_along_axis, topk,
)
from .linalg import dot, einsum, linear, matmul, outer, tensordot, trace
from .methods import clip, masked_fill
from .reduce import (
    all, any, argmax, argmin, count_nonzero, cumprod, cumsum, logsumexp, max, mean, min, prod,
    std, sum, var,
)
from .shape import (
    astype, broadcast_arrays, broadcast_to, concat, expand_dims, flatten, flip, matrix_transpose,
    moveaxis, permute_dims, repeat, reshape, roll, split, squeeze, stack, swapaxes, tile,
    transpose, tril, triu,
)
from .conv import conv2d, conv_transpose2d
from .loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, kl_div,
    l1_loss, mse_loss, nll_loss, smooth_l1_loss,
)
from .norm import batch_norm, layer_norm, log_softmax, softmax
from .padding import pad
from .pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
