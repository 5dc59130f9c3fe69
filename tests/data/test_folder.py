"""ImageFolder: which pictures it finds, how it frames them, and what it refuses."""

import numpy as np
import pytest

from tinygen.data import DataError, DataLoader, ImageFolder

Image = pytest.importorskip("PIL.Image")

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path, colour=RED, size=(12, 12), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def centre(data, i):
    _, h, w = data.image_shape
    return data.images[i, :, h // 2, w // 2].tolist()


def test_pictures_are_found_recursively_and_sorted(tmp_path):
    for name, colour in (("b.png", GREEN), ("a.BMP", RED), ("c.webp", BLUE), ("d.jpeg", RED)):
        save(tmp_path / name, colour)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture either")
    data = ImageFolder(tmp_path, size=8)
    assert [path.name for path in data.paths] == ["a.BMP", "b.png", "c.webp", "d.jpeg"]
    assert data.images.shape == (4, 3, 8, 8) and centre(data, 1) == list(GREEN)
    assert data.labels is None and data.num_classes is None
    assert data[0].dtype == np.float32 and data[0].max() == 1.0


def test_subfolders_are_classes(tmp_path):
    save(tmp_path / "dogs" / "young" / "1.png", RED)
    save(tmp_path / "cats" / "1.png", GREEN)
    save(tmp_path / "cats" / "2.png", BLUE)
    (tmp_path / "empty").mkdir()
    data = ImageFolder(tmp_path, size=4)
    assert data.classes == ["cats", "dogs"] and data.num_classes == 2
    assert data.labels.tolist() == [0, 0, 1] and centre(data, 2) == list(RED)
    images, labels = next(iter(DataLoader(data, batch_size=3)))
    assert images.shape == (3, 3, 4, 4) and labels.shape == (3,)


def test_the_central_square_is_kept_and_scaled(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = GREEN
    Image.fromarray(picture).save(tmp_path / "wide.png")
    Image.fromarray(picture.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    data = ImageFolder(tmp_path, size=5)
    assert (data.images == np.reshape(GREEN, (1, 3, 1, 1))).all()


def test_exif_rotation_is_undone(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4] = RED  # on top once turned: orientation 6 asks for a quarter turn clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "turned.png", exif=exif)
    data = ImageFolder(tmp_path, size=8)
    np.testing.assert_array_equal(data.images[0], picture.transpose(2, 0, 1))


def test_one_channel_is_grey(tmp_path):
    save(tmp_path / "a.png", GREEN)
    save(tmp_path / "b.png", 77, mode="L")
    data = ImageFolder(tmp_path, size=4, channels=1)
    assert data.images.shape == (2, 1, 4, 4) and set(data.images[1].ravel()) == {77}
    assert ImageFolder(tmp_path, size=4).images[1, :, 0, 0].tolist() == [77, 77, 77]


@pytest.mark.parametrize("mode, colour", [("RGBA", (9, 9, 9, 0)), ("LA", (9, 0))])
def test_transparent_pixels_become_white(tmp_path, mode, colour):
    save(tmp_path / "a.png", colour, mode=mode)
    assert (ImageFolder(tmp_path, size=4).images == 255).all()


def test_unusual_modes_are_converted(tmp_path):
    save(tmp_path / "bits.png", 1, mode="1")
    save(tmp_path / "palette.png", 3, mode="P")
    save(tmp_path / "print.jpg", (0, 0, 0, 0), mode="CMYK")
    assert ImageFolder(tmp_path, size=4).images.shape == (3, 3, 4, 4)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    values = np.full((6, 6), 100 * 256, np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert set(ImageFolder(tmp_path, size=6, channels=1).images.ravel()) == {100}


def test_linked_folders_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere" / "1.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "class").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "loop").symlink_to(root, target_is_directory=True)
    assert [p.name for p in ImageFolder(root, size=4).paths] == ["1.png"]


# -- refusals


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"the folder {tmp_path / 'gone'} does not exist"):
        ImageFolder(tmp_path / "gone")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is a file; give the folder"):
        ImageFolder(tmp_path / "a.png")


def test_a_folder_without_pictures_says_what_it_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"holds no pictures \(.jpg, .*\); it is empty"):
        ImageFolder(tmp_path)
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="it holds 1 other files"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"text"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, damage, suffix):
    save(tmp_path / "a.png")
    bad = tmp_path / f"bad.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(bad)
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(DataError, match=rf"cannot read the picture {bad}"):
        ImageFolder(tmp_path, size=8)


def test_loose_pictures_beside_classes_are_refused(tmp_path):
    save(tmp_path / "cats" / "1.png")
    save(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"loose pictures \(such as stray.png\)"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("options, message", [({"size": 0}, "size"), ({"channels": 2}, "channels")])
def test_bad_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=rf"\[ImageFolder\] {message} must be"):
        ImageFolder(tmp_path, **options)


def test_the_real_pictures(real_data):
    data = ImageFolder(real_data / "pictures", size=32)
    assert data.classes == ["content", "style"] and data.labels.tolist() == [0] * 6 + [1] * 3
    assert all(image.std() > 20 for image in data.images)
