"""A recording holds on to nothing that the function by itself would have let go."""

import tracemalloc

import numpy as np

import tinygen as tg
from tinygen.jit import capture


def chain(x):
    for _ in range(40):
        x = tg.tanh(x * 0.5)
    return x


def peak(f, x):
    tracemalloc.start()
    try:
        f(x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_arrays_are_let_go_while_the_tape_records():
    x = tg.ones((256, 256))
    plain = peak(chain, x)
    assert peak(lambda x: capture(chain, x), x) < plain + 2 * x.nbytes         # of 80
    program = capture(chain, x).optimized(fuse=False)
    program.replay(x)
    assert peak(program.replay, x) < plain + x.nbytes // 2


def test_an_array_with_the_id_of_one_that_is_gone_is_another_value():
    def f(x):
        found = x
        for i in range(60):               # each array may get the place of the one before
            y = tg.exp(x * 0.01)
            found = found + y * i
            del y
            z = tg.arange(6) * 1.0        # made from nothing
            found = found + z
            del z
        return found
    program, x = capture(f, tg.ones((6,))), tg.Tensor(np.linspace(0, 1, 6).astype("f"))
    np.testing.assert_array_equal(program.replay(x).data, f(x).data)
    np.testing.assert_array_equal(program.optimized(fuse=False).replay(x).data, f(x).data)
