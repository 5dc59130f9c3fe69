"""The whole op table on the double of CuPy: values, gradients, gradients of gradients, and waits.

What is computed is compared with NumPy's, which other tests compare with references.
"""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.cases import CASES
from tests.checking import Drawn, call, directions, gradients, recorded, seeds_like
from tests.doubles.counting import counted
from tinygen import backend
from tinygen.tensor import Tensor

KERNELS = False       # what CuPy alone computes; kernels are compared with it in other files

# Operations that have to know values on the host. No layer, loss or optimizer uses them in a step.
WAITS = {
    "bincount": "the largest number is the size of the result",
    "betainc": "continued fractions stop when they have converged",
    "gammainc": "continued fractions stop when they have converged",
    "gammaincc": "continued fractions stop when they have converged",
    "getitem": "a boolean mask is counted",
    "scatter_index": "the gradient of getitem by a boolean mask",
    "limit_rows": "the rows that are used are unique",
    "matrix_exp": "how often to square depends on the norm",
    "matrix_rank": "a tolerance may be given",
    "pinv": "a tolerance may be given",
    "transfer": "it moves arrays between devices",
}
rows = pytest.mark.parametrize("case", [c for c in CASES if c.name != "transfer"], ids=repr)
few = settings(max_examples=1, derandomize=True, database=None, phases=[Phase.generate])


def there(tensor, needs_grad=None):
    """A copy on the device."""
    if tensor is None:
        return None
    made = Tensor.wrap(backend.to_device(tensor.data, "cuda:0"))
    wants = tensor.requires_grad if needs_grad is None else needs_grad
    return made.requires_grad_() if wants else made


def agree(found, expected, rtol=1e-9):
    for y, r in zip(found, expected, strict=True):
        assert y.device == "cuda:0"
        assert (y.dtype, y.shape) == (r.dtype, r.shape)
        np.testing.assert_allclose(y.data.get(), r.data, rtol=rtol, atol=1e-11)


def quiet(case, work):
    """The result of `work`, which neither waits nor copies once its constants are there."""
    if case.name in WAITS:
        return work()
    with counted() as seen:
        result = work()
    if seen.h2d:
        with counted() as seen:
            result = work()
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    return result


@rows
@few
@given(data=st.data())
def test_the_op_and_its_gradients_agree_with_numpy(case, data):
    drawn = Drawn(case, data)
    host, device = drawn.tensors(), [there(t) for t in drawn.tensors()]
    expected = call(case, host, drawn.attrs)
    found = quiet(case, lambda: call(case, device, drawn.attrs))
    agree(found, expected)
    if not drawn.needs:
        return
    expected, found = recorded(expected), recorded(found)
    seeds = seeds_like(expected, drawn.rng)
    host_seeds = [Tensor.wrap(s).requires_grad_() for s in seeds]
    seeds = [there(s) for s in host_seeds]
    host_wanted, wanted = ([xs[i] for i in drawn.needs] for xs in (host, device))
    agree(quiet(case, lambda: gradients(found, seeds, wanted)),
          gradients(expected, host_seeds, host_wanted))

    first = gradients(found, seeds, wanted, create_graph=True)
    host_first = gradients(expected, host_seeds, host_wanted, create_graph=True)
    along = [Tensor.wrap(u) for u in directions(drawn.wanted, drawn.rng)]
    total = sum((g * there(u)).sum() for g, u in zip(first, along, strict=True))
    host_total = sum((g * u).sum() for g, u in zip(host_first, along, strict=True))
    assert total.requires_grad == host_total.requires_grad
    if total.requires_grad:
        agree(gradients([total], [None], wanted + seeds),
              gradients([host_total], [None], host_wanted + host_seeds), rtol=1e-8)


def test_operations_that_may_wait_exist():
    assert not set(WAITS) - {case.name for case in CASES} - {"limit_rows"}


def test_float32_stays_float32(cupy):
    x = tg.randn(3, 4, device="cuda")
    for y in (x * 2, x.mean(), x.std(), x @ x.T, x.softmax(-1), x > 0, x.sum(0) / 3):
        assert y.device == "cuda:0"
        assert y.dtype.name in ("float32", "bool")
        assert isinstance(y.data, cupy.ndarray)
