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


@pytest.mark.learning
@pytest.mark.skipif(not Path(os.environ.get("TINYGEN_DATA", ""), "ml-latest-small").is_dir(),
                    reason="MovieLens is not in the folder that TINYGEN_DATA names")
def test_recommendation_beats_popularity_on_movielens(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recommend.py"])
    found = runpy.run_path(str(ROOT / "examples" / "recommend.py"))["main"]()
    assert found["factorisation RMSE"] <= 0.88
    assert found["Mult-VAE NDCG@100"] > found["popularity NDCG@100"] + 0.1
    assert found["Mult-VAE Recall@20"] > found["popularity Recall@20"] + 0.08


@pytest.mark.learning
@needs_mnist
def test_a_private_vae_of_mnist_learns_and_hides_its_members(monkeypatch, tmp_path):
    for library in ("dp_accounting", "sklearn", "matplotlib"):
        pytest.importorskip(library)
    monkeypatch.setattr(sys, "argv", ["private_vae.py", "--out", str(tmp_path)])
    found = runpy.run_path(str(ROOT / "examples" / "private_vae.py"))["main"]()
    spent, loss = found["curves"][1.0][-1]
    assert spent < 2 and loss < 185          # 548 before training, 136 without noise
    assert found["areas"]["ordinary"] > 0.75 and found["areas"]["private"] < 0.6


def test_classifier_example_learns_the_bundled_digits(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["classify_mnist.py", "--quick", "--epochs", "15"])
    script = runpy.run_path(str(ROOT / "examples" / "classify_mnist.py"))
    assert script["main"]() > 0.7   # chance is 0.1
    assert "test accuracy" in capsys.readouterr().out
