"""Find, check and download data files."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .catalog import KNOWN_FILES, DataFile

_verified: set[tuple[str, int, int, str]] = set()  # (path, mtime, size, SHA-256) checked before


class DataError(ValueError):
    """A data file is missing, damaged, or not what it should be; the message says which and why."""


class MissingDataError(DataError, FileNotFoundError):
    """A data file or folder does not exist; the message says where it was looked for."""

    def __str__(self) -> str:
        return str(self.args[0])  # OSError would look for an errno


def cache_dir() -> Path:
    """The folder for downloads and decoded pictures: `$TINYGEN_CACHE`, or `~/.cache/tinygen`."""
    return Path(os.environ.get("TINYGEN_CACHE") or "~/.cache/tinygen").expanduser()


def data_root() -> Path:
    """The folder that data files are read from: `$TINYGEN_DATA`, or else `cache_dir()`."""
    root = os.environ.get("TINYGEN_DATA")
    return Path(root).expanduser() if root else cache_dir()


def fetch(name: str, download: bool = False, timeout: float = 30.0) -> Path:
    """The path of a known data file, such as "mnist/t10k-labels-idx1-ubyte.gz", once checked.

    Looks below `$TINYGEN_DATA`, then in the cache folder. With `download` a missing file, or a
    damaged one in the cache, is downloaded into the cache; `timeout` is in seconds without a sign
    of life from the server. Raises MissingDataError when the file is nowhere, and DataError when
    its size or SHA-256 is wrong, the name is unknown, or the download fails.
    """
    file = _known(name)
    in_cache = cache_dir() / file.name
    for path in _candidates(file):
        if not path.is_file():
            continue
        try:
            return verify(path, file)
        except DataError:
            if not (download and path == in_cache):
                raise
    if not download:
        raise MissingDataError(_missing_text(file))
    return download_file(file, in_cache, timeout)


def verify(path: str | os.PathLike[str], file: DataFile) -> Path:
    """The path, after a check of the file's size and SHA-256 (once per process and version of it).

    Raises DataError with both sizes and both hashes when they differ.
    """
    path = Path(path)
    status = path.stat()
    key = (str(path.absolute()), status.st_mtime_ns, status.st_size, file.sha256)
    if key in _verified:
        return path
    actual = sha256_of(path)
    if actual != file.sha256:
        kind = "truncated" if status.st_size < file.size else "damaged or another version"
        raise DataError(
            f"[data] {path} is {kind}.\n"
            f"  size:    {status.st_size} bytes, expected {file.size}\n"
            f"  SHA-256: {actual}\n"
            f"  expected {file.sha256}\n"
            f"  Replace it with the file from {_where(file)}"
            + (f",\n  or delete it and call {_download_call(file)}." if file.urls else ".")
        )
    _verified.add(key)
    return path


def download_file(file: DataFile, target: str | os.PathLike[str], timeout: float = 30.0) -> Path:
    """Download a file to `target`, which appears there only once it is complete and checked.

    Tries `file.urls` in turn. Raises DataError, with what went wrong at each, when none gave the
    expected bytes.
    """
    if not file.urls:
        raise DataError(
            f"{_missing_text(file)}\n  It cannot be downloaded for you: no address gives exactly "
            f"these bytes. Licence: {file.licence or 'not known'}."
        )
    problems = []
    for url in file.urls:
        try:
            return _download_from(url, file, Path(target), timeout)
        except DataError as error:
            problems.append(f"  {url}: {error}")
    raise DataError(
        f"[data] downloading {file.name} failed:\n" + "\n".join(problems) + "\n"
        f"  Get it by other means and place it at {target}\n"
        f"  ({file.size} bytes, SHA-256 {file.sha256})."
    )


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """A file to write whose content appears at `target` all at once, on a clean exit only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(target.parent)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _known(name: str) -> DataFile:
    if name in KNOWN_FILES:
        return KNOWN_FILES[name]
    close = difflib.get_close_matches(name, KNOWN_FILES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "see tinygen.data.KNOWN_FILES"
    raise DataError(f"[data] no data file is called {name!r}; {hint}")


def _candidates(file: DataFile) -> list[Path]:
    folders = dict.fromkeys((data_root(), cache_dir()))  # each once, in order
    return [folder / file.name for folder in folders]


def _missing_text(file: DataFile) -> str:
    lines = [f"[data] {file.name} was not found. Looked at:"]
    lines += [f"    {path}" for path in _candidates(file)]
    root = os.environ.get("TINYGEN_DATA")
    if not root:
        lines.append("  (TINYGEN_DATA is not set)")
    elif not data_root().is_dir():
        lines.append(f"  (TINYGEN_DATA is {root!r}, which is not a folder)")
    if file.note:
        lines.append(f"  contents: {file.note}")
    lines += [
        f"  source:   {_where(file)}",
        f"  expected: {file.size} bytes, SHA-256 {file.sha256}",
        "  Place the file at one of these paths, or set TINYGEN_DATA to the folder that holds "
        f"{file.name.split('/')[0]}/.",
    ]
    if file.urls:
        lines.append(f"  To download it into the cache: {_download_call(file)}")
    return "\n".join(lines)


def _where(file: DataFile) -> str:
    return ", ".join((*file.urls, *([f"see {file.page}"] if file.page else []))) or "unknown"


def _download_call(file: DataFile) -> str:
    return f"tinygen.data.fetch({file.name!r}, download=True)"


def _download_from(url: str, file: DataFile, target: Path, timeout: float) -> Path:
    import urllib.request  # 20 ms that only a download should pay
    from http.client import HTTPException

    digest, size = hashlib.sha256(), 0
    with atomic_file(target) as out:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response:
                while size <= file.size and (block := response.read(1 << 18)):
                    out.write(block)
                    digest.update(block)
                    size += len(block)
        except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
            raise DataError(f"{type(error).__name__}: {error}") from error
        if size != file.size or digest.hexdigest() != file.sha256:
            came = "more" if size > file.size else str(size)
            raise DataError(
                f"got {came} bytes with SHA-256 {digest.hexdigest()}; "
                f"expected {file.size} bytes with {file.sha256}"
            )
    return verify(target, file)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
