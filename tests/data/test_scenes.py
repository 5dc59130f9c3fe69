"""Composed scenes: what the captions say is what stands in the picture."""

import numpy as np
import pytest

from tinygen.data import Digits, Scene, Scenes, Thing, digit_scenes, read_scene
from tinygen.data.images import ImageDataset
from tinygen.data.scenes import DIGIT_NOUNS, FASHION_NOUNS

COAT, BAG, BOOT = (Thing("large", "dark", "coat"), Thing("small", "light", "bag"),
                   Thing("small", "dark", "boot"))


def flat(value=200):
    """Ten things of 8x8 that are even squares, one for each label."""
    return ImageDataset(np.full((10, 1, 8, 8), value, np.uint8), np.arange(10))


@pytest.mark.parametrize(("layout", "things", "captions"), [
    ("alone", (COAT,), ["a large dark coat"]),
    ("row", (COAT, BAG), ["a large dark coat to the left of a small light bag",
                          "a small light bag to the right of a large dark coat"]),
    ("column", (COAT, BAG), ["a large dark coat above a small light bag",
                             "a small light bag below a large dark coat"]),
    ("tip", (COAT, BAG, BOOT), [
        "a large dark coat above a small light bag and a small dark boot",
        "a small light bag and a small dark boot below a large dark coat"]),
    ("base", (COAT, BAG, BOOT), [
        "a large dark coat and a small light bag above a small dark boot",
        "a small dark boot below a large dark coat and a small light bag"]),
])
def test_a_scene_is_written_and_read_back(layout, things, captions):
    scene = Scene(layout, things)
    assert scene.captions() == captions
    assert [read_scene(text) for text in captions] == [scene] * len(captions)


def test_every_caption_of_a_grammar_means_one_scene():
    data = Scenes(flat(), FASHION_NOUNS, 400)
    assert {len(scene.things) for scene in data.scenes} == {1, 2, 3}
    meanings = {}
    for scene, texts, group in zip(data.scenes, data.captions, data.groups, strict=True):
        for text in texts:
            assert read_scene(text) == scene
            assert meanings.setdefault(text, group) == group
    assert len(set(data.groups.tolist())) == len(set(data.scenes))


@pytest.mark.parametrize("text", [
    "", "a coat", "a large dark coat above", "a large dark coat beside a small light bag",
    "a large dark coat above a small light bag above a small dark boot", "a large dark bagpipe",
    "a large dark coat to the left of a small light bag and a small dark boot", "not a large dark "
    "coat",
])
def test_other_texts_mean_nothing(text):
    assert read_scene(text) is None


def blobs(picture):
    """(top, left, height, width, mean of lit pixels) of each separate thing."""
    ndimage = pytest.importorskip("scipy.ndimage")
    marks, count = ndimage.label(picture > 0)
    assert count
    found = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(marks), start=1):
        found.append((rows.start, columns.start, rows.stop - rows.start,
                      columns.stop - columns.start, picture[marks == i].mean() / 255))
    return found


def test_things_stand_where_the_caption_says():
    data = Scenes(flat(), DIGIT_NOUNS, 300, cell=28)
    judged = 0
    for picture, scene in zip(data.images[:, 0], data.scenes, strict=True):
        found = blobs(picture)
        if len(found) != len(scene.things):
            continue                                   # two that touch
        judged += 1
        by_rows = scene.layout in ("column", "tip", "base")
        found.sort(key=lambda f: (by_rows and f[0] + f[2] / 2 > 28, f[1]))
        middle = [(top + height / 2, left + width / 2) for top, left, height, width, _ in found]
        for a, b, axis in {"row": [(0, 1, 1)], "column": [(0, 1, 0)], "alone": [],
                           "tip": [(0, 1, 0), (0, 2, 0), (1, 2, 1)],
                           "base": [(0, 1, 1), (0, 2, 0), (1, 2, 0)]}[scene.layout]:
            assert middle[a][axis] < middle[b][axis], scene
        for thing, (_, _, height, width, mean) in zip(scene.things, found, strict=True):
            assert height == width
            assert (24 <= height <= 28) == (thing.size == "large") and 14 <= height <= 28
            assert (0.64 <= mean <= 0.81) == (thing.shade == "light"), (thing, mean)
    assert judged > 150


def test_what_is_drawn_is_what_the_noun_names():
    """Label i has i + 1 lit columns: the width of a thing tells its noun."""
    pictures = np.zeros((10, 1, 20, 20), np.uint8)
    for i in range(10):
        pictures[i, :, :, :2 * i + 2] = 255
    data = Scenes(ImageDataset(pictures, np.arange(10)), DIGIT_NOUNS, 60, cell=20, most=1)
    for picture, scene in zip(data.images[:, 0], data.scenes, strict=True):
        (_, _, height, width, _), = blobs(picture)
        assert abs(width / height - (2 * DIGIT_NOUNS.index(scene.things[0].noun) + 2) / 20) < 0.12


def test_a_seed_fixes_scenes_and_the_two_parts_differ():
    one, again, other = (digit_scenes(20, seed=seed) for seed in (3, 3, 4))
    assert one.scenes == again.scenes and (one.images == again.images).all()
    assert one.scenes != other.scenes != digit_scenes(20, train=False, seed=3).scenes
    assert one.scenes != digit_scenes(20, train=False, seed=3).scenes
    assert one.image_shape == (1, 24, 24) and {len(s.things) for s in one.scenes} <= {1, 2}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Scenes(ImageDataset(np.zeros((2, 1, 8, 8), np.uint8)), DIGIT_NOUNS, 3), "with labels"),
    (lambda: Scenes(flat(), DIGIT_NOUNS, 0), "n=0"),
    (lambda: Scenes(Digits(), DIGIT_NOUNS, 3, most=4), "most=4"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call()
