"""NVRTC compiles every CUDA source without a device: no spills, registers within stated limits.

A source states its limits in comments: `// registers: 64` for all kernels of the file, `//
registers NAME: 128` for those whose names begin with NAME, and `// tensor cores: NAME ...` for
those that must have matrix instructions. What NVRTC said is kept in the cache folder, by a hash of
the source.
"""

import re
from pathlib import Path

import pytest

from tests.doubles.cuda import nvrtc

SOURCES = Path(__file__).resolve().parents[2] / "kernels" / "gpu" / "source"
FILES = sorted(p.name for p in SOURCES.glob("*.cu"))
ARCHITECTURES = ("sm_80", "sm_90")

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="no NVRTC: pip install -e '.[gputest]' (58 MB)")


def _read(name):
    from tinygen.kernels.gpu.launch import read
    return read(name)


def _limit(text, kernel):
    """The registers that a source allows a kernel: the longest name that fits, else the file's."""
    named = re.findall(r"^// registers (\w+): (\d+)$", text, re.M)
    fitting = [(len(name), int(n)) for name, n in named if kernel.startswith(name)]
    if fitting:
        return max(fitting)[1]
    found = re.search(r"^// registers: (\d+)$", text, re.M)
    assert found, f"no limit of registers is stated for {kernel}"
    return int(found[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", FILES)
def test_no_spills_and_registers_within_limits(name, architecture):
    text, usages = (SOURCES / name).read_text(), nvrtc.usages(_read(name), name, architecture)
    assert usages, f"{name} has no kernels"
    promised = re.findall(r"^// tensor cores: (.*)$", text, re.M)
    promised = tuple(" ".join(promised).split())
    for kernel, used in usages.items():
        assert used.spills == 0 and used.stack == 0, f"{kernel} spills: {used}"
        assert used.registers <= _limit(text, kernel), f"{kernel}: {used}"
        if promised and kernel.startswith(promised):
            assert used.tensor_cores, f"{kernel} has no matrix instructions"
    for prefix in promised:
        assert any(k.startswith(prefix) for k in usages), f"no kernel is named {prefix}..."


def test_matrix_instructions_are_found():
    body = ("{ float d[4] = {0}; unsigned a[4] = {x[0], x[1], x[2], x[3]}, b[2] = {x[4], x[5]}; "
            "%s y[threadIdx.x] = d[0] + d[1] + d[2] + d[3]; }")
    head = 'extern "C" __global__ void f(const unsigned* x, float* y) '
    text = _read("common.cuh") + _read("mma.cuh") + head
    for call, some in (("mma<bf16>(d, a, b);", True), ("mma<f16>(d, a, b);", True), ("", False)):
        found = nvrtc.translate(text + body % call, "f.cu", "sm_90").kernels["f"]
        assert (found.tensor_cores > 0) is some


def test_packs_are_read_and_written_at_once():
    for kind, wide in (("float", 4), ("bf16", 8), ("f16", 8)):
        text = nvrtc.assembly(_read("common.cuh") + f"""
            extern "C" __global__ void f(const {kind}* x, {kind}* y) {{
              auto pack = load_pack<{kind}, {wide}>(x + threadIdx.x * {wide});
              for (int i = 0; i < {wide}; i++) pack.at[i] = from_float<{kind}>(
                  2.0f * to_float(pack.at[i]));
              store_pack(y + threadIdx.x * {wide}, pack);
            }}""")
        assert len(re.findall(r"ld\.global[.\w]*\.v4\.", text)) == 1
        assert len(re.findall(r"st\.global[.\w]*\.v4\.", text)) == 1


def test_spills_and_errors_are_seen():
    text = ('extern "C" __global__ void __launch_bounds__(1024, 2) f(const float* x, float* y) {\n'
            "  float v[96];\n#pragma unroll\n  for (int i = 0; i < 96; i++) v[i] = x[i * 1024];\n"
            "  __syncthreads();\n#pragma unroll\n"
            "  for (int i = 0; i < 96; i++) y[i * 1024] = v[i] * v[95 - i]; }\n")
    assert nvrtc.translate(text, "f.cu", "sm_90").kernels["f"].spills > 0
    with pytest.raises(nvrtc.CompileError, match="undefined"):
        nvrtc.translate("extern \"C\" __global__ void f() { g(); }", "f.cu", "sm_90")
