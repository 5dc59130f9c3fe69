"""examples/gan_digits.py --quick: samples come nearer to the data, as measured and as pictured."""

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


def test_the_distance_falls_and_recall_rises(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["gan_digits.py", "--quick", "--models", "conditional",
                                      "--epochs", "14", "--out", str(tmp_path)])
    rows = runpy.run_path(str(EXAMPLE))["main"]()["conditional"]
    assert [row["step"] for row in rows][:3] == [0, 53, 106] and len(rows) == 7
    assert rows[-1]["frechet"] < rows[0]["frechet"] / 3
    assert rows[0]["recall"] == 0 < rows[-1]["recall"]
    assert f"Fréchet distance {rows[-1]['frechet']:.2f}" in capsys.readouterr().out
    time, walk = (pixels(tmp_path / f"conditional-{name}.png") for name in ("time", "walk"))
    assert time.shape == (7 * 58 + 2, 12 * 58 + 2) and walk.shape == (8 * 58 + 2, 12 * 58 + 2)
    assert time[-57:-2, 2:58].std() > 2 * time[2:58, 2:58].std(), "grey before, a digit after"
