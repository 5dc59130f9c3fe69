"""The version of PyTorch whose private lists of samples the suites read."""

import pytest

VERSION = "2.13.0"


def pinned_torch(what):
    """PyTorch, if it is that version; otherwise the whole test file is skipped, with the reason."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    if torch.__version__.split("+")[0] != VERSION:
        pytest.skip(f"{what} is private API, read for torch {VERSION}", allow_module_level=True)
    return torch
