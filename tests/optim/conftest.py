"""PyTorch runs on one thread here: its idle threads spin, and NumPy's wait for them."""

import sys

import pytest


@pytest.fixture(autouse=True)
def one_torch_thread():
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if threads > 1:
        torch.set_num_threads(1)
    yield
    if threads > 1:
        torch.set_num_threads(threads)
