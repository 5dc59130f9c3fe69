"""Where compiled functions are kept: `$TINYGEN_CACHE/kernels`, or `~/.cache/tinygen/kernels`.

Numba's own cache does not notice when a function in *another* file changes, trusts what it reads,
and fails where nothing can be written. Here an entry is fresh while the source of its function and
all that it imports are the same, every file carries a checksum, and whatever goes wrong means
compiling again, with one warning.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

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
    """A digest of a source file and of the files beside and above it that it imports from."""
    todo, seen = [path], {path}
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


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


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
            return pickle.loads(self._checked(f.read(), path))


class KernelCache(FunctionCache):
    """Numba's cache of a function, which never fails: it falls back to compiling."""

    _impl_class = _Impl

    def __init__(self, py_func: Callable[..., Any]):
        super().__init__(py_func)
        self._cache_file = _Files(cache_path=self._cache_path,
                                  filename_base=self._impl.filename_base,
                                  source_stamp=self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
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
