"""A network that paints in one pass: what style_transfer.py seeks step by step, learnt for good.

    python examples/style_network.py            # photos by van Gogh; the cat was never seen
    python examples/style_network.py --quick    # drawn discs in the style of stripes, seconds

The losses are the same, content and style by features that were learnt here. But it is no longer
the pixels of one photo that change: the weights of a network do, on random crops of five photos,
until it has learnt to lower the loss of any of them. A sixth photo, which neither this network nor
that of the features has seen, is then painted both ways, and time and losses are compared.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, PicturePatches, draw_pictures, load_picture, luminance
from tinygen.metrics import ssim
from tinygen.models import StyleNetwork, StyleObjective, learn_textures, optimise_picture
from tinygen.optim.lr_scheduler import LinearLR
from tinygen.train import Trainer
from tinygen.viz import image_grid, save_jpeg

HELD_OUT = "content/chelsea.png"
PHOTOS = ["content/astronaut.png", "content/coffee.png", "content/rocket.jpg", "content/china.jpg",
          "content/flower.jpg"]
PAINTING = "style/starry_night_google.jpg"


def main() -> dict[str, float]:
    """Learn features, then the network, then compare on a photo held out; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="drawn pictures, a few seconds")
    parser.add_argument("--photo", default=HELD_OUT, help="a known picture or a file")
    parser.add_argument("--steps", type=int, help="of the network's training (default 1,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/style_network", help="folder for the pictures")
    args = parser.parse_args()

    tg.manual_seed(args.seed)
    if args.quick:
        (held_out, *photos), painting = draw_pictures(48, 64, args.seed)      # (3, H, W) each
        network, _ = learn_textures([*photos, painting], 30, size=16, channels=(8, 16, 16))
        crop, batch, steps, width, search = 32, 2, args.steps or 40, 4, 15
    else:
        photos = [load_picture(name, 240, 320) for name in PHOTOS]
        held_out, painting = load_picture(args.photo, 200, 256), load_picture(PAINTING, 400, 512)
        network, accuracy = learn_textures([*photos, load_picture(PAINTING, 300, 400)], 450,
                                           seed=args.seed)
        print(f"features: {accuracy:.1%} of the patches assigned to the right one of "
              f"{network.num_classes} parts (chance: {1 / network.num_classes:.1%})")
        crop, batch, steps, width, search = 96, 4, args.steps or 1000, 16, 150
    # Content is compared at an earlier stage than in style_transfer.py: the network learns sooner
    # to keep it (after 80 steps the content loss is 0.87, at the later stage still 1.1).
    objective = StyleObjective(network, tg.Tensor(painting[None]), content_stage=1,
                               content_weight=8.0, smooth_weight=10.0)
    painter = StyleNetwork((3, crop, crop), width=width)
    first, last = train(painter, objective, photos, crop, batch, steps, args.seed)
    found = {"loss_at_first": first, "loss_at_last": last}

    content = tg.Tensor(held_out[None])                                       # (1, 3, H, W)
    start = time.process_time()
    at_once = painter.stylise(content)
    middle = time.process_time()
    searched, _ = optimise_picture(content, objective, search)
    found |= {"seconds_network": middle - start,
              "seconds_optimisation": time.process_time() - middle}
    found["times_faster"] = found["seconds_optimisation"] / found["seconds_network"]
    wanted = objective.content_of(content)
    for name, picture in (("photo", content), ("network", at_once), ("optimisation", searched)):
        with tg.no_grad():
            losses = objective(picture, wanted)
        found |= {f"{k}_{name}": losses[k].item() for k in ("loss", "content", "style")}
        found[f"ssim_{name}"] = float(ssim(luminance(picture)[0], luminance(held_out)))
        print(f"{name:12} loss {losses['loss'].item():.3f}: content {losses['content'].item():.3f},"
              f" style {losses['style'].item():.4f}; SSIM {found[f'ssim_{name}']:.2f}")
    found["fall"] = found["style_photo"] / found["style_network"]
    print(f"network: style loss {found['fall']:.1f} times less, in {found['seconds_network']:.3f} s"
          f" of CPU time; optimisation: {found['seconds_optimisation']:.1f} s, "
          f"{found['times_faster']:.0f} times as long")
    save_jpeg(image_grid(np.concatenate([x.numpy() for x in (content, at_once, searched)]),
                         rows=1, scale=1), Path(args.out) / "held-out.jpg")
    painted = np.concatenate([np.stack(photos[:3]), painter.stylise(np.stack(photos[:3])).numpy()])
    save_jpeg(image_grid(painted, rows=2, scale=1), Path(args.out) / "training-photos.jpg")
    return found


def train(painter: StyleNetwork, objective: StyleObjective, photos: list[np.ndarray], crop: int,
          batch: int, steps: int, seed: int) -> tuple[float, float]:
    """Lower the objective on crops of the photos; the loss over the first and last 5% of steps."""
    painter.objective = objective
    loader = DataLoader(PicturePatches(photos, crop, steps * batch), batch, seed=seed)
    optimizers = painter.configure_optimizers(lr=3e-3)
    schedule = LinearLR(optimizers["model"], 1.0, 0.05, total_iters=steps)
    every = max(1, steps // 20)
    rows = Trainer(painter, loader, steps=steps, optimizers=optimizers, schedulers=schedule,
                   schedule_per="step", seed=seed, samples=0, log_every=every,
                   progress=False).fit()
    for row in rows[::5] + rows[-1:]:
        print(f"step {row['step']}: loss {row['loss']:.3f}, content {row['content']:.3f}, "
              f"style {row['style']:.4f}")
    return rows[0]["loss"], rows[-1]["loss"]


if __name__ == "__main__":
    main()
