"""Averaged weights, gradients from several parts, and schedules that wait for a metric."""

import copy
import warnings

import numpy as np
import pytest

import tinygen as tg
from tests.train.helpers import assert_same_run, digits_loader, make_trainer, weights
from tests.train.test_resume import kill_at
from tinygen import nn, optim
from tinygen.train import TrainingError, read_checkpoint
from tinygen.train.errors import CheckpointError
from tinygen.train.runs import open_run

# -- the average -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_a_resumed_run_has_the_same_average(tmp_path, name):
    options = {"name": name, "steps": 16, "checkpoint_every": 4, "sample_every": 5,
               "ema_decay": 0.9, "accumulate": 2, "eval_loader": digits_loader(50, 100)}
    make_trainer(tmp_path / "whole", **options).fit()
    kill_at(10, tmp_path / "cut", **options)
    make_trainer(tmp_path / "cut", **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 16)


def test_the_average_is_evaluated_drawn_and_loaded(tmp_path):
    trainer = make_trainer(tmp_path, steps=12, ema_decay=0.9, eval_loader=digits_loader())
    trainer.fit()
    learnt = weights(trainer)
    assert trainer.ema.updates == 12
    with trainer.undisturbed():
        inside = weights(trainer)
    assert weights(trainer).tobytes() == learnt.tobytes() != inside.tobytes()
    state = read_checkpoint(tmp_path / "checkpoints" / "step-00000012.safetensors")
    assert state["ema"]["model"]["updates"] == 12
    # the picture of the last step is one of the average
    from tinygen.train.callbacks import sample_inputs

    found = open_run(str(tmp_path)).model(None, "cpu", warnings.warn)
    loaded = np.concatenate([t.numpy().ravel() for t in found.state_dict().values()])
    assert loaded.tobytes() == inside.tobytes()
    with trainer.undisturbed():
        drawn = trainer.model.generate(*sample_inputs(trainer.model, 4, 9))
    np.testing.assert_array_equal(found.generate(*sample_inputs(found, 4, 9)).numpy(),
                                  drawn.numpy())
    trainer.ema.copy_to()
    assert weights(trainer).tobytes() == inside.tobytes()


def test_an_average_that_the_checkpoint_has_not_is_named(tmp_path):
    make_trainer(tmp_path, steps=3).fit()
    with pytest.raises(CheckpointError, match=r"it has the ema \[\], this trainer \['model'\]"):
        make_trainer(tmp_path, steps=6, ema_decay=0.9).fit(resume=True)


# -- gradients from several parts ------------------------------------------------------------------


def trained(parts, name="vae", clip_norm=0.5, batch=16, **options):
    """Six steps of plain descent: Adam would magnify the last bits of small gradients."""
    trainer = make_trainer(None, name, steps=6, accumulate=parts, clip_norm=clip_norm,
                           loader=digits_loader(batch), **options)
    for optimizer in trainer.optimizers.values():
        names = [p for group in optimizer.param_groups for p in group["params"]]
        plain = optim.SGD(names, lr=0.05, momentum=0.5)
        optimizer.__class__, optimizer.__dict__ = plain.__class__, plain.__dict__
    rows = trainer.fit()
    return weights(trainer), rows


@pytest.mark.parametrize("parts", [2, 5, 16, 40])
@pytest.mark.parametrize("conditional", [None, 10])
def test_parts_make_the_update_of_the_whole(parts, conditional):
    """Also where they differ in size; the noise of the model is the same stream of numbers."""
    whole, rows = trained(1, num_classes=conditional)
    several, others = trained(parts, num_classes=conditional)
    np.testing.assert_allclose(several, whole, atol=2e-6)
    assert np.abs(whole).max() > 0.1
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            assert other[key] == pytest.approx(value, rel=1e-4)


def test_both_sides_of_a_gan_accumulate():
    """One step of each side; with one update both see the other as it was before it."""
    trainer = make_trainer(None, "gan", steps=4, accumulate=4)
    trainer.fit()
    for optimizer in trainer.optimizers.values():
        entry = next(iter(optimizer.state_dict()["state"].values()))
        assert entry["step"].item() == 4.0


def test_what_counts_batches_is_refused():
    with pytest.raises(ValueError, match=r"accumulate=2 does not go with n_critic=3"):
        make_trainer(None, "wgan-gp", accumulate=2)
    with pytest.raises(ValueError, match=r"accumulate must be an integer of at least 1, got 0"):
        make_trainer(None, accumulate=0)


def test_a_plain_loop_accumulates_by_itself():
    """As the documentation says: backward() adds to `grad`; divide each loss by their number."""
    def learn(parts):
        tg.manual_seed(0)
        model = nn.Linear(4, 2).to(dtype="float64")
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        rng = np.random.default_rng(0)
        x, y = (tg.Tensor(rng.standard_normal((3, 12, n))) for n in (4, 2))
        for step in range(3):
            optimizer.zero_grad()
            size = 12 // parts
            for i in range(0, 12, size):
                loss = ((model(x[step, i:i + size]) - y[step, i:i + size]) ** 2).mean()
                (loss / parts).backward()
            optimizer.step()
        return weights_of(model)

    def weights_of(model):
        return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])

    np.testing.assert_allclose(learn(4), learn(1), rtol=1e-12)


# -- a schedule that waits for a metric ------------------------------------------------------------


def run_with_plateau(out, resume=False, monitor=None, steps=42, kill=None, name="vae"):
    def prepare(trainer):
        part = next(iter(trainer.optimizers.values()))
        trainer.schedulers = {"plateau": optim.lr_scheduler.ReduceLROnPlateau(
            part, factor=0.5, patience=0, threshold=0.2)}
        return trainer
    trainer = prepare(make_trainer(out, name, steps=steps, monitor=monitor, checkpoint_every=5,
                                   schedule_per="step"))
    if kill:
        trainer.total_steps = kill
    trainer.fit(resume=resume)
    return trainer


def test_a_plateau_is_told_of_each_epoch_and_resumed(tmp_path):
    whole = run_with_plateau(tmp_path / "whole")
    plateau = whole.schedulers["plateau"]
    assert plateau.last_epoch == 6 and whole.optimizers["model"].param_groups[0]["lr"] < 1e-3
    run_with_plateau(tmp_path / "cut", kill=17)
    cut = run_with_plateau(tmp_path / "cut", resume=True)
    assert copy.deepcopy(cut.schedulers["plateau"].state_dict()) == plateau.state_dict()
    assert weights(cut).tobytes() == weights(whole).tobytes()


def test_a_plateau_without_a_metric_is_named():
    with pytest.raises(TrainingError, match=r"plateau, a ReduceLROnPlateau, needs a metric"):
        run_with_plateau(None, name="gan", steps=7)
    assert run_with_plateau(None, name="gan", steps=7, monitor="generator").step == 7
