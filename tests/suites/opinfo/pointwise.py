"""PyTorch's elementwise functions in tinygen's words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygen as tg
from tests.suites.opinfo.harness import Refused

SAME = """abs acos acosh asin asinh atan atanh ceil copysign cos cosh deg2rad digamma
    eq=equal erf erfc erfinv exp exp2 expm1 floor fmax fmin fmod frexp ge=greater_equal
    gt=greater heaviside hypot i0 isfinite isinf isnan isposinf isneginf le=less_equal ldexp lerp
    lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor lt=less maximum max/binary=maximum minimum min/binary=minimum mul=multiply
    ne=not_equal neg=negative nextafter positive pow=power rad2deg reciprocal rsqrt sigmoid
    sign signbit sgn=sign sin sinc sinh sqrt square tan tanh trunc true_divide remainder
    div/no_rounding_mode=divide xlogy atan2 nan_to_num igamma=gammainc igammac=gammaincc
    floor_divide __radd__=add __rmul__=multiply where logit
    special.i0e=i0e special.i1=i1 special.i1e=i1e special.ndtr=ndtr special.xlog1py=xlog1py
    special.zeta=zeta special.entr=entr special.ndtri=ndtri special.log_ndtr=log_ndtr
    special.erfcx=erfcx special.bessel_j0=bessel_j0 special.bessel_j1=bessel_j1
    special.bessel_y0=bessel_y0 special.bessel_y1=bessel_y1
    special.modified_bessel_i0=i0 special.modified_bessel_i1=i1
    special.modified_bessel_k0=k0 special.modified_bessel_k1=k1
    special.scaled_modified_bessel_k0=k0e special.scaled_modified_bessel_k1=k1e
    special.spherical_bessel_j0=spherical_bessel_j0 bitwise_and bitwise_or bitwise_xor
    bitwise_not=bitwise_invert bitwise_left_shift bitwise_right_shift gcd lcm
    __rand__=bitwise_and __ror__=bitwise_or __rxor__=bitwise_xor"""


def named(name: str) -> Any:
    """tinygen's function: in the package or in its `special` namespace."""
    def call(*args: Any, **options: Any) -> Any:
        fn = getattr(tg.ops, name, None) or getattr(tg.special, name)
        return fn(*args, **options)
    return call


def div(x, y, rounding_mode=None):
    if rounding_mode == "floor":
        return tg.floor_divide(x, y)
    return x / y if rounding_mode is None else tg.trunc(x / y)


def clamp(x, min=None, max=None):
    if min is None and max is None:
        return x * 1
    low = tg.maximum(x, min) if isinstance(min, tg.Tensor) else x if min is None else None
    x = tg.clip(x, min=min) if low is None else low
    high = tg.minimum(x, max) if isinstance(max, tg.Tensor) else x if max is None else None
    return tg.clip(x, max=max) if high is None else high


def round_(x, decimals=0):
    return x.round(decimals)


def isclose(x, y, rtol=1e-5, atol=1e-8, equal_nan=False):
    return tg.isclose(x, y, rtol, atol, equal_nan)


def frac(x):
    return x - tg.trunc(x)


def angle(x):
    return tg.where(tg.isnan(x), x, tg.where(x < 0, tg.full((), math.pi, dtype=x.dtype), 0)) + 0 * x


def float_power(x, y):
    wide = [v.astype("float64") if isinstance(v, tg.Tensor) else v for v in (x, y)]
    if not isinstance(wide[0], tg.Tensor):
        wide[0] = tg.Tensor(float(wide[0]), dtype="float64")
    return wide[0] ** wide[1]


def polygamma(n, x=None):
    if isinstance(n, tg.Tensor):
        n, x = x, n
    return tg.special.polygamma(n, x)


def addition(x, y, *, alpha=1):
    return x + (y if alpha == 1 else alpha * y)


ADAPTERS: dict[str, Any] = {}
for _item in SAME.split():
    _theirs, _, _ours = _item.partition("=")
    ADAPTERS[_theirs] = named(_ours or _theirs)

ADAPTERS |= {
    "add": addition, "sub": lambda x, y, *, alpha=1: x - alpha * y,
    "rsub": lambda x, y, alpha=1: y - alpha * x, "__rsub__": lambda x, y: y - x,
    "__rdiv__": lambda x, y: y / x, "__rmod__": lambda x, y: tg.remainder(y, x),
    "__rpow__": lambda x, y: y ** x, "__rmatmul__": lambda x, y: y @ x,
    "div/trunc_rounding": div, "div/floor_rounding": div,
    "addcmul": lambda x, a, b, *, value=1: x + value * a * b,
    "addcdiv": lambda x, a, b, *, value=1: x + value * a / b,
    "clamp": clamp, "clamp_max": lambda x, y: clamp(x, max=y),
    "clamp_min": lambda x, y: clamp(x, min=y),
    "clone": lambda x, **how: x.clone(), "contiguous": lambda x, **how: x.contiguous(),
    "conj": lambda x: x * 1, "conj_physical": lambda x: x * 1, "real": lambda x: x * 1,
    "resolve_conj": lambda x: x * 1, "resolve_neg": lambda x: x * 1, "alias_copy": lambda x: x * 1,
    "round": round_, "round/decimals_0": round_, "round/decimals_3": round_,
    "round/decimals_neg_3": round_, "frac": frac, "angle": angle, "isclose": isclose,
    "isreal": lambda x: x.astype("bool") | True, "float_power": float_power,
    "special.polygamma/special_polygamma_n_0": polygamma,
    **{f"polygamma/polygamma_n_{n}": polygamma for n in range(5)},
    "mvlgamma/mvlgamma_p_1": lambda x, p: tg.special.multigammaln(x, p),
    "mvlgamma/mvlgamma_p_3": lambda x, p: tg.special.multigammaln(x, p),
    "mvlgamma/mvlgamma_p_5": lambda x, p: tg.special.multigammaln(x, p),
    "allclose": lambda x, y, **how: tg.allclose(x, y, **how),
    "equal": lambda x, y: tg.array_equal(x, y),
    "masked_fill": tg.masked_fill,
    "item": lambda x: x.item(),
}
for _kind, _dtype in {"double": "float64", "float": "float32", "half": "float16", "long": "int64",
                      "int": "int32", "short": "int16", "char": "int8", "byte": "uint8",
                      "bool": "bool"}.items():
    ADAPTERS[_kind] = lambda x, memory_format=None, _dtype=_dtype: x.astype(_dtype)


def to(x, *args, copy=False, non_blocking=False, memory_format=None, **options):
    args = [a for a in args if not isinstance(a, bool)]
    if any(str(a) in ("bfloat16", "complex64", "complex128") for a in args):
        raise Refused("PyTorch gives NumPy no bfloat16; complex numbers are outside the engine")
    return x.to(*args, **options)


ADAPTERS["to"] = to
ADAPTERS["scalar_tensor"] = lambda v, dtype=None, **how: tg.Tensor(np.asarray(v), dtype=dtype)
