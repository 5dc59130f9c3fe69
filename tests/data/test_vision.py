"""The picture datasets: counts, shapes, labels, damage, and loading by name."""

import gzip
import shutil
import struct
import sys
import zipfile

import numpy as np
import pytest

from tinygen.data import (
    MNIST,
    CelebA,
    DataError,
    DataLoader,
    Digits,
    FashionMNIST,
    ImageDataset,
    Resize,
    Subset,
    catalog,
    celeba,
    load,
    random_split,
    vision,
)


def test_an_image_dataset_gives_floats_in_the_unit_interval():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5) * 2
    data = ImageDataset(images, np.array([1, 0], np.uint8), ["no", "yes"])
    assert data.image_shape == (3, 4, 5) and data.num_classes == 2 and data.classes[1] == "yes"
    picture, label = data[0]
    assert picture.dtype == np.float32 and label.dtype == np.int64 and label == 1
    np.testing.assert_allclose(picture, images[0] / 255, rtol=1e-6)
    for part in (Subset(data, [1]), *random_split(data, [0.5, 0.5])):
        assert part.image_shape == (3, 4, 5) and part.num_classes == 2
        assert part.classes == data.classes


def test_an_image_dataset_without_labels_gives_pictures_alone():
    data = ImageDataset(np.zeros((2, 1, 3, 3), np.uint8))
    assert data.num_classes is None and data.classes is None and data[0].shape == (1, 3, 3)
    (batch,) = data.batch(np.array([0, 1]))
    assert batch.shape == (2, 1, 3, 3)


def test_an_image_dataset_applies_its_transform_to_the_floats():
    data = ImageDataset(np.full((1, 1, 4, 4), 255, np.uint8), transform=lambda x, rng: x * 2 - 1)
    assert (data[0] == 1).all()


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (np.zeros((2, 3, 3), np.uint8), None, r"uint8 \(2, 3, 3\); expected uint8 \(N, C, H, W\)"),
        (np.zeros((2, 1, 3, 3)), None, "float64"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(3), r"labels \(3,\) do not fit"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageDataset(images, labels)


# -- digits


def test_digits_are_bundled():
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1500, 297)
    assert train.images.shape == (1500, 1, 8, 8) and train.images.dtype == np.uint8
    assert train.images.min() == 0 and train.images.max() == 255
    assert train.num_classes == 10 and train.classes == list("0123456789")
    assert np.bincount(train.labels).min() > 140 and np.bincount(test.labels).min() > 25
    assert test.labels[0] == 1 and train.labels[:10].tolist() == list(range(10))


def test_digits_can_be_scaled():
    assert Digits(size=16).image_shape == (1, 16, 16)
    expected = Resize(16)(Digits().images[:5])
    np.testing.assert_array_equal(Digits(size=16).images[:5], expected)


def test_digits_separate_by_class():
    """A nearest-mean classifier gets most right: pictures and labels belong together."""
    train, test = Digits(), Digits(train=False)
    means = np.stack([train.images[train.labels == d].mean(axis=0).ravel() for d in range(10)])
    distance = ((test.images.reshape(297, 1, 64) - means) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == test.labels).mean() > 0.8


def test_a_damaged_bundle_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(vision, "__file__", str(tmp_path / "vision.py"))
    with pytest.raises(FileNotFoundError, match=r"digits\.npz is not there; reinstall"):
        Digits()
    (tmp_path / "digits.npz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"digits.npz is damaged.*\n.*SHA-256"):
        Digits()


# -- MNIST and Fashion-MNIST


def idx_gz(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def small_mnist(folders, known_file):
    """MNIST's files with 5 and 3 pictures in them, in the data folder."""
    data, _ = folders
    (data / "mnist").mkdir()
    for prefix, count in (("train", 5), ("t10k", 3)):
        images = np.arange(count * 784, dtype=np.uint8).reshape(count, 28, 28)
        for kind, array in (("images-idx3", images), ("labels-idx1", images[:, 0, 0] % 10)):
            name, content = f"mnist/{prefix}-{kind}-ubyte.gz", idx_gz(array)
            known_file(name, content)
            (data / name).write_bytes(content)
    return data / "mnist"


def test_mnist_reads_its_four_files(small_mnist):
    train, test = MNIST(), MNIST(train=False, size=32)
    assert train.image_shape == (1, 28, 28) and len(train) == 5 and train.num_classes == 10
    assert test.image_shape == (1, 32, 32) and len(test) == 3
    assert train.labels.tolist() == [int(v) % 10 for v in train.images[:, 0, 0, 0]]


def test_a_truncated_mnist_file_is_named(small_mnist):
    path = small_mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=rf"{path} is truncated"):
        load("mnist")


def test_a_missing_mnist_file_is_named(small_mnist):
    (small_mnist / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist/t10k-labels-idx1-ubyte\.gz was not found"):
        load("mnist", train=False)
    assert len(load("mnist")) == 5


@pytest.mark.parametrize("train, count", [(True, 60000), (False, 10000)])
@pytest.mark.parametrize("kind, name", [(MNIST, "mnist"), (FashionMNIST, "fashion-mnist")])
def test_the_real_counts(real_data, kind, name, train, count):
    data = kind(train=train)
    assert data.images.shape == (count, 1, 28, 28) and data.labels.shape == (count,)
    per_class = np.bincount(data.labels, minlength=10)
    assert per_class.min() > 0.085 * count
    if kind is FashionMNIST:
        assert (per_class == count // 10).all() and data.classes[9] == "Ankle boot"
    elif train:
        assert per_class[1] == 6742 and data.labels[:5].tolist() == [5, 0, 4, 1, 9]
    loaded = load(name, train=train)
    images, labels = next(iter(DataLoader(loaded, batch_size=64)))
    assert images.shape == (64, 1, 28, 28) and labels.shape == (64,)


# -- CelebA


def jpeg(seed):
    image = pytest.importorskip("PIL.Image")
    import io

    out = io.BytesIO()
    colour = np.random.default_rng(seed).integers(0, 255, 3).tolist()
    image.new("RGB", (89, 109), tuple(colour)).save(out, "JPEG")
    return out.getvalue(), colour


ATTRIBUTES = ["Smiling", "Male", "Young"]


@pytest.fixture
def small_celeba(folders, known_file, monkeypatch):
    """CelebA's two files with 6 one-coloured pictures; the last 2 are the test part."""
    data, cache = folders
    (data / "celeba").mkdir()
    zipped = data / celeba._ZIP
    with zipfile.ZipFile(zipped, "w") as files:
        for i in range(6):
            files.writestr(f"img_align_celeba/{i + 1:06}.jpg", jpeg(i)[0])
    rows = [f"{i + 1:06}.jpg {1 if i % 2 else -1}  1 -1" for i in range(6)]
    text = "\n".join(["6", " ".join(ATTRIBUTES), *rows, ""])
    (data / celeba._ATTRIBUTES).write_text(text)
    known_file(celeba._ZIP, zipped.read_bytes())
    known_file(celeba._ATTRIBUTES, text.encode())
    monkeypatch.setattr(celeba, "_COUNT", 6)
    monkeypatch.setattr(celeba, "_TEST", 2)
    return data, cache


def test_celeba_decodes_and_names_attributes(small_celeba):
    data = CelebA(size=16)
    assert data.images.shape == (6, 3, 16, 16) and data.images.dtype == np.uint8
    for i in range(6):
        colour = np.reshape(jpeg(i)[1], (3, 1, 1))
        assert np.abs(data.images[i].astype(int) - colour).max() <= 3
    assert data.attribute_names == ATTRIBUTES
    assert data.attributes.tolist() == [[i % 2, 1, 0] for i in range(6)]
    assert data.labels is None and data.num_classes is None


def test_celeba_parts_and_one_attribute_as_the_label(small_celeba):
    train, test = CelebA(16, train=True), CelebA(16, train=False, attribute="Smiling")
    assert (len(train), len(test)) == (4, 2)
    assert test.labels.tolist() == [0, 1] and test.classes == ["not Smiling", "Smiling"]
    with pytest.raises(ValueError, match="'Bald' is not one of Smiling, Male, Young"):
        CelebA(16, attribute="Bald")


def test_celeba_is_decoded_once(small_celeba, monkeypatch):
    first = CelebA(size=16).images
    monkeypatch.setattr(celeba, "_decode", None)
    np.testing.assert_array_equal(CelebA(size=16).images, first)
    with pytest.raises(TypeError):
        CelebA(size=16, crop=60)  # another crop is another file
    with pytest.raises(TypeError):
        CelebA(size=17)


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:500] + b"?" + b[501:]])
def test_a_damaged_cache_is_rebuilt(small_celeba, damage):
    good = CelebA(size=16).images
    (cached,) = (small_celeba[1] / "decoded").glob("*.npy")
    cached.write_bytes(damage(cached.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged; rebuilding"):
        again = CelebA(size=16).images
    np.testing.assert_array_equal(again, good)
    np.testing.assert_array_equal(CelebA(size=16).images, good)  # without a warning


def test_a_cache_that_cannot_be_written_costs_a_warning(small_celeba, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("TINYGEN_CACHE", str(blocked))
    with pytest.warns(UserWarning, match="cannot keep decoded pictures"):
        assert len(CelebA(size=16)) == 6


def test_a_picture_that_cannot_be_decoded_is_named(small_celeba, known_file):
    path = small_celeba[0] / celeba._ZIP
    with zipfile.ZipFile(path, "w") as files:
        for i in range(6):
            content = jpeg(i)[0]
            files.writestr(f"img_align_celeba/{i + 1:06}.jpg", content[:300] if i == 3 else content)
    known_file(celeba._ZIP, path.read_bytes())
    with pytest.raises(DataError, match=r"img_align_celeba/000004.jpg in .*\.zip: OSError"):
        CelebA(size=16)
    assert not (small_celeba[1] / "decoded").exists()


def test_an_archive_that_lacks_pictures_says_so(small_celeba, known_file):
    path = small_celeba[0] / celeba._ZIP
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("img_align_celeba/000001.jpg", jpeg(0)[0])
    known_file(celeba._ZIP, path.read_bytes())
    with pytest.raises(DataError, match=r"lacks 5 pictures, such as img_align_celeba/000002.jpg"):
        CelebA(size=16)


def test_missing_pillow_is_explained(small_celeba, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'tinygen\[app\]'"):
        CelebA(size=16)


@pytest.mark.parametrize(
    "text, message",
    [
        ("3\na b\n1.jpg 1 1\n", "line 1 is '3' and 1 rows follow"),
        ("1\na b\n1.jpg 1\n", "line 3: expected a file name and 2 values"),
        ("1\na b\n1.jpg 1 0\n", "line 3"),
        ("", "line 1 is '' and 0 rows"),
    ],
)
def test_a_malformed_attribute_list_is_named(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        celeba.read_attributes(path)


@pytest.mark.parametrize("options, name", [({"size": 0}, "size"), ({"crop": 90}, "crop")])
def test_celeba_sizes_out_of_range_are_refused(options, name):
    with pytest.raises(ValueError, match=rf"\[CelebA\] {name} must be an int from 1 to"):
        CelebA(**options)


def test_the_real_celeba(real_data):
    pytest.importorskip("PIL")
    data = CelebA(size=16, attribute="Male")
    assert data.images.shape == (10000, 3, 16, 16) and data.attributes.shape == (10000, 40)
    assert 0.4 < data.labels.mean() < 0.45
    bald = data.attributes[:, data.attribute_names.index("Bald")] == 1
    assert data.labels[bald].mean() > 0.95  # rows and columns are where they should be
    blond = data.attributes[:, data.attribute_names.index("Blond_Hair")] == 1
    black = data.attributes[:, data.attribute_names.index("Black_Hair")] == 1
    top = data.images[:, :, :5].mean(axis=(1, 2, 3))
    assert top[blond].mean() > top[black].mean() + 20  # and pictures belong to their rows


# -- load


def test_load_by_name(small_mnist):
    assert isinstance(load("digits"), Digits) and len(load("digits", train=False)) == 297
    assert load("Digits", size=12).image_shape == (1, 12, 12)
    assert isinstance(load("mnist"), MNIST)


def test_load_celeba_by_name(small_celeba):
    assert len(load("celeba", size=8)) == 4 and len(load("celeba", train=False, size=8)) == 2


def test_load_accepts_an_underscore(folders):
    with pytest.raises(FileNotFoundError, match="fashion-mnist/train-images"):
        load("fashion_mnist")


def test_load_a_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert load(tmp_path).image_shape == (3, 64, 64)
    assert load(str(tmp_path), size=7).image_shape == (3, 7, 7)
    with pytest.raises(ValueError, match="has no test part"):
        load(tmp_path, train=False)


@pytest.mark.parametrize(
    "name, message",
    [
        ("mnsit", "did you mean 'mnist'.*Datasets: digits, mnist, fashion-mnist, celeba"),
        ("imagenet-22k", "neither a dataset nor a folder"),
        ("./faces", "the folder ./faces does not exist"),
    ],
)
def test_an_unknown_name_lists_what_there_is(name, message):
    with pytest.raises(DataError, match=message):
        load(name)


def test_downloads_reach_a_dataset(small_mnist, folders, tmp_path, monkeypatch):
    server = tmp_path / "server"
    shutil.move(small_mnist, server)
    for path in server.iterdir():
        file = catalog.KNOWN_FILES[f"mnist/{path.name}"]
        there = catalog.DataFile(file.name, file.size, file.sha256, "", (path.as_uri(),))
        monkeypatch.setitem(catalog.KNOWN_FILES, file.name, there)
    assert len(load("mnist", download=True)) == 5
    assert len(list((folders[1] / "mnist").iterdir())) == 2  # the training files, and no parts
