"""Random turns, zooms and gaps against SciPy, and against what they promise."""

import numpy as np
import pytest

from tinygen.data import RandomAffine, RandomErasing, RandomRotation
from tinygen.data.warps import warp

ndimage = pytest.importorskip("scipy.ndimage")


def pictures(shape=(5, 2, 7, 9), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize(("fill", "mode"), [("nearest", "nearest"), ("reflect", "reflect"),
                                            ("constant", "grid-constant")])
def test_warp_is_scipys_affine_transform(fill, mode):
    batch = pictures()
    rng = np.random.default_rng(1)
    matrices = np.eye(2) + rng.normal(0, 0.3, (5, 2, 2))
    moves = rng.normal(0, 2, (5, 2))
    made = warp(batch, matrices, moves, fill, 0.25)
    centre = np.array([3.0, 4.0])                           # (y, x)
    for n in range(5):
        # SciPy asks where output pixels come from, in (y, x)
        back = np.linalg.inv(matrices[n])[::-1, ::-1]
        offset = centre - back @ (centre + moves[n][::-1])
        for c in range(2):
            expected = ndimage.affine_transform(batch[n, c].astype(np.float64), back, offset,
                                                order=1, mode=mode, cval=0.25)
            np.testing.assert_allclose(made[n, c], expected, atol=1e-5)


def test_a_quarter_turn_is_counter_clockwise():
    class Fixed:
        def uniform(self, low, high, size):
            return np.broadcast_to(np.asarray(high, float), size).copy()

    batch = pictures((1, 1, 6, 6))
    turned = RandomRotation(90).apply(batch, Fixed())
    np.testing.assert_allclose(turned[0, 0], np.rot90(batch[0, 0]), atol=1e-6)
    moved = RandomAffine(translate=(0.5, 1 / 3)).apply(batch, Fixed())        # 3 right, 2 down
    np.testing.assert_allclose(moved[0, 0, 2:, 3:], batch[0, 0, :-2, :-3], atol=1e-6)
    assert not moved[0, 0, :2].any() and not moved[0, 0, :, :3].any()


def test_affine_draws_each_picture_alone_from_the_generator_given():
    batch = np.repeat(pictures((1, 1, 8, 8)), 3, axis=0)
    change = RandomAffine(degrees=30, scale=(0.8, 1.2), shear=10, fill="nearest")
    a, b = (change(batch, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert a.dtype == np.float32 and a.shape == batch.shape
    assert np.abs(a[0] - a[1]).max() > 0.05
    np.testing.assert_array_equal(RandomAffine()(batch, np.random.default_rng(0)), batch)
    whole = change((batch * 255).astype(np.uint8), np.random.default_rng(4))
    assert whole.dtype == np.uint8 and np.abs(whole - a * 255).max() <= 1.5


def test_a_zoom_scales_areas():
    batch = np.zeros((200, 1, 32, 32), np.float32)
    batch[:, :, 12:20, 12:20] = 1
    areas = RandomAffine(scale=(1.5, 1.5))(batch, np.random.default_rng(0)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(areas, 64 * 1.5 ** 2, rtol=0.02)


def test_erasing_puts_one_rectangle_on_some_pictures():
    batch = np.ones((2000, 2, 20, 20), np.float32)
    made = RandomErasing(0.5, area=(0.1, 0.3), value=0.0)(batch, np.random.default_rng(0))
    gaps = made == 0                                            # (N, C, H, W)
    np.testing.assert_array_equal(gaps[:, 0], gaps[:, 1])
    touched = gaps.any(axis=(1, 2, 3))
    assert 0.45 < touched.mean() < 0.55
    gaps = gaps[touched, 0]
    rows, columns = gaps.any(axis=2), gaps.any(axis=1)
    np.testing.assert_array_equal(gaps, rows[:, :, None] & columns[:, None, :])   # a rectangle
    shares = gaps.mean(axis=(1, 2))
    assert 0.19 < shares.mean() < 0.21 and shares.min() > 0.07 and shares.max() < 0.34
    everywhere = gaps.mean(axis=0)
    assert everywhere.min() > 0, "corners are reached too"


@pytest.mark.parametrize(("make", "message"), [
    (lambda: RandomRotation(-1), r"\[RandomRotation\] degrees -1"),
    (lambda: RandomAffine(translate=(1, 0)), r"translate \(1, 0\)"),
    (lambda: RandomAffine(scale=(0, 1)), "scale must be"),
    (lambda: RandomAffine(fill="wrap"), "fill must be one of nearest, constant, reflect"),
    (lambda: RandomErasing(2), r"\[RandomErasing\] p must be in"),
    (lambda: RandomErasing(area=(0, 0.2)), "area"),
])
def test_wrong_ranges_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
