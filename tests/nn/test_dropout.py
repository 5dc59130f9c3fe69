"""Dropout has no reference to the bit, so its law is checked; and Reshape, which PyTorch lacks."""

import numpy as np
import pytest
from scipy import stats

import tinygen as tg
from tinygen import nn
from tinygen.autograd import grad_of
from tinygen.jit import capture
from tinygen.random.drop import bits


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


# -- the numbers behind it: one key a call, spread by a counter ------------------------------------


def masks(calls, n, p, seed=0):
    """What is kept in several calls in a row."""
    generator = tg.Generator(seed)
    x = tg.ones((n,))
    return np.array([nn.functional.dropout(x, p, generator=generator).data > 0
                     for _ in range(calls)])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropped_elements_are_independent_of_neighbours_and_of_other_calls(p):
    kept = masks(64, 40_001, p)
    law = stats.binom(kept.shape[0] * kept.shape[1], 1 - p)
    assert 1e-4 < law.cdf(kept.sum()) < 1 - 1e-4
    per_place = kept.sum(0)                        # a place is no more often kept than another
    counts = np.bincount(per_place, minlength=65)
    expected = stats.binom(64, 1 - p).pmf(np.arange(65)) * kept.shape[1]
    large = expected > 5
    assert stats.chisquare(np.append(counts[large], counts[~large].sum()),
                           np.append(expected[large], expected[~large].sum())).pvalue > 1e-4
    centred = kept - (1 - p)
    deviation = p * (1 - p)
    for lag in (1, 2, 3, 8, 64, 1000):
        along = (centred[:, lag:] * centred[:, :-lag]).mean() / deviation
        assert abs(along) < 4.5 / np.sqrt(centred[:, lag:].size)
    between = (centred[1:] * centred[:-1]).mean() / deviation
    assert abs(between) < 4.5 / np.sqrt(centred[1:].size)


def test_the_stream_of_a_key_is_uniform():
    for key in (0, 1, 2 ** 64 - 1, 0x9E3779B97F4A7C15):
        u = bits(np, np.uint64(key), 0, 200_001)
        assert len(u) == 200_001
        for shift in (0, 8, 24):                   # low and high bits alike
            counts = np.bincount((u >> np.uint32(shift)) & np.uint32(255), minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-4
    key = np.uint64(7)
    np.testing.assert_array_equal(bits(np, key, 10, 23), bits(np, key, 0, 23)[10:])


def test_dropout_continues_from_a_saved_state_and_inside_programs():
    x = tg.randn(33, 5)
    tg.manual_seed(3)
    nn.functional.dropout(x)
    state = tg.random.get_state()
    first = [nn.functional.dropout(x).data for _ in range(3)]
    tg.random.set_state(state)
    for y in first:
        np.testing.assert_array_equal(nn.functional.dropout(x).data, y)

    def step(x):
        x = x.detach().requires_grad_()
        y = nn.functional.dropout(x, 0.4)
        (y * y).sum().backward()
        return y.detach(), x.grad
    program = capture(step, x)
    tg.manual_seed(4)
    replayed = [program.replay(x) for _ in range(2)]
    assert not np.array_equal(replayed[0][0].data, replayed[1][0].data)
    tg.manual_seed(4)
    for y, g in replayed:
        again = step(x)
        np.testing.assert_array_equal(y.data, again[0].data)
        np.testing.assert_array_equal(g.data, again[1].data)


def test_second_derivatives_pass_the_same_mask():
    x = tg.Tensor(np.arange(1.0, 9.0), requires_grad=True)
    y = nn.functional.dropout(x, 0.5, generator=tg.Generator(1))
    g, = grad_of((y ** 3.0).sum(), [x], create_graph=True)
    h, = grad_of(g.sum(), [x])
    scale = y.data / x.data
    np.testing.assert_allclose(h.data, 6 * x.data * scale ** 3)
