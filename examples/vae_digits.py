"""Variational autoencoders on handwritten digits: reconstructions, walks, and a latent plane.

    python examples/vae_digits.py                      # MNIST, 10 epochs: 106 nats or less
    python examples/vae_digits.py --beta 4             # a beta-VAE: less KL, blurrier copies
    python examples/vae_digits.py --model conv-vae --epochs 3 --no-plane
    python examples/vae_digits.py --model vae-gan --epochs 2 --no-plane
    python examples/vae_digits.py --model conv-vae --data celeba --epochs 8 --no-plane    # faces
    python examples/vae_digits.py --quick              # the bundled digits at 16x16, a few seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import CelebA, DataLoader, load
from tinygen.metrics import psnr
from tinygen.models import build, interpolate
from tinygen.special import ndtri
from tinygen.train import Trainer, sample_quality
from tinygen.viz import save_grid


def main() -> dict[str, float]:
    """Train, write the pictures, print and return what was reached on test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--data", default="mnist", help="mnist, fashion-mnist, celeba (64x64)")
    parser.add_argument("--model", default="vae", choices=["vae", "conv-vae", "vae-gan"])
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL divergence")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--no-plane", action="store_true", help="no second model, of two latents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the pictures (default: runs/vae_digits-MODEL)")
    args = parser.parse_args()

    name, size = ("digits", 16) if args.quick else (args.data, None)
    train_set, test_set = (CelebA(attribute="Smiling", train=part) if name == "celeba" else
                           load(name, train=part, size=size) for part in (True, False))
    epochs = args.epochs or (12 if args.quick else 10)
    out = Path(args.out or f"runs/vae_digits-{args.model}")

    latent = 8 if args.quick else 64 if name == "celeba" else 20
    model, figures = train(args, train_set, test_set, epochs, latent)
    figures |= report(model, train_set, test_set, args)
    save_pictures(model, test_set, out)
    if not args.no_plane:
        flat, found = train(args, train_set, test_set, epochs, latent=2)
        figures |= {f"plane {key}": value for key, value in found.items()}
        save_plane(flat, out / "plane.png", side=12 if args.quick else 20)
    print(f"pictures: {out}")
    return figures


def train(args, train_set, test_set, epochs, latent):
    """A trained model, and what it reached on the test images; "first ..." after one epoch."""
    tg.manual_seed(args.seed)
    size = {"hidden": 400} if args.model == "vae" else {"width": 8 if args.quick else 16}
    if args.model != "vae-gan" and train_set.image_shape[0] == 3:
        size["likelihood"] = "gaussian"           # colours are amounts, not probabilities
    model = build(args.model, train_set.image_shape, latent=latent, beta=args.beta, **size)
    small = args.quick or train_set.image_shape[0] == 3
    trainer = Trainer(model, DataLoader(train_set, 32 if small else 128, shuffle=True,
                                        drop_last=True, seed=args.seed),
                      epochs=epochs, seed=args.seed, samples=0, progress=False,
                      eval_loader=DataLoader(test_set, min(500, len(test_set))))
    figures = {}
    for row in trainer.fit():
        # loss, reconstruction and kl; a VAE-GAN has no one loss, but mse in place of it, because
        # its likelihood is in features that go on changing
        found = {k[5:]: v for k, v in row.items() if k.startswith("eval_")}
        if found:
            figures = (figures or {f"first {k}": v for k, v in found.items()}) | found
            parts = ", ".join(f"{k} {v:.4g}" for k, v in found.items())
            print(f"{args.model}, {latent} latents, epoch {row['epoch']}: {parts}", flush=True)
    return model, figures


def unit(images, model):
    """Images in the model's range as an array in [0, 1]."""
    low, high = model.value_range
    return (images.numpy() - low) / (high - low)


def report(model, train_set, test_set, args):
    """How near the copies are to their originals, and the samples, as a set, to real images."""
    originals = test_set.images[:5000] / np.float32(255)                     # (N, 1, H, W)
    copies = unit(model.reconstruct(originals), model)
    figures = {"PSNR": float(psnr(copies, originals).mean())}
    print(f"reconstructions of test images: PSNR {figures['PSNR']:.2f} dB")
    quality = sample_quality(train_set, test_set, epochs=6 if args.quick else 2)
    samples = unit(model.generate(model.noise(len(originals))), model)
    found = quality(samples)
    print(f"samples: Fréchet distance {found['frechet']:.2f}, precision {found['precision']:.3f}, "
          f"recall {found['recall']:.3f} (features of a classifier that reads "
          f"{quality.accuracy:.1%} of the test images)")
    return figures | found


def save_pictures(model, test_set, out):
    """Originals above their copies; walks between test images; samples."""
    scale = max(56 // test_set.image_shape[-1], 1)                           # 56 pixels a picture
    images = test_set.images[:32] / np.float32(255)                          # (32, 1, H, W)
    copies = unit(model.reconstruct(images), model)
    rows = [half for i in (0, 16) for half in (images[i:i + 16], copies[i:i + 16])]
    save_grid(np.concatenate(rows), out / "reconstructions.png", cols=16, scale=scale)

    mu, _ = model.encode(images[:16])                                        # (16, latent)
    walk = interpolate(mu[:8], mu[8:], steps=12)                             # (12, 8, latent)
    walk = walk.transpose((1, 0, 2)).reshape(8 * 12, -1)                     # row by row
    save_grid(unit(model.generate(walk), model), out / "interpolation.png", cols=12, scale=scale)

    samples = model.generate(model.noise(128))
    save_grid(unit(samples, model), out / "samples.png", cols=16, scale=scale)


def save_plane(model, path, side):
    """What every place of a two-dimensional latent decodes to.

    The places are quantiles of the prior N(0, I), so that each picture stands for the same share
    of it.
    """
    quantiles = ndtri((np.arange(side) + 0.5) / side)                        # (side,)
    x, y = np.meshgrid(quantiles, -quantiles)
    z = np.stack([x.ravel(), y.ravel()], axis=1)                             # (side^2, 2)
    save_grid(unit(model.generate(z), model), path, cols=side, pad=0)


if __name__ == "__main__":
    main()
