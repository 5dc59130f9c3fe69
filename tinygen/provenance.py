"""Where a generated file comes from, written into the file: model, seed, licence.

A record is a small JSON object. It lives where each format keeps such notes: in an iTXt chunk of a
PNG, the INFO list of a WAV, the last line of a text, the key "provenance" of a JSON object, the
header of a safetensors file. Beside it stands a SHA-256 of all the rest of the file, so that a
changed file is told from an untouched one. It is a label and no signature: whoever wants to can
remove it, or write another.

>>> record = Provenance(model="vae", seed=7, licence="CC BY 4.0", data="digits")
>>> marked = embed("a text", "txt", record)
>>> extract(marked, "txt").record["model"], extract(marked, "txt").unchanged
('vae', True)
>>> extract(marked.replace(b"text", b"test"), "txt").unchanged
False

Sources: W3C, Portable Network Graphics (Third Edition), section 11.3.3 (iTXt); Microsoft and IBM,
"Multimedia Programming Interface and Data Specifications 1.0", 1991 (RIFF, INFO).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from . import serialization
from ._version import __version__

__all__ = ["FORMATS", "Found", "Provenance", "ProvenanceError", "embed", "extract", "metadata",
           "read", "stamp", "strip"]

KEY = "provenance"
_TEXT_MARK = "\n[provenance] "
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_WORD = b"tinygen"              # the keyword of the chunk


class ProvenanceError(ValueError):
    """A file cannot carry a record, or holds one that is damaged; the message says which."""


@dataclass(frozen=True)
class Provenance:
    """What is said about a generated file.

    Args:
        model: the model that made it.
        seed: of the random numbers that it was made from; None where there is none.
        licence: under which terms it may be used.
        data: what the model learnt from.
        step: after how many updates.
        more: anything else, as JSON.
    """

    model: str
    seed: int | None
    licence: str
    data: str | None = None
    step: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("model", "licence"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"[Provenance] {name} must be a text that says something, got "
                                 f"{getattr(self, name)!r}")

    def record(self) -> dict[str, Any]:
        """All that is known, as JSON: what is None is left out."""
        fields = asdict(self)
        more = fields.pop("more")
        known = {k: v for k, v in fields.items() if v is not None}
        return {"generated": True, "software": f"tinygen {__version__}", **known, **more}


class Found(NamedTuple):
    """A record, and whether the rest of the file is what it was when the record was written.

    `unchanged` is None where the record carries no hash.
    """

    record: dict[str, Any]
    unchanged: bool | None


class _Format(NamedTuple):
    split: Callable[[bytes], tuple[bytes, str | None]]     # -> the file without, and the record
    join: Callable[[bytes, str], bytes]


# -- bytes -----------------------------------------------------------------------------------------


def embed(data: bytes | str, kind: str, record: Provenance) -> bytes:
    """A file's content with the record in it, in place of one that was there.

    Args:
        data: the whole content.
        kind: png, wav, txt, md or json.

    Raises:
        ProvenanceError: the content is not of that kind, or no record can live in it.
    """
    form = _form(kind)
    content, _ = form.split(data.encode() if isinstance(data, str) else data)
    return form.join(content, json.dumps({**record.record(), "sha256": _digest(kind, content)},
                                         ensure_ascii=False, sort_keys=True))


def extract(data: bytes, kind: str) -> Found | None:
    """The record in a file's content; None where there is none.

    Raises:
        ProvenanceError: the content is not of that kind, or the record is damaged.
    """
    try:
        content, text = _form(kind).split(data)
    except UnicodeDecodeError as error:
        raise ProvenanceError(f"[provenance] the record is damaged: {error}") from None
    if text is None:
        return None
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ProvenanceError(f"[provenance] the record is damaged: {error}") from None
    if not isinstance(record, dict):
        raise ProvenanceError(f"[provenance] the record is damaged: {text[:40]} is no JSON object")
    expected = record.pop("sha256", None)
    return Found(record, None if expected is None else expected == _digest(kind, content))


def strip(data: bytes, kind: str) -> bytes:
    """A file's content without the record: what two files must share to show the same."""
    return _form(kind).split(data)[0]


def _form(kind: str) -> _Format:
    kind = kind.lower().lstrip(".")
    if kind not in FORMATS:
        raise ProvenanceError(f"[provenance] no record can live in a file of kind {kind!r}; kinds: "
                              f"{', '.join(FORMATS)}, safetensors")
    return FORMATS[kind]


def _digest(kind: str, content: bytes) -> str:
    if kind.lower().lstrip(".") == "json":      # the values count, not how they are indented
        content = json.dumps(json.loads(content), sort_keys=True).encode()
    return sha256(content).hexdigest()


# -- files -----------------------------------------------------------------------------------------


def stamp(path: str | os.PathLike[str], record: Provenance) -> Path:
    """Write the record into a PNG, WAV, text, JSON or safetensors file that exists.

    The old file stays whole until the new one is on disk.

    Raises:
        ProvenanceError: the file's ending or content is of no kind that can carry a record.
        OSError: the file cannot be read or written.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        notes = {**serialization.read_metadata(path), **metadata(record)}
        serialization.save(serialization.load(path), path, notes)
    else:
        serialization.write_atomically(path, embed(path.read_bytes(), path.suffix, record))
    return path


def read(path: str | os.PathLike[str]) -> Found | None:
    """The record of a file, found by the file's ending; None where there is none.

    A safetensors file whose content has changed is refused as damaged.

    Raises:
        ProvenanceError: the file is of no kind that can carry a record, or the record is damaged.
        serialization.DamagedFileError: a safetensors file is damaged.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        return extract(path.read_bytes(), path.suffix)
    text = serialization.read_metadata(path).get(KEY)
    return None if text is None else Found(json.loads(text), True)


def metadata(record: Provenance) -> dict[str, str]:
    """The record as `tinygen.save(..., metadata=...)` takes it."""
    return {KEY: json.dumps(record.record(), ensure_ascii=False, sort_keys=True)}


# -- PNG: a chunk ----------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, content and all bytes of each chunk."""
    if not data.startswith(_PNG):
        raise ProvenanceError("[provenance] this is no PNG file: its first bytes are "
                              f"{data[:8]!r}")
    at = len(_PNG)
    while at < len(data):
        if at + 12 > len(data):
            raise ProvenanceError(f"[provenance] the PNG file is cut off at byte {len(data)}")
        size = int.from_bytes(data[at:at + 4], "big")
        whole = data[at:at + 12 + size]
        if len(whole) != 12 + size:
            raise ProvenanceError(f"[provenance] the PNG file is cut off at byte {len(data)}")
        yield whole[4:8], whole[8:-4], whole
        at += 12 + size


def _png_split(data: bytes) -> tuple[bytes, str | None]:
    kept, found = [_PNG], None
    for kind, content, whole in _png_chunks(data):
        if (kind == b"IHDR") != (len(kept) == 1):
            raise ProvenanceError("[provenance] the PNG file does not begin with its header")
        if kind == b"iTXt" and content.startswith(_PNG_WORD + b"\0"):
            if zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
                raise ProvenanceError("[provenance] the record is damaged: its checksum is wrong")
            found = content[len(_PNG_WORD) + 5:].decode()     # flags, no language, no translation
        else:
            kept.append(whole)
    return b"".join(kept), found


def _png_join(data: bytes, text: str) -> bytes:
    content = b"iTXt" + _PNG_WORD + b"\0" * 5 + text.encode()
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    end = len(_PNG) + 25                                      # after the header
    return data[:end] + chunk + data[end:]


# -- WAV: a list of notes --------------------------------------------------------------------------


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ProvenanceError("[provenance] this is no WAV file: its first bytes are "
                              f"{data[:12]!r}")
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4:at + 8], "little")
        content = data[at + 8:at + 8 + size]
        if len(content) != size:
            raise ProvenanceError(f"[provenance] the WAV file is cut off at byte {len(data)}")
        yield data[at:at + 4], content
        at += 8 + size + size % 2


def _riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


_INFO = b"INFOISFT"       # our list: the software first, then the record as a comment


def _wav_split(data: bytes) -> tuple[bytes, str | None]:
    kept, found = [], None
    for kind, content in _riff_chunks(data):
        if kind == b"LIST" and content.startswith(_INFO) and content[12:19] == b"tinygen":
            size = int.from_bytes(content[8:12], "little")
            at = 12 + size + size % 2 + 8
            found = content[at:].rstrip(b"\0").decode()
        else:
            kept.append(_riff_chunk(kind, content))
    return _riff_chunk(b"RIFF", b"WAVE" + b"".join(kept)), found


def _wav_join(data: bytes, text: str) -> bytes:
    notes = b"INFO" + _riff_chunk(b"ISFT", f"tinygen {__version__}\0".encode())
    notes += _riff_chunk(b"ICMT", text.encode() + b"\0")
    return _riff_chunk(b"RIFF", data[8:] + _riff_chunk(b"LIST", notes))


# -- text and JSON ---------------------------------------------------------------------------------


def _text_split(data: bytes) -> tuple[bytes, str | None]:
    content, mark, record = data.rpartition(_TEXT_MARK.encode())
    if not mark or b"\n" in record.rstrip(b"\n"):             # not the last line
        return data, None
    return content, record.decode().rstrip("\n")


def _text_join(data: bytes, text: str) -> bytes:
    return data + f"{_TEXT_MARK}{text}\n".encode()


def _json_load(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ProvenanceError(f"[provenance] this is no JSON file: {error}") from None
    if not isinstance(value, dict):
        raise ProvenanceError(f"[provenance] a JSON file needs an object at its top to carry a "
                              f"record, and this one has a {type(value).__name__}")
    return value


def _json_dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _json_split(data: bytes) -> tuple[bytes, str | None]:
    value = _json_load(data)
    record = value.pop(KEY, None)
    return _json_dump(value), None if record is None else json.dumps(record)


def _json_join(data: bytes, text: str) -> bytes:
    return _json_dump({**_json_load(data), KEY: json.loads(text)})


_TEXT = _Format(_text_split, _text_join)
FORMATS = {
    "png": _Format(_png_split, _png_join), "wav": _Format(_wav_split, _wav_join),
    "txt": _TEXT, "md": _TEXT, "json": _Format(_json_split, _json_join),
}
