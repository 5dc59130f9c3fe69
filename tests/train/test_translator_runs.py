"""`tinygen train translator` and what can be done with its runs."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")

from tests.train.helpers import assert_same_state
from tinygen.provenance import strip
from tinygen.train import read_checkpoint

SMALL = ["--layers", "1", "--heads", "2", "--width", "16", "--hidden", "32", "--dropout", "0",
         "--batch-size", "16", "--lr", "0.01"]
WORDS = dict(zip(["one", "two", "three", "four", "five"], "一二三四五", strict=True))


@pytest.fixture
def pairs(tmp_path):
    """Numbers in English and, in the same order, in Chinese."""
    rng = np.random.default_rng(0)
    texts = [rng.choice(list(WORDS), rng.integers(1, 5)) for _ in range(400)]
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{' '.join(t)}\t{''.join(WORDS[w] for w in t)}\n" for t in texts),
                    encoding="utf-8")
    return path


def test_a_run_translates_what_it_has_learnt(tinygen, tmp_path, pairs):
    run = tmp_path / "run"
    code, _, said = tinygen("train", "translator", "--data", pairs, *SMALL, "--steps", 240,
                            "--quiet", "--out", run)
    assert code == 0, said
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["eval_loss"] < 0.3 < rows[0]["loss"] / 5
    shown = strip((run / "samples.txt").read_bytes(), "txt").decode()
    assert shown.count("\n  (") == 20
    assert tinygen("sample", run, "--prompt", "Three one four") == (0, "三一四\n", "")
    assert tinygen("sample", run, "--prompt", "two", "--out", tmp_path / "t.txt")[0] == 0
    text, record = (tmp_path / "t.txt").read_text(encoding="utf-8").split("\n[provenance] ")
    assert text == "二\n" and json.loads(record)["model"] == "translator"


def test_a_stopped_run_continues_bit_for_bit(tinygen, tmp_path, pairs):
    folders = tmp_path / "whole", tmp_path / "parts"
    for folder in folders:
        assert tinygen("train", "translator", "--data", pairs, *SMALL[:-4], "--batch-size", 64,
                       "--steps", 9, "--checkpoint-every", 4, "--quiet", "--out", folder)[0] == 0
    for step in (8, 9):                 # as if it had been killed after step 4, in an epoch
        (folders[1] / f"checkpoints/step-{step:08d}.safetensors").unlink()
    assert tinygen("train", "--resume", folders[1], "--quiet") == (0, "", "")
    a, b = (read_checkpoint(f / "checkpoints/step-00000009.safetensors") for f in folders)
    for kind in ("model", "optimizers", "schedulers", "random"):
        assert_same_state(a[kind], b[kind])


def test_what_does_not_fit_is_refused_by_name(tinygen, tmp_path, pairs):
    def said(*arguments):
        code, _, err = tinygen(*arguments)
        assert code == 2 and "Traceback" not in err, err
        return " ".join(err.split())
    train = ["train", "translator", "--out", tmp_path / "run"]
    assert "--block does not apply to translator" in said(*train, "--data", pairs, "--block", 3)
    assert "neither a set of pairs nor a file; did you mean 'tatoeba'" in said(
        *train, "--data", "tatoba")
    (tmp_path / "bad.tsv").write_text("no tab here\n")
    assert "pair 1 has no 2 columns" in said(*train, "--data", tmp_path / "bad.tsv")
    assert "width 16 does not divide into 3 heads" in said(
        *train, "--data", pairs, "--width", 16, "--heads", 3)
    run = tmp_path / "small"
    assert tinygen("train", "translator", "--data", pairs, *SMALL, "--steps", 1, "--quiet",
                   "--out", run)[0] == 0
    assert "give it a sentence with --prompt" in said("sample", run)
    assert "--temperature does not apply to translator" in said(
        "sample", run, "--prompt", "one", "--temperature", 1)
    assert "no latents to walk between" in said("interpolate", run)
    assert "no encoder" in said("reconstruct", run)
