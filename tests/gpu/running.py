"""For tests of kernels: run one on the double of CuPy, and the definition in float64 beside it."""

from __future__ import annotations

import os
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.doubles.cuda.build import ORDERS, compiler, thread_order
from tinygen.primitive import KERNELS, PRIMITIVES

__all__ = ["BF16", "DTYPES", "TOLERANCE", "agrees", "draw", "launch", "needs_compiler", "on_device"]

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = (np.dtype(np.float32), BF16, np.dtype(np.float16))
# A rounding of the result is 2^-24, 2^-9 and 2^-11; sums in float32 lose a few of the former.
TOLERANCE = {np.dtype(np.float32): 3e-6, BF16: 2.0 ** -8, np.dtype(np.float16): 2.0 ** -10}

_kept_out = os.environ.get("TINYGEN_KERNELS", "").lower() == "numpy"
needs_compiler = pytest.mark.skipif(
    compiler() is None or _kept_out, reason="TINYGEN_KERNELS=numpy: no kernels" if _kept_out else
    "no C++ compiler: CUDA sources cannot be run on the CPU")


def draw(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0, scale: float = 1.0) -> Any:
    """Normal numbers, rounded to the type."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def on_device(cupy: Any, x: Any) -> Any:
    """NumPy arrays as the double's, in tuples too; everything else as it is."""
    if isinstance(x, tuple):
        return tuple(on_device(cupy, a) for a in x)
    return cupy.asarray(x) if isinstance(x, np.ndarray) else x


def launch(cupy: Any, name: str, *arrays: Any, order: int = 0, **attrs: Any) -> Any:
    """The results of a kernel as NumPy arrays; it must not decline. No copies to the host."""
    cupy.asarray(np.zeros(1))
    PRIMITIVES["exp"](cupy.ones(1))          # the first use of a device registers its kernels
    native = KERNELS[name, cupy.ndarray]
    with thread_order(ORDERS[order]):
        found = native.function(*on_device(cupy, arrays), **attrs)
    assert not isinstance(found, str), f"{name} declined: {found}"
    return _on_host(found)


def _on_host(y: Any) -> Any:
    if isinstance(y, tuple):
        return tuple(_on_host(a) for a in y)
    return y if y is None else y.get()


def agrees(got: Any, wanted: Any, tolerance: float | None = None, least: float = 1e-6) -> None:
    """Equal within the type's tolerance, relative to the largest value; NaN where NaN.

    `least` is the size of what was subtracted, where the values can be the little that is left.
    """
    if wanted is None or got is None:
        assert got is None and wanted is None
        return
    assert got.shape == np.shape(wanted)
    wanted = np.asarray(wanted, np.float64)
    near = TOLERANCE[got.dtype] if tolerance is None else tolerance
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=least)
    np.testing.assert_allclose(got.astype(np.float64), wanted, rtol=near, atol=near * size)


def definition(name: str, *arrays: Any, **attrs: Any) -> Any:
    """What the primitive, or the joint rule NAME_vjp, says in float64."""
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind in "fV" else a
            for a in arrays]
    base = name.removesuffix("_vjp")
    fn = PRIMITIVES[base].joint.fn if name not in PRIMITIVES else PRIMITIVES[name].fn
    with np.errstate(all="ignore"):
        return fn(np, *wide, **attrs)
