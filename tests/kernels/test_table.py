"""The dispatch table, the cache on disk, threads, and what happens where kernels cannot run."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

import tinygen as tg
from tinygen import primitive as dispatch
from tinygen import threads
from tinygen.primitive import KERNELS, Unavailable, kernel
from tinygen.warmup import WORK, untouched, warmup

PRODUCT = """
import warnings, numpy as np, tinygen as tg
from tinygen.primitive import KERNELS
a = np.ones((128, 128), np.float32)
y = (tg.asarray(a) @ tg.asarray(a)).numpy()
assert (y == 128).all() and KERNELS["matmul", np.ndarray].last is True
"""


def python(code, **env):
    """Run code in a fresh process; returns what it wrote to standard error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **env}, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def table():
    """Register kernels freely; the table is put back afterwards."""
    before, loaded = dict(KERNELS), dict(dispatch._loaded)
    yield
    KERNELS.clear()
    KERNELS.update(before)
    dispatch._loaded.update(loaded)
    dispatch.forget_implementations()


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_warmup_reaches_every_kernel():
    for family in WORK:
        WORK[family]("float32")
    assert untouched() == []


def test_warmup_without_kernels_says_why(monkeypatch):
    monkeypatch.setattr("tinygen.warmup.KERNELS", {})
    with pytest.raises(RuntimeError, match="no CPU kernels"):
        warmup()


def test_a_failing_compilation_is_reported(monkeypatch):
    monkeypatch.setattr("tinygen.warmup.WORK", {"nothing of this name": None})
    with pytest.raises(RuntimeError, match="compiling nothing of this name, float32 failed: KeyE"):
        warmup(processes=2)


def test_a_kernel_declines_with_a_reason(table):
    @kernel("sinh", np.ndarray)
    def _(x):
        return "only even sizes" if x.size % 2 else np.sinh(x) + 1

    row = KERNELS["sinh", np.ndarray]
    assert row.last is None
    assert tg.sinh(tg.zeros((3,))).tolist() == [0, 0, 0]
    assert row.last == "only even sizes"
    assert tg.sinh(tg.zeros((2,))).tolist() == [1, 1]
    assert row.last is True


def test_small_arrays_are_not_even_offered(table):
    @kernel("sinh", np.ndarray, smallest=4)
    def _(x):
        return np.sinh(x) + 1

    assert [tg.sinh(tg.zeros((n,))).tolist()[0] for n in (3, 4, 5, 3)] == [0, 1, 1, 0]


def test_a_compiler_that_does_not_work_leaves_numpy_in_charge(table):
    @kernel("sinh", np.ndarray)
    def _(x):
        raise Unavailable("Numba does not work here: no LLVM")

    with pytest.warns(RuntimeWarning, match="without its kernels: Numba does not work here"):
        assert tg.sinh(tg.zeros((2,))).tolist() == [0, 0]
    assert tg.sinh(tg.zeros((2,))).tolist() == [0, 0]       # and no second warning
    assert "no LLVM" in dispatch.kernel_status()


# -- the cache on disk -----------------------------------------------------------------------------


def test_a_cache_that_cannot_be_written_costs_one_warning(tmp_path):
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    said = python(PRODUCT, TINYGEN_CACHE=str(blocked))
    assert said.count("the cache of compiled kernels cannot be") == 1


SUMS = PRODUCT + """
import sys
from tinygen.kernels.cpu.native.gemm import column_sums
sums = np.zeros(128, np.float32)
column_sums(a, sums, 1)
assert (sums == 128).all()
"""


def test_what_is_compiled_loads_without_what_only_compiling_needs(tmp_path):
    env = {"TINYGEN_CACHE": str(tmp_path)}
    assert python(SUMS, **env) == ""
    assert python(SUMS + """
assert "numba" in sys.modules
assert not {"scipy.linalg", "numba.np.arraymath", "numba.cpython.listobj"} & set(sys.modules)
# what is compiled from here on finds all that it needs: a kernel, BLAS, dicts, exceptions
import numba

@numba.njit
def mine(a, sums):
    column_sums(a, sums, 1)
    if sums[0] != 128:
        raise ValueError("another sum")
    return {1: np.dot(a, a).sum()}
assert mine(a, sums)[1] == 128 ** 3
try:
    mine(2 * a, sums)
except ValueError as error:
    assert str(error) == "another sum"
else:
    raise AssertionError
""", **env) == ""


def test_a_damaged_cache_costs_one_warning_and_is_repaired(tmp_path):
    env = {"TINYGEN_CACHE": str(tmp_path)}
    assert python(PRODUCT, **env) == ""
    files = [p for p in tmp_path.rglob("*.nb?") if p.is_file()]
    assert files
    for i, path in enumerate(sorted(files)):
        data = path.read_bytes()
        path.write_bytes(data[:len(data) // 2] if i % 2 else data[:-3] + b"abc")
    assert python(PRODUCT, **env).count("the cache of compiled kernels cannot be read") == 1
    assert python(PRODUCT, **env) == ""


@pytest.mark.parametrize(("line", "other"), [
    ("from .b import f", "in/b.py"), ("from . import b", "in/b.py"), ("from ..b import f", "b.py"),
])
def test_an_entry_is_stale_when_what_its_file_imports_has_changed(tmp_path, line, other):
    from tinygen.kernels.cpu.native.cache import fingerprint
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.py").write_text(line + "\n")
    (tmp_path / other).write_text("f = 1\n")
    before = fingerprint(tmp_path / "in" / "a.py")
    (tmp_path / other).write_text("f = 2\n")
    fingerprint.cache_clear()
    assert fingerprint(tmp_path / "in" / "a.py") != before


# -- threads ---------------------------------------------------------------------------------------


def test_two_python_threads_call_kernels_at_once():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 512)).astype(np.float32)
    expected = tg.softmax(tg.asarray(x) @ tg.asarray(x.T.copy()), -1).numpy().tobytes()
    wrong = []

    def work():
        for _ in range(30):
            y = tg.softmax(tg.asarray(x) @ tg.asarray(x.T.copy()), -1).numpy()
            if y.tobytes() != expected:
                wrong.append(y)
    both = [threading.Thread(target=work) for _ in range(3)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    assert not wrong


def test_set_num_threads():
    before = tg.get_num_threads()
    try:
        tg.set_num_threads(1)
        assert tg.get_num_threads() == threads.count.value == 1
        for wrong in (0, -1, 1.5, True, threads.count.largest + 1):
            with pytest.raises(ValueError, match="whole number from 1 to"):
                tg.set_num_threads(wrong)
    finally:
        tg.set_num_threads(before)


@pytest.mark.parametrize(("name", "n"), [("TINYGEN_NUM_THREADS", 3), ("OMP_NUM_THREADS", 1)])
def test_the_environment_says_how_many_threads(name, n):
    clean = {k: "" for k in ("TINYGEN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}
    python(f"import tinygen; assert tinygen.get_num_threads() == {n}", **{**clean, name: str(n)})


def test_kernels_can_be_deleted_or_switched_off():
    code = "import tinygen as tg; print((tg.ones((300, 300)) @ tg.ones((300, 300))).sum().item())"
    python(code, TINYGEN_KERNELS="numpy")
    python("import sys; sys.modules['tinygen.kernels'] = None\n" + code)
    assert Path(dispatch.__file__).exists()
