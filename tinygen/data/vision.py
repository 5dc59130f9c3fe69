"""The picture datasets that tinygen knows by name."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from pathlib import Path

import numpy as np

from .celeba import CelebA
from .dataset import BatchTransform
from .folder import ImageFolder
from .idx import read_idx
from .images import ImageDataset, resize_images
from .sources import DataError, MissingDataError, fetch

_DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
_DIGITS_TRAIN = 1500


class Digits(ImageDataset):
    """1797 handwritten digits of 8x8 pixels, part of this package: 1500 to train, 297 to test.

    `.images` is uint8 (N, 1, 8, 8) in 0..255, scaled from 0..16; `size` scales them. Writers come
    in order, so the test digits are mostly by other hands. Source: E. Alpaydin and C. Kaynak,
    Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    doi:10.24432/C50P49, CC BY 4.0.
    """

    def __init__(
        self, train: bool = True, size: int | None = None, transform: BatchTransform | None = None
    ) -> None:
        raw, labels = _read_digits()
        part = slice(None, _DIGITS_TRAIN) if train else slice(_DIGITS_TRAIN, None)
        images = np.rint(raw[part, None] * np.float32(255 / 16)).astype(np.uint8)
        super().__init__(
            resize_images(images, size), labels[part], [str(d) for d in range(10)], transform
        )


class _IdxDataset(ImageDataset):
    """Pictures and labels in the four files of MNIST's layout."""

    folder = ""
    names: tuple[str, ...] = ()

    def __init__(
        self,
        train: bool = True,
        size: int | None = None,
        transform: BatchTransform | None = None,
        download: bool = False,
    ) -> None:
        prefix = f"{self.folder}/{'train' if train else 't10k'}"
        paths = (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
        images, labels = (read_idx(fetch(path, download=download)) for path in paths)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(f"[{type(self).__name__}] images {images.shape}, labels {labels.shape}")
        super().__init__(resize_images(images[:, None], size), labels, self.names, transform)


class MNIST(_IdxDataset):
    """Handwritten digits, 60000 to train and 10000 to test; `.images` is uint8 (N, 1, 28, 28).

    `size` scales the pictures; `download` allows fetching missing files. Raises DataError when a
    file is missing or damaged. Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning
    Applied to Document Recognition", Proc. IEEE, 1998.
    """

    folder = "mnist"
    names = tuple(str(digit) for digit in range(10))


class FashionMNIST(_IdxDataset):
    """Articles of clothing, 60000 to train and 10000 to test; `.images` is uint8 (N, 1, 28, 28).

    `size` scales the pictures; `download` allows fetching missing files. Raises DataError when a
    file is missing or damaged. Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017,
    arXiv:1708.07747. MIT licence.
    """

    folder = "fashion-mnist"
    names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip


DATASETS = ("digits", "mnist", "fashion-mnist", "celeba")


def load(
    name_or_folder: str | os.PathLike[str],
    train: bool = True,
    size: int | None = None,
    download: bool = False,
) -> ImageDataset:
    """A picture dataset by name ("digits", "mnist", "fashion-mnist", "celeba"), or a folder's.

    `size` is the side of the pictures in pixels; None means their own, or 64 for faces and folders.
    A name wins over a folder of that name; write "./mnist" for the folder. A folder is not split,
    so `train=False` is refused for one. Raises DataError for an unknown name, with what there is.
    """
    name = os.fspath(name_or_folder)
    key = name.lower().replace("_", "-")
    if key == "digits":
        return Digits(train, size)
    if key in ("mnist", "fashion-mnist"):
        return {"mnist": MNIST, "fashion-mnist": FashionMNIST}[key](train, size, download=download)
    if key == "celeba":
        return CelebA(64 if size is None else size, train=train)
    folder = Path(name).expanduser()
    if not folder.exists():
        raise MissingDataError(_unknown_text(name, key))
    if not train:
        raise ValueError(
            f"[load] the folder {name} has no test part; load it with train=True and divide it "
            "with random_split, or load a folder of test pictures"
        )
    return ImageFolder(folder, 64 if size is None else size)


def _unknown_text(name: str, key: str) -> str:
    if os.sep in name or name.startswith((".", "~")):
        return f"[load] the folder {name} does not exist"
    close = difflib.get_close_matches(key, DATASETS, n=1)
    return (
        f"[load] {name!r} is neither a dataset nor a folder"
        + (f"; did you mean {close[0]!r}?" if close else "")
        + f" Datasets: {', '.join(DATASETS)}; or give the path of a folder of pictures."
    )


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    path = Path(__file__).with_name("digits.npz")
    if not path.is_file():
        raise MissingDataError(f"[Digits] {path} is not there; reinstall tinygen")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != _DIGITS_SHA256:
        raise DataError(
            f"[Digits] {path} is damaged; reinstall tinygen.\n"
            f"  SHA-256: {digest}\n  expected {_DIGITS_SHA256}"
        )
    with np.load(io.BytesIO(data)) as arrays:
        return arrays["images"], arrays["labels"]
