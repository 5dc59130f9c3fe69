"""The same weights in every run: layers of both libraries draw theirs from seeded generators."""

import sys

import pytest

import tinygen as tg


@pytest.fixture(autouse=True)
def seeded():
    tg.manual_seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
