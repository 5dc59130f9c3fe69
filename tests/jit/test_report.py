"""Tables of programs: counts by hand, and measuring that leaves everything as it was."""

import re

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.jit import capture
from tinygen.jit.report import costs

F = nn.functional


@pytest.mark.parametrize(("function", "shapes", "flops", "moved"), [
    (lambda x, y: x @ y, [(3, 5), (5, 7)], 2 * 3 * 5 * 7, 4 * (15 + 35 + 21)),
    (lambda x, w: F.linear(x, w), [(2, 3, 5), (7, 5)], 2 * 6 * 5 * 7, 4 * (30 + 35 + 42)),
    (lambda x, w: F.conv2d(x, w, padding=1), [(2, 3, 8, 8), (4, 3, 3, 3)],
     2 * (2 * 4 * 64) * 27, 4 * (384 + 108 + 512)),
    (lambda x, w: F.conv_transpose2d(x, w, stride=2), [(2, 3, 4, 4), (3, 5, 2, 2)],
     2 * (2 * 3 * 16) * 20, 4 * (96 + 60 + 640)),
    (lambda x: x + x, [(4, 4)], 16, 4 * 48),
    (lambda x: x.T, [(4, 5)], 0, 0),
    (lambda x: x.sum(), [(4, 5)], 20, 4 * 21),
    (lambda x: tg.take(x, tg.Tensor([1, 2]), axis=0), [(100, 5)], 0, 8 * 2 + 2 * 4 * 10)])
def test_operations_and_bytes_are_counted(function, shapes, flops, moved):
    found = costs(capture(function, *(tg.ones(s) for s in shapes)))
    assert (sum(c.flops for c in found), sum(c.bytes for c in found)) == (flops, moved)


def test_gradients_of_a_linear_layer_cost_twice_what_it_costs():
    w = tg.ones((7, 5), requires_grad=True)

    def step(x):
        x = x.detach().requires_grad_()
        F.linear(x, w).sum().backward()
        return x.grad
    program = capture(step, tg.ones((3, 5)))
    rows = zip(program.rows, costs(program), strict=True)
    found = {row.op.name: cost.flops for row, cost in rows}
    assert found["linear_vjp"] == 2 * found["linear"] == 4 * 3 * 5 * 7


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_cost_their_products(layer, gates):
    """Forward: every step's products with both weights; backward: twice that, and no x gradient."""
    net = layer(3, 5)

    def step(x):
        net(x)[0].sum().backward()
        return [p.grad for p in net.parameters()]
    program = capture(step, tg.ones((7, 2, 3)))
    rows = zip(program.rows, costs(program), strict=True)
    found = {row.op.name.rpartition("_sequence")[2]: cost.flops for row, cost in rows
             if "_sequence" in row.op.name}
    assert found == {"": 2 * 7 * 2 * gates * 5 * (3 + 5), "_vjp": 2 * 7 * 2 * gates * 5 * (3 + 10)}


@pytest.mark.parametrize(("queries", "keys", "causal", "pairs"), [
    (4, 6, False, 24), (4, 4, True, 10), (1, 6, False, 6)])
def test_attention_costs_the_pairs_that_see_each_other(queries, keys, causal, pairs):
    q, k = tg.ones((2, 3, queries, 8)), tg.ones((2, 3, keys, 8))
    program = capture(lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=causal), q, k)
    found = [c.flops for row, c in zip(program.rows, costs(program), strict=True)
             if row.op.name == "attention"]
    assert found == [4 * 6 * pairs * 8]


def test_measuring_changes_nothing():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(8))
    optimizer = optim.Adam(model.parameters())

    @tg.jit
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean() + (tg.random.normal((3,)) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()
    x = tg.ones((6, 4)) * tg.arange(6)[:, None]
    step(x)
    state, drawn = {k: v.data.copy() for k, v in model.state_dict().items()}, tg.random.get_state()
    text = step.program().table(x)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.data, state[name])
    assert str(tg.random.get_state()) == str(drawn)
    assert re.search(r"random_key.* \d+\.\d +\d+%  test_report.py:\d+: loss = model", text)
    assert re.search(r"^\d+ rows +[\d.]+ +[\d.]+ +[\d.]+ +\d+%$", text, re.MULTILINE)
    step(x)


def test_a_row_names_the_line_that_made_it():
    def f(x):
        y = tg.exp(x)
        return y.sum()
    lines = [row.line for row in capture(f, tg.ones((2,))).rows]
    assert lines[0].endswith("y = tg.exp(x)") and lines[1].endswith("return y.sum()")
    assert lines[0].startswith("test_report.py:")
