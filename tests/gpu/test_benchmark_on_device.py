"""The rows of `make gpu` on the double of CuPy: tinygen's side runs on a device as it does here."""

import pytest

from benchmarks import gpu_timing
from benchmarks.gpu_child import answer, tinygen_side
from tests.gpu.running import needs_compiler

pytestmark = needs_compiler


@pytest.mark.parametrize("name, jit", [
    ("matmul-bfloat16-64", False), ("attention-backward-d16-32-causal", False),
    ("conv-bfloat16-2x4x8-8", False), ("layer-norm-backward-bfloat16", False),
    ("cross-entropy-backward-float32", False), ("adamw-float32", False), ("micro-mlp", False),
    ("micro-mlp", True), ("char-gpt", True)])
def test_rows_run_on_a_device(name, jit, monkeypatch):
    monkeypatch.setattr(gpu_timing, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(gpu_timing, "GROUP_SECONDS", 0.0)
    side = tinygen_side("cuda", jit)
    got = answer(side, {"row": name, "quick": True, "seconds": 0.0})
    assert "failed" not in got, got["failed"]
    assert len(got["groups"]) >= 3 and "CuPy" in side.version
    if got["loss"] is not None:
        host = answer(tinygen_side("cpu", jit), {"row": name, "quick": True, "seconds": 0.0})
        assert got["loss"] == pytest.approx(host["loss"], rel=1e-3)
