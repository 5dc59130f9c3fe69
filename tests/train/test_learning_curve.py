"""Learning curves: fits against SciPy's, stops that are right, a search that keeps its winner."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import DataLoader, load
from tinygen.models import build
from tinygen.train import CurveStop, Trainer, fit_learning_curve, hopeless, search

N = np.arange(1.0, 9)


@pytest.mark.parametrize(("kind", "losses"), [
    ("power", 2 + 3 * N ** -0.7), ("exponential", 0.5 + 4 * np.exp(-0.4 * N)),
    ("power", 5 - 2 * N ** -0.5)])                          # rising: a diverging run
def test_exact_curves_are_found_again(kind, losses):
    curve = fit_learning_curve(losses, kind)
    np.testing.assert_allclose(curve(N), losses, atol=5e-3)
    ahead = {"power": lambda c, n: c.limit + c.drop * n ** -c.rate,
             "exponential": lambda c, n: c.limit + c.drop * math.exp(-c.rate * n)}[kind]
    assert curve(20) == pytest.approx(ahead(curve, 20.0))
    assert curve.error < 5e-3


@pytest.mark.parametrize("kind", ["power", "exponential"])
def test_fits_have_the_least_squares_that_scipy_finds(kind):
    optimize = pytest.importorskip("scipy.optimize")
    fading = {"power": lambda n, c: n ** -c, "exponential": lambda n, c: np.exp(-c * n)}[kind]
    rng = np.random.default_rng(0)
    for _ in range(5):
        losses = 1 + 2 * fading(N, rng.uniform(0.3, 1.5)) + rng.normal(0, 0.03, len(N))
        ours = fit_learning_curve(losses, kind)
        (a, b, c), _ = optimize.curve_fit(lambda n, a, b, c: a + b * fading(n, c), N, losses,
                                          p0=(1, 2, 0.7), bounds=((-50, -50, 0.005), (50, 50, 5)))
        theirs = np.square(a + b * fading(N, c) - losses).sum()
        assert np.square(ours(N) - losses).sum() <= theirs * 1.002
        assert ours.error == pytest.approx(math.sqrt(theirs / 5), rel=2e-3)


def test_hopeless_asks_for_a_clear_case():
    slow = [float(10 + 5 * n ** -0.5) for n in N]
    assert hopeless(slow, total=30, best=9)                 # 10.9 ahead
    assert not hopeless(slow, total=30, best=11.2)          # 10.9 may be below it
    assert not hopeless(slow[:3], total=30, best=1), "three losses say nothing"
    assert hopeless([12, math.nan], total=30, best=9) and hopeless([math.inf], 30, 9)
    rng = np.random.default_rng(0)
    wrong = [hopeless(list(np.array(slow) + rng.normal(0, 0.2, len(N))), total=30, best=11.2)
             for _ in range(40)]
    assert np.mean(wrong) < 0.15, "noise makes it careful: few runs are given up that would win"
    assert not hopeless(slow, total=30, best=math.inf), "the first run is never given up"


def test_search_gives_up_losers_and_asks_them_for_nothing_more():
    limits = [3.0, 5.0, 2.0, 9.0, 2.5, 1.9]
    asked = []

    def run(config):
        asked.append(0)
        for n in range(1, 31):
            asked[-1] = n
            yield config["limit"] + 4 * n ** -1.2

    configs = [{"limit": limit} for limit in limits]
    trials = search(configs, run, 20)
    assert min(trials, key=lambda t: t.loss).config == {"limit": 1.9}
    assert [t.stopped for t in trials] == [False, True, False, True, True, False]
    assert asked == [len(t.losses) for t in trials]
    assert max(asked) == 20 and asked[3] == 4
    asked.clear()
    whole = search(configs, run, 20, stop=False)
    assert asked == [20] * 6 and not any(t.stopped for t in whole)
    with pytest.raises(ValueError, match=r"the run gave 30 losses; 40 were announced"):
        search(configs[:1], run, 40)


def test_curve_stop_ends_a_run_that_heads_for_too_much():
    data = load("digits")

    def rows(callback):
        tg.manual_seed(0)
        model = build("vae", data.image_shape, hidden=16, latent=2)
        trainer = Trainer(model, DataLoader(data, 100, seed=0), epochs=8, samples=0,
                          progress=False, callbacks=[callback],
                          eval_loader=DataLoader(load("digits", train=False), 297))
        return [r for r in trainer.fit() if "eval_loss" in r], trainer

    hard = CurveStop(best=1.0, total=8)                     # no VAE of these digits reaches 1 nat
    found, trainer = rows(hard)
    assert 4 <= len(found) < 8 and "heading for more than 1" in trainer.stopped
    again = CurveStop(best=1.0, total=8)
    again.load_state_dict(hard.state_dict())
    assert again.losses == [row["eval_loss"] for row in found]
    found, trainer = rows(CurveStop(best=100.0, total=8))
    assert len(found) == 8 and trainer.stopped is None


@pytest.mark.parametrize("losses", [[1, 2, 3], [1, 2, 3, math.nan], [[1, 2, 3, 4]]])
def test_too_little_to_fit_is_named(losses):
    with pytest.raises(ValueError, match="at least four finite numbers"):
        fit_learning_curve(losses)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="power, exponential; got 'sine'"):
        fit_learning_curve([4, 3, 2, 1], "sine")
