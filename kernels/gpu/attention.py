"""Attention on a GPU: which calls the kernels take, where everything lies, how they are launched.

float16 and bfloat16 run on tensor cores (`source/attention.cu`), float32 and float64 in plain
products (`source/attention_plain.cu`); both read q, k and v wherever they lie, so that heads may be
slices of a packed projection. Where cuDNN is installed it is asked first for 16-bit floats.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cupy
import numpy as np

from tinygen.ops.attention import sum_to
from tinygen.primitive import kernel

from . import cudnn
from .launch import EMPTY, Source, capability

__all__: list[str] = []

AXES = "more than three leading axes"
DTYPES = "dtypes differ, or are no floats"
STRIDES = "elements of a row are not neighbours"
WIDTH = "heads wider than 128"
SCALE = "a scale that is not positive"
OLD = "a device before sm_80, whose tensor cores do not have these products"
MASK_GRADIENT = "the mask wants a gradient"

NAMES = ("float16", "bfloat16", "float32", "float64")
C_NAMES = {"float16": "f16", "bfloat16": "bf16", "float32": "float", "float64": "double"}

# The struct Call of source/attention.cuh.
_PLACE = np.dtype([("base", "u8"), ("lead", "i8", 3), ("row", "i8"), ("column", "i8")])
_PLACES = ("q", "k", "v", "y", "g", "dq", "dk", "dv", "mask", "keep")
CALL = np.dtype([
    *((name, _PLACE) for name in _PLACES), ("lse", "u8"), ("inner", "u8"),
    *((name, "i4") for name in ("length", "keys", "width", "value_width", "heads", "members")),
    ("own", "i4", 3), ("group", "i4", 3),
    *((name, "i4") for name in ("causal", "offset", "mask_kind", "whole")), ("scale", "f8")])
_OFFSETS: Any = CALL.fields
_WORDS = {name: _OFFSETS[name][1] // 8 for name in (*_PLACES, "lse", "inner")}

# Rows of a warp in units of 16, and columns of a step, by the padded width: forward, dQ, dK and dV.
# A fragment of keys that is fetched for 16 rows takes longer to fetch than to multiply, for 32 it
# does not; as many as 255 registers hold without spilling (tests/gpu/test_attention.py).
_TILES = {32: (2, 2, 32, 2, 32), 64: (2, 2, 32, 1, 64), 128: (2, 1, 64, 1, 32)}
_TILES_OF_EXTRAS = {32: (1, 1, 64, 1, 32), 64: (1, 1, 64, 1, 64), 128: (1, 1, 64, 1, 16)}
_TILE_NAMES = ("FORWARD_M", "QUERIES_M", "QUERIES_N", "KEYS_M", "KEYS_N")
WIDTHS = tuple(_TILES)


def variant(name: str, head: int, extras: bool) -> dict[str, Any]:
    """What a source is compiled with: for a type, a padded width, with or without masks."""
    if name in ("float32", "float64"):
        return {"ELEMENT": C_NAMES[name], "HEAD": head,
                "EACH": 2 if head == 128 or name == "float64" else 4}
    tiles = (_TILES_OF_EXTRAS if extras else _TILES)[head]
    return {"ELEMENT": C_NAMES[name], "HEAD": head, "EXTRAS": int(extras),
            **dict(zip(_TILE_NAMES, tiles))}


@functools.cache
def _source(name: str, **defines: Any) -> Source:
    return Source(name, tuple(f"-D{k}={v}" for k, v in defines.items()))


def _lead(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (5 - len(shape)) + shape[:-2]


def _place(x: Any, lead: tuple[int, ...]) -> tuple[Any, ...]:
    """Strides in elements: three leading axes (0 where x is broadcast), rows, columns."""
    shape = (1,) * (5 - x.ndim) + x.shape
    step = (0,) * (5 - x.ndim) + tuple(s // x.itemsize for s in x.strides)
    front = [s if n == m and m > 1 else 0 for s, n, m in zip(step, shape, lead)]
    return 0, front, *(s if n > 1 else 0 for s, n in zip(step[3:], shape[3:]))


def _like(shape: tuple[int, ...], model: Any) -> Any:
    """An empty array; heads that are slices of (N, L, H, E) give results that are, too."""
    if model.ndim == 4 and len(shape) == 4 and model.strides[1] < model.strides[2]:
        n, h, length, width = shape
        return cupy.empty((n, length, h, width), model.dtype).transpose(0, 2, 1, 3)
    return cupy.empty(shape, model.dtype)


def _packed(q: Any, k: Any, v: Any) -> list[Any] | None:
    """Room for three gradients, side by side as q, k and v are slices of one projection, or None.

    So the gradient of the projection is there when they are (`split_heads` looks for it).
    """
    if q.ndim != 4 or not q.shape == k.shape == v.shape or not q.strides == k.strides == v.strides:
        return None
    n, h, length, d = q.shape
    e, first = h * d * q.itemsize, q.data.ptr
    if (k.data.ptr - first, v.data.ptr - first, q.strides[1] * h) != (e, 2 * e, e):
        return None
    if (q.strides[2], q.strides[0]) == (3 * e, 3 * e * length):
        x = cupy.empty((n, length, 3, h, d), q.dtype)
        return [x[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    if (q.strides[0], q.strides[2]) == (3 * e, 3 * e * n):
        x = cupy.empty((length, n, 3, h, d), q.dtype)
        return [x[:, :, i].transpose(1, 2, 0, 3) for i in range(3)]
    return None


class _Plan:
    """What is known of a call before its addresses are."""

    def __init__(self, q: Any, k: Any, v: Any, mask: Any, keep: Any, causal: bool, offset: int,
                 scale: float):
        shapes = [_lead(x.shape) for x in (q, k, v)]
        lead = tuple(max(ns) for ns in zip(*shapes))
        own = tuple(max(a, b) for a, b in zip(*shapes[1:]))
        group = tuple(n // m for n, m in zip(lead, own))
        rank = 5 - max(q.ndim, k.ndim, v.ndim)
        self.full, self.own = lead[rank:], own[rank:]
        (self.length, e), (self.keys, ev) = q.shape[-2:], v.shape[-2:]
        self.heads, self.shared = math.prod(lead), math.prod(own)
        self.lead, self.size = lead, q.itemsize
        self.places: dict[Any, np.ndarray] = {}      # of other arrays, by name and strides
        self.real = np.dtype(np.float32 if q.itemsize == 2 else q.dtype)
        described = np.zeros(1, CALL)
        self.words, call = described.view(np.uint64), described[0]
        for name, x in (("q", q), ("k", k), ("v", v), ("mask", mask), ("keep", keep)):
            if x is not None:
                call[name] = _place(x, lead)
        kind = 0 if mask is None else 1 if mask.dtype.kind == "b" else 2
        whole = e % 8 == ev % 8 == 0 and all(
            s % 8 == 0 for n in "qkv" for s in (*call[n]["lead"], call[n]["row"]))
        for name, value in (("length", self.length), ("keys", self.keys), ("width", e),
                            ("value_width", ev), ("heads", self.heads),
                            ("members", math.prod(group)), ("own", own), ("group", group),
                            ("causal", causal), ("offset", offset), ("mask_kind", kind),
                            ("whole", whole), ("scale", scale)):
            call[name] = value
        self.head = next(n for n in WIDTHS if max(e, ev) <= n)
        self.tiles = variant(q.dtype.name, self.head, mask is not None or keep is not None)
        self.source = _source("attention" if q.itemsize == 2 else "attention_plain", **self.tiles)

    def put(self, words: np.ndarray, name: str, x: Any) -> None:
        """Say where an array that is no input of the forward pass lies."""
        place = self.places.get((name, x.strides))
        if place is None:
            made = np.zeros(1, _PLACE)
            made[0] = _place(x, self.lead)
            place = self.places[name, x.strides] = made.view(np.uint64)
        at = _WORDS[name]
        words[at:at + len(place)] = place
        words[at] = x.data.ptr

    def told(self, **arrays: Any) -> np.ndarray:
        """The description of a call with the addresses of its inputs.

        As words of 64 bits: NumPy takes 20 us to copy a struct, and 0.2 for these.
        """
        words, aligned = self.words.copy(), True
        for name, x in arrays.items():
            if x is not None:
                words[_WORDS[name]] = address = x.data.ptr
                aligned = aligned and (address % 16 == 0 or name in ("mask", "keep"))
        if not aligned:
            words.view(CALL)["whole"] = 0
        return words

    # -- forward ---

    def forward(self, words: np.ndarray) -> None:
        call = words.view(CALL)
        pitch = self.head + 16 // self.size
        if self.size > 2:
            rows = 16 * self.tiles["EACH"]
            blocks = self.heads * -(-self.length // rows)
            room = (3 * rows * pitch + rows * (rows + 16 // self.size)) * self.size
            return self.source("attention_forward", blocks, 256, call, shared=room)
        name, rows = "attention_forward", 64 * self.tiles["FORWARD_M"]
        if self.length <= 64:
            name, rows = "attention_forward_short", 64
        blocks = self.heads * -(-self.length // rows)
        self.source(name, blocks, 128, call, shared=(rows + 128) * pitch * 2)

    # -- backward ---

    def backward(self, words: np.ndarray, queries: bool, keys: bool) -> None:
        call = words.view(CALL)
        self.source("attention_inner", -(-self.heads * self.length // 8), 256, call, shared=0)
        pitch, of = self.head + 16 // self.size, self.tiles
        if self.size > 2:
            rows = columns = 16 * of["EACH"]
            extra = rows * (rows + 16 // self.size) * self.size
            sizes = [(rows, columns, extra)] * 2
        else:
            sizes = [(64 * of["QUERIES_M"], of["QUERIES_N"], 0),
                     (64 * of["KEYS_M"], of["KEYS_N"], 8 * of["KEYS_N"])]
        threads = 256 if self.size > 2 else 128
        for wanted, name, heads, length, (rows, columns, extra) in (
                (queries, "attention_queries", self.heads, self.length, sizes[0]),
                (keys, "attention_keys", self.shared, self.keys, sizes[1])):
            if wanted:
                room = 2 * (rows + columns) * pitch * self.size + extra
                self.source(name, heads * -(-length // rows), threads, call, shared=room)


_plans: dict[Any, _Plan] = {}
PLANS = 512


def _refused(q: Any, k: Any, v: Any, mask: Any, keep: Any, scale: float) -> str | None:
    """Why a call is not for these kernels."""
    kind = q.dtype
    if kind.name not in NAMES or k.dtype != kind or v.dtype != kind:
        return DTYPES
    if kind.itemsize == 2 and capability() < 80:
        return OLD
    for m in (mask, keep):
        if m is not None and m.dtype != kind and (m is keep or m.dtype.kind != "b"):
            return DTYPES
    for x in (q, k, v, mask, keep):
        if x is not None and (not x.size or x.ndim < 2):
            return EMPTY
        if x is not None and x.ndim > 5:
            return AXES
    for x in (q, k, v):
        if x.strides[-1] != x.itemsize and x.shape[-1] > 1:
            return STRIDES
    if max(q.shape[-1], v.shape[-1]) > 128:
        return WIDTH
    return None if scale > 0 else SCALE


def _plan(q: Any, k: Any, v: Any, mask: Any, keep: Any, *how: Any) -> _Plan | str:
    """The plan of a call, or why it is declined."""
    key = (how, *((x.dtype.num, x.shape, x.strides) if x is not None else None
                  for x in (q, k, v, mask, keep)))
    plan = _plans.get(key)
    if plan is None:
        why = _refused(q, k, v, mask, keep, how[-1])
        if why:
            return why
        if len(_plans) >= PLANS:
            _plans.clear()
        plan = _plans[key] = _Plan(q, k, v, mask, keep, *how)
    return plan


def _with_rows(mask: Any) -> Any:
    """A mask over keys alone as one with a row for all queries."""
    return mask if mask is None or mask.ndim > 1 else mask[(None,) * (2 - mask.ndim)]


@kernel("attention", cupy.ndarray, dtypes=NAMES)
def _(q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *, causal: bool, offset: int,
      scale: float) -> Any:
    mask, keep = _with_rows(mask), _with_rows(keep)
    plan = _plan(q, k, v, mask, keep, causal, offset, scale)
    if isinstance(plan, str):
        return plan
    y = _like((*plan.full, plan.length, v.shape[-1]), q)
    lse = cupy.empty((*plan.full, plan.length), plan.real)
    if mask is None and keep is None and cudnn.attention(q, k, v, y, lse[..., None], causal, offset,
                                                         scale):
        return y, lse
    words = plan.told(q=q, k=k, v=v, mask=mask, keep=keep, lse=lse)
    plan.put(words, "y", y)
    plan.forward(words)
    return y, lse


@kernel("attention_vjp", cupy.ndarray, dtypes=NAMES)
def _(g: Any, y: Any, lse: Any, q: Any, k: Any, v: Any, mask: Any = None, keep: Any = None, *,
      needs: tuple[bool, ...], causal: bool, offset: int, scale: float) -> Any:
    if len(needs) > 3 and needs[3]:
        return MASK_GRADIENT
    mask, keep = _with_rows(mask), _with_rows(keep)
    plan = _plan(q, k, v, mask, keep, causal, offset, scale)
    if isinstance(plan, str):
        return plan
    g, y = (_whole_rows(x, q.dtype) for x in (g, y))
    made = _packed(q, k, v) if all(needs[:3]) else None
    if made is None:
        made = [_like((*lead, *x.shape[-2:]), x) if needed else None for lead, x, needed in zip(
            (plan.full, plan.own, plan.own), (q, k, v), needs)]
    if not (mask is None and keep is None and all(needs[:3]) and cudnn.attention_vjp(
            q, k, v, y, g, lse[..., None], tuple(made), causal, offset, scale)):
        _own_vjp(plan, g, y, lse, (q, k, v, mask, keep), made)
    return *(x if x is None else sum_to(x, of.shape) for x, of in zip(made, (q, k, v))), None


def _own_vjp(plan: _Plan, g: Any, y: Any, lse: Any, inputs: tuple[Any, ...],
             made: list[Any]) -> None:
    """Write the gradients that are wanted into `made`, by our own kernels."""
    inner = cupy.empty(lse.shape, plan.real)
    words = plan.told(**dict(zip(("q", "k", "v", "mask", "keep"), inputs)), lse=lse, inner=inner)
    if any(s % 16 for s in (g.data.ptr, *g.strides[:-1])):
        words.view(CALL)["whole"] = 0
    plan.put(words, "g", g)
    plan.put(words, "y", y)
    for name, x in zip(("dq", "dk", "dv"), made):
        if x is not None:
            plan.put(words, name, x)
    plan.backward(words, made[0] is not None, made[1] is not None or made[2] is not None)


def _whole_rows(x: Any, dtype: Any) -> Any:
    """x with neighbouring elements along its last axis."""
    if x.dtype != dtype:
        x = x.astype(dtype)
    return x if x.strides[-1] == x.itemsize or x.shape[-1] == 1 else cupy.ascontiguousarray(x)
