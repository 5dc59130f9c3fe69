"""Which names CuPy has, and with which arguments: `names.json`, made from the real module.

`python -m tests.doubles.names` writes the file anew where CuPy is installed (no GPU is needed).
Each entry says how a name is used: ``ufunc 2 1`` (inputs, outputs), ``type``, ``value``, or the
arguments of a function, where ``axis?`` may be left out.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import types
from pathlib import Path
from typing import Any

__all__ = ["MODULES", "TABLE", "check", "describe", "signature", "survey"]

PATH = Path(__file__).with_name("names.json")
MODULES = ("cupy", "cupy.linalg", "cupy.fft", "cupy.random", "cupy.cuda", "cupy.cuda.runtime",
           "cupyx", "cupyx.scipy.special")
CLASSES = {"ndarray": "cupy.ndarray", "Generator": "cupy.random.Generator",
           "RandomState": "cupy.random.RandomState", "RawModule": "cupy.RawModule",
           "RawKernel": "cupy.RawKernel", "Stream": "cupy.cuda.Stream", "Event": "cupy.cuda.Event",
           "Device": "cupy.cuda.Device", "MemoryPool": "cupy.cuda.MemoryPool",
           "ufunc": "cupy.ufunc", "Graph": "cupy.cuda.Graph"}

TABLE: dict[str, dict[str, str]] = json.loads(PATH.read_text())


# -- reading the table -----------------------------------------------------------------------------


@functools.cache
def signature(spec: str) -> inspect.Signature | None:
    """The arguments that an entry of the table allows; None where it does not say."""
    if spec.split(" ")[0] in ("ufunc", "type", "value", "module", "unknown"):
        return None
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = []
    for word in spec.split():
        if word == "/":
            found = [p.replace(kind=inspect.Parameter.POSITIONAL_ONLY) for p in found]
        elif word == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif word.startswith("**"):
            found.append(inspect.Parameter(word[2:], inspect.Parameter.VAR_KEYWORD))
        elif word.startswith("*"):
            found.append(inspect.Parameter(word[1:], inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            default = None if word.endswith("?") else inspect.Parameter.empty
            found.append(inspect.Parameter(word.rstrip("?"), kind, default=default))
    return inspect.Signature(found)


def check(owner: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise where CuPy's function of this name would not take these arguments."""
    allowed = signature(TABLE[owner][name])
    if allowed is None:
        return
    try:
        allowed.bind(*args, **kwargs)
    except TypeError as error:
        from .array import ArgumentError
        raise ArgumentError(f"{owner}.{name}{allowed}: {error}") from None


# -- making the table ------------------------------------------------------------------------------


def describe(value: Any) -> str:
    """The table's entry for an attribute of CuPy."""
    if isinstance(value, type):
        return "type"
    if isinstance(value, types.ModuleType):
        return "module"
    if hasattr(value, "nin") and hasattr(value, "nout"):
        return f"ufunc {value.nin} {value.nout}"
    if not callable(value):
        return "value"
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return _from_text(value)
    return " ".join(_words(parameters))


def _words(parameters: list[inspect.Parameter]) -> list[str]:
    words, before = [], None
    for p in parameters:
        if before == p.POSITIONAL_ONLY != p.kind:
            words.append("/")
        if p.kind == p.KEYWORD_ONLY and before not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            words.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        may_miss = p.default is not p.empty and not star
        words.append(f"{star}{p.name}{'?' if may_miss else ''}")
        before = p.kind
    if before == inspect.Parameter.POSITIONAL_ONLY:
        words.append("/")
    return words


def _from_text(value: Any) -> str:
    """The arguments from the first line of a compiled function's text."""
    found = re.match(r"(?:\w+\.)*\w+\((.*?)\)(?: ->.*)?$", (value.__doc__ or "").split("\n")[0])
    if found is None:
        return "unknown"
    words = []
    for part in found[1].split(","):
        name, _, default = part.strip().partition("=")
        name = name.split(":")[0].split(" ")[-1].strip()
        if name:
            words.append(name + ("?" if default else ""))
    return " ".join(words)


def survey() -> dict[str, dict[str, str]]:
    """The table, from the CuPy that is installed."""
    table: dict[str, dict[str, str]] = {"about": {
        "version": importlib.import_module("cupy").__version__}}
    for module in MODULES:
        found = importlib.import_module(module)
        table[module] = {n: describe(getattr(found, n)) for n in sorted(dir(found))
                         if not n.startswith("_")}
    for short, path in CLASSES.items():
        owner, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(owner), name)
        table[short] = {n: describe(getattr(found, n)) for n in sorted(dir(found))
                        if not n.startswith("_") or n == "__init__"}
    return table


def text(table: dict[str, dict[str, str]]) -> str:
    """The table as JSON, one line per module or class."""
    rows = [f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(table.items())]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text(survey()))
