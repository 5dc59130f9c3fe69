"""A photo painted anew: the pixels are changed until their textures are those of a painting.

    python examples/style_transfer.py           # by van Gogh and Munch (pictures: TINYGEN_DATA)
    python examples/style_transfer.py --photo me.jpg --painting style/shipwreck.jpg
    python examples/style_transfer.py --quick   # drawn discs in the style of stripes, seconds

What is a style? The statistics of what goes with what: the Gram matrices of a network's feature
maps, which forget where anything is. What is content? The maps themselves, at a deeper stage. No
trained network is taken from elsewhere: one learns here to tell which part of which picture a small
patch is from. That needs no labels, and is decided by textures, which is what is wanted of it.

Then Adam changes the photo, pixel by pixel. A network that paints at once what is sought here step
by step is in style_network.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import draw_pictures, load_picture, luminance
from tinygen.metrics import ssim
from tinygen.models import StyleObjective, TextureNetwork, learn_textures, optimise_picture
from tinygen.viz import image_grid, save_jpeg

PHOTOS = ["content/astronaut.png", "content/chelsea.png", "content/coffee.png",
          "content/rocket.jpg", "content/china.jpg", "content/flower.jpg"]
PAINTINGS = ["style/starry_night_google.jpg", "style/the_scream.jpg", "style/shipwreck.jpg"]
PAIRS = [("content/chelsea.png", PAINTINGS[0]), ("content/coffee.png", PAINTINGS[1])]


def main() -> dict[str, float]:
    """Learn features, paint each pair's photo, print and return how far each loss fell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="drawn pictures, a few seconds")
    parser.add_argument("--photo", help="a known picture or a file; with --painting")
    parser.add_argument("--painting", help="a known picture or a file")
    parser.add_argument("--steps", type=int, help="of the optimisation (default 150)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/style_transfer", help="folder for the pictures")
    args = parser.parse_args()

    steps = args.steps or (20 if args.quick else 150)
    tg.manual_seed(args.seed)
    if args.quick:
        photos, painting = draw_pictures(48, 64, args.seed)
        jobs = [("discs", photos[0], painting)]
        options = {"steps": 30, "size": 16, "channels": (8, 16, 16), "seed": args.seed}
        sources = [*photos, painting]
    else:
        pairs = [(args.photo or PHOTOS[1], args.painting or PAINTINGS[0])]
        pairs = pairs if args.photo or args.painting else PAIRS
        jobs = [(Path(p).stem, load_picture(p, 200, 256), load_picture(s, 400, 512))
                for p, s in pairs]                            # (3, H, W) each
        options = {"steps": 450, "seed": args.seed}
        sources = [load_picture(name, 300, 400) for name in PHOTOS + PAINTINGS]
    network, accuracy = learn_textures(sources, **options)
    print(f"features: {accuracy:.1%} of the patches assigned to the right one of "
          f"{network.num_classes} parts (chance: {1 / network.num_classes:.1%})")

    found: dict[str, float] = {}
    for name, photo, painting in jobs:
        found |= paint(name, photo, painting, network, steps, Path(args.out))
    found["least_fall"] = min(v for k, v in found.items() if k.endswith("_fall"))
    found["least_ssim"] = min(v for k, v in found.items() if k.endswith("_ssim"))
    return found


def paint(name: str, photo: np.ndarray, painting: np.ndarray, network: TextureNetwork,
          steps: int, out: Path) -> dict[str, float]:
    """Optimise one photo; prints the losses on the way, saves before and after side by side."""
    content, style = tg.Tensor(photo[None]), tg.Tensor(painting[None])        # (1, 3, H, W)
    objective = StyleObjective(network, style, content_weight=4.0, smooth_weight=10.0)
    picture, history = optimise_picture(content, objective, steps)
    for step in range(0, steps + 1, max(1, steps // 5)):
        print(f"{name}, step {step}: " + ", ".join(f"{k} {v:.4f}"
                                                   for k, v in history[step].items()))
    wanted, got = (objective.content_of(x).numpy().ravel() for x in (content, picture))
    found = {"style_before": history[0]["style"], "style_after": history[-1]["style"],
             "fall": history[0]["style"] / history[-1]["style"],
             "correlation": float(np.corrcoef(wanted, got)[0, 1]),
             "ssim": float(ssim(luminance(picture)[0], luminance(photo)))}
    print(f"{name}: style loss {found['style_before']:.3f} -> {found['style_after']:.4f} "
          f"({found['fall']:.1f} times less); content: features correlate "
          f"{found['correlation']:.2f}, SSIM of brightness {found['ssim']:.2f}")
    save_jpeg(image_grid(np.stack([photo, picture.numpy()[0]]), rows=1, scale=1),
              out / f"{name}.jpg")
    return {f"{name}_{key}": value for key, value in found.items()}


if __name__ == "__main__":
    main()
