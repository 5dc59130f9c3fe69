"""The figures that docs/results.md states, reached again from scratch: `make examples`."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
needs_mnist = pytest.mark.skipif(
    not Path(os.environ.get("TINYGEN_DATA", ""), "mnist", "train-images-idx3-ubyte.gz").is_file(),
    reason="MNIST is not in the folder that TINYGEN_DATA names")


@pytest.mark.learning
@needs_mnist
def test_classifier_reads_99_percent_of_mnist(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["classify_mnist.py"])
    script = runpy.run_path(str(ROOT / "examples" / "classify_mnist.py"))
    assert script["main"]() >= 0.990


@pytest.mark.learning
@needs_mnist
def test_vae_reaches_106_nats_on_mnist(tmp_path):
    """400 hidden units, 20 latents, Adam 1e-3, batches of 128, 10 epochs: BCE + KL per image."""
    command = [sys.executable, "-m", "tinygen", "train", "vae", "--data", "mnist", "--epochs", "10",
               "--batch-size", "128", "--out", str(tmp_path / "run"), "--quiet"]
    subprocess.run(command, check=True, cwd=ROOT)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert len(losses) == 10
    assert losses[-1] <= 106


needs_shakespeare = pytest.mark.skipif(
    not Path(os.environ.get("TINYGEN_DATA", ""), "tinyshakespeare", "input.txt").is_file(),
    reason="Tiny Shakespeare is not in the folder that TINYGEN_DATA names")


@pytest.mark.learning
@needs_shakespeare
def test_gpt_reaches_what_nanogpt_states_on_shakespeare(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["char_gpt.py"])
    script = runpy.run_path(str(ROOT / "examples" / "char_gpt.py"))
    assert script["main"]()[-1] <= 1.88


@pytest.mark.learning
@pytest.mark.skipif(
    not Path(os.environ.get("TINYGEN_DATA", ""), "rt-polarity", "rt-polarity.pos").is_file(),
    reason="the film reviews are not in the folder that TINYGEN_DATA names")
def test_attention_judges_film_reviews_better_than_a_linear_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sentiment.py"])
    found = runpy.run_path(str(ROOT / "examples" / "sentiment.py"))["main"]()
    assert found["attention"] >= 0.76 and found["attention"] > found["linear"]


def test_classifier_example_learns_the_bundled_digits(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["classify_mnist.py", "--quick", "--epochs", "15"])
    script = runpy.run_path(str(ROOT / "examples" / "classify_mnist.py"))
    assert script["main"]() > 0.7   # chance is 0.1
    assert "test accuracy" in capsys.readouterr().out
