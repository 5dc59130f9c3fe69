"""Damaged pictures beside their originals: against plain computations and Pillow."""

import numpy as np
import pytest

from tinygen.data import Damaged, DataLoader, GaussianNoise, ImageDataset, Shrink, SquareHole


def pictures(n=6, channels=3, height=10, width=12):
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (n, channels, height, width)) / 255).astype(np.float32)


def test_a_hole_is_one_square_filled_with_the_mean_of_what_is_left():
    batch = pictures()
    out = SquareHole(4)(batch, np.random.default_rng(1))
    assert out.shape == (6, 4, 10, 12) and out.dtype == np.float32
    corners = set()
    for before, after in zip(batch, out, strict=True):
        mask = after[-1]
        rows, columns = np.nonzero(mask)
        assert mask.sum() == 16 and rows.max() - rows.min() == columns.max() - columns.min() == 3
        corners.add((rows.min(), columns.min()))
        for channel in range(3):
            np.testing.assert_array_equal(after[channel][mask == 0], before[channel][mask == 0])
            np.testing.assert_allclose(after[channel][mask == 1], before[channel][mask == 0].mean(),
                                       rtol=1e-5)
    assert len(corners) > 1


def test_holes_reach_every_corner_and_come_from_the_generator_alone():
    batch = np.zeros((400, 1, 6, 7), np.float32)
    masks = SquareHole(4)(batch, np.random.default_rng(0))[:, 1]
    assert all(masks[:, y, x].any() for y in (0, -1) for x in (0, -1))
    again = SquareHole(4)(batch, np.random.default_rng(0))[:, 1]
    np.testing.assert_array_equal(masks, again)


def test_shrinking_is_what_pillow_does_to_a_colour_picture():
    Image = pytest.importorskip("PIL.Image")
    batch = pictures(3, 3, 12, 16)
    out = Shrink(2)(batch)
    for before, after in zip(batch, out, strict=True):
        picture = Image.fromarray(np.rint(before * 255).astype(np.uint8).transpose(1, 2, 0))
        back = picture.resize((8, 6), Image.Resampling.BICUBIC).resize(
            (16, 12), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(np.rint(after * 255), np.asarray(back).transpose(2, 0, 1))
    assert out.dtype == np.float32


def test_noise_has_its_deviation_and_no_bounds():
    out = GaussianNoise(0.25)(np.full((50, 1, 20, 20), 0.9, np.float32), np.random.default_rng(0))
    assert out.dtype == np.float32 and out.max() > 1
    assert (out - 0.9).std() == pytest.approx(0.25, rel=0.02)
    assert (out - 0.9).mean() == pytest.approx(0, abs=0.01)


def test_pairs_have_their_original_and_a_new_damage_in_each_epoch():
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8)).astype(np.uint8)
    data = Damaged(ImageDataset(images, np.arange(8)), SquareHole(3))
    loader = DataLoader(data, 8, shuffle=False, seed=0)
    (damaged, originals), (later, same) = next(iter(loader)), next(iter(loader))
    assert damaged.shape == (8, 2, 8, 8) and len(data) == 8
    np.testing.assert_array_equal(originals, images / np.float32(255))
    np.testing.assert_array_equal(originals, same)
    assert not np.array_equal(damaged[:, 1], later[:, 1])
    kept = damaged[:, 1:] == 0
    np.testing.assert_array_equal(damaged[:, :1][kept], originals[kept])


@pytest.mark.parametrize(("call", "words"), [
    (lambda b: SquareHole(0), r"\[SquareHole\] side must be a positive int, not 0"),
    (lambda b: SquareHole(9)(b, np.random.default_rng(0)), "size .9, 9. is larger"),
    (lambda b: SquareHole(8)(b, np.random.default_rng(0)), "side 8 leaves nothing of pictures"),
    (lambda b: SquareHole(2)(b), r"\[SquareHole\] rng must be a numpy.random.Generator"),
    (lambda b: GaussianNoise(-1), "sigma must be 0 or more, not -1"),
    (lambda b: Shrink(1), "factor must be an int of 2 or more, not 1"),
    (lambda b: Shrink(3)(b), "8x8 cannot be made 3 times smaller"),
])
def test_unfit_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.zeros((1, 1, 8, 8), np.float32))
