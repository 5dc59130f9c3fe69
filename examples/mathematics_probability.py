"""Probability behind deep learning: each statement is checked with random draws, and drawn.

    python examples/mathematics_probability.py                 # under runs/mathematics/
    python examples/mathematics_probability.py --quick         # a tenth of the draws
    python examples/mathematics_probability.py --out docs/results

Every function below is one statement: it raises AssertionError where the statement fails, prints
how exactly it held, and draws it. docs/mathematics.md says them in formulas. Bounds on random
draws are five standard deviations wide: one of two million draws would fail.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose

import tinygen as tg
from tinygen.distributions import Beta, Binomial, Cauchy, Exponential, Gamma, Normal
from tinygen.viz import save_panels

DRAWS = 200_000


def number(x):
    return tg.Tensor(x, dtype=tg.float64)


def mass_function(ax):
    """A discrete law: one probability for each value"""
    n, p = 10, 0.3
    law, ks = Binomial(n, number(p)), np.arange(n + 1)
    mass = tg.exp(law.log_prob(number(ks))).numpy()
    assert_allclose(mass, [math.comb(n, k) * p ** k * (1 - p) ** (n - k) for k in ks], rtol=1e-12)
    assert_allclose([mass.sum(), mass @ ks, mass @ (ks - n * p) ** 2],
                    [1, n * p, n * p * (1 - p)], rtol=1e-12)               # total, mean, variance
    seen = np.bincount(law.sample((DRAWS,)).numpy().astype(int), minlength=n + 1) / DRAWS
    bound = 5 * np.sqrt(mass * (1 - mass) / DRAWS) + 10 / DRAWS    # 10 draws: the rare values
    assert (np.abs(seen - mass) <= bound).all()
    print(f"mass          frequencies differ by {np.abs(seen - mass).max():.4f} at most")
    ax.bar(ks, seen, color="C0", alpha=0.4, label=f"{DRAWS} draws")
    ax.plot(ks, mass, "C1o", markersize=4, label="binomial, n = 10, p = 0.3")
    ax.legend(fontsize=8)


def density(ax):
    """A continuous law: probabilities are areas under a density"""
    mean, std = 1.0, 2.0
    law = Normal(number(mean), number(std))
    x = np.linspace(mean - 10 * std, mean + 10 * std, 4001)
    values = tg.exp(law.log_prob(number(x))).numpy()
    by_hand = np.exp(-(x - mean) ** 2 / (2 * std ** 2)) / np.sqrt(2 * np.pi * std ** 2)
    assert_allclose(values, by_hand, rtol=1e-11, atol=1e-300)
    dx = x[1] - x[0]
    assert_allclose([values.sum() * dx, (x * values).sum() * dx,
                     ((x - mean) ** 2 * values).sum() * dx], [1, mean, std ** 2], rtol=1e-10)
    draws = law.sample((DRAWS,)).numpy()
    for k in (1, 2, 3):                           # 68.27%, 95.45% and 99.73% lie within k sigma
        area = (law.cdf(number(mean + k * std)) - law.cdf(number(mean - k * std))).item()
        assert_allclose(area, math.erf(k / math.sqrt(2)), rtol=1e-12)
        share = (np.abs(draws - mean) < k * std).mean()
        assert abs(share - area) <= 5 * math.sqrt(area * (1 - area) / DRAWS)
        print(f"density       within {k} sigma: {area:.4f} by the area, {share:.4f} of the draws")
    ax.hist(draws, 80, density=True, color="C0", alpha=0.4, label="draws")
    near = np.abs(x - mean) < 4 * std
    ax.plot(x[near], values[near], "C1", label="density")
    inside = np.abs(x - mean) < std
    ax.fill_between(x[inside], values[inside], color="C1", alpha=0.3, label="68.3%")
    ax.legend(fontsize=8)


def bayes(ax):
    """Bayes: P(ill | positive), by formula and by counting"""
    found, wrong = 0.95, 0.05                     # P(positive | ill), P(positive | healthy)
    rates = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5])
    formula = found * rates / (found * rates + wrong * (1 - rates))
    counted, people = [], 10 * DRAWS
    for rate, right in zip(rates, formula):
        ill = tg.rand(people).numpy() < rate
        positive = tg.rand(people).numpy() < np.where(ill, found, wrong)
        both, condition = (ill & positive).mean(), positive.mean()
        counted.append(both / condition)                           # P(A | B) = P(A and B) / P(B)
        assert abs(counted[-1] - right) <= 5 * math.sqrt(right * (1 - right) / positive.sum())
    print(f"Bayes         one in a hundred is ill: {formula[2]:.4f} of the positive are, "
          f"{counted[2]:.4f} counted")
    xs = np.logspace(-3, -0.1, 100)
    ax.semilogx(xs, found * xs / (found * xs + wrong * (1 - xs)), "C1", label="formula")
    ax.semilogx(rates, counted, "C0o", markersize=5, label="counted")
    ax.set(xlabel="P(ill)", ylabel="P(ill | positive)")
    ax.legend(fontsize=8)


def posterior(ax):
    """Bayes again: a posterior narrows as data come in"""
    truth, grid = 0.7, np.linspace(0.0005, 0.9995, 1000)
    throws = tg.rand(300).numpy() < truth
    for n in (0, 3, 30, 300):
        heads = int(throws[:n].sum())
        likelihood = heads * np.log(grid) + (n - heads) * np.log(1 - grid)
        numeric = np.exp(likelihood - likelihood.max())             # prior: uniform on [0, 1]
        numeric /= numeric.sum() * (grid[1] - grid[0])
        law = Beta(number(1.0 + heads), number(1.0 + n - heads))    # the closed form
        assert_allclose(tg.exp(law.log_prob(number(grid))).numpy(), numeric, rtol=1e-3, atol=1e-3)
        ax.plot(grid, numeric, label=f"{heads} heads of {n}")
    mean, std = law.mean.item(), law.variance.item() ** 0.5
    assert abs(mean - truth) < 5 * std
    print(f"posterior     after 300 throws: {mean:.3f} +- {std:.3f}; the truth is {truth}")
    ax.axvline(truth, color="k", linestyle=":", linewidth=0.8)
    ax.set(xlabel="probability of heads")
    ax.legend(fontsize=7, loc="upper left")


def large_numbers(ax):
    """Large numbers: means reach E[X], where there is one"""
    counts = np.arange(1, DRAWS + 1)
    shown = np.unique(np.logspace(0, np.log10(DRAWS), 400).astype(int)) - 1
    for seed in range(3):
        draws = Exponential(number(1.0)).sample((DRAWS,)).numpy()    # mean 1, variance 1
        means = np.cumsum(draws) / counts
        assert abs(means[-1] - 1) < 5 / math.sqrt(DRAWS)
        ax.semilogx(counts[shown], means[shown], "C0", linewidth=1, label="mean" * (seed == 0))
    edge = 2 / np.sqrt(counts[shown])
    ax.fill_between(counts[shown], 1 - edge, 1 + edge, color="C0", alpha=0.15,
                    label="1 +- 2 / sqrt(n)")
    # A Cauchy law has no mean: the mean of n draws is spread as widely as a single draw.
    cauchy = Cauchy(number(0.0), number(1.0)).sample((500, DRAWS // 500)).numpy()
    spread = np.median(np.abs(cauchy.mean(axis=1)))                 # 1 for a single draw
    assert abs(spread - 1) < 0.35                                   # five deviations of a median
    ax.semilogx(counts[shown], (np.cumsum(cauchy) / counts)[shown], "C3", linewidth=1,
                label="Cauchy: no limit")
    print(f"large numbers mean of {DRAWS} draws: {means[-1]:.4f}; Cauchy means of "
          f"{DRAWS // 500} stay {spread:.2f} wide")
    ax.set(xlabel="draws n", ylim=(-1, 3))
    ax.legend(fontsize=7)


def central_limit(ax):
    """Central limit: (sum - n mu) / sqrt(n sigma^2) becomes normal"""
    rows, x = DRAWS // 4, np.linspace(-4, 4, 801)
    normal = Normal(number(0.0), number(1.0)).cdf(number(x)).numpy()
    skew = 12 / math.e - 2                                # E|X - 1|^3 of the exponential law
    noise = 2.7 / math.sqrt(rows)      # Dvoretzky-Kiefer-Wolfowitz: exceeded once in a million
    distances = {}
    for n in (1, 4, 16, 64):
        sums = Exponential(number(1.0)).sample((n, rows)).sum(axis=0).numpy()
        standard = (sums - n) / math.sqrt(n)                                        # (rows,)
        counted = np.searchsorted(np.sort(standard), x) / rows
        # Sums of n exponential numbers follow a gamma law, which is 0 below 0.
        law = Gamma(number(float(n)), number(1.0))
        exact = law.cdf(number(np.maximum(n + math.sqrt(n) * x, 0))).numpy()
        assert np.abs(counted - exact).max() < noise
        distances[n] = np.abs(exact - normal).max()
        assert distances[n] < 0.4748 * skew / math.sqrt(n)               # Berry-Esseen's bound
        ax.hist(standard, 100, range=(-3, 4), density=True, histtype="step", label=f"n = {n}")
    assert_allclose(distances[16] / distances[64], 2, rtol=0.01)   # half, as n grows fourfold
    print("central limit distance to N(0, 1): "
          + ", ".join(f"{d:.4f} (n = {n})" for n, d in distances.items()))
    ax.plot(x, np.exp(-x ** 2 / 2) / math.sqrt(2 * math.pi), "k:", label="N(0, 1)")
    ax.set(xlim=(-3, 4))
    ax.legend(fontsize=8)


STATEMENTS = [mass_function, density, bayes, posterior, large_numbers, central_limit]


def main() -> dict[str, float]:
    """Check and draw every statement; returns how many held."""
    global DRAWS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/mathematics", help="folder for the picture")
    args = parser.parse_args()
    tg.manual_seed(args.seed)
    DRAWS = 20_000 if args.quick else 200_000
    path = save_panels(STATEMENTS, Path(args.out) / "mathematics-probability.png")
    print(f"{len(STATEMENTS)} statements hold; they are drawn in {path}")
    return {"statements": len(STATEMENTS)}


if __name__ == "__main__":
    main()
