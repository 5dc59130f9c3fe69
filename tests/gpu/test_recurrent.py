"""Recurrent sequences on a GPU, forward and backward: the definition's numbers in every order."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, definition, draw, needs_compiler
from tinygen.primitive import KERNELS

pytestmark = needs_compiler
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
LENGTHS = np.array([4, 1, 0, 3, 2])


def arrays(cell, steps=4, batch=5, size=3, hidden=6, biases=True, dtype=np.float32):
    gates = GATES[cell]
    shapes = [(steps, batch, size), *[(batch, hidden)] * (1 + (cell == "lstm")),
              (gates * hidden, size), (gates * hidden, hidden)]
    shapes += [(gates * hidden,)] * 2 if biases else []
    found = [draw(s, dtype, seed=i, scale=0.7) for i, s in enumerate(shapes)]
    return found if biases else [*found, None, None]


def inputs(cell, lengths, **sizes):
    given = arrays(cell, **sizes)
    return [*given, *([None] if cell == "lstm" else []), lengths]


CASES = [(cell, reverse, ends) for cell in GATES for reverse in (False, True)
         for ends in (None, LENGTHS)]


@pytest.mark.parametrize("cell, reverse, lengths", CASES)
def test_sequences_and_their_gradients(cupy, cell, reverse, lengths):
    name, given = f"{cell}_sequence", inputs(cell, lengths)
    ys = check(cupy, name, np.float32, *given, reverse=reverse, scale=2)
    wide = definition(name, *given, reverse=reverse)
    count = 3 if cell == "lstm" else 2
    gs = [draw(y.shape, seed=9 + i) for i, y in enumerate(wide[:count])]
    needs = tuple(a is not None and a.dtype.kind == "f" for a in given)
    check(cupy, f"{name}_vjp", np.float32, *gs, *ys, *given, needs=needs, reverse=reverse, scale=4)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("sizes", [dict(steps=1), dict(batch=1, hidden=1), dict(biases=False),
                                   dict(batch=23, hidden=13, steps=2)])
def test_other_sizes(cupy, cell, sizes):
    check(cupy, f"{cell}_sequence", np.float32, *inputs(cell, None, **sizes), scale=2)


def test_relu(cupy):
    given = inputs("rnn", LENGTHS)
    y, h, states = check(cupy, "rnn_sequence", np.float32, *given, nonlinearity="relu", scale=2)
    check(cupy, "rnn_sequence_vjp", np.float32, draw(y.shape), draw(h.shape, seed=1), y, h, states,
          *given, needs=(True,) * 6, nonlinearity="relu", scale=4)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_halves(cupy, dtype):
    for cell in GATES:
        given, count = inputs(cell, LENGTHS), 3 if cell == "lstm" else 2
        ys = check(cupy, f"{cell}_sequence", dtype, *given, scale=4)
        gs = [draw(y.shape, seed=9 + i) for i, y in enumerate(ys[:count])]
        needs = tuple(a is not None and a.dtype.kind == "f" for a in given)
        check(cupy, f"{cell}_sequence_vjp", dtype, *gs, *ys, *given, needs=needs, scale=8)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_layer_makes_two_launches_a_step_and_waits_for_nothing(cell):
    layer = getattr(tg.nn, cell)(3, 4).to("cuda")
    counts = []
    for steps in (3, 3, 13):
        x = tg.Tensor(draw((steps, 2, 3)), device="cuda")
        with counted() as seen:
            layer(x)[0].sum().backward()
        counts.append(seen.launches)
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    assert counts[2] - counts[1] == 10 * 4                # a product and a launch, each way


def test_what_stands_past_the_end_is_not_seen(cupy):
    for cell in GATES:
        given = inputs(cell, LENGTHS)
        given[0] = given[0].copy()
        wanted = KERNELS[f"{cell}_sequence", cupy.ndarray](*[
            None if a is None else cupy.asarray(a) for a in given])
        given[0][np.arange(4)[:, None] >= LENGTHS] = np.nan
        found = KERNELS[f"{cell}_sequence", cupy.ndarray](*[
            None if a is None else cupy.asarray(a) for a in given])
        for a, b in zip(found[:2], wanted[:2]):
            np.testing.assert_array_equal(a.get(), b.get())


def test_declined(cupy):
    given = [None if a is None else cupy.asarray(a) for a in inputs("gru", None)]
    native = KERNELS["gru_sequence", cupy.ndarray]
    assert native(*[a if a is None else a.astype(np.float64) for a in given]) is NotImplemented
    assert native(given[0].astype(np.float16), *given[1:]) is NotImplemented
    assert native(given[0][:0], *given[1:]) is NotImplemented
    lstm = [None if a is None else cupy.asarray(a) for a in inputs("lstm", None)]
    lstm[7] = cupy.ones((2, 6), np.float32)
    assert KERNELS["lstm_sequence", cupy.ndarray](*lstm) is NotImplemented
