"""Where the real texts are."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_texts():
    """The folder of the real data sets."""
    folder = Path(os.environ.get("TINYGEN_DATA", ""))
    if not (folder / "tinyshakespeare").is_dir():
        pytest.skip("real data: TINYGEN_DATA names no folder with tinyshakespeare/")
    return folder
