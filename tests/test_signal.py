"""Windows against SciPy's, symmetric and periodic, of every length that is special."""

import numpy as np
import pytest
from scipy.signal import windows as scipy_windows

import tinygen as tg
from tinygen.signal import windows

WINDOWS = [
    ("hann", {}), ("hamming", {}), ("blackman", {}), ("nuttall", {}), ("bartlett", {}),
    ("cosine", {}), ("general_cosine", {"a": [0.4, 0.3, 0.2, 0.1]}),
    ("general_hamming", {"alpha": 0.7}), ("exponential", {"tau": 2.5}), ("gaussian", {"std": 1.7}),
    ("kaiser", {"beta": 8.0}),
]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8, 33])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("name, how", WINDOWS, ids=[w[0] for w in WINDOWS])
def test_same_as_scipy(name, how, sym, length):
    ours = getattr(windows, name)(length, **how, sym=sym, dtype="float64")
    theirs = getattr(scipy_windows, name)(length, **how, sym=sym)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12, atol=1e-14)


def test_off_centre_decay_and_the_default_type():
    ours = tg.signal.windows.exponential(6, center=1.0, sym=False)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.numpy(), np.exp(-np.abs(np.arange(6) - 1.0)), rtol=1e-6)


@pytest.mark.parametrize("call, message", [
    (lambda: windows.hann(-1), r"\[general_cosine\] M must not be negative, got -1"),
    (lambda: windows.gaussian(4, std=0), r"\[gaussian\] std must be positive"),
    (lambda: windows.exponential(4, tau=-1), r"\[exponential\] tau must be positive"),
    (lambda: windows.exponential(4, center=1.0), r"center needs sym=False"),
    (lambda: windows.kaiser(4, beta=-1), r"\[kaiser\] beta must not be negative"),
    (lambda: windows.general_cosine(4, a=[]), r"at least one coefficient"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
