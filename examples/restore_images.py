"""Pictures made whole again: a hole filled, noise taken away, detail put back.

    python examples/restore_images.py                   # all three (CelebA, Fashion-MNIST)
    python examples/restore_images.py --task denoise
    python examples/restore_images.py --quick           # bundled digits, a few seconds

Each task has a U-Net that learns from pairs of a damaged picture and the original. What it makes of
pictures held out of training is measured beside what needs no learning: the mean colour around a
hole, the mean of all faces, a median or a Gaussian filter, the bicubic filter. The model that fills
holes is measured again after it has learnt on with a discriminator that looks at the result.
`TASK.png`: damaged pictures, restored ones, originals, a row each. CelebA's faces are for
non-commercial research only: they stay in that folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import (
    CelebA,
    Damaged,
    DataLoader,
    GaussianNoise,
    RandomHorizontalFlip,
    Shrink,
    SquareHole,
    load,
)
from tinygen.metrics import psnr, ssim
from tinygen.models import Inpainter, Restorer
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.train import Trainer
from tinygen.viz import save_grid

# task: data, damage, width and depth of the U-Net, epochs, batch size
TASKS = {"inpaint": ("celeba", SquareHole(24), 16, 4, 4, 32),
         "denoise": ("fashion-mnist", GaussianNoise(0.2), 16, 2, 2, 64),
         "upscale": ("celeba", Shrink(2), 16, 1, 3, 32)}
QUICK = {"inpaint": ("digits", SquareHole(6), 8, 2, 3, 50),
         "denoise": ("digits", GaussianNoise(0.2), 8, 2, 4, 50),
         "upscale": ("digits", Shrink(2), 8, 1, 2, 50)}
ADVERSARIAL = 0.003          # the weight of fooling the discriminator
HELD_OUT = 1000


def main() -> dict[str, float]:
    """Restore held-out pictures; returns PSNR and SSIM of each task and the losses of training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/restore_images", help="folder for the pictures")
    args = parser.parse_args()

    found: dict[str, float] = {}
    for task in args.task:
        restore(task, found, args)
    return found


def restore(task, found, args):
    """One task: its figures into `found`, its picture into the folder."""
    data, damage, width, depth, epochs, size = (QUICK if args.quick else TASKS)[task]
    epochs = args.epochs or epochs
    train_set, originals = pictures(data)
    damaged = damage(originals, np.random.default_rng(args.seed))     # (N, C or C + 1, H, W)
    for name, images in without_learning(task, damaged, train_set).items():
        measure(found, name, images, originals, damaged)
    loader = DataLoader(Damaged(train_set, damage), size, shuffle=True, drop_last=True,
                        seed=args.seed)
    shown = [damaged[:, :originals.shape[1]]]

    def learn(model, name, epochs):
        losses = fit(model, loader, epochs, args.seed)
        found.update({f"{name} first loss": losses[0], f"{name} last loss": losses[-1]})
        shown.append(model.restore(damaged))
        measure(found, name, shown[-1], originals, damaged)

    tg.manual_seed(args.seed)
    sizes = {"image_shape": originals.shape[1:], "width": width, "depth": depth}
    model = (Inpainter if task == "inpaint" else Restorer)(**sizes)
    learn(model, task, epochs)
    if task == "inpaint":
        judged = Inpainter(**sizes, adversarial=ADVERSARIAL)
        judged.network.load_state_dict(model.network.state_dict())    # it learns on from there
        learn(judged, "inpaint gan", max(epochs // 2, 1))
    save(Path(args.out) / f"{task}.png", [*shown, originals])


def pictures(name):
    """Pictures to train on, and those held out: (N, C, H, W) in [0, 1]."""
    if name == "celeba":
        train_set = CelebA(train=True, transform=RandomHorizontalFlip())
        test_set = CelebA(train=False)
    else:
        size = 16 if name == "digits" else None
        train_set, test_set = load(name, size=size), load(name, train=False, size=size)
    return train_set, test_set.images[:HELD_OUT] / np.float32(255)


def fit(model, loader, epochs, seed):
    """Train; the learning rate rises for 50 steps and falls to 0. The mean loss of each epoch."""
    steps = epochs * len(loader)
    optimizers = model.configure_optimizers(2e-3)
    trainer = Trainer(model, loader, epochs=epochs, optimizers=optimizers, seed=seed, samples=0,
                      schedulers={name: WarmupCosine(o, min(50, steps // 4), steps)
                                  for name, o in optimizers.items()},
                      schedule_per="step", log_every=len(loader))
    return [row["loss"] for row in trainer.fit()]


def without_learning(task, damaged, train_set):
    """What needs no model, or little: name -> pictures (N, C, H, W) in [0, 1]."""
    if task == "upscale":
        return {"bicubic": damaged}
    if task == "inpaint":
        picture, mask = damaged[:, :-1], damaged[:, -1:]
        mean = (train_set.images.mean(axis=0) / 255).astype(np.float32)             # (C, H, W)
        return {"mean colour": picture, "mean picture": np.where(mask == 1, mean, picture)}
    from scipy.ndimage import gaussian_filter, median_filter

    clean = train_set.images[:500] / np.float32(255)
    noisy = GaussianNoise(0.2)(clean, np.random.default_rng(0))
    best = {"noisy": damaged}
    for name, filtered, widths in (
            ("median", lambda x, n: median_filter(x, (1, 1, n, n)), (3, 5)),
            ("gaussian", lambda x, s: gaussian_filter(x, (0, 0, s, s)), np.arange(0.4, 1.5, 0.1))):
        width = max(widths, key=lambda w: psnr(np.clip(filtered(noisy, w), 0, 1), clean).mean())
        print(f"{name} filter: width {width:.2g} does best on training pictures")
        best[name] = filtered(damaged, width)
    return best


def measure(found, name, images, originals, damaged):
    """PSNR and SSIM of whole pictures, and of holes where there is a mask; printed and kept."""
    parts = {"": (np.clip(images, 0, 1), originals)}
    if damaged.shape[1] > originals.shape[1]:
        holes = damaged[:, -1] == 1                                                 # (N, H, W)
        side = int(holes[0].any(axis=1).sum())
        parts[" hole"] = tuple(np.stack([x[:, m].reshape(-1, side, side) for x, m in
                                         zip(whole, holes)]) for whole in parts[""])
    for where, (made, wanted) in parts.items():
        window = min(11, made.shape[-1] - 1 + made.shape[-1] % 2)                   # odd
        found[f"{name}{where} psnr"] = float(psnr(made, wanted).mean())
        found[f"{name}{where} ssim"] = float(ssim(made, wanted, window=window).mean())
        print(f"{name}{where}: {found[f'{name}{where} psnr']:.2f} dB, "
              f"SSIM {found[f'{name}{where} ssim']:.3f}")


def save(path, rows):
    """The first pictures of each batch, a row each."""
    count = 12
    save_grid(np.concatenate([np.clip(row[:count], 0, 1) for row in rows]), path, cols=count,
              scale=max(56 // rows[0].shape[-1], 1))
    print(f"pictures, damaged at the top, originals at the bottom: {path}")


if __name__ == "__main__":
    main()
