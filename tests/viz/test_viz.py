"""Pictures: what is in the pixels, what is on disk after a failure, and what an error says."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.viz.helpers import read_png, without
from tinygen.viz import image_grid, save_grid, save_image, save_jpeg
from tinygen.viz.grid import GAP_GRAY, NAN_COLOR
from tinygen.viz.png import encode_png, encode_png_stdlib, write_atomic


class FakeTensor:
    """What image_grid needs of a Tensor."""

    def __init__(self, data):
        self.data = data

    def numpy(self):
        return self.data


# -- grids -----------------------------------------------------------------------------------------


def test_images_stand_row_by_row_with_gaps_between_them():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1) * np.ones((1, 2, 3), np.uint8)
    grid = image_grid(images, rows=2, cols=3, pad=1, scale=1)
    assert grid.shape == (2 * 2 + 3, 3 * 3 + 4, 3)
    assert grid.dtype == np.uint8
    for i in range(6):
        y, x = 1 + i // 3 * 3, 1 + i % 3 * 4
        assert (grid[y : y + 2, x : x + 3] == i).all()
    assert (grid[0] == GAP_GRAY).all() and (grid[:, 0] == GAP_GRAY).all()
    assert (grid[3] == GAP_GRAY).all() and (grid[:, 4] == GAP_GRAY).all()
    assert (grid[-1] == GAP_GRAY).all() and (grid[:, -1] == GAP_GRAY).all()


def test_pixels_are_repeated_and_channels_kept():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    grid = image_grid(images, rows=1, pad=0, scale=3)
    assert grid.shape == (12, 30, 3)
    expected = np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)
    np.testing.assert_array_equal(grid[1::3, 1::3], expected)


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (-3.0, 5.0)])
def test_values_map_to_the_whole_range_and_are_clipped(value_range):
    low, high = value_range
    line = np.array([low - 9, low, (low + high) / 2, high, high + 9, -np.inf, np.inf], np.float32)
    grid = image_grid(line.reshape(1, 1, -1), pad=0, scale=1, value_range=value_range)
    assert grid[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 255]
    assert (grid == grid[:, :, :1]).all()


def test_nan_is_seen():
    grid = image_grid(np.array([[[0.5, np.nan]]]), pad=0, scale=1)
    assert tuple(grid[0, 1]) == NAN_COLOR and tuple(grid[0, 0]) == (128, 128, 128)


def test_uint8_and_bool_keep_their_meaning():
    assert image_grid(np.full((1, 1, 1), 7, np.uint8), pad=0, scale=1).max() == 7
    assert image_grid(np.ones((1, 1, 1), bool), pad=0, scale=1).min() == 255


def test_tensors_give_the_grid_of_their_array():
    images = np.random.default_rng(1).random((5, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(image_grid(FakeTensor(images)), image_grid(images))
    np.testing.assert_array_equal(image_grid(images[:, 0]), image_grid(images))


@pytest.mark.parametrize("shape", [(64, 8, 8), (1, 8, 8), (10, 28, 28), (100, 1, 28, 28),
                                   (16, 3, 64, 64), (3, 109, 89), (7, 5, 60)])
def test_small_images_are_enlarged_to_be_seen(shape):
    height, width, _ = image_grid(np.zeros(shape, np.uint8)).shape
    assert 512 <= max(height, width) <= 1024


def test_large_images_stay_as_they_are():
    assert image_grid(np.zeros((1, 2000, 10), np.uint8), pad=0).shape == (2000, 10, 3)


@pytest.mark.parametrize(
    "count, asked, rows_cols",
    [(10, {}, (3, 4)), (16, {}, (4, 4)), (1, {}, (1, 1)), (10, {"rows": 2}, (2, 5)),
     (10, {"cols": 3}, (4, 3)), (10, {"rows": 5, "cols": 5}, (5, 5))],
)
def test_rows_and_cols_default_to_what_fits(count, asked, rows_cols):
    grid = image_grid(np.zeros((count, 1, 1), np.uint8), pad=0, scale=1, **asked)
    assert grid.shape[:2] == rows_cols


def test_the_batch_is_not_changed():
    images = np.array([[[2.0, np.nan]]])
    image_grid(images)
    np.testing.assert_array_equal(images, [[[2.0, np.nan]]])


@pytest.mark.parametrize(
    "images, options, error, words",
    [
        (np.zeros((4, 4)), {}, ValueError, r"\(4, 4\).*image\[None\]"),
        (np.zeros((1, 1, 1, 4, 4)), {}, ValueError, r"\(N, C, H, W\), got \(1, 1, 1, 4, 4\)"),
        (np.zeros((2, 28, 28, 3)), {}, ValueError, r"channels come first.*transpose\(0, 3, 1, 2\)"),
        (np.zeros((2, 2, 8, 8)), {}, ValueError, r"C = 1 or 3, got \(2, 2, 8, 8\)"),
        (np.zeros((0, 1, 8, 8)), {}, ValueError, r"nothing to draw.*\(0, 1, 8, 8\)"),
        (np.zeros((2, 8, 8), np.int64), {}, TypeError, r"got int64.*astype"),
        (np.zeros((9, 8, 8)), {"rows": 2, "cols": 4}, ValueError, r"9 images do not fit 2 rows"),
        (np.zeros((9, 8, 8)), {"rows": 0}, ValueError, r"rows must be 1 or more, got 0"),
        (np.zeros((9, 8, 8)), {"scale": 0}, ValueError, r"scale must be 1 or more, got 0"),
        (np.zeros((9, 8, 8)), {"pad": -1}, ValueError, r"pad must be 0 or more, got -1"),
        (np.zeros((9, 8, 8)), {"value_range": (1, 1)}, ValueError, r"\(low, high\), got \(1, 1\)"),
    ],
)
def test_bad_input_is_named(images, options, error, words):
    with pytest.raises(error, match=words):
        image_grid(images, **options)


# -- PNG files -------------------------------------------------------------------------------------

PICTURES = hnp.arrays(
    np.uint8,
    st.one_of(
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3])),
    ),
)


@given(picture=PICTURES)
def test_both_encoders_give_back_the_pixels(picture, tmp_path_factory):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.getbasetemp() / "picture.png"
    expected = picture[:, :, 0] if picture.shape[2:] == (1,) else picture
    for encode in (encode_png, encode_png_stdlib):
        path.write_bytes(encode(picture))
        with image.open(path) as opened:
            opened.verify()  # checks the chunk sums, which loading does not always do
        np.testing.assert_array_equal(read_png(path), expected)


def test_pictures_work_without_pillow(tmp_path, monkeypatch):
    images = np.random.default_rng(2).random((4, 3, 8, 8))
    with monkeypatch.context() as patch:
        without(patch, "PIL")
        path = save_grid(images, tmp_path / "grid.png", rows=2)
    np.testing.assert_array_equal(read_png(path), image_grid(images, rows=2))


def test_save_makes_folders_and_takes_strings(tmp_path):
    path = save_image(np.zeros((3, 4), np.uint8), str(tmp_path / "a" / "b" / "zero.png"))
    assert read_png(path).shape == (3, 4)
    assert os.listdir(path.parent) == ["zero.png"]


def test_a_jpeg_shows_the_picture_and_takes_nothing_else(tmp_path):
    image = pytest.importorskip("PIL.Image")
    y, x = np.mgrid[:40, :60]
    picture = np.stack([4 * x, 5 * y, 200 - 2 * x], axis=-1).astype(np.uint8)
    with image.open(save_jpeg(picture, tmp_path / "new" / "p.jpg")) as saved:
        assert saved.format == "JPEG" and saved.size == (60, 40)
        assert np.abs(np.asarray(saved, int) - picture).mean() < 3
    for array, name, options, words in ((picture, "p.png", {}, "ends in .jpg"),
                                        (picture, "q.jpg", {"quality": 0}, "quality"),
                                        (picture[None], "q.jpg", {}, "made from an array")):
        with pytest.raises(ValueError, match=words):
            save_jpeg(array, tmp_path / name, **options)
    assert not (tmp_path / "q.jpg").exists()


def test_views_are_written_as_they_look(tmp_path):
    picture = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)[::-2, ::3]
    np.testing.assert_array_equal(read_png(save_image(picture, tmp_path / "v.png")), picture)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_pictures_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    path = save_image(np.zeros((1, 1), np.uint8), tmp_path / "p.png")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(step, tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    save_image(np.zeros((2, 2), np.uint8), path)
    before = path.read_bytes()

    def disk_full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, disk_full)
        with pytest.raises(OSError, match="No space left"):
            save_image(np.ones((9, 9), np.uint8), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["grid.png"]


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "data.png"
    path.write_bytes(b"old")
    script = (
        "import os, sys\n"
        "from tinygen.viz.png import write_atomic\n"
        "os.replace = lambda *names: os.kill(os.getpid(), 9)\n"
        "write_atomic(sys.argv[1], b'new' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=os.getcwd())
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_write_atomic_replaces_the_file(tmp_path):
    for data in (b"one", b"two"):
        assert write_atomic(tmp_path / "f", data).read_bytes() == data


@pytest.mark.parametrize(
    "array, name, error, words",
    [
        (np.zeros((2, 2)), "a.png", TypeError, r"uint8 pixels, got float64 \(2, 2\).*image_grid"),
        (np.zeros((2, 2, 2), np.uint8), "a.png", ValueError, r"\(H, W, 3\), got \(2, 2, 2\)"),
        (np.zeros((0, 2), np.uint8), "a.png", ValueError, r"got \(0, 2\)"),
        (np.zeros((2, 2), np.uint8), "a.jpg", ValueError, r"ends in .png, not .*a\.jpg"),
    ],
)
def test_what_is_no_picture_is_refused_before_a_file_is_made(array, name, error, words, tmp_path):
    with pytest.raises(error, match=words):
        save_image(array, tmp_path / name)
    assert os.listdir(tmp_path) == []
