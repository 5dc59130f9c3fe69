"""The data of the recipes, each with what builds its model; see `recipes.py`."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..serialization import write_atomically
from .errors import UsageError
from .runs import choose, is_folder, load_data

__all__ = ["MADE_UP", "Parts", "factorization", "inpainter", "mult_vae", "restorer", "sentiment",
           "summarizer", "two_kinds"]

MADE_UP = ("digits", "drawn")      # data that comes with tinygen
HELD_OUT = 1000                    # pictures to evaluate on, at most
SHOWN = 12                         # pictures in a row of samples.png
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PHOTOS = ("content/astronaut.png", "content/chelsea.png", "content/coffee.png",
          "content/rocket.jpg", "content/china.jpg", "content/flower.jpg")
PAINTING = "style/starry_night_google.jpg"
CUT = 300                          # characters of an abstract that are read

Options = dict[str, Any]


@dataclass
class Parts:
    """What a recipe trains on, and what it builds.

    Args:
        train, held_out: data sets of pairs (inputs, targets).
        arguments: of the model, as they go into config.json.
        beginnings: more arguments, which say where the weights start.
        collate: puts samples together whose first part is a sequence.
        files: for the run's folder, each with a function that is given its path.
        rows: what samples.png shows of a model.
        prepare: done to a new model.
    """

    train: Any
    held_out: Any
    arguments: dict[str, Any]
    beginnings: Mapping[str, Any] = field(default_factory=dict)
    collate: Callable[[list[Any]], Any] | None = None
    files: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    rows: Callable[[Any], list[Any]] | None = None
    prepare: Callable[[Any], Any] = lambda model: None


# -- pictures -------------------------------------------------------------------------------------


def restorer(options: Options) -> Parts:
    """Noisy pictures, or pictures that were made small and large again, and their originals."""
    from ..data import GaussianNoise, Shrink

    choose("damage", options["damage"], ("noise", "shrink"))
    if options["damage"] == "noise":
        return _damaged(options, lambda side: GaussianNoise(0.2), 2)
    return _damaged(options, lambda side: Shrink(2), 1)


def inpainter(options: Options) -> Parts:
    """Pictures with a square hole of 3/8 of their side, and their originals."""
    from ..data import SquareHole

    return _damaged(options, lambda side: SquareHole(max(1, side * 3 // 8)), 4)


def _damaged(options: Options, damage_of: Callable[[int], Any], deepest: int) -> Parts:
    """Pairs of damaged pictures and originals, and a U-Net of at most `deepest` halvings."""
    from ..data import Damaged, RandomHorizontalFlip, Subset, random_split

    train = load_data(options["data"], options.get("size"))
    if options["data"] == "celeba":
        train.transform = RandomHorizontalFlip()
    shape = tuple(train.image_shape)
    damage, depth = damage_of(min(shape[1:])), _halvings(shape, deepest)
    if is_folder(options["data"]):
        if len(train) < 10:
            raise UsageError(f"{options['data']} has {len(train)} pictures; 10 at least are "
                             "needed, of which one is held out")
        train, held_out = random_split(train, [0.9, 0.1], options["seed"])
    else:
        held_out = load_data(options["data"], options.get("size"), train=False)
    count = min(SHOWN, len(held_out))
    originals = held_out.batch(np.arange(count))[0]                          # (n, C, H, W)
    shown = damage(originals, np.random.default_rng(options["seed"]))        # (n, C or C + 1, H, W)

    def rows(model: Any) -> list[Any]:
        return [np.clip(shown[:, :shape[0]], 0, 1), model.restore(shown), originals]
    return Parts(Damaged(train, damage),
                 Damaged(Subset(held_out, range(min(HELD_OUT, len(held_out)))), damage),
                 {"image_shape": list(shape), "width": options["width"], "depth": depth}, rows=rows)


def _halvings(shape: tuple[int, ...], deepest: int) -> int:
    """How often both sides can be halved, down to 4 pixels."""
    depth = 0
    while depth < deepest and all(side % 2 ** (depth + 1) == 0 and side >> (depth + 1) >= 4
                                  for side in shape[1:]):
        depth += 1
    if not depth:
        raise UsageError(f"pictures of {shape[1]}x{shape[2]} cannot be halved; give an even --size "
                         "of 8 or more")
    return depth


def two_kinds(options: Options) -> Parts:
    """Patches of two kinds of pictures, and 64 more of them to evaluate on."""
    from ..data import PicturePatches, UnpairedPatches, draw_pictures, load_picture

    side = options["size"]
    if options["data"] == "drawn":
        photos, painting = draw_pictures(max(48, side), max(64, side), options["seed"])
        kinds = [photos, [painting]]
    elif options["data"] == "pictures":
        kinds = [[load_picture(name, max(200, side), max(256, side)) for name in PHOTOS],
                 [load_picture(PAINTING, max(320, side), max(400, side))]]
    else:
        kinds = _two_folders(options["data"], side)

    def patches(length: int) -> Any:
        return UnpairedPatches(*(PicturePatches(kind, side, length) for kind in kinds))
    first, second = patches(SHOWN).batch(np.arange(SHOWN), np.random.default_rng(options["seed"]))

    def rows(model: Any) -> list[Any]:
        return [first, model.translate(first), second, model.translate(second, back=True)]
    return Parts(patches(100 * options["batch_size"]), patches(64),
                 {"image_shape": [3, side, side], "width": options["width"],
                  "blocks": options["layers"]}, rows=rows)


def _two_folders(place: str, side: int) -> list[list[np.ndarray]]:
    """The pictures in the two subfolders of a folder, each three patches high and four wide."""
    from ..data import MissingDataError, load_picture

    if not Path(place).is_dir():
        raise MissingDataError(f"--data {place}: there is no such folder")
    folders = sorted(f for f in Path(place).iterdir() if f.is_dir() and f.name[0] != ".")
    found = [[load_picture(p, 3 * side, 4 * side) for p in sorted(folder.iterdir())
              if p.suffix.lower() in SUFFIXES] for folder in folders]
    if len(found) != 2 or not all(found):
        raise UsageError(f"--data {place}: two subfolders with pictures are expected, one for each "
                         f"kind; it has {', '.join(f.name for f in folders) or 'none'}")
    return found


# -- texts ----------------------------------------------------------------------------------------


def sentiment(options: Options) -> Parts:
    """Sentences of film reviews, good or bad; vectors of words from longer reviews as well."""
    from .. import data
    from ..text import PadCollate, WordTokenizer, word_vectors

    train, held_out = data.movie_reviews(), data.movie_reviews(train=False)
    tokenizer: Any = WordTokenizer(specials=dict.fromkeys(("bos", "eos", "mask")))
    tokenizer.fit(train.texts)
    corpus = [[i for i in ids if i != tokenizer.unk_id]
              for ids in tokenizer.encode_batch([*train.texts, *data.film_texts()])]
    sets = [[(tokenizer.encode(t), label) for t, label in zip(s.texts, s.labels, strict=True)]
            for s in (train, held_out)]
    arguments = {"vocab_size": len(tokenizer), "num_classes": len(train.classes),
                 "longest": max(64, *(len(ids) for part in sets for ids, _ in part)),
                 "unk": tokenizer.unk_id,
                 **_sizes(options, "width", "hidden", "layers", "heads", "dropout")}
    pad = PadCollate()

    def collate(picked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        tokens, _, labels = pad(picked)                             # (N, L), (N,)
        return tokens, labels
    vectors = _vectors(word_vectors, corpus, arguments)
    return Parts(sets[0], sets[1], arguments, {"vectors": vectors}, collate,
                 {"tokens.json": tokenizer.save})


def summarizer(options: Options) -> Parts:
    """Abstracts of Chinese papers, with a mark on each character that stands in the title."""
    from .. import data
    from ..models import shared_pairs
    from ..text import CharTokenizer, PadCollate, word_vectors

    parts = [data.csl_titles(train) for train in (True, False)]
    texts = [[text[:CUT] for text in _plain(part.texts)] for part in parts]
    tokenizer: Any = CharTokenizer(min_freq=2, specials=dict.fromkeys(("bos", "eos", "mask")))
    tokenizer.fit([text for part in texts for text in part])
    sets = [[(tokenizer.encode(text), shared_pairs(text, title))
             for text, title in zip(some, _plain(part.titles), strict=True)]
            for some, part in zip(texts, parts, strict=True)]
    unlabelled = [ids for part in sets for ids, _ in part]          # abstracts alone, no titles
    arguments = {"vocab_size": len(tokenizer), **_sizes(options, "width", "heads", "dropout")}
    pad = PadCollate()

    def collate(picked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        tokens, _, labels, _ = pad(picked)                          # (N, L) both
        return tokens, labels
    vectors = _vectors(word_vectors, unlabelled, arguments, seed=options["seed"])
    return Parts(sets[0], sets[1], arguments, {"vectors": vectors}, collate,
                 {"tokens.json": tokenizer.save},
                 prepare=lambda model: model.count_pairs(unlabelled))


def _plain(texts: list[str]) -> list[str]:
    """One form for letters and marks (NFKC), lower case, no blanks."""
    return ["".join(unicodedata.normalize("NFKC", t).lower().split()) for t in texts]


def _vectors(word_vectors: Any, corpus: list[list[int]], arguments: Options, **more: Any) -> Any:
    try:
        return word_vectors(corpus, arguments["vocab_size"], arguments["width"], **more)
    except ValueError as error:
        raise UsageError(f"--width {arguments['width']}: {error}") from None


# -- ratings --------------------------------------------------------------------------------------


def mult_vae(options: Options) -> Parts:
    """Who liked what: rows of items, of which every fifth user's is held out."""
    from ..data import TensorDataset, user_folds

    ratings = _ratings(options)
    clicks = ratings.clicks(least=4.0)                              # (users, items) of 0 and 1
    clicks = clicks[clicks.sum(axis=1) >= 5]
    held_users = user_folds(len(clicks), 5, options["seed"])[0]
    train = np.delete(clicks, held_users, axis=0)                   # (users, items)
    known = np.flatnonzero(train.sum(axis=0) > 0)                   # items that can be learnt about
    batch = options["batch_size"]
    steps = options.get("steps") or options["epochs"] * -(-len(train) // batch)
    arguments = {"num_items": len(known),
                 "anneal_steps": steps * min(options.get("accumulate", 1), batch),
                 **_sizes(options, "hidden", "latent", "beta", "dropout")}
    names = ratings.titles or [str(i) for i in range(ratings.num_items)]
    text = "".join(f"{names[i]}\n" for i in known)
    return Parts(TensorDataset(train[:, known]), TensorDataset(clicks[held_users][:, known]),
                 arguments, files={"items.txt": lambda path: write_atomically(path, text.encode())})


def factorization(options: Options) -> Parts:
    """Pairs of a user and an item with a rating; a tenth of them is held out."""
    train, held_out = _ratings(options).split(0.1, options["seed"])
    return Parts(train, held_out, {
        "num_users": train.num_users, "num_items": train.num_items, "factors": options["latent"],
        "weight_decay": 0.12, "bias_decay": 0.02, "std": 0.05},
        prepare=lambda model: model.fit_mean(train.values))


def _ratings(options: Options) -> Any:
    from .. import data

    return data.draw_ratings(seed=options["seed"]) if options["data"] == "drawn" else (
        data.MovieLens())


def _sizes(options: Options, *names: str) -> Options:
    """Those options of the model that there are; `hidden` is one width."""
    sizes = {name: options[name] for name in names if name in options}
    if "hidden" in sizes:
        try:
            sizes["hidden"] = int(sizes["hidden"])
        except ValueError:
            raise UsageError(f"--hidden {sizes['hidden']}: this model has one width, such as 128"
                             ) from None
    return sizes
