"""The array API standard: every function beside array_api_strict, its reference implementation.

Each entry draws arguments; values, shapes and result types are compared. What tinygen leaves out
(complex numbers, fft) or does otherwise (an integer that meets a float keeps the float's type,
which the standard leaves open) is not drawn.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg

strict = pytest.importorskip("array_api_strict")
strict.set_array_api_strict_flags(api_version="2024.12")

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FLOATS, SIGNED = ["float32", "float64"], ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
INTEGERS, NUMBERS = SIGNED + UNSIGNED, FLOATS + SIGNED + UNSIGNED
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-30, 7.25]
OUTSIDE = {"complex64", "complex128", "fft", "get_array_api_strict_flags",
           "set_array_api_strict_flags", "reset_array_api_strict_flags", "ArrayAPIStrictFlags",
           "ArrayAPIStrictNamespaceInfo", "Device", "broadcast_shapes", "empty", "empty_like"}


def draw_array(draw, dtype, shape=None, special=True):
    if shape is None:
        shape = tuple(draw(st.lists(st.integers(0 if draw(st.integers(0, 9)) == 9 else 1, 3),
                                    max_size=3)))
    kind = np.dtype(dtype).kind
    if kind == "b":
        values = st.booleans()
    elif kind == "f":
        values = st.sampled_from(SPECIAL if special else [v for v in SPECIAL if abs(v) < 10])
    else:
        values = st.integers(-5 if kind == "i" else 0, 7)
    n = int(np.prod(shape))
    return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype).reshape(shape)


def same(ours, theirs, exact=True):
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, exact)
        if hasattr(theirs, "_fields"):
            assert ours._fields == theirs._fields
        return
    a, b = np.asarray(ours.data), np.asarray(theirs._array)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if exact or a.dtype.kind != "f":
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            fine = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a[fine]), np.signbit(b[fine]))
    else:
        np.testing.assert_allclose(a, b, rtol=3e-6 if a.dtype == np.float32 else 1e-12,
                                   atol=1e-6 if a.dtype == np.float32 else 1e-13)


def both(name, arrays, *args, exact=True, **options):
    """The function of both namespaces on the same arrays; `arrays` may hold lists of arrays."""
    def made(make):
        return [[make(v) for v in a] if isinstance(a, list) else
                make(a) if isinstance(a, np.ndarray) else a for a in arrays]
    ours, theirs = tg, strict
    for part in name.split("."):
        ours, theirs = getattr(ours, part), getattr(theirs, part)

    def types(module):
        return {k: getattr(module, v) if k == "dtype" and v is not None else v
                for k, v in options.items()}
    same(ours(*made(tg.Tensor), *args, **types(tg)),
         theirs(*made(strict.asarray), *args, **types(strict)), exact)


def test_every_name_of_the_standard_is_there():
    for ours, theirs in ((tg, strict), (tg.linalg, strict.linalg)):
        missing = [n for n in theirs.__all__ if not n.startswith("_") and not hasattr(ours, n)]
        assert set(missing) <= OUTSIDE, missing
    for name in dir(strict.asarray(1.0)):
        if name.startswith("__") and name not in ("__module__", "__dict__", "__weakref__",
                                                      "__buffer__"):
            assert hasattr(tg.Tensor, name), name


def test_parameters_have_the_standards_names():
    for ours, theirs in ((tg, strict), (tg.linalg, strict.linalg)):
        for name in set(theirs.__all__) - OUTSIDE:
            function = getattr(theirs, name)
            if not inspect.isfunction(function):
                continue
            offered = inspect.signature(getattr(ours, name)).parameters
            wanted = [p for p in inspect.signature(function).parameters.values()
                      if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            assert {p.name for p in wanted} <= set(offered), name


# -- elementwise ---

REAL_FUNCTIONS = """acos acosh asin asinh atan atanh cos cosh exp expm1 log log10 log1p log2
    reciprocal
    sin sinh sqrt tan tanh"""
ROUNDED = """acos acosh asin asinh atan atanh cos cosh exp expm1 log log10 log1p log2 sin sinh tan
    tanh atan2 hypot logaddexp pow"""
LINALG = """cholesky det eigvalsh inv matrix_norm matrix_power matrix_rank pinv slogdet svdvals
    trace vector_norm diagonal outer cross solve qr"""
UNARY = {
    "abs": NUMBERS, "ceil": NUMBERS, "floor": NUMBERS, "round": NUMBERS, "trunc": NUMBERS,
    "negative": FLOATS + SIGNED, "positive": NUMBERS, "sign": NUMBERS, "signbit": FLOATS,
    "square": NUMBERS, "isfinite": NUMBERS, "isinf": NUMBERS, "isnan": NUMBERS,
    "bitwise_invert": ["bool", *INTEGERS], "logical_not": ["bool"], "conj": NUMBERS,
    **{name: FLOATS for name in REAL_FUNCTIONS.split()},
}
INEXACT = set(ROUNDED.split())
BINARY = {
    "atan2": FLOATS, "copysign": FLOATS, "hypot": FLOATS, "logaddexp": FLOATS, "divide": FLOATS,
    "nextafter": FLOATS, "add": NUMBERS, "subtract": NUMBERS, "multiply": NUMBERS,
    "equal": ["bool", *NUMBERS], "not_equal": ["bool", *NUMBERS], "less": NUMBERS,
    "less_equal": NUMBERS, "greater": NUMBERS, "greater_equal": NUMBERS, "maximum": NUMBERS,
    "minimum": NUMBERS, "floor_divide": NUMBERS, "remainder": NUMBERS, "pow": FLOATS,
    **{f"logical_{n}": ["bool"] for n in ("and", "or", "xor")},
    **{f"bitwise_{n}": ["bool", *INTEGERS] for n in ("and", "or", "xor")},
    **{f"bitwise_{n}_shift": INTEGERS for n in ("left", "right")},
}


@pytest.mark.parametrize("name", sorted(UNARY))
@given(data=st.data())
def test_unary(name, data):
    x = draw_array(data.draw, data.draw(st.sampled_from(UNARY[name])))
    both(name, [x], exact=name not in INEXACT)


@pytest.mark.parametrize("name", sorted(BINARY))
@given(data=st.data())
def test_binary(name, data):
    kinds = BINARY[name]
    first = data.draw(st.sampled_from(kinds))
    group = next(g for g in (["bool"], FLOATS, INTEGERS) if first in g)
    second = data.draw(st.sampled_from([k for k in group if k in kinds]))
    if {first, second} & {"uint64"} and np.dtype(first).kind != np.dtype(second).kind:
        second = first                  # no type holds both: the standard leaves it open
    x = draw_array(data.draw, first)
    y = draw_array(data.draw, second, data.draw(st.sampled_from([x.shape, (), x.shape[-1:]])))
    if "shift" in name:
        y = np.asarray(np.abs(y), second)
    if group is INTEGERS and name in ("floor_divide", "remainder"):
        y = np.asarray(np.where(y == 0, 1, y), second)
    both(name, [x, y], exact=name not in INEXACT)
    if name in ("add", "multiply", "maximum", "less", "bitwise_and") and group is not INTEGERS:
        scalar = {"b": True, "f": 2.5}[np.dtype(first).kind]
        both(name, [x, scalar], exact=True)


@given(data=st.data())
def test_clip_and_where(data):
    kind = data.draw(st.sampled_from(NUMBERS))
    x, y = (draw_array(data.draw, kind, (2, 3)) for _ in range(2))
    both("clip", [x], 1, 3)
    both("clip", [x], max=2)
    both("where", [draw_array(data.draw, "bool", (3,)), x, y])


# -- reductions, searching, sorting ---


def axes_for(draw, ndim, many=True):
    if not ndim or draw(st.booleans()):
        return None
    one = st.integers(-ndim, ndim - 1)
    return draw(one if not many else st.one_of(one, st.lists(
        one, min_size=1, max_size=ndim, unique_by=lambda a: a % ndim).map(tuple)))


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all",
                                  "argmax", "argmin", "count_nonzero"])
@given(data=st.data())
def test_reductions(name, data):
    kinds = (FLOATS if name in ("mean", "var", "std") else ["bool", *NUMBERS]
             if name in ("any", "all", "count_nonzero") else NUMBERS)
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    x = draw_array(data.draw, data.draw(st.sampled_from(kinds)), shape, special=False)
    options = {"axis": axes_for(data.draw, x.ndim, not name.startswith("arg")),
               "keepdims": data.draw(st.booleans())}
    if name in ("var", "std"):
        options["correction"] = data.draw(st.sampled_from([0, 0.0]))
    if name in ("sum", "prod") and data.draw(st.booleans()):
        options["dtype"] = data.draw(st.sampled_from(FLOATS))
    both(name, [x], exact=name not in ("sum", "prod", "mean", "var", "std"), **options)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod", "diff", "sort", "argsort",
                                  "flip", "nonzero", "unique_all", "unique_counts",
                                  "unique_inverse", "unique_values"])
@given(data=st.data())
def test_along_an_axis(name, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    x = draw_array(data.draw, data.draw(st.sampled_from(NUMBERS)), shape, special=False)
    x = np.where(x == 0, 0, x).astype(x.dtype)           # which zero is the distinct one is open
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    options = {"nonzero": {}, "diff": {"axis": axis, "n": 1}}.get(name, {"axis": axis})
    if name.startswith("unique"):
        options = {}
    if name.startswith("cumulative"):
        options["include_initial"] = data.draw(st.booleans())
    if "sort" in name:
        options |= {"descending": data.draw(st.booleans()), "stable": True}
    both(name, [x], exact=not name.startswith("cumulative"), **options)


@given(data=st.data())
def test_searchsorted_and_take(data):
    kind = data.draw(st.sampled_from(FLOATS))
    x = np.sort(draw_array(data.draw, kind, (5,), special=False))
    y = draw_array(data.draw, kind, (2, 3), special=False)
    for side in ("left", "right"):
        both("searchsorted", [x, y], side=side)
    rows = draw_array(data.draw, "uint8", (4,)) % 3
    both("take", [y, rows.astype("int64")], axis=1)
    both("take_along_axis", [y, np.stack([rows, rows]).astype("int64")], axis=1)


# -- shapes and creation ---


@given(data=st.data())
def test_shapes(data):
    kind = data.draw(st.sampled_from(["bool", *NUMBERS]))
    x = draw_array(data.draw, kind, (2, 1, 3), special=False)
    both("reshape", [x], (3, -1), copy=data.draw(st.sampled_from([None, True])))
    both("permute_dims", [x], data.draw(st.permutations([0, 1, 2]).map(tuple)))
    both("moveaxis", [x], (0, 1), (2, 0))
    both("squeeze", [x], 1)
    both("expand_dims", [x], axis=data.draw(st.integers(-4, 3)))
    both("roll", [x], data.draw(st.sampled_from([1, -2])),
         axis=data.draw(st.sampled_from([None, 2])))
    both("roll", [x], (1, 2), axis=(0, 2))
    both("tile", [x], (2, 1, 2))
    both("repeat", [x], 2, axis=0)
    both("unstack", [x], axis=2)
    both("broadcast_to", [x], (2, 2, 3))
    both("broadcast_arrays", [x, x[0, 0]])
    both("matrix_transpose", [x])
    both("tril", [x], k=data.draw(st.integers(-2, 2)))
    both("triu", [x], k=data.draw(st.integers(-2, 2)))
    both("flip", [x])
    both("concat", [[x, x]], axis=data.draw(st.sampled_from([0, 2, None])))
    both("stack", [[x, x]], axis=data.draw(st.integers(-4, 3)))
    both("meshgrid", [x[0, 0], x[0, 0]], indexing=data.draw(st.sampled_from(["xy", "ij"])))
    for name in ("zeros_like", "ones_like"):
        both(name, [x])


@pytest.mark.parametrize("dtype", ["bool", *NUMBERS])
def test_creation(dtype):
    for name, args in (("zeros", ((2, 3),)), ("ones", ((2,),)), ("eye", (3, 2)),
                       ("full", ((2,), 1))):
        if not (name == "full" and dtype == "bool"):
            both(name, [], *args, dtype=dtype)
    both("eye", [], 3, k=-1, dtype=dtype)
    if dtype != "bool":
        both("arange", [], 1, 9, 3, dtype=dtype)
    if dtype in FLOATS:
        both("linspace", [], 0.0, 1.0, 5, dtype=dtype, endpoint=False)


@pytest.mark.parametrize("name", ["matmul", "tensordot", "vecdot", "linalg.matmul",
                                  "linalg.vecdot", "linalg.tensordot"])
def test_products(name):
    rng = np.random.default_rng(0)
    for kind in FLOATS:
        x = rng.standard_normal((3, 3)).astype(kind)
        both(name, [x, x], exact=False, **({"axes": 1} if "tensordot" in name else {}))


@pytest.mark.parametrize("name", LINALG.split())
def test_linear_algebra(name):
    rng = np.random.default_rng(1)
    for kind in FLOATS:
        x = rng.standard_normal((2, 3, 3)).astype(kind)
        x = x @ x.swapaxes(-1, -2) + np.eye(3, dtype=kind)
        more = {"matrix_power": (3,)}.get(name, ())
        arrays = {"outer": [x[0, 0], x[0, 1]], "cross": [x, x[0]], "solve": [x, x]}.get(name, [x])
        if kind == "float64":
            both(f"linalg.{name}", arrays, *more, exact=False)


# -- types ---


@given(kinds=st.lists(st.sampled_from(["bool", *NUMBERS]), min_size=1, max_size=3))
def test_result_type_follows_the_table(kinds):
    if any(k in INTEGERS for k in kinds) and any(k in FLOATS + ["bool"] for k in kinds):
        kinds = [k for k in kinds if k in INTEGERS]
    if "bool" in kinds and set(kinds) != {"bool"}:
        kinds = [k for k in kinds if k != "bool"]
    if "uint64" in kinds and any(k in SIGNED for k in kinds):
        kinds = ["uint64"]
    expected = strict.result_type(*[getattr(strict, k) for k in kinds])
    assert tg.result_type(*kinds) == expected._np_dtype
    assert tg.result_type(*[tg.zeros((1,), dtype=k) for k in kinds]) == expected._np_dtype


@pytest.mark.parametrize("dtype", ["bool", *NUMBERS])
def test_kinds_casts_and_limits(dtype):
    theirs = getattr(strict, dtype)
    for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating",
                 "complex floating", "numeric", ("bool", "integral")):
        assert tg.isdtype(getattr(tg, dtype), kind) == strict.isdtype(theirs, kind)
    for other in ("bool", *NUMBERS):
        assert tg.can_cast(dtype, other) == np.can_cast(dtype, other)
    if dtype in FLOATS:
        ours, limits = tg.finfo(dtype), strict.finfo(theirs)
        for part in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, part) == getattr(limits, part)
            assert type(getattr(ours, part)) in (int, float)
    elif dtype != "bool":
        ours, limits = tg.iinfo(dtype), strict.iinfo(theirs)
        assert (ours.bits, ours.max, ours.min) == (limits.bits, limits.max, limits.min)


def test_what_is_made_without_a_type():
    for name, args in (("ones", ((2,),)), ("zeros", ((2,),)), ("arange", (3.0,)),
                       ("linspace", (0.0, 1.0, 3)), ("full", ((2,), 1.5))):
        assert getattr(tg, name)(*args).dtype == np.float32
    assert tg.arange(3).dtype == tg.full((2,), 1).dtype == np.int64
    assert tg.full((2,), True).dtype == tg.asarray(True).dtype == np.bool_
