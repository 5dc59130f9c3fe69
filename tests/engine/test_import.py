"""`import tinygen` is light: it needs NumPy alone, and leaves optional packages unimported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ["numba", "llvmlite", "cupy", "scipy", "matplotlib", "torch", "pandas", "sklearn", "PIL",
         "rich", "typer", "safetensors", "tokenizers", "ml_dtypes"]


def test_import_loads_no_optional_package():
    loaded = json.loads(run("import sys, json, tinygen; print(json.dumps(list(sys.modules)))"))
    assert "numpy" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_an_operation_and_its_gradient_load_none_either():
    loaded = json.loads(run(
        "import sys, json, tinygen as tg\n"
        "x = tg.ones((2,), requires_grad=True)\n"
        "tg.erf(x).sum().backward()\n"
        "print(json.dumps(list(sys.modules)))"))
    heavy = [name for name in HEAVY if name in loaded and name not in (
        "numba", "llvmlite", "scipy")]      # kernels may load those, on first use of the device
    assert not heavy


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Block())
"""


def test_the_engine_works_where_only_numpy_is_installed():
    out = run(BLOCK.format(blocked=[*HEAVY, "hypothesis", "pytest"]) + """
import tinygen as tg
x = tg.randn(3, 2, requires_grad=True)
w = tg.Tensor([[1.0, 2.0]], requires_grad=True)
loss = tg.gelu(tg.linear(x, w)).mean()
loss.backward()
print(x.grad.shape, w.grad.shape, tg.grad(tg.grad(lambda v: v ** 3))(2.0).item())
""")
    assert out.strip() == "(3, 2) (1, 2) 12.0"


def test_the_engine_works_without_the_kernels_folder():
    out = run(BLOCK.format(blocked=[]).replace('name.split(".")[0] in []',
                                               'name.startswith("tinygen.kernels")') + """
import tinygen as tg
print((tg.ones((2, 2)) @ tg.ones((2, 2))).sum().item())
""")
    assert out.strip() == "8.0"


def test_kernels_are_loaded_on_first_use_only():
    out = run("""
import sys, tinygen as tg
before = [m for m in sys.modules if m.startswith("tinygen.kernels")]
tg.ones((2,)) + 1
print(before)
""")
    assert out.strip() == "[]"


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "vjp", "jvp", "jacobian", "hessian",
                                  "no_grad", "checkpoint", "detect_anomaly", "manual_seed",
                                  "Tensor", "Generator", "random", "autograd", "ops", "float32"])
def test_public_names(name):
    import tinygen
    assert hasattr(tinygen, name)


def test_version_is_stated_once():
    import tinygen
    assert tinygen.__version__.count(".") == 2
