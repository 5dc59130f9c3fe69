"""Which caption belongs to which picture? Two towers search, cross-attention looks again.

    python examples/match_images_text.py           # Fashion-MNIST scenes, Flickr8k mini
    python examples/match_images_text.py --quick   # scenes of the bundled digits, a few seconds

A scene shows one to three garments: "a large dark coat above a small light sandal and a small light
bag". One network turns pictures into vectors, another one texts, and what belongs together learns
to point the same way; so a search among thousands is one product of two matrices. For the likeliest
pairs the words then attend to the regions of the picture, which is slower and sees more. Held-out
scenes are made of test garments. Captions say all that was chosen for a scene, so those of another
scene with the same choices are right too, and all others are wrong. Both data sets are read from
the folder that TINYGEN_DATA names.
"""

from __future__ import annotations

import argparse
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import (
    CaptionedImages,
    Compose,
    DataLoader,
    Flickr8kMini,
    RandomHorizontalFlip,
    RandomShift,
    digit_scenes,
    fashion_scenes,
)
from tinygen.data.catalog import licence_of
from tinygen.metrics import retrieval_ranks, retrieval_recall
from tinygen.models import ImageTextMatcher
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.provenance import Provenance, stamp
from tinygen.text import WordTokenizer
from tinygen.viz import overlay_attention, save_panels


def main() -> dict[str, float]:
    """Train on scenes and on photographs, search among held-out ones, return all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/match_images_text", help="folder for the picture")
    args = parser.parse_args()
    if args.quick:
        scenes = digit_scenes(1920, seed=args.seed), digit_scenes(100, False, seed=args.seed)
        return learn(*scenes, 3, 64, 3e-3, args.seed, width=32, dim=32, heads=2,
                     channels=(16, 32))[1]

    augment = Compose([RandomHorizontalFlip(), RandomShift(0.1, 0.1)])
    photographs = Flickr8kMini(transform=augment), Flickr8kMini(train=False)
    test = fashion_scenes(1000, train=False, seed=args.seed)
    model, figures = learn(fashion_scenes(24_000, seed=args.seed), test, 4, 128, 2e-3, args.seed)
    draw(model, test, Path(args.out) / "attention.png", args.seed)
    _, found = learn(*photographs, 40, 100, 5e-4, args.seed, dropout=0.2)
    return figures | {f"flickr {name}": value for name, value in found.items()}


def learn(train: CaptionedImages, test: CaptionedImages, epochs: int, batch: int, lr: float,
          seed: int, **sizes: Any) -> tuple[ImageTextMatcher, dict[str, float]]:
    """A model of `train`, and what it finds in `test`."""
    tg.manual_seed(seed)
    tokenizer = WordTokenizer(min_freq=3).fit(train.texts)
    train.tokenize(tokenizer, 24)
    test.tokenize(tokenizer, 24)                                              # (M, L)
    print(f"{train!r}, {len(tokenizer)} words; {test!r} held out", flush=True)

    model = ImageTextMatcher(train.image_shape, len(tokenizer), mask=tokenizer.mask_id, **sizes)
    loader = DataLoader(train, batch, shuffle=True, drop_last=True, seed=seed)
    optimizers = model.configure_optimizers(lr)
    schedule = WarmupCosine(optimizers["model"], len(loader) // 4, epochs * len(loader))
    losses: list[dict[str, float]] = []
    for epoch in range(epochs):
        for images, tokens, groups in loader:              # (N, C, H, W), (N, L), (N,)
            step = model.training_step(images, tokens, groups, optimizers)
            schedule.step()
            losses.append({name: value.item() for name, value in step.items()})
        if (epoch + 1) % -(-epochs // 6) == 0:
            print(f"  epoch {epoch + 1}: " + ", ".join(
                f"{name} {np.mean([part[name] for part in losses[-len(loader):]]):.3f}"
                for name in losses[0]), flush=True)
    return model, search(model, test) | {"first loss": losses[0]["loss"],
                                         "last loss": losses[-1]["loss"]}


def search(model: ImageTextMatcher, test: CaptionedImages) -> dict[str, float]:
    """Recall@1 and @5, captions for pictures and back, by the towers and after looking again."""
    images, right = test.pictures(), test.right()                             # right: (N, M)
    towers = model.similarity(images, test.tokens)                            # (N, M)
    ways = {"towers": towers, "reranked": model.rerank(images, test.tokens, towers, k=16)}
    figures: dict[str, float] = {}
    for name, truth, turn in (("captions", right, False), ("pictures", right.T, True)):
        count = truth.sum(axis=1)                                             # right ones, each
        print(f"  {len(truth)} searches among {truth.shape[1]} {name}, {count.mean():.1f} of them "
              "right on average")
        for k in (1, 5):
            figures[f"chance {name}@{k}"] = float(np.mean(
                [1 - comb(truth.shape[1] - n, k) / comb(truth.shape[1], k) for n in count]))
        for way, scores in ways.items():
            scores = scores.T if turn else scores
            for k in (1, 5):
                figures[f"{way} {name}@{k}"] = float(retrieval_recall(scores, truth, k).mean())
            print(f"    {way:8} recall@1 {figures[f'{way} {name}@1']:.1%} (chance "
                  f"{figures[f'chance {name}@1']:.1%}), @5 {figures[f'{way} {name}@5']:.1%} "
                  f"({figures[f'chance {name}@5']:.1%}), median rank "
                  f"{np.median(retrieval_ranks(scores, truth)):.0f}", flush=True)
    return figures


def draw(model: ImageTextMatcher, test: Any, path: Path, seed: int) -> None:
    """Three scenes with their captions, and where each noun looks."""
    drawers = []
    for i in [i for i, scene in enumerate(test.scenes) if scene.layout == "tip"][:3]:
        caption, picture = test.captions[i][0], test.images[i, 0]
        tokens = test.tokens[test.owners == i][:1]                            # (1, L)
        maps = model.attention(test.pictures()[i:i + 1], tokens)[0]           # (L, R)
        drawers.append(partial(overlay_attention, picture=picture, title=caption))
        nouns = [thing.noun.split()[-1] for thing in test.scenes[i].things]
        places = [p for p, word in enumerate(caption.split(), start=1) if word in nouns]
        for noun, p in zip(nouns, places, strict=True):                       # 0 is <bos>
            drawers.append(partial(overlay_attention, picture=picture, title=noun,
                                   weights=maps[p].reshape(model.images.grid)))
    save_panels(drawers, path, columns=4, size=(2.2, 2.4))
    stamp(path, Provenance(model.name, seed, f"as its data: {licence_of('fashion-mnist')}",
                           data="fashion-mnist"))
    print(path)


if __name__ == "__main__":
    main()
