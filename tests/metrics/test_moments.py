"""Overlap of moments, by hand and by counting frames."""

import numpy as np
import pytest

from tinygen.metrics import temporal_iou


def test_by_hand():
    found = temporal_iou([[0, 4], [0, 4], [0, 4], [1, 3], [0, 4]],
                         [[0, 4], [2, 6], [4, 8], [0, 4], [5, 6]])
    np.testing.assert_allclose(found, [1, 1 / 3, 0, 0.5, 0])


def test_the_same_as_counting_frames():
    rng = np.random.default_rng(0)
    start = rng.integers(0, 20, (2, 50, 4))
    a, b = np.stack([start, start + rng.integers(1, 9, start.shape)], axis=-1)     # (50, 4, 2)
    frames = np.arange(30)
    in_a, in_b = ((frames >= m[..., :1]) & (frames < m[..., 1:]) for m in (a, b))
    expected = (in_a & in_b).sum(-1) / (in_a | in_b).sum(-1)
    np.testing.assert_allclose(temporal_iou(a, b), expected)


@pytest.mark.parametrize("a, b, message", [
    ([[0, 4]], [[0, 4], [1, 2]], r"predicted: \(1, 2\), true: \(2, 2\)"),
    ([[0, 4, 5]], [[0, 4, 5]], r"moments \(\.\.\., 2\) are expected"),
    ([[0, 4]], [[3, 3]], "true: a moment from 3 to 3; each must end after it starts"),
    ([[5, 4]], [[3, 4]], "predicted: a moment from 5 to 4"),
])
def test_what_is_no_moment_is_named(a, b, message):
    with pytest.raises(ValueError, match=rf"\[temporal_iou\] .*{message}"):
        temporal_iou(a, b)
