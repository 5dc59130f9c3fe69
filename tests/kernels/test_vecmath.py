"""The vectorised functions against mpmath over the whole range of numbers, in units of their last
digit; and what they make of zeros with signs, infinities and NaN."""

import numpy as np
import pytest

from tinygen.primitive import kernel_status

pytest.importorskip("numba")
mp = pytest.importorskip("mpmath")
if "registered" not in kernel_status():
    pytest.skip(f"kernels: {kernel_status()}", allow_module_level=True)

from tinygen.kernels.cpu.pointwise import run  # noqa: E402

INF, NAN = np.inf, np.nan
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def computed(name, x):
    """A formula on an array, the slope functions with a gradient of 1."""
    if name.endswith("_grad"):
        return run(name, x, (1.0, x))
    return run(name, x, (x,), 1.0, INF)     # softplus: beta 1, no threshold


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x))


def phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def gelu_tanh(x):
    return x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x ** 3))


# The definition, the bound in ulp, and the part of the bound that is relative to 1 (in machine
# epsilons) where the result passes through 0 or is the product of a number that does.
FUNCTIONS = {
    "exp": (mp.exp, 1, 0),
    "expm1": (mp.expm1, 2, 0),
    "log": (mp.log, 1, 0),
    "log1p": (mp.log1p, 2, 0),
    "sigmoid": (sigmoid, 2.5, 0),
    "tanh": (mp.tanh, 3, 0),
    "silu": (lambda x: x * sigmoid(x), 3.5, 0),
    "softplus": (softplus, 2.5, 0),
    "log_sigmoid": (lambda x: -softplus(-x), 2.5, 0),
    "mish": (lambda x: x * mp.tanh(softplus(x)), 5, 0),
    "erf": (mp.erf, 2, 0),
    "gelu_exact": (lambda x: x * phi(x), 5.5, 0),
    "gelu_tanh": (gelu_tanh, 4, 1),
    "silu_grad": (lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), 4, 2),
    "gelu_exact_grad": (lambda x: phi(x) + x * mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi), 4, 2),
    "gelu_tanh_grad": (lambda x: mp.diff(gelu_tanh, x), 4, 3),
    "mish_grad": (lambda x: mp.diff(lambda t: t * mp.tanh(softplus(t)), x), 4, 3),
}


def numbers(dtype, name):
    """All magnitudes, denormal ones too, and more of them where functions bend."""
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    whole = np.int32 if dtype == np.float32 else np.int64
    any_bits = rng.integers(0, np.iinfo(whole).max, 300).astype(whole).view(dtype)
    edge = 110 if dtype == np.float32 else 750
    parts = [any_bits[np.isfinite(any_bits)], rng.standard_normal(300), rng.uniform(-20, 20, 200),
             rng.uniform(-edge, edge, 300), 1 + 1e-3 * rng.standard_normal(50),
             limits.smallest_subnormal * rng.integers(1, 1000, 30),
             [limits.tiny, limits.smallest_subnormal, limits.max, 1, 0.5, limits.eps]]
    x = np.concatenate([np.asarray(part, np.float64).astype(dtype) for part in parts])
    x = np.concatenate([x, -x])
    if name == "log":
        return np.abs(x)
    if name == "log1p":
        return x[x > -1]
    return x[np.abs(x) < 60] if "grad" in name else x


@both
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_stay_below_their_bound(name, dtype):
    function, ulps, epsilons = FUNCTIONS[name]
    limits = np.finfo(dtype)
    x = numbers(dtype, name)
    with mp.workprec(200):
        for argument, y in zip(x.tolist(), computed(name, x).tolist(), strict=True):
            exact = function(mp.mpf(argument)) if abs(argument) < 1e6 or name == "log" else None
            if exact is None:       # beyond: the limits, which the next test has too
                continue
            if abs(exact) >= float(limits.max):
                assert y in (INF, -INF, limits.max, -limits.max), (argument, y)
                continue
            digit = float(np.spacing(dtype(abs(float(exact)))))
            # a factor below the normal numbers has lost digits before it meets x
            bound = ulps * digit + epsilons * limits.eps + (
                abs(argument) * float(limits.smallest_subnormal))
            if name == "gelu_exact" and argument < 0:   # the rounded square; 0 below -13
                bound += argument ** 2 / 2 * digit + 40 * float(limits.tiny)
            assert abs(y - exact) <= bound, (argument, y, float(exact))


LIMITS = {      # at 0, -0, infinity, -infinity and NaN
    "exp": [1, 1, INF, 0, NAN],
    "expm1": [0.0, -0.0, INF, -1, NAN],
    "log": [-INF, -INF, INF, NAN, NAN],
    "log1p": [0.0, -0.0, INF, NAN, NAN],
    "sigmoid": [0.5, 0.5, 1, 0, NAN],
    "tanh": [0.0, -0.0, 1, -1, NAN],
    "silu": [0.0, -0.0, INF, NAN, NAN],
    "log_sigmoid": [-np.log(2), -np.log(2), 0, -INF, NAN],
    "softplus": [np.log(2), np.log(2), INF, 0, NAN],
    "erf": [0.0, -0.0, 1, -1, NAN],
    "gelu_exact": [0.0, -0.0, INF, NAN, NAN],
    "gelu_tanh": [0.0, -0.0, INF, NAN, NAN],
    "mish": [0.0, -0.0, INF, NAN, NAN],
    "gelu_exact_grad": [0.5, 0.5, 1, 0, NAN],
    "relu": [0.0, 0.0, INF, 0, NAN],
}


@both
@pytest.mark.parametrize("name", LIMITS)
def test_zeros_infinities_and_nan(name, dtype):
    x = np.tile(np.array([0.0, -0.0, INF, -INF, NAN], dtype), 7)    # vectors and what they leave
    expected = np.tile(np.asarray(LIMITS[name], dtype), 7)
    y = computed(name, x)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    zero = expected == 0
    if name not in ("relu", "log_sigmoid"):      # where NumPy's sign of zero is not fixed either
        np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(expected[zero]))


@both
def test_just_around_overflow_and_the_smallest_number(dtype):
    limits = np.finfo(dtype)
    top = dtype(np.log(np.longdouble(limits.max)))
    x = np.nextafter(top, [-INF] * 3 + [INF] * 3, dtype=dtype)
    x[3:] += 3 * np.spacing(top)
    assert np.isfinite(computed("exp", x)[:3]).all() and np.isinf(computed("exp", x)[3:]).all()
    assert computed("log", np.array([limits.smallest_subnormal], dtype))[0] == pytest.approx(
        float(np.log(np.longdouble(limits.smallest_subnormal))), rel=float(2 * limits.eps))


@both
def test_vectors_and_single_elements_agree(dtype):
    """The last elements of an array do not fill a vector: the same bits come out."""
    x = np.random.default_rng(1).standard_normal(67).astype(dtype) * 3
    for name in FUNCTIONS:
        x = np.abs(x) if name.startswith("log") else x
        whole = computed(name, x)
        assert all(computed(name, x[i:i + 1].copy())[0] == whole[i] for i in range(0, 67, 11))
