"""`tinygen train gpt` and what can be done with its runs."""

import json

import pytest

pytest.importorskip("typer")

from tests.train.helpers import assert_same_state
from tinygen.provenance import strip
from tinygen.train import read_checkpoint

TEXT = "the cat sat on the mat.\nthe dog lay by the cat.\n" * 20
SMALL = ["--block", "8", "--layers", "1", "--heads", "2", "--width", "8", "--batch-size", "4"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def run(tinygen, tmp_path, text):
    """A run of 40 steps on a small text."""
    code, _, shown = tinygen("train", "gpt", "--data", text, *SMALL, "--steps", 40, "--lr", "0.01",
                             "--out", tmp_path / "run")
    assert code == 0, shown
    return tmp_path / "run"


def test_a_run_leaves_texts_metrics_and_a_falling_loss(run):
    assert (run / "samples.txt").read_bytes() == (run / "samples/step-00000040.txt").read_bytes()
    first, last = ((run / name).read_bytes() for name in ("samples/step-00000000.txt",
                                                          "samples.txt"))
    assert strip(first, "txt") != strip(last, "txt")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows]
    assert losses[-1] < 0.9 * losses[0] and "eval_loss" in rows[-1]
    config = json.loads((run / "config.json").read_text())
    assert config["characters"] == "".join(sorted(set(TEXT)))
    assert config["model_config"] == {"name": "gpt", "vocab_size": len(set(TEXT)), "block": 8,
                                      "layers": 1, "heads": 2, "width": 8, "dropout": 0.0}
    assert config["options"]["clip_norm"] == 1.0


def test_a_stopped_run_continues_bit_for_bit(tinygen, run, tmp_path, text):
    part = tmp_path / "part"
    common = ["train", "gpt", "--data", text, *SMALL, "--steps", 40, "--lr", "0.01", "--quiet",
              "--checkpoint-every", 10, "--out", part]
    assert tinygen(*common) == (0, "", "")
    for step in (20, 30, 40):           # as if it had been killed after step 10
        (part / f"checkpoints/step-{step:08d}.safetensors").unlink(missing_ok=True)
    assert tinygen("train", "--resume", part, "--quiet") == (0, "", "")
    name = "checkpoints/step-00000040.safetensors"
    a, b = read_checkpoint(run / name), read_checkpoint(part / name)
    for kind in ("model", "optimizers", "schedulers", "random"):
        assert_same_state(a[kind], b[kind])
    assert (run / "samples.txt").read_bytes() == (part / "samples.txt").read_bytes()
    assert tinygen("train", "--resume", run, "--block", 9)[0] == 2     # another run altogether


def test_samples_are_printed_or_written(tinygen, run, tmp_path):
    code, said, _ = tinygen("sample", run, "--prompt", "the ", "--length", 30, "--n", 2)
    texts = said.split("\n" + "-" * 40 + "\n")
    assert code == 0 and len(texts) == 2 and texts[0] != texts[1]
    assert all(t.startswith("the ") for t in texts) and len(texts[0]) == 34
    assert tinygen("sample", run, "--prompt", "the ", "--length", 30, "--n", 2)[1] == said
    cold = [tinygen("sample", run, "--seed", s, "--temperature", 0)[1] for s in (0, 1)]
    assert cold[0] == cold[1] and len(cold[0]) == 501
    one = [tinygen("sample", run, "--seed", s, "--top-k", 1)[1] for s in (0, 1)]
    assert one == cold
    code, said, _ = tinygen("sample", run, "--out", tmp_path / "new.txt", "--checkpoint",
                            run / "checkpoints" / "step-00000040.safetensors")
    assert code == 0 and said == f"{tmp_path / 'new.txt'}\n"
    text, record = (tmp_path / "new.txt").read_text().split("\n[provenance] ")
    assert len(text) == 501 and json.loads(record)["model"] == "gpt"


@pytest.mark.parametrize("arguments, message", [
    (["sample", "RUN", "--prompt", "Ünï"], "the model never saw 'n', 'Ü', 'ï'|never saw 'Ü', 'ï'"),
    (["sample", "RUN", "--label", "1"], "no classes; --prompt says"),
    (["sample", "RUN", "--temperature", "-1"], "temperature must be positive, got -1"),
    (["interpolate", "RUN"], "no latents to walk between"),
    (["reconstruct", "RUN"], "no encoder"),
    (["train", "gpt", "--data", "TEXT", "--latent", "3"], "--latent does not apply to gpt"),
    (["train", "gpt", "--data", "TEXT", "--size", "3"], "--size does not apply to gpt"),
    (["train", "gpt", "--data", "TEXT", "--block", "5000"], "make no block of 5000"),
    (["train", "gpt", "--data", "TEXT", "--heads", "3"], "does not divide into 3 heads"),
    (["train", "gpt", "--data", "TEXT", "--batch-size", "500"], "has only 13 blocks of 64"),
])
def test_wrong_use_is_explained(tinygen, run, text, tmp_path, arguments, message):
    given = [{"RUN": run, "TEXT": text}.get(a, a) for a in arguments]
    if "train" in arguments:
        given += ["--out", tmp_path / "other"]
    code, _, said = tinygen(*given)
    assert code == 2 and "Traceback" not in said
    assert any(part in said for part in message.split("|")), said


def test_options_of_text_are_refused_for_pictures(tinygen, tmp_path):
    out = tmp_path / "vae"
    assert tinygen("train", "vae", "--hidden", 8, "--steps", 2, "--quiet", "--out", out)[0] == 0
    code, _, said = tinygen("sample", out, "--prompt", "a")
    assert code == 2 and "--prompt is for models of text" in said
    assert "there is no data set" in tinygen("train", "vae", "--data", "tinyshakespeare",
                                             "--out", tmp_path / "x")[2]
    assert "neither a text nor a file" in tinygen("train", "gpt", "--data", "nowhere",
                                                  "--out", tmp_path / "x")[2]
