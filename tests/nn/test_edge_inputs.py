"""Inputs at the edge of what layers accept, beside PyTorch: nothing at all, all masked, 1-D.

NumPy's warnings are errors in this project's tests, so each test also says that none leaks.
"""

import numpy as np
import pytest

import tinygen as tg
from tests.nn.parity import close, same_function, torch
from tinygen.nn import functional as F

TF = torch.nn.functional


@pytest.mark.filterwarnings("ignore:reduction")     # PyTorch on kl_div's mean
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "kl_div",
                                  "binary_cross_entropy", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_of_an_empty_batch(name, reduction):
    nothing = np.zeros((0, 3), np.float32)
    ours = getattr(F, name)(x := tg.Tensor(nothing, requires_grad=True), tg.Tensor(nothing),
                            reduction=reduction)
    theirs = getattr(TF, name)(torch.tensor(nothing), torch.tensor(nothing), reduction=reduction)
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.numpy())
    ours.sum().backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_row_that_is_masked_whole_is_nan(name):
    x = np.full((2, 3), -np.inf)
    x[1, 0] = 1
    close_or_nan(getattr(F, name)(tg.Tensor(x), 1), getattr(TF, name)(torch.tensor(x), 1))
    np.testing.assert_array_equal(tg.logsumexp(tg.Tensor(x), axis=1).numpy(), [-np.inf, 1])


def close_or_nan(ours, theirs):
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


def test_batchmean_of_a_number_is_the_number():
    x, t = np.array(-0.7), np.array(0.4)
    same_function(lambda x, t: F.kl_div(x, t, reduction="batchmean"),
                  lambda x, t: TF.kl_div(x, t, reduction="batchmean"), [x, t], "float64")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_linear_with_one_output_without_an_axis(shape):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in (shape, (3,), ())]
    same_function(F.linear, TF.linear, arrays[:2], "float64")
    if len(shape) != 2:                            # where PyTorch refuses its own bias
        same_function(F.linear, TF.linear, arrays, "float64")


@pytest.mark.parametrize("mode, antialias", [
    ("nearest", False), ("nearest-exact", False), ("bilinear", False), ("bilinear", True),
    ("bicubic", False), ("bicubic", True)])
@pytest.mark.parametrize("factor", [1.04, 2.1, (1.0, 1.6)])
def test_a_factor_that_leaves_an_axis_or_doubles_it(mode, factor, antialias):
    """PyTorch copies an axis whose length stays, whatever the factor says about places."""
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 7))
    options = {"scale_factor": factor, "mode": mode, "antialias": antialias}
    close(F.interpolate(tg.Tensor(x), **options), TF.interpolate(torch.tensor(x), **options),
          "float64", f"{options}")


@pytest.mark.parametrize("image", [(26,), (19, 58), (6, 9), (11, 3, 6)])
@pytest.mark.parametrize("factor", [1.02, 2.01])
def test_nearest_with_a_factor_near_a_whole_number(image, factor):
    """PyTorch's own kernels differ here: that for small images takes the whole number."""
    x = np.random.default_rng(0).standard_normal((1, 2, *image))
    np.testing.assert_array_equal(F.interpolate(tg.Tensor(x), scale_factor=factor).numpy(),
                                  TF.interpolate(torch.tensor(x), scale_factor=factor).numpy())


def test_errors_name_what_did_not_fit():
    with pytest.raises(ValueError, match=r"\[broadcast_arrays\] the shapes \(2, 3\), \(2, 4\)"):
        F.cosine_similarity(tg.ones((2, 3)), tg.ones((2, 4)))
    with pytest.raises(ValueError, match=r"x: None.*x must be a tensor"):
        F.linear(None, tg.ones((2, 3)))
