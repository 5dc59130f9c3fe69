"""Gives Tensor its operators and methods: the functions of this package, bound to the class.

NumPy's names come first; the names that a PyTorch user types are aliases at the end.
"""

from __future__ import annotations

import functools
from typing import Any

from .. import backend
from ..mode import reads
from ..primitive import RECORD, TAPE, local, primitive
from ..tensor import Tensor
from . import (
    activation,
    arrange,
    bitwise,
    elementwise,
    index,
    linalg,
    linalg_methods,
    reduce,
    shape,
    torch_methods,
)
from .dtypes import same_kind

# -- operators ----------------------------------------------------------------------------------

_BINARY = {"add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply,
           "truediv": elementwise.divide, "floordiv": elementwise.floor_divide,
           "mod": elementwise.remainder, "matmul": linalg.matmul,
           "and": bitwise.bitwise_and, "or": bitwise.bitwise_or, "xor": bitwise.bitwise_xor,
           "lshift": bitwise.bitwise_left_shift, "rshift": bitwise.bitwise_right_shift}
_COMPARE = {"eq": elementwise.equal, "ne": elementwise.not_equal, "lt": elementwise.less,
            "le": elementwise.less_equal, "gt": elementwise.greater,
            "ge": elementwise.greater_equal}


def _operator(op: Any) -> tuple[Any, Any]:
    # op(...), not a bound op.__call__ (0.1 us less): detect_anomaly replaces the method
    def forward(self, other):
        return op(self, other)

    def reflected(self, other):
        return op(other, self)
    return forward, reflected


def _in_place(symbol: str, op: Any) -> Any:
    def update(self, other):
        tracked = self.requires_grad or (isinstance(other, Tensor) and other.requires_grad)
        if tracked and local.mode & RECORD:
            if self.op is None and self.requires_grad:
                raise RuntimeError(f"[{op.name}] `{symbol}` on a leaf that requires grad would "
                                   "lose its gradient; update it inside no_grad()")
            return op(self, other)      # `y += x` on a computed tensor means `y = y + x`
        value = op(self, other)
        if value.shape != self.shape:
            raise ValueError(f"[{op.name}] `{symbol}` cannot grow a tensor of shape {self.shape} "
                             f"to {value.shape}")
        same_kind(value, self, symbol, op.name)
        if local.mode & TAPE:
            local.tape.assign(self, value)
            return self
        self.data[...] = value.data
        return self.touch()
    return update


_IN_PLACE = (("add", "+="), ("sub", "-="), ("mul", "*="), ("truediv", "/="), ("floordiv", "//="),
             ("mod", "%="), ("pow", "**="), ("matmul", "@="), ("and", "&="), ("or", "|="),
             ("xor", "^="), ("lshift", "<<="), ("rshift", ">>="))


def _install_operators() -> None:
    for name, op in _BINARY.items():
        forward, reflected = _operator(op)
        setattr(Tensor, f"__{name}__", forward)
        setattr(Tensor, f"__r{name}__", reflected)
    for name, symbol in _IN_PLACE:
        setattr(Tensor, f"__i{name}__", _in_place(symbol, _BINARY.get(name, elementwise.power)))
    for name, op in _COMPARE.items():
        setattr(Tensor, f"__{name}__", _operator(op)[0])
    Tensor.__hash__ = object.__hash__  # type: ignore[method-assign]  # == is elementwise, keys go by identity


_install_operators()


def _neg(self):
    return elementwise.negative(self)


def _pow(self, exponent):
    return elementwise.square(self) if isinstance(exponent, int) and exponent == 2 else (
        elementwise.power(self, exponent))


def _rpow(self, base):
    return elementwise.power(base, self)


def _iter(self):
    if not self.ndim:
        raise TypeError("a 0-d tensor cannot be iterated over")
    if 1 < self.shape[0] <= arrange.MANY:
        return iter(arrange.unstack_p(self, axis=0))
    return (self[i] for i in range(self.shape[0]))


# -- methods with a signature of their own ------------------------------------------------------


def _reshape(self, *newshape):
    return shape.reshape_p(self, shape=shape.as_shape(newshape))


def _transpose(self, *axes):
    """`x.transpose()` reverses, `x.transpose(2, 0, 1)` orders all axes (NumPy); two axes of a
    tensor with more are exchanged (PyTorch)."""
    if len(axes) == 1 and (axes[0] is None or hasattr(axes[0], "__iter__")):
        return shape.transpose(self, axes[0])
    if len(axes) == 2 and self.ndim != 2:
        return shape.swapaxes(self, *axes)
    return shape.transpose(self, axes or None)


def _permute(self, *axes):
    return shape.permute_dims(self, shape.as_shape(axes))


def _expand(self, *sizes):
    target = shape.as_shape(sizes)
    offset = len(target) - self.ndim
    return shape.broadcast_to(self, tuple(self.shape[i - offset] if n == -1 else n
                                          for i, n in enumerate(target)))


def _tile(self, *repetitions):
    return shape.tile(self, shape.as_shape(repetitions))


@primitive(name="transfer")
def transfer_p(xp, x, *, device):
    """The same values on another device."""
    return backend.to_device(x, device)
transfer_p.vjp(lambda g, out, x, device: transfer_p(g, device=backend.device_of(
    x.data if isinstance(x, Tensor) else x)))


def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The tensor with another dtype and/or on another device: `to("cuda")`, `to(tg.float64)`.

    Returns self when nothing changes; gradients flow back in the old dtype and device.
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, str) and (arg == "cpu" or arg.startswith(("cuda", "gpu"))):
            device = arg
        else:
            dtype = arg
    out = self
    if dtype is not None and backend.canonical_dtype(dtype) != self.dtype:
        out = shape.astype(out, dtype)
    if device is not None and backend.canonical_device(device) != self.device:
        out = transfer_p(out, device=backend.canonical_device(device))
    return out


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """`x` limited to [min, max]; the bounds are numbers, or tensors that broadcast."""
    if all(b is None or isinstance(b, (int, float)) for b in (min, max)):
        return elementwise.clip_p(x, low=min, high=max)
    if min is not None:
        x = elementwise.maximum(x, min)
    return x if max is None else elementwise.minimum(x, max)


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """`value` where the boolean mask is true, `x` elsewhere."""
    return elementwise.where(mask, value, x)


def _all_close(self: Tensor, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    reads("allclose", self, other)
    other = other.data if isinstance(other, Tensor) else other
    return bool(backend.array_module(self.data).allclose(self.data, other, rtol=rtol, atol=atol))


def _cast(dtype: str) -> Any:
    def cast(self: Tensor) -> Tensor:
        return to(self, dtype=dtype)
    cast.__doc__ = f"The tensor as {dtype}."
    return cast


def _fill_(self: Tensor, value: float) -> Tensor:
    return self.assign_(value)


def _zero_(self: Tensor) -> Tensor:
    return self.assign_(0)


def _identity(self: Tensor) -> Tensor:
    return self


def _clone(self: Tensor) -> Tensor:
    return elementwise.positive(self)


def _dim(self: Tensor) -> int:
    return self.ndim


def _numel(self: Tensor) -> int:
    return self.size


# (function, names): NumPy's name first, then what a PyTorch user types.
_METHODS: list[tuple[Any, str]] = [
    (_neg, "__neg__"), (elementwise.positive, "__pos__"), (elementwise.absolute, "__abs__ abs"),
    (bitwise.bitwise_invert, "__invert__"), (_pow, "__pow__ pow"), (_rpow, "__rpow__"),
    (_iter, "__iter__"), (index.getitem, "__getitem__"), (index.setitem, "__setitem__"),
    (reduce.sum, "sum"), (reduce.mean, "mean"), (reduce.var, "var"), (reduce.std, "std"),
    (reduce.max, "max amax"), (reduce.min, "min amin"), (reduce.prod, "prod"),
    (reduce.argmax, "argmax"), (reduce.argmin, "argmin"), (reduce.any, "any"), (reduce.all, "all"),
    (reduce.cumsum, "cumsum"), (reduce.cumprod, "cumprod"), (reduce.logsumexp, "logsumexp"),
    (_reshape, "reshape view"), (_transpose, "transpose"), (_permute, "permute permute_dims"),
    (shape.squeeze, "squeeze"), (shape.expand_dims, "expand_dims unsqueeze"),
    (shape.flatten, "flatten"), (shape.swapaxes, "swapaxes"), (shape.moveaxis, "moveaxis"),
    (shape.split, "split"), (shape.broadcast_to, "broadcast_to"), (_expand, "expand"),
    (shape.flip, "flip"), (shape.roll, "roll"), (_tile, "tile"),
    (shape.repeat, "repeat repeat_interleave"),
    (shape.tril, "tril"), (shape.triu, "triu"), (shape.astype, "astype"), (to, "to"),
    (index.take, "take"), (index.take_along_axis, "take_along_axis"), (index.sort, "sort"),
    (index.argsort, "argsort"), (index.topk, "topk"), (index.nonzero, "nonzero"),
    (index.diagonal, "diagonal"), (clip, "clip clamp"), (masked_fill, "masked_fill"),
    (linalg.dot, "dot"), (linalg.matmul, "mm bmm"), (linalg.trace, "trace"),
    (activation.relu, "relu"), (activation.sigmoid, "sigmoid"), (_all_close, "allclose"),
    (_cast("float32"), "float"), (_cast("float64"), "double"), (_cast("float16"), "half"),
    (_cast("bfloat16"), "bfloat16"),
    (_cast("int64"), "long"), (_cast("int32"), "int"), (_cast("bool"), "bool"),
    (_fill_, "fill_"), (_zero_, "zero_"), (_identity, "contiguous"), (_clone, "clone copy"),
    (_dim, "dim"), (_numel, "numel"),
]


_AXES = {"dim": "axis", "keepdim": "keepdims"}


def _bind(fn: Any) -> Any:
    """A plain function, so that attribute access binds self (primitives are objects)."""
    if not hasattr(fn, "fn"):
        return with_dims_if_any(fn)

    def method(self, *args):
        return fn(self, *args)
    method.__name__, method.__doc__ = fn.name, fn.__doc__
    return method


def with_dims_if_any(fn: Any) -> Any:
    """`with_dims` of a function that has an axis; all others as they are."""
    code = getattr(fn, "__code__", None)               # primitives and classes have none
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount] if code else ()
    return with_dims(fn) if "axis" in names else fn


def with_dims(fn: Any) -> Any:
    """The function with PyTorch's argument names, `dim` and `keepdim`, beside NumPy's."""
    @functools.wraps(fn)
    def method(self, *args, **options):
        if options:     # np.sum(tensor) calls the method with out=None
            options = {_AXES.get(name, name): value for name, value in options.items()
                       if value is not None or name not in ("out", "dtype")}
        return fn(self, *args, **options)
    return method


def _install_methods() -> None:
    for fn, names in _METHODS:
        for name in names.split():
            setattr(Tensor, name, _bind(fn))
    for name in ("exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "square", "sin", "cos", "tan",
                 "tanh", "sign", "floor", "ceil", "isnan", "isinf", "isfinite", "reciprocal"):
        setattr(Tensor, name, _bind(getattr(elementwise, name)))
    Tensor.round = lambda self, decimals=0: elementwise.round_(self, decimals=decimals)  # type: ignore[attr-defined]
    Tensor.T = property(shape.transpose)  # type: ignore[assignment, method-assign]
    Tensor.mT = property(shape.matrix_transpose)  # type: ignore[attr-defined]
    Tensor.mH = Tensor.H = Tensor.mT  # type: ignore[attr-defined]  # numbers are real
    Tensor.is_cuda = property(lambda self: self.device != "cpu")  # type: ignore[attr-defined]
    Tensor.cpu = lambda self: to(self, device="cpu")  # type: ignore[attr-defined]
    Tensor.cuda = lambda self, device="cuda": to(self, device=device)  # type: ignore[attr-defined]
    for name, fn in (torch_methods.METHODS | linalg_methods.METHODS).items():
        if name not in Tensor.__dict__:
            setattr(Tensor, name, _bind(fn))
    for name in (*torch_methods.IN_PLACE.split(), *linalg_methods.IN_PLACE.split()):
        setattr(Tensor, f"{name}_", torch_methods.in_place(name, getattr(Tensor, name)))


_install_methods()

