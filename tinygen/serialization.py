"""Tensors in files: safetensors, written atomically, checked when read. Never pickle.

A file that `save` wrote carries a SHA-256 of everything in it; a bit that has flipped anywhere
makes `load` refuse the file. Files of other tools have no such checksum and load too.

hashlib and json are imported where they are used: they take 10 ms of `import tinygen` otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import backend
from .tensor import Tensor

__all__ = ["DamagedFileError", "load", "read_metadata", "save", "write_atomically"]

_HASH, _TREE, _FORMAT = "tinygen.sha256", "tinygen.tree", "tinygen.format"

# safetensors' names for what NumPy can hold, and bfloat16 as its bits.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
           "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
           "BOOL": "?"}


class DamagedFileError(ValueError):
    """A file is truncated, altered or of another kind; the message names it."""


# -- writing -------------------------------------------------------------------------------------


def save(obj: Any, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state, or a dictionary of tensors, as a safetensors file.

    Dictionaries may be nested, and hold numbers, strings, None and lists beside tensors. The old
    file, if there is one, stays whole until the new one is on disk.

    Args:
        obj: a module (its `state_dict()` is saved) or a dictionary.
        metadata: strings by name, kept in the file's header; see `read_metadata`.

    Raises:
        TypeError: something in `obj` is neither tensor, number, string, None, list nor dictionary.
        ModuleNotFoundError: the library safetensors is not installed.
        OSError: the file cannot be written; whatever was there before is unchanged.

    >>> import tempfile, tinygen as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"w": tg.ones((2, 2)), "step": 3}, folder + "/w.safetensors")
    ...     load(folder + "/w.safetensors")["step"]
    3
    """
    import json
    library = _library()
    if not isinstance(obj, Mapping) and hasattr(obj, "state_dict"):
        obj = obj.state_dict()
    if not isinstance(obj, Mapping):
        raise TypeError(f"[save] a module or a dictionary of tensors is needed, got "
                        f"{type(obj).__name__}")
    notes = dict(metadata or {})
    for key, value in notes.items():
        if not (isinstance(key, str) and isinstance(value, str)) or key.startswith("tinygen."):
            raise TypeError(f"[save] metadata must map strings to strings, and names that begin "
                            f"with 'tinygen.' are taken; got {key!r}: {value!r}")
    arrays: dict[str, np.ndarray] = {}
    tree = _take_apart(obj, "", arrays)
    if not all(isinstance(k, str) and k in arrays for k in obj):   # more than a flat dictionary
        notes[_TREE] = json.dumps(tree)
    notes[_FORMAT] = "1"
    notes[_HASH] = _digest({k: _bits(a) for k, a in arrays.items()}, notes)
    write_atomically(path, library.numpy.save(arrays, notes))


def _take_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> list[Any]:
    """`value` with its tensors moved to `arrays`, as JSON: ["t", key] stands for a tensor,
    ["d", pairs] for a dictionary, ["l", items] and ["u", items] for a list and a tuple, and
    ["v", value] for all else."""
    if isinstance(value, (Tensor, np.ndarray)) or backend.is_array(value):
        array = value.data if isinstance(value, Tensor) else value
        if array.dtype.name not in backend.DTYPES or array.dtype == object:
            raise TypeError(f"[save] {path or 'the tensor'} has dtype {array.dtype}")
        if path in arrays:
            raise TypeError(f"[save] two tensors are both called {path!r} when nested names are "
                            "joined by '.'")
        array = backend.to_device(array, "cpu")
        little = array.dtype if array.dtype.kind == "V" else array.dtype.newbyteorder("<")
        arrays[path] = np.asarray(array, little, order="C")
        return ["t", path]
    if isinstance(value, Mapping):
        pairs = []
        for key, inner in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(f"[save] keys must be strings or integers, got {key!r} in "
                                f"{path or 'the dictionary'}")
            name = f"{path}.{key}" if path else str(key)
            pairs.append([key, _take_apart(inner, name, arrays)])
        return ["d", pairs]
    if isinstance(value, (list, tuple)):
        kind = "l" if isinstance(value, list) else "u"
        return [kind, [_take_apart(inner, f"{path}.{i}" if path else str(i), arrays)
                       for i, inner in enumerate(value)]]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, int, float)):
        return ["v", value]
    raise TypeError(f"[save] {path or 'the value'} is a {type(value).__name__}; tensors, numbers, "
                    "strings, None, lists and dictionaries can be saved")


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, at any instant, either the old or the whole new one is on disk.

    A temporary file in the same folder is written and synchronised, takes the name in one step,
    and the folder is synchronised; where anything fails, the temporary file is removed.
    """
    target = os.fspath(path)
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):   # the disk may be gone; the first error counts
            os.unlink(part)
        raise
    if os.name == "posix":
        descriptor = os.open(folder or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)   # the new name itself is on disk now
        finally:
            os.close(descriptor)


# -- reading -------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], device: Any = None) -> dict[Any, Any]:
    """Read what `save` wrote, or any safetensors file: a dictionary of tensors.

    bfloat16 needs the library ml_dtypes; without it such tensors become float32, exactly.

    Args:
        device: where the tensors shall live (default: the CPU).

    Raises:
        DamagedFileError: the file is truncated, was changed after it was written, or is no
            safetensors file.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: the library safetensors is not installed.
    """
    import json
    arrays, notes = _read(path)
    place = backend.canonical_device(device)
    tensors = {k: Tensor.wrap(backend.to_device(a, place)) for k, a in arrays.items()}
    if _TREE not in notes:
        return tensors
    return _put_together(json.loads(notes[_TREE]), tensors)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The strings that were given to `save` as metadata; the file is checked as in `load`."""
    return {k: v for k, v in _read(path)[1].items() if not k.startswith("tinygen.")}


def _put_together(node: list[Any], tensors: dict[str, Tensor]) -> Any:
    kind, value = node
    if kind == "t":
        return tensors[value]
    if kind == "d":
        return {key: _put_together(inner, tensors) for key, inner in value}
    if kind == "v":
        return value
    items = [_put_together(inner, tensors) for inner in value]
    return items if kind == "l" else tuple(items)


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import json
    library = _library()
    with open(path, "rb") as stream:
        data = stream.read()
    # safetensors begin with the header's length, which may look like a pickle's first bytes, and
    # then the header itself
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05") and data[8:9] != b"{":
        raise DamagedFileError(
            f"{path} is a pickle or a zip archive, which tinygen does not open because it can run "
            "code; save it as safetensors (in PyTorch: safetensors.torch.save_file(state, path))")
    try:
        entries = library.deserialize(data)
        size = int.from_bytes(data[:8], "little")
        notes = json.loads(data[8:8 + size]).get("__metadata__") or {}
        arrays = {name: _to_array(entry) for name, entry in entries}
    except (library.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged, or no safetensors file ({len(data)} bytes): "
                               f"{error}") from None
    if any(key.startswith("tinygen.") for key in notes):
        wanted = notes.get(_HASH)
        found = _digest(arrays, notes)
        if found != wanted:
            raise DamagedFileError(f"{path} is damaged: its content does not match the SHA-256 "
                                   f"written with it (found {found}, expected {wanted})")
    kinds = {name: entry["dtype"] for name, entry in entries}
    return {k: _noticed(a, kinds[k]) for k, a in arrays.items()}, notes


def _to_array(entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise TypeError(f"tensors of type {entry['dtype']} are not supported")
    return np.frombuffer(bytearray(entry["data"]), _DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _noticed(array: np.ndarray, dtype: str) -> np.ndarray:
    """Bits as bfloat16, or as float32, whose upper half they are, where there is no ml_dtypes."""
    if dtype == "BF16":
        if importlib.util.find_spec("ml_dtypes") is None:
            return (array.astype("<u4") << 16).view("<f4")
        array = array.view(backend.bfloat16())
    backend.notice_halves(array.dtype)
    return array


def _bits(array: np.ndarray) -> np.ndarray:
    """bfloat16 as what a reader without it sees: unsigned integers of 16 bits."""
    return array.view("<u2") if array.dtype.kind == "V" else array


def _digest(arrays: dict[str, np.ndarray], notes: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, and over the metadata."""
    import hashlib
    import json
    state = hashlib.sha256()
    kept = {k: v for k, v in notes.items() if k != _HASH}
    state.update(json.dumps([kept, sorted((k, a.dtype.str, a.shape) for k, a in arrays.items())],
                            sort_keys=True).encode())
    for name in sorted(arrays):
        state.update(arrays[name].reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _library() -> Any:
    try:
        library = importlib.import_module("safetensors")
        importlib.import_module("safetensors.numpy")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("saving and loading need the library safetensors: "
                                  "pip install 'tinygen[app]'") from None
    return library
