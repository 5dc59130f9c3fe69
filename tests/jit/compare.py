"""How close a jitted function is to the function: to the last bit, or within rounding."""

import numpy as np

from tinygen.jit import passes

# Fused rows add up in another order, and round a * b + c once: a few units in the last place of
# the largest number around. Each step of training may then bring two runs that far apart again.
ROUNDING = {np.dtype("float16"): 4e-3, np.dtype("float32"): 2e-5, np.dtype("float64"): 1e-12}


def agree(found, expected, steps=1, message="", fused=None):
    """Arrays or numbers that came of so many steps of training are the same, up to rounding."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, message
    fused = bool(passes.FUSING) if fused is None else fused
    if not fused or expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=message)
        return
    bound = ROUNDING.get(expected.dtype, 1e-12) * 4 ** (steps - 1)
    size = np.abs(expected[np.isfinite(expected)]).max(initial=1e-3)
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound * size, err_msg=message)
