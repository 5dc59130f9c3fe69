"""Random search, with and without a model of learning curves that gives up hopeless runs.

    python examples/search_hyperparameters.py             # VAEs on MNIST, 24 configurations
    python examples/search_hyperparameters.py --quick     # the bundled digits, a few seconds

Learning rate, width, latents and batch size of a VAE are drawn at random, and each is trained to
the end. The same search is then played again from the recorded losses with a stop: two curves,
a + b n^-c and a + b e^(-c n), are fitted to the losses of a run so far, and a run that heads for a
worse loss than the best one is given up. Is the winner the same, and how much time was saved?
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import load
from tinygen.models import VAE
from tinygen.train import Trial, fit_learning_curve, search
from tinygen.viz import save_panels

Config = dict[str, Any]


def main() -> dict[str, float]:
    """Search in full, play the search again with stops, draw both; returns what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--configurations", type=int, help="how many (24; quick: 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/search_hyperparameters", help="for the picture")
    args = parser.parse_args()

    train = load("digits" if args.quick else "mnist")
    rng = np.random.default_rng(args.seed)
    order = rng.permutation(len(train))
    images, held = (train.images[part] / np.float32(255) for part in (
        (order[:1200], order[1200:]) if args.quick else (order[:10_000], order[10_000:12_000])))
    evaluations = 8 if args.quick else 12
    configs = [draw_config(rng, args.quick)
               for _ in range(args.configurations or (8 if args.quick else 24))]

    seconds: list[list[float]] = []                       # of each evaluation of each run

    def run(config: Config) -> Iterator[float]:
        seconds.append([])
        start = time.process_time()
        for loss in train_vae(config, images, held, args.seed):
            seconds[-1].append(time.process_time() - start)
            yield loss
            start = time.process_time()

    full = search(configs, run, evaluations, stop=False)
    recorded = iter([trial.losses for trial in full])
    stopped = search(configs, lambda config: next(recorded), evaluations)
    found = compare(full, stopped, seconds)
    path = Path(args.out) / "search.png"
    save_panels([lambda axes: draw_runs(axes, stopped), lambda axes: draw_fits(axes, full)], path,
                columns=2, size=(4.4, 3.4))
    print(path)
    return found


def draw_config(rng: np.random.Generator, quick: bool) -> Config:
    """A configuration: the learning rate log-uniform, the rest from lists."""
    return {"lr": float(10 ** rng.uniform(-4, -1.5)),
            "hidden": int(rng.choice([16, 32, 64] if quick else [50, 100, 200, 400])),
            "latent": int(rng.choice([2, 5, 10] if quick else [2, 5, 10, 20, 40])),
            "batch": int(rng.choice([25, 50, 100] if quick else [50, 100, 200]))}


def train_vae(config: Config, images: np.ndarray, held: np.ndarray, seed: int) -> Iterator[float]:
    """Train a VAE on images (N, 1, H, W); after each pass its loss on the held-out ones."""
    tg.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = VAE(images.shape[1:], latent=config["latent"], hidden=config["hidden"])
    optimizers = model.configure_optimizers(lr=config["lr"])
    while True:
        for part in np.array_split(rng.permutation(len(images)), len(images) // config["batch"]):
            model.training_step(images[part], None, optimizers)
        yield model.evaluate(held, generator=tg.Generator(seed))["loss"].item()


def compare(full: list[Trial], stopped: list[Trial], seconds: list[list[float]]
            ) -> dict[str, float]:
    """Print both searches run by run, and return what they found and cost."""
    for i, (whole, cut) in enumerate(zip(full, stopped, strict=True)):
        text = ", ".join(f"{k} {v:.3g}" for k, v in whole.config.items())
        print(f"{i:3}  {text:52} {whole.loss:8.2f} nats" + (
            f", given up after {len(cut.losses)} of {len(whole.losses)}" if cut.stopped else ""))
    winners = [min(trials, key=lambda trial: trial.loss) for trials in (full, stopped)]
    cost = sum(map(sum, seconds))
    kept = sum(sum(spent[:len(trial.losses)])
               for spent, trial in zip(seconds, stopped, strict=True))
    epochs = [sum(len(trial.losses) for trial in trials) for trials in (full, stopped)]
    losses = sorted(trial.loss for trial in full)
    print(f"winner of the full search: {winners[0].config}, {winners[0].loss:.2f} nats")
    print(f"winner with stops:         {winners[1].config}, {winners[1].loss:.2f} nats")
    print(f"{sum(trial.stopped for trial in stopped)} of {len(full)} runs given up; {epochs[1]} of "
          f"{epochs[0]} passes, {kept:.0f} of {cost:.0f} s: {1 - kept / cost:.0%} saved")
    return {"full search": winners[0].loss, "with stops": winners[1].loss,
            "median": float(np.median(losses)), "runs": len(full),
            "stopped": sum(trial.stopped for trial in stopped),
            "passes saved": 1 - epochs[1] / epochs[0], "time saved": 1 - kept / cost}


def draw_runs(axes: Any, trials: list[Trial]) -> None:
    """All runs; grey: given up where they end"""
    best = min(trials, key=lambda trial: trial.loss)
    for trial in trials:
        colour = "tab:red" if trial is best else "0.7" if trial.stopped else "tab:blue"
        axes.plot(range(1, len(trial.losses) + 1), trial.losses, color=colour,
                  marker="x" if trial.stopped else None, markevery=[-1])
    axes.set_ylim(0.97 * best.loss, 1.6 * best.loss)
    axes.set_xlabel("passes over the data", fontsize=8)
    axes.set_ylabel("held-out loss, nats", fontsize=8)


def draw_fits(axes: Any, trials: list[Trial]) -> None:
    """What the first five losses promise of the middle run, and what came"""
    trial = sorted(trials, key=lambda trial: trial.loss)[len(trials) // 2]
    n = np.arange(1, len(trial.losses) + 1)
    axes.plot(n, trial.losses, "ko", markersize=4, label="losses")
    for kind in ("power", "exponential"):
        axes.plot(n, fit_learning_curve(trial.losses[:5], kind)(n), label=kind)
    axes.axvline(5.5, color="0.8")
    axes.set_xlabel("passes over the data", fontsize=8)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
