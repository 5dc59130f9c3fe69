"""Style transfer and CycleGAN, --quick: losses fall, pictures are written, figures returned."""

import math
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLES / name))["main"]()
    assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
    return found


def test_style_transfer(tmp_path, monkeypatch):
    found = run("style_transfer.py", tmp_path, monkeypatch)
    assert found["least_fall"] > 10
    assert (tmp_path / "discs.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_style_network(tmp_path, monkeypatch):
    found = run("style_network.py", tmp_path, monkeypatch)
    assert found["loss_network"] < found["loss_photo"] and found["fall"] > 5
    assert (tmp_path / "held-out.jpg").exists() and (tmp_path / "training-photos.jpg").exists()


def test_cycle_gan(tmp_path, monkeypatch):
    found = run("cycle_gan.py", tmp_path, monkeypatch)
    assert found["cycle_loss_last"] < found["cycle_loss_first"]
    assert found["painting_after"] < found["painting_before"] / 5
    assert {p.name for p in tmp_path.iterdir()} >= {"patches.png", "photos.jpg", "painting.jpg"}
