"""A run that was stopped and resumed is the run that was not, bit for bit."""

import json
import shutil
import warnings

import pytest

import tinygen as tg
from tests.train.helpers import (
    OPTIONS,
    assert_same_run,
    assert_same_state,
    digits_loader,
    make_trainer,
    no_temporaries,
)
from tinygen import optim
from tinygen.train import Callback, EarlyStop, TrainingError, TrainingWarning
from tinygen.train.session import capture


class StopAt(Callback):
    """Ends the process's work at a step as a kill would: no farewell, nothing saved."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            raise Killed


class Killed(BaseException):
    pass


def kill_at(step, out, resume=False, **options):
    with pytest.raises(Killed):
        make_trainer(out, callbacks=[StopAt(step)], **options).fit(resume=resume)


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
@pytest.mark.parametrize("name", OPTIONS)
def test_resumed_equals_uninterrupted(tmp_path, name, conditional):
    # Steps 10 and 16 lie inside epochs of 7; 8 of 16 steps lie after the checkpoint of step 12
    options = {"name": name, "num_classes": 10 if conditional else None, "steps": 20,
               "checkpoint_every": 4, "sample_every": 5, "eval_loader": digits_loader(50, 100)}
    make_trainer(tmp_path / "whole", **options).fit()
    kill_at(10, tmp_path / "cut", **options)
    kill_at(15, tmp_path / "cut", resume=True, **options)
    make_trainer(tmp_path / "cut", **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 20)
    assert no_temporaries(tmp_path)


@pytest.mark.parametrize("step", range(1, 16))
def test_every_step_is_a_good_place_to_stop(tmp_path, step):
    options = {"steps": 16, "checkpoint_every": 3, "sample_every": 4}
    make_trainer(tmp_path / "whole", **options).fit()
    kill_at(step, tmp_path / "cut", **options)
    make_trainer(tmp_path / "cut", **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 16)


def test_schedules_clipping_and_callbacks_resume(tmp_path):
    def run(out, kill=None, resume=False):
        trainer = make_trainer(out, steps=18, checkpoint_every=4, clip_norm=0.5,
                               callbacks=[EarlyStop("loss", patience=100)])
        trainer.schedulers = {"cosine": optim.lr_scheduler.CosineAnnealingLR(
            trainer.optimizers["model"], 18)}
        trainer.schedule_per = "step"
        if kill:
            trainer.callbacks.append(StopAt(kill))
            with pytest.raises(Killed):
                trainer.fit(resume=resume)
        else:
            trainer.fit(resume=resume)
        return trainer

    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", kill=10)
    cut = run(tmp_path / "cut", resume=True)
    assert_same_state(capture(whole), capture(cut))
    assert cut.optimizers["model"].param_groups[0]["lr"] < 1e-4    # the schedule did advance
    assert cut.user_callbacks[0].state_dict() == whole.user_callbacks[0].state_dict()


def test_clipping_limits_every_update(tmp_path):
    """Plain gradient descent moves by at most lr * clip_norm."""
    import numpy as np

    from tests.train.helpers import weights

    trainer = make_trainer(None, steps=1, clip_norm=1e-3)
    trainer = make_trainer(None, steps=1, clip_norm=1e-3, model=trainer.model, optimizers={
        "model": optim.SGD(trainer.model.parameters(), lr=1.0)})
    before = weights(trainer)
    trainer.fit()
    assert np.linalg.norm(weights(trainer) - before) == pytest.approx(1e-3, rel=1e-3)


def test_looking_changes_nothing(tmp_path):
    """Sampling, evaluating and saving leave weights, statistics and random numbers alone."""
    quiet = make_trainer(None, "dcgan", steps=9)
    busy = make_trainer(tmp_path, "dcgan", steps=9, sample_every=1, checkpoint_every=1,
                        eval_loader=digits_loader())
    quiet.fit()
    busy.fit()
    assert_same_state(quiet.model.state_dict(), busy.model.state_dict())
    assert tg.random.get_state() == capture(busy)["random"]
    assert all(m.training for m in busy.model.modules())


def test_evaluation_repeats_itself(tmp_path):
    trainer = make_trainer(None, steps=3, eval_loader=digits_loader(50, 100))
    trainer.fit()
    first = trainer.evaluate()
    tg.random.normal((5,))
    assert trainer.evaluate() == first and set(first) == {"eval_loss", "eval_kl",
                                                          "eval_reconstruction"}


def test_metrics_lose_what_came_after_the_checkpoint(tmp_path):
    options = {"steps": 12, "checkpoint_every": 5, "log_every": 1}
    kill_at(8, tmp_path, **options)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "epo')          # as a kill in the middle of a line leaves it
    make_trainer(tmp_path, **options).fit(resume=True)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    table = (tmp_path / "metrics.csv").read_text().splitlines()
    assert table[0] == "step,epoch,loss,reconstruction,kl"
    assert [int(line.split(",")[0]) for line in table[1:]] == list(range(1, 13))


def test_logged_means_are_means_of_the_steps(tmp_path):
    seen = []

    class Collect(Callback):
        def on_step_end(self, trainer):
            seen.append(trainer.losses["loss"].item())

    rows = make_trainer(tmp_path, steps=10, log_every=5, callbacks=[Collect()]).fit()
    assert [row["step"] for row in rows] == [5, 7, 10]     # 7 is the end of the epoch
    for row, part in zip(rows, (seen[:5], seen[5:7], seen[7:])):
        assert row["loss"] == sum(part) / len(part)


def test_resume_from_an_older_checkpoint(tmp_path):
    options = {"steps": 12, "checkpoint_every": 4, "keep": 9}
    make_trainer(tmp_path / "a", **options).fit()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    folder = tmp_path / "b" / "checkpoints"
    with pytest.warns(TrainingWarning, match=r"later than step-0+4\..*step-0+12\.safetensors\.old"):
        make_trainer(tmp_path / "b", **options).fit(resume=folder / "step-00000004.safetensors")
    assert (folder / "step-00000008.safetensors.old").exists()
    assert_same_run(tmp_path / "a", tmp_path / "b", 12)


def test_resume_without_checkpoints_starts(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trainer(tmp_path / "a", steps=4).fit(resume=True)
    make_trainer(tmp_path / "b", steps=4).fit()
    assert_same_run(tmp_path / "a", tmp_path / "b", 4)


def test_finished_run_stays_as_it_is(tmp_path):
    make_trainer(tmp_path, steps=4).fit()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*")
              if p.is_file() and p.name not in ("curves.png", ".lock")}
    make_trainer(tmp_path, steps=4).fit(resume=True)
    assert all(p.read_bytes() == content for p, content in before.items())


def test_longer_training_continues_a_finished_run(tmp_path):
    make_trainer(tmp_path / "a", epochs=3).fit()
    make_trainer(tmp_path / "b", epochs=1).fit()
    make_trainer(tmp_path / "b", epochs=3).fit(resume=True)
    a, b = (make_trainer(tmp_path / x, epochs=3) for x in "ab")
    a.fit(resume=True)
    b.fit(resume=True)
    assert_same_state(capture(a)["model"], capture(b)["model"])
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()


def test_other_runs_are_refused(tmp_path):
    make_trainer(tmp_path, steps=4).fit()
    with pytest.raises(TrainingError, match="holds a run already, at step 4"):
        make_trainer(tmp_path, steps=4).fit()
    with pytest.raises(TrainingError, match="seed is 9 there and 8 here"):
        make_trainer(tmp_path, steps=4, seed=8).fit(resume=True)
    with pytest.raises(TrainingError, match="model is 'vae' there and 'gan' here"):
        make_trainer(tmp_path, "gan", steps=4).fit(resume=True)
    with pytest.raises(TrainingError, match="optimizers"):
        trainer = make_trainer(tmp_path, steps=4)
        trainer.optimizers = {"other": trainer.optimizers["model"]}
        trainer.fit(resume=True)
    with pytest.raises(TrainingError, match="needs the run's folder"):
        make_trainer(None, steps=4).fit(resume=True)
