"""Finding moments: answers add up, padding and other sentences do not matter, it learns."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import VideoMoments


def small(**options):
    tg.manual_seed(0)
    return VideoMoments(9, (1, 16, 16), **{"frames": 8, "longest": 5, "width": 16, "heads": 2,
                                           "channels": 4, **options})


def batch(seed=0, n=3, q=2, frames=8):
    rng = np.random.default_rng(seed)
    videos = rng.random((n, frames, 1, 16, 16), dtype=np.float32)
    sentences = rng.integers(1, 9, (n, q, 4))
    start = rng.integers(0, frames - 2, (n, q))
    return videos, sentences, np.stack([start, start + rng.integers(1, 3, (n, q))], axis=-1)


def test_weights_over_the_frames_add_up_to_one():
    videos, sentences, _ = batch()
    words, answers = small().attention(videos, sentences)
    assert words.shape == (3, 2, 4, 8) and answers.shape == (3, 2, 3, 8)
    np.testing.assert_allclose(words.numpy().sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(answers.numpy().sum(-1), 1, rtol=1e-5)


def test_padding_and_the_other_sentences_change_nothing():
    model, (videos, sentences, _) = small().eval(), batch()
    def run(*inputs):
        return model(*inputs).detach().numpy()
    expected = run(videos, sentences)
    longer = np.pad(sentences, [(0, 0), (0, 0), (0, 1)])
    np.testing.assert_allclose(run(videos, longer), expected, atol=1e-5)
    alone = np.concatenate([run(videos, sentences[:, i:i + 1]) for i in (0, 1)], axis=1)
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_moments_are_the_likeliest_of_all_that_end_after_they_start():
    model, (videos, sentences, _) = small().eval(), batch(1)
    logits = model(videos, sentences).detach().numpy().astype(float)
    for found, scores in zip(model.moments(videos, sentences).reshape(-1, 2),
                             logits.reshape(-1, 3, 8), strict=True):
        best = max((scores[0, s] + scores[1, e], s, e + 1) for s in range(8) for e in range(s, 8))
        assert found.tolist() == list(best[1:])


def test_loss_by_hand():
    logits = tg.Tensor(np.log([[[[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4],
                                 [0.4, 0.3, 0.2, 0.1]]]]))
    found = small().loss(logits, np.array([[[1, 3]]])).item()      # frames 1 and 2
    expected = -(0.5 * np.log(0.25) + 0.5 * np.log(0.3) + (np.log(0.3) + np.log(0.2)) / 2)
    assert found == pytest.approx(expected)


def test_it_learns_when_a_flash_happens_and_which():
    """Bright for word 3, a stripe for word 4; each once a video, at another time."""
    rng = np.random.default_rng(0)

    def draw(n):
        videos = 0.1 * rng.random((n, 8, 1, 16, 16), dtype=np.float32)
        moments = np.zeros((n, 2, 2), int)
        for i in range(n):
            starts = rng.permutation([0, 2, 4, 6])[:2]
            for k, start in enumerate(starts):
                moments[i, k] = start, start + rng.integers(1, 3)
                videos[i, slice(*moments[i, k]), 0, :16 if k == 0 else 3] = 1
        return videos, np.tile([[[3]], [[4]]], (n, 1, 1, 1)).reshape(n, 2, 1), moments
    model = small()
    optimizers = model.configure_optimizers(3e-3)
    losses = [model.training_step(*draw(16), optimizers)["loss"].item() for _ in range(100)]
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    videos, sentences, moments = draw(50)
    assert (model.moments(videos, sentences) == moments).all(axis=-1).mean() > 0.9


@pytest.mark.parametrize("change, message", [
    (lambda v, s, m: (v[:, :, :, :8], s, m), r"videos: float32 .*; floats \(N, T, 1, 16, 16\)"),
    (lambda v, s, m: (np.tile(v, (1, 2, 1, 1, 1)), s, m), "with T of at most 8"),
    (lambda v, s, m: (v, s[:2], m), r"sentences: .* \(2, 2, 4\); integers \(3, Q, L\)"),
    (lambda v, s, m: (v, s * [[[1], [0]]], m), "one has no words"),
    (lambda v, s, m: (v, s, m[:, :1]), r"moments: .* \(3, 1, 2\); integers \(3, 2, 2\)"),
    (lambda v, s, m: (v, s, m[..., ::-1]), r"0 <= start < end <= 8"),
    (lambda v, s, m: (v, s, m + 8), r"0 <= start < end <= 8"),
])
def test_what_does_not_fit_is_named(change, message):
    model = small()
    with pytest.raises(ValueError, match=rf"\[video-moments\] .*{message}"):
        model.training_step(*change(*batch()), model.configure_optimizers())
