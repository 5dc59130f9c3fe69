"""Training with jit: the files of a run are those of a run without, byte for byte."""

import re

import pytest

import tinygen as tg
from tests.jit.compare import agree
from tests.train.helpers import OPTIONS, assert_same_run, digits_loader, make_trainer, weights
from tinygen import optim
from tinygen.jit import passes
from tinygen.models import VAE
from tinygen.train import Callback, NonFiniteError


@pytest.fixture
def unfused(monkeypatch):
    """Programs without fused rows: every bit is that of the step as it is."""
    monkeypatch.setattr(passes, "FUSING", ())


class Killed(BaseException):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            raise Killed


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_with_jit_is_the_run_without(tmp_path, unfused, name):
    options = {"name": name, "steps": 20, "checkpoint_every": 4, "sample_every": 5,
               "clip_norm": 1.0, "ema_decay": 0.9, "eval_loader": digits_loader(50, 100)}
    make_trainer(tmp_path / "eager", jit=False, **options).fit()
    trainer = make_trainer(tmp_path / "jit", **options)
    trainer.fit()
    assert_same_run(tmp_path / "eager", tmp_path / "jit", 20)
    assert len(trainer._jitted.programs) == (2 if "n_critic" in OPTIONS[name] else 1)


def test_a_run_may_be_resumed_with_or_without_it(tmp_path, unfused):
    options = {"steps": 20, "checkpoint_every": 4, "sample_every": 5}
    make_trainer(tmp_path / "whole", jit=False, **options).fit()
    for at, jit in ((6, True), (11, False), (17, True)):
        with pytest.raises(Killed):
            make_trainer(tmp_path / "cut", callbacks=[StopAt(at)], jit=jit, **options).fit(
                resume=at > 6)
    make_trainer(tmp_path / "cut", jit=True, **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 20)


def test_a_fused_run_is_the_same_run_whenever_it_is_stopped(tmp_path):
    """Its first step too is the program's, and close to that of a run without jit."""
    options = {"steps": 20, "checkpoint_every": 4, "sample_every": 5}
    make_trainer(tmp_path / "whole", **options).fit()
    for at in (6, 11):
        with pytest.raises(Killed):
            make_trainer(tmp_path / "cut", callbacks=[StopAt(at)], **options).fit(resume=at > 6)
    make_trainer(tmp_path / "cut", **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 20)
    found = []
    for jit in (False, True):
        trainer = make_trainer(None, steps=3, jit=jit)
        trainer.fit()
        found.append(weights(trainer))
    agree(found[1], found[0], 3)


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
    """Looks at a value in every step from the fourth one on, and counts."""

    def __init__(self, first=1):
        super().__init__((1, 8, 8), hidden=16, latent=2)
        self.steps, self.first, self.seen = 0, first, []

    def training_step(self, images, labels, optimizers):
        results = super().training_step(images, labels, optimizers)
        self.seen.append("a batch")
        if len(self.seen) >= self.first:
            self.steps += 1
            return results | {"double": tg.Tensor(2 * results["loss"].item())}
        return results


class Counts(VAE):
    def __init__(self):
        super().__init__((1, 8, 8), hidden=16, latent=2)
        self.steps = 0

    def training_step(self, images, labels, optimizers):
        self.steps += 1
        return super().training_step(images, labels, optimizers)


@pytest.mark.parametrize(("make", "message"), [
    (Looks, r"(?s)run as they are, without jit.*\[item\] looks at.*called from .*test_jit\.py"),
    (Counts, r"run as they are, without jit.* changes Counts\.steps, from 0 to 1; a replay")])
def test_a_step_that_cannot_be_recorded_runs_as_it_is(tmp_path, make, message):
    """Nothing is lost of the step that was tried, and a message says why."""
    found = {}
    for jit in (False, True):
        tg.manual_seed(1)
        model, said = make(), []
        trainer = make_trainer(tmp_path / str(jit), model=model, jit=jit, steps=10, ema_decay=0.9,
                               checkpoint_every=5, sample_every=5)
        trainer.say = said.append
        if jit:
            trainer._jitted._say = said.append
        trainer.fit()
        found[jit] = model.steps, len(getattr(model, "seen", [])), said
    assert found[True][:2] == found[False][:2] == ((10, 10) if make is Looks else (10, 0))
    assert found[False][2] == [] and len(found[True][2]) == 1
    assert re.search(message, found[True][2][0])
    assert trainer._jitted.reason and not trainer._jitted.programs
    assert_same_run(tmp_path / "False", tmp_path / "True", 10)


class Fails(VAE):
    def training_step(self, images, labels, optimizers):
        results = super().training_step(images, labels, optimizers)
        if float(optimizers["model"].param_groups[0]["lr"]) == 0.5:
            raise ZeroDivisionError("of the step itself")
        return results


def test_an_error_of_the_step_itself_is_no_matter_of_jit(tmp_path):
    model = Fails((1, 8, 8), hidden=16, latent=2)
    trainer = make_trainer(tmp_path / "run", model=model, lr=0.5)
    trainer.step = 1
    with pytest.raises(ZeroDivisionError, match="of the step itself"):
        trainer.fit()
    assert trainer._jitted.reason is None


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_gradients_are_accumulated_within_a_program(tmp_path, unfused, name):
    options = {"name": name, "steps": 10, "accumulate": 3, "clip_norm": 1.0, "sample_every": 5}
    make_trainer(tmp_path / "eager", jit=False, **options).fit()
    trainer = make_trainer(tmp_path / "jit", **options)
    trainer.fit()
    assert_same_run(tmp_path / "eager", tmp_path / "jit", 10)
    assert len(trainer._jitted.programs) == 1


def test_a_schedule_needs_no_new_program(tmp_path, unfused):
    for jit in (False, True):
        tg.manual_seed(5)
        model = VAE((1, 8, 8), hidden=16, latent=2)
        optimizer = model.configure_optimizers()["model"]
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        trainer = make_trainer(tmp_path / str(jit), model=model, jit=jit, steps=10,
                               optimizers={"model": optimizer}, schedulers=schedule,
                               schedule_per="step", sample_every=5)
        trainer.fit()
    assert_same_run(tmp_path / "False", tmp_path / "True", 10)
    assert len(trainer._jitted.programs) == 1


class Annealed(Callback):
    """Changes a number of the model before every step but the first ones."""

    def on_step_end(self, trainer):
        trainer.model.beta = max(1.0, trainer.step / 4)

    on_train_begin = on_step_end


def test_a_number_that_changes_all_the_time_ends_jit_in_a_resumed_run_too(tmp_path):
    options = {"steps": 20, "checkpoint_every": 2, "sample_every": 5}

    def make(folder, *callbacks):
        return make_trainer(tmp_path / folder, callbacks=[Annealed(), *callbacks], **options)
    whole, said = make("whole"), []
    whole._jitted._say = said.append
    whole.fit()
    assert re.search(r"rests on changes too often: VAE\.beta changes", said[0]) and len(said) == 1
    for at in (5, 13):           # before it begins to change, and after jit was given up
        with pytest.raises(Killed):
            make("cut", StopAt(at)).fit(resume=at > 5)
    make("cut").fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 20)
