"""Views of views, and products of transposed operands."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.compare import agree
from tests.jit.parts import names
from tinygen.jit import capture
from tinygen.jit.passes import dead_code, fold_views, transposed_operands

RNG = np.random.default_rng(0)


def draw(*shape):
    return tg.Tensor(RNG.standard_normal(shape).astype("f"))


def folded(f, *args):
    """The program after the pass; what it gives for new arguments is what f gives."""
    program = dead_code(fold_views(capture(f, *args)))
    new = [draw(*x.shape) for x in args]
    for a, b in zip(program.replay(*new), f(*new), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert a.data.strides == b.data.strides
    return program


@pytest.mark.parametrize("first", [(0, 1, 2), (1, 2, 0), (-1, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("second", [(1, 2, 0), (2, 0, 1), (0, -1, 1)])
def test_two_permutations_are_one_or_none(first, second):
    def f(x):
        return [tg.permute_dims(tg.permute_dims(x, first), second) * 2]
    program = folded(f, draw(2, 3, 4))
    nothing = np.array_equal(np.arange(3)[list(first)][list(second)], np.arange(3))
    assert names(program) == ["multiply"] if nothing else ["permute_dims", "multiply"]


def test_views_that_change_nothing_disappear():
    def f(x):
        same = tg.broadcast_to(x.reshape(-1, 4).reshape(3, 4), (3, 4))
        return [tg.permute_dims(same, (0, 1)) + same.T.T]
    assert names(folded(f, draw(3, 4))) == ["add"]


def test_a_returned_view_is_a_view_of_its_argument():
    program = folded(lambda x: [x.reshape(3, 4), x.T.T], draw(3, 4))
    x = draw(3, 4)
    for y in program.replay(x):
        assert y is not x and np.shares_memory(y.data, x.data)


def test_a_reshape_that_copies_is_no_view():
    program = folded(lambda x: [x.T.reshape(-1).reshape(4, 3) * 2], draw(3, 4))
    assert names(program) == ["permute_dims", "reshape", "reshape", "multiply"]


@pytest.mark.parametrize("fuse", [False, True])
def test_a_view_sees_what_is_changed_in_place(fuse):
    def make():
        w = tg.Tensor(np.arange(6.0, dtype="f").reshape(2, 3), requires_grad=True)

        def f(x):
            with tg.no_grad():
                view, back, old = w.T, w.T.T, w.T.T * 1
                same = w.reshape(2, 3)
                product = x @ w.T
                w.assign_(w * 2 + 1)
                later = x @ view
                back += 1
            return [product, later, old, back * 1, same + 0, view.T @ view]
        return f, w
    (f, w), (g, v) = make(), make()
    fast = tg.jit(g, fuse=fuse)
    for _ in range(3):
        x = draw(4, 3)
        for a, b in zip(fast(x), f(x), strict=True):
            agree(a.data, b.data, fused=fuse)
        agree(v.data, w.data, fused=fuse)


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
def test_a_layer_by_hand_turns_no_weight_and_no_gradient(shape):
    w, v = (tg.Tensor(draw(*s).data, requires_grad=True) for s in ((5, 4), (3, 5)))

    def f(x):
        x = x.detach().requires_grad_()
        w.grad = v.grad = None
        y = tg.sin(x @ w.T) @ v.T
        y.square().sum().backward()
        return [y.detach(), x.grad, w.grad, v.grad]
    program = transposed_operands(capture(f, draw(*shape)).optimized(fuse=False))
    x = draw(*shape)
    found = program.replay(x)
    for a, b in zip(found, f(x), strict=True):
        agree(a.data, b.data, fused=True)
    assert names(program).count("linear") == names(program).count("permute_dims") == 2
    assert all(y.data.flags.c_contiguous for y in found)


def test_what_is_read_elsewhere_too_or_is_no_matrix_stays():
    def f(x, y):
        product = x.T @ y
        batch = tg.matrix_transpose(tg.matrix_transpose(x.reshape(2, 3, 4)) @ y.reshape(2, 3, 5))
        return [product.T + 1, product, batch, (x @ x.T).T, y.astype("float64") @ y.T]
    program = capture(f, draw(6, 4), draw(6, 5)).optimized(fuse=False)
    better = transposed_operands(program)
    assert names(better).count("linear") == 1      # of x and x; the one of two dtypes stays
    args = draw(6, 4), draw(6, 5)
    for a, b in zip(better.replay(*args), f(*args), strict=True):
        agree(a.data, b.data, fused=True)
