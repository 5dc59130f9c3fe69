"""A picture in words: a convolutional network looks, a transformer writes, attending to regions.

    python examples/caption_images.py           # Fashion-MNIST scenes, Flickr8k mini
    python examples/caption_images.py --quick   # scenes of the bundled digits, a few seconds

A scene shows one to three garments that differ in size, grey level and place, and its caption says
all of that, so that a caption can be read back and compared with the scene, fact by fact. Held-out
scenes are made of test garments. The photographs are 400, with five captions each: too few to learn
what the world looks like; captions of held-out ones are printed to show how far that goes. Both
data sets are read from the folder that TINYGEN_DATA names.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
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
    Scenes,
    digit_scenes,
    fashion_scenes,
    read_scene,
)
from tinygen.data.catalog import licence_of
from tinygen.models import Captioner
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.provenance import Provenance, stamp
from tinygen.text import WordTokenizer
from tinygen.viz import overlay_attention, save_panels


def main() -> dict[str, float]:
    """Train on scenes and on photographs, caption held-out ones, return all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/caption_images", help="folder for the picture")
    args = parser.parse_args()
    if args.quick:
        test = digit_scenes(100, False, args.seed)
        model, tokenizer, figures = learn(digit_scenes(1920, seed=args.seed), test, 5, 64, 3e-3,
                                          args.seed, width=32, heads=2, channels=(16, 32))
        return figures | judge(model, tokenizer, test)[0]

    augment = Compose([RandomHorizontalFlip(), RandomShift(0.1, 0.1)])
    photographs = Flickr8kMini(transform=augment), Flickr8kMini(train=False)
    test = fashion_scenes(1000, train=False, seed=args.seed)
    model, tokenizer, figures = learn(fashion_scenes(24_000, seed=args.seed), test, 4, 128, 2e-3,
                                      args.seed)
    found, written = judge(model, tokenizer, test)
    draw(model, tokenizer, test, written, Path(args.out) / "captions.png", args.seed)

    model, tokenizer, flickr = learn(*photographs, 60, 50, 1e-3, args.seed, dropout=0.2)
    describe(model, tokenizer, *photographs)
    return figures | found | {f"flickr {name}": value for name, value in flickr.items()}


def learn(train: CaptionedImages, test: CaptionedImages, epochs: int, batch: int, lr: float,
          seed: int, **sizes: Any) -> tuple[Captioner, WordTokenizer, dict[str, float]]:
    """A model of `train`, its words, and its loss in nats per word, also on `test`."""
    tg.manual_seed(seed)
    tokenizer = WordTokenizer(min_freq=3).fit(train.texts)
    train.tokenize(tokenizer, 24)
    test.tokenize(tokenizer, 24)                                              # (M, L)
    print(f"{train!r}, {len(tokenizer)} words; {test!r} held out", flush=True)

    model = Captioner(train.image_shape, len(tokenizer), bos=tokenizer.bos_id,
                      eos=tokenizer.eos_id, longest=24, **sizes)
    loader = DataLoader(train, batch, shuffle=True, drop_last=True, seed=seed)
    optimizers = model.configure_optimizers(lr)
    schedule = WarmupCosine(optimizers["model"], len(loader) // 4, epochs * len(loader))
    losses: list[float] = []
    for epoch in range(epochs):
        for images, tokens, groups in loader:              # (N, C, H, W), (N, L), (N,)
            losses.append(model.training_step(images, tokens, groups, optimizers)["loss"].item())
            schedule.step()
        if (epoch + 1) % -(-epochs // 6) == 0:
            print(f"  epoch {epoch + 1}: {np.mean(losses[-len(loader):]):.3f} nats per word",
                  flush=True)
    held_out = np.mean([model.evaluate(*part[:2])["loss"].item() for part in DataLoader(test, 100)])
    print(f"  held out: {held_out:.3f} nats per word", flush=True)
    return model, tokenizer, {"first loss": losses[0], "last loss": losses[-1],
                              "held-out loss": float(held_out)}


def judge(model: Captioner, tokenizer: WordTokenizer, test: Scenes,
          ) -> tuple[dict[str, float], np.ndarray]:
    """The shares of captions, things and facts that are right, and the captions (N, T)."""
    written = model.write(test.pictures())                                    # (N, T)
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for i, (tokens, scene) in enumerate(zip(written, test.scenes, strict=True)):
        text = tokenizer.decode(tokens)
        said = read_scene(text)
        for name in ("exact", f"exact of {len(scene.things)}"):
            right[name], total[name] = right[name] + (said == scene), total[name] + 1
        things = Counter(said.things if said else ())
        for name, key in (("things", tuple), ("nouns", lambda t: t.noun),
                          ("sizes and shades", lambda t: t[:2])):
            kinds = (Counter(map(key, part)) for part in (things.elements(), scene.things))
            right[name] += (next(kinds) & next(kinds)).total()     # wherever they are said to be
            total[name] += len(scene.things)
        right["layout"] += said is not None and said.layout == scene.layout
        total["layout"] += 1
        if i < 8:
            print(f"    {'right' if said == scene else 'WRONG'}: {text}"
                  + ("" if said == scene else f"  (it is {scene.captions()[0]})"))
    shares = {name: right[name] / total[name] for name in sorted(total)}
    print("  right: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return shares, written


def draw(model: Captioner, tokenizer: WordTokenizer, test: Scenes, written: np.ndarray, path: Path,
         seed: int) -> None:
    """Three scenes with the captions written, and where the model looks to write each noun."""
    drawers = []
    for i in [i for i, scene in enumerate(test.scenes) if len(scene.things) == 3][:3]:
        said, picture = tokenizer.decode(written[i]), test.images[i, 0]
        drawers.append(partial(overlay_attention, picture=picture, title=said))
        maps = model.attention(test.pictures()[i:i + 1], written[i:i + 1])[0]   # (T - 1, R)
        words = said.split()
        for p in range(1, len(words)):
            if words[p - 1] in ("light", "dark"):                             # a noun follows
                drawers.append(partial(overlay_attention, picture=picture, title=words[p],
                                       weights=maps[p].reshape(model.images.grid)))
    save_panels(drawers, path, columns=4, size=(2.2, 2.4))
    stamp(path, Provenance(model.name, seed, f"as its data: {licence_of('fashion-mnist')}",
                           data="fashion-mnist"))
    print(path)


def describe(model: Captioner, tokenizer: WordTokenizer, train: CaptionedImages,
             test: CaptionedImages) -> None:
    """Print captions of eight held-out photographs, and whether they were learnt by heart."""
    known = {tokenizer.decode(tokens) for tokens in train.tokens}
    for i, tokens in enumerate(model.write(
            test.pictures()[:8], beams=4, never=[tokenizer.unk_id])):
        text = tokenizer.decode(tokens)
        print(f"    {text}{' (a training caption)' if text in known else ''}"
              f"   # people say: {test.captions[i][0]}")


if __name__ == "__main__":
    main()
