"""Losses of single elements on a GPU: the definition's numbers, in every order of threads."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.agreement import check
from tests.gpu.running import DTYPES, agrees, definition, draw, launch, needs_compiler
from tinygen.primitive import KERNELS

pytestmark = needs_compiler
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LOSSES = ("bce_with_logits", "mse_loss")


@every_type
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses(cupy, name, reduction, dtype):
    x, target = draw((3, 71), scale=3), np.random.default_rng(1).random((3, 71))
    check(cupy, name, dtype, x, target, reduction=reduction, scale=2)
    check(cupy, name, dtype, x, np.array(1.0), reduction=reduction, scale=2)


@pytest.mark.parametrize("name", LOSSES)
def test_more_than_a_block_of_sums(cupy, name, monkeypatch):
    x = draw((9001,))
    check(cupy, name, np.float32, x, draw(x.shape, seed=1), reduction="sum", scale=2)
    from tinygen.kernels.gpu.element_loss import native

    parts, y = np.random.default_rng(0).random(600), cupy.empty((), np.float32)
    native("total_f32", 1, 256, cupy.asarray(parts), 600, np.float64(0.5), y)
    np.testing.assert_allclose(y.get(), parts.sum() / 2, rtol=1e-6)


@every_type
def test_the_gradient(cupy, dtype):
    x, target, g = draw((3, 101), scale=4), draw((3, 101), seed=1), draw((3, 101), seed=2)
    for t, by in ((target, g), (target, np.array(0.25)), (np.array(1.0), g)):
        check(cupy, "bce_with_logits_grad", dtype, x, t, by, scale=2)


def test_extremes_nan_and_numbers(cupy):
    x = np.array([0, 200, -200, np.inf, -np.inf, np.nan], np.float32)
    for target in (np.zeros(6, np.float32), np.full(6, 0.5, np.float32)):
        for name in LOSSES:
            agrees(launch(cupy, name, x, target, reduction="none"),
                   definition(name, x, target, reduction="none"))
        agrees(launch(cupy, "bce_with_logits_grad", x, target, target + 1),
               definition("bce_with_logits_grad", x, target, target + 1))
    found = KERNELS["bce_with_logits", cupy.ndarray](cupy.asarray(x[:3]), 1.0, reduction="none")
    agrees(found.get(), definition("bce_with_logits", x[:3], 1.0, reduction="none"))


def test_strides(cupy):
    x, t = draw((6, 8)), draw((6, 8), seed=1)
    found = KERNELS["mse_loss", cupy.ndarray](cupy.asarray(x.T.copy()).T[::2], cupy.asarray(t)[::2],
                                              reduction="none")
    agrees(found.get(), (x[::2] - t[::2]) ** 2)


def test_declined(cupy):
    x = cupy.ones((3, 2), np.float32)
    for given in ((x.astype(np.float64), x), (x, x.astype(np.float64)), (x, x[:1]), (x[:0], x[:0])):
        assert KERNELS["mse_loss", cupy.ndarray](*given, reduction="sum") is NotImplemented


def test_losses_of_a_layer_wait_for_nothing_and_are_the_cpu_s():
    ends = []
    for device in ("cpu", "cuda"):
        x = tg.Tensor(draw((5, 7)), device=device, requires_grad=True)
        target = tg.Tensor((draw((5, 7), seed=1) > 0).astype(np.float32), device=device)
        for _ in range(2):
            x.grad = None
            with counted() as seen:
                loss = tg.nn.functional.binary_cross_entropy_with_logits(x, target)
                loss = loss + tg.nn.functional.mse_loss(x, target)
                loss.backward()
        assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
        ends.append((loss.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*ends):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
