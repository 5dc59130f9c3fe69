"""Every recipe of `tinygen train` with and without jit: the same checkpoints, byte for byte."""

import numpy as np
import pytest

pytest.importorskip("typer")

from tests.train.helpers import assert_same_state
from tests.train.test_recipes import RUNS, texts
from tinygen.jit import passes
from tinygen.train import Callback, read_checkpoint, trainer
from tinygen.train.recipes import TABLE

assert texts                                     # a fixture
STORY = "the cat sat on the mat.\nthe dog lay by the cat.\n" * 20
SENTENCES = "".join(" ".join(f"{i:b}".replace("0", "a").replace("1", "b")) + ".\n"
                    for i in range(1, 200))
SMALL = {"gpt": ["--block", 8, "--layers", 1, "--heads", 2, "--width", 8, "--batch-size", 4],
         "text-vae": ["--width", 8, "--hidden", 8, "--latent", 2, "--batch-size", 8],
         "translator": ["--layers", 1, "--heads", 2, "--width", 8, "--hidden", 8,
                        "--batch-size", 8]}


class NoCurves(Callback):
    """In place of pictures of curves, which take half a second."""

    def __init__(self, folder):
        pass


@pytest.fixture
def arguments(tmp_path):
    """What makes a short run of each recipe."""
    files = {"gpt": STORY, "text-vae": SENTENCES, "translator": "".join(
        f"{line}\t{line.replace(' ', '')}\n" for line in SENTENCES.splitlines())}
    found = {name: [a for a in given if a not in ("--steps", 60, 40, 30)]
             for name, (given, _) in RUNS.items()}
    for name, text in files.items():
        path = tmp_path / f"{name}.tsv"
        path.write_text(text, encoding="utf-8")
        found[name] = ["--data", path, *SMALL[name]]
    found["cycle-gan"] = ["--data", "drawn", "--width", 2]
    return found


@pytest.mark.parametrize("name", [*TABLE, *SMALL])
def test_a_recipe_is_the_same_with_and_without_jit(monkeypatch, tinygen, tmp_path, texts,
                                                   arguments, name):
    """Nothing is fused here: fused steps round otherwise."""
    if name in ("sentiment", "summarizer"):
        pytest.importorskip("scipy")
    monkeypatch.setattr(passes, "FUSING", ())
    monkeypatch.setattr(trainer, "Curves", NoCurves)
    made, real = [], trainer.JittedStep

    def keep(*given, **options):
        made.append(real(*given, **options))
        return made[-1]
    monkeypatch.setattr(trainer, "JittedStep", keep)
    for way in ("--jit", "--no-jit"):
        assert tinygen("train", name, *arguments[name], "--steps", 4, "--prefetch", 0, way,
                       "--ema-decay", 0.9, "--quiet", "--out", tmp_path / way) == (0, "", "")
    states = [read_checkpoint(tmp_path / way / "checkpoints/step-00000004.safetensors")
              for way in ("--jit", "--no-jit")]
    for state in states:
        del state["config"]
    assert_same_state(*states)
    assert len(made) == 1 and made[0].reason is None
    rows = [(tmp_path / way / "metrics.jsonl").read_bytes() for way in ("--jit", "--no-jit")]
    assert rows[0] == rows[1] and np.all(rows)
    if name not in ("sentiment", "summarizer", "text-vae", "translator"):     # batches vary
        assert made[0].programs
