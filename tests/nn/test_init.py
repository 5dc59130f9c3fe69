"""nn.init: the laws of the draws, and the constants of PyTorch's defaults."""

import math

import numpy as np
import pytest
from scipy import stats

import tinygen as tg
from tinygen import nn
from tinygen.nn import init


def draw(fn, shape=(200, 100), **kwargs):
    return fn(tg.empty(shape), generator=tg.Generator(0), **kwargs).data.ravel()


def follows(sample, law):
    """Kolmogorov-Smirnov: a wrong scale by 5% fails at 20,000 draws."""
    assert stats.kstest(sample, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("fn", "kwargs", "law"), [
    (init.uniform_, {"a": -2, "b": 3}, stats.uniform(-2, 5)),
    (init.normal_, {"mean": 1, "std": 0.5}, stats.norm(1, 0.5)),
    (init.xavier_uniform_, {"gain": 2}, stats.uniform(-2 * math.sqrt(.02), 4 * math.sqrt(.02))),
    (init.xavier_normal_, {}, stats.norm(0, math.sqrt(2 / 300))),
    (init.kaiming_uniform_, {"nonlinearity": "relu"},
     stats.uniform(-math.sqrt(.06), 2 * math.sqrt(.06))),
    (init.kaiming_normal_, {"mode": "fan_out", "a": 0.2},
     stats.norm(0, math.sqrt(2 / 1.04 / 200))),
    (init.trunc_normal_, {}, stats.truncnorm(-2, 2)),
    (init.trunc_normal_, {"mean": 1, "std": 2, "a": 0, "b": 2}, stats.truncnorm(-.5, .5, 1, 2)),
    (init.trunc_normal_, {"a": 3, "b": 5}, stats.truncnorm(3, 5)),
])
def test_distributions(fn, kwargs, law):
    follows(draw(fn, **kwargs), law)


def test_trunc_normal_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="too far from the mean"):
        draw(init.trunc_normal_, a=9, b=math.inf)
    with pytest.raises(ValueError, match="a < b"):
        draw(init.trunc_normal_, a=1, b=1)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 2, 3, 3), (20, 2, 3, 1)])
def test_orthogonal(shape):
    w = init.orthogonal_(tg.empty(shape, dtype="float64"), gain=3, generator=tg.Generator(0))
    m = w.data.reshape(shape[0], -1)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(gram, 9 * np.eye(len(gram)), atol=1e-12)


def test_fixed_values():
    assert (init.constant_(tg.empty((3,)), 2.5).data == 2.5).all()
    assert np.array_equal(init.eye_(tg.empty((2, 3))).data, np.eye(2, 3))
    x = tg.randn(1, 4, 5, 5)
    w = init.dirac_(tg.empty((4, 2, 3, 3)), groups=2)
    assert np.array_equal(tg.conv2d(x, w, padding=1, groups=2).data, x.data)
    with pytest.raises(ValueError, match="needs a matrix"):
        init.eye_(tg.empty((2,)))


def test_gains_and_fans_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, param in [("linear", None), ("conv2d", None), ("conv_transpose2d", None),
                        ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None),
                        ("leaky_relu", None), ("leaky_relu", 0.3)]:
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
    assert init.fans(tg.empty((4, 3, 2, 5))) == torch.nn.init._calculate_fan_in_and_fan_out(
        torch.empty(4, 3, 2, 5))
    with pytest.raises(ValueError, match="unknown nonlinearity 'swish'"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match=r"\[kaiming_normal_\] .*at least two axes"):
        init.kaiming_normal_(tg.empty((3,)))


@pytest.mark.parametrize(("make", "bound"), [
    (lambda: nn.Linear(100, 200), 0.1), (lambda: nn.Conv2d(4, 100, 5), 0.1),
    (lambda: nn.Conv2d(8, 100, 5, groups=2), 0.1), (lambda: nn.ConvTranspose2d(50, 4, 5), 0.1)])
def test_layers_start_uniform_within_one_over_root_fan_in(make, bound):
    """The bounds that PyTorch documents for its layers."""
    tg.manual_seed(0)
    layer = make()
    follows(layer.weight.data.ravel(), stats.uniform(-bound, 2 * bound))
    assert np.abs(layer.bias.data).max() <= bound
    follows(np.concatenate([make().bias.data for _ in range(50)]), stats.uniform(-bound, 2 * bound))


def test_in_place_without_a_graph_and_repeatable():
    layer = nn.Linear(3, 3)
    assert init.normal_(layer.weight, generator=tg.Generator(1)) is layer.weight
    assert layer.weight.is_leaf and layer.weight.requires_grad
    first = layer.weight.data.copy()
    init.normal_(layer.weight, generator=tg.Generator(1))
    assert np.array_equal(layer.weight.data, first)
    tg.manual_seed(3)
    a = nn.Linear(3, 3).weight.data
    tg.manual_seed(3)
    assert np.array_equal(nn.Linear(3, 3).weight.data, a)
