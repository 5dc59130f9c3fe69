"""--quick of the examples about few labels, searches and fairness: they keep their word."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, "--quick", *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / name))["main"]()


def test_augment_compares_all_arms_on_the_same_labels(monkeypatch, tmp_path):
    found = run(monkeypatch, "augment.py", "--out", tmp_path)
    arms = [name for name in found if f"{name} gain" in found]
    assert arms[:3] == ["plain", "transforms", "generated"] and arms[-1] == "semi-supervised"
    assert found["plain gain"] == 0
    for arm in arms:
        assert found[arm] > 0.6, "50 labels; chance is 0.1"
        assert found[f"{arm} gain"] == pytest.approx(found[arm] - found["plain"])
    assert (tmp_path / "augment.png").stat().st_size > 2000


def test_few_labels_learns_a_vae_and_compares_its_codes_with_pixels(monkeypatch, capsys):
    found = run(monkeypatch, "few_labels.py", "--epochs", 6)
    for kind in ("linear", "hidden layer"):
        assert found[f"{kind} on codes"] > 0.45 and found[f"{kind} on pixels"] > 0.6
    gain = found["hidden layer on codes"] - found["hidden layer on pixels"]
    assert found["gain"] == pytest.approx(gain)
    words = next(line for line in capsys.readouterr().out.splitlines() if "VAE:" in line).split()
    assert float(words[-3]) < float(words[1]) - 3, "its loss falls"


def test_the_search_keeps_its_winner_and_saves_passes(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    found = run(monkeypatch, "search_hyperparameters.py", "--out", tmp_path)
    assert found["with stops"] == found["full search"] < found["median"]
    assert found["stopped"] >= 3 and 0.2 < found["passes saved"] < 0.5
    assert (tmp_path / "search.png").stat().st_size > 5000


def test_a_generator_shows_the_skew_of_its_data_and_the_remedy_takes_most_of_it(monkeypatch,
                                                                                capsys):
    found = run(monkeypatch, "fairness.py")
    assert found["observer"] > 0.8
    assert found["even in the data"] > 0.75 and found["even as in the data"] > 0.75
    assert abs(found["even balanced"] - 0.5) < 0.12
    assert found["uneven balanced"] < found["uneven as in the data"] - 0.1
    groups = [found[f"group {g} balanced"] for g in range(4)]
    np.testing.assert_allclose(sum(groups), 1)
    assert capsys.readouterr().out.count("\n| ") == 3 + 1 + 4      # after each table's own head
