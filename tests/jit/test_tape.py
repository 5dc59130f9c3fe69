"""Captured programs: a function is recorded once and computed again on new inputs."""

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same
from tinygen.autograd import grad_of
from tinygen.jit import CaptureError, capture
from tinygen.primitive import PRIMITIVES

RNG = np.random.default_rng(0)


def test_a_program_computes_the_function_on_new_inputs():
    def f(x, y):
        return {"product": x @ y, "list": [tg.exp(x).sum(), x.T]}
    a, b = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 4))
    program = capture(f, tg.Tensor(a), tg.Tensor(b))
    c, d = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 4))
    out = program.replay(tg.Tensor(c), tg.Tensor(d))
    close(out["product"], c @ d)
    close(out["list"][0], np.exp(c).sum())
    close(out["list"][1], c.T)
    assert "matmul" in repr(program) and "exp" in repr(program)


def test_a_program_may_hold_a_training_step():
    """Forward, backward and the update by hand, against the same steps run eagerly."""
    x, t = tg.Tensor(RNG.standard_normal((8, 3))), tg.Tensor(RNG.standard_normal((8, 1)))

    def step(w, b):
        w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
        h = tg.linear(x, w, b)
        loss = ((tg.gelu(h).sum(axis=1, keepdims=True) - t) ** 2.0).mean()
        gw, gb = grad_of(loss, [w, b])
        return w.detach() - 0.1 * gw, b.detach() - 0.1 * gb, loss.detach()
    w, b = tg.Tensor(RNG.standard_normal((2, 3))), tg.Tensor(np.zeros(2))
    program = capture(step, w, b)
    mine, theirs = (w, b), (w, b)
    for _ in range(5):
        *mine, loss = step(*mine)
        *theirs, again = program.replay(*theirs)
        close(again, loss.numpy())
    close(theirs[0], mine[0].numpy())


def test_backward_inside_a_capture_fills_grad():
    def f(x):
        x = x.detach().requires_grad_()
        (x * x * x).sum().backward()
        return x.grad
    program = capture(f, tg.Tensor([1.0, 2.0]))
    close(program.replay(tg.Tensor([3.0, 4.0])), [27, 48])


def test_second_derivatives_inside_a_capture():
    def f(x):
        return tg.grad(lambda v: tg.grad(lambda u: (u ** 4.0).sum())(v).sum())(x)
    program = capture(f, tg.Tensor(np.array([1.0, 2.0])))
    close(program.replay(tg.Tensor(np.array([3.0, 5.0]))), [12 * 9, 12 * 25])


def test_several_outputs_and_fused_rules():
    def f(x):
        x = x.detach().requires_grad_()
        y, mean, _ = PRIMITIVES["layer_norm"](x, axes=(1,), eps=1e-5)
        g, = grad_of((y ** 3.0).sum(), x)
        return y.detach(), mean, g
    program = capture(f, tg.Tensor(RNG.standard_normal((2, 5))))
    x = tg.Tensor(RNG.standard_normal((2, 5)))
    for got, expected in zip(program.replay(x), f(x), strict=True):
        close(got, expected.numpy())


def test_what_the_function_reads_from_outside_is_a_constant():
    w = tg.Tensor([2.0])
    program = capture(lambda x: x * w + np.float32(1), tg.Tensor([1.0]))
    same(program.replay(tg.Tensor([10.0])), [21])
    same(capture(lambda x: w, tg.Tensor([1.0])).replay(tg.Tensor([3.0])), [2])
    same(capture(lambda x: x, tg.Tensor([1.0])).replay(tg.Tensor([3.0])), [3])


def test_views_of_an_input_are_followed():
    program = capture(lambda x: x.detach()[0] + x.reshape(-1)[-1], tg.Tensor([[1.0, 2.0]]))
    close(program.replay(tg.Tensor([[10.0, 20.0]])), [30, 40])


def test_other_shapes_and_dtypes_are_refused():
    program = capture(lambda x: x * 2, tg.Tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"\[replay\] captured for .*\(2,\).*called with .*\(3,\)"):
        program.replay(tg.ones((3,)))
    with pytest.raises(ValueError, match="float64"):
        program.replay(tg.ones((2,), dtype="float64"))


CONSTANT = tg.Tensor([2.0])


def change_constant(x):
    y = x * CONSTANT
    CONSTANT.assign_(x + 1)
    return y + CONSTANT


def change_result(x):
    y = x * 2
    first = y[:1]
    y += 1
    y[0] = y[0] * 3
    return y * 2 + first


def change_input(x):
    x += 1
    return x * 2


def change_what_is_made(x):
    made = tg.zeros((1,))
    made += x
    made += x
    return made


@pytest.mark.parametrize("f", [change_constant, change_result, change_input, change_what_is_made])
@pytest.mark.parametrize("optimized", [False, True])
def test_changes_in_place_are_recorded(f, optimized):
    values = [1.0, 5.0, -2.0]

    def run(g):
        CONSTANT.assign_([2.0])
        found = []
        for value in values:
            x = tg.Tensor([value])
            found += [g(x).item(), x.item(), CONSTANT.item()]
        return found
    expected = run(f)
    program = capture(f, tg.Tensor([4.0]))
    assert run((program.optimized() if optimized else program).replay) == expected


def change_values(x):
    y = x * CONSTANT
    CONSTANT.data[...] = 3.0
    CONSTANT.touch()
    return y


def change_part(x):
    made = tg.zeros((2,))
    made[:1].assign_(x)
    return made


@pytest.mark.parametrize(("f", "message"), [
    (change_values, r"^\[capture\] a float32 \(1,\) tensor .* in place .* by other means"),
    (change_part, r"^\[assign_\] .* view of a tensor that was made from nothing")])
def test_changes_in_place_that_a_replay_would_miss_are_refused(f, message):
    with pytest.raises(CaptureError, match=message):
        capture(f, tg.Tensor([1.0]))


def test_setitem_that_records_gradients_makes_new_values_and_is_fine():
    def f(x):
        x = x.detach().requires_grad_()
        y = x * 2
        y[0] = 7.0
        (y * y).sum().backward()
        return y.detach(), x.grad
    y, g = capture(f, tg.Tensor([1.0, 2.0])).replay(tg.Tensor([3.0, 4.0]))
    same(y, [7, 8])
    same(g, [0, 32])


@pytest.mark.parametrize(("look", "name"), [
    (lambda x: x.sum().item(), "item"), (lambda x: 1 if x.sum() > 0 else 2, "bool"),
    (lambda x: print(x), "print"), (lambda x: f"{x.sum():.2f}", "item"),
    (lambda x: f"{x}", "print"),
    (lambda x: float(x.sum()), "float"), (lambda x: int(x.sum()), "int"),
    (lambda x: x.numpy(), "numpy"), (lambda x: np.asarray(x), "__array__"),
    (lambda x: x.tolist(), "tolist"), (lambda x: [0, 1, 2, 3][x.sum().astype("int64")], "item"),
    (lambda x: tg.nonzero(x), "nonzero"), (lambda x: tg.compress(x > 0, x), "compress"),
    (lambda x: tg.interp(x, x, x), "interp"), (lambda x: tg.full((2,), x.sum()), "item"),
])
def test_a_look_at_values_is_refused_with_the_line(look, name):
    with pytest.raises(CaptureError, match=rf"^\[{name}\] looks at the values of a (.|\n)*"
                                           r"called from .*test_tape\.py"):
        capture(look, tg.ones((3,)))


def test_values_of_what_the_function_reads_from_outside_are_refused_too():
    """They may have changed by the next replay."""
    w = tg.Tensor([2.0], requires_grad=True)
    for look in (lambda x: x * w.detach().numpy()[0], lambda x: x * w.item()):
        with pytest.raises(CaptureError):
            capture(look, tg.ones((3,)))


def test_values_made_from_nothing_are_the_same_in_every_replay():
    program = capture(lambda x: x * tg.arange(3).tolist()[2] + float(tg.ones(())), tg.ones((2,)))
    same(program.replay(tg.Tensor([3.0, 4.0])), [7, 9])


def test_a_debugger_may_show_a_recorded_tensor():
    shown = []
    capture(lambda x: shown.append(repr(x + 1)) or x, tg.ones((3,)))
    assert shown == ["Tensor(<recorded>, dtype=float32, shape=(3,))"]


def test_captures_do_not_nest_and_end_with_an_error():
    with pytest.raises(RuntimeError, match="capture is running"):
        capture(lambda x: capture(lambda y: y, x), tg.Tensor([1.0]))
    with pytest.raises(ZeroDivisionError):
        capture(lambda x: 1 / 0, tg.Tensor([1.0]))
    x = leaf([1.0])
    (x * x).backward()                  # recording went back to normal
    same(x.grad, [2])
    same(capture(lambda y: y * 2, tg.Tensor([1.0])).replay(tg.Tensor([4.0])), [8])
