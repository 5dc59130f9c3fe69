"""`tinygen train text-vae` and what can be done with its runs."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")

from tests.train.helpers import assert_same_state
from tinygen.provenance import strip
from tinygen.train import read_checkpoint

SMALL = ["--width", "8", "--hidden", "16", "--latent", "4", "--batch-size", "16", "--lr", "0.01"]


@pytest.fixture
def names(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(["ka", "li", "mo", "tu"], rng.integers(2, 6))) for _ in range(300)]
    path = tmp_path / "names.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_run_learns_names_and_writes_and_walks(tinygen, tmp_path, names):
    run = tmp_path / "run"
    code, _, said = tinygen("train", "text-vae", "--data", names, *SMALL, "--steps", 120, "--quiet",
                            "--out", run)
    assert code == 0, said
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["eval_reconstruction"] < 0.7 * rows[0]["reconstruction"]
    assert rows[-1]["eval_loss"] == pytest.approx(
        rows[-1]["eval_reconstruction"] + rows[-1]["eval_kl"], rel=1e-4)
    assert len(strip((run / "samples.txt").read_bytes(), "txt").decode().splitlines()) == 20
    code, said, _ = tinygen("sample", run, "--n", 5, "--temperature", 0.8)
    assert code == 0 and len(said.splitlines()) == 5 and set(said) <= set("kalimotu\n")
    assert tinygen("sample", run, "--n", 5, "--temperature", 0.8)[1] == said
    code, said, _ = tinygen("interpolate", run, "--rows", 2, "--steps", 3)
    assert code == 0 and [len(w.split("\n")) for w in said[:-1].split("\n\n")] == [3, 3]
    assert tinygen("sample", run, "--out", tmp_path / "new.txt")[0] == 0
    record = (tmp_path / "new.txt").read_text().split("\n[provenance] ")[1]
    assert json.loads(record)["model"] == "text-vae"
    for arguments, message in ((["sample", run, "--prompt", "ka"], "--prompt does not apply"),
                               (["sample", run, "--top-k", "3"], "--top-k does not apply"),
                               (["reconstruct", run], "no encoder of images")):
        code, _, said = tinygen(*arguments)
        assert code == 2 and message in said and "Traceback" not in said


def test_a_stopped_run_continues_bit_for_bit(tinygen, tmp_path, names):
    folders = tmp_path / "whole", tmp_path / "part"
    for folder in folders:
        assert tinygen("train", "text-vae", "--data", names, *SMALL, "--steps", 40, "--quiet",
                       "--checkpoint-every", 10, "--out", folder)[0] == 0
    for step in (20, 30, 40):           # as if it had been killed after step 10
        (folders[1] / f"checkpoints/step-{step:08d}.safetensors").unlink(missing_ok=True)
    assert tinygen("train", "--resume", folders[1], "--quiet") == (0, "", "")
    a, b = (read_checkpoint(f / "checkpoints/step-00000040.safetensors") for f in folders)
    for kind in ("model", "optimizers", "random"):
        assert_same_state(a[kind], b[kind])
    assert (folders[0] / "samples.txt").read_bytes() == (folders[1] / "samples.txt").read_bytes()


def test_wrong_use_is_explained(tinygen, tmp_path, names):
    train = ["train", "text-vae", "--out", tmp_path / "run"]
    short = tmp_path / "short.txt"
    short.write_text("one\ntwo\n")
    for status, arguments, message in (
            (2, ["--data", names, "--heads", "3"], "--heads does not apply to"),
            (2, ["--data", short], "a text of 2 lines; at least 20"),
            (1, ["--data", "nowhere"], "neither a text nor a file")):
        code, _, said = tinygen(*train, *arguments)
        assert code == status and message in said and "Traceback" not in said
