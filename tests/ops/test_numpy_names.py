"""Functions that NumPy has under the same name, against NumPy, on the same calls."""

import numpy as np
import pytest

import tinygen as tg

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))
HOLES = np.where(RNG.random((4, 5)) < 0.3, np.nan, RNG.standard_normal((4, 5)))
ROW = RNG.standard_normal(6)


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value.detach().numpy() if isinstance(value, tg.Tensor) else np.asarray(value)


def equal(ours, theirs):
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
        return
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype.kind == theirs.dtype.kind
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


CALLS = [
    ("hstack", ([X, X],)), ("hstack", ([ROW, ROW],)), ("vstack", ([ROW, ROW],)),
    ("dstack", ([HOLES, HOLES],)), ("column_stack", ([ROW, ROW],)),
    ("atleast_1d", (3.0,)), ("atleast_2d", (ROW,)), ("atleast_3d", (ROW,)),
    ("atleast_3d", (HOLES,)), ("ravel", (X,)), ("array_split", (X, 3, 2)),
    ("array_split", (X, [1, 3], 2)), ("hsplit", (X, 2)), ("vsplit", (X, 3)), ("dsplit", (X, 5)),
    ("fliplr", (X,)), ("flipud", (X,)), *(("rot90", (X, k, (0, 2))) for k in range(-1, 4)),
    ("rollaxis", (X, 2)), ("rollaxis", (X, 0, 3)), ("rollaxis", (X, 2, -1)),
    ("diag", (ROW, 1)), ("diag", (HOLES, -1)), ("diagflat", (HOLES[:2], 2)),
    ("tril_indices", (4, 1, 3)), ("triu_indices", (3, -1)), ("argwhere", (X > 0.5,)),
    ("diff", (X,)), ("diff", (X, 2, 1)), ("diff", (ROW, 1, -1, 0.0, 9.0)),
    ("gradient", (X,)), ("gradient", (X, 0.5, 2.0, 3.0)), ("gradient", (ROW, np.cumsum(ROW ** 2))),
    ("trapezoid", (X,)), ("trapezoid", (X, None, 0.5, 1)), ("trapezoid", (X, np.arange(5.0) ** 2)),
    ("copysign", (ROW, -1.0)), ("fmod", (ROW, 0.3)), ("hypot", (ROW, 2.0)),
    ("deg2rad", (ROW,)), ("rad2deg", (ROW,)), ("radians", (ROW,)), ("degrees", (ROW,)),
    ("isclose", (ROW, ROW + 1e-9)), ("isclose", ([np.inf, np.nan, 1.0], [np.inf, np.nan, 2.0])),
    ("allclose", (ROW, ROW + 1e-9)), ("array_equal", (ROW, ROW)), ("array_equal", (ROW, X)),
    ("isposinf", (np.array([np.inf, -np.inf, np.nan, 0]),)),
    ("isneginf", (np.array([np.inf, -np.inf, np.nan, 0]),)),
    ("nan_to_num", (np.array([np.inf, -np.inf, np.nan, 2.0]),)),
    ("ptp", (X, 1)), ("average", (X, 1)), ("average", (X, 1, [1.0, 2.0, 3.0, 4.0])),
    ("nansum", (HOLES,)), ("nansum", (HOLES, 1)), ("nanprod", (HOLES, 0)), ("nanmean", (HOLES, 0)),
    ("nanmax", (HOLES, 0)), ("nanmin", (HOLES, 1)),
    ("median", (X,)), ("median", (X, 1)), ("nanmedian", (HOLES, 0)), ("percentile", (X, 30, 1)),
    ("percentile", (X, [0, 99.5])),
    ("searchsorted", (np.sort(ROW), X)), ("digitize", (X, np.sort(ROW))),
    ("digitize", (X, np.sort(ROW), True)), ("bincount", ([1, 4, 1],)),
    ("bincount", ([1, 4, 1], [0.5, 1.0, 2.0], 8)),
    ("flatnonzero", (X > 0.3,)), ("extract", (X > 0, X)), ("compress", ([0, 1, 1], X, 1)),
    ("append", (X, X, 1)), ("append", (ROW, 3.0)), ("delete", (X, 1, 1)),
    ("delete", (X, [0, 2], 2)), ("delete", (ROW, 2)), ("insert", (X, 1, 9.0, 1)),
    ("insert", (ROW, [1, 3], [7.0, 8.0])), ("insert", (HOLES, 2, ROW[:5], 0)),
    ("insert", (HOLES, 5, ROW[:4], 1)), ("tri", (3, 4, 1)),
    ("array_equiv", (ROW, X)), ("round", (ROW, 2)), ("around", (X,)), ("rint", (X,)),
    ("fix", (X,)), ("fabs", (X,)), ("divmod", (X, 0.3)), ("modf", (X,)), ("cbrt", (X,)),
    ("nancumsum", (HOLES, 1)), ("nancumprod", (HOLES,)), ("ediff1d", (X,)),
    *(("convolve", (a, b, m)) for m in ("full", "same", "valid")
      for a, b in ((ROW, ROW[:3]), (ROW[:2], ROW), (ROW, ROW[:1]))),
    *(("correlate", (a, b, m)) for m in ("full", "same", "valid")
      for a, b in ((ROW, ROW[:3]), (ROW[:2], ROW), (ROW[:3], ROW))),
    ("interp", (X, np.array([-1.0, 0.0, 0.5]), np.array([3.0, 5.0, 1.0]))),
    ("nanargmax", (HOLES, 0)), ("nanargmin", (HOLES, 1)), ("nanpercentile", (HOLES, 30, 1)),
    ("histogram", (X,)), ("histogram", (X, 7, (-1.0, 1.0))), ("histogram", (X, np.sort(ROW))),
]


@pytest.mark.parametrize("name, args", CALLS, ids=[c[0] for c in CALLS])
def test_same_as_numpy(name, args):
    made = [tg.Tensor(a) if isinstance(a, np.ndarray) else
            [tg.Tensor(v) for v in a] if isinstance(a, list) and isinstance(a[0], np.ndarray) else a
            for a in args]
    equal(plain(getattr(tg, name)(*made)), getattr(np, name)(*args))


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("axis", [None, 1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_quantiles(method, axis, keepdims):
    for q in (0.0, 0.37, 1.0, [0.1, 0.5, 0.92]):
        ours = tg.quantile(tg.Tensor(X), q, axis, keepdims, method)
        equal(plain(ours), np.quantile(X, q, axis, keepdims=keepdims, method=method))
    ours = tg.nanquantile(tg.Tensor(HOLES), 0.37, 0, keepdims, method)
    equal(plain(ours), np.nanquantile(HOLES, 0.37, 0, keepdims=keepdims, method=method))


def test_variances_without_nan():
    for correction in (0, 1):
        equal(plain(tg.nanvar(tg.Tensor(HOLES), 0, correction)),
              np.nanvar(HOLES, 0, ddof=correction))
        equal(plain(tg.nanstd(tg.Tensor(HOLES), None, correction)), np.nanstd(HOLES,
                                                                              ddof=correction))


def test_windows_that_slide():
    view = np.lib.stride_tricks.sliding_window_view
    equal(plain(tg.sliding_window_view(tg.Tensor(X), 3, 1)), view(X, 3, 1))
    equal(plain(tg.sliding_window_view(tg.Tensor(X), (2, 3), (0, 2))), view(X, (2, 3), (0, 2)))
    with pytest.raises(ValueError, match=r"window of 7 does not fit into axis 1 of \(3, 4, 5\)"):
        tg.sliding_window_view(tg.Tensor(X), 7, 1)


def test_values_put_along_an_axis():
    order = np.argsort(X, 1)
    expected = X.copy()
    np.put_along_axis(expected, order[:, :2], 9.0, 1)
    ours = tg.put_along_axis(tg.Tensor(X), tg.Tensor(order[:, :2]), 9.0, 1)
    equal(plain(ours), expected)


@pytest.mark.parametrize("call, message", [
    (lambda x: tg.quantile(x, 1.5), r"\[quantile\] q must be .* in \[0, 1\]"),
    (lambda x: tg.quantile(x, 0.5, method="cubic"), r"\[quantile\] method must be one of linear"),
    (lambda x: tg.diff(x, -1), r"\[diff\] n must not be negative"),
    (lambda x: tg.gradient(x, 1.0, 2.0), r"\[gradient\] 2 spacings for 1 axes"),
    (lambda x: tg.array_split(x, 0), r"\[array_split\] parts must be at least 1"),
    (lambda x: tg.diag(x.reshape((1, 2, 3))), r"\[diag\] a vector or a matrix"),
    (lambda x: tg.searchsorted(x, x, "middle"), r"\[searchsorted\] side must be"),
    (lambda x: tg.scatter(x, [0, 1], [1.0]), r"\[scatter\] indices have shape \(2,\), source"),
    (lambda x: tg.scatter_reduce(x, [0], [1.0], reduce="min"), r"reduce must be one of sum"),
    (lambda x: tg.average(x, 0, [1.0]), r"\[average\] weights \(1,\) fit neither"),
    (lambda x: tg.masked_scatter(x, x > -99, [1.0]), r"source has 1 elements for 6 places"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(tg.Tensor(ROW))
