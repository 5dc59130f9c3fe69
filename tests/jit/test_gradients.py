"""What a jitted function does to `.grad`: the same as without jit, or it is refused."""

import pytest

import tinygen as tg
from tinygen.jit import capture
from tinygen.mode import CaptureError


def adds(w, optimizer, x):
    (w * x).sum().backward()


def adds_twice(w, optimizer, x):
    (w * x).sum().backward()
    (w * x * x).sum().backward()


def forgets_by_hand(w, optimizer, x):
    w.grad = None
    (w * x).sum().backward()


def fills_with_zeros(w, optimizer, x):
    optimizer.zero_grad(set_to_none=False)
    (w * x).sum().backward()
    optimizer.step()


def forgets_at_the_end(w, optimizer, x):
    (w * x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def forgets_twice(w, optimizer, x):
    optimizer.zero_grad()
    (w * x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    (w * w * x).sum().backward()


def two_passes(w, optimizer, x):
    optimizer.zero_grad()
    adds_twice(w, optimizer, x)
    optimizer.step()


def only_forgets(w, optimizer, x):
    optimizer.zero_grad()
    return x * 2


def sets(w, optimizer, x):
    w.grad = x * 2


def clips(w, optimizer, x):
    (w * x).sum().backward()
    tg.nn.utils.clip_grad_norm_([w], 1.0)


def steps_without_forgetting(w, optimizer, x):
    (w * x).sum().backward()
    optimizer.step()


def only_steps(w, optimizer, x):
    optimizer.step()


def looks(w, optimizer, x):
    (w * x).sum().backward()
    return w.grad * 2


SAME = [adds, forgets_by_hand, fills_with_zeros, forgets_at_the_end, forgets_twice, two_passes,
        only_forgets, sets]
REFUSED = [adds_twice, clips, steps_without_forgetting, only_steps, looks]


def run(function, jitted, start=None, between=None, calls=4):
    """Values and gradient of a parameter after each call; the error that ended it, if one did."""
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    w.grad = None if start is None else tg.Tensor(start)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.5)

    def step(x):
        return function(w, optimizer, x)
    call = tg.jit(step, fuse=False) if jitted else step
    found = []
    for i in range(calls):
        if between is not None:
            w.grad = between(i)
        try:
            call(tg.Tensor([i + 1.0, 0.5]))
        except CaptureError as error:
            return found, str(error)
        found.append((w.tolist(), None if w.grad is None else w.grad.tolist()))
    return found, None


@pytest.mark.parametrize("between", [None, lambda i: tg.full((2,), i + 0.25),
                                     lambda i: tg.ones((2,)) if i % 2 else None])
@pytest.mark.parametrize("start", [None, [3.0, 4.0]])
@pytest.mark.parametrize("function", SAME)
def test_gradients_are_what_they_are_without_jit(function, start, between):
    expected, _ = run(function, False, start, between)
    found, error = run(function, True, start, between)
    if error is not None:       # what it does depends on a gradient that was there
        assert function is forgets_at_the_end and (start or between)
    assert found == expected[:len(found)]
    assert error or len(found) == 4


@pytest.mark.parametrize("function", REFUSED)
def test_what_depends_on_gradients_of_before_is_refused(function):
    found, error = run(function, True, [3.0, 4.0])
    assert not found and "zero_grad" in error
    expected, _ = run(function, False)
    found, error = run(function, True)          # none is there at the first call
    assert found == expected[:len(found)]
    assert function is only_steps if error is None else "zero_grad" in error


def test_a_refused_or_failed_recording_puts_the_gradients_back():
    w = tg.ones((2,), requires_grad=True)
    old = w.grad = tg.Tensor([3.0, 4.0])
    with pytest.raises(CaptureError):
        tg.jit(lambda x: looks(w, None, x))(tg.ones((2,)))
    assert w.grad is old and old.tolist() == [3.0, 4.0]

    def fails(x):
        w.grad = None
        (w * x).sum().backward()
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        tg.jit(fails)(tg.ones((2,)))
    assert w.grad is old


def test_a_captured_function_adds_to_gradients_and_says_where_it_cannot():
    w = tg.ones((2,), requires_grad=True)
    program = capture(lambda x: adds(w, None, x), tg.ones((2,)))
    program.replay(tg.full((2,), 2.0))
    program.optimized().replay(tg.full((2,), 3.0))
    assert w.grad.tolist() == [6.0, 6.0]
    w.grad = None
    program = capture(lambda x: looks(w, None, x), tg.ones((2,)))
    with pytest.raises(ValueError, match="zero_grad"):
        program.replay(tg.ones((2,)))
    w.grad = None
    assert program.replay(tg.full((2,), 3.0)).tolist() == [6.0, 6.0]


def test_gradients_of_another_model_are_added_to():
    """As in a GAN whose generator's pass leaves gradients in the discriminator."""
    def losses(jitted):
        tg.manual_seed(0)
        first, second = tg.nn.Linear(3, 3), tg.nn.Linear(3, 1)
        optimizer = tg.optim.Adam(first.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = second(first(x)).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()
        call = tg.jit(step, fuse=False) if jitted else step
        found = [call(tg.full((2, 3), 0.5 + i)).item() for i in range(4)]
        return found, second.weight.grad.tolist()
    assert losses(True) == losses(False)
