"""Methods that a PyTorch user types: the same call on a tensor of each library."""

import numpy as np
import pytest

import tinygen as tg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4))
ROWS = np.array([2, 0])
PLACES = np.array([[0, 2, 1, 1], [1, 0, 2, 0]])

UNARY = """absolute neg negative frac trunc fix exp2 t ravel unbind argwhere fliplr flipud diag
    signbit deg2rad"""
BINARY = """add sub mul div multiply true_divide floor_divide remainder eq ne lt le gt ge maximum
    minimum fmax fmin fmod hypot copysign view_as reshape_as expand_as isclose"""
CALLS = [
    *((name, ()) for name in UNARY.split()),
    *((name, (X[::-1].copy(),)) for name in BINARY.split()),
    ("add", (2.0,), {"alpha": 3}), ("sub", (2.0,), {"alpha": 3}),
    ("div", (0.3,), {"rounding_mode": "floor"}), ("div", (0.3,), {"rounding_mode": "trunc"}),
    ("clamp", (-0.5, 0.5)), ("clamp_min", (0.1,)), ("clamp_max", (0.1,)),
    ("addcmul", (X, X), {"value": 0.5}), ("addcdiv", (X, X + 9), {"value": 0.5}),
    ("softmax", (), {"dim": 1}), ("log_softmax", (0,)), ("sum", (), {"dim": 0, "keepdim": True}),
    ("mean", (1,)), ("cumsum", (), {"dim": 1}), ("logsumexp", (), {"dim": 1}),
    ("amax", (), {"dim": 1}), ("prod", (), {"dim": 0}), ("argmax", (), {"dim": 1}),
    ("flip", ([0, 1],)), ("roll", (2, 1)), ("chunk", (3,), {"dim": 1}), ("narrow", (1, 1, 2)),
    ("narrow", (1, -2, 2)), ("select", (1, 2)), ("unfold", (1, 2, 1)), ("unflatten", (1, (2, -1))),
    ("movedim", (0, 1)), ("diagonal", (1,)), ("tril", (-1,)), ("rot90", (1, (0, 1))),
    ("gather", (0, PLACES)), ("index_select", (0, ROWS)), ("masked_select", (X > 0,)),
    ("masked_fill", (X > 0, 2.0)), ("index_add", (0, ROWS, X[:2])),
    ("index_copy", (0, ROWS, X[:2])), ("index_fill", (1, ROWS, 7.0)),
    ("scatter", (0, PLACES[:1], X[:1])), ("scatter_add", (0, PLACES, X[:2])),
    ("scatter_reduce", (0, PLACES, X[:2], "amax")), ("quantile", (0.3,), {"dim": 1}),
    ("where", (X > 0, X * 2)), ("new_zeros", ((2, 3),)), ("new_full", ((2,), 3.0)),
    ("numel", ()), ("nelement", ()), ("dim", ()), ("ndimension", ()), ("element_size", ()),
    ("is_floating_point", ()), ("take_along_dim", (PLACES, 0)), ("cummax", (1,)),
]


def call(make, name, args, options):
    given = [make(a) if isinstance(a, np.ndarray) else a for a in args]
    return getattr(make(X), name)(*given, **options)


def flat(value):
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in flat(v)]
    return [np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)]


@pytest.mark.parametrize("name, args, options", [(*c, {})[:3] for c in CALLS],
                         ids=[c[0] for c in CALLS])
def test_same_as_torch(name, args, options):
    ours = flat(call(tg.Tensor, name, args, options))
    theirs = flat(call(torch.tensor, name, args, options))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-12)


IN_PLACE = [
    ("add_", (2.0,)), ("sub_", (X,)), ("mul_", (X,)), ("div_", (X + 9,)), ("clamp_", (-1, 1)),
    ("exp_", ()), ("tanh_", ()), ("relu_", ()), ("masked_fill_", (X > 0, 1.0)), ("pow_", (2,)),
    ("neg_", ()), ("index_add_", (0, ROWS, X[:2])), ("tril_", ()), ("lerp_", (X * 2, 0.3)),
    ("scatter_", (0, PLACES[:1], X[:1])), ("addcmul_", (X, X)),
]


@pytest.mark.parametrize("name, args", IN_PLACE, ids=[c[0] for c in IN_PLACE])
def test_in_place_values_and_gradients(name, args):
    """The tensor is changed, and gradients go through the change to what it was before."""
    found = []
    for make in (tg.Tensor, torch.tensor):
        x = make(X, requires_grad=True)
        y = x * 3
        given = [make(a) if isinstance(a, np.ndarray) else a for a in args]
        assert getattr(y, name)(*given) is y
        (y * y).sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_in_place_without_gradients_keeps_the_memory():
    x = tg.Tensor(X)
    memory = x.data
    x.mul_(2).add_(1)
    assert x.data is memory
    np.testing.assert_allclose(memory, X * 2 + 1)


def test_what_cannot_be_changed_in_place_is_refused():
    leaf = tg.Tensor(X, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"\[add_\] a leaf that requires grad .* use x.add\("):
        leaf.add_(1)
    with tg.no_grad():
        leaf.add_(1)
    with pytest.raises(ValueError, match=r"\[add_\] the result has shape \(3, 4\), the tensor \(4"):
        tg.Tensor(X[0]).add_(X)


def test_an_old_graph_is_stale_after_a_change_in_place():
    x = tg.Tensor(X, requires_grad=True)
    y = tg.Tensor(X)
    z = (x * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"modified|changed"):
        z.backward()


def test_functions_take_dim_and_keepdim():
    x = tg.Tensor(X)
    np.testing.assert_allclose(tg.softmax(x, dim=0).numpy(), tg.softmax(x, axis=0).numpy())
    assert tg.sum(x, dim=1, keepdim=True).shape == (3, 1)
    assert tg.concat([x, x], dim=1).shape == (3, 8)
    with pytest.raises(TypeError, match="axes"):
        tg.sum(x, axes=1)
