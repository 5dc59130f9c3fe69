"""GANs on handwritten digits, clothes or faces: how far samples are from the data, over training.

    python examples/gan_digits.py                         # MNIST: gan, conditional, wgan-gp
    python examples/gan_digits.py --data fashion-mnist    # conditional, dcgan, wgan-gp
    python examples/gan_digits.py --data celeba           # dcgan, 64x64 (CelebA: research only)
    python examples/gan_digits.py --models dcgan --epochs 3
    python examples/gan_digits.py --quick                 # bundled 8x8 digits, seconds

For each model: `NAME-time.png` shows what the same noise becomes, one row per measurement;
`NAME-walk.png` walks from one noise vector to another; `NAME-samples.png` is what it ends with; and
the table, also in `NAME.csv`, says at each measurement the Fréchet distance, precision and recall
by the features of a classifier that is trained first (of faces: woman or man, smiling or not).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import CelebA, DataLoader, ImageDataset, RandomHorizontalFlip, load
from tinygen.models import build, interpolate
from tinygen.train import Callback, Trainer, sample_quality
from tinygen.viz import save_grid

# epochs and options of each model on each data set
RECIPES = {
    "digits": {"gan": (20, {}), "conditional": (20, {}), "dcgan": (8, {"width": 16}),
               "wgan-gp": (20, {"n_critic": 2})},
    "mnist": {"gan": (8, {}), "conditional": (8, {}), "dcgan": (2, {"width": 16}),
              "wgan-gp": (3, {"width": 16, "n_critic": 2})},
    "fashion-mnist": {"gan": (8, {}), "conditional": (8, {}), "dcgan": (4, {"width": 16}),
                      "wgan-gp": (7, {"width": 16, "n_critic": 2})},
    "celeba": {"dcgan": (9, {"width": 24})},
}
DEFAULT = {"fashion-mnist": ["conditional", "dcgan", "wgan-gp"], "celeba": ["dcgan"]}
LEARNING_RATES = {"wgan-gp": 2e-4}     # twice the paper's, with fewer critic steps: see results.md
AVERAGED = {"fashion-mnist": 0.998, "celeba": 0.998}   # samples are drawn with averaged weights
CLASSIFIER_EPOCHS = {"digits": 6, "celeba": 4}         # 2 where nothing is said


def main() -> dict[str, float]:
    """Train each model; returns its measures before any training (`NAME start ...`) and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--data", default="mnist", choices=["mnist", "fashion-mnist", "celeba"])
    parser.add_argument("--models", nargs="+", choices=RECIPES["digits"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the pictures (default: runs/gan_digits-DATA)")
    args = parser.parse_args()
    name = args.data = "digits" if args.quick else args.data
    models = args.models or DEFAULT.get(name, ["gan", "conditional", "wgan-gp"])
    if missing := [model for model in models if model not in RECIPES[name]]:
        parser.error(f"{name} has no recipe for {missing[0]}; it has {', '.join(RECIPES[name])}")

    train_set, test_set = pictures(name, True), pictures(name, False)
    quality = sample_quality(train_set, test_set, epochs=CLASSIFIER_EPOCHS.get(name, 2),
                             seed=args.seed)
    print(f"features: of a classifier that reads {quality.accuracy:.1%} of the test images")
    found = {"classifier": quality.accuracy}
    for model in models:
        out = Path(args.out or f"runs/gan_digits-{name}")
        rows = train(model, train_set, quality, out, args)
        for key in ("frechet", "precision", "recall"):
            found |= {f"{model} start {key}": rows[0][key], f"{model} {key}": rows[-1][key]}
    return found


def pictures(name, train):
    """A data set with labels. Faces have four classes of similar sizes; half are mirrored."""
    if name != "celeba":
        return load(name, train=train)
    faces = CelebA(train=train)
    man, smiling = (faces.attributes[:, faces.attribute_names.index(name)]
                    for name in ("Male", "Smiling"))                          # (N,) of 0 and 1
    return ImageDataset(faces.images, 2 * man + smiling,
                        ["woman", "woman, smiling", "man", "man, smiling"],
                        transform=RandomHorizontalFlip() if train else None)


def train(name, train_set, quality, out, args):
    """One model from scratch, with its pictures; its measurements."""
    epochs, options = RECIPES[args.data][name]
    classes = train_set.num_classes if name == "conditional" else None
    tg.manual_seed(args.seed)
    model = build("gan" if name == "conditional" else name, train_set.image_shape, classes,
                  **options)
    size = 32 if args.data == "celeba" else 64
    loader = DataLoader(train_set, size, shuffle=True, drop_last=True, seed=args.seed)
    epochs = args.epochs or epochs
    watch = Watch(name, quality, every=max(epochs * len(loader) // 6, 1))
    trainer = Trainer(model, loader, epochs=epochs, lr=LEARNING_RATES.get(name), seed=args.seed,
                      samples=0, callbacks=[watch], ema_decay=AVERAGED.get(args.data))
    trainer.fit()

    z = model.noise(64, tg.Generator(args.seed + 1))
    walk = interpolate(z[:8], z[8:16], steps=12, spherical=True)       # (12, 8, latent)
    walk = walk.transpose((1, 0, 2)).reshape(8 * 12, -1)               # row by row
    labels = np.repeat(np.arange(8), 12) if classes else None          # a class for each row
    with trainer.undisturbed():
        walk, samples = unit(model.generate(walk, labels), model), unit(model.generate(z), model)
    scale = max(56 // train_set.image_shape[-1], 1)                    # about 56 pixels a picture
    for what, images in (("time", np.concatenate(watch.pictures)), ("walk", walk),
                         ("samples", samples)):
        save_grid(images, out / f"{name}-{what}.png", cols=16 if what == "samples" else 12,
                  scale=scale)
    with (out / f"{name}.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(watch.measurements[0]))
        table.writeheader()
        table.writerows(watch.measurements)
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
            samples = unit(model.generate(z), model)                          # (N, C, H, W)
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
