"""The loop and its callbacks: what is kept, what is shown, what is refused."""

import io
import os
import pty
import sys
import threading

import numpy as np
import pytest

import tinygen as tg
from tests.train.helpers import digits_loader, make_trainer, weights
from tinygen import data
from tinygen.provenance import strip
from tinygen.train import Callback, Curves, EarlyStop, Progress, Trainer, read_checkpoint
from tinygen.train.progress import describe_seconds


def test_moments_of_a_run_come_in_order():
    seen = []

    class Watch(Callback):
        def on_train_begin(self, trainer):
            seen.append(("begin", trainer.step))

        def on_step_end(self, trainer):
            seen.append(("step", trainer.step))

        def on_log(self, trainer, row):
            seen.append(("log", row["step"]))

        def on_epoch_end(self, trainer):
            seen.append(("epoch", trainer.epoch))

        def on_train_end(self, trainer):
            seen.append(("end", trainer.step))

    make_trainer(None, steps=8, log_every=3, callbacks=[Watch()]).fit()
    assert seen == [("begin", 0), ("step", 1), ("step", 2), ("step", 3), ("log", 3), ("step", 4),
                    ("step", 5), ("step", 6), ("log", 6), ("step", 7), ("log", 7), ("epoch", 1),
                    ("step", 8), ("log", 8), ("end", 8)]


def test_training_learns(tmp_path):
    rows = make_trainer(tmp_path, epochs=25, eval_loader=digits_loader()).fit()
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert len(losses) == 25 and losses[-1] < 0.8 * losses[0]


def test_evaluation_is_the_mean_over_all_images():
    """In batches of 50 and 30: the mean is over images, not over batches."""
    trainer = make_trainer(None, steps=1)
    loader = data.DataLoader(data.Subset(data.load("digits"), range(80)), 50)
    seen = []
    plain = trainer.model.evaluate

    def evaluate(images, labels=None):
        seen.append((len(images), plain(images, labels)["loss"].item()))
        return {"loss": tg.Tensor(seen[-1][1])}

    trainer.model.evaluate = evaluate
    means = trainer.evaluate(loader)
    assert [n for n, _ in seen] == [50, 30]
    assert means["eval_loss"] == pytest.approx(np.average([v for _, v in seen], weights=[50, 30]))


def test_last_and_best_checkpoints_stay(tmp_path):
    """The best is where the watched metric was lowest, and is not dropped with the old ones."""
    values = iter([5.0, 3.0, 4.0, 3.5, 3.25])

    class Model(type(make_trainer(None).model)):
        def evaluate(self, images, labels=None):
            return {"loss": tg.Tensor(value)}

    model = Model((1, 8, 8), hidden=8, latent=2)
    kept = {}

    class Note(Callback):
        def on_epoch_end(self, trainer):
            kept[trainer.step] = weights(trainer)

    class Value(Callback):
        def on_step_end(self, trainer):
            nonlocal value
            if trainer.step % 7 == 6:
                value = next(values)

    value = 9.0
    make_trainer(tmp_path, model=model, epochs=5, keep=2, eval_loader=digits_loader(),
                 callbacks=[Value(), Note()]).fit()
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.safetensors", "step-00000028.safetensors", "step-00000035.safetensors"]
    best = read_checkpoint(folder / "best.safetensors")
    assert best["step"] == 14 and best["best"] == {"value": 3.0, "step": 14}
    found = np.concatenate([t.numpy().ravel() for t in best["model"].values()])
    assert found.tobytes() == kept[14].tobytes()


def test_gans_have_no_best(tmp_path):
    """No loss of theirs says which generator is better."""
    make_trainer(tmp_path, "gan", epochs=2).fit()
    assert not (tmp_path / "checkpoints" / "best.safetensors").exists()


def test_early_stop_ends_the_run_and_a_resume_leaves_it_so(tmp_path):
    options = {"epochs": 50, "eval_loader": digits_loader(), "model": None}

    def run(resume):
        trainer = make_trainer(tmp_path, **options, callbacks=[
            EarlyStop("eval_loss", patience=2, min_delta=1e9)])
        trainer.fit(resume=resume)
        return trainer

    first = run(False)
    assert first.step == 3 * 7 and "has not fallen below" in first.stopped
    assert (tmp_path / "checkpoints" / "step-00000021.safetensors").exists()
    assert run(True).step == 21


def test_samples_come_from_fixed_noise(tmp_path):
    """Two models in the same state draw the same picture, whatever was drawn before."""
    a = make_trainer(tmp_path / "a", steps=7, sample_every=7)
    b = make_trainer(tmp_path / "b", steps=7, sample_every=1)
    a.fit()
    b.fit()
    last = "samples/step-00000007.png"
    assert (tmp_path / "a" / last).read_bytes() == (tmp_path / "b" / last).read_bytes()
    assert (tmp_path / "a" / "samples.png").read_bytes() == (tmp_path / "a" / last).read_bytes()
    assert len(list((tmp_path / "b" / "samples").iterdir())) == 8
    first = (tmp_path / "b" / "samples/step-00000000.png").read_bytes()
    assert strip(first, "png") != strip((tmp_path / "b" / last).read_bytes(), "png")


def test_no_folder_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_trainer(None, epochs=2).fit()
    assert not list(tmp_path.iterdir())


def test_curves_without_matplotlib_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    text = io.StringIO()
    trainer = make_trainer(tmp_path, steps=4, progress=Progress(text))
    trainer.callbacks.insert(0, Curves(tmp_path))
    trainer.fit()
    assert text.getvalue().count("No curves.png") == 1
    assert not (tmp_path / "curves.png").exists()


def test_training_runs_outside_of_the_main_thread(tmp_path):
    """Signals cannot be handled there; everything else works."""
    trainer = make_trainer(tmp_path, steps=3)
    thread = threading.Thread(target=trainer.fit)
    thread.start()
    thread.join()
    assert trainer.step == 3 and (tmp_path / "samples.png").exists()


def test_unlabelled_images_train():
    pictures = data.load("digits").images[:64] / np.float32(255)
    loader = data.DataLoader(data.ArrayDataset(pictures), 16)
    assert make_trainer(None, loader=loader, steps=4).fit()[-1]["step"] == 4


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "give epochs or steps"), ({"steps": 3, "epochs": 3}, "give epochs or steps"),
    ({"steps": 0}, "steps must be an integer of at least 1"),
    ({"steps": 3, "keep": 0}, "keep must be"), ({"steps": 3, "log_every": 1.5}, "log_every"),
    ({"steps": 3, "schedule_per": "year"}, "schedule_per must be 'epoch' or 'step'"),
    ({"steps": 3, "clip_norm": -1}, "clip_norm must be positive"),
])
def test_arguments_that_cannot_be_meant(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Trainer(make_trainer(None).model, digits_loader(), **arguments)


def test_loader_without_a_state_is_refused():
    with pytest.raises(TypeError, match=r"loader must be a tinygen.data.DataLoader.*got list"):
        Trainer(make_trainer(None).model, [1, 2], steps=3)


# -- progress -------------------------------------------------------------------------------------


def test_plain_lines_where_there_is_no_terminal():
    text = io.StringIO()
    make_trainer(None, steps=9, progress=Progress(text, seconds=0)).fit()
    lines = text.getvalue().splitlines()
    assert len(lines) == 10 and "\x1b" not in text.getvalue() and "\r" not in text.getvalue()
    assert lines[0].startswith("step 1/9  epoch 1/2  loss ")
    assert "samples/s" in lines[5] and lines[5].endswith("s left")
    assert lines[-1].startswith("step 9/9  epoch 2/2") and lines[-1].endswith("in all")


def test_a_bar_where_there_is_a_terminal(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        trainer = make_trainer(None, steps=9, progress=Progress(terminal))
        trainer.callbacks.insert(0, Slow())
        trainer.fit()
        trainer.say("nothing is drawn any more")
        shown = ""
        while "any more" not in shown:
            shown += os.read(ours, 4096).decode()
    os.close(ours)
    assert "epoch 2/2" in shown and "9/9" in shown and "loss" in shown and "\x1b[" in shown
    assert shown.rstrip().endswith("nothing is drawn any more")


class Slow(Callback):
    def on_step_end(self, trainer):
        if trainer.step == 5:
            import time
            time.sleep(0.15)    # the bar moves ten times a second


def test_losses_are_read_only_when_shown_or_logged():
    """On a GPU each reading waits for the device."""
    read = []

    class Loss:
        def __init__(self, value):
            self.value = value

        def __float__(self):
            read.append(self.value)
            return float(self.value)

    trainer = make_trainer(None, steps=12, log_every=6, progress=Progress(io.StringIO(), 1e9),
                           loader=digits_loader(n=320))
    trainer.model.training_step = lambda *_: {"loss": Loss(trainer.step)}
    before_log = []
    trainer.callbacks.append(type("Look", (Callback,), {
        "on_step_end": lambda self, t: before_log.append((t.step, len(read)))})())
    rows = trainer.fit()
    assert dict(before_log)[5] == 0 and dict(before_log)[6] == 6
    assert [row["loss"] for row in rows] == [2.5, 8.5]


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "0s"), (59.7, "1m 00s"), (200, "3m 20s"), (3600, "1h 00m"), (86400, "24h 00m")])
def test_seconds_in_words(seconds, text):
    assert describe_seconds(seconds) == text
