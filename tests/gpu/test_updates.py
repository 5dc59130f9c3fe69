"""Steps of optimizers, averages and clipping on a GPU: the CPU's numbers, without waiting."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.doubles.cuda.build import ORDERS, KernelError, thread_order
from tests.gpu.running import DTYPES, agrees, needs_compiler
from tinygen import optim
from tinygen.nn.utils import clip_grad_norm_
from tinygen.optim import EMA
from tinygen.primitive import KERNELS, PRIMITIVES

pytestmark = needs_compiler

SHAPES = [(3, 2), (4,), (), (0, 3), (1, 1), (1023,), (71, 130), (2, 3, 3, 3)]
MAKERS = {
    "SGD": lambda ps, o: o.SGD(ps, lr=0.1),
    "momentum": lambda ps, o: o.SGD(ps, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda ps, o: o.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda ps, o: o.Adam(ps, weight_decay=0.1, maximize=True),
    "amsgrad": lambda ps, o: o.Adam(ps, lr=0.01, amsgrad=True),
    "AdamW": lambda ps, o: o.AdamW(ps, lr=0.01),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def native(cupy, name):
    return KERNELS[name, cupy.ndarray]


def arrays(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s)).astype(np.float32) for s in shapes]


def steps(make, device, shapes=SHAPES, clip=None, dtype=np.float32, count=3):
    """The parameters after a few steps."""
    params = [tg.Tensor(a.astype(dtype), device=device).requires_grad_()
              for a in arrays(0, shapes)]
    optimizer = make(params, optim)
    for t in range(count):
        grads = [tg.Tensor(g.astype(dtype), device=device) for g in arrays(t + 1, shapes)]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        with counted() as seen:
            if clip is not None:
                clip_grad_norm_(params, clip)
            optimizer.step()
        if t:      # the first one makes the state
            assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
            assert seen.launches <= 2 + 3 * (clip is not None)
    return [p.detach().numpy() for p in params]


@every
@pytest.mark.parametrize("clip", [None, 2.0])
def test_steps_are_those_of_the_cpu(make, clip):
    for ours, theirs in zip(steps(make, "cuda", clip=clip), steps(make, "cpu", clip=clip)):
        np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=3e-7)


@every
def test_steps_are_those_of_torch(make):
    torch = pytest.importorskip("torch")
    params = [torch.tensor(a, requires_grad=True) for a in arrays(0)]
    optimizer = make(params, torch.optim)
    for t in range(3):
        for p, g in zip(params, arrays(t + 1), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for ours, theirs in zip(steps(make, "cuda"), params):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


@every
def test_bits_depend_neither_on_the_order_of_threads_nor_on_what_is_updated_together(make):
    wanted = steps(make, "cuda", clip=2.0)
    for order in ORDERS[1:]:
        with thread_order(order):
            for a, b in zip(steps(make, "cuda", clip=2.0), wanted):
                np.testing.assert_array_equal(a, b)
    alone = steps(make, "cuda", SHAPES[:1])
    np.testing.assert_allclose(alone[0], steps(make, "cpu", SHAPES[:1])[0], rtol=3e-6, atol=3e-7)


def test_more_tensors_than_a_table_holds_and_more_elements_than_a_block_takes():
    shapes = [(5,)] * 70 + [(4096 * 2 + 3,)]
    for ours, theirs in zip(steps(MAKERS["SGD"], "cuda", shapes, count=1),
                            steps(MAKERS["SGD"], "cpu", shapes, count=1)):
        np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_halves_are_updated_in_float32_and_rounded_once(dtype):
    p, g = np.array([1.0, 2.0, 3.0]).astype(dtype), np.array([1e-3, 0.5, -2.0]).astype(dtype)
    param = tg.Tensor(p, device="cuda").requires_grad_()
    param.grad = tg.Tensor(g, device="cuda")
    optim.SGD([param], lr=0.3).step()
    wanted = p.astype(np.float32) - np.float32(0.3) * g.astype(np.float32)
    np.testing.assert_array_equal(param.detach().numpy(), wanted.astype(dtype))


def test_a_learning_rate_on_the_device_is_read_there(cupy):
    p = cupy.asarray(np.ones(5, np.float32))
    how = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
           "maximize": False}
    lr = cupy.asarray(np.float32(0.25))
    with counted() as seen:
        native(cupy, "sgd_update")(p, cupy.ones(5, np.float32), None, lr, **how)
    assert (seen.syncs, seen.d2h) == (0, 0)
    np.testing.assert_array_equal(p.get(), np.full(5, 0.75, np.float32))


def test_other_memory_orders(cupy):
    p = cupy.asarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)).transpose(1, 0, 2)
    g = cupy.asarray(np.arange(24, dtype=np.float32).reshape(3, 2, 4))
    how = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
           "maximize": False}
    expected = p.get() - np.float32(0.5) * g.get()
    assert native(cupy, "sgd_update")(p, g, None, 0.5, **how) is p     # a gradient is brought along
    np.testing.assert_array_equal(p.get(), expected)
    gaps = cupy.asarray(np.ones((4, 4), np.float32))[:, :2]
    assert native(cupy, "sgd_update")(gaps, gaps, None, 0.5, **how) is NotImplemented


def test_float64_and_mixtures_are_left_to_cupy(cupy):
    wide = cupy.zeros(3, np.float64)
    assert native(cupy, "mix_update")(wide, wide, weight=0.5) is NotImplemented
    assert native(cupy, "mix_update")(wide.astype(np.float32), wide, weight=0.5) is NotImplemented
    assert native(cupy, "total_norm")(wide, order=2) is NotImplemented
    assert native(cupy, "total_norm")(cupy.zeros(3, np.float32), order=1) is NotImplemented


# -- clipping and averages ------------------------------------------------------------------------


def test_the_norm_overflows_only_where_float32_does_and_nan_goes_on(cupy):
    norm = native(cupy, "total_norm")
    large = cupy.asarray(np.array([3e30, 4e30], np.float32))
    assert norm(large, order=2).get() == np.float32(5e30)
    assert norm(cupy.zeros(0, np.float32), order=2).get() == 0
    assert np.isnan(norm(large, cupy.asarray(np.array([np.nan], np.float32)), order=2).get())
    several = [cupy.asarray(a.astype(t)) for a, t in zip(arrays(5), DTYPES * 3)]
    wide = np.concatenate([a.get().astype(np.float64).ravel() for a in several])
    for order in ORDERS:
        with thread_order(order):
            np.testing.assert_allclose(norm(*several, order=2).get(), np.linalg.norm(wide),
                                       rtol=1e-7)


def test_more_sums_than_threads(cupy):
    from tinygen.kernels.gpu.updates import native

    sums, norm = np.random.default_rng(0).random(700), cupy.empty((), np.float32)
    native("norm_of", 1, 256, cupy.asarray(sums), 700, norm)
    np.testing.assert_allclose(norm.get(), np.sqrt(sums.sum()), rtol=1e-6)


@pytest.mark.parametrize("limit", [0.5, 1e3, float("nan")])
def test_gradients_are_scaled_down_and_never_up(cupy, limit):
    g = np.array([3.0, 4.0, 0.0], np.float32)
    x, total = cupy.asarray(g), cupy.asarray(np.float32(5.0))
    native(cupy, "scale_to_norm")(total, x, max_norm=limit)
    scale = limit / (5.0 + 1e-6)
    wanted = g * np.float32(scale) if not scale >= 1 else g
    np.testing.assert_array_equal(x.get(), wanted)


def scaled_steps(device, overflow_at=2, steps=5):
    """Parameters, scale and launches of the last step of training with a scaled loss."""
    params = [tg.Tensor(a, device=device).requires_grad_() for a in arrays(0)]
    optimizer = optim.Adam(params, lr=0.01)
    scaler = tg.GradScaler(device, init_scale=8.0, growth_interval=2)
    for t in range(steps):
        for p, g in zip(params, arrays(t + 1), strict=True):
            p.grad = tg.Tensor(g * 8, device=device)
        if t == overflow_at:
            params[-1].grad[0, 0, 0, 0] = float("inf")
        with counted() as seen:
            scaler.step(optimizer)
            scaler.update()
    return [p.detach().numpy() for p in params], scaler.get_scale(), seen


def test_steps_with_an_overflow_are_passed_over():
    (ours, scale, seen), (theirs, wanted, _) = scaled_steps("cuda"), scaled_steps("cpu")
    assert scale == wanted == 16.0 and (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_unscaling_sees_what_is_not_finite(cupy, value, dtype):
    rng = np.random.default_rng(0)
    gs = [rng.standard_normal(5000).astype(dtype), np.ones(3, dtype)]
    gs[0][4999] = value
    for order in ORDERS:
        given = [cupy.asarray(g) for g in gs]
        with thread_order(order):
            found = native(cupy, "unscale")(cupy.asarray(np.float32(4)), *given)
        assert found.get() == (not np.isfinite(value))
        for x, g in zip(given, gs):
            wanted = (g.astype(np.float32) / 4).astype(dtype).astype(np.float32)
            np.testing.assert_array_equal(x.get().astype(np.float32), wanted)


def test_scales_grow_and_shrink_as_defined(cupy):
    how = {"growth": 2.0, "backoff": 0.5, "interval": 3}
    for scale, steps, bad in ((8, 0, 0), (8, 2, 0), (8, 2, 1), (3e38, 2, 0), (1, 1, 1)):
        host = [np.array(v, t) for v, t in zip((scale, steps, bad), ("f4", "i4", "f4"))]
        there = [cupy.asarray(a) for a in host]
        with np.errstate(over="ignore"):
            PRIMITIVES["update_scale"].fn(np, *host, **how)
        native(cupy, "update_scale")(*there, **how)
        assert [a.get() for a in there] == host


@pytest.mark.parametrize("warm_up", [False, True])
def test_moving_averages(warm_up):
    ends = []
    for device in ("cpu", "cuda"):
        weights = [*(tg.Tensor(a, device=device) for a in arrays(0)),
                   tg.Tensor(np.array([3]), device=device)]
        ema = EMA(weights, decay=0.9, warm_up=warm_up)
        for t in range(3):
            for w, a in zip(weights, [*arrays(t + 1), np.array([t])], strict=True):
                w.assign_(tg.Tensor(a, device=device))
            with counted() as seen:
                ema.update()
            assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
        if device == "cuda":
            assert seen.launches == 3                 # floats, a counter of int64, and the count
        ends.append([a.numpy() for a in ema.averages.values()])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics(cupy, dtype, momentum):
    rng = np.random.default_rng(0)
    mean, var, *running = (rng.random(300).astype(dtype) for _ in range(4))
    count = np.array(4)
    how = {"momentum": momentum, "correction": 1.25}
    wide = [a.astype(float) for a in running]
    PRIMITIVES["update_statistics"].fn(np, mean.astype(float), var.astype(float), *wide,
                                       np.array(4), **how)
    for order in ORDERS:
        given = [cupy.asarray(a) for a in (mean, var, *running, count)]
        with thread_order(order), counted() as seen:
            native(cupy, "update_statistics")(*given, **how)
        assert (seen.launches, seen.syncs) == (1, 0)
        for found, wanted in zip(given[2:4], wide):
            agrees(found.get(), wanted)
        assert given[4].get() == 5
    given = [cupy.asarray(mean), cupy.asarray(var), None, cupy.asarray(running[1])]
    native(cupy, "update_statistics")(*given, momentum=0.5, correction=1.0)
    agrees(given[3].get(), (running[1].astype(float) + var.astype(float)) / 2)
    assert native(cupy, "update_statistics")(*given, **how | {"momentum": None}) is NotImplemented


def test_every_kernel_ran(cupy):
    for name in ("adam_update", "adam_updates", "sgd_update", "sgd_updates", "mix_update",
                 "ema_update", "ema_updates", "update_statistics", "total_norm",
                 "scale_to_norm", "unscale", "restore_where", "update_scale"):
        assert (name, cupy.ndarray) in KERNELS


def test_parameters_of_a_kernel_fit_into_what_every_driver_has_for_them():
    from tinygen.kernels.gpu.updates import ADAM, SGD, TABLE

    assert TABLE.itemsize + max(ADAM.itemsize, SGD.itemsize) + 8 * 8 <= 4096


def test_a_removed_barrier_in_the_sum_of_a_block_is_caught(cupy):
    from tinygen.kernels.gpu.launch import read
    from tinygen.kernels.gpu.updates import TABLE

    from tests.doubles.cuda.build import build

    text = read("updates.cu")
    loop = "sums[threadIdx.x + half];\n    __syncthreads();"
    assert text.count(loop) == 1
    x = np.arange(4096, dtype=np.float32)
    table, sums = np.zeros((), TABLE), np.zeros(1)
    table["at"][0, 0], table["size"][0], table["last"][0] = x.ctypes.data, 4096, 1
    table["count"], table["packs"] = 1, 0

    def wrong(source):
        """In which orders of threads the sum is wrong, or the launch fails."""
        found = []
        for order in ORDERS:
            try:
                build(source)["squares_f32"]((1,), (256,), (table, sums), order=order)
            except KernelError:
                found.append(order)
                continue
            if not np.isclose(sums[0], (x.astype(np.float64) ** 2).sum(), rtol=1e-12):
                found.append(order)
        return found

    assert wrong(text) == []
    assert wrong(text.replace(loop, "sums[threadIdx.x + half];")) != []
