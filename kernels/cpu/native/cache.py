"""Where compiled functions are kept: `$TINYGEN_CACHE/kernels`, or `~/.cache/tinygen/kernels`.

Numba's own cache does not notice when a function in *another* file changes, trusts what it reads,
and fails where nothing can be written. Here an entry is fresh while the source of its function and
all that it imports are the same, every file carries a checksum, and whatever goes wrong means
compiling again, with one warning.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime import rtsys

__all__ = ["KernelCache", "folder"]

_warned = False


def _warn(what: str, error: object) -> None:
    """Say once that kernels are compiled anew in each process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"tinygen: the cache of compiled kernels {what} ({error}); they are compiled "
                      "again. TINYGEN_CACHE names another folder", RuntimeWarning, stacklevel=2)


# `from .name import` and `from ..name import`, of which the first may be `from . import name`.
_IMPORT = re.compile(r"^\s*from (\.{1,2})(?:| import )(\w+)", re.MULTILINE)


@functools.cache
def fingerprint(path: Path) -> str:
    """A digest of a source file and of the files beside and above it that it imports from.

    This file is left out: how compiled functions are kept changes nothing of them.
    """
    todo, seen = [path], {path, Path(__file__)}
    digest = hashlib.sha256()
    while todo:
        file = todo.pop()
        source = file.read_text(encoding="utf-8")
        digest.update(source.encode())
        found = {file.parents[len(dots) - 1] / f"{name}.py"
                 for dots, name in _IMPORT.findall(source)} - seen
        todo += sorted(found)
        seen |= found
    return digest.hexdigest()


def folder() -> Path:
    """The folder for these versions of Python and of the compiler."""
    root = Path(os.environ.get("TINYGEN_CACHE") or "~/.cache/tinygen").expanduser()
    versions = (f"py{sys.version_info[0]}.{sys.version_info[1]}-numba{numba.__version__}"
                f"-llvmlite{llvmlite.__version__}-numpy{np.__version__}")
    return root / "kernels" / versions


class _Locator:
    """Tells Numba where the files are, and whether they are fresh."""

    def __init__(self, py_func: Callable[..., Any], py_file: str):
        self._py_file = py_file
        self._line = py_func.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)

    def ensure_cache_path(self) -> None:
        folder().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return fingerprint(Path(self._py_file))

    def get_disambiguator(self) -> str:
        return str(self._line)


def _library(codegen: Any, name: str, machine_code: bytes, bitcode: bytes, entries: set[str]
             ) -> Any:
    """A compiled function from what is kept of it.

    Its bitcode serves functions that call it and are compiled later. Numba reads that at once,
    which takes as long as all the rest of loading; here, when it is asked for. `entries` are names
    under which its code may be called.
    """
    made = codegen.create_library(name)
    made.enable_object_caching()
    made._set_compiled_object(machine_code)
    made._finalize_final_module()
    codegen._engine._defined_symbols |= {x for x in entries if x.encode() in machine_code}

    @functools.cache
    def for_linking() -> Any:
        module = llvm.parse_bitcode(bitcode)
        codegen._engine._load_defined_symbols(module)
        return module
    made._get_module_for_linking = for_linking
    return made


class _Given:
    """The compiler's context, where the library that is asked for is there already."""

    def __init__(self, context: Any, library: Any):
        self._context, self._library = context, library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def codegen(self) -> Any:
        return self

    def unserialize_library(self, state: Any) -> Any:
        return self._library


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        name, kind, data = payload[0]
        if kind != "object":
            return super().rebuild(target_context, payload)
        function = payload[1]
        entries = {function.llvm_func_name, function.llvm_cpython_wrapper_name,
                   function.llvm_cfunc_wrapper_name}
        library = _library(target_context.codegen(), name, *data, entries)
        made = super().rebuild(_Given(target_context, library), payload)
        return made._replace(target_context=target_context)


def _environment(module: str, constants: list[Any], name: str) -> Environment:
    """What a compiled function has of its module: no more than the name, if it is not there yet.

    Functions of Numba that a kernel calls (the sum of an array) come with the module they were
    written in, which nothing of compiled code looks at, and which would import SciPy.
    """
    made = lookup_environment(name)
    if made is None:
        known = sys.modules.get(module)
        made = Environment(vars(known) if known else {"__name__": module})
        made.consts[:] = constants
        made.env_name = name
        Environment._memo[name] = made
    return made


class _Reader(pickle.Unpickler):
    """Reads what Numba writes, without the imports that only compiling needs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return _environment
        return super().find_class(module, name)


class _Files(IndexDataCacheFile):
    """Files with a checksum in front: a damaged one is found before anything of it is run."""

    def _dump(self, obj: Any) -> bytes:
        data = super()._dump(obj)
        return hashlib.sha256(data).digest() + data

    def _checked(self, data: bytes, path: str) -> bytes:
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise ValueError(f"{os.path.basename(path)} is damaged")
        return data[32:]

    def _load_index(self) -> dict[Any, str]:
        try:
            with open(self._index_path, "rb") as f:
                version = pickle.load(f)
                data = f.read()
        except FileNotFoundError:
            return {}
        if version != self._version:
            return {}
        stamp, overloads = pickle.loads(self._checked(data, self._index_path))
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)
        with open(path, "rb") as f:
            return _Reader(io.BytesIO(self._checked(f.read(), path))).load()


class KernelCache(FunctionCache):
    """Numba's cache of a function, which never fails: it falls back to compiling."""

    _impl_class = _Impl

    def __init__(self, py_func: Callable[..., Any]):
        super().__init__(py_func)
        self._cache_file = _Files(cache_path=self._cache_path,
                                  filename_base=self._impl.filename_base,
                                  source_stamp=self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is kept of a function, ready to run.

        Numba would first read all that it can compile, and SciPy: 0.2 s and 40 MB. Code that is
        compiled needs no more of it than the memory it allocates.
        """
        try:
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception as error:       # a damaged file can fail in any way; it is replaced
            _warn("cannot be read", error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:       # nothing depends on the cache
            try:
                self._cache_file.flush()     # a damaged index would stay in the way
                super().save_overload(sig, data)
            except Exception:
                _warn("cannot be written", error)
