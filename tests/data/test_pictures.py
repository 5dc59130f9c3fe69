"""Single pictures and patches of them: windows, labels, errors."""

import numpy as np
import pytest

from tinygen.data import (
    DataError,
    MissingDataError,
    PicturePatches,
    UnpairedPatches,
    draw_pictures,
    load_picture,
    luminance,
)


def test_the_largest_window_in_the_middle_is_scaled(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = [255, 0, 0]                    # the middle 40x40 is red
    image.fromarray(pixels).save(tmp_path / "wide.png")
    square = load_picture(tmp_path / "wide.png", 20, 20)
    assert square.shape == (3, 20, 20) and square.dtype == np.float32
    assert (square[0, :, 1:-1] > 0.99).all() and (square[1:] == 0).all()
    whole = load_picture(tmp_path / "wide.png", 40, 100)
    assert np.array_equal(whole, pixels.transpose(2, 0, 1) / np.float32(255))


def test_missing_and_damaged_pictures_are_named(tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingDataError, match=r"pictures/content/coffee.png was not found"):
        load_picture("content/coffee.png", 8, 8)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png.*known pictures: content/astronaut.png"):
        load_picture(tmp_path / "broken.png", 8, 8)
    with pytest.raises(ValueError, match="0x8"):
        load_picture("content/coffee.png", 0, 8)


def test_patches_are_windows_and_labels_say_where_they_are_from():
    # each pixel says which picture it is from and where it lies
    pictures = []
    for i, (height, width) in enumerate([(20, 30), (16, 12)]):
        y, x = np.mgrid[:height, :width]
        pictures.append(np.stack([np.full((height, width), i), y, x]).astype(np.float32))
    patches, labels = PicturePatches(pictures, 6, 500, cells=(2, 3)).batch(
        np.arange(500), np.random.default_rng(0))
    assert patches.shape == (500, 3, 6, 6) and len(set(labels)) == 12
    mirrored = 0
    for patch, label in zip(patches, labels, strict=True):
        which, (top, left) = int(patch[0, 0, 0]), patch[1:, 0, :].min(axis=1).astype(int)
        window = pictures[which][:, top:top + 6, left:left + 6]
        flipped = np.array_equal(patch, window[..., ::-1])
        assert flipped or np.array_equal(patch, window)
        mirrored += flipped
        height, width = pictures[which].shape[1:]
        row, column = (top + 3) * 2 // height, (left + 3) * 3 // width
        assert label == (which * 2 + row) * 3 + column
    assert 200 < mirrored < 300


def test_jitter_changes_colours_and_stays_in_range():
    picture = np.random.default_rng(0).random((3, 20, 20)).astype(np.float32)
    plain, jittered = (PicturePatches([picture], 8, 10, jitter=j).batch(
        np.arange(10), np.random.default_rng(1))[0] for j in (0.0, 0.4))
    assert jittered.dtype == np.float32 and 0 <= jittered.min() <= jittered.max() <= 1
    assert 0.02 < np.abs(jittered - plain).mean() < 0.3


def test_unpaired_patches_are_two_draws_that_a_seed_repeats():
    photos, painting = draw_pictures(24, 32)
    patches = UnpairedPatches(PicturePatches(photos, 8, 5), PicturePatches([painting], 8, 5))
    (a, b), (c, d) = (patches.batch(np.arange(4), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(a, c) and np.array_equal(b, d) and a.shape == b.shape == (4, 3, 8, 8)
    with pytest.raises(ValueError, match="equally many of equal size"):
        UnpairedPatches(PicturePatches(photos, 8, 5), PicturePatches([painting], 16, 5))


@pytest.mark.parametrize(("pictures", "size", "match"), [
    ([np.zeros((3, 8, 8), np.uint8)], 4, "expected floats"),
    ([np.zeros((3, 8, 8), np.float32)], 9, "9x9 does not fit"),
    ([], 4, "0 pictures"),
])
def test_what_is_no_picture_is_refused(pictures, size, match):
    with pytest.raises(ValueError, match=match):
        PicturePatches(pictures, size, 10)


def test_luminance_weighs_colours():
    picture = np.zeros((2, 3, 4, 5))
    picture[0, 1] = 1
    assert luminance(picture).shape == (2, 4, 5)
    np.testing.assert_allclose(luminance(picture)[0], 0.587)
    with pytest.raises(ValueError, match="3, H, W"):
        luminance(np.zeros((4, 5)))
