"""A hundred labels and many unlabelled pictures: features that a VAE has learnt without labels.

    python examples/few_labels.py             # MNIST, 10 labels a class, 5 draws of them
    python examples/few_labels.py --quick     # the bundled digits, 3 labels a class, a few seconds

A VAE learns from all training pictures and never sees a label. Its code of a picture is then what
a classifier is given in place of the pixels: draws from q(z | x) while it learns, a new one at each
step, and the mean when it is asked. The same two classifiers, one linear and one with a hidden
layer, learn both from the same few labels; a convolutional network on the pixels stands beside
them. This is the model M1 of D. P. Kingma et al., "Semi-supervised
Learning with Deep Generative Models", NeurIPS 2014.
"""

from __future__ import annotations

import argparse

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.data import DataLoader, ImageDataset, few_labels, load
from tinygen.models import VAE, Classifier
from tinygen.nn import functional as F
from tinygen.train import Trainer


def main() -> dict[str, float]:
    """Train the VAE, then the classifiers for each draw of labels; returns mean accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--labels", type=int, help="labels a class (10; quick: 3)")
    parser.add_argument("--draws", type=int, help="draws of labelled pictures (5; quick: 2)")
    parser.add_argument("--epochs", type=int, help="of the VAE (10; quick: 20)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    name = "digits" if args.quick else "mnist"
    train, test = load(name), load(name, train=False)
    vae = learn_vae(train, test, args.epochs or (20 if args.quick else 10), args.quick, args.seed)
    pixels = [data.images / np.float32(255) for data in (train, test)]        # (N, 1, H, W)
    flat = [images.reshape(len(images), -1) for images in pixels]             # (N, pixels)
    codes = codes_of(vae, pixels[1])[0]                                       # (N, latent)

    runs: dict[str, list[float]] = {}
    for draw in range(args.draws or (2 if args.quick else 5)):
        seed = args.seed + draw
        chosen = few_labels(train.labels, args.labels or (3 if args.quick else 10), seed)
        few = train.labels[chosen]                                            # (labels,)
        mean, sigma = codes_of(vae, pixels[0][chosen])                        # (labels, latent)
        inputs = {"pixels": (flat[0][chosen], np.float32(0), flat[1]),
                  "codes": (mean, sigma, codes)}
        for kind, (known, noise, unknown) in inputs.items():
            for hidden in (0, 128):
                right = learn_dense(known, noise, few, unknown, test.labels, hidden, seed)
                runs.setdefault(f"{'hidden layer' if hidden else 'linear'} on {kind}",
                                []).append(right)
        right = learn_convolutions(pixels[0][chosen], few, pixels[1], test.labels, seed)
        runs.setdefault("convolutions on pixels", []).append(right)
        print(f"draw {draw}: " + ", ".join(f"{k} {v[-1]:.2%}" for k, v in runs.items()), flush=True)
    figures: dict[str, float] = {}
    for kind, values in runs.items():
        figures |= {kind: float(np.mean(values)),
                    f"{kind} deviation": float(np.std(values, ddof=1))}
        print(f"{kind:24}{figures[kind]:.2%} (deviation {figures[f'{kind} deviation']:.2%})")
    gains = np.array(runs["hidden layer on codes"]) - runs["hidden layer on pixels"]
    figures |= {"gain": float(gains.mean()),
                "gain error": float(gains.std(ddof=1) / np.sqrt(len(gains)))}
    print(f"gain of the codes with a hidden layer: {figures['gain']:+.2%} "
          f"+- {figures['gain error']:.2%}")
    return figures


def learn_vae(train: ImageDataset, test: ImageDataset, epochs: int, quick: bool,
              seed: int) -> VAE:
    """A VAE of all training pictures; no label is looked at."""
    tg.manual_seed(seed)
    model = VAE(train.image_shape, latent=10, hidden=64 if quick else 400)
    trainer = Trainer(model, DataLoader(train, 50 if quick else 100, shuffle=True, seed=seed),
                      epochs=epochs, lr=3e-3 if quick else None, seed=seed, samples=0,
                      progress=False,
                      eval_loader=DataLoader(test, min(500, len(test))))
    losses = [row["eval_loss"] for row in trainer.fit() if "eval_loss" in row]
    print(f"VAE: {losses[0]:.2f} nats per test picture after the first epoch, {losses[-1]:.2f} "
          f"after {epochs}", flush=True)
    return model.eval()


def codes_of(vae: VAE, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of q(z | x) for each image: (N, latent) twice."""
    parts = [vae.encode(part) for part in np.array_split(images, -(-len(images) // 1000))]
    mean, logvar = (np.concatenate([part[i].numpy() for part in parts]) for i in (0, 1))
    return mean, np.exp(0.5 * logvar)


def learn_dense(known: np.ndarray, noise: np.ndarray, labels: np.ndarray, unknown: np.ndarray,
                truth: np.ndarray, hidden: int, seed: int) -> float:
    """The accuracy on vectors (M, D) of a classifier that learnt from a few (n, D) and noise."""
    tg.manual_seed(seed)
    rng = np.random.default_rng(seed)
    size, classes = known.shape[1], int(truth.max()) + 1
    model = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(0.5),
                          nn.Linear(hidden, classes)) if hidden else nn.Linear(size, classes)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(500):
        x = known + noise * rng.standard_normal(known.shape, dtype=np.float32)
        loss = F.cross_entropy(model(tg.Tensor(x)), tg.Tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with tg.no_grad():
        return float((model(tg.Tensor(unknown)).numpy().argmax(axis=1) == truth).mean())


def learn_convolutions(known: np.ndarray, labels: np.ndarray, unknown: np.ndarray,
                       truth: np.ndarray, seed: int) -> float:
    """The accuracy on images (M, 1, H, W) of a convolutional network that learnt from a few."""
    tg.manual_seed(seed)
    model = Classifier(known.shape[1:], int(truth.max()) + 1, width=8, dropout=0.5)
    optimizers = model.configure_optimizers()
    for _ in range(150):
        model.training_step(known, labels, optimizers)
    right = [model.evaluate(x, y)["accuracy"].item() * len(y) for x, y in
             zip(np.array_split(unknown, 20), np.array_split(truth, 20), strict=True)]
    return sum(right) / len(truth)


if __name__ == "__main__":
    main()
