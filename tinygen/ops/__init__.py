"""Every primitive of the engine, and the functions made of them, under NumPy's names."""

# ruff: noqa: F401, A004  (this file is the list of what the package offers)
from .activation import elu, erf, gelu, leaky_relu, log_sigmoid, relu, sigmoid, silu, softplus
from .batchnorm import batch_norm, instance_norm
from .creation import (
    arange, asarray, empty, empty_like, eye, from_numpy, full, full_like, geomspace, identity,
    linspace, logspace, meshgrid, ones, ones_like, tensor, zeros, zeros_like,
)
from .elementwise import (
    absolute, acos, acosh, add, asin, asinh, atan, atan2, atanh, ceil, cos, cosh, divide, equal,
    exp, exp2, expm1, floor, floor_divide, greater, greater_equal, isfinite, isinf, isnan, less,
    less_equal, log, log1p, log2, log10, logical_and, logical_not, logical_or, logical_xor,
    maximum, minimum, multiply, negative, not_equal, positive, power, reciprocal, remainder,
    rsqrt, sign, sin, sinh, sqrt, square, subtract, tan, tanh, trunc, where,
)
from .index import (
    argpartition, argsort, diagonal, getitem, nonzero, one_hot, partition, put_index, scatter_add,
    sort, take, take_along_axis, topk,
)
from .dense import linear, linear_activation
from .linalg import dot, einsum, matmul, outer, tensordot, trace
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
from .loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, kl_div,
    l1_loss, mse_loss, nll_loss, smooth_l1_loss,
)
from .norm import layer_norm, log_softmax, rms_norm, softmax
from .padding import pad
from . import adaptive, arrange, conv, floating, pool, running, scattering, special, statistics
from .adaptive import *
from .arrange import *
from .attention import attention
from .conv import *
from .floating import *
from .pool import *
from .running import *
from .scattering import *
from .special import *
from .statistics import *
from . import bitwise, dtypes, linalg_products
from .bitwise import *
from .dtypes import *
from .linalg_products import *
from . import lstm, recurrent
from .lstm import *
from .recurrent import *

# The names that NumPy and the array API give to the same functions.
abs, pow, mod, concatenate, true_divide = absolute, power, remainder, concat, divide
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
amax, amin = max, min

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "all", "amax", "amin",
    "any", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "argmax", "argmin", "argpartition", "argsort", "asarray", "asin", "asinh", "astype", "atan",
    "atan2", "atanh", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "broadcast_arrays", "broadcast_to",
    "ceil", "clip", "concat", "concatenate", "cos", "cosh",
    "count_nonzero", "cross_entropy", "cumprod", "cumsum", "diagonal", "divide", "dot",
    "einsum", "elu", "empty", "empty_like", "equal", "erf", "exp", "exp2", "expand_dims",
    "expm1", "eye", "flatten", "flip", "floor", "floor_divide", "from_numpy", "full",
    "full_like", "gelu", "geomspace", "getitem", "identity", "logspace",
    "greater", "greater_equal", "huber_loss",
    "isfinite", "isinf", "isnan", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "less",
    "less_equal", "linear", "linspace", "log", "log10", "log1p", "log2", "log_sigmoid",
    "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp",
    "masked_fill", "matmul", "matrix_transpose", "max", "maximum", "mean",
    "meshgrid", "min", "minimum", "mod", "moveaxis", "mse_loss", "multiply", "negative",
    "nll_loss", "nonzero", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad", "partition",
    "permute_dims", "positive", "pow", "power", "prod", "put_index", "reciprocal", "relu",
    "remainder", "repeat", "reshape", "roll", "rsqrt", "scatter_add", "sigmoid", "sign", "silu",
    "sin", "sinh", "smooth_l1_loss", "softmax", "softplus", "sort", "split", "sqrt", "square",
    "squeeze", "stack", "std", "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan",
    "tanh", "tensor", "tensordot", "tile", "topk", "trace", "transpose", "tril", "triu",
    "true_divide", "trunc", "var", "where", "zeros", "zeros_like", "instance_norm", "rms_norm",
]
__all__ += arrange.__all__ + floating.__all__ + running.__all__
__all__ += ["attention"]
__all__ += scattering.__all__ + statistics.__all__
__all__ += lstm.__all__ + recurrent.__all__
__all__ += special.__all__
__all__ += adaptive.__all__ + conv.__all__ + pool.__all__
__all__ += bitwise.__all__ + dtypes.__all__ + linalg_products.__all__
