"""Passes change what is run, never what comes out: to the last bit, over several replays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.jit.parts import names
from tinygen import nn, optim
from tinygen.jit import capture
from tinygen.jit.passes import (
    PASSES,
    common_subexpressions,
    dead_code,
    fold_constants,
    optimize,
    single_assignment,
)

F = nn.functional


# -- programs by chance ----------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.sampled_from(["add", "multiply", "exp", "matmul", "view", "constant",
                                            "sum", "update", "number", "dropout", "turned",
                                            "back", "same"]),
                           st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12)


OPERATIONS = {
    "add": lambda a, b, generator: a + b, "multiply": lambda a, b, generator: a * b,
    "matmul": lambda a, b, generator: a @ b, "view": lambda a, b, generator: a.T,
    "turned": lambda a, b, generator: (a.T @ b.T.T).T,
    "back": lambda a, b, generator: tg.permute_dims(a.T, (-1, -2)),
    "same": lambda a, b, generator: tg.broadcast_to(a.reshape(9).reshape(3, 3), (3, 3)),
    "exp": lambda a, b, generator: tg.exp(-tg.absolute(a)),
    "constant": lambda a, b, generator: a + tg.eye(3) * tg.sqrt(tg.full((3, 3), 2.0)),
    "sum": lambda a, b, generator: a.sum(axis=0, keepdims=True) + b,
    "number": lambda a, b, generator: a * 0.5,
    "dropout": lambda a, b, generator: a * tg.random.uniform(shape=(3, 3), generator=generator)}


def run(steps, chosen, x, parameters, generator):
    """What a list of steps says, on 3x3 matrices; parameters change on the way."""
    values = [x, *(p.detach() for p in parameters)]
    for name, i, j in steps:
        a, b = values[i % len(values)], values[j % len(values)]
        if name == "update":            # p -= 0.1 * a, in place; later rows see the new values
            p = parameters[j % len(parameters)]
            p.grad = a.detach()
            optim.SGD([p], lr=0.1).step()
            values.append(p.detach())
            continue
        values.append(OPERATIONS[name](a, b, generator))
    return [values[i % len(values)] for i in chosen]


@given(STEPS, st.lists(st.integers(0, 99), min_size=1, max_size=3), st.integers(0, 9))
def test_random_programs_give_the_same_with_and_without_passes(steps, chosen, seed):
    rng = np.random.default_rng(seed)
    start = [rng.standard_normal((3, 3)) * 0.3 for _ in range(2)]
    xs = [rng.standard_normal((3, 3)) * 0.3 for _ in range(3)]
    found = {}
    for way in ("eager", "replayed", "optimized"):
        parameters = [tg.Tensor(a, requires_grad=True) for a in start]
        generator = tg.Generator(3)
        results, program = [], None
        for x in xs:
            if program is not None:
                results.append(program.replay(tg.Tensor(x)))
                continue
            if way == "eager":
                results.append(run(steps, chosen, tg.Tensor(x), parameters, generator))
                continue
            first = []

            def f(x, parameters=parameters, generator=generator, first=first):
                first[:] = run(steps, chosen, x, parameters, generator)
                return list(first)
            program = capture(f, tg.Tensor(x))
            results.append(first)
            program = program if way == "replayed" else program.optimized(fuse=False)
        # A result may be a parameter: what it holds in the end is compared.
        found[way] = [np.asarray(t.data) for result in results for t in result] + [
            p.data for p in parameters]
    for way in ("replayed", "optimized"):
        for a, b in zip(found["eager"], found[way], strict=True):
            np.testing.assert_array_equal(a, b)


# -- training steps --------------------------------------------------------------------------------


def step_of(seed):
    """A training step with dropout, batch norm, clipping and Adam; and its parameters."""
    tg.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3),
                          nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = optim.AdamW(model.parameters(), lr=tg.Tensor(0.01))

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss.detach()
    return step, model


def exact(program):
    """All passes that change no bit."""
    return optimize(program, fuse=False)


@pytest.mark.parametrize("improve", [*PASSES, exact], ids=lambda f: f.__name__)
def test_a_training_step_is_the_same_to_the_last_bit(improve):
    rng = np.random.default_rng(0)
    batches = [(tg.Tensor(rng.standard_normal((16, 6)).astype("f")),
                tg.Tensor(rng.integers(0, 3, 16))) for _ in range(5)]
    step, eager = step_of(1)
    losses = [step(*batch).item() for batch in batches]
    step, model = step_of(1)
    program = improve(capture(step, *batches[0]))
    again = [program.replay(*batch).item() for batch in batches[1:]]
    assert again == losses[1:]
    for a, b in zip(eager.state_dict().values(), model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_second_derivatives_are_the_same():
    def f(x):
        x = x.detach().requires_grad_()
        slope, = tg.autograd.grad_of((x ** 3.0).sum(), [x], create_graph=True)
        (slope * slope).sum().backward()
        return x.grad
    program = capture(f, tg.Tensor([1.0, 2.0]))
    x = tg.Tensor([0.5, 3.0])
    np.testing.assert_array_equal(program.optimized(fuse=False).replay(x).data,
                                  program.replay(x).data)
    assert len(program.optimized(fuse=False).rows) < len(program.rows)


# -- one pass each ---------------------------------------------------------------------------------


def test_draws_and_updates_are_never_dead_and_never_one():
    w = tg.ones((2,), requires_grad=True)
    w.grad = tg.ones((2,))
    optimizer = optim.SGD([w], lr=1.0)
    tg.manual_seed(0)

    def f(x):
        tg.random.normal((2,))
        optimizer.step()
        return x * tg.random.normal((2,)) * tg.random.normal((2,))
    program = capture(f, tg.ones((2,)))
    better = program.optimized(fuse=False)
    draws = [n for n in names(program) if "normal" in n]
    assert len(draws) == 3 and [n for n in names(better) if "normal" in n] == draws
    assert names(better).count("sgd_update") == 1


def test_a_value_read_before_and_after_an_update_is_two():
    w = tg.ones((2,), requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)

    def f(x):
        before = tg.exp(w.detach())
        w.grad = x
        optimizer.step()
        return before + tg.exp(w.detach())
    program = capture(f, tg.ones((2,)))             # w is 0 now
    assert names(common_subexpressions(program)).count("exp") == 2
    np.testing.assert_allclose(program.optimized(fuse=False).replay(tg.ones((2,))).data,
                               np.exp([0.0, 0.0]) + np.exp([-1.0, -1.0]), rtol=1e-6)


def test_zero_and_minus_zero_are_two_constants():
    program = capture(lambda x: (tg.copysign(1.0, x * 0.0), tg.copysign(1.0, x * -0.0)),
                      tg.ones((1,)))
    assert names(common_subexpressions(program)).count("multiply") == 2


def test_results_of_constants_are_new_in_every_replay():
    program = capture(lambda x: (tg.zeros((2,)), tg.reshape(tg.zeros((2,)), (2, 1)), x), tg.ones(2))
    for p in (program, program.optimized(fuse=False)):
        for _ in range(2):
            first, second, _ = p.replay(tg.ones(2))
            assert not first.data.any() and not second.data.any()
            first += 1
            second += 1


def test_parameters_are_no_constants():
    w = tg.ones((2,))
    program = fold_constants(capture(lambda x: x + tg.exp(w), tg.zeros((2,))))
    assert names(program) == ["exp", "add"]
    w.assign_([0.0, 0.0])
    np.testing.assert_array_equal(program.replay(tg.zeros((2,))).data, [1, 1])


def test_a_learning_rate_is_read_at_every_replay():
    w = tg.zeros((1,), requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step(x):
        w.grad = x
        optimizer.step()
    program = capture(step, tg.ones((1,))).optimized(fuse=False)
    for rate in (0.5, 0.25):
        schedule.step()
        before = w.item()
        program.replay(tg.ones((1,)))
        assert w.item() == before - rate


def test_state_that_is_made_while_recording_is_no_constant():
    w = tg.ones((2,), requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1)

    def step(x):
        w.grad = x
        optimizer.step()
        return optimizer.state[w]["exp_avg"] * 1.0
    program = capture(step, tg.ones((2,)))
    update = next(row for row in program.rows if row.op.name == "adam_update")
    assert not any(x.fixed for x in update.inputs if getattr(x, "memory", None) is not None)
    better, expected = program.optimized(fuse=False), 0.1
    for _ in range(3):
        expected = 0.9 * expected + 0.1
        np.testing.assert_allclose(better.replay(tg.ones((2,))).data, expected, rtol=1e-6)


def test_dead_code_goes_with_what_led_to_it():
    program = capture(lambda x: (tg.exp(tg.sin(x)), x * 2)[1], tg.ones((2,)))
    assert names(program) == ["sin", "exp", "multiply"] and names(dead_code(program)) == [
        "multiply"]


def test_slots_are_written_once():
    step, _ = step_of(0)
    program = single_assignment(capture(step, tg.ones((4, 6)), tg.arange(4) % 3))
    given = [*program.inputs, *(o for row in program.rows for o in row.outputs if o is not None)]
    assert len(given) == len(set(given))


def test_an_error_in_a_replay_names_the_operation_and_its_arguments():
    table = tg.Tensor(np.zeros((4, 3), "f"))
    program = capture(lambda i: F.embedding(i, table) * 2, tg.Tensor([0, 1]))
    for wrong in ([0, 4], [-1, 0]):
        with pytest.raises(IndexError, match=r"^\[embedding\] input has numbers from .* to "):
            program.replay(tg.Tensor(wrong))
    program = capture(lambda a: a @ tg.ones((3, 2)), tg.ones((4, 3)))
    program.rows[0].inputs[0] = tg.jit.program.Known(np.ones((4, 4), "f"), False, None)
    with pytest.raises(ValueError, match=r"^\[matmul\] a: float32 \(4, 4\), b: float32 \(3, 2\)"):
        program.replay(tg.ones((4, 3)))


def test_a_replay_is_a_function_that_can_be_read():
    text = capture(lambda x: tg.exp(x) + 1, tg.ones((2,))).source()
    assert "v1 = exp_0(v0)" in text and "v2 = add_1(v1, 1)" in text and "del v0" in text


def test_other_threads_replay_at_the_same_time():
    program = capture(lambda x: tg.exp(x) @ x.T, tg.ones((20, 20))).optimized(fuse=False)
    xs = [tg.Tensor(np.full((20, 20), i / 10, "f")) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(program.replay, xs))
    for x, y in zip(xs, found, strict=True):
        np.testing.assert_array_equal(y.data, (tg.exp(x) @ x.T).data)


def test_memory_is_given_back_after_the_last_use():
    program = capture(lambda x: tg.exp(tg.sin(tg.cos(x))), tg.ones((2,)))
    assert program.last_uses == [[0], [1], [2]]


def test_two_bare_arrays_are_two_values():
    first, second = np.array([1, 2, 0]), np.array([2, 0, 1])
    x = tg.Tensor([[1.0, 2.0, 4.0]])
    program = capture(lambda x: x[:, first] - x[:, second], x)
    for _ in range(3):              # their buffers were looked at, which are made anew each time
        better = common_subexpressions(program)
        np.testing.assert_array_equal(better.replay(x).data, program.replay(x).data)
        assert len(better.rows) == len(program.rows)
    a, b = tg.Tensor(np.eye(3)), tg.Tensor(np.arange(9.0).reshape(3, 3))
    np.testing.assert_array_equal(capture(tg.linalg.cross, a, b).optimized().replay(a, b).data,
                                  np.cross(a.data, b.data))
