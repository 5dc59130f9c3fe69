"""HIPS/autograd's own black-box tests, run on tinygen through a shim (tests/suites/hips_shim).

They check first and second derivatives by finite differences. The files come from autograd's
source distribution, are fetched when the test runs and are kept outside of the project. What
fails is known by name, with the reason: the test fails when the list and the failures differ.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import pytest

VERSION = "1.9.1"
SHIM = Path(__file__).parent / "hips_shim"
ROOT = Path(__file__).resolve().parents[2]

FILES = """test_systematic test_scalar_ops test_binary_ops test_logic test_jacobian test_truediv
    test_dict test_list test_tuple test_graphs test_direct test_builtins test_wrappers test_numpy
    test_linalg test_scipy"""

# Not run: about autograd's own machinery, or about complex numbers alone.
NOT_RUN = {
    "test_core": "autograd's vector spaces and boxes", "test_vspaces": "autograd's vector spaces",
    "test_tests": "autograd's own check_grads", "test_performance": "times autograd",
    "test_ufunc_dispatch": "autograd's boxes inside NumPy",
    "test_misc": "autograd's tracer",
    "test_complex": "complex numbers", "test_fft": "complex numbers",
}

COMPLEX = "complex numbers are outside of tinygen"
EXPECTED_BY_REASON = {
    COMPLEX: """
        test_systematic::test_sin test_systematic::test_abs
        test_systematic::test_absolute test_systematic::test_arccosh
        test_systematic::test_arcsinh test_systematic::test_arctanh
        test_systematic::test_cos test_systematic::test_cosh test_systematic::test_exp
        test_systematic::test_exp2 test_systematic::test_expm1
        test_systematic::test_log test_systematic::test_log10
        test_systematic::test_log1p test_systematic::test_log2
        test_systematic::test_sinh test_systematic::test_sqrt
        test_systematic::test_tan test_systematic::test_tanh
        test_systematic::test_real test_systematic::test_real_ic
        test_systematic::test_imag test_systematic::test_conj
        test_systematic::test_conjugate test_systematic::test_angle
        test_logic::test_falseyness test_logic::test_unimplemented_falseyness
        test_graphs::test_complex_mutating_outgrad_from_indexing
        test_graphs::test_complex_separate_real_and_imaginary
        test_direct::test_holomorphic_grad test_wrappers::test_dtypes
        test_linalg::test_vector_2norm_complex
        test_linalg::test_frobenius_norm_complex
        test_linalg::test_frobenius_norm_axis_complex
        test_linalg::test_vector_norm_ord_complex[6-2]
        test_linalg::test_vector_norm_ord_complex[6-3]
        test_linalg::test_vector_norm_ord_complex[6-4]
        test_linalg::test_norm_axis_complex[shape0-0]
        test_linalg::test_norm_axis_complex[shape0-1]
        test_linalg::test_norm_axis_complex[shape0-2]
        test_linalg::test_norm_nuclear_complex
        test_linalg::test_norm_nuclear_axis_complex
        test_linalg::test_eigvalh_lower_complex
        test_linalg::test_eigvalh_upper_complex test_linalg::test_eig_real
        test_linalg::test_eig_complex test_linalg::test_eig_batched
        test_linalg::test_svd_wide_2d_complex test_linalg::test_svd_wide_3d_complex
        test_linalg::test_svd_square_2d_complex
        test_linalg::test_svd_square_3d_complex test_linalg::test_svd_tall_2d_complex
        test_linalg::test_svd_tall_3d_complex test_linalg::test_svd_only_s_2d_complex
        test_linalg::test_svd_only_s_3d_complex test_scipy::test_erf
        test_scipy::test_erfc""",
    "autograd's own scipy.signal.convolve has axes and dot_axes; tinygen.signal's is SciPy's": """
        test_scipy::test_convolve_generalization test_scipy::test_convolve_ignore
        test_scipy::test_convolve_ignore_dot""",
    "Bessel functions of any order are not offered: of order 0 and 1": """
        test_scipy::test_jn test_scipy::test_yn test_scipy::test_iv test_scipy::test_ive""",
    "scipy.linalg's own and the solver of differential equations are not offered": """
        test_scipy::test_sqrtm test_scipy::test_solve_sylvester
        test_scipy::test_solve_banded test_scipy::test_odeint""",
    "reaches into autograd's own modules or machinery": """
        test_logic::test_no_vjp_def test_logic::test_no_jvp_def
        test_wrappers::test_deprecated_defgrad_wrapper
        test_wrappers::test_deprecated_defvjp_wrapper
        test_wrappers::test_deprecated_defvjp_is_zero_wrapper
        test_wrappers::test_deprecated_quick_grad_check_wrapper
        test_wrappers::test_wrapped_name_and_docs""",
    "assignment in place is a RuntimeError here, autograd raises TypeError": """
        test_graphs::test_assignment_raises_error""",
    "autograd's where() gives plain Python values back": """
        test_wrappers::test_custom_where_dtypes[int-True-1-2]
        test_wrappers::test_custom_where_dtypes[float-True-3.0-4.0]
        test_wrappers::test_custom_where_dtypes[float-False-1-2.0]
        test_wrappers::test_custom_where_dtypes[list-True-x3-y3]""",
    "numpy.r_ and numpy.c_ are not offered: concat": """
        test_numpy::test_r_basic test_numpy::test_r_double
        test_numpy::test_r_node_and_const test_numpy::test_r_mixed
        test_numpy::test_r_slicing test_numpy::test_c_ test_numpy::test_c_mixed""",
    "uses a private function of autograd.numpy.linalg": """
        test_linalg::test_pinv""",
    "eigh: the gradient is symmetric, as PyTorch's; autograd's lies in one triangle": """
        test_linalg::test_eigvalh_lower test_linalg::test_eigvalh_upper
        test_linalg::test_eigvalh_lower_broadcasting
        test_linalg::test_eigvalh_upper_broadcasting""",
}
EXPECTED = {name: why for why, names in EXPECTED_BY_REASON.items() for name in names.split()}


def sources() -> Path:
    """The unpacked source distribution, from a cache outside of the project or from the index."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "tinygen-suites"
    place = cache / f"autograd-{VERSION}"
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
             ":all:", "--dest", work, f"autograd=={VERSION}"],
            capture_output=True, text=True, check=False)
        archives = list(Path(work).glob("*.tar.gz"))
        if not archives:
            pytest.skip(f"autograd {VERSION} cannot be fetched: {done.stderr[-300:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        try:
            (Path(work) / f"autograd-{VERSION}").rename(place)
        except OSError:
            if not place.is_dir():     # another process was faster
                raise
    return place


def outcome(report: str) -> dict[str, str]:
    """Name of every test -> passed, failed or error, from pytest's -rA lines."""
    found = {}
    for line in report.splitlines():
        match = re.match(r"(PASSED|FAILED|ERROR|SKIPPED) (test_\w+\.py::\S+)", line)
        if match:
            found[match[2].replace(".py::", "::")] = match[1].lower()
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All files in one process of their own: (outcomes, counts of combinations, report)."""
    tests = sources() / "tests"
    work = tmp_path_factory.mktemp("hips")
    for name in (*FILES.split(), "conftest", "numpy_utils"):
        (work / f"{name}.py").write_bytes((tests / f"{name}.py").read_bytes())
    counts = work / "counts"
    env = os.environ | {"PYTHONPATH": f"{SHIM}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1",
                        "HIPS_SHIM_COUNTS": str(counts)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(work), "-p",
         "no:cacheprovider", "-p", "no:hypothesispytest", "-q", "-rA", "--tb=line",
         *(f"{name}.py" for name in FILES.split())],
        capture_output=True, text=True, cwd=work, env=env, check=False)
    report = done.stdout + done.stderr
    return outcome(report), Counter(counts.read_text().split()), report


def test_every_file_of_the_suite_is_run_or_has_a_reason():
    names = {p.stem for p in (sources() / "tests").glob("test_*.py")}
    assert names == set(FILES.split()) | set(NOT_RUN)


def test_what_fails_is_what_is_listed(run):
    found, _, report = run
    failed = {name for name, how in found.items() if how != "passed"}
    assert failed == set(EXPECTED), (
        f"unexpected: {sorted(failed - set(EXPECTED))}; no longer failing: "
        f"{sorted(set(EXPECTED) - failed)}\n{report[-6000:]}")
    assert len(found) - len(failed) >= 440


def test_combinations_that_were_checked(run):
    """Calls with complex arguments are not checked; their number is known."""
    _, counts, _ = run
    assert counts["real"] == 1452
    assert counts["complex"] == 206
