"""What the engine's tests share: exact and close comparison, finite differences, drawn calls."""

import numpy as np
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd import grad_of
from tinygen.primitive import PRIMITIVES
from tinygen.tensor import Tensor

STEP = 1e-3                       # of the finite differences, which are of order four
SEEDS = st.integers(0, 2**20)


# -- tensors ---


def leaf(values, dtype=None):
    """A tensor that requires grad."""
    return tg.Tensor(values, requires_grad=True, dtype=dtype)


def same_array(array, other):
    """Equal values, shapes and dtypes."""
    np.testing.assert_array_equal(array, other, strict=True)


def same(tensor, expected):
    """Equal values and shapes; equal dtypes too where an array says one."""
    array = tensor.detach().numpy()
    if not isinstance(expected, np.ndarray | np.generic):
        expected = np.asarray(expected, array.dtype)
    same_array(array, expected)


def close(tensor, expected, rtol=None, atol=1e-12):
    """Equal to rounding, by the tensor's precision."""
    array = tensor.detach().numpy()
    if rtol is None:
        rtol = 1e-10 if array.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(array, expected, rtol=rtol, atol=atol)


# -- drawn calls and differences ---


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
