"""Layer and root-mean-square norm: which calls the CUDA kernels take."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tinygen.primitive import kernel

from .launch import (
    EMPTY,
    F32,
    HALVES,
    MIXED,
    NOT_FLOAT,
    SUFFIXES,
    Source,
    blocks,
    plain,
    processors,
    team,
)
from .linear import summed

native = Source("norm")
TOO_LONG = "rows of 2^31 values or more"


def _suffix(x: Any, *parameters: Any) -> str | None:
    """The end of the kernel's name: parameters have the type of x, or float32. None: declined."""
    kind = SUFFIXES.get(x.dtype)
    if kind is None:
        return None
    given = {p.dtype for p in parameters if p is not None}
    if given <= {x.dtype}:
        return kind
    return f"{kind}_f32" if given == {F32} else None


def _flat(p: Any) -> Any:
    """A parameter as a vector; 8 numbers of float32, beside 8 of 16 bits, are 32 bytes at once."""
    if p is None:
        return None
    return (plain(p) if p.data.ptr % 32 == 0 else cupy.array(p, order="C", copy=True)).reshape(-1)


def _refuse(x: Any, suffix: str | None, n: int) -> str | None:
    if suffix is None:
        return NOT_FLOAT if x.dtype not in SUFFIXES else MIXED
    if not x.size:
        return EMPTY
    return TOO_LONG if n >= 1 << 31 else None


def _norm(x: Any, weight: Any, bias: Any, axes: Any, eps: float, centred: bool) -> Any:
    n, suffix = math.prod(x.shape[axes[0]:]), _suffix(x, weight, bias)
    why = _refuse(x, suffix, n)
    if why:
        return why
    rows, block = x.size // n, team(n, x.dtype)
    y, rstd = cupy.empty(x.shape, x.dtype), cupy.empty(rows, F32)
    mean = cupy.empty(rows, F32) if centred else None
    native(f"norm_{suffix}", blocks(rows, block[1]), block, plain(x), _flat(weight), _flat(bias),
           y, mean, rstd, rows, np.int32(n), float(eps))
    kept = x.shape[:axes[0]] + (1,) * len(axes)
    return y, mean if mean is None else mean.reshape(kept), rstd.reshape(kept)


def _norm_vjp(g: Any, mean: Any, rstd: Any, x: Any, weight: Any, bias: Any, axes: Any,
              needs: Any) -> Any:
    n, suffix = math.prod(x.shape[axes[0]:]), _suffix(x, weight)
    why = _refuse(x, suffix, n)
    if why:
        return why
    if g.dtype != x.dtype or rstd.dtype != F32:
        return MIXED
    rows, block = x.size // n, team(n, x.dtype, 512)   # 1024 have too few registers
    # As many blocks as find room at once, so that few sums are left: 2048 threads to a processor.
    grid = min(blocks(rows, block[1]), processors() * (2048 // (block[0] * block[1])))
    wanted = [p is not None and needs[i] for i, p in ((1, weight), (2, bias))]
    totals = [cupy.empty((grid * block[1], n), F32) if w else None for w in wanted]
    gx = cupy.empty(x.shape, x.dtype)
    native(f"norm_grad_{suffix}", grid, block, plain(g), plain(x), _flat(weight),
           None if mean is None else plain(mean), plain(rstd), gx, *totals, rows, np.int32(n))
    params = [None if t is None else summed(t, p.dtype).reshape(p.shape)
              for t, p in zip(totals, (weight, bias))]
    return gx, *params


@kernel("layer_norm", cupy.ndarray, dtypes=HALVES)
def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, axes: Any, eps: float) -> Any:
    """Mean, variance and result of a row that is read once."""
    return _norm(x, weight, bias, axes, eps, True)


@kernel("layer_norm_vjp", cupy.ndarray, dtypes=HALVES)
def layer_norm_vjp(g: Any, y: Any, mean: Any, rstd: Any, x: Any, weight: Any = None,
                   bias: Any = None, *, needs: Any, axes: Any, eps: float) -> Any:
    """The gradients of rows that are read once; sums for the parameters stay in registers."""
    return _norm_vjp(g, mean, rstd, x, weight, bias, axes, (*needs, False, False))


@kernel("rms_norm", cupy.ndarray, dtypes=HALVES)
def rms_norm(x: Any, weight: Any = None, *, axes: Any, eps: float) -> Any:
    """Mean square and result of a row that is read once."""
    found = _norm(x, weight, None, axes, eps, False)
    return found if type(found) is str else (found[0], found[2])


@kernel("rms_norm_vjp", cupy.ndarray, dtypes=HALVES)
def rms_norm_vjp(g: Any, y: Any, rstd: Any, x: Any, weight: Any = None, *, needs: Any, axes: Any,
                 eps: float) -> Any:
    """The gradients of rows that are read once; sums for the weight stay in registers."""
    found = _norm_vjp(g, None, rstd, x, weight, None, axes, (*needs, False, False))
    return found if type(found) is str else found[:2]
