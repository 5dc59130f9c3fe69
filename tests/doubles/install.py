"""Putting the double where `import cupy` finds it, and taking it away without a trace.

tinygen remembers, per array type, modules, kernels and generators. All of that is set aside with
the double, so that a test before and a test after see the machine as it is.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import capture, functions, memory, names, raw, rng, runtime

__all__ = ["installed", "modules"]

ROOTS = ("cupy", "cupyx", "cupy_backends")
KERNELS = "tinygen.kernels.gpu"

_modules: dict[str, types.ModuleType] = {}     # the double's, made once in a process
_kept: dict[str, Any] = {}                     # what kernels registered while it was installed


def modules() -> dict[str, types.ModuleType]:
    """All modules of the double under the names that they are imported by."""
    if not _modules:
        main = _lookup_module("cupy")
        main.__version__ = names.TABLE["about"]["version"]  # type: ignore[attr-defined]
        main.RawModule, main.RawKernel = raw.RawModule, raw.RawKernel  # type: ignore[attr-defined]
        main.get_default_memory_pool = (  # type: ignore[attr-defined]
            runtime.get_default_memory_pool)
        found = {"cupy": main, "cupy.linalg": _lookup_module("cupy.linalg"),
                 "cupy.fft": _lookup_module("cupy.fft"), "cupy.random": rng.random(),
                 "cupy.lib": types.ModuleType("cupy.lib"),
                 "cupy.lib.stride_tricks": _strides(),
                 **runtime.cuda(), **_backends(), **_cupyx()}
        for name, module in found.items():
            module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            module.__path__ = []  # type: ignore[attr-defined]
            owner, _, last = name.rpartition(".")
            if owner in found:
                setattr(found[owner], last, module)
        _modules.update(found)
    return _modules


def _lookup_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__getattr__ = lambda attr: functions.lookup(name, attr)  # type: ignore[method-assign]
    return module


def _strides() -> types.ModuleType:
    module = types.ModuleType("cupy.lib.stride_tricks")
    module.as_strided = functions.as_strided  # type: ignore[attr-defined]
    return module


def _backends() -> dict[str, types.ModuleType]:
    """`cupy_backends...`: cuBLAS, whose double is a file of its own."""
    paths = ("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.libs",
             "cupy_backends.cuda.api")
    made = {path: types.ModuleType(path) for path in paths}
    try:
        made["cupy_backends.cuda.libs.cublas"] = importlib.import_module("tests.doubles.cublas")
    except ModuleNotFoundError as error:
        if error.name != "tests.doubles.cublas":
            raise
    return made


def _cupyx() -> dict[str, types.ModuleType]:
    module = types.ModuleType("cupyx")

    def scatter_add(a: Any, slices: Any, value: Any) -> None:
        """a[slices] += value, where places may come twice."""
        a.scatter_add(slices, value)
    module.scatter_add = scatter_add  # type: ignore[attr-defined]
    return {"cupyx": module}


def _ours(name: str) -> bool:
    return name.partition(".")[0] in ROOTS or name == KERNELS or name.startswith(f"{KERNELS}.")


def _take_out() -> dict[str, Any]:
    """Everything that depends on which module `cupy` is; removed from where it was."""
    from tinygen import backend, constants, primitive
    from tinygen.random import draws

    state: dict[str, Any] = {
        "modules": {n: sys.modules.pop(n) for n in list(sys.modules) if _ours(n)},
        "kernels": {k: primitive.KERNELS.pop(k) for k in list(primitive.KERNELS) if _device(k[1])},
        "loaded": {k: primitive._loaded.pop(k) for k in list(primitive._loaded) if _device(k)},
        "types": {k: backend._MODULES.pop(k) for k in list(backend._MODULES) if _device(k)},
        "generators": {k: draws._defaults.pop(k) for k in list(draws._defaults) if k != "cpu"},
    }
    parent = sys.modules.get("tinygen.kernels")
    if parent is not None:
        state["gpu"] = parent.__dict__.pop("gpu", None)
    constants.forget()
    backend.forget_devices()
    primitive.forget_implementations()
    return state


def _put_in(state: dict[str, Any]) -> None:
    from tinygen import backend, primitive
    from tinygen.random import draws

    sys.modules.update(state["modules"])
    primitive.KERNELS.update(state["kernels"])
    primitive._loaded.update(state["loaded"])
    backend._MODULES.update(state["types"])
    draws._defaults.update(state["generators"])
    if state.get("gpu") is not None:
        sys.modules["tinygen.kernels"].gpu = state["gpu"]  # type: ignore[attr-defined]


def _device(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "cupy"


@contextmanager
def installed(kernels: bool = True) -> Iterator[types.ModuleType]:
    """The double as `cupy`, inside of the block.

    Without `kernels` nothing but operations of CuPy runs, as where kernels/gpu is deleted.
    """
    from tinygen import primitive

    before = _take_out()
    sys.modules.update(modules())
    if not kernels:
        primitive._loaded[functions.ndarray] = "off (a test of what runs without them)"
    elif _kept:
        _put_in(_kept)
    memory.use_device(0)
    try:
        yield sys.modules["cupy"]
    finally:
        memory.use_device(0)
        capture.current.clear()
        state = _take_out()
        if kernels:
            state["generators"] = {}
            _kept.clear()
            _kept.update(state)
        _put_in(before)
