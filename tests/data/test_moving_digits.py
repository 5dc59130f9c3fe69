"""Videos by a script: what the script says is what the frames show."""

import numpy as np
import pytest

from tinygen.data import DataLoader, Digits, MovingDigits
from tinygen.data.moving_digits import ACTIONS, phrases
from tinygen.text import WordTokenizer

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TOKENIZER = WordTokenizer().fit(phrases())


def videos(count=40, **options):
    digits = Digits()
    options = {"size": 24, **options}
    return MovingDigits(digits.images, digits.labels, count, TOKENIZER.encode, **options)


def changes(video):
    """The frames that differ from the one before."""
    return set(np.flatnonzero(np.abs(np.diff(video, axis=0)).sum((1, 2, 3)) > 0) + 1)


def test_frames_change_within_the_moments_and_nowhere_else():
    data = videos()
    for i in range(len(data)):
        video, _, moments = data[i]
        script = data.script(i)
        assert moments.tolist() == [[e.start, e.end] for e in script]
        expected = {f for e in script for f in range(e.start, e.end)}
        # an 8x8 zero may look the same upside down; all else has to change in each frame
        for event in script:
            if event.action == "turns":
                expected -= set(range(event.start, event.end))
        assert expected <= changes(video) <= {f for e in script for f in range(e.start, e.end)}


def centre(frame):
    """Of what is bright: (y, x)."""
    return np.array([(axis * frame).sum() for axis in np.indices(frame.shape)]) / frame.sum()


@pytest.mark.parametrize("action, way", [("left", (0, -2)), ("right", (0, 2)), ("up", (-2, 0)),
                                         ("down", (2, 0))])
def test_a_digit_moves_where_its_action_says(action, way):
    data, met = videos(), 0
    for i in range(len(data)):
        video = data[i][0][:, 0]
        for event in data.script(i):
            if event.action == action:
                met += 1
                moved = centre(video[event.end - 1]) * video[event.end - 1].sum()
                moved -= centre(video[event.start - 1]) * video[event.start - 1].sum()
                length = event.end - event.start
                mass = np.abs(moved).max() / (2 * length)      # of the digit that moves
                np.testing.assert_allclose(moved, mass * length * np.array(way), atol=1e-2)
                assert 0 < mass < video[0].sum()
    assert met > 3


@pytest.mark.parametrize("action", ["bounces", "shakes", "turns", "blinks"])
def test_other_actions_end_as_they_began(action):
    data, met = videos(), 0
    for i in range(len(data)):
        video = data[i][0]
        for event in data.script(i):
            if event.action == action:
                met += 1
                np.testing.assert_array_equal(video[event.end - 1], video[event.start - 1])
    assert met > 3


def test_no_two_moments_of_a_video_share_a_sentence_or_a_frame():
    data = videos()
    for i in range(len(data)):
        script = data.script(i)
        assert len(script) == 4 and len({e[:2] for e in script}) == 4
        assert len({e.digit for e in script}) <= 2
        assert script[0].start >= 1 and script[-1].end <= 26
        assert all(a.end <= b.start for a, b in zip(script, script[1:]))


def test_sentences_name_the_digit_and_the_action():
    data = videos(20)
    for i in range(20):
        for row, event in zip(data[i][1], data.script(i), strict=True):
            text = TOKENIZER.decode([t for t in row.tolist() if t])
            assert f"the {NAMES[event.digit]} " in text
            assert any(text.endswith(verb) for verb in ACTIONS[event.action]), text
    assert len(phrases(7, "left")) == 8 and len(set(phrases())) == 640


def test_some_actions_alone():
    data = videos(20, actions=["up", "blinks"], events=2)
    assert {e.action for i in range(20) for e in data.script(i)} == {"up", "blinks"}


def test_a_seed_decides_each_video_by_itself():
    one, two, other = videos(5, seed=3), videos(9, seed=3), videos(5, seed=4)
    for a, b in zip(one[4], two[4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a[0] != b[0]).any() for a, b in zip(map(one.__getitem__, range(5)),
                                                    map(other.__getitem__, range(5))))


def test_a_loader_stacks_them():
    video, tokens, moments = next(iter(DataLoader(videos(8), 4)))
    assert video.shape == (4, 26, 1, 24, 24) and video.dtype == np.float32
    assert tokens.shape == (4, 4, videos(1).longest) and moments.shape == (4, 4, 2)
    assert 0.8 < video.numpy().max() <= 1


@pytest.mark.parametrize("options, message", [
    ({"size": 20}, r"pictures of \(8, 8\); square ones of at most 7 pixels fit into size=20"),
    ({"frames": 24}, r"events=4, frames=24; .* more than 6 frames for each"),
    ({"events": 9, "frames": 99}, "1 to 8 events"),
    ({"actions": ["left", "blinks"]}, r"1 to 2 events \(two for each action in place\)"),
    ({"actions": ["flies"]}, r"actions: \['flies'\]; some of left, right"),
    ({"count": 0}, r"count=0"),
])
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=rf"\[MovingDigits\].*{message}"):
        videos(**options)


def test_pictures_without_their_labels_are_refused():
    with pytest.raises(ValueError, match=r"\[MovingDigits\] images \(3, 8, 8\), labels \(2,\)"):
        MovingDigits(np.zeros((3, 8, 8)), [1, 2], 5, TOKENIZER.encode)
    with pytest.raises(ValueError, match="at least two digits"):
        MovingDigits(np.zeros((2, 8, 8)), [1, 1], 5, TOKENIZER.encode)
