"""Weights from elsewhere: safetensors files of other tools, under other names, into a module.

>>> import tinygen as tg
>>> from tinygen import nn
>>> foreign = {"net.dense.kernel": tg.ones((3, 2)), "net.dense.bias": tg.zeros((2,))}
>>> layer = nn.Linear(3, 2)
>>> nn.load_weights(layer, foreign, prefix="net.", rename=[
...     nn.Rule(r"dense\\.kernel", "weight", transpose=True), nn.Rule(r"dense\\.(.*)", r"\\1")])
LoadResult(missing_keys=[], unexpected_keys=[])
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..serialization import DamagedFileError, load
from ..tensor import Tensor
from .module import LoadResult, Module
from .state import as_array, fill, match, refuse

__all__ = ["Rule", "load_weights", "read_weights"]

INDEX = ".safetensors.index.json"


@dataclass(frozen=True)
class Rule:
    """How keys of a file become names of a module; see `load_weights`.

    Args:
        pattern: a regular expression for the whole key.
        name: the name in the module, with groups as in `re.sub` (`\\1`); None drops the tensor.
        transpose: exchange the last two axes, for matrices kept as (in, out).
        part: (i, n): the tensor is piece i of n that lie one after another along axis 0 of the
            module's tensor, as query, key and value do in `in_proj_weight`.
    """

    pattern: str
    name: str | None
    transpose: bool = False
    part: tuple[int, int] | None = None


Rename = Mapping[str, str | None] | Sequence[Rule | tuple[str, str | None]] | Callable[
    [str], str | None]


def load_weights(module: Module, source: Any, rename: Rename | None = None, prefix: str = "",
                 strict: bool = True, dtype: Any = None) -> LoadResult:
    """Fill a module from a safetensors file (or a mapping) whose names or layouts may differ.

    Args:
        source: what `read_weights` takes, or a mapping of names to tensors of tinygen, PyTorch or
            NumPy.
        rename: a dictionary from keys to names; a list of `Rule`s, or of pairs (pattern, name), of
            which the first that matches a key counts; or a function of the key. None for a name
            drops the tensor. Keys that nothing matches keep their names.
        prefix: taken off the front of keys that begin with it, before they are renamed.
        strict: refuse missing and left over names. Tensors that do not fit are refused always.
        dtype: convert the module to this floating point type first (default: values are
            converted to the types that the module has).

    A tensor that the module has under two names may be missing under one of them.

    Returns:
        The names that were missing, and the keys (as in the source) that were left over.

    Raises:
        RuntimeError: something does not fit; all of it is listed, and nothing was loaded.
        DamagedFileError, FileNotFoundError: the file cannot be read.
    """
    given = source if isinstance(source, Mapping) else read_weights(source)
    values, origin, problems = _renamed(given, _namer(rename), prefix)
    found = match(module, values)
    missing = [name for name in found.missing if not found.tied(name)]
    if strict and missing:
        problems.append(f"missing keys: {', '.join(missing)}")
    unexpected = [origin[name] for name in found.unexpected]
    if strict and unexpected:
        problems.append(f"unexpected keys: {', '.join(unexpected)}")
    problems += [f"{name}{_from(origin[name], name)}: {why}" for name, why in found.misfits]
    if problems:
        refuse("load_weights", module, problems)
    if dtype is not None:
        module.to(dtype=dtype)
    fill(found.ready)
    return LoadResult(missing, unexpected)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a safetensors file, of a set of shards, or of a folder that holds either.

    Shards are described by a file like `model.safetensors.index.json`. bfloat16 needs
    ml_dtypes, and becomes float32 without it.

    Raises:
        DamagedFileError: a file is damaged, or the index names tensors that no shard has.
        FileNotFoundError: there is no such file, or a shard is missing.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        name = _in_folder(name)
    return _shards(name) if name.endswith(INDEX) else load(name)


def _in_folder(folder: str) -> str:
    """The file to read in a folder: an index, `model.safetensors`, or the only one there is."""
    names = sorted(os.listdir(folder))
    indices = [n for n in names if n.endswith(INDEX)]
    files = [n for n in names if n.endswith(".safetensors")]
    for choice in (["model" + INDEX], ["model.safetensors"], indices, files):
        present = [n for n in choice if n in names]
        if len(present) == 1:
            return os.path.join(folder, present[0])
    what = f"several: {', '.join(indices or files)}" if files else (
        f"none; it holds {', '.join(names) or 'nothing'}")
    raise FileNotFoundError(f"{folder} must hold one safetensors file or one index, found {what}")


def _shards(path: str) -> dict[str, Tensor]:
    import json
    with open(path, encoding="utf-8") as stream:
        try:
            where = json.load(stream)["weight_map"]
            files = sorted(set(where.values()))
            local = all(os.path.basename(f) == f for f in files)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{path} is no index of shards: {error!r}") from None
    if not local:
        raise DamagedFileError(f"{path} names shards outside of its folder: {', '.join(files)}")
    folder = os.path.dirname(path)
    absent = [f for f in files if not os.path.exists(os.path.join(folder, f))]
    if absent:
        raise FileNotFoundError(f"{path} names shards that are not there: {', '.join(absent)}")
    tensors: dict[str, Tensor] = {}
    lost: list[str] = []
    for file in files:
        shard = load(os.path.join(folder, file))
        wanted = [key for key, f in where.items() if f == file]
        lost += [f"{key} ({file})" for key in wanted if key not in shard]
        tensors |= {key: shard[key] for key in wanted if key in shard}
    if lost:
        raise DamagedFileError(f"{path} names tensors that its shards do not hold: "
                               f"{', '.join(lost)}")
    return tensors


# -- names -----------------------------------------------------------------------------------------


def _namer(rename: Rename | None) -> Callable[[str], Rule]:
    """A function that tells for each key what becomes of it."""
    if rename is None:
        return lambda key: Rule("", key)
    if isinstance(rename, Mapping):
        table = rename
        return lambda key: Rule("", table.get(key, key))
    if callable(rename):
        function = rename
        return lambda key: Rule("", function(key))
    rules = [r if isinstance(r, Rule) else Rule(*r) for r in rename]
    compiled = [(re.compile(r.pattern), r) for r in rules]

    def by_rules(key: str) -> Rule:
        for pattern, rule in compiled:
            found = pattern.fullmatch(key)
            if found:
                name = None if rule.name is None else found.expand(rule.name)
                return Rule(rule.pattern, name, rule.transpose, rule.part)
        return Rule("", key)
    return by_rules


def _renamed(given: Mapping[str, Any], name_of: Callable[[str], Rule],
             prefix: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The tensors under the module's names, the keys that they came from, and what is wrong."""
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, Any, int]]] = {}
    problems: list[str] = []
    for key, value in given.items():
        rule = name_of(key.removeprefix(prefix))
        if rule.name is None:
            continue
        if rule.transpose or rule.part:
            value = as_array(value)
        if rule.transpose:
            if value.ndim < 2:
                problems.append(f"{key}: shape {value.shape} has no two axes to transpose")
                continue
            value = value.swapaxes(-1, -2)
        if rule.part is None:
            if rule.name in values:
                problems.append(f"{rule.name}: both {origin[rule.name]} and {key} have this name")
            values[rule.name], origin[rule.name] = value, key
            continue
        i, n = rule.part
        joined = pieces.setdefault(rule.name, {})
        if i in joined:
            problems.append(f"{rule.name}: both {joined[i][0]} and {key} are its part {i}")
        joined[i] = key, value, n
    for name, joined in pieces.items():
        keys = [joined[i][0] for i in sorted(joined)]
        n = max(n for _, _, n in joined.values())
        origin[name] = ", ".join(keys)
        if name in values or sorted(joined) != list(range(n)):
            problems.append(f"{name}: parts 0 to {n - 1} are needed, found {sorted(joined)} in "
                            f"{origin[name]}")
        arrays = [joined[i][1] for i in sorted(joined)]
        if len({a.shape[1:] for a in arrays}) > 1 or not all(a.ndim for a in arrays):
            problems.append(f"{name}: the parts {origin[name]} have shapes "
                            f"{', '.join(str(a.shape) for a in arrays)}")
            arrays = arrays[:1]
        values[name] = np.concatenate(arrays) if arrays[0].ndim else arrays[0]
    return values, origin, problems


def _from(key: str, name: str) -> str:
    return "" if key == name else f" (from {key})"
