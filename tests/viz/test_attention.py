"""Attention as a picture: which token is where, and characters that no font has."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tinygen.viz import attention, draw_attention, save_panels


def axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_rows_are_written_tokens_and_columns_read_ones():
    weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    drawn = draw_attention(axes(), weights, ["the", "cat", " "], ["die", "Katze"])
    assert labels(drawn.xaxis) == ["the", "cat", "\u2423"]
    assert labels(drawn.yaxis) == ["die", "Katze"]
    image = drawn.images[0]
    assert np.array_equal(image.get_array(), weights)
    dark, light = image.cmap(image.norm([0.9, 0.0]))[:, :3].mean(axis=1)
    assert dark < 0.1 and light > 0.9


def test_tokens_that_no_font_has_are_numbered_and_the_label_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(attention, "_characters", lambda family: frozenset(range(0x250)))
    drawn = draw_attention(axes(), np.eye(2), ["I", "see"], ["我", "x"])
    assert labels(drawn.yaxis) == ["1", "2"] and labels(drawn.xaxis) == ["I", "see"]
    assert "numbers of tokens" in drawn.get_ylabel() and not drawn.get_xlabel()
    # a font that has them is used
    monkeypatch.setattr(attention, "_characters", lambda family: frozenset(range(0x110000)))
    drawn = draw_attention(axes(), np.eye(2), ["I", "see"], ["我", "看"])
    assert labels(drawn.yaxis) == ["我", "看"] and not drawn.get_ylabel()
    monkeypatch.undo()
    path = save_panels([lambda a: draw_attention(a, np.eye(2), ["I", "see"], ["我", "看"])],
                       tmp_path / "a.png")                       # warns of no missing glyph
    assert path.stat().st_size > 1000


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"weights: \(2, 3\); \(3, 2\), a row for each"):
        draw_attention(axes(), np.ones((2, 3)), ["a", "b"], ["c", "d", "e"])
