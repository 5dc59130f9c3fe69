"""Programs as CUDA graphs, on the double: streams that capture compute nothing and never wait."""

import os
import sys
import types

import numpy as np
import pytest

import tinygen as tg
from tests.doubles import cublaslt
from tests.doubles.counting import counted
from tests.gpu.running import draw, needs_compiler
from tests.gpu.training import CASES, tensors
from tinygen.ops.host import numpy_function

pytestmark = [needs_compiler, pytest.mark.skipif(
    os.environ.get("TINYGEN_KERNELS", "") == "numpy", reason="TINYGEN_KERNELS=numpy: no kernels")]


@pytest.fixture
def products(monkeypatch, cupy):
    """cuBLASLt, without which no product can be captured: a double of its bindings."""
    tg.ones((2, 2), device="cuda") @ tg.ones((2, 2), device="cuda")      # kernels are loaded
    from tinygen.kernels.gpu import cublaslt as of

    package = types.ModuleType("nvmath.bindings")
    package.cublasLt = cublaslt
    for name, module in (("nvmath", types.ModuleType("nvmath")), ("nvmath.bindings", package),
                         ("nvmath.bindings.cublasLt", cublaslt)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(of, "_plans", {})
    cached = of.ready, of._bindings, of._handle, of._workspace
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def trained(name, graph):
    """Losses and weights after six steps, with other learning rates; the jitted step; counts."""
    make, batch = CASES[name]
    tg.manual_seed(0)
    model = make().to("cuda")
    optimizers, batch = model.configure_optimizers(), tensors(batch(), "cuda")
    tg.manual_seed(1)
    step = tg.jit(lambda *batch: model.training_step(*batch, optimizers), graph=graph)
    losses = []
    several = optimizers if isinstance(optimizers, (list, tuple)) else (
        optimizers.values() if isinstance(optimizers, dict) else [optimizers])
    for i in range(6):
        for optimizer in several:
            optimizer.lr = 1e-3 / (1 + i)
        with counted() as seen:
            losses.append(step(*batch))
    found = [v.detach().numpy() for each in losses for v in each.values()]
    return [*found, *[p.detach().numpy() for p in model.parameters()],
            *[p.grad.numpy() for p in model.parameters() if p.grad is not None]], step, seen


@pytest.mark.parametrize("name", ["gan", "vae", "gpt"])
def test_a_training_step_is_a_graph(name, products):
    expected, *_ = trained(name, False)
    found, step, seen = trained(name, True)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    program = step.program()
    assert program.graph_reason is None and program._bound.made == 1
    assert seen.by["launches"]["Graph"] == 1
    assert set(seen.by["launches"]) <= {"Graph", "copy", "fill", "setitem"}, seen
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen


def test_results_are_arrays_of_their_own_and_arguments_are_read():
    fast = tg.jit(lambda x: [tg.exp(x) * 2, x.sum()], graph=True)
    given = [tg.Tensor(draw((3, 5), seed=i), device="cuda") for i in range(5)]
    found = [fast(x) for x in given]
    assert fast.program().graph_reason is None
    for (y, total), x in zip(found, given, strict=True):
        np.testing.assert_allclose(y.numpy(), 2 * np.exp(x.numpy()), rtol=1e-6)
        np.testing.assert_allclose(total.item(), x.numpy().sum(dtype=np.float64), rtol=1e-5)


def test_draws_are_new_in_every_replay():
    tg.manual_seed(3)
    expected = [tg.random.normal((4,), device="cuda").tolist() for _ in range(5)]
    fast = tg.jit(lambda x: x + tg.random.normal((4,), device="cuda"), graph=True)
    tg.manual_seed(3)
    zeros = tg.zeros((4,), device="cuda")
    assert [fast(zeros).tolist() for _ in range(5)] == expected and (
        fast.program().graph_reason is None)
    tg.manual_seed(3)                               # another stream: the graph is made anew
    assert fast(zeros).tolist() == expected[0]
    assert fast.program()._bound.made == 2


def test_another_array_outside_makes_another_graph(cupy):
    w, x = tg.ones((3,), device="cuda"), tg.ones((3,), device="cuda")
    fast = tg.jit(lambda x: x * w + 1, graph=True)
    for _ in range(3):
        fast(x)
    w.data = cupy.full((3,), 5.0, np.float32)
    assert fast(x).tolist() == [6.0] * 3 and fast.program()._bound.made == 2


def add_host(x):
    return x + numpy_function(np.sort, x)


def change(x):
    x.assign_(x * 2)
    return x + 1


@pytest.mark.parametrize("f, reason", [(add_host, "numpy_function goes through the host"),
                                       (change, "assign changes an argument"),
                                       (lambda x: x @ x, "NotImplementedError: ")],
                         ids=["host", "argument", "product"])
def test_what_cannot_be_a_graph_says_why_and_runs(f, reason):
    fast = tg.jit(f, graph=True)
    for i in range(4):
        x = tg.Tensor(draw((3, 3), seed=i), device="cuda")
        expected = f(tg.Tensor(x.numpy().copy())).numpy()
        np.testing.assert_allclose(fast(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert reason in fast.program().graph_reason


def test_it_has_to_be_asked_for(monkeypatch):
    x = tg.ones((3,), device="cuda")
    plain = tg.jit(tg.exp)
    plain(x)
    assert "not asked for" in plain.program().graph_reason
    monkeypatch.setenv("TINYGEN_CUDA_GRAPHS", "1")
    fast = tg.jit(tg.exp)
    fast(x)
    assert fast.program().graph_reason is None
    on_host = tg.jit(tg.exp)
    on_host(tg.ones((3,)))
    assert "nothing of it runs on a GPU" in on_host.program().graph_reason
