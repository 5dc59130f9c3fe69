"""Kernels: they agree with the NumPy definition, may decline, and can be kept out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.cases import CASES, EXEMPT
from tests.checking import (
    Drawn,
    same_array,
    seeds_like,
)
from tinygen import primitive as dispatch
from tinygen.primitive import KERNELS, PRIMITIVES, kernel

# -- kernels ---------------------------------------------------------------------------------------


def check_kernel(name, kind, data):
    """One drawn call of a registered kernel, against the primitive's own NumPy function."""
    base = name.removesuffix("_vjp")
    case = data.draw(st.sampled_from([c for c in CASES if c.name == base]))
    drawn = Drawn(case, data)
    op = PRIMITIVES[base]
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    inputs = [None if t is None else t.data for t in drawn.tensors(dtype)]
    attrs = dict(drawn.attrs)
    if name != base:
        ys = op.fn(np, *inputs, **attrs)
        ys = ys if isinstance(ys, tuple) else (ys,)
        gs = seeds_like([y for y in ys[:op.differentiable]], drawn.rng)
        attrs["needs"] = tuple(i in drawn.needs for i in range(len(inputs)))
        op, inputs = op.joint, [*gs, *ys, *inputs]
    got = KERNELS[name, kind](*inputs, **attrs)
    if got is NotImplemented:
        return False
    expected = op.fn(np, *inputs, **attrs)
    pairs = zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]
    for i, (y, r) in enumerate(pairs):
        if name != base and not any(attrs["needs"][i:i + 1]):
            continue                     # a gradient that nobody wants may be left out
        assert (y is None) == (r is None)
        if r is not None:
            assert (y.shape, y.dtype) == (r.shape, r.dtype)
            tolerance = 1e-5 if dtype == np.float32 else 1e-12
            np.testing.assert_allclose(y, r, rtol=tolerance, atol=tolerance)
    return True


@pytest.fixture
def kernels():
    """Register kernels freely; the table is put back afterwards."""
    before = dict(KERNELS)
    yield kernel
    KERNELS.clear()
    KERNELS.update(before)
    dispatch.forget_implementations()


dispatch._load_kernels(np.ndarray)
REGISTERED = sorted(name for name, kind in KERNELS if kind is np.ndarray
                    and name not in EXEMPT)      # those have tests of their own


@pytest.mark.parametrize("name", REGISTERED)
@given(data=st.data())
def test_registered_kernels_agree_with_numpy(name, data):
    check_kernel(name, np.ndarray, data)


def test_a_kernel_runs_in_place_of_the_function_and_may_decline(kernels):
    calls = []

    @kernels("multiply", np.ndarray)
    def _(x, y):
        if x.dtype != np.float32:
            return NotImplemented
        calls.append(x.shape)
        return x * y

    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    same_array(x.grad.numpy(), np.array([2, 4], np.float32))
    assert calls[0] == (2,)
    n = len(calls)
    wide = tg.Tensor([3.0], dtype="float64")
    assert (wide * wide).item() == 9.0       # declined: the NumPy function ran
    assert len(calls) == n

    ran = []

    @given(data=st.data())
    def agrees(data):
        ran.append(check_kernel("multiply", np.ndarray, data))
    agrees()
    assert any(ran) and not all(ran)         # float32 runs, float64 is declined


def test_a_wrong_kernel_is_caught(kernels):
    @kernels("tanh", np.ndarray)
    def _(x):
        return np.tanh(x) * (1 + 1e-3)

    @given(data=st.data())
    def agrees(data):
        check_kernel("tanh", np.ndarray, data)
    with pytest.raises(AssertionError):
        agrees()


def test_kernels_for_joint_rules_are_found_by_name(kernels):
    seen = []

    @kernels("linear_vjp", np.ndarray)
    def _(g, y, x, weight, bias=None, *, needs):
        seen.append(needs)
        return NotImplemented

    x = tg.ones((2, 3), requires_grad=True)
    w = tg.ones((4, 3), requires_grad=True)
    PRIMITIVES["linear"](x, w).sum().backward()
    assert seen == [(True, True)]
    same_array(w.grad.numpy(), np.full((4, 3), 2, np.float32))


def test_environment_variable_keeps_kernels_out(monkeypatch):
    loaded = []
    monkeypatch.setattr(dispatch, "importlib", type("Fake", (), {
        "import_module": staticmethod(loaded.append)}))
    for value, expected in (("numpy", []), ("", ["tinygen.kernels.cpu"])):
        monkeypatch.setattr(dispatch, "_loaded", {})
        monkeypatch.setenv("TINYGEN_KERNELS", value)
        dispatch._load_kernels(np.ndarray)
        assert loaded == expected
        assert ("off" in dispatch.kernel_status()) == (value == "numpy")


def test_a_broken_kernel_file_is_not_hidden(monkeypatch):
    def broken(name):
        raise ImportError("cannot import name 'gone' from 'tinygen.kernels.cpu.linear'")
    monkeypatch.setattr(dispatch, "importlib", type("Fake", (), {
        "import_module": staticmethod(broken)}))
    monkeypatch.setattr(dispatch, "_loaded", {})
    monkeypatch.delenv("TINYGEN_KERNELS", raising=False)
    with pytest.raises(ImportError, match="gone"):
        dispatch._load_kernels(np.ndarray)
