"""What Python does around a jitted function counts; `test_unrecorded.py` has what is refused.

Each case makes a function and a way to call it a few times. With and without jit the results are
the same, up to the call that is refused, if one is.
"""

import functools
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import batch
from tinygen import nn, optim
from tinygen.jit import CaptureError
from tinygen.nn import functional as F

COUNT = 0


def numbers(y):
    """Results as nested lists of numbers."""
    if isinstance(y, tg.Tensor):
        return y.tolist()
    if isinstance(y, (list, tuple)):
        return [numbers(v) for v in y]
    return y


def layer():
    made = nn.Linear(2, 2)
    made.weight.assign_(tg.ones((2, 2)))
    made.bias.assign_(tg.zeros((2,)))
    return made


def trainer(optimizer_of, after=lambda model: None):
    model = layer()
    optimizer = optimizer_of(model)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        after(model)
        return loss.detach()
    return model, optimizer, step


def history(case, jitted):
    """What four calls give, and the text of the refusal that ended them, if one did."""
    tg.manual_seed(5)
    function, call = case()
    f = tg.jit(function, fuse=False) if jitted else function
    found = []
    for i in range(4):
        try:
            found.append(numbers(call(f, i)))
        except CaptureError as error:
            return found, str(error)
    return found, None


def check(case):
    expected, _ = history(case, False)
    found, error = history(case, True)
    assert len(expected) == 4 and found == expected
    assert error is None


# -- what changes between calls --------------------------------------------------------------------


def helper_reads_a_global():
    def call(f, i):
        global COUNT
        COUNT = i
        return f(batch(i))
    return lambda x: by_count(x), call


def by_count(x):
    return x * COUNT


def helper_reads_a_closure():
    n = 0

    def helper(x):
        return x * n

    def call(f, i):
        nonlocal n
        n = i
        return f(batch(i))
    return lambda x: helper(x), call


def attribute_of(make):
    def case():
        x = make()

        def call(f, i):
            x.k = float(i)
            return f(batch(i))
        return lambda v: v * x.k + v * getattr(x, "k"), call      # noqa: B009
    return case


class Slots:
    __slots__ = ("k",)

    def __init__(self):
        self.k = 1.0


@dataclass
class Fields:
    k: float = 1.0


def a_class():
    class Made:
        k = 1.0
    return Made


def nested_list():
    held = {"a": [[1.0], [2.0]]}

    def call(f, i):
        held["a"][0][0] = float(i)
        return f(batch(i))
    return lambda x: x * held["a"][0][0], call


def number_of_an_array():
    held = np.ones(2, "f")

    def call(f, i):
        held[...] = i
        return f(batch(i))
    return lambda x: x * float(held[0]), call


def argument_of_a_partial():
    held = {"k": 1.0}

    def call(f, i):
        held["k"] = float(i)
        return f(batch(i))
    return functools.partial(lambda d, x: x * d["k"], held), call


def hook_of_a_parameter():
    w = tg.ones((2,), requires_grad=True)
    handles = []

    def function(x):
        w.grad = None
        (w * x).sum().backward()

    def call(f, i):
        if i == 1:
            handles.append(w.register_hook(lambda g: g * 3))
        if i == 3:
            handles.pop().remove()
        f(batch(i))
        return w.grad
    return function, call


def state_of_an_optimizer():
    model, optimizer, step = trainer(lambda m: optim.Adam(m.parameters(), lr=0.1))

    def call(f, i):
        if i == 2:
            optimizer.state.clear()
        return f(batch(i)), model.weight
    return step, call


def values_of_results():
    w = tg.ones((2,))

    def call(f, i):
        made = f(batch(i))
        seen = numbers(made)
        for y in made:
            y.data[...] = 99
        return seen, w
    return lambda x: (w * 2, tg.ones((2,)), x + 1), call


def argument_that_is_a_closure():
    w = tg.ones((2,))

    def function(x):
        w.assign_(w + 1)
        return x * 2
    return function, lambda f, i: (f(w if i % 2 else batch(i)), w)


def argument_that_is_written_and_a_closure():
    w = tg.ones((2,))

    def function(x):
        y = x * 2
        x.assign_(x + 1)
        return w * 2 + y
    return function, lambda f, i: (f(w if i > 1 else batch(i)), w)


def one_tensor_as_two_arguments():
    def function(x, y):
        z = y * 2
        x.assign_(x + 1)
        return x * y, z, y * 2

    def call(f, i):
        x, y = batch(i), batch(i + 1)
        return f(x, x.reshape(2) if i in (1, 2) else y), x
    return function, call


CHANGES = [helper_reads_a_global, helper_reads_a_closure, attribute_of(Slots), attribute_of(Fields),
           attribute_of(a_class), attribute_of(lambda: types.SimpleNamespace(k=1.0)), nested_list,
           number_of_an_array, argument_of_a_partial, hook_of_a_parameter, state_of_an_optimizer,
           values_of_results, argument_that_is_a_closure, one_tensor_as_two_arguments]


@pytest.mark.parametrize("case", CHANGES)
def test_what_changes_between_calls_counts(case):
    check(case)


def test_a_written_argument_that_the_function_knows_otherwise_is_no_surprise():
    expected, _ = history(argument_that_is_written_and_a_closure, False)
    found, error = history(argument_that_is_written_and_a_closure, True)
    assert found == expected[:2] and "changed in place" in error


# -- what is recorded ------------------------------------------------------------------------------


def averages(**how):
    def case():
        model, _, step = trainer(lambda m: optim.SGD(m.parameters(), lr=0.1))
        model.register_buffer("count", tg.Tensor(np.zeros((), np.int64)))
        mean = optim.swa_utils.AveragedModel(model, **{k: f() for k, f in how.items() if k != "b"},
                                             use_buffers="b" in how)

        def function(x):
            loss = step(x)
            model.count.assign_(model.count + 3)
            mean.update_parameters(model)
            return loss
        return function, lambda f, i: (f(batch(i)), *mean.state_dict().values())
    return case


def dropout_in_a_checkpoint():
    model = layer()

    def function(x):
        model.zero_grad()
        loss = tg.checkpoint(lambda v: F.dropout(model(v), 0.5), x).sum()
        loss.backward()
        return loss.detach()
    return function, lambda f, i: (f(batch(i)), model.weight.grad)


swa = optim.swa_utils


@pytest.mark.parametrize("case", [
    averages(), averages(b=bool), averages(multi_avg_fn=lambda: swa.get_ema_multi_avg_fn(0.9)),
    averages(multi_avg_fn=swa.get_swa_multi_avg_fn, b=bool), averages(avg_fn=swa.get_swa_avg_fn),
    averages(avg_fn=lambda: swa.get_ema_avg_fn(0.5)), dropout_in_a_checkpoint])
def test_averages_and_checkpoints_are_recorded(case):
    check(case)


def test_several_threads_may_call():
    f = tg.jit(lambda x: (x * 2 + 1).sum())
    found = {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: f(batch(k)).item()}))
               for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {k: float((batch(k) * 2 + 1).sum().item()) for k in range(8)}
