"""examples/private_vae.py --quick: the loss falls under noise, and privacy blunts the attack."""

import runpy
import sys
from pathlib import Path

import pytest

from tinygen.provenance import read

EXAMPLE = Path(__file__).parents[2] / "examples" / "private_vae.py"


def test_privacy_costs_some_loss_and_blunts_the_attack(monkeypatch, tmp_path):
    for library in ("dp_accounting", "sklearn", "matplotlib"):
        pytest.importorskip(library)
    monkeypatch.setattr(sys, "argv", ["private_vae.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    private = found["loss at noise 1"]
    assert private < found["loss before"] - 10, "it learns in spite of the noise"
    assert found["loss at noise 0"] < private and 1 < found["epsilon at noise 1"] < 20
    assert found["attack on ordinary"] > found["attack on private"] + 0.05
    assert read(tmp_path / "private-vae.png").record["model"] == "vae"
