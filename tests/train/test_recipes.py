"""`tinygen train restorer` and the other recipes, on small data."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from tests.train.helpers import assert_same_state
from tinygen import data, models
from tinygen.provenance import read
from tinygen.train import read_checkpoint
from tinygen.train.recipes import TABLE
from tinygen.train.runs import ELSEWHERE, RECIPES, is_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
# What makes a short run: name -> arguments, and the metric that has to fall, if any
RUNS = {
    "restorer": (["--width", 4, "--size", 8, "--steps", 60], "loss"),
    "inpainter": (["--width", 4, "--size", 8, "--steps", 40], "loss"),
    "cycle-gan": (["--data", "drawn", "--width", 2, "--steps", 4], None),
    "sentiment": (["--width", 8, "--hidden", 16, "--heads", 2, "--dropout", 0, "--lr", 0.01,
                   "--steps", 40], "loss"),
    "mult-vae": (["--data", "drawn", "--hidden", 16, "--latent", 4, "--steps", 60],
                 "reconstruction"),
    "factorization": (["--data", "drawn", "--latent", 2, "--steps", 40], "mse"),
    "summarizer": (["--width", 16, "--heads", 2, "--dropout", 0, "--lr", 0.01, "--steps", 30],
                   "loss"),
}


@pytest.fixture
def texts(monkeypatch):
    """Made-up reviews, and abstracts in which the title follows one character."""

    def reviews(train=True):
        rng = np.random.default_rng(train)
        labels = rng.integers(0, 2, 200 if train else 30)
        words = np.array([["bad", "dull"], ["good", "warm"]])
        lines = [f"the {rng.choice(['film', 'plot'])} is {rng.choice(words[y])} ." for y in labels]
        return data.LabelledTexts(lines, labels, ("negative", "positive"))

    def titles(train=True):
        rng = np.random.default_rng(train)
        drawn = [["".join(rng.choice(list("abcdefghijklmnop"), n)) for n in (8, 5, 8)]
                 for _ in range(60 if train else 10)]
        return data.TitledTexts([f"{a}研{b}。{c}" for a, b, c in drawn], [b for _, b, _ in drawn])
    monkeypatch.setattr(data, "movie_reviews", reviews)
    monkeypatch.setattr(data, "film_texts", lambda: ["a warm film . a dull plot ."] * 3)
    monkeypatch.setattr(data, "csl_titles", titles)


@pytest.mark.parametrize("name", RUNS)
def test_a_recipe_trains_a_model_that_can_be_built_again(tinygen, tmp_path, texts, name):
    if name in ("sentiment", "summarizer"):
        pytest.importorskip("scipy")
    arguments, metric = RUNS[name]
    run = tmp_path / "run"
    code, said, err = tinygen("train", name, *arguments, "--quiet", "--out", run)
    assert (code, said, err) == (0, "", "")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert metric is None or rows[-1][metric] < 0.97 * rows[0][metric]
    assert any(key.startswith("eval_") for key in rows[-1])
    assert (run / "curves.png").exists()
    if name in ("restorer", "inpainter", "cycle-gan"):
        record = read(run / "samples.png").record
        assert record["model"] == name and record["step"] == rows[-1]["step"]
    recipe, config = TABLE[name], json.loads((run / "config.json").read_text())
    assert config["recipe"] == name
    model = getattr(models, recipe.kind)(**config["arguments"])
    state = read_checkpoint(run / f"checkpoints/step-{rows[-1]['step']:08d}.safetensors")
    model.load_state_dict(state["model"])
    assert callable(getattr(model, recipe.use))
    for command in ("sample", "interpolate", "reconstruct"):
        code, _, said = tinygen(command, run)
        assert code == 2 and said.count("\n") == 1
        assert f"tinygen.models.{recipe.kind}" in said and f"examples/{recipe.example}.py" in said


def test_a_stopped_run_continues_bit_for_bit(tinygen, tmp_path):
    folders = tmp_path / "whole", tmp_path / "part"
    for folder in folders:
        assert tinygen("train", "cycle-gan", "--data", "drawn", "--width", 2, "--steps", 6,
                       "--checkpoint-every", 2, "--seed", 3, "--quiet", "--out", folder)[0] == 0
    for step in (4, 6):                 # as if it had been killed after step 2
        (folders[1] / f"checkpoints/step-{step:08d}.safetensors").unlink()
    assert tinygen("train", "--resume", folders[1], "--quiet") == (0, "", "")
    a, b = (read_checkpoint(f / "checkpoints/step-00000006.safetensors") for f in folders)
    for kind in ("model", "optimizers", "schedulers", "random"):
        assert_same_state(a[kind], b[kind])
    assert (folders[0] / "metrics.jsonl").read_bytes() == (
        folders[1] / "metrics.jsonl").read_bytes()
    code, _, said = tinygen("train", "--resume", folders[1], "--lr", 0.5)
    assert code == 2 and "continues with its own options" in said


def test_folders_of_pictures_are_data_too(tinygen, tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng, pictures = np.random.default_rng(0), tmp_path / "pictures"
    for kind in ("horses", "zebras"):
        (pictures / kind).mkdir(parents=True)
        for i in range(5):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            image.fromarray(pixels).save(pictures / kind / f"{i}.png")
    small = ["--data", pictures, "--width", 2, "--size", 16, "--steps", 2, "--quiet"]
    code, _, said = tinygen("train", "cycle-gan", *small, "--layers", 1, "--out", tmp_path / "gan")
    assert code == 0, said
    run = tmp_path / "run"
    code, _, said = tinygen("train", "restorer", *small, "--damage", "shrink", "--out", run)
    assert code == 0, said
    config = json.loads((run / "config.json").read_text())
    assert config["batch_size"] == 9 and config["arguments"]["image_shape"] == [3, 16, 16]


def test_wrong_use_is_explained(tinygen, tmp_path, monkeypatch):
    for variable in ("TINYGEN_DATA", "TINYGEN_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    (tmp_path / "one" / "kind").mkdir(parents=True)
    for status, arguments, message in (
            (2, ["restorer", "--heads", 3], "--heads does not apply to restorer; these do"),
            (2, ["restorer", "--conditional"], "--conditional does not apply to restorer"),
            (2, ["restorer", "--damage", "rain"], "there is no damage 'rain'"),
            (2, ["restorer", "--size", 9], "9x9 cannot be halved"),
            (2, ["restorer", "--data", "digit"], "did you mean digits?"),
            (2, ["restorer", "--batch-size", 5000], "--batch-size 5000: digits has only 1500"),
            (2, ["vae", "--damage", "noise"], "--damage does not apply to vae"),
            (2, ["sentiment", "--size", 8], "--size does not apply to sentiment"),
            (2, ["sentiment", "--data", "digits"], "there is no data set 'digits'"),
            (2, ["mult-vae", "--data", "drawn", "--hidden", "8,8"], "has one width, such as 128"),
            (2, ["factorization", "--data", "drawn", "--sample-every", 3], "makes no pictures"),
            (2, ["cycle-gan", "--data", "drawn", "--size", 18], "multiples of 4, 16 at least"),
            (2, ["cycle-gan", "--data", tmp_path / "one"], "two subfolders with pictures"),
            (1, ["cycle-gan", "--data", tmp_path / "none"], "there is no such folder"),
            (1, ["cycle-gan"], "pictures/content/astronaut.png was not found"),
            (1, ["sentiment"], "rt-polarity/rt-polarity.neg was not found"),
            (1, ["mult-vae"], "ml-latest-small/ratings.csv was not found"),
            (1, ["summarizer"], "csl-title/ts_dev.tsv was not found"),
            (2, ["video-moments"], "python examples/video_moments.py trains it")):
        code, _, said = tinygen("train", *arguments, "--out", tmp_path / "run")
        assert code == status and message in said and "Traceback" not in said, (arguments, said)
        assert not (tmp_path / "run").exists()


def test_the_table_and_the_names_agree():
    assert {name: recipe.data[0] for name, recipe in TABLE.items()} == RECIPES
    for name in [*ELSEWHERE.values(), *(recipe.example for recipe in TABLE.values())]:
        assert (EXAMPLES / f"{name}.py").exists()
    assert not any(is_folder(name) for recipe in TABLE.values() for name in recipe.data)
