"""A classifier of attributes: against PyTorch's loss, and against a task that it must solve."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import AttributeClassifier


def two_questions(n, rng):
    """Noise with a bright left half, a bright top row, both or neither."""
    truth = rng.integers(0, 2, (n, 2))
    images = rng.random((n, 1, 8, 8), dtype=np.float32) * 0.4
    images[truth[:, 0] == 1, :, :, :4] += 0.4
    images[truth[:, 1] == 1, :, :2] += 0.4
    return images.clip(0, 1), truth


def test_it_learns_questions_that_do_not_depend_on_each_other():
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    model = AttributeClassifier((1, 8, 8), 2, width=4, hidden=16, dropout=0)
    optimizers = model.configure_optimizers(lr=1e-2)
    for _ in range(60):
        model.training_step(*two_questions(32, rng), optimizers)
    images, truth = two_questions(200, rng)
    found = model.predict(images, batch=64)
    assert found.shape == (200, 2) and found.dtype == bool
    assert (found == truth).mean() > 0.95
    accuracy = model.evaluate(images, truth)["accuracy"].item()
    assert accuracy == pytest.approx((found == truth).mean())


def test_the_loss_is_pytorchs_summed_over_attributes():
    torch = pytest.importorskip("torch")
    tg.manual_seed(1)
    model = AttributeClassifier((3, 8, 8), 5, width=2, hidden=8).eval()
    rng = np.random.default_rng(1)
    images, truth = rng.random((6, 3, 8, 8), dtype=np.float32), rng.integers(0, 2, (6, 5))
    logits = torch.tensor(model(images).detach().numpy())
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(truth, dtype=torch.float32), reduction="none").sum(1).mean()
    assert model.evaluate(images, truth)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_thresholds_make_rates_those_of_the_data():
    tg.manual_seed(2)
    model = AttributeClassifier((1, 8, 8), 2, width=2, hidden=4)
    images, truth = two_questions(400, np.random.default_rng(2))
    truth[:300, 1] = 0
    model.fit_thresholds(images, truth)
    np.testing.assert_allclose(model.predict(images).mean(axis=0), truth.mean(axis=0), atol=2 / 400)
    again = AttributeClassifier((1, 8, 8), 2, width=2, hidden=4)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(images), model.predict(images))


def test_wrong_labels_are_named():
    model = AttributeClassifier((1, 8, 8), 3, width=2, hidden=4)
    images = np.zeros((2, 1, 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"labels are needed: 0 or 1 of shape \(2, 3\)"):
        model.evaluate(images)
    with pytest.raises(ValueError, match=r"\[attributes\] labels: int64 \(2,\)"):
        model.evaluate(images, np.array([0, 1]))
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        model.evaluate(images, np.full((2, 3), -1))
