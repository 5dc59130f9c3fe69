"""Every primitive, against float64 references and finite differences: the rows of tests/cases.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests import cases
from tests.cases import CASES
from tinygen import primitive as dispatch
from tinygen.autograd import grad_of
from tinygen.jit.tape import capture
from tinygen.primitive import KERNELS, PRIMITIVES, kernel, primitive
from tinygen.tensor import Tensor

STEP = 1e-3
SEEDS = st.integers(0, 2**20)
rows = pytest.mark.parametrize("case", CASES, ids=repr)
smooth = pytest.mark.parametrize("case", [c for c in CASES if c.inputs], ids=repr)


# -- helpers ------------------------------------------------------------------------------------------


@st.composite
def layouts(draw, n):
    """How each of n arrays lies in memory."""
    kinds = ["C", "C", "F", "transposed", "reversed", "sliced", "offset", "swapped"]
    return [draw(st.sampled_from(kinds)) for _ in range(n)]


def laid_out(x, kind):
    """A copy of x with the same values and other strides."""
    if kind == "C" or x.ndim == 0:
        return np.array(x)
    if kind == "F":
        return np.asfortranarray(x)
    if kind == "transposed":
        return np.ascontiguousarray(x.T).T
    if kind == "swapped":
        return np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1)
    if kind == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    wide = np.full(tuple(2 * n + 1 for n in x.shape), 7, x.dtype)
    if kind == "sliced":
        out = wide[tuple(slice(0, 2 * n, 2) for n in x.shape)]
    else:
        out = wide[tuple(slice(1, n + 1) for n in x.shape)]
    out[...] = x
    return out


def same(array, other):
    np.testing.assert_array_equal(array, other, strict=True)


def tensors(arrays, needs=(), dtype=np.float64, kinds=None):
    """The arrays as tensors: floats in `dtype`, gradients where `needs` says so."""
    made = []
    for i, x in enumerate(arrays):
        if x is None:
            made.append(None)
            continue
        x = x.astype(dtype) if x.dtype.kind == "f" else x
        t = Tensor.wrap(laid_out(x, kinds[i] if kinds else "C"))
        made.append(t.requires_grad_() if i in needs else t)
    return made


def call(case, inputs, attrs):
    """All outputs of a primitive that are arrays, as a list."""
    out = PRIMITIVES[case.name](*inputs, **attrs)
    return [y for y in out if y is not None] if isinstance(out, tuple) else [out]


def recorded(outputs):
    return [y for y in outputs if y.requires_grad]


def reference(case, arrays, attrs):
    out = case.reference(*arrays, **attrs)
    return [y for y in out if y is not None] if isinstance(out, tuple) else [np.asarray(out)]


def seeds_like(outputs, rng, dtype=None):
    return [np.asarray(rng.standard_normal(y.shape), dtype or y.dtype) for y in outputs]


def gradients(outputs, seeds, inputs, create_graph=False):
    """Gradients of the outputs weighted by seeds; None becomes zeros."""
    found = grad_of(outputs, inputs, seeds, create_graph=create_graph, allow_unused=True,
                    retain_graph=True)
    return [tg.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def directions(arrays, rng):
    """Random directions whose largest component is 1, so that a step stays clear of kinks."""
    return [np.asarray(rng.uniform(-1, 1, x.shape)) for x in arrays]


def difference(f, at, along):
    """The directional derivative of a scalar f by central differences of order four."""
    def shifted(k):
        return f([x + k * STEP * u for x, u in zip(at, along, strict=True)])
    return (8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * STEP)


def dot(xs, ys):
    return float(sum(np.sum(np.asarray(x) * np.asarray(y)) for x, y in zip(xs, ys, strict=True)))


def size_of(xs, ys):
    """How large the terms of `dot` are: what its error is measured against."""
    return 1 + float(sum(np.sum(np.abs(np.asarray(x) * np.asarray(y)))
                         for x, y in zip(xs, ys, strict=True)))


class Drawn:
    """One example: structure, values, memory layouts, and which inputs need gradients."""

    def __init__(self, case, data):
        self.case = case
        self.sample = case.sample(data.draw)
        self.seed = data.draw(SEEDS, label="seed")
        self.arrays = self.sample.values(self.seed)
        self.attrs = self.sample.attrs
        self.kinds = data.draw(layouts(len(self.arrays)), label="layouts")
        self.rng = np.random.default_rng(self.seed + 1)
        possible = [i for i in case.inputs if i < len(self.arrays) and self.arrays[i] is not None]
        self.needs = sorted(data.draw(st.sets(st.sampled_from(possible), min_size=1),
                                      label="inputs with gradients")) if possible else []

    def tensors(self, dtype=np.float64, arrays=None):
        return tensors(self.arrays if arrays is None else arrays, self.needs, dtype, self.kinds)

    def with_wanted(self, wanted):
        """The arrays with others in place of the inputs that need gradients."""
        arrays = list(self.arrays)
        for i, x in zip(self.needs, wanted, strict=True):
            arrays[i] = x
        return arrays

    @property
    def wanted(self):
        return [self.arrays[i] for i in self.needs]


# -- the table is complete ------------------------------------------------------------------------------


def test_every_primitive_has_a_row():
    assert not cases.missing(), f"add rows to tests/cases.py for {sorted(cases.missing())}"
    assert not cases.stale(), f"tests/cases.py names primitives that are gone: {cases.stale()}"


def test_a_primitive_without_a_row_is_found():
    primitive(lambda xp, x: x, name="test_only_unlisted")
    try:
        assert "test_only_unlisted" in cases.missing()
    finally:
        del PRIMITIVES["test_only_unlisted"]


# -- forward ------------------------------------------------------------------------------------------------


@rows
@given(data=st.data())
def test_forward_agrees_with_the_reference(case, data):
    drawn = Drawn(case, data)
    inputs = drawn.tensors()
    before = [None if t is None else t.data.copy() for t in inputs]
    outputs = call(case, inputs, drawn.attrs)
    expected = reference(case, drawn.arrays, drawn.attrs)
    assert len(outputs) == len(expected)
    for y, r in zip(outputs, expected, strict=True):
        assert y.shape == r.shape
        assert y.dtype.kind == r.dtype.kind
        np.testing.assert_allclose(y.data, r, rtol=1e-10, atol=1e-12)
        assert y.requires_grad == (bool(drawn.needs) and y.dtype.kind == "f") or (
            PRIMITIVES[case.name].differentiable < PRIMITIVES[case.name].outputs)
    for t, copy in zip(inputs, before, strict=True):
        if t is not None:
            same(t.data, copy)


@rows
@given(data=st.data())
def test_narrow_floats_stay_narrow(case, data):
    """float32 and float16 in: the same type out, and in the gradients."""
    drawn = Drawn(case, data)
    dtype = np.dtype(data.draw(st.sampled_from(["float32"] if case.half is None
                                               else ["float32", "float32", "float16"])))
    inputs = drawn.tensors(dtype)
    rounded = [t if t is None else t.data.astype(np.float64) if t.dtype.kind == "f" else t.data
               for t in inputs]
    outputs = call(case, inputs, drawn.attrs)
    expected = reference(case, rounded, drawn.attrs)
    tolerance = case.single if dtype == np.float32 else case.half
    for y, r in zip(outputs, expected, strict=True):
        if y.dtype.kind == "f":
            if case.keeps_dtype:
                assert y.dtype == dtype
            scale = 1 + (np.abs(r).max() if r.size else 0)
            np.testing.assert_allclose(y.data, r, rtol=tolerance, atol=tolerance * scale)
    if not drawn.needs:
        return
    outputs = recorded(outputs)
    seeds = seeds_like(outputs, drawn.rng)
    wanted = [inputs[i] for i in drawn.needs]
    for x, g in zip(wanted, gradients(outputs, seeds, wanted), strict=True):
        assert (g.dtype, g.shape) == (dtype, x.shape)
        assert np.isfinite(g.data).all()
    if dtype == np.float32:
        wide = tensors(rounded, drawn.needs)
        expected = gradients(recorded(call(case, wide, drawn.attrs)),
                             [s.astype(np.float64) for s in seeds], [wide[i] for i in drawn.needs])
        for g, r in zip(gradients(outputs, seeds, wanted), expected, strict=True):
            scale = 1 + (np.abs(r.data).max() if r.size else 0)
            np.testing.assert_allclose(g.data, r.data, rtol=1e-3, atol=1e-4 * scale)


# -- derivatives -----------------------------------------------------------------------------------------------


@smooth
@given(data=st.data())
def test_vjp_agrees_with_differences(case, data):
    drawn = Drawn(case, data)
    inputs = drawn.tensors()
    outputs = recorded(call(case, inputs, drawn.attrs))
    seeds = seeds_like(outputs, drawn.rng)
    wanted = [inputs[i] for i in drawn.needs]
    before = [None if t is None else t.data.copy() for t in inputs + outputs]
    seeds_before = [s.copy() for s in seeds]
    found = gradients(outputs, seeds, wanted)
    for x, g in zip(wanted, found, strict=True):
        assert (g.shape, g.dtype, g.requires_grad) == (x.shape, x.dtype, False)

    def value(changed):
        ys = recorded(call(case, tensors(drawn.with_wanted(changed), drawn.needs), drawn.attrs))
        return dot([y.data for y in ys], seeds)
    along = directions(drawn.wanted, drawn.rng)
    analytic = dot([g.data for g in found], along)
    numeric = difference(value, drawn.wanted, along)
    assert abs(analytic - numeric) <= 1e-7 * size_of([g.data for g in found], along)

    for t, copy in zip([t for t in inputs + outputs if t is not None],
                       [c for c in before if c is not None], strict=True):
        same(t.data, copy)
    for s, copy in zip(seeds, seeds_before, strict=True):
        same(s, copy)
    again = gradients(outputs, seeds, wanted, create_graph=True)      # the same rules, lifted
    for g, lifted in zip(found, again, strict=True):
        np.testing.assert_allclose(lifted.data, g.data, rtol=1e-9, atol=1e-11)
    for g in found:                # a gradient is the caller's own: changing it changes nothing
        if g.data.flags.writeable:
            g.data[...] = np.nan
    for t, copy in zip([t for t in inputs + outputs if t is not None],
                       [c for c in before if c is not None], strict=True):
        same(t.data, copy)


@smooth
@given(data=st.data())
def test_double_vjp_agrees_with_differences(case, data):
    """d/d(x, g) of <vjp(x, g), u>, against differences of the first-order gradients."""
    drawn = Drawn(case, data)
    inputs = drawn.tensors()
    outputs = recorded(call(case, inputs, drawn.attrs))
    seed_arrays = seeds_like(outputs, drawn.rng)
    seeds = [Tensor.wrap(s).requires_grad_() for s in seed_arrays]
    wanted = [inputs[i] for i in drawn.needs]
    u = directions(drawn.wanted, drawn.rng)
    first = gradients(outputs, seeds, wanted, create_graph=True)
    total = sum((g * v).sum() for g, v in zip(first, u, strict=True))
    variables = wanted + seeds
    second = (gradients([total], [None], variables) if total.requires_grad
              else [tg.zeros_like(v) for v in variables])

    def value(changed):
        xs, gs = changed[:len(wanted)], changed[len(wanted):]
        fresh = tensors(drawn.with_wanted(xs), drawn.needs)
        ys = recorded(call(case, fresh, drawn.attrs))
        return dot([g.data for g in gradients(ys, gs, [fresh[i] for i in drawn.needs])], u)
    at = [v.data for v in variables]
    along = directions(at, drawn.rng)
    analytic = dot([s.data for s in second], along)
    numeric = difference(value, at, along)
    assert abs(analytic - numeric) <= 1e-6 * size_of([s.data for s in second], along)


# -- capture and replay ------------------------------------------------------------------------------------------


@rows
@given(data=st.data())
def test_replay_agrees_with_eager_on_new_inputs(case, data):
    """Forward and backward, captured on one set of values and replayed on another."""
    drawn = Drawn(case, data)
    seed = np.random.default_rng(drawn.seed + 2)
    weights: list[np.ndarray] = []

    def step(*given):
        slots = iter(given)
        inputs = [None if x is None else next(slots) for x in drawn.arrays]
        outputs = call(case, inputs, drawn.attrs)
        for y in outputs[len(weights):]:
            weights.append(seed.standard_normal(y.shape))
        grads = []
        if recorded(outputs):
            pairs = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
            grads = gradients([y for y, _ in pairs], [w for _, w in pairs],
                              [inputs[i] for i in drawn.needs])
        return outputs, grads
    program = capture(step, *(t for t in drawn.tensors() if t is not None))
    other = drawn.sample.values(drawn.seed + 3)
    fresh = [t for t in drawn.tensors(arrays=other) if t is not None]
    outputs, grads = program.replay(*fresh)
    expected_outputs, expected_grads = step(*fresh)
    for y, r in zip(outputs + grads, expected_outputs + expected_grads, strict=True):
        assert y.dtype == r.dtype
        np.testing.assert_allclose(y.data, r.data, rtol=1e-12, atol=1e-13)


# -- kernels -------------------------------------------------------------------------------------------------------


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
    for y, r in pairs:
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


@given(data=st.data())
def test_registered_kernels_agree_with_numpy(data):
    dispatch._load_kernels(np.ndarray)
    for name, kind in sorted(KERNELS, key=str):
        if kind is np.ndarray:
            check_kernel(name, kind, data)


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
    same(x.grad.numpy(), np.array([2, 4], np.float32))
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
    same(w.grad.numpy(), np.full((4, 3), 2, np.float32))


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


# -- values at the edge of the number range ---------------------------------------------------------------------------


EXTREME = [
    ("sigmoid", {}, [-1e4, -100, 100, 1e4, np.inf, -np.inf], [0, 3.8e-44, 1, 1, 1, 0]),
    ("log_sigmoid", {}, [-1e4, 1e4, 0], [-1e4, 0, -np.log(2)]),
    ("softplus", {"beta": 1.0, "threshold": 20.0}, [-1e4, 1e4, 0], [0, 1e4, np.log(2)]),
    ("silu", {}, [-1e4, 1e4, -100], [0, 1e4, 0]),
    ("elu", {"alpha": 1.0}, [-1e4, 1e4], [-1, 1e4]),
    ("erf", {}, [-30, 30, np.inf, -np.inf, 0], [-1, 1, 1, -1, 0]),
    ("gelu_exact", {}, [-1e3, 1e3], [0, 1e3]),
    ("gelu_tanh", {}, [-1e3, 1e3], [0, 1e3]),
    ("tanh", {}, [-1e4, 1e4], [-1, 1]),
    ("expm1", {}, [1e-8, -1e-8], [1e-8, -1e-8]),
    ("log1p", {}, [1e-8, -1e-8], [1e-8, -1e-8]),
]


@pytest.mark.parametrize("name, attrs, values, expected", EXTREME, ids=[e[0] for e in EXTREME])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_overflow_and_no_lost_digits(name, attrs, values, expected, dtype):
    """Results and gradients are finite numbers (NumPy's warnings are errors in this suite)."""
    x = tg.Tensor(np.array(values, dtype), requires_grad=True)
    y = PRIMITIVES[name](x, **attrs)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-6, atol=1e-7)
    finite = tg.Tensor(np.array([v for v in values if np.isfinite(v)], dtype), requires_grad=True)
    PRIMITIVES[name](finite, **attrs).sum().backward()
    assert np.isfinite(finite.grad.numpy()).all()


def test_logsumexp_survives_large_numbers_and_infinities():
    x = tg.Tensor([[1000.0, 1000.0], [-np.inf, 0.0], [-np.inf, -np.inf]], requires_grad=True)
    with np.errstate(divide="ignore"):
        y = tg.logsumexp(x, axis=1)
    np.testing.assert_allclose(y.detach().numpy(), [1000 + np.log(2), 0, -np.inf], rtol=1e-6)
    y[:2].sum().backward(retain_graph=True)
    np.testing.assert_allclose(x.grad.numpy()[:2], [[0.5, 0.5], [0, 1]], rtol=1e-4)
    x.grad = None
    y.sum().backward()
    same(x.grad.numpy()[2], np.zeros(2, np.float32))    # nothing to share: no NaN
