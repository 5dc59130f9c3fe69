"""Patches of images as matrices on a GPU, and back: for any strides, in every order of threads."""

import numpy as np
import pytest

from tests.doubles.cuda.build import ORDERS, thread_order
from tests.gpu.running import DTYPES, draw, needs_compiler
from tests.gpu.test_windows import layouts, on

pytestmark = needs_compiler

# (input, kernel, stride, padding, dilation, groups): crops, gaps, one tap, four channels at a time
CALLS = [((2, 3, 7, 6), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1), 1),
         ((1, 8, 5, 5), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
         ((2, 4, 6, 9), (2, 2), (1, 2), ((-1, 0), (2, -1)), (2, 3), 1),
         ((3, 2, 4, 4), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2)]


def gathered(x, kernel, stride, padding, dilation, size, groups):
    """(groups, N oh ow, kh kw C / groups), element by element."""
    n, c, h, w = x.shape
    out = np.zeros((groups, n, *size, *kernel, c // groups), x.dtype)
    for i, j, u, v in np.ndindex(*size, *kernel):
        row = i * stride[0] + u * dilation[0] - padding[0][0]
        column = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= row < h and 0 <= column < w:
            pixel = x[:, :, row, column].reshape(n, groups, c // groups)
            out[:, :, i, j, u, v] = pixel.swapaxes(0, 1)
    return out.reshape(groups, n * size[0] * size[1], -1)


def sizes(shape, kernel, stride, padding, dilation):
    return tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, (a, b), d in zip(
        shape[2:], kernel, stride, padding, dilation))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_patches_and_their_sums(cupy, call, dtype):
    from tinygen.kernels.gpu import columns

    shape, *how, groups = call
    size = sizes(shape, *how)
    x = draw(shape, dtype)
    wanted = gathered(x, *how, size, groups)
    cols = draw(wanted.shape, dtype, seed=1)
    # the sum is the transpose: <gathered(x), cols> = <x, sum(cols)>, taken for each unit x
    units = np.eye(x.size).reshape(x.size, *shape)
    sums = np.stack([(gathered(e, *how, size, groups) * cols.astype(np.float64)).sum()
                     for e in units]).reshape(shape)
    near = 1e-6 if dtype.itemsize == 4 else 2e-2
    for order, lying in zip(ORDERS, layouts(x)):
        with thread_order(order):
            there = on(cupy, lying)
            found = columns.patches(there, *how, size, groups)
            np.testing.assert_array_equal(found.get(), wanted)
            into = on(cupy, np.full_like(lying, 7))
            columns.sum_patches(cupy.asarray(cols), into, *how, size, groups)
            np.testing.assert_allclose(into.get().astype(float), sums, rtol=near, atol=near)
            if groups > 1:
                continue
            planes = columns.patches_by_plane(there, *how, size).get()
            c, (kh, kw) = shape[1], how[0]
            np.testing.assert_array_equal(
                planes.reshape(c, kh, kw, -1).transpose(3, 1, 2, 0).reshape(wanted[0].shape),
                wanted[0])
            by_plane = cols[0].reshape(-1, kh, kw, c).transpose(3, 1, 2, 0).reshape(planes.shape)
            into = on(cupy, np.full_like(lying, 7))
            columns.sum_patches_by_plane(cupy.asarray(by_plane), into, *how, size)
            np.testing.assert_allclose(into.get().astype(float), sums, rtol=near, atol=near)


def test_nothing_to_gather(cupy):
    from tinygen.kernels.gpu import columns

    how = (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), (3, 3)
    assert columns.patches(cupy.ones((0, 2, 3, 3), np.float32), *how).shape == (1, 0, 2)
