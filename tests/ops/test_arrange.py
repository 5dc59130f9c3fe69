"""Slices and stacks: where no copy is needed, none is made."""

import numpy as np

import tinygen as tg
from tinygen.ops.arrange import restack


def test_slices_that_lie_side_by_side_are_stacked_without_a_copy():
    x = np.arange(120.0).reshape(2, 3, 4, 5)
    parts = [x[:, i].transpose(0, 2, 1) for i in range(3)]
    for axis in range(4):
        y = restack(*map(tg.asarray, parts), axis=axis)
        np.testing.assert_array_equal(y.data, np.stack(parts, axis))
        assert np.shares_memory(y.data, x)
    for others in (parts[::-1], [parts[0], parts[0]], [parts[0], parts[1].copy()],
                   [x[0, 0], x[0, 2], x[0, 1]], [x[:, 0], x[:, 2], x[:, 0]]):
        y = restack(*map(tg.asarray, others), axis=0)
        np.testing.assert_array_equal(y.data, np.stack(others))
        assert not np.shares_memory(y.data, x)
    np.testing.assert_array_equal(restack(tg.asarray(parts[0]), tg.asarray(parts[2]), axis=1).data,
                                  np.stack([parts[0], parts[2]], 1))
