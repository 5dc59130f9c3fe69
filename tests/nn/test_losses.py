"""Every loss against PyTorch's: values and gradients, all reductions and options."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, same_function  # noqa: E402

both = pytest.mark.parametrize("dtype", ["float64", "float32"])
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def rng():
    return np.random.default_rng(1)


def same_loss(name, floats, dtype, others=(), **kwargs):
    """The module of both libraries, with array options turned into tensors of each."""
    def build(lib, tensor):
        made = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
        return getattr(lib, name)(**made)
    same_function(build(nn, tg.Tensor), build(torch.nn, torch.tensor), floats, dtype, others)


@both
@reductions
@pytest.mark.parametrize(("name", "kwargs"), [
    ("MSELoss", {}), ("L1Loss", {}), ("SmoothL1Loss", {"beta": 0.5}), ("SmoothL1Loss", {"beta": 0}),
    ("HuberLoss", {"delta": 0.7})])
def test_distances(name, kwargs, reduction, dtype):
    floats = arrays(rng(), dtype, (4, 3, 2), (4, 3, 2))
    same_loss(name, floats, dtype, reduction=reduction, **kwargs)


@both
@reductions
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(weighted, reduction, dtype):
    x, w = arrays(rng(), dtype, (5, 3), (3,))
    t = rng().random((5, 3)).astype(dtype)
    extra = {"weight": np.abs(w)} if weighted else {}
    p = 1 / (1 + np.exp(-x))
    same_loss("BCELoss", [p], dtype, [t], reduction=reduction, **extra)
    same_loss("BCEWithLogitsLoss", [x * 5], dtype, [t], reduction=reduction, **extra)
    same_loss("BCEWithLogitsLoss", [x, t], dtype, reduction=reduction)
    if weighted:
        same_loss("BCEWithLogitsLoss", [x * 5], dtype, [t], reduction=reduction,
                  pos_weight=np.abs(w) + 0.5, **extra)


def test_binary_cross_entropy_at_the_ends_is_finite():
    # certain and wrong: the loss stops at 100, the slope at 1e12 (a float32 constant in PyTorch).
    # certain and right: the loss is 0 and so is its slope, as PyTorch's formula has it.
    p = tg.Tensor(np.array([0.0, 1.0, 0.0, 1.0]), requires_grad=True)
    loss = nn.BCELoss(reduction="sum")(p, tg.Tensor(np.array([1.0, 0.0, 0.0, 1.0])))
    loss.backward()
    assert loss.item() == 200
    np.testing.assert_allclose(p.grad.data, [-1e12, 1e12, 0, 0], rtol=1e-8)
    same_loss("BCEWithLogitsLoss", [np.array([-800.0, 800.0])], "float64", [np.array([0.0, 0.5])])


@both
@reductions
@pytest.mark.parametrize("kwargs", [
    {}, {"ignore_index": 2}, {"label_smoothing": 0.2}, {"weight": True},
    {"weight": True, "label_smoothing": 0.1, "ignore_index": 1}])
@pytest.mark.parametrize("extra", [(), (3,), (2, 3)])
def test_cross_entropy(extra, kwargs, reduction, dtype):
    (x,) = arrays(rng(), dtype, (6, 4, *extra))
    target = rng().integers(0, 4, (6, *extra))
    kwargs = dict(kwargs)
    if kwargs.get("weight"):
        kwargs["weight"] = np.array([0.3, 1.0, 2.0, 0.7], dtype)
    same_loss("CrossEntropyLoss", [3 * x], dtype, [target], reduction=reduction, **kwargs)


@both
@reductions
def test_cross_entropy_with_probabilities(reduction, dtype):
    (x,) = arrays(rng(), dtype, (6, 4))
    target = rng().dirichlet(np.ones(4), 6).astype(dtype)
    same_loss("CrossEntropyLoss", [x], dtype, [target], reduction=reduction, label_smoothing=0.1)


@both
@reductions
@pytest.mark.parametrize("weighted", [False, True])
def test_nll(weighted, reduction, dtype):
    (x,) = arrays(rng(), dtype, (6, 4))
    extra = {"weight": np.array([0.3, 1.0, 2.0, 0.7], dtype)} if weighted else {}
    same_loss("NLLLoss", [x], dtype, [rng().integers(0, 4, 6)], reduction=reduction,
              ignore_index=3, **extra)


@both
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
def test_kl_div(log_target, reduction, dtype):
    x = np.log(rng().dirichlet(np.ones(4), 5).astype(dtype))
    target = rng().dirichlet(np.ones(4), 5).astype(dtype)
    target = np.log(target) if log_target else np.where(target < 0.1, 0, target)
    same_loss("KLDivLoss", [x], dtype, [target], reduction=reduction, log_target=log_target)


def test_loss_weights_are_buffers_that_move():
    loss = nn.CrossEntropyLoss(weight=tg.ones((3,)))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == np.float64


def test_bad_reduction_is_refused_when_the_loss_is_made():
    with pytest.raises(ValueError, match=r"\[MSELoss\] reduction.*'average'"):
        nn.MSELoss(reduction="average")


@pytest.mark.parametrize(("loss", "x", "t", "words"), [
    (nn.MSELoss(), (4, 1), (4,), [r"\(4, 1\)", r"\(4,\)", "MSELoss"]),
    (nn.BCELoss(), (4, 1), (4,), [r"\(4, 1\)", r"\(4,\)", "BCELoss"]),
])
def test_shapes_that_would_broadcast_silently_are_refused(loss, x, t, words):
    with pytest.raises(ValueError) as error:
        loss(tg.full(x, 0.5), tg.full(t, 0.5))
    for word in words:
        assert __import__("re").search(word, str(error.value)), str(error.value)
