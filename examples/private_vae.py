"""A VAE that keeps a secret: DP-SGD, its loss against epsilon, and an attack on both.

    python examples/private_vae.py             # MNIST (TINYGEN_DATA), needs tinygen[examples]
    python examples/private_vae.py --quick     # the bundled digits, a few seconds

Whoever holds a model may ask: was this very picture in its training data? (epsilon, delta)-privacy
bounds how well any such question can be answered. Part 1 trains VAEs with more and with less noise
in their updates, and follows the test loss while epsilon grows. Part 2 asks: an ordinary and a
private VAE learn a few pictures for long, and an attacker guesses "member" where the loss is low.
An area under the ROC curve of 0.5 is guessing.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.data import load
from tinygen.data.catalog import licence_of
from tinygen.models import VAE
from tinygen.optim.private import epsilon, poisson_batch, private_gradients
from tinygen.provenance import Provenance, stamp

CLIP = 1.0          # all gradients of single images are longer: an update is a vote


def main() -> dict[str, float]:
    """Run both parts, draw the curves, and return all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/private-vae", help="folder for the picture")
    args = parser.parse_args()

    train, test = (load("digits" if args.quick else "mnist", train=part).images / np.float32(255)
                   for part in (True, False))                   # (N, 1, H, W) in [0, 1]
    curves = trade_off(train, test[:2000], args.quick, args.seed)
    areas = attack(train, test, args.quick, args.seed)
    path = draw(curves, Path(args.out) / "private-vae.png")
    name = "digits" if args.quick else "mnist"
    stamp(path, Provenance("vae", args.seed, f"as its data: {licence_of(name)}", data=name))
    print(path)
    found = {f"{figure} at noise {noise:g}": value for noise, points in curves.items()
             for figure, value in zip(("epsilon", "loss"), points[-1], strict=True)}
    return found | {"loss before": curves[0.0][0][1]} | {
        f"attack on {name}": area for name, area in areas.items()}


# -- part 1: what privacy costs --------------------------------------------------------------------


def trade_off(train: np.ndarray, test: np.ndarray, quick: bool, seed: int) -> dict[float, list]:
    """For each noise, (epsilon, test loss) on the way; noise 0 is clipped and no more."""
    batch, steps, delta = (150, 120, 1e-4) if quick else (600, 600, 1e-5)
    rate = batch / len(train)
    curves: dict[float, list[tuple[float, float]]] = {}
    for noise in (0.0, 1.0) if quick else (0.0, 0.6, 1.0, 2.0):
        model, rng = new_vae(train, 16 if quick else 128, seed), np.random.default_rng(seed)
        optimizer = optim.Adam(model.parameters(), lr=3e-3 if quick else 1e-3)
        curves[noise] = [(0.0, loss_of(model, test))]
        for step in range(1, steps + 1):
            private_step(model, optimizer, train, noise, rate, rng)
            if step % (steps // 6) == 0:
                spent = epsilon(noise, rate, step, delta)
                curves[noise].append((spent, loss_of(model, test)))
        spent, loss = curves[noise][-1]
        print(f"noise {noise}: epsilon {spent:.2f} at delta {delta:g} after {steps} updates, "
              f"test loss {curves[noise][0][1]:.1f} -> {loss:.1f} nats per image", flush=True)
    return curves


def private_step(model: VAE, optimizer: optim.Optimizer, images: np.ndarray, noise: float,
                 rate: float, rng: np.random.Generator) -> None:
    """One update from a batch in which each image is by chance."""
    batch = images[poisson_batch(len(images), rate, rng)]       # (about rate * N, 1, H, W)
    private_gradients(model, lambda: model.image_losses(batch), CLIP, noise, rate * len(images))
    optimizer.step()


def new_vae(images: np.ndarray, hidden: int, seed: int) -> VAE:
    """The same start for every run."""
    tg.manual_seed(seed)
    return VAE(images.shape[1:], hidden=hidden, latent=10)


def losses_of(model: VAE, images: np.ndarray) -> np.ndarray:
    """The loss of each image, (N,), with the same draws of z for every model."""
    with tg.no_grad():
        return model.image_losses(images, None, tg.Generator(1)).numpy()


def loss_of(model: VAE, images: np.ndarray) -> float:
    """The mean loss, in nats per image."""
    return float(losses_of(model, images).mean())


# -- part 2: who was there? ------------------------------------------------------------------------


def attack(train: np.ndarray, test: np.ndarray, quick: bool, seed: int) -> dict[str, float]:
    """The attacker's area under the ROC curve, for an ordinary and a private VAE of few images."""
    count, steps, noise, rate = (100, 400, 4.0, 0.2) if quick else (500, 3000, 4.0, 0.1)
    members, others = train[:count], test[:count]
    areas = {}
    for name in ("ordinary", "private"):
        model, rng = new_vae(train, 64 if quick else 400, seed), np.random.default_rng(seed)
        optimizer = optim.Adam(model.parameters(), lr=3e-3 if quick else 1e-3)
        for _ in range(steps):
            if name == "private":
                private_step(model, optimizer, members, noise, rate, rng)
                continue
            batch = members[poisson_batch(count, rate, rng)]
            model.training_step(batch, None, {"model": optimizer})
        inside, outside = losses_of(model, members), losses_of(model, others)
        areas[name] = roc_area(inside, outside)
        spent = epsilon(noise, rate, steps, 1e-3) if name == "private" else math.inf
        print(f"{name} VAE of {count} images, epsilon {spent:.1f}: loss {inside.mean():.1f} of "
              f"members, {outside.mean():.1f} of others; attack {areas[name]:.3f}", flush=True)
    return areas


def roc_area(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a member has the lower loss of a member and another image."""
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(labels, -np.concatenate([inside, outside])))


def draw(curves: dict[float, list], path: Path) -> Path:
    """The test loss against epsilon, one line for each noise, and the loss without noise."""
    from tinygen.viz import save_panels

    def panel(axes: Any) -> None:
        for noise, points in curves.items():
            if noise:
                axes.plot(*zip(*points[1:]), marker="o", label=f"noise {noise:g}")
        axes.axhline(curves[0.0][-1][1], color="black", linestyle=":", label="clipped, no noise")
        axes.set(xlabel="epsilon spent", ylabel="test loss, nats per image", xscale="log",
                 title="A private VAE: loss against epsilon")
        axes.set_xticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
        axes.set_xticks([], minor=True)
        axes.legend(fontsize=8)

    return save_panels([panel], path, size=(6.0, 4.0))


if __name__ == "__main__":
    main()
