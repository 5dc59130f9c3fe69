"""Elementwise functions and their derivatives: one pass over memory, on all threads where large.

Arrays may have any memory order without gaps: a channels-last result stays channels-last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.primitive import kernel
from tinygen.threads import count

from .formulas import CONSTANTS
from .lazy import F32, F64, NOT_FLOAT, Native, address_of, threads_for

native = Native("pointwise")

GAPS = "neither contiguous nor a permutation of contiguous axes"
SHAPES = "shapes differ"
TYPES = "types differ"


def _number(v: Any, lead: Any) -> float | None:
    """`v` as one number, if it is one, or an array that repeats one over the shape of `lead`."""
    if isinstance(v, np.ndarray):
        if v.ndim and (any(v.strides) or v.shape != lead.shape or not v.size):
            return None
        return float(v.item(0))
    if isinstance(v, np.generic):
        return float(v) if v.dtype is lead.dtype else None
    return float(v) if type(v) is float or (type(v) is int and abs(v) < 1 << 53) else None


def pieces(parts: int) -> int:
    """How many pieces to cut the work of so many threads into: the pool gives them to all it has.

    Of several pieces, a thread that starts late, or whose core others use too, takes fewer.
    """
    return 8 * parts if parts == count.largest else parts


class _Call:
    """Addresses and constants for a formula on inputs, or `.reason` why there are none."""

    __slots__ = ("constants", "kept", "numbers", "places", "reason")

    def __init__(self, lead: Any, inputs: tuple[Any, ...], dense: bool, copies: bool,
                 a: float = 0.0, b: float = 0.0):
        dtype = lead.dtype
        self.reason, self.numbers, self.kept = "", "", []
        self.places, self.constants = [], [a, b, 0.0]
        if len(inputs) == 1 and inputs[0] is lead:
            self.places += [address_of(lead), 0, 0]
            return
        for v, letter in zip(inputs, "xyz", strict=False):
            if isinstance(v, np.ndarray) and v.dtype is not dtype:
                self.reason = TYPES
                return
            number = None if v is lead else _number(v, lead)
            if number is not None:
                self.constants = [*self.constants[1:], number] if self.numbers else [a, b, number]
                self.numbers += letter
                self.places.append(0)
                continue
            self.reason = "" if isinstance(v, np.ndarray) else TYPES
            if not self.reason and v.shape != lead.shape:
                self.reason = SHAPES
            if not self.reason and v is not lead and v.strides != lead.strides and not (
                    dense and v.flags.c_contiguous):
                if copies:
                    same = np.empty_like(lead)
                    same[...] = v
                    self.kept.append(same)
                    v = same
                else:
                    self.reason = GAPS
            if self.reason:
                return
            self.places.append(address_of(v))
        self.places += [0] * (3 - len(self.places))


def _dense(x: Any) -> bool:
    """Whether an array is some permutation of a contiguous one."""
    order = sorted(range(x.ndim), key=lambda k: -x.strides[k])
    return bool(x.transpose(order).flags.c_contiguous)


def run(name: str, lead: Any, inputs: tuple[Any, ...], a: float = 0.0, b: float = 0.0,
        grain: int = 1 << 15, copies: bool = True, over: bool = False) -> Any:
    """The result of a formula of `native/pointwise.py`, in the memory order of `lead`, or why not.

    Args:
        lead: the input whose shape and type are those of the result.
        inputs: all of them, arrays or numbers (also as arrays without strides, as gradients of
            sums are); one in another memory order is copied, unless `copies` is false.
        a, b: constants of the formula.
        grain: how many elements pay for one more thread.
        over: write the result over the first input, if that is an array like `lead`.
    """
    dtype = lead.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    contiguous = lead.flags.c_contiguous
    over = over and type(inputs[0]) is np.ndarray and inputs[0].strides == lead.strides and (
        inputs[0].flags.writeable and inputs[0].shape == lead.shape)
    out = inputs[0] if over else np.empty(lead.shape, dtype) if contiguous else (
        np.empty_like(lead))                                                   # 0.3 us, 0.8
    if not contiguous and (not _dense(lead) if over else lead.strides != out.strides):
        return GAPS
    call = _Call(lead, inputs, contiguous, copies, a, b)
    if call.reason:
        return call.reason
    over = over and "x" not in call.numbers
    if out is inputs[0] and not over:
        out = np.empty_like(lead)
    address, serial = native.loop(name, dtype, call.numbers, "in_place" if over else "loop")
    parts = threads_for(out.size, grain)
    if parts == 1:
        serial(address_of(out), *call.places, out.size, *call.constants)
    else:
        native.launch(address, address_of(out), *call.places, dtype.itemsize, out.size,
                      *call.constants, pieces(parts))
    return out


def total(name: str, lead: Any, inputs: tuple[Any, ...], grain: int = 1 << 15) -> Any:
    """The sum of a formula over all elements, or why there is none. Blocks are added in float64."""
    dtype = lead.dtype
    if dtype is not F32 and dtype is not F64:
        return NOT_FLOAT
    contiguous = lead.flags.c_contiguous
    if not contiguous and lead.strides != np.empty_like(lead).strides:
        return GAPS
    call = _Call(lead, inputs, contiguous, copies=True)
    if call.reason:
        return call.reason
    address, _ = native.loop(name, dtype, call.numbers, "total")
    sums = np.empty(-(-lead.size // native.BLOCK), dtype)
    native.launch_blocks(address, address_of(sums), *call.places, dtype.itemsize, lead.size,
                         *call.constants, pieces(threads_for(lead.size, grain)))
    return sums.sum(dtype=F64).astype(dtype)


def run_in_place(name: str, y: Any, a: float = 0.0, grain: int = 1 << 13) -> None:
    """y = formula(y), for a contiguous y of float32 or float64."""
    address, serial = native.loop(name, y.dtype, "", "in_place")
    parts = threads_for(y.size, grain)
    if parts == 1:
        serial(address_of(y), 0, 0, 0, y.size, a, 0.0, 0.0)
    else:
        native.launch(address, address_of(y), 0, 0, 0, y.dtype.itemsize, y.size, a, 0.0, 0.0,
                      pieces(parts))


# From which size a kernel is asked, and how many elements pay for a thread (1 us).
# A call costs 4 us for one array, 6 for two. Where NumPy has a vector loop of its own (exp, log,
# tanh), 32768 elements take 18 us there and 9 here, 15 and 12, 12 and 10; 8192 take 5 and 7. Where
# it takes several passes (gelu, and every gradient) one pass wins from a few thousand elements on.
# What is as quick as memory: 65536 take 16 us and 12 (add), 18 and 8 (relu).
# NumPy has no erf at all: 512 of them take 100 us there.
_VECTOR, _PASSES, _MEMORY = (3 << 13, 1 << 13), (1 << 13, 1 << 13), (1 << 16, 1 << 15)
_ERF = (1 << 6, 1 << 13)


def _register(name: str, sizes: tuple[int, int], lead: int = 0, copies: bool = True) -> None:
    smallest, grain = sizes
    attrs = CONSTANTS.get(name, ())

    def form(over: bool) -> Any:
        def call(*inputs: Any, **given: Any) -> Any:
            first = inputs[lead]
            if not isinstance(first, np.ndarray):
                return TYPES
            constants = [float(given[key]) for key in attrs]
            return run(name, first, inputs, *constants, grain=grain, copies=copies, over=over)
        call.__doc__ = f"{name}: one loop over the elements, cut into one part per thread."
        return call
    call = form(False)
    call.over = form(True)      # may write over its first input
    kernel(name, np.ndarray, smallest=smallest)(call)


for _name in ("exp", "expm1", "log", "log1p", "tanh"):
    _register(_name, _VECTOR)
for _name in ("erf", "gelu_exact"):
    _register(_name, _ERF)
for _name in ("sigmoid", "log_sigmoid", "silu", "mish", "gelu_tanh", "leaky_relu", "elu",
              "softplus"):
    _register(_name, _PASSES)
for _name in ("sqrt", "rsqrt"):
    _register(_name, _MEMORY)
_register("relu", _VECTOR)
for _name in ("add", "subtract", "multiply", "divide"):
    _register(_name, _MEMORY, copies=False)

_register("gelu_exact_grad", _ERF, lead=1)
for _name in ("tanh", "relu", "sigmoid", "log_sigmoid", "silu", "mish", "gelu_tanh", "leaky_relu",
              "elu", "softplus"):
    _register(f"{_name}_grad", _PASSES, lead=1)
_register("bce_with_logits_grad", _PASSES)


def _register_loss(name: str) -> None:
    def call(x: Any, target: Any, *, reduction: str) -> Any:
        if not x.size:
            return "empty"
        if reduction == "none":
            return run(name, x, (x, target))
        y = total(name, x, (x, target))
        return y / x.dtype.type(x.size) if reduction == "mean" and type(y) is not str else y
    call.__doc__ = f"{name}: a sum for each block of elements, and the sum of those."
    kernel(name, np.ndarray, smallest=_PASSES[0])(call)


_register_loss("bce_with_logits")
_register_loss("mse_loss")


# NumPy adds 4 M numbers in 1.2 ms; two threads halve it. A sum of sums costs 3 us more.
_SUM = (1 << 18, 1 << 16)
def _register_sum(name: str) -> None:
    def call(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        if axis is not None and axis != tuple(range(x.ndim)):
            return "not over all axes"
        if not x.size:
            return "empty"
        y = total("sum", x, (x,), grain=_SUM[1])
        if type(y) is str:
            return y
        y = y / x.dtype.type(x.size) if name == "mean" else y
        return y.reshape((1,) * x.ndim) if keepdims else y
    call.__doc__ = f"{name} of all elements: a sum for each block of them, and the sum of those."
    kernel(name, np.ndarray, smallest=_SUM[0])(call)


_register_sum("sum")
_register_sum("mean")
