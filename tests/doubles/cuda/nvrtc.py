"""NVRTC without a device: machine code for an architecture, and what ptxas says about it.

The library comes with `pip install nvidia-cuda-nvrtc` (58 MB, 142 MB installed), or with a toolkit.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import json
import os
import re
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from .build import cache_dir

__all__ = ["CompileError", "Compiled", "Usage", "assembly", "library", "translate", "usages",
           "version"]

NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")
HMMA = 0x23c          # the opcode, in the low 12 bits of an instruction of 16 bytes
CUPY = ("-std=c++17", "-ftz=true")       # what CuPy passes too


class CompileError(RuntimeError):
    """NVRTC refused the source; the message is its log."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """libnvrtc, from NVIDIA's packages for Python or from where the system finds it."""
    places = [str(path) for path in _installed()]
    for place in (*places, *NAMES):
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    return None


def _installed() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec is not None else None
    return sorted((p for root in roots or () for p in Path(root).glob("*/lib/libnvrtc.so.*")),
                  reverse=True)


def version() -> str:
    """NVRTC's version, such as "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_lib().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def _lib() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("NVRTC was not found: pip install nvidia-cuda-nvrtc")
    return found


def _check(code: int, log: str = "") -> None:
    if code:
        name = _lib().nvrtcGetErrorString
        name.restype = ctypes.c_char_p
        raise CompileError(f"{name(code).decode()}\n{log}")


@dataclass(frozen=True)
class Usage:
    """What one kernel takes: registers, and bytes of stack, of spills and of shared memory."""

    registers: int
    stack: int
    spills: int
    shared: int
    tensor_cores: int        # how many HMMA instructions it has


@dataclass(frozen=True)
class Compiled:
    """The machine code of a source, and its kernels by name."""

    cubin: bytes
    log: str
    kernels: dict[str, Usage]


def assembly(source: str, architecture: str = "compute_90") -> str:
    """CUDA C as PTX, for a virtual architecture."""
    return _compile(source, "source.cu", architecture, "PTX")[0].decode()


@functools.lru_cache(maxsize=64)
def translate(source: str, name: str, architecture: str) -> Compiled:
    """Compile CUDA C for a real architecture, such as "sm_90".

    Raises:
        CompileError: with NVRTC's log.
    """
    cubin, log = _compile(source, name, architecture, "CUBIN")
    return Compiled(cubin, log, _usages(cubin, log))


def _compile(source: str, name: str, architecture: str, kind: str) -> tuple[bytes, str]:
    """The code, as PTX or CUBIN, and the log."""
    lib, program = _lib(), ctypes.c_void_p()
    _check(lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None,
                                  None))
    try:
        options = [f"--gpu-architecture={architecture}", *CUPY, "--ptxas-options=-v"]
        given = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        code = lib.nvrtcCompileProgram(program, len(options), given)
        log = _bytes(lib.nvrtcGetProgramLogSize, lib.nvrtcGetProgramLog, program).decode()
        _check(code, log)
        made = _bytes(lib[f"nvrtcGet{kind}Size"], lib[f"nvrtcGet{kind}"], program)
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))
    return made, log


def usages(source: str, name: str, architecture: str) -> dict[str, Usage]:
    """What each kernel takes, from NVRTC or from what it said the last time."""
    parts = (version(), architecture, Path(__file__).read_text(), source)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    kept = cache_dir("nvrtc") / f"{key}.json"
    if kept.exists():
        return {k: Usage(**v) for k, v in json.loads(kept.read_text()).items()}
    found = translate(source, name, architecture).kernels
    part = kept.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps({k: asdict(v) for k, v in found.items()}))
    part.replace(kept)
    return found


def _bytes(size_of: ctypes._CFuncPtr, get: ctypes._CFuncPtr, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(get(program, buffer))
    return buffer.raw if get.__name__.endswith("CUBIN") else buffer.raw.rstrip(b"\0")


def _usages(cubin: bytes, log: str) -> dict[str, Usage]:
    code = _sections(cubin)
    found = {}
    for block in log.split("Compiling entry function '")[1:]:
        name = block.partition("'")[0]
        stack, stores, loads = map(int, re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
            block).groups())
        used = re.search(r"Used (\d+) registers(.*)", block)
        shared = re.search(r"(\d+) bytes smem", used[2])
        text = code[f".text.{name}"]
        words = struct.unpack(f"<{len(text) // 8}Q", text[:len(text) // 8 * 8])
        found[name] = Usage(int(used[1]), stack, stores + loads, int(shared[1]) if shared else 0,
                            sum(word & 0xfff == HMMA for word in words[::2]))
    return found


def _sections(elf: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit ELF file by name."""
    start, = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    heads = [struct.unpack_from("<IIQQQQ", elf, start + i * size) for i in range(count)]
    strings = heads[names][4]
    return {elf[strings + h[0]:elf.index(b"\0", strings + h[0])].decode(): elf[h[4]:h[4] + h[5]]
            for h in heads}
