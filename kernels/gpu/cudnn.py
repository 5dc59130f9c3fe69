"""Attention and convolution by cuDNN, where its frontend (`nvidia-cudnn-frontend`) is installed.

A call becomes a graph of one operation. Building it takes cuDNN up to a second, so it is kept by
the operation, shapes, strides, type and options; a call then hands over addresses. A graph that
cuDNN does not support is remembered too, and our own kernels run instead. Engines whose sums depend
on the order of threads are not used: the same inputs give the same bits. `TINYGEN_CUDNN=0` leaves
cuDNN out.

Written against version 1.23.0 of the frontend. Tests use a double of it, and ask cuDNN itself which
of these graphs it takes on an H200 (`tests/doubles/cuda/deviceless.py`); **none has run on a GPU.**
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

import cupy

from .gemm import allow_tf32

__all__ = ["attention", "attention_vjp", "conv2d", "conv2d_weight", "conv_transpose2d",
           "described", "plan", "ready"]

PLANS = 1024
TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}


@functools.cache
def ready() -> bool:
    """Is the frontend here, with the library behind it, and wanted?"""
    if os.environ.get("TINYGEN_CUDNN", "") == "0":
        return False
    try:
        return _frontend().backend_version() >= 90000
    except (ImportError, OSError, RuntimeError):
        return False


@functools.cache
def _frontend() -> Any:
    return importlib.import_module("cudnn")


@functools.cache
def _handle(device: int) -> int:
    return _frontend().create_handle()


# -- graphs ----------------------------------------------------------------------------------------


def described(describe: Callable[..., dict[str, Any]], kind: str, device: dict[str, Any],
              *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """A graph and its tensors by name; `device` is a handle, or the description of a device."""
    cudnn = _frontend()
    graph = cudnn.pygraph(io_data_type=getattr(cudnn.data_type, TYPES[kind]),
                          intermediate_data_type=cudnn.data_type.FLOAT,
                          compute_data_type=cudnn.data_type.FLOAT, **device)
    return graph, describe(graph, *arguments)


def plan(graph: Any, kind: str) -> None:
    """Look for engines, the best first, among those that give the same bits each time.

    Raises:
        cudnnGraphNotSupportedError: there is none.
    """
    cudnn = _frontend()
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    notes = cudnn.numerical_note
    unwanted = [notes.NONDETERMINISTIC]
    if kind == "float32" and not allow_tf32[0]:
        unwanted += [notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS]
    graph.deselect_numeric_notes(unwanted)
    graph.check_support()


class _Graph:
    """A graph that was built: what it takes by name, and the workspace that it needs."""

    def __init__(self, describe: Callable[..., dict[str, Any]], kind: str, *arguments: Any):
        self.handle = _handle(cupy.cuda.runtime.getDevice())
        self.graph, self.tensors = described(describe, kind, {"handle": self.handle}, *arguments)
        plan(self.graph, kind)
        self.graph.build_plans(_frontend().build_plan_policy.HEURISTICS_CHOICE)
        self.workspace = self.graph.get_workspace_size()

    def __call__(self, **arrays: Any) -> None:
        room = cupy.empty(max(1, self.workspace), "uint8")
        _frontend().set_stream(self.handle, cupy.cuda.get_current_stream().ptr)
        self.graph.execute({self.tensors[name]: x.data.ptr for name, x in arrays.items()},
                           room.data.ptr, handle=self.handle)


_graphs: dict[Any, _Graph | None] = {}


def _graph(describe: Callable[..., dict[str, Any]], kind: str, *arguments: Any) -> _Graph | None:
    """The graph of a call, built on its first use; None where cuDNN has no engine for it."""
    key = (describe, kind, allow_tf32[0], cupy.cuda.runtime.getDevice(), arguments)
    if key not in _graphs:
        if len(_graphs) >= PLANS:
            _graphs.clear()
        try:
            _graphs[key] = _Graph(describe, kind, *arguments)
        except (_frontend().cudnnGraphNotSupportedError, RuntimeError, ValueError):
            _graphs[key] = None                  # an engine is missing: not an error of the call
    return _graphs[key]


Layout = tuple[tuple[int, ...], tuple[int, ...]]     # sizes and strides in elements


def _layout(x: Any) -> Layout:
    return x.shape, tuple([s // x.itemsize for s in x.strides])


def _input(graph: Any, name: str, layout: Layout, dtype: Any = None) -> Any:
    """A tensor of the graph's type, or of another."""
    cudnn = _frontend()
    return graph.tensor(name=name, dim=list(layout[0]), stride=list(layout[1]),
                        data_type=cudnn.data_type.NOT_SET if dtype is None else dtype)


def _output(tensor: Any, layout: Layout, dtype: Any = None) -> Any:
    tensor.set_output(True).set_dim(list(layout[0])).set_stride(list(layout[1]))
    if dtype is not None:
        tensor.set_data_type(dtype)
    return tensor


# -- attention -------------------------------------------------------------------------------------


def _four(x: Any) -> Any:
    """(..., L, E), or groups of heads (N, H, G, L, E), as (N, heads, L, E); None if no view is."""
    if x.ndim < 5:
        return x[(None,) * (4 - x.ndim)]
    n, h, group, length, width = x.shape
    if group > 1 and h > 1 and x.strides[1] != group * x.strides[2]:
        return None
    step = x.strides[2] if group > 1 else x.strides[1]
    return cupy.lib.stride_tricks.as_strided(
        x, (n, h * group, length, width), (x.strides[0], step, *x.strides[3:]))


def _band(causal: bool, offset: int, length: int, keys: int) -> dict[str, Any] | None:
    """How cuDNN is told which keys a query sees; None where it cannot be told."""
    if not causal:
        return {}
    alignment = _frontend().diagonal_alignment
    if offset == 0:
        return {"diagonal_alignment": alignment.TOP_LEFT, "diagonal_band_right_bound": 0}
    if offset == keys - length > 0:
        return {"diagonal_alignment": alignment.BOTTOM_RIGHT, "diagonal_band_right_bound": 0}
    return None


def _takes_attention(q: Any, k: Any, v: Any, causal: bool, offset: int) -> bool:
    """16 bits, whole rows of at most 128, masks by order only; groups of heads may share keys."""
    lead = q.shape[:-2] if q.ndim < 5 else (*q.shape[:2], 1)
    shared = k.shape[:-2] == v.shape[:-2] in (q.shape[:-2], lead)
    return (ready() and q.dtype.name in ("float16", "bfloat16") and q.ndim <= 5 and shared
            and q.shape[-2] > 1
            and all(x.shape[-1] % 8 == 0 and x.shape[-1] <= 128 and x.strides[-1] == x.itemsize
                    and x.data.ptr % 16 == 0 and not any(s % 16 for s in x.strides[:-1])
                    for x in (q, k, v))
            and _band(causal, offset, q.shape[-2], k.shape[-2]) is not None)


def _forward(graph: Any, q: Layout, k: Layout, v: Layout, y: Layout, lse: Layout, causal: bool,
             offset: int, scale: float) -> dict[str, Any]:
    cudnn = _frontend()
    named = {n: _input(graph, n, layout) for n, layout in zip("qkv", (q, k, v))}
    out, stats = graph.sdpa(**named, attn_scale=scale, generate_stats=True, name="attention",
                            **(_band(causal, offset, q[0][2], k[0][2]) or {}))
    return {**named, "y": _output(out, y), "lse": _output(stats, lse, cudnn.data_type.FLOAT)}


def _backward(graph: Any, q: Layout, k: Layout, v: Layout, y: Layout, g: Layout, lse: Layout,
              of_q: Layout, of_k: Layout, of_v: Layout, causal: bool, offset: int,
              scale: float) -> dict[str, Any]:
    cudnn = _frontend()
    named = {n: _input(graph, n, layout) for n, layout in zip("qkvyg", (q, k, v, y, g))}
    named["lse"] = _input(graph, "lse", lse, cudnn.data_type.FLOAT)
    made = graph.sdpa_backward(
        q=named["q"], k=named["k"], v=named["v"], o=named["y"], dO=named["g"], stats=named["lse"],
        attn_scale=scale, use_deterministic_algorithm=True, name="attention_vjp",
        **(_band(causal, offset, q[0][2], k[0][2]) or {}))
    return {**named, **{n: _output(t, layout) for n, t, layout in
                        zip(("dq", "dk", "dv"), made, (of_q, of_k, of_v))}}


def attention(q: Any, k: Any, v: Any, y: Any, lse: Any, causal: bool, offset: int,
              scale: float) -> bool:
    """Write attention's result and lse (..., L, 1); False if this is no call for cuDNN."""
    if not _takes_attention(q, k, v, causal, offset):
        return False
    arrays = {n: _four(x) for n, x in zip(("q", "k", "v", "y", "lse"), (q, k, v, y, lse))}
    if any(x is None for x in arrays.values()):
        return False
    graph = _graph(_forward, q.dtype.name, *map(_layout, arrays.values()), causal, offset, scale)
    if graph is not None:
        graph(**arrays)
    return graph is not None


def attention_vjp(q: Any, k: Any, v: Any, y: Any, g: Any, lse: Any, made: tuple[Any, ...],
                  causal: bool, offset: int, scale: float) -> bool:
    """Write the gradients of q, k and v into `made`; False if this is no call for cuDNN."""
    if not _takes_attention(q, k, v, causal, offset):
        return False
    names = ("q", "k", "v", "y", "g", "lse", "dq", "dk", "dv")
    arrays = {n: _four(x) for n, x in zip(names, (q, k, v, y, g, lse, *made))}
    if any(x is None for x in arrays.values()):
        return False
    graph = _graph(_backward, q.dtype.name, *map(_layout, arrays.values()), causal, offset, scale)
    if graph is not None:
        graph(**arrays)
    return graph is not None


# -- convolution -----------------------------------------------------------------------------------

Pair = tuple[int, int]


def _even_padding(padding: Any, stride: Pair) -> Pair | None:
    """The same padding on both sides: what an exact one lacks at the end no window reaches."""
    if all(a >= 0 and 0 <= a - b < s for (a, b), s in zip(padding, stride)):
        return padding[0][0], padding[1][0]
    return None


def _how(padding: Pair, stride: Pair, dilation: Pair) -> dict[str, Any]:
    return {"padding": list(padding), "stride": list(stride), "dilation": list(dilation)}


def _fprop(graph: Any, x: Layout, weight: Layout, y: Layout, *how: Any) -> dict[str, Any]:
    named = {"x": _input(graph, "x", x), "w": _input(graph, "w", weight)}
    out = graph.conv_fprop(image=named["x"], weight=named["w"], name="conv2d", **_how(*how))
    return {**named, "out": _output(out, y)}


def _dgrad(graph: Any, g: Layout, weight: Layout, x: Layout, *how: Any) -> dict[str, Any]:
    named = {"x": _input(graph, "g", g), "w": _input(graph, "w", weight)}
    out = graph.conv_dgrad(loss=named["x"], filter=named["w"], name="conv_transpose2d",
                           **_how(*how))
    return {**named, "out": _output(out, x)}


def _wgrad(graph: Any, x: Layout, g: Layout, weight: Layout, *how: Any) -> dict[str, Any]:
    named = {"x": _input(graph, "x", x), "w": _input(graph, "g", g)}
    out = graph.conv_wgrad(image=named["x"], loss=named["w"], name="conv2d_weight", **_how(*how))
    return {**named, "out": _output(out, weight)}


def _last(x: Any) -> Any:
    """x (N, C, H, W) as it lies if its channels lie last, else a copy where they do."""
    if x.transpose(0, 2, 3, 1).flags.c_contiguous:
        return x
    return cupy.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _convolve(describe: Any, a: Any, b: Any, out: Any, stride: Pair, padding: Any,
              dilation: Pair) -> bool:
    even = _even_padding(padding, stride) if ready() else None
    if even is None:
        return False
    a, b = _last(a), _last(b)
    if a.data.ptr % 16 or b.data.ptr % 16:
        return False
    graph = _graph(describe, a.dtype.name, *map(_layout, (a, b, out)), even, stride, dilation)
    if graph is not None:
        graph(x=a, w=b, out=out)
    return graph is not None


def conv2d(x: Any, weight: Any, out: Any, **how: Any) -> bool:
    """Write the convolution into `out`; False if this is no call for cuDNN."""
    return _convolve(_fprop, x, weight, out, **how)


def conv_transpose2d(g: Any, weight: Any, out: Any, **how: Any) -> bool:
    """Write the transpose of the convolution into `out`; False if this is no call for cuDNN."""
    return _convolve(_dgrad, g, weight, out, **how)


def conv2d_weight(x: Any, g: Any, out: Any, **how: Any) -> bool:
    """Write the gradient to the weight into `out`; False if this is no call for cuDNN."""
    return _convolve(_wgrad, x, g, out, **how)
