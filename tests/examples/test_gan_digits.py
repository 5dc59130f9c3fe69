"""examples/gan_digits.py --quick: samples come nearer to the data, as measured and as pictured."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "gan_digits.py"


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.float64)


def test_faces_have_four_classes_that_say_what_the_attributes_say(monkeypatch):
    example = runpy.run_path(str(EXAMPLE))
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64)).astype(np.uint8)

    class Faces:
        attribute_names = ["Bald", "Male", "Smiling"]

        def __init__(self, train):
            self.images = images
            self.attributes = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1]], np.uint8)

    monkeypatch.setitem(example["pictures"].__globals__, "CelebA", Faces)
    faces = example["pictures"]("celeba", train=True)
    assert [faces.classes[i] for i in faces.labels] == [
        "woman", "woman, smiling", "man", "man, smiling"]
    seen = faces.batch(np.arange(4), np.random.default_rng(0))[0]
    straight = [np.array_equal(a, b / np.float32(255)) for a, b in zip(seen, images, strict=True)]
    mirrored = [np.array_equal(a[..., ::-1], b / np.float32(255))
                for a, b in zip(seen, images, strict=True)]
    assert all(a or b for a, b in zip(straight, mirrored, strict=True)) and any(mirrored)


def test_a_model_without_a_recipe_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gan_digits.py", "--data", "celeba", "--models", "gan"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLE))["main"]()
    assert "celeba has no recipe for gan; it has dcgan" in capsys.readouterr().err


def test_the_distance_falls_and_recall_rises(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["gan_digits.py", "--quick", "--models", "conditional",
                                      "--epochs", "14", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    with (tmp_path / "conditional.csv").open() as stream:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    assert [found[f"conditional {when}frechet"] for when in ("start ", "")] == [
        rows[i]["frechet"] for i in (0, -1)]
    assert [row["step"] for row in rows][:3] == [0, 53, 106] and len(rows) == 7
    assert rows[-1]["frechet"] < rows[0]["frechet"] / 3
    assert rows[0]["recall"] == 0 < rows[-1]["recall"]
    assert f"Fréchet distance {rows[-1]['frechet']:.2f}" in capsys.readouterr().out
    time, walk = (pixels(tmp_path / f"conditional-{name}.png") for name in ("time", "walk"))
    assert time.shape == (7 * 58 + 2, 12 * 58 + 2) and walk.shape == (8 * 58 + 2, 12 * 58 + 2)
    assert time[-57:-2, 2:58].std() > 2 * time[2:58, 2:58].std(), "grey before, a digit after"
