"""tg.jit: the same as the function, faster; recorded anew when anything it rests on changes."""

import functools
import threading
import warnings

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import square_step
from tinygen import nn, optim
from tinygen.jit import CaptureError

F = nn.functional
jit = functools.partial(tg.jit, fuse=False)        # the same to the last bit


def trained(seed, **options):
    """A model, its optimizer and a step, as a user writes it."""
    tg.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.BatchNorm1d(16),
                          nn.Linear(16, 3))
    optimizer = optim.AdamW(model.parameters(), **{"lr": 0.01, **options})

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss.detach()}
    return model, optimizer, step


def batches(count, n=8):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((n, 4)).astype("f"), rng.integers(0, 3, n)) for _ in range(count)]


def same_state(a, b):
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        np.testing.assert_array_equal(x.data, y.data)


def test_training_is_the_same_to_the_last_bit():
    model, optimizer, step = trained(0)
    other, other_optimizer, other_step = trained(0)
    fast = jit(other_step)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    other_schedule = optim.lr_scheduler.CosineAnnealingLR(other_optimizer, 10)
    tg.manual_seed(1)
    losses = []
    for batch in batches(10):
        losses.append(step(*map(tg.Tensor, batch))["loss"].item())
        schedule.step()
    tg.manual_seed(1)
    for batch, loss in zip(batches(10), losses, strict=True):
        assert fast(*batch)["loss"].item() == loss        # arrays become tensors
        other_schedule.step()
    same_state(model, other)
    assert len(fast.programs) == 1
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)
    state, other_state = optimizer.state_dict(), other_optimizer.state_dict()
    np.testing.assert_array_equal(state["state"][0]["step"], other_state["state"][0]["step"])


@pytest.mark.parametrize("sizes", [(64, 96, 64), (2048, 4, 3), (8, 2000, 2)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU])
def test_sizes_for_which_there_are_kernels(sizes, activation):
    """Where there are none, the same with NumPy's code."""
    n, inner, outer = sizes

    def build():
        tg.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, inner), activation(), nn.Linear(inner, outer))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        return model, square_step(model, optimizer)
    model, step = build()
    other, fast = build()
    fast = jit(fast)
    for i in range(3):
        x = np.random.default_rng(i).standard_normal((n, 16)).astype("f")
        assert fast(x).item() == step(tg.Tensor(x)).item()
    same_state(model, other)


def test_eager_and_jitted_steps_may_take_turns():
    model, _, step = trained(0)
    other, _, other_step = trained(0)
    fast = jit(other_step)
    for i, batch in enumerate(batches(6)):
        tg.manual_seed(i)
        step(*map(tg.Tensor, batch))
        tg.manual_seed(i)
        (fast if i % 2 else other_step)(*map(tg.Tensor, batch))
    same_state(model, other)


def test_a_checkpoint_is_taken_up_by_the_same_program(tmp_path):
    model, optimizer, step = trained(0)
    fast = jit(step)
    for batch in batches(3):
        fast(*batch)
    kept = {k: v.data.copy() for k, v in model.state_dict().items()}
    state = optimizer.state_dict()
    tg.manual_seed(5)
    first = [fast(*batch)["loss"].item() for batch in batches(3)]
    model.load_state_dict({k: tg.Tensor(v) for k, v in kept.items()})
    optimizer.load_state_dict(state)
    tg.manual_seed(5)
    assert [fast(*batch)["loss"].item() for batch in batches(3)] == first


@pytest.mark.parametrize("change", ["shape", "dtype", "static", "mode", "option", "variable",
                                    "frozen"])
def test_what_a_program_rests_on_is_looked_at(change):
    """The result is always that of the function as it is now."""
    tg.manual_seed(0)
    layer, factor = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), 2.0
    optimizer = optim.SGD(layer.parameters(), lr=0.1)

    def step(x, times=1):
        optimizer.zero_grad()
        loss = (layer(x) * factor * times).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()
    fast = jit(step)
    fast(tg.ones((2, 3)))
    fast(tg.ones((2, 3)))
    assert len(fast.programs) == 1
    given, options = (tg.ones((2, 3)),), {}
    if change == "shape":
        given = (tg.ones((4, 3)),)
    elif change == "dtype":
        given = (tg.ones((2, 3), dtype="float64"),)
    elif change == "static":
        options = {"times": 3}
    elif change == "mode":
        layer.eval()
    elif change == "option":
        optimizer.param_groups[0]["weight_decay"] = 0.5
    elif change == "variable":
        factor = 5.0
    else:
        layer[0].bias.requires_grad_(False)
        layer[0].bias.grad = None
    before = {k: v.data.copy() for k, v in layer.state_dict().items()}
    tg.manual_seed(3)
    expected = step(*given, **options)
    after = {k: v.data.copy() for k, v in layer.state_dict().items()}
    for _ in range(2):
        layer.load_state_dict({k: tg.Tensor(v) for k, v in before.items()})
        tg.manual_seed(3)
        np.testing.assert_array_equal(fast(*given, **options).data, expected.data)
        for key, value in layer.state_dict().items():
            np.testing.assert_array_equal(value.data, after[key])
    assert len(fast.programs) == 2


def test_too_many_kinds_of_arguments_run_as_they_are_and_say_why():
    fast = jit(lambda x: x * 2, limit=2)
    fast(tg.ones((1,)))
    fast(tg.ones((2,)))
    with pytest.warns(RuntimeWarning, match=r"recorded 2 times .* argument 0 changes: "
                                            r"float32 \(2,\), then float32 \(3,\)"):
        np.testing.assert_array_equal(fast(tg.ones((3,))).data, [2, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fast(tg.ones((4,))).shape == (4,)
    assert len(fast.programs) == 2


class Annealed(nn.Module):
    """A user's model that keeps plain numbers."""

    def __init__(self, counts=False):
        super().__init__()
        self.layer, self.beta, self.calls, self.counts = nn.Linear(2, 2), 1.0, 0, counts

    def training_step(self, x):
        if self.counts:
            self.calls += 1
        return (self.layer(x) * self.beta).sum().detach() + self.calls


def test_numbers_that_a_model_keeps_are_looked_at():
    model = Annealed()
    fast = jit(model.training_step)
    for beta in (1.0, 1.0, 0.5, 0.25, 1.0):
        model.beta = beta
        np.testing.assert_array_equal(fast(tg.ones((1, 2))).data,
                                      model.training_step(tg.ones((1, 2))).data)
    assert len(fast.programs) == 3
    around = jit(lambda x: model.training_step(x))
    for beta in (1.0, 0.5):
        model.beta = beta
        np.testing.assert_array_equal(around(tg.ones((1, 2))).data,
                                      model.training_step(tg.ones((1, 2))).data)


def test_an_array_may_be_two_arguments_and_a_parameter_at_first():
    a, b = tg.Tensor([1.0, 2.0]), tg.Tensor([10.0, 20.0])
    fast = jit(lambda x, y: x * 2 + y * a)
    np.testing.assert_array_equal(fast(a, a).data, [3, 8])
    np.testing.assert_array_equal(fast(b, a).data, [21, 44])
    np.testing.assert_array_equal(fast(a, b).data, [12, 44])
    assert len(fast.programs) == 1


def test_an_argument_that_is_changed_in_place_is_changed_in_every_call():
    def shrink(w, g):
        optim.ema.mix_update(w, g, weight=0.5)
        return w * 1.0
    fast = jit(shrink)
    for _ in range(2):
        w = tg.Tensor([4.0])
        assert fast(w, tg.Tensor([0.0])).item() == 2 and w.item() == 2


def test_an_array_that_someone_changes_is_read_anew():
    scale = np.ones(2, np.float32)
    fast = jit(lambda x: x * (tg.asarray(scale) * 1.0 + scale))
    for value in (1.0, 3.0):
        scale[:] = value
        np.testing.assert_array_equal(fast(tg.ones((2,))).data, [2 * value] * 2)
    assert len(fast.programs) == 1


loss = 0          # a global variable with the name of an attribute below


def test_attributes_are_no_global_variables():
    global loss
    holder = type("Holder", (), {"loss": 3.0})()
    fast = jit(lambda x: x * holder.loss)
    for i in range(3):
        loss = fast(tg.ones(()))
        assert loss.item() == 3 and len(fast.programs) == 1, i


def test_numbers_of_a_model_that_is_an_argument_are_looked_at():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.beta = 2.0

        @jit
        def forward(self, x):
            return x * self.beta
    model, fast = Scaled(), jit(lambda model, x: x * model.beta)
    for beta in (2.0, 3.0, 2.0):
        model.beta = beta
        assert model(tg.ones(())).item() == fast(model, tg.ones(())).item() == beta


def test_a_model_that_counts_its_calls_in_a_number_is_refused():
    model = Annealed(counts=True)
    with pytest.raises(CaptureError, match=r"changes Annealed\.calls, from 0 to 1.*buffer"):
        jit(model.training_step)(tg.ones((1, 2)))


def test_a_variable_that_changes_is_named_in_the_warning():
    factor = 0
    fast = jit(lambda x: x * factor, limit=3)
    found = []
    with pytest.warns(RuntimeWarning, match="the variable factor changes"):
        for _ in range(5):
            found.append(fast(tg.ones(())).item())
            factor += 1
    assert found == [0, 1, 2, 3, 4]


def test_both_updates_of_a_gan_are_one_program():
    def build():
        tg.manual_seed(0)
        g, d = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)), nn.Sequential(
            nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        g_optimizer, d_optimizer = (optim.Adam(m.parameters(), lr=1e-2) for m in (g, d))

        def step(real):
            made = g(tg.random.normal((len(real), 2)))
            d_optimizer.zero_grad()
            d_loss = F.softplus(-d(real)).mean() + F.softplus(d(made.detach())).mean()
            d_loss.backward()
            d_optimizer.step()
            g_optimizer.zero_grad()
            g_loss = F.softplus(-d(made)).mean()
            g_loss.backward()
            g_optimizer.step()
            return d_loss.detach(), g_loss.detach()
        return g, d, step
    g, d, step = build()
    g_too, d_too, fast = build()
    fast = jit(fast)
    data = [np.random.default_rng(i).standard_normal((16, 3)).astype("f") for i in range(6)]
    tg.manual_seed(1)
    expected = [[x.item() for x in step(tg.Tensor(a))] for a in data]
    tg.manual_seed(1)
    assert [[x.item() for x in fast(a)] for a in data] == expected
    same_state(g, g_too)
    same_state(d, d_too)
    assert len(fast.programs) == 1


def test_a_gradient_penalty_is_recorded_with_its_second_derivatives():
    def build():
        tg.manual_seed(0)
        d = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = optim.SGD(d.parameters(), lr=0.1)

        def step(x):
            x = x.detach().requires_grad_()
            slope, = tg.autograd.grad_of(d(x).sum(), [x], create_graph=True)
            loss = ((slope ** 2.0).sum(axis=1) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()
        return d, step
    d, step = build()
    other, fast = build()
    fast = jit(fast)
    for i in range(4):
        x = np.random.default_rng(i).standard_normal((5, 3)).astype("f")
        assert fast(x).item() == step(tg.Tensor(x)).item()
    same_state(d, other)


def test_a_jitted_function_within_another_becomes_part_of_it():
    inner = jit(lambda x: tg.exp(x))
    outer = jit(lambda x: inner(x) + 1)
    for value in (0.0, 1.0):
        assert outer(tg.full((), value)).item() == pytest.approx(np.exp(value) + 1, rel=1e-6)
    assert not inner.programs and [r.op.name for r in outer.program().rows] == ["exp", "add"]


def test_results_do_not_share_memory_from_call_to_call():
    fast = jit(lambda x: (x * 2, tg.zeros((2,))))
    first = [y.data.copy() for y in fast(tg.ones((2,)))]
    for y in fast(tg.ones((2,))):
        y += 5
    for y, old in zip(fast(tg.ones((2,))), first, strict=True):
        np.testing.assert_array_equal(y.data, old)


def test_several_threads_call_it_at_once():
    fast, failed = jit(lambda x: tg.exp(x).sum()), []

    def work(value):
        for _ in range(50):
            if fast(tg.full((10,), value)).item() != tg.exp(tg.full((10,), value)).sum().item():
                failed.append(value)
    threads = [threading.Thread(target=work, args=(i / 4,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_it_decorates_methods_and_keeps_the_name():
    class Model:
        def __init__(self):
            self.w = tg.Tensor([3.0])

        @jit
        def forward(self, x):
            """Times w."""
            return self.w * x
    model = Model()
    assert [model.forward(tg.Tensor([v])).item() for v in (1.0, 2.0)] == [3, 6]
    assert Model.forward.__name__ == "forward" and Model.forward.__doc__ == "Times w."
    assert "multiply" in Model.forward.source()
