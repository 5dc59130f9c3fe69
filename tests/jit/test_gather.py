"""Small rows gathered into groups: the same results as one by one, up to rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.jit.compare import agree
from tests.jit.parts import names
from tinygen import nn, optim
from tinygen.jit import capture
from tinygen.jit.passes.together import has_kernel

F = nn.functional
needs_kernel = pytest.mark.skipif(has_kernel() is None, reason="without kernels nothing is fused")


def check(f, *args):
    """f under jit gives what it gives by itself, for other arguments than it was recorded with."""
    program = capture(f, *args).optimized()
    rng = np.random.default_rng(7)
    for _ in range(2):
        new = [tg.Tensor(rng.standard_normal(x.shape).astype(x.dtype)) for x in args]
        found, expected = program.replay(*new), f(*new)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            agree(a.data, b.data)
    return program


def steps_of(make_optimizer, dtype="float32", loss=F.mse_loss):
    tg.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 7), nn.LeakyReLU(0.2),
                          nn.Linear(7, 1)).to(dtype)
    optimizer = make_optimizer(model.parameters())

    def step(x, y):
        optimizer.zero_grad()
        found = loss(model(x), y)
        found.backward()
        optimizer.step()
        return found.detach()
    return model, optimizer, step


OPTIMIZERS = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.01),
    "momentum": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda ps: optim.Adam(ps, lr=0.01, weight_decay=0.1),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.01, weight_decay=0.1, maximize=True),
    "amsgrad": lambda ps: optim.Adam(ps, lr=0.01, amsgrad=True, betas=(0.5, 0.9)),
    "of one parameter": lambda ps: optim.Adam(list(ps)[:1], lr=0.01),
}


@needs_kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_step_is_one_row_and_trains_alike(name, dtype):
    rng = np.random.default_rng(0)
    x, y = (tg.Tensor(rng.standard_normal((11, n)).astype(dtype)) for n in (5, 1))
    model, optimizer, step = steps_of(OPTIMIZERS[name], dtype)
    other, other_optimizer, plain = steps_of(OPTIMIZERS[name], dtype)
    fast = tg.jit(step)
    for i in range(4):
        for o in (optimizer, other_optimizer):
            o.param_groups[0]["lr"] = 0.01 * (i + 1)
        agree(fast(x, y).data, plain(x, y).data, steps=i + 1)
    assert names(fast.program()) == ["fused"]
    for (key, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        agree(a.data, b.data, steps=4, message=key)
    kept, expected = (o.state_dict()["state"] for o in (optimizer, other_optimizer))
    for entry, one in zip(kept.values(), expected.values(), strict=True):
        for key in entry:
            agree(np.asarray(entry[key]), np.asarray(one[key]), steps=4, message=key)


@needs_kernel
@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, F.mse_loss,
                                  lambda a, b: F.mse_loss(a, b, reduction="sum"),
                                  lambda a, b: F.softplus(-a * b).mean()])
def test_losses_and_their_gradients(loss):
    rng = np.random.default_rng(0)
    x, y = (tg.Tensor(rng.standard_normal((6, n)).astype("f")) for n in (5, 1))
    model, _, step = steps_of(OPTIMIZERS["sgd"], loss=loss)
    other, _, plain = steps_of(OPTIMIZERS["sgd"], loss=loss)
    fast = tg.jit(step)
    for i in range(3):
        agree(fast(x, y).data, plain(x, y).data, steps=i + 1)
    assert len(fast.program().rows) == 1
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        agree(p.grad.data, q.grad.data, steps=3)


UNARY = {"exp": tg.exp, "tanh": tg.tanh, "sigmoid": tg.sigmoid, "softplus": F.softplus,
         "gelu": F.gelu, "silu": F.silu, "elu": F.elu, "leaky": F.leaky_relu,
         "negative": tg.negative, "square": tg.square, "absolute": tg.absolute,
         "mish": F.mish, "expm1": tg.expm1}
BINARY = {"add": tg.add, "subtract": tg.subtract, "multiply": tg.multiply,
          "matmul": lambda a, b: a @ tg.permute_dims(b, (1, 0)),
          "row": lambda a, b: a + b[:, :1] * 0 + b.sum(axis=0, keepdims=True),
          "column": lambda a, b: a * b.mean(axis=1, keepdims=True)}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*UNARY, *BINARY, "turn", "flat", "number"]),
                          st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=9))
def test_chains_by_chance(steps):
    def f(a, b):
        values = [a, b]
        for name, i, j in steps:
            x, y = values[i % len(values)], values[j % len(values)]
            if name in UNARY:
                found = UNARY[name](tg.tanh(x) if name in ("exp", "expm1") else x)
            elif name in BINARY:
                found = BINARY[name](x, y)
            elif name == "number":
                found = 1.5 - x / 4
            elif name == "turn":
                found = tg.tanh(tg.permute_dims(x, (1, 0)) * 0.5)
            else:
                found = (x.reshape(-1) * 2).reshape(4, 4)
            values.append(tg.tanh(found) if name in ("exp", "expm1", "square") else found)
        return values[-2:] + [values[-1].sum(), values[-1].mean(axis=0)]
    rng = np.random.default_rng(1)
    check(f, *(tg.Tensor(rng.standard_normal((4, 4)).astype("f")) for _ in range(2)))


def test_arguments_in_other_orders_of_memory_and_empty_ones():
    def f(x, y):
        return [tg.exp(x) * y + 1, (x * y).sum(axis=0)]
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6, 8)).astype("f")
    program = check(f, tg.Tensor(a), tg.Tensor(b))
    turned = [tg.Tensor(v.T.copy()).T for v in (a, b)]
    for found, expected in zip(program.replay(*turned), f(*turned), strict=True):
        agree(found.data, expected.data)
    for found, expected in zip(program.replay(turned[0], tg.Tensor(b)), f(turned[0], tg.Tensor(b)),
                               strict=True):
        agree(found.data, expected.data)
    check(f, tg.zeros((0, 8)), tg.zeros((0, 8)))
    check(lambda x: [(tg.exp(x) * 2).mean(), tg.negative(x) + x], tg.ones(()))
    check(lambda x: [(tg.exp(x) * 2).sum(axis=0), (x * 3).mean()], tg.ones(()))


def test_nan_and_infinity_keep_their_meaning():
    def f(x):
        return [tg.relu(x) * 2, (tg.tanh(x) + x).sum(axis=0), F.leaky_relu(x) + 1]
    program = capture(f, tg.zeros((2, 3))).optimized()
    x = tg.Tensor([[np.nan, np.inf, -np.inf], [1.0, 2.0, 3.0]])
    for found, expected in zip(program.replay(x), f(x), strict=True):
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-6)


def test_a_value_read_before_an_update_is_the_old_one():
    w = tg.ones((3,), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    def f(x):
        before = w.detach() * 2
        w.grad = x + 0
        optimizer.step()
        return [before + 1, w.detach() * 2 + 1]
    fast = tg.jit(f)
    for expected in ([3.0, 2.0], [2.0, 1.0], [1.0, 0.0]):
        found = fast(tg.ones((3,)))
        assert [y.data[0] for y in found] == expected


def test_views_that_leave_a_group_share_memory_as_before():
    def f(x):
        y = tg.exp(x) * 2
        return [y, y.reshape(6), x.reshape(6), tg.negative(y)]
    fast, x = tg.jit(f), tg.ones((2, 3))
    for _ in range(2):
        y, flat, same, _ = fast(x)
        assert np.shares_memory(y.data, flat.data) and np.shares_memory(x.data, same.data)


@needs_kernel
def test_what_depends_on_nothing_in_a_group_comes_before_it():
    big = tg.ones((300, 300))

    def f(x):
        y = tg.exp(x) + 1
        z = big @ big                          # too large for a group
        return [(y * 2).sum() + z[0, 0], z]
    program = capture(f, tg.ones((4,))).optimized()
    assert names(program).count("fused") == 1 and names(program).index("matmul") < names(
        program).index("fused")
    assert program.replay(tg.zeros((4,)))[0].item() == pytest.approx(16 + 300)


@needs_kernel
def test_the_steps_of_a_group_can_be_read():
    program = capture(lambda x: (tg.exp(x) @ x + 1).sum(), tg.ones((8, 8))).optimized()
    row = program.rows[0]
    assert [part.op.name for part in row.parts] == ["exp", "matmul", "add", "sum"]
    text = program.source()
    assert "exp(a0)" in text and "sum of" in text
    other = capture(lambda x: (tg.exp(x) @ x + 1).sum(), tg.ones((8, 8))).optimized().rows[0]
    assert other.attrs["group"].key == row.attrs["group"].key


def test_a_long_chain_of_small_rows():
    def f(x):
        y = x
        for i in range(1500):
            y = tg.tanh(y * 0.9 + x) if i % 2 else y - x * 0.1
        return [y, y.sum()]
    check(f, tg.ones((3, 2)))


def test_numbers_of_two_types_are_two_groups():
    def f(x, y):
        total = (y * y).sum() + 1
        return [(x * 2 + 1).sum(), (tg.exp(y) * 3).mean() + total, x * 3 - 1]
    rng = np.random.default_rng(0)
    x, y = tg.Tensor(rng.standard_normal((3, 2))), tg.Tensor(rng.standard_normal(2).astype("f"))
    program = check(f, x, y)
    for row in program.rows:
        kinds = row.attrs["group"].kinds if row.op.name == "fused" else []
        assert len({k[0] for k in kinds if k is not None}) <= 1


SIZES = st.integers(1, 37)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_products_and_sums_of_all_shapes(data):
    n, k, m, batch = (data.draw(SIZES, label=name) for name in ("n", "k", "m", "batch"))
    few = data.draw(st.sampled_from([(), (batch % 4 + 1,), (2, batch % 3 + 1)]), label="stack")
    turned = data.draw(st.tuples(st.booleans(), st.booleans()), label="turned")
    axis = data.draw(st.sampled_from([None, 0, -1, (0, -1)]), label="axis")
    keep = data.draw(st.booleans(), label="keepdims")
    dtype = data.draw(st.sampled_from(["float32", "float64"]), label="dtype")

    def f(a, b, bias):
        x = tg.swapaxes(a, -1, -2) if turned[0] else a
        y = tg.swapaxes(b, -1, -2) if turned[1] else b
        z = tg.tanh(x * 0.1) @ (y + 0) + bias
        w = F.linear(z, tg.permute_dims(z.reshape(-1, m)[:1], (0, 1)), None)
        return [z, z.sum(axis=axis, keepdims=keep), (z * z).mean(axis=axis), w,
                tg.swapaxes(z, -1, -2).sum(axis=0)]
    rng = np.random.default_rng(0)
    shapes = ((*few, k, n) if turned[0] else (*few, n, k), (*few, m, k) if turned[1] else (
        *few, k, m), (m,))
    check(f, *(tg.Tensor(rng.standard_normal(s).astype(dtype)) for s in shapes))


@needs_kernel
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_infinite_stays_so(name):
    """Without weight decay a parameter that has grown to infinity is not made NaN by it."""
    found = []
    for jitted in (False, True):
        w = tg.Tensor([-np.inf, 2.0, 1.0], requires_grad=True)
        optimizer = OPTIMIZERS[name]([w])

        def step(x, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (w * x).sum()
            loss.backward()
            optimizer.step()
            return loss.detach()
        call = tg.jit(step) if jitted else step
        for i in range(3):
            call(tg.Tensor([3.0, 2.0, i + 1.0]))
        found.append(w.tolist())
    np.testing.assert_allclose(*found, rtol=1e-6)
