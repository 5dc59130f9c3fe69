"""Datasets, transforms and a resumable loader.

>>> loader = DataLoader(load("digits"), batch_size=64, shuffle=True, seed=1)
>>> for images, labels in loader:  # float32 (64, 1, 8, 8) in [0, 1], int64 (64,)
...     break
"""

from .catalog import KNOWN_FILES, DataFile
from .celeba import CelebA
from .dataset import ArrayDataset, Dataset, Subset, TensorDataset, random_split
from .folder import ImageFolder
from .idx import read_idx
from .images import ImageDataset
from .loader import DataLoader
from .ratings import MovieLens, Ratings, draw_ratings, fold_in, user_folds
from .sources import DataError, MissingDataError, cache_dir, data_root, fetch
from .text import TEXTS, LabelledTexts, TextBlocks, load_text, movie_reviews
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

__all__ = [
    "DATASETS", "KNOWN_FILES", "MNIST", "TEXTS",
    "ArrayDataset", "CelebA", "CenterCrop", "Compose", "DataError", "DataFile", "DataLoader",
    "Dataset", "Digits", "FashionMNIST", "ImageDataset", "ImageFolder", "LabelledTexts",
    "MissingDataError", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomShift", "Rescale",
    "Resize", "Subset", "TensorDataset", "TextBlocks", "ToFloat",
    "MovieLens", "Ratings", "draw_ratings", "fold_in", "user_folds",
    "cache_dir", "data_root", "fetch", "load", "load_text", "movie_reviews", "random_split",
    "read_idx",
]  # fmt: skip
