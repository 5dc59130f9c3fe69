"""Few labels: what do turned copies, and what do generated pictures, add to a classifier?

    python examples/augment.py             # Fashion-MNIST, 20 labels a class, 5 draws of them
    python examples/augment.py --quick     # the bundled digits, 5 labels a class, a few seconds

The same classifier learns, for the same number of steps, from
- plain: the labelled pictures as they are;
- transforms: a new copy each time, mirrored and moved by a pixel (digits: turned and moved);
- generated: half of each batch drawn by a conditional VAE that saw the same labelled pictures only;
- semi-supervised: the same, by a VAE that also saw 20,000 unlabelled pictures, under the labels
  that the classifier of "plain" gives them.
Each draw of labelled pictures goes through all four, so that differences are taken in pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen.data import (
    Compose,
    ImageDataset,
    RandomAffine,
    RandomHorizontalFlip,
    RandomShift,
    few_labels,
    load,
)
from tinygen.models import VAE, Classifier
from tinygen.optim.lr_scheduler import CosineAnnealingLR
from tinygen.viz import save_grid

Batch = tuple[np.ndarray, np.ndarray]                   # images (N, 1, H, W) in [0, 1], labels (N,)
Draw = Callable[[int], Batch]                           # a batch of so many
ARMS = ("plain", "transforms", "generated", "semi-supervised")


def main() -> dict[str, float]:
    """Print and return the mean accuracy of each arm, its deviation and its gain over plain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--draws", type=int, help="draws of labelled pictures (5; quick: 1)")
    parser.add_argument("--labels", type=int, help="labelled pictures a class (20; quick: 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/augment", help="folder for the picture")
    args = parser.parse_args()

    name = "digits" if args.quick else "fashion-mnist"
    train, test = load(name), load(name, train=False)
    runs: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for draw in range(args.draws or (1 if args.quick else 5)):
        labelled = few_labels(train.labels, args.labels or (5 if args.quick else 20),
                              args.seed + draw)                               # (labels,)
        found, pictures = one_draw(train, test, labelled, args.quick, args.seed + draw)
        for arm, accuracy in found.items():
            runs[arm].append(accuracy)
        print(f"draw {draw}: " + ", ".join(f"{k} {v:.2%}" for k, v in found.items()), flush=True)
        if draw == 0:
            save_grid(pictures, Path(args.out) / "augment.png", cols=20, scale=2)
    return report(runs)


def report(runs: dict[str, list[float]]) -> dict[str, float]:
    """Means, deviations between draws, and the gains in pairs with their standard errors."""
    figures: dict[str, float] = {}
    for arm, values in runs.items():
        gains, many = np.array(values) - runs["plain"], len(values) > 1
        figures |= {arm: float(np.mean(values)), f"{arm} gain": float(gains.mean())}
        if many:
            figures[f"{arm} deviation"] = float(np.std(values, ddof=1))
            figures[f"{arm} gain error"] = float(gains.std(ddof=1) / np.sqrt(len(gains)))
        print(f"{arm:16}{figures[arm]:.2%}" + (
            f" (deviation {figures[f'{arm} deviation']:.2%}), gain {figures[f'{arm} gain']:+.2%} "
            f"+- {figures[f'{arm} gain error']:.2%}" if many else ""))
    return figures


def one_draw(train: ImageDataset, test: ImageDataset, labelled: np.ndarray, quick: bool,
             seed: int) -> tuple[dict[str, float], np.ndarray]:
    """The accuracy of each arm on the test pictures; a row of what each arm is shown."""
    rng = np.random.default_rng(seed)
    change = RandomAffine(degrees=10, translate=(0.1, 0.1)) if quick else Compose(
        [RandomHorizontalFlip(), RandomShift(1, 1, fill="constant")])

    def real(n: int) -> Batch:
        chosen = rng.choice(labelled, n)
        return train.images[chosen] / np.float32(255), train.labels[chosen]

    def changed(n: int) -> Batch:
        images, labels = real(n)
        return change(images, rng), labels

    def with_samples(draw: Draw, vae: VAE) -> Draw:
        def half_and_half(n: int) -> Batch:
            labels = rng.integers(0, train.num_classes, n // 2)
            images = vae.generate(vae.noise(n // 2), labels).numpy()          # (n/2, 1, H, W)
            first, second = draw(n - n // 2), (images, labels)
            return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
        return half_and_half

    def guessed(classifier: Classifier) -> Draw:
        rows = rng.permutation(len(train))[:20_000]
        images = train.images[rows] / np.float32(255)                         # (N, 1, H, W)
        labels = np.where(np.isin(rows, labelled), train.labels[rows], predict(classifier, images))

        def anything(n: int) -> Batch:
            chosen = rng.integers(0, len(images), n)
            return images[chosen], labels[chosen]
        return anything

    classifiers: dict[str, Classifier] = {}
    found, shown = {}, []
    for arm in ARMS:
        if arm == "plain":
            draw: Draw = real
        elif arm == "transforms":
            draw = changed
        elif arm == "generated":
            draw = with_samples(real, learn_vae(train, real, 300 if quick else 600, seed))
        else:
            anything = guessed(classifiers["plain"])
            draw = with_samples(real, learn_vae(train, anything, 600 if quick else 1200, seed))
        classifiers[arm] = model = learn_classifier(train, draw, 150 if quick else 500, seed)
        found[arm] = float((predict(model, test.images / np.float32(255)) == test.labels).mean())
        shown.append(draw(40)[0][-20:])                                       # (20, 1, H, W)
    return found, np.concatenate(shown)


def learn_classifier(like: ImageDataset, draw: Draw, steps: int, seed: int) -> Classifier:
    """A classifier after so many batches of 64; the learning rate falls along a cosine."""
    tg.manual_seed(seed)
    model = Classifier(like.image_shape, like.num_classes, width=8, hidden=64)
    optimizers = model.configure_optimizers(lr=2e-3)
    schedule = CosineAnnealingLR(optimizers["model"], T_max=steps)
    for _ in range(steps):
        model.training_step(*draw(64), optimizers)
        schedule.step()
    return model.eval()


def learn_vae(like: ImageDataset, draw: Draw, steps: int, seed: int) -> VAE:
    """A conditional VAE after so many batches of 100."""
    tg.manual_seed(seed)
    model = VAE(like.image_shape, like.num_classes, latent=10, hidden=64 if len(like) < 2000
                else 256)
    optimizers = model.configure_optimizers(lr=2e-3)
    schedule = CosineAnnealingLR(optimizers["model"], T_max=steps)
    for _ in range(steps):
        model.training_step(*draw(100), optimizers)
        schedule.step()
    return model.eval()


def predict(model: Classifier, images: np.ndarray) -> np.ndarray:
    """The likeliest class of each image (N, 1, H, W): (N,)."""
    with tg.no_grad():
        return np.concatenate([model(part).numpy().argmax(axis=1)
                               for part in np.array_split(images, -(-len(images) // 500))])


if __name__ == "__main__":
    main()
