"""Attention and convolution through cuDNN's frontend, on a double of it."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.doubles import cudnn as double
from tests.doubles.cuda import deviceless
from tests.gpu import test_attention, test_conv
from tests.gpu.running import needs_compiler

pytestmark = needs_compiler


@pytest.fixture
def frontend(cupy, monkeypatch):
    """The double where `import cudnn` finds it, with nothing built yet."""
    of = importlib.import_module("tinygen.kernels.gpu.cudnn")
    importlib.import_module("tinygen.kernels.gpu.attention")
    importlib.import_module("tinygen.kernels.gpu.conv")
    monkeypatch.setitem(sys.modules, "cudnn", double)
    for cached in (of.ready, of._frontend, of._handle):
        cached.cache_clear()
    monkeypatch.setattr(of, "_graphs", {})
    double.built.clear()
    double.unsupported.clear()
    yield double
    for cached in (of.ready, of._frontend, of._handle):
        cached.cache_clear()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("length,keys,offset", [(33, 33, 0), (33, 40, 7), (33, 40, None)])
def test_attention_and_its_gradients(cupy, frontend, counts, dtype, length, keys, offset):
    rng = np.random.default_rng(0)
    q, k, v = (test_attention.draw(cupy, rng, (2, 3, n, 32), dtype) for n in (length, keys, keys))
    test_attention.check(cupy, dtype, q, k, v, causal=offset is not None, offset=offset or 0)
    assert frontend.built == ["sdpa", "sdpa_backward"]
    test_attention.check(cupy, dtype, q, k, v, causal=offset is not None, offset=offset or 0)
    assert frontend.built == ["sdpa", "sdpa_backward"]               # graphs are kept
    assert counts.by["launches"]["sdpa_backward"] == 2


def test_packed_heads(cupy, frontend):
    heads = test_attention.packed(cupy, np.random.default_rng(1), 2, 20, 2, 64, "bfloat16")
    test_attention.check(cupy, "bfloat16", *heads, causal=True)
    assert frontend.built == ["sdpa", "sdpa_backward"]


def test_groups_of_heads_share_keys(cupy, frontend):
    rng = np.random.default_rng(3)
    q, _ = test_attention.draw(cupy, rng, (2, 6, 20, 32), "bfloat16")
    groups = q.reshape(2, 3, 2, 20, 32), q.get().astype(np.float64).reshape(2, 3, 2, 20, 32)
    k, v = (test_attention.draw(cupy, rng, (2, 3, 1, 30, 32), "bfloat16") for _ in range(2))
    test_attention.check(cupy, "bfloat16", groups, k, v)
    assert frontend.built == ["sdpa", "sdpa_backward"]
    apart = tuple(x.swapaxes(1, 2).copy().swapaxes(1, 2) for x in groups)     # no view of six heads
    test_attention.check(cupy, "bfloat16", apart, k, v)
    assert frontend.built == ["sdpa", "sdpa_backward"]


@pytest.mark.parametrize("what", ["float32", "offset", "mask", "one query", "no engine"])
def test_attention_that_is_no_call_for_cudnn(cupy, frontend, what):
    rng = np.random.default_rng(2)
    dtype = "float32" if what == "float32" else "bfloat16"
    length = 1 if what == "one query" else 20
    q, k, v = (test_attention.draw(cupy, rng, (1, n, 32), dtype) for n in (length, 20, 20))
    mask = np.arange(20) < 15
    frontend.unsupported.update(("sdpa", "sdpa_backward") if what == "no engine" else ())
    test_attention.check(cupy, dtype, q, k, v, causal=what == "offset", offset=3,
                         mask=(cupy.asarray(mask), mask) if what == "mask" else None)
    assert not frontend.built


CONVOLUTIONS = [0, 1, 2, 3, 4]           # of test_conv.HOW; the last one crops


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convolution(cupy, frontend, case, dtype):
    test_conv.test_all_three_operations(cupy, test_conv.HOW[case], True, dtype)
    uneven = case == 1                     # padding (0, 1) with a step of 1
    assert set(frontend.built) == (set() if uneven else {"conv_fprop", "conv_dgrad", "conv_wgrad"})


def test_a_depthwise_convolution(cupy, frontend):
    case = ((2, 8, 6, 6), (8, 1, 3, 3), (2, 2), ((1, 0), (1, 0)), (1, 1), 8)
    test_conv.test_all_three_operations(cupy, case, True, "bfloat16")
    assert set(frontend.built) == {"conv_fprop", "conv_dgrad", "conv_wgrad"}


def test_a_convolution_that_crops_runs_on_our_kernels(cupy, frontend):
    test_conv.test_all_three_operations(cupy, test_conv.HOW[5], True, "float32")
    assert not frontend.built


def test_sums_are_of_one_order_and_float32_is_not_cut(cupy, frontend, monkeypatch):
    of = importlib.import_module("tinygen.kernels.gpu.cudnn")
    notes = double.numerical_note
    for tf32, unwanted in ((False, [notes.NONDETERMINISTIC, notes.TENSOR_CORE,
                                    notes.DOWN_CONVERT_INPUTS]), (True, [notes.NONDETERMINISTIC])):
        monkeypatch.setattr(of, "allow_tf32", [tf32])
        test_conv.test_all_three_operations(cupy, test_conv.HOW[0], True, "float32")
        assert list(of._graphs.values())[-1].graph.deselected == unwanted


def test_cudnn_can_be_left_out(cupy, frontend, monkeypatch):
    of = importlib.import_module("tinygen.kernels.gpu.cudnn")
    monkeypatch.setenv("TINYGEN_CUDNN", "0")
    of.ready.cache_clear()
    assert not of.ready()


@pytest.mark.skipif(deviceless.library() is None,
                    reason="no cuDNN: pip install nvidia-cudnn-frontend nvidia-cudnn-cu13 (400 MB)")
def test_cudnn_itself_has_engines_for_every_graph_on_an_h200(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.doubles.cuda.deviceless"], text=True,
                          capture_output=True, env=deviceless.environment(tmp_path), timeout=120)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 54, done.stderr[-2000:]
    assert all(plans > 0 for _, _, plans in found), found
