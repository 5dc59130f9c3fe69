"""Recommending films: Mult-VAE ranks what people have not seen, a factorisation guesses stars.

    python examples/recommend.py             # MovieLens ml-latest-small (TINYGEN_DATA)
    python examples/recommend.py --quick     # drawn users with a taste, a few seconds

Two questions, two models. Which of all films will a person like who was never seen in training,
judged by some of those that they liked (4 stars or more)? Mult-VAE answers with a ranking; NDCG@100
and Recall@20 say how far in front the hidden fifth of their films stands, beside the ranking by
popularity. And how many stars will a known person give a known film? The factorisation answers with
a number; its error is the RMSE on ratings that were left out of training.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import (
    DataLoader,
    MovieLens,
    Ratings,
    TensorDataset,
    draw_ratings,
    fold_in,
    user_folds,
)
from tinygen.metrics import ndcg_at_k, recall_at_k
from tinygen.models import MatrixFactorization, MultVAE
from tinygen.optim.lr_scheduler import LinearLR

Figures = dict[str, float]


def main() -> Figures:
    """Train both, print their figures beside those of popularity and of the mean, return them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="drawn ratings, a few seconds")
    parser.add_argument("--folds", type=int, help="how many of the five folds (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    ratings = draw_ratings(seed=args.seed) if args.quick else MovieLens()
    print(ratings)
    figures = rank(ratings, args.folds or (1 if args.quick else 5), args.quick, args.seed)
    return figures | rate(ratings, 1 if args.quick else 5, args.quick, args.seed)


# -- which films? ----------------------------------------------------------------------------------


def rank(ratings: Ratings, folds: int, quick: bool, seed: int) -> Figures:
    """NDCG@100 and Recall@20 over users held out of training, a fifth of them at a time."""
    clicks = ratings.clicks(least=4.0)                          # (users, items) of 0 and 1
    clicks = clicks[clicks.sum(axis=1) >= 5]                    # enough to show some and hide some
    found: dict[str, list[np.ndarray]] = {}
    for held_users in user_folds(len(clicks), 5, seed)[:folds]:
        train = np.delete(clicks, held_users, axis=0)           # (users, items)
        known = train.sum(axis=0) > 0                           # films that can be learnt about
        train, held = train[:, known], clicks[held_users][:, known]
        shown, hidden = fold_in(held, 0.2, seed)                # (held, items) twice
        model = train_vae(train, quick, seed)
        popular = np.where(shown > 0, -np.inf, train.sum(axis=0))
        for name, scores in (("Mult-VAE", model.scores(shown)), ("popularity", popular)):
            found.setdefault(f"{name} NDCG@100", []).append(ndcg_at_k(scores, hidden, 100))
            found.setdefault(f"{name} Recall@20", []).append(recall_at_k(scores, hidden, 20))
    if ratings.titles is not None:
        show(model, shown, hidden, [t for t, k in zip(ratings.titles, known) if k])
    return {name: report(name, np.concatenate(parts)) for name, parts in found.items()}


def train_vae(rows: np.ndarray, quick: bool, seed: int) -> MultVAE:
    """A Mult-VAE of rows (users, items)."""
    tg.manual_seed(seed)
    epochs, batch = (40, 32) if quick else (100, 64)
    loader = DataLoader(TensorDataset(rows), batch, shuffle=True, seed=seed)
    model = MultVAE(rows.shape[1], hidden=64 if quick else 200, latent=16 if quick else 64,
                    beta=0.2, anneal_steps=epochs * len(loader))
    optimizers = model.configure_optimizers(lr=3e-3 if quick else 1e-3)
    for epoch in range(epochs):
        losses = [model.training_step(x, None, optimizers)["loss"].item() for x in loader]
        if epoch in (0, epochs - 1):
            print(f"  Mult-VAE epoch {epoch + 1}: loss {np.mean(losses):.1f} nats per user")
    return model


def report(name: str, values: np.ndarray) -> float:
    """Print a mean over users with its standard error, and return it."""
    values = values[~np.isnan(values)]                          # users with something hidden
    error = values.std(ddof=1) / np.sqrt(len(values))
    print(f"{name:24}{values.mean():.4f} +- {error:.4f} ({len(values)} users)")
    return float(values.mean())


def show(model: MultVAE, shown: np.ndarray, hidden: np.ndarray, titles: list[str]) -> None:
    """Print what is recommended to the held-out person with the fewest films, 8 at least."""
    person = min(np.flatnonzero(shown.sum(axis=1) >= 8), key=lambda i: shown[i].sum())
    best = np.argsort(-model.scores(shown[person:person + 1])[0])[:8]
    print("A person who likes: " + "; ".join(titles[i] for i in np.flatnonzero(shown[person])))
    print("may like:           " + "; ".join(
        titles[i] + (" (does)" if hidden[person, i] else "") for i in best))


# -- how many stars? -------------------------------------------------------------------------------


def rate(ratings: Ratings, repeats: int, quick: bool, seed: int) -> Figures:
    """RMSE on a tenth of the ratings, for factors with biases, biases alone, and the mean."""
    errors: dict[str, list[float]] = {}
    for repeat in range(repeats):
        train, held = ratings.split(0.1, seed + repeat)
        guesses = {"factorisation RMSE": train_factors(train, 8 if quick else 100, seed),
                   "biases alone RMSE": train_factors(train, 0, seed)}
        stars: Any = {name: model.predict(held.pairs) for name, model in guesses.items()}
        stars["mean rating RMSE"] = train.values.mean()
        for name, values in stars.items():
            error = np.sqrt(np.mean((values - held.values) ** 2))
            errors.setdefault(name, []).append(float(error))
    for name, values in errors.items():
        print(f"{name:24}{np.mean(values):.4f} (from {min(values):.4f} to {max(values):.4f} over "
              f"{repeats} split{'s' * (repeats > 1)})")
    return {name: float(np.mean(values)) for name, values in errors.items()}


def train_factors(train: Ratings, factors: int, seed: int) -> MatrixFactorization:
    """A factorisation of ratings; the learning rate falls to nothing within 8 epochs."""
    tg.manual_seed(seed)
    loader = DataLoader(train, 1024, shuffle=True, seed=seed)
    epochs = 8 if len(loader) > 20 else 60
    model = MatrixFactorization(train.num_users, train.num_items, factors=factors,
                                weight_decay=0.12, bias_decay=0.02, std=0.05)
    model.fit_mean(train.values)
    optimizers = model.configure_optimizers(lr=5e-3 if len(loader) > 20 else 2e-2)
    schedule = LinearLR(optimizers["model"], 1.0, 0.0, total_iters=epochs * len(loader))
    for _ in range(epochs):
        for pairs, stars in loader:                             # (B, 2), (B,)
            model.training_step(pairs, stars, optimizers)
            schedule.step()
    return model


if __name__ == "__main__":
    main()
