"""Precision and recall: hand counts, SciPy's distances, and what each of the two notices."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tinygen.metrics import SampleQuality, precision_recall


def by_hand(real, fake, k):
    """The definition, over SciPy's full distance matrices."""
    def share(points, cloud):
        radii = np.sort(cdist(cloud, cloud), axis=1)[:, k]
        return (cdist(points, cloud) <= radii).any(axis=1).mean()

    return share(fake, real), share(real, fake)


def test_points_on_a_line_are_counted_by_hand():
    real = [[0.0], [1.0], [3.0]]       # radii to the nearest neighbour: 1, 1, 2
    fake = [[-2.0], [0.5], [4.9], [8.0]]                # radii: 2.5, 2.5, 3.1, 3.1
    found = precision_recall(real, fake, k=1)
    assert found.precision == 0.5      # 0.5 and 4.9 are inside; -2 and 8 are not
    assert found.recall == 1.0
    assert precision_recall(real, [[100.0], [101.0]], k=1) == (0.0, 0.0)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_clouds_agree_with_scipys_distances(k):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(1500, 6)), rng.normal(size=(1200, 6)) * 0.7 + 0.5
    found = precision_recall(real.astype(np.float32), fake.astype(np.float32), k)
    assert found == pytest.approx(by_hand(real, fake, k), abs=2e-3)
    assert 0 < found.recall < found.precision < 1
    far = precision_recall(real + 1e4, fake + 1e4, k)     # no cancellation far from the origin
    assert far == pytest.approx(by_hand(real, fake, k), abs=2e-3)


def test_a_generator_of_one_mode_has_precision_without_recall_and_noise_the_reverse():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(size=(200, 4)) + 20 * i for i in range(4)])
    one_mode = rng.normal(size=(300, 4)) * 0.5
    narrow = precision_recall(real, one_mode)
    assert narrow.precision > 0.9 and narrow.recall < 0.3
    wide = precision_recall(real, rng.uniform(-5, 65, size=(300, 4)))
    assert wide.precision < 0.2 and wide.recall > 0.9


def test_sample_quality_measures_images_by_the_features_it_was_given():
    rng = np.random.default_rng(2)
    real, fake = rng.random((60, 1, 3, 3)), rng.random((50, 1, 3, 3)) + 0.3
    sizes = []

    def features(images):
        sizes.append(len(images))
        return images.reshape(len(images), -1)[:, :4]

    quality = SampleQuality(features, real, batch_size=25)
    found = quality(fake)
    assert sizes == [25, 25, 10, 25, 25]
    flat = [x.reshape(len(x), -1)[:, :4] for x in (real, fake)]
    assert (found["precision"], found["recall"]) == precision_recall(*flat)
    assert found["frechet"] == pytest.approx(4 * 0.3 ** 2, rel=0.5)
    same = quality(real)
    assert same == pytest.approx({"frechet": 0.0, "precision": 1.0, "recall": 1.0}, abs=1e-9)
    with pytest.raises(ValueError, match=r"\[SampleQuality\] images: \(0, 1, 3, 3\)"):
        quality(fake[:0])


@pytest.mark.parametrize("k", [0, 2.0, True])
def test_k_must_be_a_positive_integer(k):
    with pytest.raises(ValueError, match="k must be a positive integer"):
        precision_recall(np.zeros((9, 2)), np.zeros((9, 2)), k)


def test_sets_need_more_than_k_points():
    with pytest.raises(ValueError, match=r"\[precision_recall\] fake: \(3, 2\); .* at least 4"):
        precision_recall(np.zeros((9, 2)), np.zeros((3, 2)))
