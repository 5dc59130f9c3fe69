"""Positions against their definitions: complex rotations, the authors' formulas, distances."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dim", [1, 4, 5])
def test_sinusoids(dim):
    table = F.sinusoidal_positions(6, dim, base=100.0, offset=2, dtype="float64").data
    for p in range(6):
        for c in range(dim):
            angle = (p + 2) / 100.0 ** ((c - c % 2) / dim)
            assert math.isclose(table[p, c], (math.cos if c % 2 else math.sin)(angle))


@pytest.mark.parametrize("batch_first", [True, False])
def test_layers_add_their_table_and_continue_at_an_offset(batch_first):
    for layer in (nn.SinusoidalPositions(4, batch_first=batch_first),
                  nn.LearnedPositions(9, 4, batch_first=batch_first)):
        x = rng().standard_normal((3, 7, 4) if batch_first else (7, 3, 4)).astype("f4")
        whole = layer(tg.Tensor(x)).data
        alone = layer(tg.Tensor(x[0] if batch_first else x[:, 0])).data
        np.testing.assert_allclose(whole[0] if batch_first else whole[:, 0], alone)
        rest = layer(tg.Tensor(x[:, 5:] if batch_first else x[5:]), offset=5).data
        np.testing.assert_allclose(rest, whole[:, 5:] if batch_first else whole[5:], atol=1e-6)
    table = layer.weight.data[:7]
    np.testing.assert_allclose((whole - x)[0] if batch_first else (whole - x)[:, 0], table,
                               atol=1e-6)
    layer(tg.Tensor(x)).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.data[:, 0], [3] * 7 + [0] * 2)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("dim", [None, 4])
def test_rotations_are_products_with_complex_numbers(layout, dim):
    x = rng().standard_normal((2, 3, 5, 6))
    n = dim or 6
    turned = F.rotary_embedding(tg.Tensor(x), dim=dim, base=50.0, layout=layout, offset=1).data
    pairs = [(i, i + n // 2) if layout == "half" else (2 * i, 2 * i + 1) for i in range(n // 2)]
    for i, (a, b) in enumerate(pairs):
        z = (x[..., a] + 1j * x[..., b]) * np.exp(1j * np.arange(1, 6) * 50.0 ** (-2 * i / n))
        np.testing.assert_allclose(turned[..., a], z.real)
        np.testing.assert_allclose(turned[..., b], z.imag)
    np.testing.assert_array_equal(turned[..., n:], x[..., n:])


def test_rotated_scores_depend_on_the_distance_only():
    q, k = (tg.Tensor(a) for a in rng().standard_normal((2, 1, 8)))
    turn = nn.RotaryPositions()
    near = (turn(q, [3]) * turn(k, [1])).sum().item()
    far = (turn(q, tg.Tensor([103])) * turn(k, tg.Tensor([101]))).sum().item()
    assert math.isclose(near, far) and not math.isclose(near, (turn(q, [4]) * k).sum().item())


def test_the_gradient_of_a_rotation_is_the_rotation_back():
    for layout in ("half", "interleaved"):
        x = tg.Tensor(rng().standard_normal((5, 6)), requires_grad=True)
        g = rng(1).standard_normal((5, 6))
        F.rotary_embedding(x, layout=layout).backward(g)
        back = F.rotary_embedding(tg.Tensor(g), -np.arange(5), layout=layout)
        np.testing.assert_allclose(x.grad.data, back.data)
    x = tg.Tensor(np.ones((5, 6), "f4"))
    assert F.rotary_embedding(x).dtype == np.float32


def test_alibi_slopes_and_biases():
    np.testing.assert_allclose(F.alibi_slopes(8), [2.0 ** -i for i in range(1, 9)])
    # 12 heads in the authors' code: the 8 of a power of two, then every second of 16
    np.testing.assert_allclose(F.alibi_slopes(12), [2.0 ** -i for i in range(1, 9)]
                               + [2.0 ** -(i + 0.5) for i in range(4)])
    np.testing.assert_allclose(F.alibi_slopes(1), [2.0 ** -8])
    np.testing.assert_allclose(F.alibi_slopes(3), [2.0 ** -4, 2.0 ** -8, 2.0 ** -2])
    whole = F.alibi_bias(3, 5, causal=True).data
    for h, slope in enumerate(F.alibi_slopes(3)):
        for i in range(5):
            expected = [-slope * (i - j) if j <= i else -np.inf for j in range(5)]
            np.testing.assert_allclose(whole[h, i], expected, rtol=1e-6)
    np.testing.assert_array_equal(F.alibi_bias(3, 2, 5, causal=True).data, whole[:, 3:])
    both = F.alibi_bias(2, 4).data
    np.testing.assert_array_equal(both, both.swapaxes(1, 2))
    x = tg.Tensor(rng().standard_normal((2, 3, 5, 4)).astype("f4"))
    y = F.scaled_dot_product_attention(x, x, x, F.alibi_bias(3, 5, causal=True))
    np.testing.assert_allclose(y.data[:, :, 0], x.data[:, :, 0], atol=1e-6)


def test_relative_position_buckets():
    def bucket(d, **options):
        return F.relative_position_bucket(np.array(d), 32, 128, **options).tolist()
    assert bucket([0, -1, -7, 1, 7]) == [0, 1, 7, 17, 23]             # near: one each
    assert bucket([-8, -16, -32, -64, -127, -128, -999]) == [8, 10, 12, 14, 15, 15, 15]
    assert bucket([8, 16, 32, 64, 999]) == [24, 26, 28, 30, 31]
    assert bucket([5, 0, -15, -16, -128, -999], bidirectional=False) == [0, 0, 15, 16, 31, 31]
    layer = nn.RelativePositionBias(4)
    bias = layer(6)
    assert bias.shape == (4, 6, 6)
    np.testing.assert_array_equal(layer(2, 6).data, bias.data[:, 4:])
    np.testing.assert_array_equal(bias.data[:, 1, 0], bias.data[:, 5, 4])
    bias.sum().backward()
    assert layer.table.weight.grad.data[0].tolist() == [6.0] * 4


@pytest.mark.parametrize(("call", "text"), [
    (lambda: F.rotary_embedding(tg.ones((3, 5))), "dim must be even"),
    (lambda: F.rotary_embedding(tg.ones((3, 4)), dim=6), r"got dim 6 and x \(3, 4\)"),
    (lambda: F.rotary_embedding(tg.ones((3, 4)), layout="pairs"), "'half' or 'interleaved', got"),
    (lambda: F.rotary_embedding(tg.ones((3, 4)), [0, 1]), r"positions \(2,\) do not broadcast"),
    (lambda: nn.LearnedPositions(3, 4)(tg.ones((2, 2, 4)), offset=2), "positions 2 to 3 are asked"),
    (lambda: nn.SinusoidalPositions(4)(tg.ones((2, 5))), r"x must be \(N, L, 4\) or \(L, 4\)"),
    (lambda: F.alibi_slopes(0), "num_heads must be at least 1"),
])
def test_bad_arguments(call, text):
    with pytest.raises(ValueError, match=text):
        call()
