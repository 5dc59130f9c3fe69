"""Which operations run in 16 bits under autocast, and which in float32.

PyTorch's lists for CUDA ("Autocast Op Reference"), for both devices, so that a model computes on
the CPU what it will on a GPU. PyTorch's own list for CPUs is shorter: softmax, sums, norms and
logarithms stay in bfloat16 there. Operations that are in neither list run in the widest type of
their inputs, and inside of every operation sums are those of float32.
"""

from __future__ import annotations

from ..casting import FUNCTIONS

__all__ = ["FLOAT32", "HALF"]

# Sums of products, which is what tensor cores are for.
HALF = frozenset((
    "attend", "attention", "conv2d", "conv_transpose2d", "einsum", "gru_sequence", "linear",
    "linear_activation", "lstm_sequence", "matmul", "rnn_sequence"))

# What overflows or cancels: exponentials and logarithms, powers, sums, norms, losses, matrices.
FLOAT32 = FUNCTIONS | frozenset((
    "acos", "asin", "cosh", "sinh", "tan", "erfinv", "exp", "expm1", "log", "log10",
    "log1p", "log2", "power", "square", "reciprocal", "rsqrt",
    "sum", "prod", "cumsum", "logsumexp", "softmax", "log_softmax", "vector_norm",
    "group_norm", "layer_norm", "rms_norm",
    "bce", "bce_with_logits", "cross_entropy", "ctc", "mse_loss", "softplus",
    "cholesky", "det", "eigh", "inv", "lu_factor", "matrix_exp", "matrix_rank", "pinv", "qr",
    "slogdet", "solve", "solve_triangular", "svd"))
