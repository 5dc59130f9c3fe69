"""Tests in this folder run with the strict double of CuPy installed as `cupy`."""

import pytest

from tests.doubles import memory
from tests.doubles.counting import counted
from tests.doubles.install import installed


@pytest.fixture(scope="module", autouse=True)
def cupy(request):
    """The double, installed for the tests of a file; `KERNELS = False` in it leaves kernels out."""
    with installed(getattr(request.module, "KERNELS", True) is not False) as module:
        yield module


@pytest.fixture(autouse=True)
def guard_zones(cupy):
    """After each test: nothing was written outside of an array."""
    yield
    memory.check_all()


@pytest.fixture
def counts():
    """What the test launches, copies and waits for, from its first line on."""
    with counted() as seen:
        yield seen
