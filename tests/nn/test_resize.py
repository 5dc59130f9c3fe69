"""Interpolation, sampling at grids, padding and patches against PyTorch, to second derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygen as tg
import tinygen.nn.functional as F
from tests.ops.against_torch import DTYPES, LAYOUTS, SEEDS, array, same, torch

T = torch.nn.functional
few = settings(max_examples=30, deadline=None)
ints = st.integers
each = pytest.mark.parametrize("axes", [1, 2, 3])
MODES = {1: ["nearest", "nearest-exact", "linear", "area"],
         2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
         3: ["nearest", "nearest-exact", "trilinear", "area"]}


def both_ways(name, *args, **kwargs):
    """The function of that name, ours and PyTorch's, of the tensors."""
    return (lambda *tensors: getattr(F, name)(*tensors, *args, **kwargs),
            lambda *tensors: getattr(T, name)(*tensors, *args, **kwargs))


@each
@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS)
def test_interpolate(axes, data, dtype, layout, seed):
    draw = data.draw
    how = {"mode": draw(st.sampled_from(MODES[axes]))}
    size = tuple(draw(ints(1, 9 if axes < 3 else 5)) for _ in range(axes))
    factors = st.sampled_from([0.5, 1.0, 2, 3]) | st.floats(0.3, 3).map(lambda v: round(v, 2))
    if draw(st.booleans()):
        how["size"] = draw(ints(1, 12) | st.tuples(*[ints(1, 12)] * axes))
    else:
        how["scale_factor"] = draw(factors | st.tuples(*[factors] * axes))
        how["recompute_scale_factor"] = draw(st.sampled_from([None, True, False]))
        scale = how["scale_factor"]
        scale = scale if isinstance(scale, tuple) else (scale,) * axes
        new = [int(n * f) for n, f in zip(size, scale)]
        assume(min(new) >= 1)
        # PyTorch's gradient of "nearest" is that of whole factors where sizes suggest one
        assume("nearest" not in how["mode"] or how["recompute_scale_factor"]
               or not any(m in (n, 2 * n) and n * f != m for n, m, f in zip(size, new, scale)))
    if "lin" in how["mode"] or "cubic" in how["mode"]:
        how["align_corners"] = draw(st.sampled_from([None, True, False]))
    x = array(np.random.default_rng(seed), (2, 3, *size), dtype, layout)
    same(*both_ways("interpolate", **how), x, seed=seed)


@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS,
       mode=st.sampled_from(["bilinear", "bicubic"]), corners=st.sampled_from([None, True, False]))
def test_interpolate_antialiased(data, dtype, layout, seed, mode, corners):
    size = tuple(data.draw(ints(2, 12)) for _ in range(2))
    new = tuple(data.draw(ints(2, 9)) for _ in range(2))   # PyTorch 2.13 is wrong for a width of 1
    x = array(np.random.default_rng(seed), (2, 3, *size), dtype, layout)
    same(*both_ways("interpolate", size=new, mode=mode, antialias=True, align_corners=corners), x,
         seed=seed)


def test_interpolate_large_images_and_integers():
    x = array(np.random.default_rng(0), (1, 2, 70, 90), "float32")
    for how in ({"size": (150, 61)}, {"scale_factor": 1.37}):
        for mode in ("bilinear", "bicubic"):
            same(*both_ways("interpolate", **how, mode=mode), x)
    labels = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    for how in ({"scale_factor": 2}, {"size": (7, 3)}, {"size": (5, 9), "mode": "nearest-exact"}):
        ours = F.interpolate(tg.Tensor(labels), **how)
        assert ours.dtype == np.uint8
        assert np.array_equal(ours.numpy(), T.interpolate(torch.tensor(labels), **how).numpy())


def test_nearest_copies_infinities_and_keeps_memory_order():
    x = np.array([[[[np.inf, 1.0], [2.0, -np.inf]]]], "float32")
    y = F.interpolate(tg.Tensor(x), scale_factor=2).numpy()
    assert np.array_equal(y, x.repeat(2, 2).repeat(2, 3))
    z = tg.conv2d(tg.randn(2, 8, 6, 6), tg.randn(8, 8, 3, 3), padding=1)
    for mode in ("nearest", "bilinear"):
        y = F.interpolate(z, scale_factor=2, mode=mode)
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.filterwarnings("ignore:.*is deprecated.*:UserWarning")
def test_old_names_of_interpolate():
    x = array(np.random.default_rng(0), (2, 3, 4, 5), "float64")
    same(*both_ways("upsample", size=(7, 8), mode="bilinear", align_corners=True), x)
    same(*both_ways("upsample_nearest", scale_factor=2), x)
    same(*both_ways("upsample_bilinear", size=(7, 8)), x)


# -- grids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes, mode", [(2, "bilinear"), (2, "nearest"), (2, "bicubic"),
                                        (3, "bilinear"), (3, "nearest")])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@settings(max_examples=8, deadline=None)
@given(data=st.data(), layout=LAYOUTS, seed=SEEDS, corners=st.booleans())
def test_grid_sample(axes, mode, padding_mode, data, layout, seed, corners):
    rng = np.random.default_rng(seed)
    image, places = ([data.draw(ints(1, 5)) for _ in range(axes)] for _ in range(2))
    x = array(rng, (2, 3, *image), "float64", layout)
    grid = rng.uniform(-1.9, 1.9, (2, *places, axes))
    name = f"grid_sample {mode} {padding_mode} {corners}"
    ours, theirs = both_ways("grid_sample", mode, padding_mode, corners)
    same(ours, theirs, x, grid, seed=seed, second=mode != "bicubic" and axes == 2)
    assert ours(tg.asarray(x.astype("f4")), tg.asarray(grid.astype("f4"))).dtype == "f4", name


@pytest.mark.filterwarnings("ignore:Since version 1.3.0:UserWarning")
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("size", [(2, 1, 3, 5, 4), (2, 4, 1, 2, 6)])
def test_affine_grid(axes, corners, size):
    theta = array(np.random.default_rng(0), (2, axes, axes + 1), "float64")
    same(*both_ways("affine_grid", size[:axes + 2], corners), theta)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_the_identity_grid_gives_the_image_and_no_gradient_at_its_edge(padding_mode):
    x = array(np.random.default_rng(0), (2, 3, 5, 6), "float64")
    theta = np.stack([np.eye(2, 3)] * 2)

    def warp(lib):
        def sample(x, theta):
            grid = lib.affine_grid(theta, (2, 3, 5, 6), align_corners=True)
            return lib.grid_sample(x, grid, "bilinear", padding_mode, align_corners=True)
        return sample
    same(warp(F), warp(T), x, theta, second=False)
    np.testing.assert_allclose(warp(F)(tg.asarray(x), tg.asarray(theta)).numpy(), x)


def test_grids_far_away_and_undefined():
    x = tg.ones((1, 1, 4, 4))
    far = tg.Tensor([[[[1e30, 0.0], [-np.inf, 0.0], [0.0, 0.0]]]])
    for mode in ("nearest", "bilinear", "bicubic"):
        assert F.grid_sample(x, far, mode, align_corners=True).tolist() == [[[[0, 0, 1]]]]


# -- padding --------------------------------------------------------------------------------------


@each
@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS,
       mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_pad(axes, data, dtype, layout, seed, mode):
    draw = data.draw
    size = [draw(ints(2, 6)) for _ in range(axes)]
    x = array(np.random.default_rng(seed), (2, 3, *size), dtype, layout)
    x = x[0] if draw(st.booleans()) else x
    low = -1 if draw(st.booleans()) else 0
    high = {"reflect": lambda n: n - 1, "circular": lambda n: n}.get(mode, lambda n: 4)
    width = [draw(ints(low, high(n))) for n in size[::-1] for _ in range(2)]
    value = draw(st.sampled_from([None, 0.0, 1.5])) if mode == "constant" else None
    assume(mode != "circular" or all(max(a, b) <= n + min(a, 0) + min(b, 0) for n, a, b in zip(
        size[::-1], width[::2], width[1::2])))
    assume(all(n + a + b > 0 for n, a, b in zip(size[::-1], width[::2], width[1::2])))
    same(*both_ways("pad", width, mode, value), x, seed=seed)


def test_pad_of_any_axes_and_memory_order():
    x = array(np.random.default_rng(0), (2, 3, 4), "float64")
    same(*both_ways("pad", (1, 0, 0, 2, 3, 1)), x)
    assert F.pad(tg.Tensor([True, False]), (1, 1)).tolist() == [False, True, False, False]
    z = tg.asarray(array(np.random.default_rng(0), (2, 3, 4, 5), "float32", "channels-last"))
    for mode in ("constant", "reflect", "replicate", "circular"):
        assert F.pad(z, (1, 2, 0, 1), mode).data.transpose(0, 2, 3, 1).flags.c_contiguous


# -- patches --------------------------------------------------------------------------------------


@few
@given(data=st.data(), dtype=DTYPES, layout=LAYOUTS, seed=SEEDS)
def test_unfold_and_fold(data, dtype, layout, seed):
    draw = data.draw
    rng = np.random.default_rng(seed)
    kernel = draw(ints(1, 3)), draw(ints(1, 3))
    how = {"kernel_size": kernel, "dilation": draw(ints(1, 2)), "padding": draw(ints(0, 2)),
           "stride": draw(ints(1, 3) | st.tuples(ints(1, 3), ints(1, 3)))}
    size = tuple(how["dilation"] * (k - 1) + 1 + draw(ints(0, 4)) for k in kernel)
    x = array(rng, (2, 3, *size), dtype, layout)
    same(*both_ways("unfold", **how), x, seed=seed)
    columns = rng.standard_normal(F.unfold(tg.asarray(x), **how).shape).astype(dtype)
    same(*both_ways("fold", size, **how), columns, seed=seed)


@pytest.mark.parametrize("name, args", [("pixel_shuffle", (2,)), ("pixel_unshuffle", (2,)),
                                        ("channel_shuffle", (4,)), ("lp_pool2d", (2, 2)),
                                        ("lp_pool2d", (1, (2, 1), 1)), ("lp_pool2d", (3, 2))])
def test_functions_of_images(name, args):
    x = abs(array(np.random.default_rng(0), (2, 8, 4, 6), "float64"))
    same(*both_ways(name, *args), x)


def test_lp_pool_of_zeros_has_no_slope():
    x = np.array([[[0.0, 0.0, 0.0, 1.0]]])
    same(*both_ways("lp_pool1d", 2, 2), x, second=False)


def test_conv_tbc():
    rng = np.random.default_rng(0)
    x, w, b = (array(rng, s, "float64") for s in ((7, 2, 3), (3, 3, 4), (4,)))
    same(lambda *a: F.conv_tbc(*a, 1), lambda *a: torch.conv_tbc(*a, 1), x, w, b)


@pytest.mark.parametrize("call, words", [
    (lambda x: F.interpolate(x, 4, mode="cubic"), ["mode", "'cubic'", "bicubic"]),
    (lambda x: F.interpolate(x, 4, mode="linear"), ["'linear'", "(N, C, L)", "(1, 4, 6, 6)"]),
    (lambda x: F.interpolate(x), ["size or scale_factor"]),
    (lambda x: F.interpolate(x, 4, 2), ["size or scale_factor"]),
    (lambda x: F.interpolate(x, (4, 4, 4)), ["size", "2 axes", "(4, 4, 4)"]),
    (lambda x: F.interpolate(x, scale_factor=0.1), ["scale_factor 0.1", "nothing"]),
    (lambda x: F.interpolate(x, scale_factor=-1), ["scale_factor", "-1"]),
    (lambda x: F.interpolate(x, 4, align_corners=True), ["align_corners", "'nearest'"]),
    (lambda x: F.interpolate(x, 4, antialias=True), ["antialias", "'nearest'"]),
    (lambda x: F.interpolate(x, 4, recompute_scale_factor=True), ["recompute_scale_factor"]),
    (lambda x: F.interpolate(x.astype("int64"), 4, mode="bilinear"), ["floating point", "int64"]),
    (lambda x: F.grid_sample(x, tg.zeros(1, 2, 2, 3)), ["grid", "(1, 2, 2, 3)"]),
    (lambda x: F.grid_sample(x, tg.zeros(1, 2, 2, 2), "cubic"), ["'cubic'"]),
    (lambda x: F.grid_sample(x, tg.zeros(1, 2, 2, 2), padding_mode="edge"), ["'edge'"]),
    (lambda x: F.grid_sample(x, tg.zeros(1, 2, 2, 2, dtype="float64")), ["float32", "float64"]),
    (lambda x: F.affine_grid(tg.zeros(1, 2, 2), (1, 1, 4, 4)), ["(1, 2, 2)", "(N, 2, 3)"]),
    (lambda x: F.pad(x, (1,)), ["pairs", "(1,)"]),
    (lambda x: F.pad(x, (6, 0), "reflect"), ["'reflect'", "one, two or three", "(1, 4, 6, 6)"]),
    (lambda x: F.pad(x, (6, 0, 0, 0), "reflect"), ["less than the length 6", "(6, 0)"]),
    (lambda x: F.pad(x, (7, 0, 0, 0), "circular"), ["at most the length 6", "(7, 0)"]),
    (lambda x: F.pad(x, (-4, -4)), ["crops more", "(-4, -4)"]),
    (lambda x: F.pad(x, (1, 1), "mirror"), ["'mirror'", "reflect"]),
    (lambda x: F.pad(x, (1, 1, 1, 1), "reflect", 2.0), ["value=2.0", "'reflect'"]),
])
def test_errors_say_what_would_fit(call, words):
    with pytest.raises(ValueError) as error:
        call(tg.zeros(1, 4, 6, 6))
    for word in words:
        assert word in str(error.value)
