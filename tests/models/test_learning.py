"""Models learn real digits: losses fall, and samples come to look like the data."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import data
from tinygen.models import build


def train(model, epochs, batch_size=50, lr=None, labels=False):
    loader = data.DataLoader(data.Digits(), batch_size, shuffle=True, drop_last=True, seed=0)
    optimizers = model.configure_optimizers(lr)
    history = []
    for _ in range(epochs):
        for images, targets in loader:
            history.append(model.training_step(images, targets, optimizers))
    return history


@pytest.mark.parametrize(("name", "options", "least"), [
    ("vae", {"hidden": 128, "latent": 8}, 8.0), ("conv-vae", {"width": 8, "latent": 8}, 8.0)])
def test_vae_loss_falls_on_digits_it_has_not_seen(name, options, least):
    """Nats per image on the test digits: 44.4 for 64 coin flips, about 27 for the mean picture."""
    tg.manual_seed(0)
    model = build(name, (1, 8, 8), **options)
    test = data.Digits(train=False)
    images = test.images / np.float32(255)
    before = model.evaluate(images)["loss"].item()
    train(model, epochs=10)
    after = model.evaluate(images)["loss"].item()
    assert after < before - least


@pytest.mark.parametrize(("name", "options", "epochs"), [
    ("gan", {"hidden": [128, 128]}, 12), ("dcgan", {"width": 16}, 15)])
def test_generated_digits_come_to_have_the_pixel_statistics_of_real_ones(name, options, epochs):
    """Distance between the mean pictures, and between the pixels' standard deviations."""
    real = data.Digits().images / np.float32(255)
    tg.manual_seed(0)
    model = build(name, (1, 8, 8), **options)
    z = model.noise(300)

    def distance():
        samples = (model.generate(z).numpy() + 1) / 2
        return (np.abs(samples.mean(0) - real.mean(0)).mean()
                + np.abs(samples.std(0) - real.std(0)).mean())

    before = distance()
    history = train(model, epochs)
    assert all(np.isfinite(value.item()) for losses in history for value in losses.values())
    assert distance() < before / 2
