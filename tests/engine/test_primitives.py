"""Every primitive against float64 references and differences: the rows of tests/cases.py."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests import cases
from tests.cases import CASES
from tests.checking import (
    Drawn,
    call,
    difference,
    directions,
    dot,
    gradients,
    recorded,
    reference,
    same_array,
    seeds_like,
    size_of,
    tensors,
)
from tinygen.backend import FLOATS, canonical_dtype
from tinygen.jit import capture
from tinygen.primitive import PRIMITIVES, primitive
from tinygen.tensor import Tensor

BFLOAT16 = ["bfloat16"] if importlib.util.find_spec("ml_dtypes") else []
rows = pytest.mark.parametrize("case", CASES, ids=repr)
smooth = pytest.mark.parametrize("case", [c for c in CASES if c.inputs], ids=repr)


# -- the table is complete -------------------------------------------------------------------------


def test_every_primitive_has_a_row():
    assert not cases.missing(), f"add rows to tests/cases.py for {sorted(cases.missing())}"
    assert not cases.stale(), f"tests/cases.py names primitives that are gone: {cases.stale()}"


def test_a_primitive_without_a_row_is_found():
    primitive(lambda xp, x: x, name="test_only_unlisted")
    try:
        assert "test_only_unlisted" in cases.missing()
    finally:
        del PRIMITIVES["test_only_unlisted"]


# -- forward ---------------------------------------------------------------------------------------


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
            same_array(t.data, copy)


@rows
@given(data=st.data())
def test_narrow_floats_stay_narrow(case, data):
    """float32 and floats of 16 bits in: the same type out, and in the gradients.

    What an operation keeps for its rule may be float32.
    """
    drawn = Drawn(case, data)
    kinds = ["float32"] if case.half is None else ["float32", "float32", "float16", *BFLOAT16]
    dtype = canonical_dtype(data.draw(st.sampled_from(kinds)))
    inputs = drawn.tensors(dtype)
    rounded = [t if t is None else t.data.astype(np.float64) if t.dtype.kind in FLOATS else t.data
               for t in inputs]
    outputs = call(case, inputs, drawn.attrs)
    expected = reference(case, rounded, drawn.attrs)
    tolerance = case.single if dtype == np.float32 else case.half
    tolerance = 8 * tolerance if dtype.kind == "V" else tolerance          # three bits fewer
    learns = PRIMITIVES[case.name].differentiable or 99
    for i, (y, r) in enumerate(zip(outputs, expected, strict=True)):
        if y.dtype.kind in FLOATS:
            if case.keeps_dtype:
                assert y.dtype == dtype or (i >= learns and y.dtype == np.float32)
            scale = 1 + (np.abs(r).max() if r.size else 0)
            np.testing.assert_allclose(y.data.astype(np.float64), r, rtol=tolerance,
                                       atol=tolerance * scale)
    if not drawn.needs:
        return
    outputs = recorded(outputs)
    seeds = seeds_like(outputs, drawn.rng)
    wanted = [inputs[i] for i in drawn.needs]
    for x, g in zip(wanted, gradients(outputs, seeds, wanted), strict=True):
        assert (g.dtype, g.shape) == (dtype, x.shape)
        assert np.isfinite(g.data.astype(np.float64)).all()
    if dtype == np.float32:
        wide = tensors(rounded, drawn.needs)
        expected = gradients(recorded(call(case, wide, drawn.attrs)),
                             [s.astype(np.float64) for s in seeds], [wide[i] for i in drawn.needs])
        for g, r in zip(gradients(outputs, seeds, wanted), expected, strict=True):
            scale = 1 + (np.abs(r.data).max() if r.size else 0)
            np.testing.assert_allclose(g.data, r.data, rtol=1e-3, atol=1e-4 * scale)


# -- derivatives -----------------------------------------------------------------------------------


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
        same_array(t.data, copy)
    for s, copy in zip(seeds, seeds_before, strict=True):
        same_array(s, copy)
    again = gradients(outputs, seeds, wanted, create_graph=True)      # the same rules, lifted
    for g, lifted in zip(found, again, strict=True):
        np.testing.assert_allclose(lifted.data, g.data, rtol=1e-9, atol=1e-11)
    for g in found:                # a gradient is the caller's own: changing it changes nothing
        if g.data.flags.writeable:
            g.data[...] = np.nan
    for t, copy in zip([t for t in inputs + outputs if t is not None],
                       [c for c in before if c is not None], strict=True):
        same_array(t.data, copy)


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


# -- capture and replay ----------------------------------------------------------------------------


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


# -- values at the edge of the number range --------------------------------------------------------


EXTREME = [
    ("sigmoid", {}, [-1e4, -100, 100, 1e4, np.inf, -np.inf], [0, 3.8e-44, 1, 1, 1, 0]),
    ("log_sigmoid", {}, [-1e4, 1e4, 0], [-1e4, 0, -np.log(2)]),
    ("sigmoid", {}, [-30, -80], [9.357622968839299e-14, 1.8048513878454153e-35]),
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


@pytest.mark.parametrize("name, attrs, values, expected", EXTREME,
                         ids=[f"{e[0]}-{e[2][0]}" for e in EXTREME])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_overflow_and_no_lost_digits(name, attrs, values, expected, dtype):
    """Results and gradients are finite numbers (NumPy's warnings are errors in this suite)."""
    x = tg.Tensor(np.array(values, dtype), requires_grad=True)
    y = PRIMITIVES[name](x, **attrs)
    tiny = 0 if name == "sigmoid" and max(values) < 0 else 1e-7
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-6 if tiny else 1e-5,
                               atol=tiny)
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
    same_array(x.grad.numpy()[2], np.zeros(2, np.float32))    # nothing to share: no NaN
