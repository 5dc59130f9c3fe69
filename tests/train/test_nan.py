"""A NaN or Inf stops the run, names the op that made it, and spoils no checkpoint."""

import numpy as np
import pytest

import tinygen as tg
from tests.train.helpers import assert_same_state, digits_loader, make_trainer
from tinygen import data, optim
from tinygen.tensor import Tensor
from tinygen.train import Callback, NonFiniteError, read_checkpoint
from tinygen.train.state import first_non_finite


class Spoil(Callback):
    """Changes the model after a step, always in the same way."""

    def __init__(self, step, change):
        self.step, self.change = step, change

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            self.change(trainer)


def spoiled_loss(trainer, from_step, spoil):
    """Replace the model's loss by `spoil(loss)` from a step on."""
    plain = trainer.model.losses

    def losses(images, labels, generator=None):
        found = plain(images, labels, generator)
        if trainer.step >= from_step:
            found["loss"] = spoil(found["loss"])
        return found

    trainer.model.losses = losses


def finite_checkpoints(out):
    """The steps of the checkpoints, after a look at every weight in them."""
    steps = []
    for path in sorted((out / "checkpoints").glob("step-*")):
        state = read_checkpoint(path)
        assert first_non_finite(state) is None, path
        steps.append(state["step"])
    return steps


def test_forward_op_is_named(tmp_path):
    trainer = make_trainer(tmp_path, steps=20, log_every=6, checkpoint_every=4, jit=False)
    spoiled_loss(trainer, 9, lambda loss: tg.log(loss - 1000.0))
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "stopped at step 10: loss became nan at step 10" in message
    assert "[log] made the first NaN from finite inputs" in message
    assert "test_nan.py" in message                       # the user's line
    assert "last good checkpoint is" in message and "step-00000008.safetensors" in message
    assert finite_checkpoints(tmp_path)[-1] == 8
    # The model is as it was before the bad step: that of a run that ended one step earlier
    other = make_trainer(None, steps=9, jit=False)
    other.fit()
    assert_same_state(trainer.model.state_dict(), other.model.state_dict())


def test_backward_op_is_named(tmp_path):
    """sqrt has a finite value and an infinite slope at 0."""
    trainer = make_trainer(tmp_path, steps=20)
    spoiled_loss(trainer, 4, lambda loss: loss + tg.sqrt(loss * 0))
    with pytest.raises(NonFiniteError, match=r"(?s)step 5: .*\[sqrt\] backward made the first"):
        trainer.fit()
    assert max(finite_checkpoints(tmp_path)) <= 4


def test_overflowing_update_is_named(tmp_path):
    trainer = make_trainer(None, steps=50)
    sgd = {"model": optim.SGD(trainer.model.parameters(), lr=1e38, momentum=0.99)}
    trainer = make_trainer(tmp_path, steps=50, model=trainer.model, optimizers=sgd)
    with pytest.raises(NonFiniteError, match="cause: ") as caught:
        trainer.fit()
    assert "model: lr 1e+38" in str(caught.value) or "made the first" in str(caught.value)
    assert finite_checkpoints(tmp_path) == [0]


def test_optimizer_alone_is_named(tmp_path):
    class Wrong(optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["params"][0].data[0] = np.inf

    trainer = make_trainer(None)
    wrong = {"model": Wrong(trainer.model.parameters(), lr=0.5)}
    trainer = make_trainer(tmp_path, steps=50, model=trainer.model, optimizers=wrong)
    with pytest.raises(NonFiniteError, match=r"update made encoder.0.weight overflow .*lr 0.5"):
        trainer.fit()


def test_images_that_hold_nan_are_named(tmp_path):
    images = data.load("digits").images[:112] / np.float32(255)
    images[100, 0, 3, 3] = np.nan
    loader = data.DataLoader(data.ArrayDataset(images), 16, seed=1)
    trainer = make_trainer(tmp_path, loader=loader, steps=14)
    with pytest.raises(NonFiniteError, match=r"step 7: .*\n.*batch of images itself holds a NaN"):
        trainer.fit()
    assert finite_checkpoints(tmp_path) == [0]


def test_weight_spoiled_between_steps_writes_no_checkpoint(tmp_path):
    def change(trainer):
        next(trainer.model.parameters()).data[0, 0] = np.nan

    trainer = make_trainer(tmp_path, steps=12, checkpoint_every=4, log_every=100,
                           callbacks=[Spoil(8, change)], loader=digits_loader(n=1000))
    with pytest.raises(NonFiniteError, match=r"encoder.0.weight is no longer finite"):
        trainer.fit()
    assert finite_checkpoints(tmp_path) == [0, 4]


def test_nan_found_long_after_the_snapshot(tmp_path):
    """The replay starts from the last snapshot, not from the start."""
    trainer = make_trainer(None, steps=130, log_every=10)
    spoiled_loss(trainer, 124, lambda loss: tg.log(-loss))
    with pytest.raises(NonFiniteError, match=r"(?s)step 125: .*\[log\]"):
        trainer.fit()
    assert trainer.snapshot["step"] in range(60, 125)
    assert isinstance(trainer.snapshot["model"]["mu.weight"], Tensor)
