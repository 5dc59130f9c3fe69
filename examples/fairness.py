"""Does a generator show people as they are in its data? Rates of attributes, and a remedy.

    python examples/fairness.py             # CelebA at 32x32 (TINYGEN_DATA)
    python examples/fairness.py --quick     # the bundled digits, mostly even, a few seconds

A network learns to see attributes in real pictures, and looks at what a GAN (quick: a VAE) drew.
It errs, so its rates are corrected by the errors that it makes on held-out pictures. A generator
that is told the group (here: man or woman, young or not) can then be asked for all groups equally
often: the remedy that needs no other data. Rates say nothing about the pictures' quality; no
picture is kept.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

import tinygen as tg
from tinygen.data import CelebA, DataLoader, RandomHorizontalFlip, TensorDataset, load
from tinygen.metrics import corrected_shares
from tinygen.models import AttributeClassifier, GenerativeModel, build
from tinygen.train import Trainer

SEEN = ["Male", "Young", "Smiling", "Eyeglasses", "Black_Hair", "Blond_Hair", "Bangs",
        "Wearing_Hat"]                             # the first two make the groups


class Pictures(NamedTuple):
    """Pictures in [0, 1], (N, C, H, W), and what is true of each: (N, A) of 0 and 1."""

    images: np.ndarray
    truth: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """0 to 3 from the first two attributes: neither, the second, the first, both."""
        return groups_of(self.truth)


def groups_of(attributes: np.ndarray) -> np.ndarray:
    """The group, (N,), of attributes (N, A)."""
    return 2 * attributes[:, 0].astype(np.int64) + attributes[:, 1]


def main() -> dict[str, float]:
    """Train the observer and two generators, print the tables, return rates and errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--epochs", type=int, help="of each generator (14; quick: 25)")
    parser.add_argument("--samples", type=int, help="generated pictures (5000; quick: 1000)")
    parser.add_argument("--fit-thresholds", action="store_true", help="the observer says yes as "
                        "often as is true of the training data, not where yes is likelier")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    names, train, held = digits(args.seed) if args.quick else faces()
    observer = learn_observer(train, args.quick, args.seed)
    if args.fit_thresholds:
        observer.fit_thresholds(train.images, train.truth)
    verdicts = observer.predict(held.images)                                # (M, A)
    n = args.samples or (1000 if args.quick else 5000)
    made = {}
    for kind in ("as in the data", "balanced"):
        labels = None if kind == "as in the data" else train.groups
        model = learn_generator(train, labels, args.quick, args.epochs, args.seed)
        tg.manual_seed(args.seed)
        made[kind] = observer.predict(draw(model, n))                       # (n, A)
    figures = {"observer": float((verdicts == held.truth).mean())}
    figures |= compare(names, train, held, verdicts, made)
    return figures | compare_groups(names, train, held, verdicts, made)


# -- pictures, and two networks --------------------------------------------------------------------


def faces() -> tuple[list[str], Pictures, Pictures]:
    """9,000 photographs and 1,000 held out."""
    parts = [CelebA(32, train=part) for part in (True, False)]
    columns = [parts[0].attribute_names.index(name) for name in SEEN]
    return SEEN, *(Pictures(p.images / np.float32(255), p.attributes[:, columns]) for p in parts)


def digits(seed: int) -> tuple[list[str], Pictures, Pictures]:
    """Digits of which most are even, with three attributes of each number."""
    made = []
    for part in (True, False):
        data = load("digits", train=part)
        y = data.labels
        kept = (y % 2 == 0) | (np.random.default_rng(seed).random(len(y)) < (0.25 if part else 1))
        truth = np.stack([y % 2 == 0, y >= 5, np.isin(y, [0, 6, 8, 9])], axis=1)
        made.append(Pictures(data.images[kept] / np.float32(255), truth[kept].astype(np.uint8)))
    return ["even", "5 or more", "with a loop"], made[0], made[1]


def learn_observer(train: Pictures, quick: bool, seed: int) -> AttributeClassifier:
    """A network that sees attributes in pictures."""
    tg.manual_seed(seed)
    data = TensorDataset(train.images, train.truth,
                         transform=None if quick else RandomHorizontalFlip())
    model = AttributeClassifier(train.images.shape[1:], train.truth.shape[1])
    Trainer(model, DataLoader(data, 64, shuffle=True, seed=seed), epochs=15 if quick else 8,
            seed=seed, samples=0, progress=False).fit()
    return model.eval()


def learn_generator(train: Pictures, labels: np.ndarray | None, quick: bool, epochs: int | None,
                    seed: int) -> GenerativeModel:
    """A generator of such pictures, told the group where labels (N,) are given."""
    tg.manual_seed(seed)
    arrays = (train.images,) if labels is None else (train.images, labels)
    size = {"hidden": 64, "latent": 8} if quick else {"width": 24}
    model = build("vae" if quick else "dcgan", train.images.shape[1:],
                  num_classes=None if labels is None else 4, **size)
    data = TensorDataset(*arrays, transform=None if quick else RandomHorizontalFlip())
    loader = DataLoader(data, 64, shuffle=True, drop_last=True, seed=seed)
    Trainer(model, loader, epochs=epochs or (25 if quick else 14), seed=seed, samples=0,
            lr=3e-3 if quick else None, progress=False).fit()
    return model.eval()


def draw(model: GenerativeModel, n: int) -> np.ndarray:
    """n pictures in [0, 1]; a model that is told groups makes them in turn, equally often."""
    low, high = model.value_range
    parts = [model.generate(model.noise(200)).numpy() for _ in range(n // 200)]
    return (np.concatenate(parts) - low) / (high - low)


# -- tables ----------------------------------------------------------------------------------------


def compare(names: list[str], train: Pictures, held: Pictures, verdicts: np.ndarray,
            made: dict[str, np.ndarray]) -> dict[str, float]:
    """Rates of each attribute: true, as the observer sees them, and corrected for its errors."""
    figures = {}
    print("| attribute | data | held out | as observed | right | " + " | ".join(
        f"generated {kind}: observed | corrected" for kind in made) + " |\n" + "|---" * 9 + "|")
    for a, name in enumerate(names):
        true, seen = held.truth[:, a], verdicts[:, a]
        row = [train.truth[:, a].mean(), true.mean(), seen.mean(), (true == seen).mean()]
        figures |= {f"{name} in the data": float(row[0]), f"{name} right": float(row[3])}
        cells = [f"{value:.1%}" for value in row]
        for kind, found in made.items():
            shares, errors = corrected_shares(found[:, a], seen, true)
            figures |= {f"{name} {kind}": float(shares[1]), f"{name} {kind} error":
                        float(errors[1])}
            cells += [f"{found[:, a].mean():.1%}", f"{shares[1]:.1%} +- {errors[1]:.1%}"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return figures


def compare_groups(names: list[str], train: Pictures, held: Pictures, verdicts: np.ndarray,
                   made: dict[str, np.ndarray]) -> dict[str, float]:
    """Shares of the four groups, and how far they are from equal: half the sum of differences."""
    first, second = names[:2]
    shares = {"data": np.bincount(train.groups, minlength=4) / len(train.groups)}
    errors = {"data": np.zeros(4)}
    for kind, found in made.items():
        shares[kind], errors[kind] = corrected_shares(groups_of(found), groups_of(verdicts),
                                                      held.groups, 4)
    print(f"\n| group | {' | '.join(shares)} |\n" + "|---" * (len(shares) + 1) + "|")
    for g in range(4):
        title = ", ".join(name if g & bit else f"not {name}"
                          for name, bit in ((first, 2), (second, 1)))
        print(f"| {title} | " + " | ".join(
            f"{shares[k][g]:.1%}" + (f" +- {errors[k][g]:.1%}" if errors[k][g] else "")
            for k in shares) + " |")
    uneven = {kind: float(np.abs(part - 0.25).sum() / 2) for kind, part in shares.items()}
    print("\nfrom equal shares: " + ", ".join(f"{k} {v:.1%}" for k, v in uneven.items()))
    return {f"uneven {kind}": value for kind, value in uneven.items()} | {
        f"group {g} {kind}": float(part[g]) for kind, part in shares.items() for g in range(4)}


if __name__ == "__main__":
    main()
