"""GANs on handwritten digits or clothes: how far their samples are from the data, over training.

    python examples/gan_digits.py                     # MNIST: gan, conditional, wgan-gp
    python examples/gan_digits.py --data fashion-mnist --models wgan-gp
    python examples/gan_digits.py --models dcgan --epochs 3
    python examples/gan_digits.py --quick             # bundled 8x8 digits, seconds

For each model: `NAME-time.png` shows what the same noise becomes, one row per measurement;
`NAME-walk.png` walks from one noise vector to another; and the table says, at each measurement, the
Fréchet distance, precision and recall by the features of a classifier that is trained first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, load
from tinygen.models import build, interpolate
from tinygen.train import Callback, Trainer, sample_quality
from tinygen.viz import save_grid

# name: (model, whether it sees the classes, epochs, --quick epochs, options, --quick options)
RECIPES = {
    "gan": ("gan", False, 8, 20, {}, {}),
    "conditional": ("gan", True, 8, 20, {}, {}),
    "dcgan": ("dcgan", False, 2, 8, {"width": 16}, {"width": 16}),
    "wgan-gp": ("wgan-gp", False, 3, 20, {"width": 16, "n_critic": 2}, {"n_critic": 2}),
}
LEARNING_RATES = {"wgan-gp": 2e-4}     # twice the paper's, with fewer critic steps: see results.md


def main() -> dict[str, list[dict[str, float]]]:
    """Train each model; returns its measurements, the first of them before any training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--data", default="mnist", help="mnist or fashion-mnist")
    parser.add_argument("--models", nargs="+", default=["gan", "conditional", "wgan-gp"],
                        choices=RECIPES)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the pictures (default: runs/gan_digits-DATA)")
    args = parser.parse_args()

    name = "digits" if args.quick else args.data
    train_set, test_set = load(name, train=True), load(name, train=False)
    out = Path(args.out or f"runs/gan_digits-{name}")
    quality = sample_quality(train_set, test_set, epochs=6 if args.quick else 2, seed=args.seed)
    print(f"features: of a classifier that reads {quality.accuracy:.1%} of the test images")
    return {model: train(model, train_set, quality, out, args) for model in args.models}


def train(name, train_set, quality, out, args):
    """One model from scratch, with its pictures; its measurements."""
    kind, conditional, epochs, quick_epochs, options, quick_options = RECIPES[name]
    tg.manual_seed(args.seed)
    model = build(kind, train_set.image_shape, train_set.num_classes if conditional else None,
                  **(quick_options if args.quick else options))
    loader = DataLoader(train_set, 64, shuffle=True, drop_last=True, seed=args.seed)
    epochs = args.epochs or (quick_epochs if args.quick else epochs)
    watch = Watch(name, quality, every=max(epochs * len(loader) // 6, 1))
    Trainer(model, loader, epochs=epochs, lr=LEARNING_RATES.get(name), seed=args.seed, samples=0,
            callbacks=[watch]).fit()

    scale = 56 // train_set.image_shape[-1]                            # 56 pixels a picture
    save_grid(np.concatenate(watch.pictures), out / f"{name}-time.png", cols=12, scale=scale)
    z = model.noise(16, tg.Generator(args.seed + 1))
    walk = interpolate(z[:8], z[8:], steps=12, spherical=True)         # (12, 8, latent)
    walk = walk.transpose((1, 0, 2)).reshape(8 * 12, -1)               # row by row
    labels = np.repeat(np.arange(8), 12) if conditional else None      # a class for each row
    save_grid(unit(model.generate(walk, labels), model), out / f"{name}-walk.png", cols=12,
              scale=scale)
    print(f"{name}: pictures in {out}")
    return watch.measurements


class Watch(Callback):
    """Measures and draws the samples of the same noise every so many steps, without disturbing."""

    def __init__(self, name, quality, every):
        self.name, self.quality, self.every = name, quality, every
        self.measurements, self.pictures = [], []

    def on_train_begin(self, trainer):
        self._look(trainer)

    def on_step_end(self, trainer):
        if trainer.step % self.every == 0:
            self._look(trainer)

    def _look(self, trainer):
        model = trainer.model
        with trainer.undisturbed():
            z = model.noise(len(self.quality.real), tg.Generator(0))          # (N, latent)
            samples = unit(model.generate(z), model)                          # (N, 1, H, W)
        found = {"step": trainer.step, **self.quality(samples)}
        self.measurements.append(found)
        self.pictures.append(samples[:12])
        print(f"{self.name}, step {found['step']}: Fréchet distance {found['frechet']:.2f}, "
              f"precision {found['precision']:.3f}, recall {found['recall']:.3f}")


def unit(images, model):
    """Images in the model's range as an array in [0, 1]."""
    low, high = model.value_range
    return (images.numpy() - low) / (high - low)


if __name__ == "__main__":
    main()
