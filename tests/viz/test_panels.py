"""Attention over a picture: what is drawn, and that it becomes a file."""

from functools import partial

import numpy as np
import pytest

from tinygen.viz import overlay_attention, save_panels


def test_weights_lie_over_the_whole_picture(tmp_path):
    pytest.importorskip("matplotlib")
    seen = []

    def draw(axes):
        overlay_attention(axes, np.ones((6, 6)), [[0, 1], [2, 3]], "a large dark coat " * 3)
        seen.append(axes)
    path = save_panels([draw, partial(overlay_attention, picture=np.ones((3, 4, 4)))],
                       tmp_path / "maps.png")
    assert path.stat().st_size > 500
    picture, weights = seen[0].images
    assert picture.get_extent() == weights.get_extent() == [0, 1, 0, 1]
    assert picture.get_clim() == (0, 1), "a dark picture stays dark"
    np.testing.assert_array_equal(weights.get_array(), [[0, 1], [2, 3]])
    assert "\n" in seen[0].get_title(), "a long title is broken into lines"
