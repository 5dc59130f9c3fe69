"""A Linear and the activation behind it as one operation: the same numbers, where it may."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F

LAYERS = [nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh(), nn.Sigmoid()]


def pair(activation):
    tg.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), activation)


@pytest.mark.parametrize("activation", LAYERS, ids=repr)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_it_is_one_node_and_equals_both_layers(activation, shape):
    model, x = pair(activation), tg.randn(*shape).requires_grad_()
    together = model(x)
    assert together.op.name == "linear_activation"
    apart = activation(model[0](x))
    np.testing.assert_allclose(together.data, apart.data, rtol=1e-6, atol=1e-7)
    wanted = [x, *model.parameters()]
    seed = tg.randn(*together.shape)
    for a, b in zip(tg.grad((together * seed).sum(), wanted), tg.grad((apart * seed).sum(), wanted),
                    strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", LAYERS, ids=repr)
def test_second_derivatives_are_those_of_both_layers(activation):
    model, x = pair(activation).double(), tg.randn(3, 5, dtype="float64").requires_grad_()

    def penalty(y):
        slope, = tg.grad((y ** 2).sum(), [x], create_graph=True)
        return tg.grad((slope ** 2).sum(), [x, *model.parameters()], allow_unused=True)
    for a, b in zip(penalty(model(x)), penalty(activation(model[0](x))), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)


def test_layers_that_are_watched_or_changed_run_one_after_the_other():
    x, seen = tg.randn(3, 5), []
    for index in (0, 1):
        model = pair(nn.ReLU())
        model[index].register_forward_hook(lambda layer, args, out: seen.append(type(layer)))
        model(x)
    assert seen == [nn.Linear, nn.ReLU]

    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    tg.manual_seed(0)
    model = nn.Sequential(Doubled(5, 7), nn.ReLU())
    np.testing.assert_allclose(model(x).data, 2 * pair(nn.ReLU())(x).data, rtol=1e-6)
    model = pair(nn.ReLU())
    model[0].forward = lambda input: -nn.Linear.forward(model[0], input)
    np.testing.assert_array_equal(model(x).data, F.relu(-pair(nn.ReLU())[0](x)).data)


def test_a_slope_that_hides_the_sign_is_left_alone():
    model, x = pair(nn.LeakyReLU(-0.5)), tg.randn(3, 5)
    assert model(x.requires_grad_()).op.name == "leaky_relu"
    assert pair(nn.GELU())(x).op.name != "linear_activation"


def test_errors_name_the_linear_layer():
    with pytest.raises(ValueError, match=r"^\[linear\].*in layer 0 \(Linear"):
        pair(nn.ReLU())(tg.randn(3, 4))
    with pytest.raises(RuntimeError, match="x must be a tensor, got str; in layer 0"):
        pair(nn.ReLU())("no array")


def test_transformer_layers_use_it_for_relu(monkeypatch):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    x = tg.randn(4, 2, 8)
    y = layer(x)
    monkeypatch.setattr("tinygen.nn.transformer.activated", lambda f, g, x: g(f(x)))
    np.testing.assert_allclose(layer(x).data, y.data, rtol=1e-5, atol=1e-6)
