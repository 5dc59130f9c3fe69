"""Datasets, transforms and a resumable loader.

>>> loader = DataLoader(load("digits"), batch_size=64, shuffle=True, seed=1)
>>> for images, labels in loader:  # float32 (64, 1, 8, 8) in [0, 1], int64 (64,)
...     break
"""

from .audio import SpokenDigits, read_wav, write_wav
from .captions import CaptionedImages, Flickr8kMini
from .catalog import KNOWN_FILES, DataFile
from .celeba import CelebA
from .damage import Damaged, GaussianNoise, Shrink, SquareHole
from .dataset import ArrayDataset, Dataset, Subset, TensorDataset, few_labels, random_split
from .folder import ImageFolder
from .idx import read_idx
from .images import ImageDataset
from .loader import DataLoader
from .parallel import PAIRS, SentencePairs, load_pairs, multi30k, pair_loader, tatoeba
from .pictures import (
    PicturePatches,
    UnpairedPatches,
    draw_pictures,
    load_picture,
    luminance,
)
from .moving_digits import MovingDigits
from .ratings import MovieLens, Ratings, draw_ratings, fold_in, user_folds
from .scenes import Scene, Scenes, Thing, digit_scenes, fashion_scenes, read_scene
from .sources import DataError, MissingDataError, cache_dir, data_root, fetch
from .text import (
    TEXTS,
    LabelledTexts,
    TextBlocks,
    TitledTexts,
    csl_titles,
    film_texts,
    load_text,
    movie_reviews,
)
from .transforms import (
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
from .vision import DATASETS, MNIST, Digits, FashionMNIST, load
from .warps import RandomAffine, RandomErasing, RandomRotation

__all__ = [
    "DATASETS", "KNOWN_FILES", "MNIST", "TEXTS",
    "ArrayDataset", "CelebA", "CenterCrop", "Compose", "DataError", "DataFile", "DataLoader",
    "Dataset", "Digits", "FashionMNIST", "ImageDataset", "ImageFolder", "LabelledTexts",
    "Damaged", "GaussianNoise", "Shrink", "SquareHole",
    "MissingDataError", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomShift", "Rescale",
    "Resize", "Subset", "TensorDataset", "TextBlocks", "ToFloat",
    "CaptionedImages", "Flickr8kMini", "Scene", "Scenes", "Thing", "digit_scenes",
    "fashion_scenes", "read_scene",
    "PAIRS", "SentencePairs", "load_pairs", "multi30k", "pair_loader", "tatoeba",
    "MovieLens", "Ratings", "draw_ratings", "fold_in", "user_folds",
    "MovingDigits", "SpokenDigits", "read_wav", "write_wav",
    "RandomAffine", "RandomErasing", "RandomRotation", "few_labels",
    "PicturePatches", "UnpairedPatches", "draw_pictures", "load_picture", "luminance",
    "TitledTexts", "csl_titles",
    "cache_dir", "data_root", "fetch", "film_texts", "load", "load_text", "movie_reviews",
    "random_split", "read_idx",
]  # fmt: skip

_TRANSFORMS = ("RandomHorizontalFlip, RandomShift, RandomAffine, Rescale, RandomCrop, Resize, "
               "Normalize in a Compose, as the transform of a data set: MNIST(transform=...)")
_ELSEWHERE = {
    "ImageDataGenerator": f"use {_TRANSFORMS} (rescale=1/255 is what data sets do without any)",
    "RandomFlip": "use RandomHorizontalFlip", "RandomTranslation": "use RandomShift",
    "RandomZoom": "use RandomAffine(scale=...)", "Rescaling": "use Rescale",
    "ToTensor": "use ToFloat",
    "image_dataset_from_directory": "use ImageFolder(path, size=...)",
    "flow_from_directory": "use ImageFolder(path, size=...) and DataLoader",
    "Sequence": "use Dataset (__len__ and __getitem__) and DataLoader",
    "pad_sequences": "use tinygen.text.pad_sequences",
    "to_categorical": "use tinygen.text.to_categorical",
}


def __getattr__(name: str) -> object:
    hint = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"module 'tinygen.data' has no attribute {name!r}{hint}")
