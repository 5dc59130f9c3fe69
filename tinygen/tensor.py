"""Tensor: the data, and the link to what made it.

A Tensor is at once a value (`data`, a bare NumPy or CuPy array) and a node of the graph that
autograd walks: `op` made it from `inputs` with the static arguments `attrs`. `seq` counts
creations, so a larger `seq` is always younger: sorting by it is a topological order, and an
input that is younger than the node that used it has been changed since.

The operators and methods (`+`, `sum`, `reshape`, ...) are given to this class by `ops/methods.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend
from .mode import TAPE, copies, local, reads

__all__ = ["Tensor"]

_seq = count(1)
_next = _seq.__next__
_NONE: dict[str, Any] = {}      # the static arguments of what has none; nobody writes into it


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Args:
        data: an array (its dtype is kept), a number or nested lists (floats become float32);
            the values are copied. `tinygen.asarray` shares memory instead.
        requires_grad: whether `backward()` shall leave a gradient in `.grad`.
        dtype: the number type, e.g. ``"float64"`` or ``np.float64``.
        device: ``"cpu"`` (default) or ``"cuda"``.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_grad", "attrs", "data", "hooks", "inputs", "op",
                 "requires_grad", "seq")

    __array_ufunc__ = None  # so that `ndarray * Tensor` reaches Tensor.__rmul__
    __array_priority__ = 1000

    data: Any
    _grad: Tensor | None
    requires_grad: bool
    op: Any
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    seq: int
    hooks: list[Any] | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None,
                 device: Any = None):
        if isinstance(data, Tensor):
            data = data.data
        elif local.mode & TAPE and isinstance(data, np.ndarray):
            copies(data, sys._getframe(1))
        elif isinstance(data, (list, tuple)):
            data = _unwrap_nested(data)
        self._fill(backend.as_array(data, dtype, device, copy=True))
        if requires_grad:
            self.requires_grad_()

    def _fill(self, array: Any) -> None:
        self.data = array
        self._grad = None
        self.requires_grad = False
        self.op = None
        self.inputs = ()
        self.attrs = _NONE
        self.hooks = None
        self.seq = _next()

    @classmethod
    def wrap(cls, array: Any) -> Tensor:
        """A tensor around a bare array, without a copy and without a check."""
        out = object.__new__(cls)
        out.data = array                # `_fill` once more: a call less
        out._grad = out.op = out.hooks = None
        out.requires_grad = False
        out.inputs, out.attrs = (), _NONE
        out.seq = _next()
        return out

    # -- what it is -----------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        """The number type, a `numpy.dtype`."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """The number of elements (PyTorch's `numel()`)."""
        return self.data.size

    @property
    def device(self) -> str:
        """The device that holds the data: ``"cpu"`` or ``"cuda:N"``."""
        return backend.device_of(self.data)

    @property
    def is_leaf(self) -> bool:
        """True if no recorded operation made this tensor."""
        return self.op is None

    @property
    def nbytes(self) -> int:
        """The size of the data in bytes."""
        return self.data.nbytes

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward()` left here; None before the first and after `zero_grad`."""
        if local.mode & TAPE:
            local.tape.finds_gradient(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if local.mode & TAPE:
            local.tape.sets_gradient(self)
        self._grad = value

    # -- out of the graph, off the device ---------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The data as a NumPy array (shared memory on the CPU, a copy from a GPU).

        Raises:
            RuntimeError: the tensor requires grad; writing into it would corrupt the graph.
        """
        if self.requires_grad:
            raise RuntimeError("numpy() was called on a tensor that requires grad; "
                               "use .detach().numpy()")
        reads("numpy", self)
        return backend.to_device(self.data, "cpu")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.device != "cpu":
            raise TypeError(f"a tensor on {self.device} is not converted to NumPy silently; "
                            "use .to('cpu').numpy()")
        reads("__array__", self)
        if copy is False and dtype is not None and np.dtype(dtype) != self.data.dtype:
            raise ValueError(f"a {self.data.dtype} tensor cannot become {np.dtype(dtype)} "
                             "without a copy")
        array = self.data if dtype is None else self.data.astype(dtype, copy=False)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        reads("item", self)
        if self.data.size != 1:
            raise ValueError(f"item() needs exactly one element; this tensor has shape "
                             f"{self.shape} ({self.data.size} elements)")
        return self.data.item()

    def tolist(self) -> Any:
        """The values as nested Python lists (a number for a 0-d tensor)."""
        reads("tolist", self)
        return backend.to_device(self.data, "cpu").tolist()

    def detach(self) -> Tensor:
        """The same data, cut from the graph; memory is shared."""
        if local.mode & TAPE:
            local.tape.keep(self)
        return Tensor.wrap(self.data)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` in place and return self; only floating point tensors can."""
        if requires_grad and self.data.dtype.kind not in "fV":
            raise TypeError(f"only floating point tensors can require gradients; this one is "
                            f"{self.data.dtype} {self.shape}")
        if not requires_grad and self.op is not None:
            raise RuntimeError("requires_grad_(False) works on leaf tensors only; "
                               "use .detach() to cut a computed tensor from its graph")
        self.requires_grad = requires_grad
        return self

    # -- changed in place ---------------------------------------------------------------------

    def touch(self) -> Tensor:
        """Say that the data was changed in place: a graph that used the old values is stale."""
        self.seq = _next()
        return self

    def assign_(self, value: Any) -> Tensor:
        """Overwrite the values in place (shape, dtype and device stay); returns self.

        A graph that used the old values refuses to run backward afterwards.
        """
        source = value.data if isinstance(value, Tensor) else value
        shape = np.shape(source) if not backend.is_array(source) else source.shape
        if shape != self.data.shape and shape != ():
            raise ValueError(f"[assign_] value has shape {tuple(shape)}, the tensor {self.shape}")
        if self.op is not None:
            raise RuntimeError("[assign_] this tensor was computed by "
                               f"{self.op.name}; only leaf tensors can be assigned to")
        if backend.is_array(source) and backend.device_of(source) != self.device:
            source = backend.to_device(source, self.device)
        if local.mode & TAPE:
            local.tape.assign(self, value)
            return self
        self.data[...] = source
        return self.touch()

    copy_ = assign_  # PyTorch's name

    def become(self, other: Tensor) -> Tensor:
        """Take over the data and the place in the graph of another tensor; returns self."""
        self.data, self.requires_grad, self.seq = other.data, other.requires_grad, other.seq
        self.op, self.inputs, self.attrs = other.op, other.inputs, other.attrs
        return self

    # -- hooks ----------------------------------------------------------------------------------

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call `hook(gradient)` when this tensor's gradient is known; returns a remover.

        A tensor that the hook returns replaces the gradient.
        """
        if not self.requires_grad:
            raise RuntimeError("a hook was registered on a tensor that does not require grad")
        hooks = self.hooks = self.hooks if self.hooks is not None else []
        hooks.append(hook)

        def remove() -> None:
            if hook in hooks:
                hooks.remove(hook)
        remove.remove = remove  # type: ignore[attr-defined]  # PyTorch's handle.remove()
        return remove

    def retain_grad(self) -> None:
        """Keep the gradient of this computed tensor in `.grad`, as leaves do."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad() was called on a tensor that does not require grad")
        if self.op is not None:
            self.hooks = self.hooks if self.hooks is not None else []
            if RETAIN not in self.hooks:
                self.hooks.append(RETAIN)

    # -- Python protocols -------------------------------------------------------------------------

    def __str__(self) -> str:
        reads("print", self)
        return repr(self)

    def __repr__(self) -> str:
        if local.mode & TAPE and not local.tape.is_constant(self):     # also in a debugger
            return f"{type(self).__name__}(<recorded>, dtype={self.dtype.name}, shape={self.shape})"
        shown = backend.to_device(self.data, "cpu")
        if shown.dtype.kind == "V":                # NumPy prints 2 and not 2. for a bfloat16
            shown = shown.astype(np.float32)
        body = np.array2string(shown, separator=", ",
                               prefix="Tensor(", threshold=100, edgeitems=3, precision=4)
        extra = "" if self.device == "cpu" else f", device={self.device!r}"
        if self.op is not None:
            extra += f", op={self.op.name}"
        elif self.requires_grad:
            extra += ", requires_grad=True"
        shape = f", shape={self.shape}" if self.data.size == 0 or self.data.size > 100 else ""
        return f"{type(self).__name__}({body}, dtype={self.dtype.name}{shape}{extra})"

    def __len__(self) -> int:
        if not self.data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.data.shape[0]

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"the truth value of a tensor of shape {self.shape} is ambiguous; "
                             "use .any() or .all()")
        reads("bool", self)
        return bool(self.data)

    def __float__(self) -> float:
        reads("float", self)
        return float(self.item())

    def __int__(self) -> int:
        reads("int", self)
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise TypeError(f"a {self.data.dtype} tensor cannot be used as an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.data.size == 1 else str(self)

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Tensor:
        out = object.__new__(type(self))
        for name in _STATE:
            setattr(out, name, getattr(self, name))
        out.hooks, out.seq = None, _next()   # seq is unique: the walk orders nodes by it
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        grad = None if self._grad is None else self._grad.data.copy()
        out = _rebuild(type(self), self.data.copy(), self.requires_grad, grad)
        memo[id(self)] = out
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        grad = None if self._grad is None else self._grad.data
        return _rebuild, (type(self), self.data, self.requires_grad, grad)

    def __getattr__(self, name: str) -> Any:
        from ._elsewhere import method_hint
        raise AttributeError(method_hint(name))

    if TYPE_CHECKING:  # given by ops/methods.py and autograd.py: signatures for type checkers
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def backward(self, *args: Any, **options: Any) -> None: ...
        def sum(self, *args: Any, **options: Any) -> Tensor: ...
        def mean(self, *args: Any, **options: Any) -> Tensor: ...
        def var(self, *args: Any, **options: Any) -> Tensor: ...
        def std(self, *args: Any, **options: Any) -> Tensor: ...
        def max(self, *args: Any, **options: Any) -> Tensor: ...
        def min(self, *args: Any, **options: Any) -> Tensor: ...
        def prod(self, *args: Any, **options: Any) -> Tensor: ...
        def argmax(self, *args: Any, **options: Any) -> Tensor: ...
        def argmin(self, *args: Any, **options: Any) -> Tensor: ...
        def any(self, *args: Any, **options: Any) -> Tensor: ...
        def all(self, *args: Any, **options: Any) -> Tensor: ...
        def cumsum(self, *args: Any, **options: Any) -> Tensor: ...
        def logsumexp(self, *args: Any, **options: Any) -> Tensor: ...
        def reshape(self, *args: Any, **options: Any) -> Tensor: ...
        def view(self, *args: Any, **options: Any) -> Tensor: ...
        def transpose(self, *args: Any, **options: Any) -> Tensor: ...
        def permute(self, *args: Any, **options: Any) -> Tensor: ...
        def squeeze(self, *args: Any, **options: Any) -> Tensor: ...
        def unsqueeze(self, *args: Any, **options: Any) -> Tensor: ...
        def expand_dims(self, *args: Any, **options: Any) -> Tensor: ...
        def flatten(self, *args: Any, **options: Any) -> Tensor: ...
        def swapaxes(self, *args: Any, **options: Any) -> Tensor: ...
        def broadcast_to(self, *args: Any, **options: Any) -> Tensor: ...
        def expand(self, *args: Any, **options: Any) -> Tensor: ...
        def flip(self, *args: Any, **options: Any) -> Tensor: ...
        def take(self, *args: Any, **options: Any) -> Tensor: ...
        def take_along_axis(self, *args: Any, **options: Any) -> Tensor: ...
        def astype(self, *args: Any, **options: Any) -> Tensor: ...
        def to(self, *args: Any, **options: Any) -> Tensor: ...
        def clip(self, *args: Any, **options: Any) -> Tensor: ...
        def clamp(self, *args: Any, **options: Any) -> Tensor: ...
        def abs(self, *args: Any, **options: Any) -> Tensor: ...
        def exp(self, *args: Any, **options: Any) -> Tensor: ...
        def log(self, *args: Any, **options: Any) -> Tensor: ...
        def sqrt(self, *args: Any, **options: Any) -> Tensor: ...
        def square(self, *args: Any, **options: Any) -> Tensor: ...
        def tanh(self, *args: Any, **options: Any) -> Tensor: ...
        def sigmoid(self, *args: Any, **options: Any) -> Tensor: ...
        def relu(self, *args: Any, **options: Any) -> Tensor: ...
        def clone(self, *args: Any, **options: Any) -> Tensor: ...
        def contiguous(self, *args: Any, **options: Any) -> Tensor: ...
        def float(self) -> Tensor: ...
        def double(self, *args: Any, **options: Any) -> Tensor: ...
        def half(self, *args: Any, **options: Any) -> Tensor: ...
        def bfloat16(self, *args: Any, **options: Any) -> Tensor: ...
        def long(self, *args: Any, **options: Any) -> Tensor: ...
        def masked_fill(self, *args: Any, **options: Any) -> Tensor: ...
        @property
        def T(self) -> Tensor: ...


RETAIN = "retain"  # an entry of `hooks` that keeps the gradient of a computed tensor
_STATE = ("_grad", "attrs", "data", "inputs", "op", "requires_grad")


def _rebuild(cls: type, data: Any, requires_grad: bool, grad: Any) -> Tensor:
    out = cls.wrap(data)  # type: ignore[attr-defined]
    out.requires_grad = requires_grad
    out._grad = None if grad is None else Tensor.wrap(grad)
    return out


def _unwrap_nested(data: Any) -> Any:
    if isinstance(data, Tensor):
        if data.data.ndim:
            raise TypeError("a tensor cannot be made from a list of tensors; use tinygen.stack")
        return data.item()
    if isinstance(data, (list, tuple)):
        return [_unwrap_nested(x) for x in data]
    return data
