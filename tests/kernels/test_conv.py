"""Convolution kernels: against NumPy's definition in float64, on every shape that picks a path."""

import numpy as np
import pytest

pytest.importorskip("numba")

import tinygen as tg
from tinygen import threads
from tinygen.primitive import KERNELS, PRIMITIVES, _load_kernels

_load_kernels(np.ndarray)
if ("conv2d", np.ndarray) not in KERNELS:
    pytest.skip("kernels are off", allow_module_level=True)

ERROR = {np.float32: 2e-6, np.float64: 1e-14}

# (batch, channels, output channels, groups), and (size, kernel, stride, padding, dilation) per axis
CHANNELS = {"plain": (3, 5, 7, 1), "panels": (2, 20, 70, 1), "few out": (2, 40, 3, 1),
            "few, last": (2, 40, 6, 1), "one": (2, 1, 1, 1), "one in": (2, 1, 33, 1),
            "groups": (2, 6, 10, 2),
            "wide groups": (1, 40, 72, 2), "depthwise": (2, 19, 19, 19)}
WINDOWS = {
    "3x3": [(9, 3, 1, (1, 1), 1), (17, 3, 1, (1, 1), 1)],
    "1x1": [(4, 1, 1, (0, 0), 1), (5, 1, 1, (0, 0), 1)],
    "4x4 stride 2": [(8, 4, 2, (1, 1), 1), (14, 4, 2, (1, 1), 1)],
    "5x3 stride 3, 2": [(11, 5, 3, (2, 1), 1), (8, 3, 2, (1, 0), 1)],
    "dilated": [(9, 3, 1, (2, 2), 2), (12, 2, 2, (3, 0), 3)],
    "cropped": [(8, 3, 2, (-1, 0), 1), (9, 2, 1, (0, -1), 1)],
    "whole image": [(4, 4, 1, (0, 0), 1), (4, 4, 1, (0, 0), 1)],
    "more padding than image": [(1, 3, 1, (3, 2), 1), (2, 3, 1, (1, 1), 1)],
    "phases without taps": [(7, 1, 3, (0, 0), 1), (5, 2, 2, (0, 1), 2)],
}


def exact(window):
    """The same window with a padding that leaves no remainder, and the number of windows."""
    n, k, s, (a, b), d = window
    room = n + a + b - d * (k - 1) - 1
    return (n, k, s, (a, b - room % s), d), room // s + 1


def make(channels, windows, dtype, layout="planes"):
    """x, weight, bias, the gradient g of the output, a bias of the input, and the attributes."""
    (n, c, o, groups), draw = channels, np.random.default_rng(0)
    axes = [exact(w) for w in windows]
    (h, kh, s, p, d), (w, kw, t, q, e) = (a for a, _ in axes)
    how = {"stride": (s, t), "padding": (p, q), "dilation": (d, e), "groups": groups}

    def images(*shape):
        x = draw.standard_normal(shape).astype(dtype)
        if layout == "planes":
            return x
        if layout == "last":
            return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        wider = np.zeros((*shape[:3], 2 * shape[3]), dtype)
        wider[..., ::2] = x
        return wider[..., ::2]
    return (images(n, c, h, w), draw.standard_normal((o, c // groups, kh, kw)).astype(dtype),
            draw.standard_normal(o).astype(dtype), images(n, o, *(m for _, m in axes)),
            draw.standard_normal(c).astype(dtype), how)


def calls(x, weight, bias, g, other, how):
    """One call of each primitive with these arrays."""
    return {"conv2d": ((x, weight, bias), how), "conv_transpose2d": ((g, weight, other), how),
            "conv2d_weight": ((x, g), how)}


def run(name, arrays, how):
    y = KERNELS[name, np.ndarray](*arrays, **how)
    assert y is not NotImplemented
    return y


def check(name, arrays, how):
    y = run(name, arrays, how)
    expected = PRIMITIVES[name].fn(np, *(a.astype(np.float64) for a in arrays), **how)
    assert (y.shape, y.dtype) == (expected.shape, arrays[0].dtype)
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(y - expected).max() <= ERROR[y.dtype.type] * scale


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_with_numpy(channels, window, dtype):
    for layout in ("planes", "last", "strided"):
        made = make(CHANNELS[channels], WINDOWS[window], dtype, layout)
        for name, (arrays, how) in calls(*made).items():
            check(name, arrays, how)


# Where Winograd's algorithm runs: every tile, both ways, sizes that fill no tile and no vector.
SHORT = {
    "3x3": ((2, 40, 70), (9, 3, 1, (1, 1)), (13, 3, 1, (1, 1))),
    "3x3 without padding": ((2, 64, 33), (12, 3, 1, (0, 0)), (12, 3, 1, (0, 1))),
    "5x5": ((2, 33, 64), (10, 5, 1, (2, 2)), (11, 5, 1, (2, 2))),
    "4x4 stride 2": ((3, 65, 40), (12, 4, 2, (1, 1)), (20, 4, 2, (1, 1))),
    "4x4 stride 2, cropped": ((2, 32, 32), (13, 4, 2, (-1, 0)), (17, 4, 2, (0, 1))),
    "4x4 stride 2, small": ((3, 32, 40), (8, 4, 2, (1, 1)), (7, 4, 2, (1, 2))),
    "2x2": ((2, 24, 24), (7, 2, 1, (0, 0)), (5, 2, 1, (1, 1))),
    "6x6 stride 2": ((2, 24, 24), (14, 6, 2, (2, 2)), (16, 6, 2, (2, 2))),
}


def _noted(real, seen):
    def call(*a):
        seen.append(real(*a))
        return seen[-1]
    return call


@pytest.fixture
def always_short(monkeypatch):
    """Winograd's algorithm wherever it can be used; yields what the calls of it returned."""
    from tinygen.kernels.cpu import winograd
    seen = []
    monkeypatch.setattr(winograd, "pays", lambda *a: True)
    for name in ("convolve", "gradient"):
        monkeypatch.setattr(winograd, name, _noted(getattr(winograd, name), seen))
    return seen


def short(case, layout="planes", dtype=np.float32):
    (n, c, o), *axes = SHORT[case]
    return make((n, c, o, 1), [(*axis, 1) for axis in axes], dtype, layout)


def check_short(name, arrays, how):
    y = run(name, arrays, how)
    expected = PRIMITIVES[name].fn(np, *(a.astype(np.float64) for a in arrays), **how)
    assert np.abs(y - expected).max() <= 3e-6 * np.abs(expected).max()
    return y


@pytest.mark.parametrize("case", SHORT)
def test_short_convolutions_agree_with_numpy(case, always_short, monkeypatch):
    """The error stays within a few 1e-6 of the largest output, as the module says."""
    for layout in ("planes", "last"):
        for name, (arrays, how) in calls(*short(case, layout)).items():
            for count in (1, 2, 4):
                monkeypatch.setattr(threads.count, "value", count)
                y = check_short(name, arrays, how)
                assert run(name, arrays, how).tobytes() == y.tobytes()
    assert always_short == [True] * 36


def test_short_gradients_of_many_weights_share_their_sums(always_short, monkeypatch):
    """One set of sums: the same for any number of threads, and for any part of the images."""
    from tinygen.kernels.cpu import winograd
    monkeypatch.setattr(winograd, "APART", 0)
    for staged in (8 << 20, 1 << 18):
        monkeypatch.setattr(winograd, "STAGED", staged)
        for case in ("3x3", "4x4 stride 2"):
            x, _, _, g, _, how = short(case)
            results = set()
            for count in (1, 2, 4):
                monkeypatch.setattr(threads.count, "value", count)
                results.add(run("conv2d_weight", (x, g), how).tobytes())
            check_short("conv2d_weight", (x, g), how)
            assert len(results) == 1


def test_short_convolutions_leave_the_rest_to_direct_sums(always_short):
    for name, (arrays, how) in calls(*short("3x3", dtype=np.float64)).items():
        check(name, arrays, how)
    for name, (arrays, how) in calls(*make((2, 32, 32, 2), WINDOWS["3x3"], np.float32)).items():
        check(name, arrays, how)
    for window in ("1x1", "5x3 stride 3, 2", "dilated"):
        for name, (arrays, how) in calls(*make((2, 32, 32, 1), WINDOWS[window],
                                               np.float32)).items():
            check(name, arrays, how)
    assert not always_short


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_short_convolutions_keep_special_values_where_they_are(value, always_short):
    """A tile would spread them: the call runs again, directly."""
    x, weight, bias, g, _, how = short("3x3")
    x[0, 1, 4, 8] = value
    for name, arrays in (("conv2d", (x, weight, bias)), ("conv2d_weight", (x, g))):
        y = run(name, arrays, how)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = PRIMITIVES[name].fn(np, *arrays, **how)
        assert (np.isfinite(y) == np.isfinite(expected)).all()
    assert always_short == [False, False]


def test_warmup_compiles_every_function_of_short_convolutions(monkeypatch):
    from tinygen.kernels.cpu import winograd

    from tinygen.warmup import WORK
    monkeypatch.setattr(winograd, "_codes", {})
    WORK["convolutions"]("float32")
    assert sorted(winograd._codes) == ["convolve", "sum_apart", "sum_products", "turn_both",
                                       "turn_sums", "turn_weights"]


def test_short_convolutions_are_taken_where_they_pay():
    from tinygen.kernels.cpu import winograd
    from tinygen.kernels.cpu.conv_plan import Layout
    from tinygen.kernels.cpu.winograd_plan import plan

    def taken(n, c, outs, side, gradient=False):
        found = plan(Layout(c, side, side, 0), (3, 3), outs, (1, 1), (1, 1), (side, side), False)
        return winograd.pays(found, n, c, outs, n * side * side * c * outs * 9, gradient)
    assert taken(16, 64, 64, 32) and taken(16, 64, 64, 32, True) and taken(16, 256, 256, 7)
    assert not taken(16, 8, 64, 32) and not taken(1, 512, 512, 2) and not taken(8, 16, 16, 4, True)


def test_without_bias_and_with_a_weight_that_is_a_view():
    x, weight, _, g, _, how = make(CHANNELS["plain"], WINDOWS["3x3"], np.float32)
    turned = np.ascontiguousarray(weight.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)
    check("conv2d", (x, turned), how)
    check("conv_transpose2d", (g, turned), how)


def test_large_enough_for_several_bands_and_threads(monkeypatch):
    windows = [(40, 3, 1, (1, 1), 1), (33, 3, 1, (1, 1), 1)]
    for channels in ((3, 64, 33, 1), (2, 64, 3, 1), (2, 96, 96, 96), (1, 3, 130, 1)):
        for name, (arrays, how) in calls(*make(channels, windows, np.float32, "last")).items():
            expected = PRIMITIVES[name].fn(np, *(a.astype(np.float64) for a in arrays), **how)
            for count in (1, 2, 4):
                monkeypatch.setattr(threads.count, "value", count)
                y = run(name, arrays, how)
                assert np.abs(y - expected).max() <= 5e-6 * np.abs(expected).max()
                for _ in range(3):
                    assert run(name, arrays, how).tobytes() == y.tobytes()


def test_results_lie_channels_last_and_own_their_memory():
    x, weight, bias, g, _, how = make(CHANNELS["panels"], WINDOWS["3x3"], np.float32)
    for y in (run("conv2d", (x, weight, bias), how), run("conv_transpose2d", (g, weight), how)):
        assert y.flags.owndata and y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert run("conv2d_weight", (x, g), how).flags.c_contiguous


def test_special_values_stay_where_their_windows_are():
    x, weight, bias, _, _, how = make((1, 3, 40, 1), WINDOWS["3x3"], np.float32)
    x[0, 1, 4, 8] = np.nan
    y = run("conv2d", (x, weight, bias), how)
    seen = np.zeros(y.shape, bool)
    seen[:, :, 3:6, 7:10] = True
    assert (np.isnan(y) == seen).all()


def test_what_is_declined():
    x, weight, bias, _, _, how = make(CHANNELS["plain"], WINDOWS["3x3"], np.float32)
    kernel = KERNELS["conv2d", np.ndarray].function
    assert "float" in kernel(x.astype(np.float16), weight.astype(np.float16), **how)
    assert "types" in kernel(x, weight.astype(np.float64), **how)
    assert "nothing" in kernel(x[:0], weight, bias, **how)
    with pytest.raises(ValueError, match="not exact"):
        kernel(x, weight, **{**how, "stride": (5, 5)})
    assert tg.nn.functional.conv2d(tg.asarray(x[:0]), tg.asarray(weight)).shape[0] == 0


@pytest.mark.parametrize("layout", ["planes", "last"])
@pytest.mark.parametrize("shape", [(5, 33, 17, 13), (40, 70, 3, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channel_sums(shape, layout, dtype):
    n, c, h, w = shape
    x = np.random.default_rng(0).standard_normal((n, c, h, w)).astype(dtype)
    if layout == "last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    y = KERNELS["channel_sum", np.ndarray](x)
    assert y is not NotImplemented or (layout == "planes" and h * w < 16)
    if y is not NotImplemented:
        np.testing.assert_allclose(y, x.astype(np.float64).sum(axis=(0, 2, 3)),
                                   rtol=0, atol=np.sqrt(x.size / c) * 20 * np.finfo(dtype).eps)
