"""A sum and its norm as one row, and their gradients."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.compare import agree
from tests.jit.parts import names, square_step
from tinygen import nn
from tinygen.jit import capture, passes
from tinygen.jit.passes.together import has_kernel

F = nn.functional
RNG = np.random.default_rng(0)
NORMS = {"layer_norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
         "layer_norm without parameters": lambda x, w, b: F.layer_norm(x, w.shape),
         "layer_norm without bias": lambda x, w, b: F.layer_norm(x, w.shape, w),
         "rms_norm": lambda x, w, b: F.rms_norm(x, w.shape, w),
         "rms_norm without weight": lambda x, w, b: F.rms_norm(x, w.shape)}
norms = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
needs_kernels = pytest.mark.skipif(has_kernel() is None, reason="the pass is for kernels")


def draw(*shape, dtype="f"):
    return tg.Tensor((RNG.standard_normal(shape) * 2 + 1).astype(dtype))


def joined(f, *args):
    return passes.join_residuals(capture(f, *args).optimized(fuse=False))


def check(f, *args):
    """A replay of other numbers is as near to the function as fused rows are."""
    program = joined(f, *args)
    new = [draw(*x.shape, dtype=x.dtype) for x in args]
    for a, b in zip(program.replay(*new), f(*new), strict=True):
        agree(a.data, b.data)
    return names(program)


def connection(norm):
    """Two connections of a network, and gradients of everything."""
    def step(x, y, w, b):
        x, y, w, b = leaves = [v.detach().requires_grad_() for v in (x, y, w, b)]
        z = x * 2 + tg.sin(y)
        z = z + tg.sin(norm(z, w, b))
        (z * tg.cos(norm(z, w.detach(), b.detach()))).sum().backward()
        return [z.detach(), *(v.grad for v in leaves if v.grad is not None)]
    return step


def arguments(shape, last, dtype="f"):
    return (draw(*shape, dtype=dtype), draw(*shape, dtype=dtype),
            *(draw(*shape[-last:], dtype=dtype) for _ in "wb"))


@norms
@pytest.mark.parametrize("shape, last, dtype", [((5, 7), 1, "f"), ((40, 3, 65), 1, "d"),
                                                ((9, 4, 6, 5), 2, "f"), ((2, 3000), 1, "f")],
                         ids=str)
def test_values_and_gradients_are_those_of_the_function(norm, shape, last, dtype):
    check(connection(norm), *arguments(shape, last, dtype))


@needs_kernels
@norms
def test_one_row_each_forward_and_backward(norm):
    found = check(connection(norm), *arguments((5, 7), 1))
    kind = "add_rms_norm" if "add_rms_norm" in found else "add_layer_norm"
    assert found.count(kind) == found.count(f"{kind}_vjp") == 2
    assert not {"add", "layer_norm", "rms_norm", "layer_norm_vjp", "rms_norm_vjp"} & set(found)


@needs_kernels
def test_what_cannot_be_one_row_stays():
    x, y, w = draw(6, 4), draw(6, 4), draw(4)
    assert check(lambda x, w: [F.layer_norm(x + w, (4,))], x, w) == ["add", "layer_norm"]
    assert check(lambda x: [F.layer_norm(x + 1, (4,))], x) == ["add", "layer_norm"]
    assert check(lambda x, y: [F.layer_norm(x - y, (4,))], x, y) == ["subtract", "layer_norm"]

    def early(x, y):             # the sum is needed before its norm
        z = x + y
        return [F.layer_norm(z, (4,), tg.sin(z).mean(0))]
    assert "add" in check(early, x, y)

    def twice(x, y):             # the gradient of the norm is needed by itself, too
        x = x.detach().requires_grad_()
        z = x * 2
        F.layer_norm(z, (4,), y[0]).sum().backward()
        return [x.grad + y, x.grad]
    assert "add" in check(twice, x, y)


def test_two_norms_of_one_sum_and_their_gradients():
    def step(x, y, w, b):
        x, y = leaves = [v.detach().requires_grad_() for v in (x, y)]
        z = x + y
        (F.layer_norm(z, w.shape, w, b) * tg.sin(F.rms_norm(z, w.shape, w))).sum().backward()
        return [v.grad for v in leaves]
    found = check(step, *arguments((6, 4), 1))
    if has_kernel() is not None:
        assert found.count("add_layer_norm") == 1 and found.count("rms_norm") == 1
        assert len([f for f in found if f.startswith("add") and f.endswith("_vjp")]) == 1


@needs_kernels
def test_a_gradient_that_comes_after_that_of_the_norm():
    def step(x, w, b):
        x, w, b = leaves = [v.detach().requires_grad_() for v in (x, w, b)]
        y = tg.exp(x * 0.1)              # recorded before the norm, so its gradient comes after it
        (F.layer_norm(x, w.shape, w, b) * y).sum().backward()
        return [v.grad for v in leaves]
    found = check(step, draw(6, 4), draw(4), draw(4))
    assert "add_layer_norm_vjp" in found and found.index("add_layer_norm_vjp") == len(found) - 1


def test_arrays_that_change_in_between_are_the_old_ones():
    held = tg.zeros((6, 4))

    def f(x):
        held.assign_(x)
        z = held + x
        held.assign_(held * 2)
        return [F.layer_norm(z, (4,), (held + 0).mean(0)), z]
    assert "add_layer_norm" not in check(f, draw(6, 4))

    weight = draw(4)
    start = weight.numpy().copy()

    def g(x):
        x, w = x.detach().requires_grad_(), weight.detach()
        w.assign_(start)
        (F.layer_norm(x, (4,), w) * tg.sin(x.detach())).sum().backward()
        w.assign_(w + 1)
        return [x.grad + x.detach() * w]      # after the change, so the gradient cannot wait
    found = check(g, draw(6, 4))
    assert "add_layer_norm_vjp" not in found and "layer_norm_vjp" in found


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_learns_as_without_jit(norm_first):
    def build():
        tg.manual_seed(0)
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first), 2)
        optimizer = tg.optim.SGD(model.parameters(), 0.1)
        return model, square_step(model, optimizer)
    (ours, fast), (eager, step) = build(), build()
    fast, xs = tg.jit(fast), [draw(3, 5, 8) for _ in range(4)]
    for i, x in enumerate(xs):
        agree(fast(x).data, step(x).data, i + 1)
    for (name, a), (_, b) in zip(ours.state_dict().items(), eager.state_dict().items(),
                                 strict=True):
        agree(a, b, 5, name)
    if has_kernel() is not None:
        found = names(fast.program())
        assert found.count("add_layer_norm") == (3 if norm_first else 4)
        assert found.count("add_layer_norm_vjp") == (3 if norm_first else 0)
