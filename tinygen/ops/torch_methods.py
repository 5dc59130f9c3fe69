"""Methods of `torch.Tensor`: PyTorch's names and argument order, for code that comes from there.

Functions of the package have NumPy's names; here stand the methods that a PyTorch user types:
`x.mul(y)`, `x.softmax(dim=-1)`, `x.gather(1, index)`, `x.chunk(3)`, `x.add_(1)`. Each is one call
of a function of this package. A name that ends in `_` changes the tensor in place, and a graph
that holds the old values keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..primitive import RECORD, TAPE, local
from ..tensor import Tensor
from . import (
    activation,
    arrange,
    creation,
    elementwise,
    floating,
    index,
    linalg,
    norm,
    reduce,
    running,
    scattering,
    shape,
    special,
    statistics,
)
from .special.gamma import multigammaln
from .special.incomplete import gammainc, gammaincc

# -- arithmetic under PyTorch's names ------------------------------------------------------------

_SAME: dict[str, Any] = {
    "absolute": elementwise.absolute, "multiply": elementwise.multiply,
    "mul": elementwise.multiply, "true_divide": elementwise.divide,
    "floor_divide": elementwise.floor_divide, "remainder": elementwise.remainder,
    "neg": elementwise.negative, "negative": elementwise.negative,
    "positive": elementwise.positive, "matmul": linalg.matmul, "mv": linalg.matmul,
    "outer": linalg.outer, "ger": linalg.outer, "vdot": linalg.dot,
    "eq": elementwise.equal, "ne": elementwise.not_equal, "not_equal": elementwise.not_equal,
    "lt": elementwise.less, "less": elementwise.less, "le": elementwise.less_equal,
    "less_equal": elementwise.less_equal, "gt": elementwise.greater,
    "greater": elementwise.greater, "ge": elementwise.greater_equal,
    "greater_equal": elementwise.greater_equal, "maximum": elementwise.maximum,
    "minimum": elementwise.minimum, "logical_and": elementwise.logical_and,
    "logical_or": elementwise.logical_or, "logical_xor": elementwise.logical_xor,
    "logical_not": elementwise.logical_not, "fix": elementwise.trunc,
    "equal": floating.array_equal, "isclose": floating.isclose, "lerp": floating.lerp,
    "nan_to_num": floating.nan_to_num, "copysign": floating.copysign, "fmod": floating.fmod,
    "fmax": floating.fmax, "fmin": floating.fmin, "hypot": floating.hypot,
    "heaviside": floating.heaviside, "frexp": floating.frexp, "ldexp": floating.ldexp,
    "nextafter": floating.nextafter, "signbit": floating.signbit, "isposinf": floating.isposinf,
    "isneginf": floating.isneginf, "deg2rad": floating.deg2rad, "rad2deg": floating.rad2deg,
    "diff": running.diff, "cummax": running.cummax, "cummin": running.cummin,
    "logcumsumexp": running.logcumsumexp, "count_nonzero": reduce.count_nonzero,
    "nansum": statistics.nansum, "nanmean": statistics.nanmean, "aminmax": statistics.aminmax,
    "bincount": statistics.bincount, "ravel": arrange.ravel, "rot90": arrange.rot90,
    "fliplr": arrange.fliplr, "flipud": arrange.flipud, "diag": arrange.diag,
    "diagflat": arrange.diagflat, "diag_embed": arrange.diag_embed, "unbind": arrange.unstack,
    "argwhere": arrange.argwhere, "hsplit": arrange.hsplit, "vsplit": arrange.vsplit,
    "dsplit": arrange.dsplit, "tensor_split": arrange.array_split, "movedim": shape.moveaxis,
    "swapdims": shape.swapaxes, "masked_scatter": scattering.masked_scatter,
    "take_along_dim": index.take_along_axis, "softmax": norm.softmax,
    "log_softmax": norm.log_softmax,
}
_PLAIN = "acos acosh asin asinh atan atanh atan2 sinh cosh exp2 log2 log10 trunc"
for _name in _PLAIN.split():
    _SAME[_name] = getattr(elementwise, _name)
_SAME |= {f"arc{n[1:]}": _SAME[n] for n in ("acos", "acosh", "asin", "asinh", "atan", "atanh",
                                           "atan2")}

for _name in ("digamma", "erfc", "erfinv", "i0", "lgamma", "logaddexp", "logaddexp2", "logit",
              "sinc", "xlogy"):
    _SAME[_name] = getattr(special, _name)
_SAME |= {"erf": activation.erf, "igamma": gammainc, "igammac": gammaincc,
          "mvlgamma": multigammaln, "polygamma": lambda self, n: special.polygamma(n, self)}


def add(self: Tensor, other: Any, alpha: Any = 1) -> Tensor:
    """self + alpha * other."""
    return self + (other if alpha == 1 else alpha * other)


def sub(self: Tensor, other: Any, alpha: Any = 1) -> Tensor:
    """self - alpha * other."""
    return self - (other if alpha == 1 else alpha * other)


def div(self: Tensor, other: Any, rounding_mode: str | None = None) -> Tensor:
    """self / other, rounded towards zero ("trunc") or down ("floor") if wanted."""
    if rounding_mode not in (None, "trunc", "floor"):
        raise ValueError(f"[div] rounding_mode must be None, 'trunc' or 'floor', got "
                         f"{rounding_mode!r}")
    if rounding_mode == "floor":
        return elementwise.floor_divide(self, other)
    return self / other if rounding_mode is None else elementwise.trunc(self / other)


def frac(self: Tensor) -> Tensor:
    """The part after the decimal point, with the sign of the number."""
    return self - elementwise.trunc(self)


def clamp_min(self: Tensor, min: Any) -> Tensor:
    """self, where it is not smaller than min."""
    return self.clip(min=min)


def clamp_max(self: Tensor, max: Any) -> Tensor:
    """self, where it is not larger than max."""
    return self.clip(max=max)


def addcmul(self: Tensor, tensor1: Any, tensor2: Any, value: Any = 1) -> Tensor:
    """self + value * tensor1 * tensor2."""
    return self + value * tensor1 * tensor2


def addcdiv(self: Tensor, tensor1: Any, tensor2: Any, value: Any = 1) -> Tensor:
    """self + value * tensor1 / tensor2."""
    return self + value * tensor1 / tensor2


def addmm(self: Tensor, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * self + alpha * (mat1 @ mat2); `addmv` and `baddbmm` are the same."""
    return beta * self + alpha * linalg.matmul(mat1, mat2)


def where(self: Tensor, condition: Any, other: Any) -> Tensor:
    """self where the condition holds, other elsewhere."""
    return elementwise.where(condition, self, other)


# -- shapes --------------------------------------------------------------------------------------


def t(self: Tensor) -> Tensor:
    """The transpose of a matrix."""
    if self.ndim > 2:
        raise ValueError(f"[t] a matrix is needed, got {self.shape}; use .mT or .permute")
    return shape.transpose(self)


def chunk(self: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    """At most `chunks` pieces along `dim`, all but the last equally long."""
    n = self.shape[shape.normalize_axis(dim, self.ndim, "chunk")]
    size = max(1, -(-n // chunks))
    return shape.split(self, list(range(size, n, size)), dim)


def narrow(self: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` slices along `dim`, from `start` on."""
    dim = shape.normalize_axis(dim, self.ndim, "narrow")
    n = self.shape[dim]
    start = start + n if start < 0 else start
    if not 0 <= start <= start + length <= n:
        raise ValueError(f"[narrow] start {start} and length {length} do not fit into axis {dim} "
                         f"of {self.shape}")
    return index.getitem(self, (*(slice(None),) * dim, slice(start, start + length)))


def select(self: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` along `dim`."""
    return self[(*(slice(None),) * shape.normalize_axis(dim, self.ndim, "select"), index)]


def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` along an axis, `step` apart, as a new last axis."""
    return arrange.sliding_window_view(self, size, dimension, step)


def unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
    """An axis split into several, of lengths `sizes` (one may be -1)."""
    dim = shape.normalize_axis(dim, self.ndim, "unflatten")
    inner = shape.as_shape(sizes)
    if -1 in inner:
        known = -math.prod(inner)
        inner = tuple(self.shape[dim] // known if n == -1 else n for n in inner)
    return shape.reshape(self, self.shape[:dim] + inner + self.shape[dim + 1:])


def norm_(self: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The p-norm of all elements, or along `dim`; `tinygen.linalg` has the norms of matrices."""
    from ..linalg import vector_norm
    return vector_norm(self, ord=2 if p in ("fro", None) else p, axis=dim, keepdims=keepdim)


_SHAPES: dict[str, Any] = {
    "view_as": lambda self, other: shape.reshape(self, other.shape),
    "reshape_as": lambda self, other: shape.reshape(self, other.shape),
    "expand_as": lambda self, other: shape.broadcast_to(self, other.shape),
    "type_as": lambda self, other: shape.astype(self, other.dtype),
    "ndimension": lambda self: self.ndim, "nelement": lambda self: self.size,
    "element_size": lambda self: self.dtype.itemsize,
    "is_floating_point": lambda self: self.dtype.kind in "fV",
    "is_complex": lambda self: False, "is_contiguous": lambda self: True,
    "new_zeros": lambda self, *size, dtype=None: creation.zeros(*size, dtype=dtype or self.dtype),
    "new_ones": lambda self, *size, dtype=None: creation.ones(*size, dtype=dtype or self.dtype),
    "new_full": lambda self, size, value, dtype=None: creation.full(
        size, value, dtype=dtype or self.dtype),
    "new_tensor": lambda self, data, dtype=None: Tensor(data, dtype=dtype or self.dtype),
}


# -- indices -------------------------------------------------------------------------------------


def gather(self: Tensor, dim: int, index: Any) -> Tensor:
    """out[i, j] = self[index[i, j], j] for dim 0; the index may be shorter along other axes."""
    dim = shape.normalize_axis(dim, self.ndim, "gather")
    places = index if isinstance(index, Tensor) else Tensor(np.asarray(index))
    cut = tuple(slice(None) if a == dim else slice(n) for a, n in enumerate(places.shape))
    return _choose(self[cut], places, dim)


_choose = index.take_along_axis    # `index` is an argument's name below


_INDICES: dict[str, Any] = {
    "index_select": lambda self, dim, index: _take(self, index, dim),
    "masked_select": lambda self, mask: self[mask],
    "index_add": lambda self, dim, index, source, alpha=1: scattering.index_add(
        self, index, source, dim, alpha),
    "index_copy": lambda self, dim, index, source: scattering.index_copy(
        self, index, source, dim),
    "index_fill": lambda self, dim, index, value: scattering.index_fill(self, index, value, dim),
    "scatter": lambda self, dim, index, src: scattering.scatter(self, index, src, dim),
    "scatter_add": lambda self, dim, index, src: scattering.scatter_reduce(
        self, index, src, dim, "sum"),
    "scatter_reduce": lambda self, dim, index, src, reduce, include_self=True:
        scattering.scatter_reduce(self, index, src, dim, reduce, include_self),
    "quantile": lambda self, q, dim=None, keepdim=False, interpolation="linear":
        statistics.quantile(self, q, dim, keepdim, interpolation),
}


def _take(x: Tensor, places: Any, axis: int) -> Tensor:
    return index.take(x, places, axis)


# -- in place ------------------------------------------------------------------------------------


def in_place(name: str, fn: Callable[..., Any]) -> Callable[..., Tensor]:
    """`x.name_(...)`: x becomes `fn(x, ...)`, its old values staying in the graph."""
    def update(self: Tensor, *args: Any, **options: Any) -> Tensor:
        others = (*args, *options.values())
        tracked = self.requires_grad or any(isinstance(v, Tensor) and v.requires_grad
                                            for v in others)
        records = bool(tracked and local.mode & RECORD)
        if records and self.op is None and self.requires_grad:
            raise RuntimeError(f"[{name}_] a leaf that requires grad cannot be changed in place; "
                               f"use x.{name}(...), or write inside no_grad()")
        old = self.__copy__() if records else self
        new = fn(old, *args, **options)
        if new.shape != self.shape:
            raise ValueError(f"[{name}_] the result has shape {new.shape}, the tensor "
                             f"{self.shape}: it cannot be changed in place")
        if not records and local.mode & TAPE:
            local.tape.assign(self, new)
            return self
        if not records:
            self.data[...] = new.data
            return self.touch()
        return self.become(new)
    update.__name__, update.__doc__ = f"{name}_", f"`{name}`, in place."
    return update


IN_PLACE = """abs acos acosh add addcdiv addcmul addmm asin asinh atan atan2 atanh ceil clamp
    clamp_max clamp_min clip copysign cos cosh digamma div erf erfc erfinv
    exp exp2 expm1 fix floor floor_divide fmod frac
    index_add index_copy index_fill lerp lgamma log log10 log1p log2 logical_not logit masked_fill
    masked_scatter mul nan_to_num neg negative pow reciprocal relu remainder round rsqrt scatter
    scatter_add scatter_reduce sigmoid sign sin sinc sinh sqrt square sub tan tanh tril triu
    true_divide trunc xlogy"""

METHODS: dict[str, Any] = _SAME | _SHAPES | _INDICES | {
    "add": add, "sub": sub, "subtract": sub, "div": div, "divide": div, "frac": frac,
    "clamp_min": clamp_min, "clamp_max": clamp_max, "addcmul": addcmul, "addcdiv": addcdiv,
    "addmm": addmm, "addmv": addmm, "baddbmm": addmm, "where": where, "t": t, "chunk": chunk,
    "narrow": narrow, "select": select, "unfold": unfold, "unflatten": unflatten, "norm": norm_,
    "gather": gather,
}
