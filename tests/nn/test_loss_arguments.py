"""The arguments of losses: PyTorch's names and places, old ones refused, weights, last layers."""

import inspect

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, same_function, same_layer  # noqa: E402

F, T = nn.functional, torch.nn.functional
LAYERS = torch.nn.modules.loss.__all__
FUNCTIONS = [name for name in dir(T) if name.endswith(("_loss", "_entropy", "_with_logits"))
             ] + ["kl_div"]
OLD = [name for name in LAYERS if "size_average" in inspect.signature(
    getattr(torch.nn, name).__init__).parameters and name != "NLLLoss2d"]


def arguments(function):
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_what_torch_takes_in_the_same_order(name):
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    assert arguments(ours.__init__) == arguments(theirs.__init__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_what_torch_takes_in_the_same_order(name):
    assert arguments(getattr(F, name)) == arguments(getattr(T, name))


@pytest.mark.parametrize("name", OLD)
def test_old_reductions_are_refused_by_name(name):
    for old, value in (("size_average", False), ("reduce", True), ("reduce", "sum")):
        with pytest.raises(TypeError, match=rf"\[{name}\] {old}={value!r}.* reduction='sum'"):
            getattr(nn, name)(**{old: value})


def test_an_old_reduction_in_second_place_of_a_function_is_refused():
    x = tg.zeros((2, 3))
    with pytest.raises(TypeError, match=r"\[mse_loss\] size_average='sum'.* reduction='sum'"):
        F.mse_loss(x, x, "sum")
    with pytest.raises(TypeError, match=r"\[cross_entropy\] reduce=False"):
        F.cross_entropy(x, [0, 1], reduce=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weighted_distances(name, reduction, dtype):
    floats = arrays(np.random.default_rng(0), dtype, (3, 4), (3, 4), (3, 4))
    same_function(lambda x, t, w: getattr(F, name)(x, t, reduction=reduction, weight=w),
                  lambda x, t, w: getattr(T, name)(x, t, reduction=reduction, weight=w),
                  floats, dtype)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_a_weight_of_another_shape_is_refused(name):
    x = tg.zeros((2, 3))
    with pytest.raises(ValueError, match=rf"\[{name}\] weight has shape \(2,\).*\(2, 3\)"):
        getattr(F, name)(x, x, weight=tg.ones(2))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("batch", "extra", "soft", "bias"), [
    ((), (), False, True), ((5,), (), False, False), ((5,), (), True, True),
    ((3,), (2, 4), False, True), ((3,), (2,), True, False)])
def test_linear_cross_entropy(batch, extra, soft, bias, reduction, dtype):
    rng = np.random.default_rng(3)
    (x,) = arrays(rng, dtype, (*batch, 6))
    if soft:
        target = np.moveaxis(rng.dirichlet(np.ones(4), (*batch, *extra)), -1, 1).astype(dtype)
    else:
        target = rng.integers(0, 4, (*batch, *extra))
        target.flat[0] = 2
    weight = rng.uniform(0.5, 2, 4).astype(dtype)
    how = {"out_features": extra, "bias": bias, "reduction": reduction, "label_smoothing": 0.1,
           "ignore_index": None if soft else 1}
    same_layer(nn.LinearCrossEntropyLoss(6, 4, **how, weight=tg.Tensor(weight)),
               torch.nn.LinearCrossEntropyLoss(6, 4, **how, weight=torch.tensor(weight)),
               [x], dtype, [target])


@pytest.mark.parametrize(("call", "words"), [
    (lambda x: nn.LinearCrossEntropyLoss(3, 4, weight=tg.ones(3)), r"weight has shape \(3,\)"),
    (lambda x: F.linear_cross_entropy(x, tg.ones((4, 5)), [0, 1]),
     r"\[linear_cross_entropy\] input: \(2, 3\), linear_weight: \(4, 5\)"),
    (lambda x: F.linear_cross_entropy(x, tg.ones((4, 3)), tg.ones((2, 4)), ignore_index=1),
     r"ignore_index.*probabilities"),
    (lambda x: F.cross_entropy(x, tg.ones((2, 3)), ignore_index=1), r"ignore_index.*probabilities"),
])
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(tg.zeros((2, 3)))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_the_mean_of_nothing_but_ignored_rows_is_nan_without_a_slope(name):
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    loss = getattr(F, name)(x, [-100, -100])
    assert np.isnan(loss.item())
    loss.backward()
    assert not x.grad.numpy().any()
