"""What Python does in a jitted function that no replay would do again is refused."""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import batch
from tinygen import nn, optim
from tinygen.jit import CaptureError

COUNT = 0


def seeds(x):
    tg.manual_seed(3)
    return x + tg.random.normal((2,))


def makes_a_generator(x):
    return x + tg.random.normal((2,), generator=tg.Generator(3))


def counts_in_a_helper(x):
    return x * count()


def count():
    global COUNT
    COUNT += 1
    return COUNT


def grows_a_default(x, held=[]):                # noqa: B006
    held.append(1)
    return x * len(held)


def counts_at_itself(x):
    counts_at_itself.n = getattr(counts_at_itself, "n", 0) + 1
    return x


class Counter:
    n = 0


def counts_at_a_class(x):
    Counter.n += 1
    return x * Counter.n


def writes_past_operations(x):
    x.data[0] = 7
    return x * 1


def gives_another_array(x):
    x.data = x.data * 2
    return x * 1


def makes_an_optimizer(x):
    w = x.detach().requires_grad_()
    (w * w).sum().backward()
    optim.Adam([w], lr=0.1).step()
    return w.detach()


@pytest.mark.parametrize(("function", "message"), [
    (seeds, "[manual_seed] changes the stream"), (makes_a_generator, "[Generator]"),
    (counts_in_a_helper, "the variable COUNT"), (grows_a_default, "a default of grows_a_default"),
    (counts_at_itself, "attributes of counts_at_itself"), (counts_at_a_class, "Counter.n"),
    (writes_past_operations, "by other means"), (gives_another_array, "another array"),
    (makes_an_optimizer, "[Adam] is made while")])
def test_what_a_replay_would_not_do_is_refused(function, message):
    before = COUNT, Counter.n
    for _ in range(2):
        with pytest.raises(CaptureError) as error:
            tg.jit(function)(batch(0))
        assert message in str(error.value)
    assert (COUNT, Counter.n) == before and not vars(counts_at_itself)
    assert grows_a_default.__defaults__ == ([],)


def writes_to_a_closure(w):
    w.data = w.data + 1


def writes_into_a_closure(w):
    w.data[0] += 1


def writes_into_it_before_an_operation(w):
    w.data[0] += 1
    w.assign_(w * 2)


def writes_into_it_between_operations(w):
    w.assign_(w * 2)
    w.data[0] += 1
    w.assign_(w * 2)


def freezes(w):
    w.requires_grad_(False)


def adds_a_hook(w):
    w.register_hook(lambda g: g * 2)


def loads(w):
    model = nn.Linear(1, 2, bias=False)
    model.load_state_dict({"weight": np.ones((2, 1), "f")})


@pytest.mark.parametrize("what", [
    writes_to_a_closure, writes_into_a_closure, writes_into_it_before_an_operation,
    writes_into_it_between_operations, freezes, adds_a_hook, loads])
@pytest.mark.parametrize("length", [2, 5000])
def test_what_is_done_to_a_tensor_of_the_closure_is_refused(what, length):
    w = tg.ones((length,), requires_grad=what in (freezes, adds_a_hook))
    learns = w.requires_grad

    def function(x):
        what(w)
        return x * w[:2].detach()
    with pytest.raises(CaptureError):
        tg.jit(function)(batch(0))
    assert w.requires_grad is learns and not w.hooks
    assert w.tolist() == [1.0] * length or length > 2       # large ones: see docs/jit.md
