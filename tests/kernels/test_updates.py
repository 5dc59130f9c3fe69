"""Kernels that update arrays in place: the same numbers as NumPy's, whatever is cut where."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import optim, threads
from tinygen.nn.utils import clip_grad_norm_, get_total_norm
from tinygen.primitive import KERNELS, PRIMITIVES, kernel_status

pytest.importorskip("numba")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

SHAPES = [(3, 2), (4,), (), (0, 3), (1, 1), (1023,), (70, 1000), (257, 3, 3, 3)]
MAKERS = {
    "SGD": lambda ps: optim.SGD(ps, 0.1),
    "momentum": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda ps: optim.Adam(ps, weight_decay=0.1, maximize=True),
    "amsgrad": lambda ps: optim.Adam(ps, amsgrad=True),
    "AdamW": lambda ps: optim.AdamW(ps),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def arrays(seed, dtype, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s)).astype(dtype) for s in shapes]


def run(make, dtype, shapes=SHAPES, clip=None, steps=3, turn=lambda a: a, gradients=lambda a: a):
    """The parameters after a few steps, and how often a kernel ran for the rule."""
    params = [tg.Tensor.wrap(turn(a)).requires_grad_() for a in arrays(0, dtype, shapes)]
    optimizer = make(params)
    ran = 0
    for t in range(steps):
        for p, g in zip(params, arrays(t + 1, dtype, shapes), strict=True):
            p.grad = tg.Tensor.wrap(gradients(g))
        if clip is not None:
            clip_grad_norm_(params, clip)
        optimizer.step()
        ran += KERNELS[f"{optimizer.rule.name}{'s' * (len(params) > 1)}", np.ndarray].last is True
    return [p.data for p in params], ran


@pytest.fixture
def plainly(monkeypatch):
    """A function that runs another with NumPy's code alone."""
    def call(function, *args):
        with monkeypatch.context() as patch:
            for p in PRIMITIVES.values():
                patch.setattr(p, "impl", {np.ndarray: lambda *a, p=p, **k: p.fn(np, *a, **k)})
            return function(*args)
    return call


def same(ours, others):
    for a, b in zip(ours, others, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@every
@both
def test_steps_have_the_bits_of_numpy(make, dtype, plainly):
    ours, ran = run(make, dtype)
    assert ran == 3
    same(ours, plainly(run, make, dtype)[0])


@every
def test_bits_depend_neither_on_threads_nor_on_what_is_updated_together(make, monkeypatch):
    ends = []
    for n in (1, 2, 4):
        monkeypatch.setattr(threads.count, "value", n)
        ends.append(run(make, np.float32, clip=2.0)[0])
    for other in ends[1:]:
        same(ends[0], other)
    for i in range(len(SHAPES)):          # alone: other strips, other ranges
        p = tg.Tensor(arrays(0, np.float32)[i], requires_grad=True)
        q = tg.Tensor(arrays(0, np.float32)[i].reshape(-1), requires_grad=True)
        one, two = make([p]), make([q, tg.ones(5, requires_grad=True)])
        p.grad = tg.Tensor(arrays(1, np.float32)[i])
        q.grad = p.grad.reshape(-1)
        one.step()
        two.step()
        same([p.data.reshape(-1)], [q.data])


@every
def test_other_layouts(make):
    shapes = [(7, 5), (6, 3, 5, 2)]
    straight, _ = run(make, np.float32, shapes)
    transposed, ran = run(make, np.float32, shapes, turn=np.asfortranarray)
    assert ran == 3
    same(straight, transposed)
    mixed, ran = run(make, np.float32, shapes, gradients=lambda g: np.repeat(g, 2, -1)[..., ::2])
    assert ran == 3
    same(straight, mixed)


def test_what_does_not_fit_is_declined_and_left_alone():
    p, g = np.ones(6, np.float32), np.ones(6, np.float32)
    how = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
           "maximize": False}
    step = KERNELS["sgd_update", np.ndarray].function
    frozen = p.copy()
    frozen.flags.writeable = False
    for bad, gradient in ((p.astype(np.float16), g), (p[::2], g[::2]), (frozen, g), (p, g[:1]),
                          (p, g.astype(np.float64))):
        assert isinstance(step(bad, gradient, None, 0.1, **how), str)
        assert (bad == 1).all()
    assert step(p, g, None, 0.5, **how) is p and (p == 0.5).all()


@both
def test_special_values_stay_where_they_are(dtype, plainly):
    def step(make):
        p = tg.Tensor(np.array([1, np.inf, 1, 1, 0, np.nan, 1e-40, -0.0] * 9, dtype),
                      requires_grad=True)
        p.grad = tg.Tensor(np.array([1, 1, np.nan, np.inf, 0, 1, 1e-40, 0] * 9, dtype))
        make([p]).step()
        return p.data
    for make in MAKERS.values():
        same([step(make)], [plainly(step, make)])


@both
def test_norms(dtype, monkeypatch):
    values = arrays(3, dtype)
    found = []
    for n in (1, 2, 4):
        monkeypatch.setattr(threads.count, "value", n)
        found.append(get_total_norm([tg.Tensor(v) for v in values]))
    exact = np.sqrt(sum((v.astype(np.float64) ** 2).sum() for v in values))
    assert found[0].dtype == dtype and len({f.item() for f in found}) == 1
    np.testing.assert_allclose(found[0].item(), exact, rtol=1e-7 if dtype == np.float32 else 1e-14)
    big = tg.Tensor(np.full(5000, 1e20, np.float32))
    np.testing.assert_allclose(get_total_norm([big]).item(), 1e20 * 5000 ** 0.5, rtol=1e-6)
    assert np.isnan(get_total_norm([tg.Tensor([np.nan, 1.0])]).item())
    assert get_total_norm([tg.zeros((0, 2))]).item() == 0


def test_averages_agree_with_numpy(plainly):
    def run():
        model = tg.nn.Linear(70, 60)
        ema = optim.EMA(model, decay=0.9, warm_up=True)
        for k, v in enumerate(model.parameters()):
            v.assign_(arrays(k, np.float32, [v.shape])[0])
            ema.averages[list(ema.averages)[k]].assign_(1.0)
        ema.update()
        ema.update()
        return [a.data for a in ema.averages.values()]
    ours = run()
    assert KERNELS["ema_update", np.ndarray].last in (True, "small")
    same(ours, plainly(run))
