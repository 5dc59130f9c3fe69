"""The command line as a user meets it: what it makes, what it says, how it exits."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.train.helpers import assert_same_run, flip_bit, run_python

pytest.importorskip("typer")
Image = pytest.importorskip("PIL.Image")

from tinygen import cli  # noqa: E402
from tinygen.provenance import strip  # noqa: E402

SMALL = {
    "gan": "--hidden 16,24 --latent 4", "dcgan": "--width 4 --latent 4",
    "wgan-gp": "--hidden 16,24 --latent 4", "vae": "--hidden 16 --latent 2",
    "conv-vae": "--width 4 --latent 2", "vae-gan": "--width 4 --latent 2 --gamma 0.1",
}


@pytest.fixture
def tinygen(capsys):
    """`tinygen("sample runs/x")`: the exit code, standard output and standard error."""

    def run(text, *more):
        with pytest.raises(SystemExit) as caught:
            cli.main([*text.split(), *map(str, more)])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def fails(tinygen):
    """The one message of a command that fails with that exit code."""

    def run(code, text, *more):
        found, out, err = tinygen(text, *more)
        assert (found, out) == (code, ""), err
        assert err.startswith("tinygen: ") and "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A finished, conditional VAE run."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "vae", *SMALL["vae"].split(), "--conditional", "--steps", "30",
                  "--quiet", "--out", str(out)])
    assert caught.value.code == 0
    return out


def size(path):
    with Image.open(path) as picture:
        return picture.size


# -- train ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SMALL)
def test_train_leaves_pictures_metrics_and_checkpoints(tinygen, tmp_path, model):
    out = tmp_path / "run"
    code, said, shown = tinygen(f"train {model} {SMALL[model]} --steps 12 --batch-size 32 "
                                "--sample-every 6 --out", out)
    assert code == 0, shown
    for name in ("samples.png", "curves.png", "metrics.csv"):
        assert (out / name).stat().st_size > 100 and str(out / name) in said
    assert f"tinygen sample {out}" in said
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        f"step-{step:08d}.png" for step in (0, 6, 12)]
    assert (out / "checkpoints" / "step-00000012.safetensors").is_file()
    assert (out / "metrics.csv").read_text().splitlines()[-1].startswith("12,")
    config = json.loads((out / "config.json").read_text())
    assert config["model"] == model and config["options"]["data"] == "digits"
    assert config["batch_size"] == 32 and config["model_config"]["image_shape"] == [1, 8, 8]
    assert "\x1b" not in shown and "step 12/12" in shown        # plain lines, not a bar
    code, said, _ = tinygen("sample --n 9 --out", tmp_path / "grid.png", out)
    assert code == 0 and said == f"{tmp_path / 'grid.png'}\n" and size(tmp_path / "grid.png")[0] > 9


def test_same_seed_same_run(tinygen, tmp_path):
    command = f"train vae {SMALL['vae']} --steps 10 --quiet"
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        assert tinygen(f"{command} --seed {seed} --out", tmp_path / name) == (0, "", "")
    assert_same_run(tmp_path / "a", tmp_path / "b", 10)
    assert (tmp_path / "a/metrics.csv").read_bytes() != (tmp_path / "c/metrics.csv").read_bytes()


def test_options_reach_the_model_and_the_trainer(tinygen, tmp_path):
    code, _, shown = tinygen("train gan --hidden 8 --latent 3 --loss least-squares "
                             "--label-smoothing 0.1 --n-critic 2 --conditional --size 12 "
                             "--lr 0.01 --clip-norm 1 --keep 1 --checkpoint-every 2 --log-every 2 "
                             "--prefetch 0 --steps 4 --out", tmp_path / "run")
    assert code == 0, shown
    config = json.loads((tmp_path / "run" / "config.json").read_text())["model_config"]
    assert config == {**config, "hidden": [8], "latent": 3, "loss": "least-squares",
                      "label_smoothing": 0.1, "n_critic": 2, "num_classes": 10,
                      "image_shape": [1, 12, 12]}
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3


def test_averaged_weights_are_what_is_sampled(tinygen, tmp_path):
    """Two runs that differ in the average alone learn the same and show other pictures."""
    for name, options in (("plain", ""), ("averaged", "--ema-decay 0.9 --accumulate 1 ")):
        code, _, shown = tinygen(f"train vae {SMALL['vae']} --steps 8 --quiet {options}--out",
                                 tmp_path / name)
        assert code == 0, shown
        assert tinygen(f"sample {tmp_path / name} --n 4 --out {tmp_path / name}.png")[0] == 0
    rows = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
            for name in ("plain", "averaged")]
    assert rows[0]["loss"] == rows[1]["loss"] and rows[0]["eval_loss"] != rows[1]["eval_loss"]
    plain, averaged = ((tmp_path / f"{name}.png").read_bytes() for name in ("plain", "averaged"))
    assert strip(plain, "png") != strip(averaged, "png")
    code, _, _ = tinygen(f"train --resume {tmp_path / 'averaged'} --steps 10 --quiet")
    assert code == 0                             # with its own --ema-decay


def test_a_folder_of_pictures_trains(tinygen, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / kind / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    code, _, shown = tinygen("train vae --data pets --size 8 --hidden 8 --latent 2 --conditional "
                             "--batch-size 5 --epochs 1")
    assert code == 0, shown
    run = tmp_path / "runs" / "vae-pets"
    config = json.loads((run / "config.json").read_text())
    assert config["model_config"]["image_shape"] == [3, 8, 8]
    assert config["model_config"]["num_classes"] == 2
    monkeypatch.chdir("/")                     # the folder is found from anywhere
    assert tinygen("train --epochs 2 --quiet --resume", run)[0] == 0
    assert tinygen("reconstruct --n 3 ", run)[0] == 0


# -- resume ---------------------------------------------------------------------------------------


def test_resume_in_every_form(tinygen, tmp_path):
    out = tmp_path / "run"
    recipe = f"train vae {SMALL['vae']}"
    assert tinygen(f"{recipe} --resume --steps 4 --quiet --out", out)[0] == 0    # nothing there yet
    assert tinygen("train --steps 6 --quiet --resume", out)[0] == 0
    assert tinygen("train vae --steps 8 --quiet --resume --out", out)[0] == 0
    newest = out / "checkpoints" / "step-00000008.safetensors"
    assert tinygen("train --steps 10 --quiet --resume", newest)[0] == 0
    code, said, _ = tinygen(f"{recipe} --steps 10 --resume --out", out)
    assert code == 0 and "complete: 10 steps" in said
    rows = (out / "metrics.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["4", "6", "8", "10"]


def test_resumed_options_that_differ_are_named(fails, vae):
    said = fails(2, "train gan --lr 0.5 --hidden 99 --batch-size 64 --epochs 3 --resume --out", vae)
    assert "the model gan (it has vae)" in said and "--lr 0.5 (it has the default)" in said
    assert "--hidden 99 (it has 16)" in said and "--batch-size" not in said
    assert "--epochs" not in said and "new run in another --out" in said


def test_folder_that_holds_something_is_refused(fails, vae, tmp_path):
    said = fails(2, "train vae --out", vae)
    assert f"holds a run already; continue it with: tinygen train --resume {vae}" in said
    (tmp_path / "letters.txt").write_text("dear")
    assert "holds files already; choose another --out" in fails(2, "train vae --out", tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "dear"
    assert "is a file; give a folder" in fails(2, "train vae --out", tmp_path / "letters.txt")


def test_damaged_checkpoints(tinygen, fails, tmp_path):
    out = tmp_path / "run"
    assert tinygen(f"train vae {SMALL['vae']} --steps 6 --checkpoint-every 3 --quiet --out",
                   out)[0] == 0
    newest = out / "checkpoints" / "step-00000006.safetensors"
    flip_bit(newest, newest.stat().st_size // 2)
    assert "step-00000006.safetensors is damaged" in fails(1, "train --resume", newest)
    code, _, said = tinygen("sample --n 4", out)
    assert code == 0 and "step-00000006.safetensors is damaged" in said
    code, _, said = tinygen("train --quiet --resume", out)
    assert code == 0
    assert re.fullmatch(r"tinygen: warning: .*is damaged.*going back to step-00000003.*\n", said)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_gives_the_command_that_continues(tinygen, tmp_path, number, code):
    out = tmp_path / "my runs" / "vae"
    process = run_python("-m", "tinygen", "train", "vae", "--hidden", "8", "--out", out,
                         "--epochs", "100000", "--sample-every", "100000")
    while not process.stderr.readline().startswith("step"):
        assert process.poll() is None
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code
    stopped = re.search(r"stopped at step (\d+) of \d+, all saved .* continue with: tinygen (.*)\n",
                        errors)
    assert stopped and said == "" and "Traceback" not in errors
    assert stopped[2] == f"train --resume '{out}'"
    steps = str(int(stopped[1]) + 2)
    code, said, _ = tinygen("train --steps", steps, "--resume", out)
    assert code == 0 and f"Done: step {steps}" in said


# -- sample, interpolate, reconstruct -------------------------------------------------------------


def test_sample(tinygen, fails, vae, tmp_path):
    def grid(name, options):
        code, _, said = tinygen(f"sample {vae} {options} --out", tmp_path / name)
        assert code == 0, said
        return strip((tmp_path / name).read_bytes(), "png")      # the pixels alone

    plain = grid("a.png", "--n 40")
    assert plain == grid("b.png", "--n 40 --seed 0 --checkpoint newest --checkpoint 30")
    assert plain != grid("c.png", "--n 40 --seed 1") != grid("d.png", "--n 40 --label 3")
    grid("e.png", "--n 300 --checkpoint best")
    assert size(tmp_path / "a.png")[0] > 2 * size(tmp_path / "a.png")[1]    # ten classes, four rows
    assert "--label 10: classes are 0 to 9" in fails(2, f"sample {vae} --label 10")
    assert "that ends in .png" in fails(2, f"sample {vae} --out x.gif")
    said = fails(2, f"sample {vae} --checkpoint 17")
    assert "neither newest, best, a file, nor a step that was kept" in said and "30" in said
    assert "cannot write" in fails(1, f"sample {vae} --out /proc/nowhere/x.png")


def test_interpolation_has_one_row_for_each_walk(tinygen, vae):
    assert tinygen(f"interpolate {vae} --rows 2 --steps 6")[0] == 0
    width, height = size(vae / "interpolation.png")
    assert width == pytest.approx(3 * height, rel=0.05)


def test_reconstructions_stand_below_their_originals(tinygen, vae, tmp_path):
    """Row 1 holds the test images themselves, row 2 something close."""
    from tinygen import data

    assert tinygen(f"reconstruct {vae} --n 8 --out", tmp_path / "r.png")[0] == 0
    with Image.open(tmp_path / "r.png") as picture:
        pixels = np.asarray(picture.convert("L"), np.float64)
    side = (pixels.shape[1] - 18) // 8                              # 2 pixels between images
    first = pixels[2:2 + side, 2:2 + side]
    small = first.reshape(8, side // 8, 8, side // 8).mean((1, 3)).round()
    test = data.load("digits", train=False).images[:, 0]
    assert (np.abs(test - small).max((1, 2)) < 1).any()
    assert pixels.shape[0] == 2 * side + 6


def test_gans_do_not_reconstruct(tinygen, fails, tmp_path):
    assert tinygen(f"train gan {SMALL['gan']} --steps 2 --quiet --out", tmp_path / "gan")[0] == 0
    assert "has no encoder and cannot" in fails(2, f"reconstruct {tmp_path / 'gan'}")


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "message"), [
    ("train", "which model? tinygen train MODEL, one of gan, dcgan, wgan-gp, vae, conv-vae"),
    ("train vea", "there is no model 'vea'; did you mean vae?"),
    ("train vae --data mnits", "there is no data set 'mnits'; did you mean mnist?"),
    ("train vae --data ./pictures", "--data ./pictures: the folder does not exist"),
    ("trian vae", "did you mean 'train'?"),
    ("train vae --batchsize 3", "--batch-size"),
    ("train vae --epochs many", "--epochs"),
    ("train vae --epochs 0", "--epochs"),
    ("train vae --epochs 3 --steps 3", "give --epochs or --steps, not both"),
    ("train vae --width 8", "--width does not apply to vae on this data; these do: --hidden"),
    ("train gan --loss hinged", "loss must be one of non-saturating"),
    ("train vae --hidden wide", "--hidden wide: widths are whole numbers"),
    ("train vae --hidden 8,8", "vae has one width"),
    ("train vae --latent -1", "Invalid value for '--latent'"),
    ("train vae --beta -1", "beta must not be negative, got -1"),
    ("train dcgan --size 10", "cannot be halved down"),
    ("train vae --batch-size 5000", "has only 1500 images"),
    ("train vae --ema-decay 2", "--ema-decay 2.0: it lies between 0 and 1, such as 0.999"),
    ("train wgan-gp --accumulate 2", "--accumulate does not go with wgan-gp, which counts the"),
    ("train vae --device tpu", "unknown device 'tpu'"),
    ("train vae runs/x", "unexpected argument runs/x; the run's folder is --out"),
    ("train --resume", "--resume needs the run"),
    ("train --resume nowhere", "there is no run nowhere"),
    ("sample nowhere", "there is no run nowhere"),
    ("sample .", ". is no run: it has no config.json"),
    ("sample", "Missing argument 'RUN'"),
    ("interpolate x --steps 1", "--steps"),
])
def test_wrong_usage_is_one_line_and_exit_code_2(fails, tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    said = fails(2, command)
    assert message.lower() in said.lower() and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_missing_data_is_named_with_where_to_get_it(fails, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    said = fails(1, "train vae --data mnist --out", tmp_path / "run")
    assert "train-images-idx3-ubyte.gz was not found" in said and "http" in said
    assert not (tmp_path / "run").exists()


def test_nearest_run_is_suggested(fails, vae):
    assert f"did you mean {vae}?" in fails(2, "sample", vae.with_name("vaa"))


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(Exception, match="there is no run"):
        cli.main(["sample", str(tmp_path / "x"), "--debug"])


def test_without_typer_the_message_says_what_to_install(monkeypatch, fails):
    monkeypatch.setitem(sys.modules, "typer", None)
    assert "pip install 'tinygen[app]'" in fails(1, "info")


def test_nan_is_reported_with_its_op(fails, tmp_path):
    said = fails(1, f"train vae {SMALL['vae']} --lr 1e30 --steps 50 --quiet --out", tmp_path / "x")
    assert "training stopped at step" in said and "cause: " in said
    assert "last good checkpoint" in said


# -- info and help --------------------------------------------------------------------------------


def test_info_names_versions_blas_devices_kernels_and_data(tinygen):
    code, said, _ = tinygen("info")
    assert code == 0
    rows = dict(line.strip().split(None, 1) for line in said.splitlines() if line.startswith("  "))
    assert rows["NumPy"] == np.__version__
    assert rows["digits"] == "comes with tinygen"
    assert re.search(r"\d+ threads?", rows["BLAS"]) or "openblas" not in rows["BLAS"]
    assert "CPU" in rows and any(name.startswith("cuda") for name in rows)
    assert "kernels" in said and "mnist" in rows


def test_help_lists_the_commands_and_loads_no_model(tmp_path):
    """Nothing heavy is imported to show help."""
    process = run_python("-X", "importtime", "-m", "tinygen", "train", "--help")
    said, imports = process.communicate(timeout=60)
    assert process.returncode == 0 and "--label-smoothing" in said
    for heavy in ("matplotlib", "PIL", "tinygen.models", "numba", "scipy"):
        assert not re.search(rf"\| +{re.escape(heavy)}$", imports, re.MULTILINE), heavy


def test_nobody_reads_the_output(tmp_path):
    """`tinygen info | head -1` ends without a traceback."""
    with run_python("-m", "tinygen", "info") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_progress_is_plain_where_the_terminal_is_dumb(tmp_path):
    """Logs of a batch system have no cursor to move."""
    process = run_python("-m", "tinygen", "train", "vae", "--hidden", "8", "--steps", "5",
                         "--out", tmp_path / "run")
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "\x1b" not in said + errors and "\r" not in said + errors
    assert os.path.exists(tmp_path / "run" / "samples.png")
    assert subprocess.list2cmdline([str(tmp_path / "run" / "samples.png")]) in said
