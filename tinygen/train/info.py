"""`tinygen info`: what tinygen runs on here, for people and for bug reports."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend, threads
from .._version import __version__

__all__ = ["kernels", "report"]

OPTIONAL = ("numba", "scipy", "threadpoolctl", "cupy", "ml_dtypes", "nvidia-cudnn-frontend",
            "nvmath-python", "typer", "rich", "matplotlib", "pillow", "safetensors", "torch")


def report() -> str:
    """Everything, as lines of text."""
    lines = []
    for title, rows in (("tinygen", _software()), ("machine", _machine()), ("data", _data())):
        lines += [f"{title}:"] + [f"  {name:<15} {value}" for name, value in rows]
    return "\n".join(lines)


def kernels(model: str | None = None) -> str:
    """The dispatch table, a line per kernel: op, file, types, threshold and what became of its
    last call in this process; after a training step of `model` on digits, where one is named.

    Raises:
        RuntimeError: there are no kernels here; the message says why.
    """
    from ..primitive import KERNELS, kernel_status

    status = kernel_status()
    found = sorted((k for k in KERNELS.values() if k.kind is np.ndarray),
                   key=lambda k: (k.function.__module__, k.name))
    if not found:
        raise RuntimeError(f"no CPU kernels: {status}")
    if model is not None:
        _one_step(model)
    rows = [("op", "kernel", "types", "from elements", "last call")]
    for k in found:
        last = {None: "none of that size yet", True: "ran"}.get(k.last, f"declined: {k.last}")
        rows.append((k.name, k.function.__module__.removeprefix("tinygen.kernels."),
                     ", ".join(k.dtypes), str(k.smallest or "any"), last))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[-1]]) for row in rows]
    used = f"threads: {threads.get_num_threads()}, processors: {threads.available()}"
    return "\n".join([used, *lines])


def _one_step(name: str) -> None:
    """One training step, so that the table shows what its calls were."""
    from .. import models
    from ..tensor import Tensor

    shape = (3, 64, 64) if "dcgan" in name else (1, 28, 28)
    model = models.build(name, shape)
    images = np.random.default_rng(0).random((64, *shape), np.float32)
    model.training_step(Tensor.wrap(images), None, model.configure_optimizers())


def _software() -> Iterator[tuple[str, str]]:
    yield "tinygen", f"{__version__} ({Path(__file__).parents[1]})"
    yield "Python", f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    yield "NumPy", np.__version__
    for name in OPTIONAL:
        yield name, _version(name)


def _version(name: str) -> str:
    if name == "cupy":   # its packages are called after the CUDA they were built for
        names = [f"cupy-cuda{n}x" for n in (13, 12)] + ["cupy"]
    else:
        names = [name]
    for package in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "not installed"


def _machine() -> Iterator[tuple[str, str]]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "CPU", f"{_cpu_name()}, {usable} of {os.cpu_count()} cores usable"
    yield "BLAS", _blas()
    asked = {k: os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                          "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
               if k in os.environ}
    if asked:
        yield "environment", " ".join(f"{k}={v}" for k, v in asked.items())
    yield from _devices()
    for kind in ("cpu", "gpu"):
        yield f"{kind} kernels", _kernels(kind)
    if importlib.util.find_spec("numba") is not None:
        yield "kernel threads", str(threads.get_num_threads())


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    threads = _blas_threads()
    return name if threads is None else f"{name}, {threads} thread{'s' * (threads != 1)}"


def _blas_threads() -> int | None:
    """How many threads NumPy's OpenBLAS uses, asked of the library itself; None for another."""
    np.ones((2, 2)) @ np.ones((2, 2))   # loaded by now
    maps = Path("/proc/self/maps")
    lines = maps.read_text(encoding="utf-8").splitlines() if maps.exists() else []
    for path in sorted({line.split()[-1] for line in lines if "openblas" in line}):
        library = ctypes.CDLL(path)
        for symbol in ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_",
                       "scipy_openblas_get_num_threads", "openblas_get_num_threads"):
            if hasattr(library, symbol):
                return int(library[symbol]())
    return None


def _devices() -> Iterator[tuple[str, str]]:
    reason = backend.unavailable_reason()
    if reason:
        yield "cuda", f"none: {reason}"
        return
    runtime = importlib.import_module("cupy").cuda.runtime
    built, driver = (f"{v // 1000}.{v % 1000 // 10}" for v in
                     (runtime.runtimeGetVersion(), runtime.driverGetVersion()))
    yield "cuda", f"CuPy runs on CUDA {built}, the driver takes programs up to CUDA {driver}"
    for i in range(backend.device_count()):
        found = runtime.getDeviceProperties(i)
        yield f"cuda:{i}", (f"{found['name'].decode()}, {found['totalGlobalMem'] >> 30} GiB, "
                            f"compute capability {found['major']}.{found['minor']}")


def _kernels(kind: str) -> str:
    """How many native kernels stand in for NumPy's or CuPy's functions."""
    from ..primitive import KERNELS, kernel_status

    if os.environ.get("TINYGEN_KERNELS", "").lower() == "numpy":
        return "off (TINYGEN_KERNELS=numpy)"
    if kind == "gpu":
        return ("none without a GPU" if backend.unavailable_reason() else
                kernel_status(importlib.import_module("cupy").ndarray))
    try:
        importlib.import_module("tinygen.kernels.cpu")
    except ImportError as error:
        return f"none: {error} (pip install -e . makes kernels/ known)"
    names = {name for name, array in KERNELS if array is np.ndarray}
    if names:
        return f"{len(names)} (tinygen info --kernels lists them)"
    missing = importlib.util.find_spec("numba") is None
    return f"none{': numba is not installed' if missing else ''}; NumPy's own code runs"


def _data() -> Iterator[tuple[str, str]]:
    from ..data import DATASETS, KNOWN_FILES, cache_dir, data_root

    yield "looked in", ", ".join(dict.fromkeys(map(str, (data_root(), cache_dir()))))
    for name in DATASETS:
        if name == "digits":
            yield name, "comes with tinygen"
            continue
        files = [f for f in KNOWN_FILES if f.split("/")[0] == name]
        found = {f: next((root / f for root in (data_root(), cache_dir())
                          if (root / f).is_file()), None) for f in files}
        places = {str(p.parent) for p in found.values() if p is not None}
        lacking = [f for f, p in found.items() if p is None]
        if not places:
            yield name, "not found"
        else:
            yield name, ", ".join(sorted(places)) + (
                f" (lacks {', '.join(lacking)})" if lacking else "")
