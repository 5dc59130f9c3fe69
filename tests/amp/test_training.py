"""Models trained in mixed precision end where float32 does; runs resume with their scaler."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import models, nn, optim
from tinygen.data import ArrayDataset, DataLoader
from tinygen.train import Trainer, read_checkpoint

pytest.importorskip("ml_dtypes")


def steps(model, batches, kind, scaler=None):
    """The losses of a model's own training steps in one precision."""
    optimizers = model.configure_optimizers(3e-3)
    losses = []
    for batch in batches:
        with tg.autocast("cpu", dtype=kind or "bfloat16", enabled=kind is not None):
            losses.append(model.training_step(*batch, optimizers)["loss"].item())
    return np.array(losses)


def vae_batches(count):
    rng = np.random.default_rng(0)
    bars = np.zeros((count, 32, 1, 8, 8), np.float32)
    for i in range(count):
        for j in range(32):
            bars[i, j, 0, rng.integers(8)] = 1
    return [(tg.Tensor(b), None) for b in bars]


def gpt_batches(count):
    text = np.frombuffer(b"the cat sat on the mat, the dog sat on the log. " * 40, np.uint8) % 32
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(text) - 17, (count, 8))
    return [(tg.Tensor(np.stack([text[s:s + 16] for s in row]).astype(np.int64)),
             tg.Tensor(np.stack([text[s + 1:s + 17] for s in row]).astype(np.int64)))
            for row in starts]


@pytest.mark.parametrize("build, batches, bound", [
    (lambda: models.VAE(image_shape=(1, 8, 8), hidden=64, latent=4), vae_batches(80), 0.02),
    (lambda: models.GPT(32, block=16, width=32, layers=2, heads=2), gpt_batches(80), 0.02),
], ids=["VAE", "GPT"])
def test_bfloat16_reaches_the_loss_of_float32(build, batches, bound):
    """The mean of the last ten of 80 losses is within 2% of the first loss's distance to it."""
    found = {}
    for kind in (None, "bfloat16"):
        tg.manual_seed(0)
        losses = steps(build(), batches, kind)
        assert np.isfinite(losses).all()
        found[kind] = losses[0], losses[-10:].mean()
    (start, wanted), (_, reached) = found.values()
    assert wanted < 0.8 * start                                    # it learns
    assert abs(reached - wanted) < bound * (start - wanted), found


class Small(nn.Module):
    """A model with the methods that a Trainer wants; its loss overflows float16 when scaled."""

    name = "small"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.seen = []

    def configure_optimizers(self, lr=None):
        return {"model": optim.AdamW(self.parameters(), lr=0.01)}

    def training_step(self, images, labels, optimizers):
        y = self.layer(images)
        loss = (y * 30).square().mean()
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def evaluate(self, images, labels=None):
        y = self.layer(images)
        assert y.dtype == np.float32                               # outside of autocast
        return {"loss": y.square().mean()}


def loader():
    x = np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32)
    return DataLoader(ArrayDataset(x), 8, seed=1)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("jit", [False, True])
def test_runs_resume_with_their_scaler(precision, jit, tmp_path):
    """Stopped after four steps and gone on: to the last bit the run that was not stopped."""
    def trainer(folder, total):
        tg.manual_seed(5)
        return Trainer(Small(), loader(), tmp_path / folder, steps=total, precision=precision,
                       jit=jit, samples=0, progress=False, clip_norm=1.0, checkpoint_every=2,
                       eval_loader=loader())
    whole = trainer("whole", 8)
    whole.fit()
    trainer("parts", 4).fit()
    rest = trainer("parts", 8)
    rest.fit(resume=True)
    for p, q in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert p.dtype == np.float32 and np.array_equal(p.data, q.data)
    if precision == "16-mixed":
        assert whole.scaler.state_dict() == rest.scaler.state_dict()
        assert whole.scaler.get_scale() < 65536                    # 60 * 30 * 65536 is no float16
        best = read_checkpoint(tmp_path / "parts" / "checkpoints" / "best.safetensors")
        assert set(best["scaler"]["loss"]) == set(whole.scaler.state_dict())
    else:
        assert whole.scaler is None


def test_a_step_that_overflows_changes_nothing():
    tg.manual_seed(5)
    run = Trainer(Small(), loader(), steps=1, precision="16-mixed", progress=False, samples=0)
    before = [p.data.copy() for p in run.model.parameters()]
    (x, *_) = next(iter(loader()))
    scale = run.scaler.get_scale()
    with np.errstate(all="ignore"):
        run.train_step(x * 100, None)
    assert run.scaler.get_scale() == scale / 2
    for p, b in zip(run.model.parameters(), before, strict=True):
        assert np.array_equal(p.data, b)


def test_names():
    with pytest.raises(ValueError, match="precision must be one of 32, bf16-mixed, 16-mixed"):
        Trainer(Small(), loader(), steps=1, precision="half")
