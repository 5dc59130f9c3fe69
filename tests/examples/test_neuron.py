"""A neuron and a network by hand: their gradients are right, and the example runs."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "neuron.py")

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(EXAMPLE)


def test_the_example_learns_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["neuron.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(EXAMPLE)["main"]()
    assert found["network"] > 0.86 and found["network"] >= found["neuron"]
    assert (tmp_path / "neuron.png").read_bytes().startswith(b"\x89PNG")
    assert "by tinygen the same" in capsys.readouterr().out


def test_the_neurons_gradient_is_that_of_differences(script):
    rng = np.random.default_rng(0)
    x, y, w, b = rng.normal(size=(7, 2)), rng.integers(0, 2, 7) * 1.0, rng.normal(size=2), 0.3
    loss = lambda w, b: script["neuron_gradient"](x, y, w, b)[0]
    _, dw, db = script["neuron_gradient"](x, y, w, b)
    h = 1e-6
    numeric = [(loss(w + h * e, b) - loss(w - h * e, b)) / (2 * h) for e in np.eye(2)]
    assert_allclose(dw, numeric, atol=1e-9)
    assert_allclose(db, (loss(w, b + h) - loss(w, b - h)) / (2 * h), atol=1e-9)


def test_steps_along_the_gradient_raise_the_loss(script):
    x, y = script["clouds"](50, np.random.default_rng(0))
    down, up = (script["neuron_by_hand"](x, y, 20, sign=s)[0] for s in (-1, +1))
    assert (np.diff(down) < 0).all() and (np.diff(up) > 0).all()


def test_cross_entropy_is_finite_where_probabilities_round_to_0(script):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert script["cross_entropy"](np.array([-1000.0]), np.array([1.0])) == 1000
        assert script["cross_entropy"](np.array([1000.0]), np.array([1.0])) == 0


def test_both_agree_for_the_network_too(script):
    from tinygen import nn
    rng = np.random.default_rng(1)
    x, y = script["moons"](40, rng)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    start = [p.detach().numpy().copy() for p in model.parameters()]
    hand, last = script["network_by_hand"](x, y, start, 50)
    engine = script["network_by_tinygen"](x, y, model, 50)
    assert_allclose(engine, hand, rtol=1e-12)
    for p, by_hand in zip(model.parameters(), last):
        assert_allclose(p.detach().numpy(), by_hand, rtol=1e-10)
