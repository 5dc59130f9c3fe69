"""Dropout has no reference to the bit, so its law is checked; and Reshape, which PyTorch lacks."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


@pytest.mark.parametrize(("layer", "kept_shape"), [(nn.Dropout(0.3), (40, 50, 4, 4)),
                                                   (nn.Dropout2d(0.3), (40, 50))])
def test_dropout_zeroes_a_share_and_rescales_the_rest(layer, kept_shape):
    tg.manual_seed(0)
    x = tg.ones((40, 50, 4, 4), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert np.array_equal(x.grad.data, y.data)       # the gradient passes the same mask
    values = np.unique(y.data)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    kept = y.data.reshape(40, 50, 16)
    if len(kept_shape) == 2:                          # whole channels
        assert (kept == kept[..., :1]).all()
        kept = kept[..., 0]
    n = kept.size
    assert abs((kept > 0).mean() - 0.7) < 4 * (0.21 / n) ** 0.5
    assert layer.eval()(x) is x


def test_dropout_draws_from_its_generator_or_the_default_one():
    x = tg.ones((100,))
    one = nn.Dropout(0.5, generator=tg.Generator(3))
    two = nn.Dropout(0.5, generator=tg.Generator(3))
    state = tg.random.get_state()
    assert np.array_equal(one(x).data, two(x).data)
    assert tg.random.get_state() == state
    layer = nn.Dropout(0.5)
    tg.manual_seed(5)
    first = layer(x).data
    tg.manual_seed(5)
    assert np.array_equal(layer(x).data, first)
    assert not np.array_equal(layer(x).data, first)
    assert not nn.Dropout(1.0)(x).data.any()


def test_reshape_keeps_the_batch_axis():
    x = tg.arange(24).reshape(2, 12)
    assert nn.Reshape(3, 4)(x).shape == (2, 3, 4)
    assert nn.Reshape((2, -1))(x).shape == (2, 2, 6)
    assert nn.Reshape(3, 4)(tg.zeros((0, 12))).shape == (0, 3, 4)
    assert np.array_equal(nn.Unflatten(-1, (2, -1))(x).data, x.data.reshape(2, 2, 6))
