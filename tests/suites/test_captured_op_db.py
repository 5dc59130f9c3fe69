"""PyTorch's samples once more: recorded on one set of values, every op is replayed on others.

Either the replay equals an eager call, or the recording was refused: a program must never go on
using what it saw once. `REFUSED` are the ops whose work depends on values.
"""

import itertools
import warnings

import numpy as np
import pytest

import tinygen as tg
from tests.suites.pinned import pinned_torch
from tinygen.jit import CaptureError, capture
from tinygen.transforms import flatten

torch = pinned_torch("op_db")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tests.suites.opinfo import harness, table

OPERATORS = harness.operators()
torch.set_num_threads(1)
SAMPLES = 8                 # of one op, evenly spaced
# How many results there are, or what is done with them, depends on values.
REFUSED = {
    "allclose", "argwhere", "equal", "gradient", "histc", "histogram", "histogramdd", "item",
    "linalg.lstsq", "linalg.lstsq/grad_oriented", "masked_scatter",
    "nn.functional.multilabel_margin_loss", "nn.functional.one_hot", "nonzero",
    "repeat_interleave", "unique"}
# Here it is the adapter of the suite that reads values, to translate PyTorch's arguments.
ADAPTED = {
    "linalg.eigh", "linalg.svd", "linspace/tensor_overload", "logspace/tensor_overload",
    "narrow", "svd", "tensor_split", "to"}


def tensors(value):
    """All tensors within the arguments of a sample, in order."""
    if isinstance(value, tg.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, (list, tuple)) else []


def with_tensors(value, new):
    """The same arguments with other tensors."""
    if isinstance(value, tg.Tensor):
        return next(new)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(with_tensors(v, new) for v in value)
    if isinstance(value, dict):
        return {k: with_tensors(v, new) for k, v in value.items()}
    return value


def scaled(x):
    """A little larger, which keeps a matrix positive definite, a probability a probability."""
    return tg.Tensor(x.data * 0.99) if x.dtype.kind == "f" else tg.Tensor(x.data)


def rolled(x):
    """The same numbers at other places."""
    return tg.Tensor(np.roll(x.data.reshape(-1), 1).reshape(x.shape))


def outcomes(function, given):
    """For each other set of values: "equal", or how the replay differs; or "refused"."""
    first = [x.detach() for x in tensors(given)]

    def call(*xs):
        args = with_tensors(given, iter(xs))
        return function(args[0], *args[1], **args[2])
    try:
        call(*first)
    except Exception:
        return              # tinygen refuses the sample anyway; test_opinfo says why
    try:
        program = capture(call, *first).optimized()
    except CaptureError:
        yield "refused"
        return
    for change in (scaled, rolled):
        others = [change(x) for x in first]
        try:
            expected = call(*[tg.Tensor(x) for x in others])
        except Exception:
            continue        # values that the op does not take
        for got, right in itertools.zip_longest(flatten(program.replay(*others)),
                                                flatten(expected)):
            a, b = (np.asarray(getattr(v, "data", v)) for v in (got, right))
            same = a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7, equal_nan=True)
            yield "equal" if same else f"{change.__name__}: {a} in place of {b}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(table.ADAPTERS))
def test_a_replay_equals_an_eager_call_or_is_refused(name):
    drawn = harness.samples(OPERATORS[name])
    seen = set()
    for sample in drawn[::max(1, len(drawn) // SAMPLES)]:
        given = harness.translate((sample.input, sample.args, sample.kwargs), [])
        if tensors(given):
            seen.update(outcomes(table.ADAPTERS[name], given))
    assert seen <= {"equal", "refused"}, seen - {"equal", "refused"}
    assert ("refused" in seen) == (name in REFUSED | ADAPTED)
