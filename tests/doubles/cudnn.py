"""The Python frontend of cuDNN: graphs of one attention or convolution, computed by NumPy.

Names and arguments are those of version 1.23.0 of `nvidia-cudnn-frontend`. Steps out of order, a
tensor that is not described, addresses that are not aligned or reach past an allocation, and sizes
that do not follow from one another raise.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np

from tinygen.backend import bfloat16

from . import capture, memory
from .counting import count

built: list[str] = []                  # the operations of the graphs that were built
unsupported: set[str] = set()          # operations for which there is no engine


class cudnnGraphNotSupportedError(RuntimeError):
    """No engine takes the graph."""


data_type = enum.Enum("data_type", "NOT_SET FLOAT HALF BFLOAT16")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
diagonal_alignment = enum.Enum("diagonal_alignment", "TOP_LEFT BOTTOM_RIGHT")
build_plan_policy = enum.Enum("build_plan_policy", "HEURISTICS_CHOICE ALL")
numerical_note = enum.Enum("numerical_note", "TENSOR_CORE DOWN_CONVERT_INPUTS NONDETERMINISTIC")


def backend_version() -> int:
    """Of the library behind the frontend."""
    return 92801


def create_handle() -> int:
    """A handle for the current device."""
    return 0xD1


def set_stream(handle: int, stream: int) -> None:
    """Where a handle's graphs run."""
    if handle != 0xD1 or not isinstance(stream, int):
        raise TypeError("set_stream(handle: int, stream: int)")


class _Tensor:
    """A tensor of a graph: sizes and strides in elements."""

    def __init__(self, name: str, dim: Any, stride: Any, kind: Any):
        self.name, self.dim, self.stride, self.kind = name, dim, stride, kind
        self.output = False

    def set_output(self, value: bool) -> _Tensor:
        self.output = value
        return self

    def set_dim(self, dim: list[int]) -> _Tensor:
        if self.dim is not None and self.dim != dim:
            raise ValueError(f"{self.name} is {self.dim}, not {dim}")
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> _Tensor:
        self.stride = stride
        return self

    def set_data_type(self, kind: Any) -> _Tensor:
        self.kind = kind
        return self

    def at(self, address: int, default: Any) -> np.ndarray:
        """The array at a device address."""
        kind = default if self.kind is data_type.NOT_SET else self.kind
        of = {data_type.FLOAT: np.dtype(np.float32), data_type.HALF: np.dtype(np.float16),
              data_type.BFLOAT16: bfloat16()}[kind]
        if address % (16 if of.itemsize == 2 else 4):
            raise ValueError(f"{self.name} is not aligned")
        reach = sum((n - 1) * s for n, s in zip(self.dim, self.stride)) + 1
        raw = memory.find(address, reach * of.itemsize)
        return np.ndarray(self.dim, of, buffer=raw,
                          strides=[s * of.itemsize for s in self.stride])


class pygraph:
    """A graph; its methods must be called in the order of `STEPS`."""

    STEPS = ("validate", "build_operation_graph", "create_execution_plans", "check_support",
             "build_plans")

    def __init__(self, *, io_data_type: Any, intermediate_data_type: Any, compute_data_type: Any,
                 handle: int):
        assert intermediate_data_type is compute_data_type is data_type.FLOAT and handle == 0xD1
        self.kind, self.done = io_data_type, 0
        self.operation: Any = None
        self.tensors: list[_Tensor] = []
        self.deselected: list[Any] = []

    def tensor(self, *, name: str, dim: list[int], stride: list[int],
               data_type: Any) -> _Tensor:
        assert all(type(n) is int for n in (*dim, *stride)) and len(dim) == len(stride) == 4
        self.tensors.append(_Tensor(name, dim, stride, data_type))
        return self.tensors[-1]

    # -- operations ---

    def _set(self, name: str, compute: Any, outputs: list[_Tensor], inputs: list[_Tensor]) -> Any:
        assert self.operation is None and all(t in self.tensors for t in inputs)
        self.operation, self.inputs, self.outputs, self.name = compute, inputs, outputs, name
        return outputs

    def sdpa(self, *, q: _Tensor, k: _Tensor, v: _Tensor, attn_scale: float,
             generate_stats: bool, name: str, diagonal_alignment: Any = None,
             diagonal_band_right_bound: int | None = None) -> Any:
        assert generate_stats and type(attn_scale) is float
        (n, h, length, _), ev = q.dim, v.dim[3]
        y = _Tensor("o", [n, h, length, ev], None, data_type.NOT_SET)
        stats = _Tensor("stats", [n, h, length, 1], None, data_type.FLOAT)

        def compute(q: Any, k: Any, v: Any) -> Any:
            k, v = _for_each_head(q, k), _for_each_head(q, v)
            s, top = _scores(q, k, attn_scale, diagonal_alignment, diagonal_band_right_bound)
            p = np.exp(s - top)
            total = p.sum(-1, keepdims=True)
            return p / total @ v, top + np.log(total)
        return self._set("sdpa", compute, [y, stats], [q, k, v])

    def sdpa_backward(self, *, q: _Tensor, k: _Tensor, v: _Tensor, o: _Tensor, dO: _Tensor,
                      stats: _Tensor, attn_scale: float, use_deterministic_algorithm: bool,
                      name: str, diagonal_alignment: Any = None,
                      diagonal_band_right_bound: int | None = None) -> Any:
        assert use_deterministic_algorithm
        made = [_Tensor(f"d{t.name}", list(t.dim), None, data_type.NOT_SET) for t in (q, k, v)]

        def compute(q: Any, k: Any, v: Any, o: Any, g: Any, lse: Any) -> Any:
            heads, k, v = k.shape[1], _for_each_head(q, k), _for_each_head(q, v)
            s, _ = _scores(q, k, attn_scale, diagonal_alignment, diagonal_band_right_bound)
            p = np.exp(s - lse)
            ds = p * (g @ v.swapaxes(-1, -2) - (g * o).sum(-1, keepdims=True)) * attn_scale
            return (ds @ k, *(_of_each_group(x, heads) for x in (
                ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g)))
        return self._set("sdpa_backward", compute, made, [q, k, v, o, dO, stats])

    def conv_fprop(self, *, image: _Tensor, weight: _Tensor, padding: list[int],
                   stride: list[int], dilation: list[int], name: str) -> _Tensor:
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(
            image.dim[2:], padding, dilation, weight.dim[2:], stride)]
        y = _Tensor("y", [image.dim[0], weight.dim[0], *size], None, data_type.NOT_SET)
        self._set("conv_fprop", lambda x, w: _correlate(x, w, y.dim, stride, padding, dilation),
                  [y], [image, weight])
        return y

    def conv_dgrad(self, *, loss: _Tensor, filter: _Tensor, padding: list[int],
                   stride: list[int], dilation: list[int], name: str) -> _Tensor:
        x = _Tensor("dx", None, None, data_type.NOT_SET)

        def compute(g: Any, w: Any) -> Any:
            dx = np.zeros(x.dim)
            for at, _, tap in _taps(dx, w, g.shape, stride, padding, dilation):
                at += np.einsum("ngohw,goc->ngchw", _grouped(g, at.shape[1]), tap).reshape(at.shape)
            return dx
        self._set("conv_dgrad", compute, [x], [loss, filter])
        return x

    def conv_wgrad(self, *, image: _Tensor, loss: _Tensor, padding: list[int],
                   stride: list[int], dilation: list[int], name: str) -> _Tensor:
        dw = _Tensor("dw", None, None, data_type.NOT_SET)

        def compute(x: Any, g: Any) -> Any:
            out = np.zeros(dw.dim)
            for at, into, _ in _taps(x, out, g.shape, stride, padding, dilation):
                groups = at.shape[1]
                into += np.einsum("ngohw,ngchw->goc", _grouped(g, groups), at).reshape(into.shape)
            return out
        self._set("conv_wgrad", compute, [dw], [image, loss])
        return dw

    # -- steps ---

    def _step(self, name: str) -> None:
        if self.STEPS.index(name) != self.done:
            raise RuntimeError(f"{name} is called too early or twice")
        self.done += 1

    def validate(self) -> None:
        self._step("validate")
        for t in (*self.tensors, *self.outputs):
            if t.dim is None or t.stride is None:
                raise ValueError(f"{t.name} has no sizes or strides")
        if not all(t.output for t in self.outputs):
            raise ValueError("a result is no output")

    def build_operation_graph(self) -> None:
        self._step("build_operation_graph")

    def create_execution_plans(self, modes: list[Any]) -> None:
        self._step("create_execution_plans")

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        assert self.done == 3
        self.deselected += notes

    def check_support(self) -> None:
        self._step("check_support")
        if self.name in unsupported:
            raise cudnnGraphNotSupportedError("no engine")

    def build_plans(self, policy: Any) -> None:
        self._step("build_plans")
        built.append(self.name)

    def get_workspace_size(self) -> int:
        return 64

    def execute(self, addresses: dict[_Tensor, int], workspace: int, handle: int) -> None:
        assert self.done == len(self.STEPS) and handle == 0xD1
        assert set(addresses) == {*self.inputs, *self.outputs}
        memory.find(workspace, 64)
        count("launches", self.name)
        given = [t.at(addresses[t], self.kind) for t in self.inputs]
        into = [t.at(addresses[t], self.kind) for t in self.outputs]

        def run() -> None:
            made = self.operation(*(x.astype(np.float64) for x in given))
            for y, value in zip(into, made if isinstance(made, tuple) else (made,)):
                y[...] = value
        capture.do(run)


def _for_each_head(q: Any, k: Any) -> Any:
    """Keys or values of a group of heads, for each of them."""
    return np.repeat(k, q.shape[1] // k.shape[1], axis=1)


def _of_each_group(x: Any, heads: int) -> Any:
    return x.reshape(x.shape[0], heads, -1, *x.shape[2:]).sum(2)


def _scores(q: Any, k: Any, scale: float, alignment: Any, right: Any) -> tuple[Any, Any]:
    s = q @ k.swapaxes(-1, -2) * scale
    if right is not None:
        (length, keys) = s.shape[-2:]
        shift = keys - length if alignment is diagonal_alignment.BOTTOM_RIGHT else 0
        s = np.where(np.arange(keys) > np.arange(length)[:, None] + shift + right, -math.inf, s)
    return s, s.max(-1, keepdims=True)


def _grouped(g: Any, groups: int) -> Any:
    return g.reshape(g.shape[0], groups, -1, *g.shape[2:])


def _taps(x: Any, w: Any, of_g: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """For each tap: the pixels (n, g, c, oh, ow) that it meets, a view; its place in w; its values
    (g, o, c)."""
    groups = x.shape[1] // w.shape[1]
    wide = np.zeros((*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding))))
    inner = wide[:, :, padding[0]:padding[0] + x.shape[2], padding[1]:padding[1] + x.shape[3]]
    inner[...] = x
    for u in range(w.shape[2]):
        for v in range(w.shape[3]):
            rows, columns = (slice(i * d, i * d + s * (m - 1) + 1, s) for i, d, s, m in zip(
                (u, v), dilation, stride, of_g[2:]))
            at = wide[:, :, rows, columns]
            tap = w[:, :, u, v]
            yield _grouped(at, groups), tap, tap.reshape(groups, -1, w.shape[1])
    x[...] = inner


def _correlate(x: Any, w: Any, shape: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    y = np.zeros(shape)
    for at, _, tap in _taps(x, w, shape, stride, padding, dilation):
        y += np.einsum("ngchw,goc->ngohw", at, tap).reshape(shape)
    return y
