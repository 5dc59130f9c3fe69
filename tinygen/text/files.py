"""Vocabularies and tokenizers as JSON files: written atomically, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ..serialization import DamagedFileError, write_atomically

__all__ = ["check", "digest", "load_tokenizer", "read_json", "write_json"]

FORMAT = "tinygen text"
VERSION = 1


def write_json(path: str | os.PathLike[str], kind: str, content: Mapping[str, Any]) -> None:
    """Write `content` as a file of this kind, with its SHA-256."""
    head = {"format": FORMAT, "version": VERSION, "kind": kind, "sha256": digest(content)}
    write_atomically(path, encoded({**head, "content": content}))


def encoded(value: Any) -> bytes:
    """JSON in UTF-8. Halves of surrogate pairs, which UTF-8 excludes, are kept as they are."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def digest(content: Any) -> str:
    """The SHA-256 of JSON content, whatever the layout of its file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        DamagedFileError: the file holds no JSON object.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as stream:
        data = stream.read()
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged, or no JSON file ({len(data)} bytes): "
                               f"{error}") from None
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} holds a JSON {type(value).__name__}, not an object")
    return value


def check(path: str | os.PathLike[str], value: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The content of a file that `write_json` wrote for this kind.

    Raises:
        DamagedFileError: it is of another kind or version, or was changed; the message says which.
    """
    if value.get("format") != FORMAT:
        raise DamagedFileError(f"{path} is no {kind} of tinygen: it has no field 'format' with "
                               f"the value {FORMAT!r}")
    if value.get("version") != VERSION:
        raise DamagedFileError(f"{path} has version {value.get('version')!r}; this tinygen reads "
                               f"version {VERSION}")
    if value.get("kind") != kind:
        raise DamagedFileError(f"{path} holds a {value.get('kind')}, not a {kind}")
    content = value.get("content")
    if not isinstance(content, dict) or value.get("sha256") != digest(content):
        raise DamagedFileError(f"{path} is damaged: its content does not match the SHA-256 written "
                               "with it")
    return content


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
    """The tokenizer in a file, of whatever kind it is.

    Raises:
        DamagedFileError: the file is damaged, or holds no tokenizer.
    """
    from .bpe import BPETokenizer
    from .tokenizers import CharTokenizer
    from .words import WordTokenizer

    value = read_json(path)
    for kind in (CharTokenizer, WordTokenizer):
        if value.get("kind") == kind.kind:
            return kind.load(path)
    if "model" in value and "added_tokens" in value:
        return BPETokenizer.load(path)
    raise DamagedFileError(f"{path} holds no tokenizer")
