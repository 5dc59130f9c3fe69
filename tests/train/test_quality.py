"""The measure of samples that is learnt from the data."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import ImageDataset, load
from tinygen.train import sample_quality


def test_real_images_are_near_and_noise_is_far_and_the_random_stream_is_left_alone():
    tg.manual_seed(3)
    before = tg.random.get_state()
    train, test = load("digits"), load("digits", train=False)
    quality = sample_quality(train, test, epochs=4, count=200)
    assert tg.random.get_state() == before
    assert len(quality.real) == 200 and quality.accuracy > 0.7
    others = train.images[:200] / np.float32(255)
    noise = np.random.default_rng(0).random((200, 1, 8, 8), dtype=np.float32)
    near, far = quality(others), quality(noise)
    assert near["frechet"] < far["frechet"] / 5
    assert near["recall"] > 0.5 > far["recall"]
    tg.manual_seed(4)                     # the same measure, whatever the caller has drawn
    assert sample_quality(train, test, epochs=4, count=200)(others) == near


def test_images_without_labels_are_refused():
    bare = ImageDataset(np.zeros((20, 1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"\[sample_quality\] .* need labels"):
        sample_quality(bare, bare)
