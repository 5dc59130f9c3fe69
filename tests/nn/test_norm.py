"""Normalisation layers and functions against PyTorch's, second derivatives included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen import nn
from tinygen.nn import functional as F

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, same_layer  # noqa: E402
from tests.ops.against_torch import same  # noqa: E402

DTYPES = st.sampled_from(["float64", "float32"])
SIDES = st.integers(1, 3)


def pair(name, *args, **kwargs):
    """A layer of both libraries, PyTorch's with random weights and statistics."""
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    for key, b in theirs.named_buffers():
        if key != "num_batches_tracked":
            torch.nn.init.uniform_(b, 0.5, 2)
    return getattr(nn, name)(*args, **kwargs), theirs


@given(data=st.data(), dtype=DTYPES, train=st.booleans())
def test_batch_norm(data, dtype, train):
    """Three batches: statistics and count move like PyTorch's, gradients agree."""
    d = data.draw(st.integers(1, 3))
    kwargs = {"eps": data.draw(st.sampled_from([1e-5, 0.1])), "affine": data.draw(st.booleans()),
              "momentum": data.draw(st.sampled_from([0.1, 0.7, 1.0, None])),
              "track_running_stats": data.draw(st.booleans()), "bias": data.draw(st.booleans())}
    rest = tuple(data.draw(st.lists(SIDES, min_size=d, max_size=d)))
    if d == 1 and data.draw(st.booleans()):
        rest = ()
    ours, theirs = pair(f"BatchNorm{d}d", 4, **kwargs)
    x = arrays(np.random.default_rng(d), dtype, (3, 4, *rest))
    same_layer(ours.train(train), theirs.train(train), x, dtype, calls=3)
    assert repr(ours) == repr(theirs)


@given(data=st.data(), dtype=DTYPES, train=st.booleans())
def test_instance_norm(data, dtype, train):
    d = data.draw(st.integers(1, 3))
    kwargs = {"eps": data.draw(st.sampled_from([1e-5, 0.1])), "affine": data.draw(st.booleans()),
              "momentum": data.draw(st.sampled_from([0.1, 1.0, None])),
              "track_running_stats": data.draw(st.booleans()), "bias": data.draw(st.booleans())}
    rest = (*data.draw(st.lists(SIDES, min_size=d - 1, max_size=d - 1)), 3)
    batch = data.draw(st.sampled_from([(), (1,), (3,)]))
    ours, theirs = pair(f"InstanceNorm{d}d", 4, **kwargs)
    x = arrays(np.random.default_rng(d), dtype, (*batch, 4, *rest))
    same_layer(ours.train(train), theirs.train(train), x, dtype, calls=2)
    assert repr(ours) == repr(theirs)


@given(data=st.data(), dtype=DTYPES)
def test_rms_and_layer_norm(data, dtype):
    last = tuple(data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=2)))
    lead = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    x = arrays(np.random.default_rng(0), dtype, (*lead, *last))
    affine = data.draw(st.booleans())
    eps = data.draw(st.sampled_from([None, 1e-3]))
    ours, theirs = pair("RMSNorm", last, eps, affine)
    same_layer(ours, theirs, x, dtype)
    assert repr(ours) == repr(theirs)
    same_layer(*pair("LayerNorm", last, 1e-3, affine, data.draw(st.booleans())), x, dtype)


@given(groups=st.sampled_from([1, 2, 3, 6]), affine=st.booleans(), bias=st.booleans(),
       rest=st.sampled_from([(2,), (3, 1), (2, 2, 2)]), n=st.integers(0, 2), dtype=DTYPES)
def test_group_norm(groups, affine, bias, rest, n, dtype):
    x = arrays(np.random.default_rng(0), dtype, (n, 6, *rest))
    same_layer(*pair("GroupNorm", groups, 6, 1e-3, affine, bias=bias), x, dtype)


@given(size=st.integers(1, 7), shape=st.sampled_from([(2, 5, 3), (1, 4, 2, 2), (2, 3, 1, 2, 2)]),
       alpha=st.sampled_from([1e-4, 0.5]), beta=st.sampled_from([0.75, 2.0]),
       k=st.sampled_from([1.0, 2.0]), dtype=DTYPES)
def test_local_response_norm(size, shape, alpha, beta, k, dtype):
    x = arrays(np.random.default_rng(0), dtype, shape)
    same_layer(*pair("LocalResponseNorm", size, alpha, beta, k), x, dtype)


FUNCTIONS = [
    ("instance_norm", [(2, 3, 4), (3,), (3,)],
     lambda f: lambda x, w, b: f.instance_norm(x, weight=w, bias=b)),
    ("group_norm", [(2, 6, 4), (6,), (6,)], lambda f: lambda x, w, b: f.group_norm(x, 3, w, b)),
    ("rms_norm", [(4, 5), (5,)], lambda f: lambda x, w: f.rms_norm(x, (5,), w)),
    ("rms_norm", [(4, 3, 5)], lambda f: lambda x: f.rms_norm(x, (3, 5), eps=0.1)),
    ("local_response_norm", [(2, 5, 3)],
     lambda f: lambda x: f.local_response_norm(x, 3, 0.5, 0.75, 2.0)),
]


@pytest.mark.parametrize(("name", "shapes", "call"), FUNCTIONS)
def test_second_derivatives(name, shapes, call):
    inputs = arrays(np.random.default_rng(0), "float64", *shapes)
    same(call(F), call(torch.nn.functional), *inputs)


def test_half_precision_is_computed_in_single():
    x = (np.random.default_rng(0).standard_normal((2, 6, 50)) * 1e-2).astype(np.float16)
    for name, args in [("rms_norm", ((50,),)), ("instance_norm", ()), ("group_norm", (3,))]:
        a = getattr(F, name)(nn.Parameter(x), *args)
        b = getattr(torch.nn.functional, name)(torch.tensor(x), *args)
        assert a.dtype == np.float16
        np.testing.assert_allclose(a.detach().numpy(), b.numpy(), atol=4e-3)
