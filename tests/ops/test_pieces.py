"""Elementwise functions that work in pieces give what they give in one."""

from __future__ import annotations

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd import grad_of
from tinygen.ops import pieces

FUNCTIONS = {
    "leaky_relu": lambda x: tg.leaky_relu(x, 0.2), "elu": tg.elu, "sigmoid": tg.sigmoid,
    "log_sigmoid": tg.log_sigmoid, "softplus": tg.softplus, "silu": tg.silu, "erf": tg.erf,
    "gelu": tg.gelu, "gelu_tanh": lambda x: tg.gelu(x, "tanh"),
}
DRAW = np.random.default_rng(0)
ARRAYS = {
    "planes": DRAW.standard_normal((3, 5, 7, 11)),
    "channels-last": DRAW.standard_normal((3, 7, 11, 5), np.float32).transpose(0, 3, 1, 2),
    "every other": DRAW.standard_normal((40, 30), np.float32)[:, ::2],
    "an axis of one": DRAW.standard_normal((1, 999, 1), np.float32),
    "half": DRAW.standard_normal(777).astype(np.float16),
    "broadcast": np.broadcast_to(np.float32(0.5), (30, 30)),
}


@pytest.mark.parametrize("layout", ARRAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_pieces_change_nothing(name, layout, monkeypatch):
    def values(large, piece):
        monkeypatch.setattr(pieces, "LARGE", large)
        monkeypatch.setattr(pieces, "PIECE", piece)
        x = tg.asarray(ARRAYS[layout]).detach().requires_grad_()
        y = FUNCTIONS[name](x)
        seed = tg.asarray(np.cos(ARRAYS[layout]).astype(y.dtype))
        return y.data, grad_of(y, x, seed)[0].data

    for whole, cut in zip(values(1 << 40, 64), values(1, 64)):
        assert cut.dtype == whole.dtype
        tiny = 4 * np.finfo(whole.dtype).eps
        np.testing.assert_allclose(cut, whole, rtol=tiny, atol=tiny)


def test_the_result_keeps_the_memory_order(monkeypatch):
    monkeypatch.setattr(pieces, "LARGE", 1)
    x = ARRAYS["channels-last"]
    assert tg.silu(tg.asarray(x)).data.strides == x.strides
