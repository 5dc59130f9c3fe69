"""Products of matrices: matmul and what is made of it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import beside, shape_of
from ..primitive import primitive
from ..tensor import Tensor
from .elementwise import multiply
from .reduce import sum_p
from .shape import astype, permute_p, reshape_p


def _mT(x: Any) -> Any:
    return x.T if x.ndim == 2 else x.swapaxes(-1, -2)


def _product(a: Any, b: Any) -> Any:
    """The same as xp.matmul; two small matrices take 0.4 us by `dot` and 0.8 by `matmul`."""
    return a.dot(b) if type(a) is type(b) and a.ndim == 2 and b.ndim == 2 else a @ b


@primitive(direct=_product)
def matmul(xp, a, b):
    """The matrix product over the last two axes; leading axes broadcast, vectors as in NumPy."""
    return xp.matmul(a, b)


# dA = G B^T, dB = A^T G. A vector is a matrix whose extra axis was dropped: put it back.


def _matmul_vjp_a(g, out, a, b):
    if b.ndim == 1:
        return g * b if a.ndim == 1 else g[..., None] * b
    if a.ndim == 1:                                    # (..., n) x (..., k, n) -> (..., k)
        return matmul(b, g[..., None])[..., 0]
    return matmul(g, _mT(b))


def _matmul_vjp_b(g, out, a, b):
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:                                    # (..., m, k) x (..., m) -> (..., k)
        return matmul(_mT(a), g[..., None])[..., 0]
    if b.ndim == 2 and a.ndim > 2:                     # one big product instead of a sum of many
        return matmul(_rows(a).T, _rows(g))
    return matmul(_mT(a), g)


matmul.vjp(_matmul_vjp_a, _matmul_vjp_b)


def _rows(x):
    """All leading axes joined into one: (..., n) -> (m, n), for n = 0 too."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


@matmul.explains
def _(a, b):
    sa, sb = shape_of(a), shape_of(b)
    if not sa or not sb:
        return "a 0-d tensor has no rows to multiply; use * for numbers"
    inner_b = sb[-2] if len(sb) > 1 else sb[0]
    if sa[-1] != inner_b:
        return f"inner sizes {sa[-1]} and {inner_b} differ"
    return f"batch axes {sa[:-2]} and {sb[:-2]} do not broadcast"


# -- einsum: every contraction is its own derivative's kind -------------------------------------


@primitive(name="einsum")
def einsum_p(xp, *xs, spec):
    """A sum of products over named axes; `spec` is explicit, like 'ij,jk->ik'."""
    return xp.einsum(spec, *xs, optimize=True) if len(xs) > 1 else xp.einsum(spec, *xs)


@einsum_p.vjp_each
def _(i, g, out, *xs, spec):
    """Contract g with the other operands; axes that x_i alone has, and repeats, come back after."""
    terms, result = spec.split("->")
    names = terms.split(",")
    mine, others = names[i], names[:i] + names[i + 1:]
    rest = xs[:i] + xs[i + 1:]
    unique = "".join(dict.fromkeys(mine))
    known = set(result).union(*others) if others else set(result)
    reach = "".join(c for c in unique if c in known)
    part = einsum_p(g, *rest, spec=f"{','.join([result, *others])}->{reach}")
    size = dict(zip(mine, xs[i].shape, strict=True))
    if reach != unique:                                # summed inside x_i: every element counts
        shape = tuple(size[c] if c in reach else 1 for c in unique)
        wide = np.ones(tuple(size[c] for c in unique), part.dtype)
        part = part.reshape(shape) * beside(wide, part)
    if unique == mine:
        return part
    fresh = _all_different(mine)                       # 'ii->': only the diagonal was read
    diagonal = beside(_diagonal_mask(part, mine, size), part)
    return einsum_p(part, diagonal, spec=f"{unique},{fresh}->{fresh}")


def _all_different(mine: str) -> str:
    """The axes of an operand with fresh letters for repeated ones: 'iij' gives 'iAj'."""
    spare = iter(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                 if c not in mine)
    return "".join(next(spare) if c in mine[:i] else c for i, c in enumerate(mine))


def _diagonal_mask(like: Any, mine: str, size: dict[str, int]) -> np.ndarray:
    """1 where all axes with the same letter have the same index, in the axes of `mine`."""
    shape = tuple(size[c] for c in mine)
    index = np.indices(shape, sparse=True)
    mask = np.ones(shape, bool)
    for a, c in enumerate(mine):
        mask &= index[a] == index[mine.index(c)]
    return mask.astype(like.dtype)


def einsum(spec: Any, *xs: Any) -> Tensor:
    """A sum of products over named axes: `einsum('bij,bjk->bik', a, b)`.

    Implicit output, repeated letters and `...` work as in NumPy, and so do operands followed by
    the numbers of their axes: `einsum(a, [0, 1], b, [1, 2], [0, 2])`.

    >>> import tinygen as tg
    >>> tg.einsum("ii->", tg.eye(3)).item()
    3.0
    """
    if not isinstance(spec, str):                  # einsum(a, [0, 1], b, [1, 2], [0, 2])
        spec, xs = _letters((spec, *xs))
    if len(xs) == 1 and isinstance(xs[0], (list, tuple)):
        xs = tuple(xs[0])
    return einsum_p(*xs, spec=_explicit(spec.replace(" ", ""), xs))


def _letters(mixed: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Operands, each followed by the numbers of its axes, as a text and the operands."""
    def text(axes: Sequence[Any]) -> str:
        return "".join("..." if a is Ellipsis else chr(ord("a") + a) for a in axes)
    xs, names = mixed[:len(mixed) // 2 * 2:2], mixed[1::2]
    spec = ",".join(text(axes) for axes in names)
    return (f"{spec}->{text(mixed[-1])}" if len(mixed) % 2 else spec), xs


def _explicit(spec: str, xs: Sequence[Any]) -> str:
    terms, arrow, result = spec.partition("->")
    names = terms.split(",")
    if len(names) != len(xs):
        raise ValueError(f"[einsum] {spec!r} names {len(names)} operands, {len(xs)} were given")
    if "..." in spec:
        names, result = _without_dots(spec, names, xs, arrow, result)
    for i, (name, x) in enumerate(zip(names, xs, strict=True)):
        if len(name) != len(shape_of(x)):
            raise ValueError(f"[einsum] operand {i} is {name!r} in {spec!r}, but has shape "
                             f"{shape_of(x)}")
    if not arrow:
        joined = "".join(names)
        dots = [c for c in result if c]
        result = "".join(dots) + "".join(sorted(c for c in set(joined)
                                                if joined.count(c) == 1 and c not in dots))
    return f"{','.join(names)}->{result}"


def _without_dots(spec: str, names: list[str], xs: Sequence[Any], arrow: str,
                  result: str) -> tuple[list[str], str]:
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in spec]
    widths = [len(shape_of(x)) - len(n.replace("...", ""))
              for n, x in zip(names, xs, strict=True)]
    widest = "".join(spare[:max(w for n, w in zip(names, widths, strict=True) if "..." in n)])
    full = [n.replace("...", widest[len(widest) - w:] if w > 0 else "")
            for n, w in zip(names, widths, strict=True)]
    if arrow:
        return full, result.replace("...", widest)
    return full, widest


def tensordot(a: Any, b: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """Sum over pairs of axes: the last `axes` of a with the first of b, or two lists of axes."""
    a, b = (x if isinstance(x, Tensor) else Tensor(x) for x in (a, b))
    if isinstance(axes, (int, np.integer)):
        n = int(axes)
        ours, theirs = tuple(range(a.ndim - n, a.ndim)), tuple(range(n))
    else:
        ours, theirs = (tuple(operator.index(i) for i in (p if hasattr(p, "__iter__") else (p,)))
                        for p in axes)
        ours, theirs = tuple(i % a.ndim for i in ours), tuple(i % b.ndim for i in theirs)
    if len(ours) != len(theirs) or any(a.shape[i] != b.shape[j]
                                       for i, j in zip(ours, theirs, strict=False)):
        raise ValueError(f"[tensordot] a: {a.shape}, b: {b.shape}: axes {ours} of a and {theirs} "
                         "of b must pair up with equal lengths")
    left = tuple(i for i in range(a.ndim) if i not in ours)
    right = tuple(i for i in range(b.ndim) if i not in theirs)
    inner = int(np.prod([a.shape[i] for i in ours], dtype=int))
    rows = tuple(a.shape[i] for i in left)
    cols = tuple(b.shape[i] for i in right)
    m, n = (int(np.prod(sizes, dtype=int)) for sizes in (rows, cols))
    flat_a = reshape_p(permute_p(a, axes=left + ours), shape=(m, inner))
    flat_b = reshape_p(permute_p(b, axes=theirs + right), shape=(inner, n))
    return reshape_p(matmul(flat_a, flat_b), shape=rows + cols)


def outer(a: Any, b: Any) -> Tensor:
    """All products a_i * b_j of two vectors: (m,), (n,) -> (m, n)."""
    return multiply(reshape_p(a, shape=(-1, 1)), reshape_p(b, shape=(1, -1)))


def dot(a: Any, b: Any) -> Tensor:
    """The sum of products of two vectors; matrices as in NumPy's `matmul`."""
    return matmul(a, b)


def trace(x: Any, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal `offset` of the last two axes."""
    rows, cols = x.shape[-2:]
    index = np.arange(max(0, min(rows + min(offset, 0), cols - max(offset, 0))))
    parts = x[..., index - min(offset, 0), index + max(offset, 0)]
    return sum_p(parts if dtype is None else astype(parts, dtype), axis=-1, keepdims=False)
