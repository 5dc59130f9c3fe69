"""One-line formulas of elementwise primitives, from which loops are made.

Each gives the result in terms of inputs x, y and z, and constants a, b and c: static arguments, in
the order of `CONSTANTS`. `one` and `zero` have the type of the arrays; functions are those of
`native/vecmath.py`.
"""

from __future__ import annotations

__all__ = ["CONSTANTS", "FORMULAS", "LOSSES", "MORE"]

FORMULAS = {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "divide": "x / y",
    "sqrt": "sqrt(x)",
    "rsqrt": "one / sqrt(x)",
    "exp": "exp(x)",
    "expm1": "expm1(x)",
    "log": "log(x)",
    "log1p": "log1p(x)",
    "tanh": "tanh(x)",
    "tanh_grad": "x * (one - y * y)",
    "relu": "x if not x < zero else zero",
    "relu_grad": "x * (one if y > zero else zero)",
    "leaky_relu": "x if x > zero else a * x",
    "leaky_relu_grad": "x * (one if y > zero else a)",
    "elu": "elu(x, a)",
    "elu_grad": "x * (one if y > zero else a * exp(y))",
    "sigmoid": "sigmoid(x)",
    "sigmoid_grad": "x * (y * (one - y))",
    "log_sigmoid": "log_sigmoid(x)",
    "log_sigmoid_grad": "x * sigmoid(-y)",
    "softplus": "x if a * x > b else softplus(a * x) * (one / a)",
    "softplus_grad": "x * (one if a * y > b else sigmoid(a * y))",
    "silu": "silu(x)",
    "silu_grad": "x * silu_slope(y)",
    "mish": "mish(x)",
    "mish_grad": "x * mish_slope(y)",
    "erf": "erf(x)",
    "gelu_exact": "gelu(x)",
    "gelu_exact_grad": "x * gelu_slope(y)",
    "gelu_tanh": "gelu_tanh(x)",
    "gelu_tanh_grad": "x * gelu_tanh_slope(y)",
    "bce_with_logits": "softplus(x) - x * y",
    "bce_with_logits_grad": "z * (sigmoid(x) - y)",
    "mse_loss": "(x - y) * (x - y)",
    "sum": "x",
}

# No kernels of their own: NumPy has them in one pass. They are for what jit puts together.
MORE = {
    "positive": "x",
    "negative": "-x",
    "square": "x * x",
    "reciprocal": "one / x",
    "absolute": "fabs(x)",
}

# Those of elements that are added up, unless their `reduction` is "none".
LOSSES = ("mse_loss", "bce_with_logits")

CONSTANTS = {
    "leaky_relu": ("slope",), "leaky_relu_grad": ("slope",), "elu": ("alpha",),
    "elu_grad": ("alpha",), "softplus": ("beta", "threshold"),
    "softplus_grad": ("beta", "threshold"),
}
