"""Training with jit: the files of a run are those of a run without, byte for byte."""

import numpy as np
import pytest

import tinygen as tg
from tests.train.helpers import OPTIONS, assert_same_run, digits_loader, make_trainer
from tinygen import optim
from tinygen.jit import CaptureError
from tinygen.models import VAE
from tinygen.train import Callback, NonFiniteError


class Killed(BaseException):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            raise Killed


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_with_jit_is_the_run_without(tmp_path, name):
    options = {"name": name, "steps": 20, "checkpoint_every": 4, "sample_every": 5,
               "clip_norm": 1.0, "ema_decay": 0.9, "eval_loader": digits_loader(50, 100)}
    make_trainer(tmp_path / "eager", **options).fit()
    trainer = make_trainer(tmp_path / "jit", jit=True, **options)
    trainer.fit()
    assert_same_run(tmp_path / "eager", tmp_path / "jit", 20)
    assert len(trainer._jitted.programs) == (2 if "n_critic" in OPTIONS[name] else 1)


def test_a_run_may_be_resumed_with_or_without_it(tmp_path):
    options = {"steps": 20, "checkpoint_every": 4, "sample_every": 5}
    make_trainer(tmp_path / "whole", **options).fit()
    for at, jit in ((6, True), (11, False), (17, True)):
        with pytest.raises(Killed):
            make_trainer(tmp_path / "cut", callbacks=[StopAt(at)], jit=jit, **options).fit(
                resume=at > 6)
    make_trainer(tmp_path / "cut", jit=True, **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 20)


class Broken(VAE):
    """A VAE whose loss is NaN from the sixth step on."""

    def __init__(self):
        super().__init__((1, 8, 8), hidden=16, latent=2)
        self.register_buffer("left", tg.Tensor(5.0))

    def training_step(self, images, labels, optimizers):
        results = super().training_step(images, labels, optimizers)
        with tg.no_grad():
            optim.ema.mix_update(self.left, self.left - 1, weight=1.0)
            return results | {"loss": results["loss"] * tg.sqrt(self.left)}


def test_the_operation_that_made_a_nan_is_named(tmp_path):
    with pytest.raises(NonFiniteError, match=r"(?s)step 6: .*\[sqrt\]"):
        make_trainer(tmp_path / "run", model=Broken(), steps=20, jit=True).fit()


class Looks(VAE):
    def training_step(self, images, labels, optimizers):
        results = super().training_step(images, labels, optimizers)
        return results | {"double": tg.Tensor(2 * results["loss"].item())}


def test_a_step_that_looks_at_values_is_refused_by_name(tmp_path):
    model = Looks((1, 8, 8), hidden=16, latent=2)
    with pytest.raises(CaptureError, match=r"step of vae cannot be recorded.*\[item\] looks"):
        make_trainer(tmp_path / "run", model=model, jit=True).fit()
    rows = make_trainer(tmp_path / "eager", model=model).fit()
    assert np.isfinite(rows[-1]["double"])


def test_it_does_not_go_with_accumulate():
    with pytest.raises(ValueError, match="jit=True does not go with accumulate=2"):
        make_trainer(None, jit=True, accumulate=2)
