"""The tests on the CPU would notice: each mistake, put into a CUDA source, is caught.

A mistake is caught where the launch raises (a barrier, an index, a guard zone) or the result is not
that of float64, in at least one of the three orders of threads.
"""

import importlib

import numpy as np
import pytest

from tests.doubles import memory
from tests.doubles.cuda.build import KernelError

from .running import agrees, definition, draw, launch, needs_compiler

pytestmark = needs_compiler

# What is run: a Python file with the source that it launches, and a call.
CALLS = {
    "softmax": ("softmax", "native", "softmax", lambda: (draw((3, 1003)),), {"axis": 1}),
    "axis": ("softmax", "native", "softmax", lambda: (draw((3, 7, 5)),), {"axis": 1}),
    "loss": ("softmax", "losses", "cross_entropy",
             lambda: (draw((40, 300)), np.arange(40), None),
             {"reduction": "mean", "ignore_index": 5, "label_smoothing": 0.1}),
    "norm": ("norm", "native", "layer_norm", lambda: (draw((4, 520)), draw((520,)), None),
             {"axes": (1,), "eps": 1e-5}),
    "planes": ("channels", "native", "batch_norm", lambda: (draw((3, 2, 300)), draw((2,)), None),
               {"eps": 1e-5}),
    "columns": ("channels", "native", "batch_norm", lambda: (draw((70, 40)), None, draw((40,))),
                {"eps": 1e-5}),
    "linear": ("linear", "native", "linear_activation",
               lambda: (draw((9, 4)), draw((31, 4)), draw((31,))),
               {"activation": "relu", "slope": 0.0}),
}
FIRST_BARRIER = "    __syncthreads();   // what the call before left here has been read by all\n"
MISTAKES = [
    # barriers
    ("loss", FIRST_BARRIER, ""),
    ("softmax", "= x;\n    __syncthreads();\n", "= x;\n"),
    ("columns", "= m.n;\n  __syncthreads();\n", "= m.n;\n"),
    ("softmax", "    __syncthreads();   // what", "    if (lane) __syncthreads();   // what"),
    # strides
    ("softmax", "Row row(x + r * n, n);", "Row row(x + r * (n + 1), n);"),
    ("axis", "k / inner * n * inner + k % inner", "k / inner * inner + k % inner"),
    ("planes", "plane * length + static_cast", "plane * (length - 1) + static_cast"),
    # one too many
    ("softmax", "if (first >= n", "if (first > n"),
    ("softmax", "      if (first >= n) break;\n      Pack<U, WIDTH> pack;",
     "      if (first > n) break;\n      Pack<U, WIDTH> pack;"),
    ("softmax", "else if (n % WIDE<T> == 0) f", "else if (n > 0) f"),
    ("columns", "r < w.last", "r <= w.last"),
    ("linear", "if (i >= size) return;", "if (i > size) return;"),
    # arithmetic
    ("softmax", "for (int step = 16; step > 0", "for (int step = 8; step > 0"),
    ("loss", "t.used ? (lse", "true ? (lse"),
    ("planes", "d * d * a.n * share", "d * d * a.n"),
    ("linear", "bias + i % n", "bias + i % (n - 1)"),
]


def _only_float32(text):
    """The same for one type: a third of the time to compile."""
    text = text.replace("#define FOR_TYPES(M) M(f32, float)",
                        "#define FOR_TYPES(M) M(f32, float)\n//")
    return text.replace("#define FOR_PAIRS(M) \\\n  M(f32, float, float)",
                        "#define FOR_PAIRS(M) M(f32, float, float)\n//")


def _check(cupy, call, order):
    name, arrays, how = CALLS[call][2:]
    given = arrays()
    found, wanted = launch(cupy, name, *given, order=order, **how), definition(name, *given, **how)
    pairs = zip(found, wanted) if isinstance(found, tuple) else [(found, wanted)]
    for got, want in pairs:
        agrees(got, want, 1e-5, 0.01)
    memory.check_all()


@pytest.fixture
def with_change(cupy, monkeypatch):
    """A function that puts a changed source in the place of that of a call."""
    def change(call, old="", new=""):
        cupy.exp(cupy.ones(1))
        launcher = importlib.import_module("tinygen.kernels.gpu.launch")
        file, attribute = CALLS[call][:2]
        native = getattr(importlib.import_module(f"tinygen.kernels.gpu.{file}"), attribute)
        text = _only_float32(launcher.read(f"{native.name}.cu"))
        assert old in text, f"{native.name}.cu has no {old!r}"
        changed = text.replace(old, new) if old else text
        monkeypatch.setattr(launcher, "read", lambda name: changed)
        monkeypatch.setattr(native, "_modules", {})
        monkeypatch.setattr(native, "_functions", {})
    return change


@pytest.mark.parametrize("call", CALLS)
def test_without_a_mistake(cupy, with_change, call):
    with_change(call)
    for order in range(3):
        _check(cupy, call, order)


@pytest.mark.parametrize("call,old,new", MISTAKES)
def test_a_mistake_is_caught(cupy, with_change, call, old, new):
    with_change(call, old, new)
    caught = []
    for order in range(3):
        try:
            _check(cupy, call, order)
        except (AssertionError, KernelError, memory.OutOfBounds) as error:
            caught.append(type(error).__name__)
    assert caught
