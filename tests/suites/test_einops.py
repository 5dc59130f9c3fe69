"""einops' own tests, from its wheel, for tinygen's backend and layers; then opt_einsum.

einops writes its tests as loops over the frameworks that its two helpers name; here the helpers
name tinygen (beside NumPy and PyTorch, where results are compared), so the loops run for it.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tests.checking import close, leaf, same

einops = pytest.importorskip("einops")
suite = pytest.importorskip("einops.tests")
backends = importlib.import_module("einops._backends")

# What is not run, and why.
EXCLUDED = {
    **dict.fromkeys(["test_torch_layer", "test_torch_layers_scripting",
                     "test_torch_compile_with_dynamic_shape", "test_torch_compile_for_functions",
                     "test_torch_compile_for_layers", "test_pytorch_yolo_fragment",
                     "test_einops_threading"], "PyTorch's own machinery"),
    **dict.fromkeys(["test_keras_layer", "test_flax_layers"], "layers of another framework"),
    **dict.fromkeys(["test_rearrange_symbolic", "test_reduce_symbolic", "test_reduction_symbolic",
                     "test_tiling_symbolic", "test_repeat_symbolic", "test_functional_symbolic",
                     "test_parse_shape_symbolic", "test_parse_shape_symbolic_ellipsis"],
                    "frameworks with symbolic shapes: tinygen's are numbers"),
    "test_reduction_with_callable_imperatives": "its table of callables has no room for tinygen: "
                                                "test_reduce_with_a_function below",
    **dict.fromkeys(["test_rearrange_array_api", "test_reduce_array_api", "test_repeat_array_api",
                     "test_pack_unpack_array_api"],
                    "run NumPy's namespace: test_einops_array_api below runs tinygen's"),
    "test_doctests_examples": "einops' doctests, with NumPy only",
}


class Named:
    """A backend under another name: einops' test of layers asks for names that it knows."""

    def __init__(self, backend: Any, name: str):
        self._backend, self.framework_name = backend, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def collect(symbolic: bool = False, layers: bool = False) -> list[Any]:
    """What einops' tests loop over."""
    if symbolic:
        return []
    if layers:
        return [Named(backends.TinygenBackend(), "torch")]
    others = [backends.NumpyBackend()]
    if importlib.util.find_spec("torch"):
        others.append(backends.TorchBackend())
    return [*others, backends.TinygenBackend()]


def einops_tests() -> dict[str, Any]:
    """All test functions of einops' wheel by name, bound to our backends."""
    before = suite.collect_test_backends, suite.parse_backends_to_test
    suite.collect_test_backends, suite.parse_backends_to_test = collect, lambda: ["tinygen"]
    try:
        modules = [importlib.import_module(f"einops.tests.test_{name}") for name in (
            "ops", "layers", "packing", "einsum", "other", "examples", "parsing")]
    finally:
        suite.collect_test_backends, suite.parse_backends_to_test = before
    einsum = next(m for m in modules if m.__name__.endswith("einsum"))
    einsum.valid_backends_functional = [*einsum.valid_backends_functional, "tinygen"]
    found = {}
    for module in modules:
        found |= {name: fn for name, fn in inspect.getmembers(module, inspect.isfunction)
                  if name.startswith("test_") and fn.__module__ == module.__name__}
    return found


TESTS = einops_tests()


def test_what_is_excluded_exists():
    assert set(EXCLUDED) <= set(TESTS)
    assert len(set(TESTS) - set(EXCLUDED)) >= 30


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(TESTS) - set(EXCLUDED)))
def test_of_einops(name, monkeypatch):
    monkeypatch.setattr(suite, "parse_backends_to_test", lambda: ["tinygen"])
    TESTS[name]()


# -- what einops' tests leave out ---


def test_the_operations_and_their_gradients():
    x = leaf(np.arange(24.0).reshape(2, 3, 4))
    y = einops.rearrange(x, "a b c -> b (a c)")
    same(y, np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2).reshape(3, 8))
    weights = np.random.default_rng(0).standard_normal((3, 8))
    (y * weights).sum().backward()
    close(x.grad, weights.reshape(3, 2, 4).transpose(1, 0, 2))
    close(einops.reduce(x, "a b (c 2) -> a c", "mean"),
          np.arange(24.0).reshape(2, 3, 2, 2).mean((1, 3)))
    assert einops.repeat(x, "a b c -> a d b c", d=5).shape == (2, 5, 3, 4)
    close(einops.einsum(x, x, "a b c, d b c -> a d"),
          np.einsum("abc,dbc->ad", x.detach().numpy(), x.detach().numpy()))
    packed, shapes = einops.pack([x, x[:, :, 0]], "a *")
    assert packed.shape == (2, 15)
    same(einops.unpack(packed, shapes, "a *")[0], x.detach().numpy())
    assert einops.parse_shape(x, "a _ c") == {"a": 2, "c": 4}


def test_reduce_with_a_function():
    x = leaf(np.random.default_rng(1).standard_normal((2, 3, 4)))

    def logsumexp(t, axes):
        return tg.logsumexp(t, axis=axes)
    y = einops.reduce(x, "a b c -> b", logsumexp)
    close(y, np.log(np.exp(x.detach().numpy()).sum((0, 2))))
    y.sum().backward()
    close(x.grad.sum(axis=(0, 2)), np.ones(3))


def test_einops_array_api():
    from einops import array_api
    x = tg.Tensor(np.arange(24.0).reshape(2, 3, 4))
    same(array_api.rearrange(x, "a b c -> c (a b)"), x.numpy().transpose(2, 0, 1).reshape(4, 6))
    close(array_api.reduce(x, "a b c -> a", "mean"), x.numpy().mean((1, 2)))
    same(array_api.repeat(x, "a b c -> a b c 2"), np.repeat(x.numpy()[..., None], 2, -1))
    packed, shapes = array_api.pack([x, x[..., 0]], "a b *")
    same(array_api.unpack(packed, shapes, "a b *")[1], x.numpy()[..., 0])


@pytest.mark.parametrize("first, second", [("tinygen", "einops"), ("einops", "tinygen")])
def test_the_order_of_imports_does_not_matter(first, second):
    code = f"""
import {first}, {second}, gc, sys
import tinygen as tg, einops
gc.collect()
assert einops.rearrange(tg.ones((2, 3)), "a b -> b a").shape == (3, 2)
assert not [f for f in sys.meta_path if type(f).__module__.startswith("tinygen")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_layers_train_and_travel():
    from tinygen.nn.einops import EinMix, Rearrange, Reduce
    tg.manual_seed(0)
    net = tg.nn.Sequential(Rearrange("b (c k) -> b c k", k=2), Reduce("b c k -> b c", "sum"),
                           EinMix("b c -> b (d e)", "c d e", "d e", c=3, d=2, e=2))
    assert set(net.state_dict()) == {"2.weight", "2.bias"}
    y = net(tg.ones((4, 6)))
    assert y.shape == (4, 4)
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert "Rearrange('b (c k) -> b c k', k=2)" in repr(net)
    again = pickle.loads(pickle.dumps(net[0]))
    same(again(tg.ones((4, 6))), np.ones((4, 3, 2), np.float32))


# -- opt_einsum ---


@pytest.mark.parametrize("spec, shapes", [
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]), ("abc,cd,bde->ae", [(2, 3, 4), (4, 5), (3, 5, 2)]),
    ("ij,ij->", [(3, 2), (3, 2)]), ("ii->i", [(3, 3)]), ("...a,ab->...b", [(2, 3, 4), (4, 5)]),
    ("a,b,c->abc", [(2,), (3,), (4,)]),
])
def test_opt_einsum(spec, shapes):
    opt_einsum = pytest.importorskip("opt_einsum")
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(s) for s in shapes]
    tensors = [leaf(a) for a in arrays]
    weight = rng.standard_normal(np.einsum(spec, *arrays).shape)
    for backend in ("auto", "tinygen"):
        y = opt_einsum.contract(spec, *tensors, backend=backend)
        close(y, np.einsum(spec, *arrays))
    expected = tg.autograd.grad([tg.einsum(spec, *tensors)], tensors, [weight])
    for g, e in zip(tg.autograd.grad([y], tensors, [weight]), expected, strict=True):
        close(g, e.numpy())
    again = opt_einsum.contract_expression(spec, *shapes)
    close(again(*tensors), np.einsum(spec, *arrays))
