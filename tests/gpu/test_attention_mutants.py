"""Small mistakes in the attention kernels do not pass the tests: each mutant gives a wrong result,
or is stopped by the shim, in at least one order of threads."""

import importlib

import numpy as np
import pytest

from tests.doubles.cuda.build import ORDERS, KernelError, thread_order
from tests.gpu.running import needs_compiler
from tests.gpu.test_attention import check, packed

pytestmark = needs_compiler

MUTANTS = {  # what is wrong -> (in which source, text, what takes its place)
    "no barrier before values are fetched": (
        "attention", "__syncthreads();                                     // the keys are here,",
        "//"),
    "no barrier behind a step of dK": (
        "attention", "__syncthreads();                                   // the last tiles", "//"),
    "rows are written before the warp has met": (
        "attention", "__syncwarp();\n  put(of_q", "put(of_q"),
    "a query sees one key more": ("attention", "key > query + c.offset",
                                  "key > query + c.offset + 1"),
    "the last tile is not masked": ("attention", "start + KEYS > c.keys ||", ""),
    "strides of two axes swapped": (
        "attention", "h.index[1] * x.lead[1] + h.index[2] * x.lead[2]",
        "h.index[1] * x.lead[2] + h.index[2] * x.lead[1]"),
    "plain weights are overwritten": (
        "attention_plain", "__syncwarp();                                  // the last weights",
        "//"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(cupy, monkeypatch, mutant):
    of = importlib.import_module("tinygen.kernels.gpu.attention")
    launch = importlib.import_module("tinygen.kernels.gpu.launch")
    source, text, instead = MUTANTS[mutant]
    read = launch.read

    def mutated(name):
        whole = read(name)
        if name != f"{source}.cu":
            return whole
        assert text in whole, "the mutant's text is not in the source"
        return whole.replace(text, instead)

    monkeypatch.setattr(launch, "read", mutated)
    monkeypatch.setattr(of, "_plans", {})
    of._source.cache_clear()
    dtype = "bfloat16" if source == "attention" else "float32"
    caught = 0
    try:
        for order in ORDERS:
            for causal in (True, False):
                heads = packed(cupy, np.random.default_rng(0), 2, 100, 2, 32, dtype)
                try:
                    with thread_order(order):
                        check(cupy, dtype, *heads, causal=causal)
                except (AssertionError, KernelError):
                    caught += 1
            if caught:
                break
    finally:
        of._source.cache_clear()
    assert caught
