"""CycleGAN: photos into paintings and back, learnt without a single pair.

    python examples/cycle_gan.py            # photos <-> the Starry Night (TINYGEN_DATA)
    python examples/cycle_gan.py --quick    # drawn discs <-> stripes, seconds

Nobody has painted these photos, so there is no answer to compare a translation with. Two
discriminators say whether a patch looks like one of the other kind; that there and back again has
to lead to the same pixels says that it must still show the same thing. Whether textures have come
nearer is measured by features that know nothing of the translators: the Gram distance of translated
patches to those of the other kind, beside that of untranslated ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import (
    DataLoader,
    PicturePatches,
    UnpairedPatches,
    draw_pictures,
    load_picture,
    luminance,
)
from tinygen.metrics import ssim
from tinygen.models import CycleGAN, TextureNetwork, gram_matrix, learn_textures
from tinygen.optim.lr_scheduler import LambdaLR
from tinygen.train import Trainer
from tinygen.viz import image_grid, save_grid, save_jpeg

PHOTOS = ["content/astronaut.png", "content/chelsea.png", "content/coffee.png",
          "content/rocket.jpg", "content/china.jpg", "content/flower.jpg"]
PAINTING = "style/starry_night_google.jpg"
SHOWN = slice(1, 4)           # the photos whose licence lets them be shown here without a word


def main() -> dict[str, float]:
    """Train, measure on patches drawn afresh, save translated pictures; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="drawn pictures, a few seconds")
    parser.add_argument("--steps", type=int, help="default 700")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/cycle_gan", help="folder for the pictures")
    args = parser.parse_args()

    tg.manual_seed(args.seed)
    if args.quick:
        photos, painting = draw_pictures(48, 64, args.seed)                   # (3, H, W) each
        paintings, side, width, steps, texture = [painting], 16, 4, args.steps or 60, 30
        channels: tuple[int, ...] = (8, 16, 16)
    else:
        photos = [load_picture(name, 200, 256) for name in PHOTOS]
        paintings = [load_picture(PAINTING, 320, 400)]
        side, width, steps, texture, channels = 64, 16, args.steps or 700, 450, (32, 64, 128, 128)
    network, _ = learn_textures([*photos, *paintings], texture, size=min(side, 32),
                                channels=channels, seed=args.seed)
    model = CycleGAN((3, side, side), width=width, blocks=1 if args.quick else 4)
    found = train(model, photos, paintings, steps, args.seed)

    real_a, real_b = (PicturePatches(p, side, 64).batch(np.arange(64), np.random.default_rng(1))[0]
                      for p in (photos, paintings))                           # (64, 3, s, s) each
    found |= {k: v.item() for k, v in model.evaluate(real_a, real_b).items()}
    fake_b, fake_a = model.translate(real_a), model.translate(real_b, back=True)
    for name, untouched, fake, real in (("painting", real_a, fake_b, real_b),
                                        ("photo", real_b, fake_a, real_a)):
        before, after = (distance(network, x, real) for x in (untouched, fake))
        kept = float(ssim(luminance(fake)[:, None], luminance(untouched)[:, None]).mean())
        found |= {f"{name}_before": before, f"{name}_after": after, f"{name}_ssim": kept}
        print(f"as {name}s: Gram distance to real ones {before:.3f} -> {after:.3f}; SSIM to the "
              f"original {kept:.2f}")
    print(f"there and back: pixels off by {found['cycle_a']:.3f} for photos, "
          f"{found['cycle_b']:.3f} for paintings, of 1")
    out = Path(args.out)
    rows = [half for fakes, reals in ((fake_b.numpy(), real_a), (fake_a.numpy(), real_b))
            for half in (reals[:12], fakes[:12])]
    save_grid(np.concatenate(rows), out / "patches.png", cols=12, scale=1)
    shown = np.stack(photos[SHOWN])                                           # (n, 3, H, W)
    save_jpeg(image_grid(np.concatenate([shown, model.translate(shown).numpy()]), rows=2, scale=1),
              out / "photos.jpg", quality=85)
    painting = np.stack(paintings)
    save_jpeg(image_grid(np.concatenate([painting, model.translate(painting, back=True).numpy()]),
                         rows=1, scale=1), out / "painting.jpg", quality=85)
    return found


def train(model: CycleGAN, photos: list[np.ndarray], paintings: list[np.ndarray], steps: int,
          seed: int) -> dict[str, float]:
    """Learn from four patches of each kind a step; the rate falls to 0 in the second half."""
    side, batch = model.image_shape[-1], 4
    patches = UnpairedPatches(*(PicturePatches(p, side, steps * batch)
                                for p in (photos, paintings)))
    optimizers = model.configure_optimizers(lr=1e-3 if side < 32 else 3e-4)
    schedules = {name: LambdaLR(o, lambda i: min(1.0, 2 - 2 * i / steps))
                 for name, o in optimizers.items()}
    rows = Trainer(model, DataLoader(patches, batch, seed=seed), steps=steps, optimizers=optimizers,
                   schedulers=schedules, schedule_per="step", seed=seed, samples=0,
                   log_every=max(1, steps // 12), progress=False).fit()
    for row in rows:
        print(", ".join(f"{k} {v:.3f}" if k != "step" else f"step {v}" for k, v in row.items()
                        if k != "epoch"))
    return {f"cycle_loss_{when}": row["cycle"] for when, row in (("first", rows[0]),
                                                                ("last", rows[-1]))}


def distance(network: TextureNetwork, patches: object, others: object) -> float:
    """How far the mean Gram matrices of two sets are apart, relative to the second's."""
    with tg.no_grad():
        network.eval()
        ours, theirs = ([gram_matrix(m).mean(axis=0).numpy()
                         for m in network.maps(tg.asarray(x))]
                        for x in (patches, others))
    return float(np.mean([((a - b) ** 2).sum() / (b ** 2).sum() for a, b in zip(ours, theirs)]))


if __name__ == "__main__":
    main()
