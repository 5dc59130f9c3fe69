"""A program of small steps, run by one compiled loop: no call of Python, and nothing to compile.

Each row of the code is a step: what to do, sizes, and for each array its place in the table of
addresses, the number of its first element and its strides. Elementwise steps hold the address of a
loop of `pointwise.py`. `kernels/cpu/steps.py` writes the rows.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..steps import ADAM, COPY, COUNT, DOTS, LOOP, ROWS, TILES
from .base import inline, jit
from .gemm import _part
from .loops import run_loop
from .tile import keep
from .updates import HEAD  # which has checked that arrays are laid out so

__all__ = ["run"]


# Behind an array's pointer to its elements (Python's header, then: elements, number of axes, shape,
# strides, base, dtype, flags), as in NumPy's `ndarrayobject.h`.
FLAGS = HEAD + 48
C_ORDER, ALIGNED, WRITEABLE = 1, 0x100, 0x400


_SHORT = np.zeros(1, np.float32)


def _check() -> None:
    for a in (np.zeros(2), np.zeros((2, 3))[:, :2], np.broadcast_to(1.0, 3), np.zeros((2, 3)).T):
        found = ctypes.c_int.from_address(id(a) + FLAGS).value
        if bool(found & C_ORDER) != a.flags.c_contiguous or bool(
                found & WRITEABLE) != a.flags.writeable:
            raise ImportError("NumPy's arrays are not laid out as known")


_check()


@intrinsic
def _word(typingctx, address):
    """The integer that lies at an address."""
    def generate(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))
    return types.int64(types.int64), generate


@intrinsic
def get(typingctx, address, like):
    """The number of the type of `like` that lies at an address."""
    def generate(context, builder, signature, args):
        kind = context.get_value_type(like.dtype)
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()))
    return like.dtype(types.int64, like), generate


@intrinsic
def put(typingctx, address, like, value):
    """Let a number, as one of the type of `like`, lie at an address."""
    def generate(context, builder, signature, args):
        number = context.cast(builder, args[2], value, like.dtype)
        builder.store(number, builder.inttoptr(args[0], number.type.as_pointer()))
        return context.get_dummy_value()
    return types.void(types.int64, like, value), generate


@inline
def _at(row, k, base, size):
    """The address of the first element of an array whose description begins at row[k]."""
    return base[row[k]] + row[k + 1] * size


@jit
def _run_loop(row, numbers, base, like):
    """A formula over the elements: [LOOP, address, n, three outer sizes, then four arrays: place,
    first, three strides, whether it is one number along the inner axis]."""
    size = like.itemsize
    at = (_at(row, 6, base, size), _at(row, 12, base, size), _at(row, 18, base, size),
          _at(row, 24, base, size))
    for i in range(row[3]):
        for j in range(row[4]):
            for k in range(row[5]):
                a, b, c = numbers[0], numbers[1], numbers[2]
                out = at[0] + (i * row[8] + j * row[9] + k * row[10]) * size
                x = at[1] + (i * row[14] + j * row[15] + k * row[16]) * size
                y = at[2] + (i * row[20] + j * row[21] + k * row[22]) * size
                z = at[3] + (i * row[26] + j * row[27] + k * row[28]) * size
                if row[17]:                       # the numbers are the last of a, b and c
                    if row[23]:
                        b, c = np.float64(get(x, like)), np.float64(get(y, like))
                    else:
                        c = np.float64(get(x, like))
                elif row[23]:
                    if row[29]:
                        b, c = np.float64(get(y, like)), np.float64(get(z, like))
                    else:
                        c = np.float64(get(y, like))
                elif row[29]:
                    c = np.float64(get(z, like))
                run_loop(row[1], out, x, y, z, row[2], a, b, c)


@jit
def _run_dots(row, base, like):
    """Sums of products: [DOTS, three kept sizes, two that are added up, then three arrays: place,
    first, five strides]. Without a second factor, its place is -1."""
    size = like.itemsize
    out, x = _at(row, 6, base, size), _at(row, 13, base, size)
    alone = row[20] < 0
    y = x if alone else _at(row, 20, base, size)
    n, sx, sy = row[5], row[19] * size, row[26] * size
    for i in range(row[1]):
        for j in range(row[2]):
            for k in range(row[3]):
                total = like.dtype.type(0)
                for a in range(row[4]):
                    p = x + (i * row[15] + j * row[16] + k * row[17] + a * row[18]) * size
                    q = y + (i * row[22] + j * row[23] + k * row[24] + a * row[25]) * size
                    if alone:
                        for b in range(n):
                            total += get(p + b * sx, like)
                    elif row[19] == 1 and row[26] == 1:
                        for b in range(n):
                            total += get(p + b * size, like) * get(q + b * size, like)
                    else:
                        for b in range(n):
                            total += get(p + b * sx, like) * get(q + b * sy, like)
                put(out + (i * row[8] + j * row[9] + k * row[10]) * size, like, total)


@jit
def _run_rows(row, base, like):
    """The same, a row of results at a time: the last kept axis runs over neighbours."""
    size, kind = like.itemsize, like.dtype.type
    out, x = _at(row, 6, base, size), _at(row, 13, base, size)
    alone = row[20] < 0
    y = x if alone else _at(row, 20, base, size)
    n = row[3]
    for i in range(row[1]):
        for j in range(row[2]):
            to = out + (i * row[8] + j * row[9]) * size
            for k in range(n):
                put(to + k * size, like, kind(0))
            for a in range(row[4]):
                for b in range(row[5]):
                    p = x + (i * row[15] + j * row[16] + a * row[18] + b * row[19]) * size
                    q = y + (i * row[22] + j * row[23] + a * row[25] + b * row[26]) * size
                    if alone:
                        _add_row(to, p, kind(1), n, size, like)
                    elif row[17] == 0:
                        _add_row(to, q, get(p, like), n, size, like)
                    elif row[24] == 0:
                        _add_row(to, p, get(q, like), n, size, like)
                    else:
                        for k in range(n):
                            put(to + k * size, like, get(to + k * size, like)
                                + get(p + k * size, like) * get(q + k * size, like))


@jit
def _add_row(to, p, factor, n, size, like):
    for k in range(n):
        at = to + k * size
        put(at, like, get(at, like) + factor * get(p + k * size, like))


@jit
def _run_tiles(row, base, like):
    """Sums of products on the register tile: [TILES, how many, m, n, k, whether the first and the
    second factor lie transposed, then three arrays: place, first, step from product to product,
    step between the rows as they lie]."""
    size = np.int64(like.itemsize)
    out, x, y = _at(row, 7, base, size), _at(row, 11, base, size), _at(row, 15, base, size)
    none = np.int64(0)
    for i in range(row[1]):
        _part(x + i * row[13] * size, y + i * row[17] * size, out + i * row[9] * size, like[:0],
              (none, 0.0), row[5] != 0, row[6] != 0, row[4], none, row[2], none, row[3],
              row[14] * size, row[18] * size, row[10] * size, none, none)


@jit
def _run_copy(row, base, like):
    """An array in another order: [COPY, four sizes, two arrays: place, first, four strides]."""
    size = like.itemsize
    out, x = _at(row, 5, base, size), _at(row, 11, base, size)
    for i in range(row[1]):
        for j in range(row[2]):
            for k in range(row[3]):
                to = out + (i * row[7] + j * row[8] + k * row[9]) * size
                at = x + (i * row[13] + j * row[14] + k * row[15]) * size
                for m in range(row[4]):
                    put(to + m * row[10] * size, like, get(at + m * row[16] * size, like))


@jit
def _run_count(row, numbers, given, base, how, like):
    """A step of Adam begins: [COUNT, place of the count, its offset, place of the learning rate
    among the given numbers or -1, whether the count is a float32]; numbers: learning rate, beta1,
    beta2, eps, decay."""
    at = base[row[1]]
    if row[4]:
        t = np.float64(get(at, _SHORT)) + 1
        put(at, _SHORT, t)
    else:
        t = np.float64(get(at, like)) + 1
        put(at, like, t)
    lr = numbers[0] if row[3] < 0 else given[row[3]]
    root = math.sqrt(1.0 - numbers[2] ** t)
    how[0] = lr * root / (1.0 - numbers[1] ** t)
    how[1] = numbers[3] * root
    how[2] = 1.0 - lr * numbers[4]


@jit
def _run_adam(row, numbers, base, how, like):
    """Adam on one parameter: [ADAM, n, decoupled, maximize, then p, g, m, v and the largest v:
    place and first]; the last place is -1 without amsgrad."""
    size, kind = like.itemsize, like.dtype.type
    p, g, m = _at(row, 4, base, size), _at(row, 6, base, size), _at(row, 8, base, size)
    v = _at(row, 10, base, size)
    most = v if row[12] < 0 else _at(row, 12, base, size)
    keep_, coupled = kind(how[2] if row[2] else 1.0), kind(0.0 if row[2] else numbers[4])
    sign, near1 = kind(-1.0 if row[3] else 1.0), kind(1.0 - numbers[1])
    far2, near2 = kind(numbers[2]), kind(1.0 - numbers[2])
    step, floor = kind(how[0]), kind(how[1])
    for i in range(row[1]):
        at = i * size
        old = get(p + at, like)
        d = sign * get(g + at, like)
        if coupled != 0:            # 0 * inf is NaN
            d += coupled * old
        mean = get(m + at, like)
        mean += near1 * (d - mean)
        square = get(v + at, like) * far2 + (d * d) * near2
        put(m + at, like, mean)
        put(v + at, like, square)
        if row[12] >= 0:
            before = get(most + at, like)
            square = square if square > before or square != square else before
            put(most + at, like, square)
        put(p + at, like, keep_ * old - step * (mean / (np.sqrt(square) + floor)))


@jit
def _run_sgd(row, numbers, given, base, like):
    """SGD on one parameter: [SGD, n, nesterov, maximize, place of the learning rate or -1, then p,
    g and the momentum's buffer: place and first]; numbers: learning rate, momentum, 1 - dampening,
    decay."""
    size, kind = like.itemsize, like.dtype.type
    p, g = _at(row, 5, base, size), _at(row, 7, base, size)
    buf = p if row[9] < 0 else _at(row, 9, base, size)
    lr = kind(numbers[0] if row[4] < 0 else given[row[4]])
    momentum, near, decay = kind(numbers[1]), kind(numbers[2]), kind(numbers[3])
    sign = kind(-1.0 if row[3] else 1.0)
    for i in range(row[1]):
        at = i * size
        old = get(p + at, like)
        d = sign * get(g + at, like)
        if decay != 0:
            d += decay * old
        if row[9] >= 0:
            mean = get(buf + at, like) * momentum + d * near
            put(buf + at, like, mean)
            d = d + mean * momentum if row[2] else mean
        put(p + at, like, old - lr * d)


@jit
def run(code, numbers, given, ids, written, scratch, like):
    """Run all steps on the arrays with these ids, and on `scratch` numbers of room between.

    It gives 1, having done nothing, where an array is not in C order, or one of the first
    `written` is read-only.
    """
    base = np.empty(len(ids) + 1, np.int64)
    for i in range(len(ids)):
        wanted = C_ORDER | ALIGNED | (WRITEABLE if written[i] else 0)
        if _word(ids[i] + FLAGS) & wanted != wanted:
            return 1
        base[i] = _word(ids[i] + HEAD)
    room = np.empty(scratch, like.dtype)
    base[len(ids)] = room.ctypes.data
    how = np.empty(3)
    for k in range(len(code)):
        row = code[k]
        what = row[0]
        if what == LOOP:
            _run_loop(row, numbers[k], base, like)
        elif what == DOTS:
            _run_dots(row, base, like)
        elif what == ROWS:
            _run_rows(row, base, like)
        elif what == TILES:
            _run_tiles(row, base, like)
        elif what == COPY:
            _run_copy(row, base, like)
        elif what == COUNT:
            _run_count(row, numbers[k], given, base, how, like)
        elif what == ADAM:
            _run_adam(row, numbers[k], base, how, like)
        else:
            _run_sgd(row, numbers[k], given, base, like)
    keep(room)
    return 0
