"""Transforms against straightforward computations, Pillow and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygen.data import (
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomShift,
    Rescale,
    Resize,
    ToFloat,
)

sides = st.integers(1, 20)


def pictures(shape=(4, 3, 6, 8), dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape).astype(dtype)


# -- values


def test_to_float_scales_bytes_to_one():
    batch = pictures(dtype=np.uint8)
    out = ToFloat()(batch)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, batch / 255.0, rtol=1e-6)
    assert ToFloat()(np.full((1, 1, 1, 1), 255, np.uint8)) == 1.0
    assert ToFloat()(np.ones((1, 1, 1, 1), bool)).dtype == np.float32
    with pytest.raises(ValueError, match=r"\[ToFloat\] batch is int32"):
        ToFloat()(pictures(dtype=np.int32))


def test_rescale_multiplies_then_adds():
    batch = pictures(dtype=np.uint8)
    out = Rescale(2 / 255, -1)(batch)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, batch * (2 / 255) - 1, atol=1e-6)
    np.testing.assert_allclose(Rescale()(batch), batch / 255, atol=1e-6)
    assert Rescale()(batch.astype(np.float64)).dtype == np.float64


def test_normalize_works_per_channel():
    batch = pictures()
    mean, std = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    out = Normalize(mean, std)(batch)
    assert out.dtype == np.float32
    for c in range(3):
        np.testing.assert_allclose(out[:, c], (batch[:, c] - mean[c]) / std[c], rtol=1e-6)
    np.testing.assert_allclose(Normalize(0.5, 0.5)(batch), (batch - 0.5) / 0.5)


def test_compose_applies_in_order_and_passes_the_generator(rng):
    def add_draw(batch, rng):
        return batch + rng.integers(10)

    draw = np.random.default_rng(0).integers(10)
    batch = pictures()
    out = Compose([add_draw, Rescale(2.0), Compose([])])(batch, rng)
    np.testing.assert_array_equal(out, (batch + draw) * 2)


# -- geometry


def test_flip_mirrors_about_half_of_the_pictures(rng):
    batch = pictures((400, 1, 2, 3))
    out = RandomHorizontalFlip()(batch, rng)
    kept = (out == batch).all(axis=(1, 2, 3))
    mirrored = (out == batch[..., ::-1]).all(axis=(1, 2, 3))
    assert (kept | mirrored).all() and 150 < mirrored.sum() < 250
    np.testing.assert_array_equal(RandomHorizontalFlip(1.0)(batch, rng), batch[..., ::-1])
    np.testing.assert_array_equal(RandomHorizontalFlip(0.0)(batch, rng), batch)


@given(height=sides, width=sides, data=st.data())
def test_center_crop_leaves_equal_margins(height, width, data):
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    batch = pictures((2, 1, height, width))
    top, left = (height - h) // 2, (width - w) // 2
    out = CenterCrop((h, w))(batch)
    np.testing.assert_array_equal(out, batch[:, :, top : top + h, left : left + w])


def test_random_crop_takes_every_window(rng):
    batch = np.tile(np.arange(20.0).reshape(1, 1, 4, 5), (300, 1, 1, 1))
    out = RandomCrop((3, 2))(batch, rng)
    assert out.shape == (300, 1, 3, 2)
    for picture in out:
        top, left = divmod(int(picture[0, 0, 0]), 5)
        np.testing.assert_array_equal(picture, batch[0, :, top : top + 3, left : left + 2])
    assert {divmod(int(p[0, 0, 0]), 5) for p in out} == {(t, x) for t in (0, 1) for x in range(4)}


def test_random_crop_pads_with_zeros(rng):
    out = RandomCrop(6, padding=2)(np.ones((200, 2, 4, 4), np.uint8), rng)
    assert out.shape == (200, 2, 6, 6) and out.dtype == np.uint8
    assert out.min() == 0 and set(out.sum(axis=(1, 2, 3)).tolist()) == {32}  # 4 of 4x4, 2 channels
    corner = RandomCrop(8, padding=2)(np.ones((1, 1, 4, 4)), rng)[0, 0]
    np.testing.assert_array_equal(corner, np.pad(np.ones((4, 4)), 2))


MODES = {"nearest": "edge", "reflect": "symmetric"}


def moved_by(picture, down, right, fill, cval):
    """One (C, H, W) picture moved by whole pixels, by padding and cutting."""
    reach = max(abs(down), abs(right), 1)
    pad = ((0, 0), (reach, reach), (reach, reach))
    kind = {"constant_values": cval} if fill == "constant" else {}
    padded = np.pad(picture, pad, mode=MODES.get(fill, "constant"), **kind)
    h, w = picture.shape[1:]
    return padded[:, reach - down : reach - down + h, reach - right : reach - right + w]


@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shift_by_whole_pixels_is_a_pad_and_a_cut(fill, dtype, rng):
    batch = pictures((200, 2, 5, 6), dtype)
    out = RandomShift(width=3, height=2, fill=fill, cval=9)(batch, rng)
    assert out.dtype == dtype
    seen = set()
    for picture, result in zip(batch, out):
        places = [(d, r) for d in range(-2, 3) for r in range(-3, 4)]
        matching = [p for p in places if np.array_equal(moved_by(picture, *p, fill, 9), result)]
        assert matching
        seen.update(matching)
    assert len(seen) == 5 * 7


@pytest.mark.parametrize("fill", ["nearest", "reflect"])
def test_shift_by_a_fraction_interpolates_as_scipy_does(fill):
    ndimage = pytest.importorskip("scipy.ndimage")
    batch = pictures((8, 2, 10, 12))
    out = RandomShift(width=0.25, height=1.5, fill=fill)(batch, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    down, right = rng.uniform(-1.5, 1.5, 8), rng.uniform(-3, 3, 8)
    for i in range(8):
        expected = ndimage.shift(batch[i], (0, down[i], right[i]), order=1, mode=fill)
        np.testing.assert_allclose(out[i], expected, atol=1e-3)


def test_shift_rounds_bytes_and_leaves_a_flat_picture_flat(rng):
    flat = np.full((20, 1, 8, 8), 201, np.uint8)
    out = RandomShift(0.3, 0.3)(flat, rng)
    assert out.dtype == np.uint8 and (out == 201).all()


def test_shift_of_nothing_changes_nothing(rng):
    batch = pictures()
    np.testing.assert_array_equal(RandomShift(0, 0)(batch, rng), batch)
    np.testing.assert_array_equal(RandomShift(0.0, 0.0)(batch, rng), batch)


@settings(deadline=None)
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides), seed=st.integers(0, 99))
def test_resize_agrees_with_pillow(old, new, seed):
    image = pytest.importorskip("PIL.Image")
    batch = pictures((2, 1, *old), seed=seed)
    out = Resize(new)(batch)
    assert out.shape == (2, 1, *new) and out.dtype == np.float32
    for i in range(2):
        pillow = image.fromarray(batch[i, 0]).resize(new[::-1], image.Resampling.BILINEAR)
        np.testing.assert_allclose(out[i, 0], np.asarray(pillow), atol=1e-3)
        as_bytes = batch[i : i + 1].astype(np.uint8)
        pillow = image.fromarray(as_bytes[0, 0]).resize(new[::-1], image.Resampling.BILINEAR)
        difference = Resize(new)(as_bytes)[0, 0].astype(int) - np.asarray(pillow)
        assert np.abs(difference).max() <= 1  # Pillow rounds between the two passes


def test_resize_keeps_the_mean_when_halving():
    batch = pictures((3, 2, 8, 8), np.float64)
    assert Resize(8)(batch) is batch
    np.testing.assert_allclose(Resize(1)(np.full((1, 1, 9, 9), 7.0)), 7.0)
    assert Resize((4, 2))(batch).shape == (3, 2, 4, 2)


# -- randomness and errors


RANDOM = [RandomHorizontalFlip(), RandomShift(), RandomShift(2, 2), RandomCrop(4, padding=1)]


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_random_transforms_depend_on_the_generator_alone(transform):
    batch = pictures()
    before = batch.copy()
    np.random.seed(0)
    one = transform(batch, np.random.default_rng(1))
    np.random.seed(1)
    assert one.tobytes() == transform(batch, np.random.default_rng(1)).tobytes()
    assert any(
        one.tobytes() != transform(batch, np.random.default_rng(seed)).tobytes()
        for seed in range(2, 9)
    )
    np.testing.assert_array_equal(batch, before)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_random_transforms_ask_for_a_generator(transform):
    with pytest.raises(ValueError, match=r"must be a numpy\.random\.Generator, not NoneType"):
        transform(pictures())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RandomHorizontalFlip(1.5), r"\[RandomHorizontalFlip\] p must be in \[0, 1\]"),
        (lambda: RandomShift(-1), r"\[RandomShift\] width must be"),
        (lambda: RandomShift(fill="wrap"), "one of nearest, constant, reflect, not 'wrap'"),
        (lambda: RandomCrop(0), r"\[RandomCrop\] size must be a positive int or"),
        (lambda: CenterCrop((1, 2, 3)), r"\[CenterCrop\] size must be"),
        (lambda: Resize(2.5), r"\[Resize\] size must be"),
        (lambda: RandomCrop(2, padding=-1), "padding must be"),
        (lambda: Normalize(0, 0), r"\[Normalize\] std must be positive"),
        (lambda: Compose([3]), r"transforms\[0\] is 3, which is not callable"),
    ],
)
def test_bad_arguments_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "transform, shape, message",
    [
        (Resize(4), (3, 8, 8), r"\[Resize\] batch has shape \(3, 8, 8\); expected \(N, C, H, W\)"),
        (CenterCrop(9), (1, 1, 8, 9), r"size \(9, 9\) is larger .* at most \(8, 9\) fits"),
        (RandomCrop(9), (1, 1, 9, 8), r"\[RandomCrop\] size \(9, 9\) is larger"),
        (Normalize([1, 2], 1), (1, 3, 4, 4), r"mean has 2 values .* has 3 channels; give 1 or 3"),
        (RandomShift(8, 0), (1, 1, 4, 8), "width=8 moves the whole picture out of its side of 8"),
        (Resize(4), (1, 1, 0, 4), "at least one pixel"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(transform, shape, message, rng):
    with pytest.raises(ValueError, match=message):
        transform(np.zeros(shape, np.float32), rng)


def test_repr_reads_like_the_call():
    transform = Compose([RandomCrop(28, padding=2), Normalize(0.5, 0.5), ToFloat()])
    expected = "RandomCrop(size=(28, 28), padding=2), Normalize(mean=[0.5], std=[0.5]), ToFloat()"
    assert repr(transform) == f"Compose([{expected}])"


@pytest.mark.parametrize(
    "transform", [*RANDOM, CenterCrop(2), Resize(3), ToFloat(), Normalize(0, 1)], ids=repr
)
def test_an_empty_batch_stays_empty(transform, rng):
    assert len(transform(np.zeros((0, 1, 8, 8), np.float32), rng)) == 0
