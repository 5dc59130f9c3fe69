"""examples/classify_mnist.py --quick: it learns to read the bundled digits."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "classify_mnist.py"


def test_it_learns_the_bundled_digits(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["classify_mnist.py", "--quick", "--epochs", "15"])
    assert runpy.run_path(str(EXAMPLE))["main"]()["accuracy"] > 0.7      # chance is 0.1
    assert "test accuracy" in capsys.readouterr().out
