"""cuDNN without a device: which graphs its engines take on an H200, asked of the library itself.

`python -m tests.doubles.cuda.deviceless` prints one line of JSON for each graph that
`kernels/gpu/cudnn.py` describes. cuDNN plans for a device that is described to it, but wants the
driver and cuBLASLt to be there; `environment` puts empty ones where it looks. Nothing is run.

It needs `nvidia-cudnn-frontend` and `nvidia-cudnn-cu13` (400 MB).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .build import compiler

H200 = {
    "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0, "totalGlobalMem": 150_000_000_000,
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536, "multiProcessorCount": 132, "smCountOrigin": 0, "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
    "oversizedSharedMemoryPerBlock": 0, "reservedSharedMemoryPerBlock": 1024,
    "maxRegistersPerSM": 65536, "maxSharedMemoryPerSM": 233472, "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
    "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000,
    "memoryBusWidth": 6144, "l2CacheSize": 62914560, "deviceName": "NVIDIA H200"}
_LAST = (0, 2, 3, 1)          # the order in memory of heads beside each other, and of channels last


def library() -> Path | None:
    """The folder of cuDNN's libraries, if the frontend is here too."""
    if importlib.util.find_spec("cudnn") is None or importlib.util.find_spec("nvidia") is None:
        return None
    for place in importlib.import_module("nvidia").__path__:
        if (found := Path(place) / "cudnn" / "lib").is_dir():
            return found
    return None


def environment(folder: Path) -> dict[str, str]:
    """Variables for a process that finds a driver and a cuBLASLt, both of which do nothing."""
    libraries, driver = library(), compiler()
    assert libraries is not None and driver is not None
    names = set()
    for path in libraries.glob("*.so.*"):
        names |= set(re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", path.read_bytes()))
    _stub(driver, folder / "libcuda.so.1", "".join(
        f"int {n.decode()}() {{ return 0; }}\n" for n in sorted(names)))
    _stub(driver, folder / "libcublasLt.so.13", "".join(
        f"unsigned long cublasLt{name}() {{ return {value}; }}\n" for name, value in (
            ("GetVersion", 130200), ("GetCudartVersion", 13000), ("Create", 1), ("Destroy", 1))))
    return {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}


def _stub(driver: str, path: Path, text: str) -> None:
    subprocess.run([driver, "-shared", "-fPIC", "-w", "-x", "c", "-o", str(path), "-"],
                   input=text, text=True, check=True)


# -- in that process -------------------------------------------------------------------------------


def _layout(shape: tuple[int, ...], order: tuple[int, ...] = _LAST) -> Any:
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return shape, tuple(strides)


def _attention(of: Any) -> Iterator[tuple[Any, ...]]:
    n, h = 2, 4
    for d in (32, 64, 128):
        for causal, offset, length, keys in ((True, 0, 256, 256), (True, 100, 156, 256),
                                             (False, 0, 100, 130), (True, 0, 17, 17)):
            q, k = (_layout((n, h, m, d), (0, 2, 1, 3)) for m in (length, keys))
            y, lse = q, ((n, h, length, 1), (h * length, length, 1, 1))
            if length == keys:                # slices of a packed projection
                q = k = q[0], (3 * q[1][0], d, 3 * h * d, 1)
            elif not causal:                  # two heads share keys
                k = _layout((n, h // 2, keys, d), (0, 2, 1, 3))
            how = causal, offset, d ** -0.5
            yield of._forward, "bfloat16", q, k, k, y, lse, *how
            yield of._backward, "bfloat16", q, k, k, y, y, lse, q, k, k, *how


def _convolutions(of: Any) -> Iterator[tuple[Any, ...]]:
    for x, w, padding, stride, dilation in (
            ((8, 64, 32, 32), (64, 64, 3, 3), (1, 1), (1, 1), (1, 1)),
            ((8, 3, 32, 32), (64, 3, 4, 4), (1, 1), (2, 2), (1, 1)),
            ((4, 64, 16, 16), (64, 16, 3, 3), (2, 2), (1, 1), (2, 2)),
            ((4, 64, 16, 16), (64, 1, 3, 3), (1, 1), (1, 1), (1, 1)),
            ((4, 5, 9, 9), (7, 5, 3, 3), (0, 0), (2, 2), (1, 1))):
        size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(
            x[2:], padding, dilation, w[2:], stride))
        image, weight, out = map(_layout, (x, w, (x[0], w[0], *size)))
        for kind in ("bfloat16", "float32"):
            yield of._fprop, kind, image, weight, out, padding, stride, dilation
            yield of._dgrad, kind, out, weight, image, padding, stride, dilation
            yield of._wgrad, kind, image, out, weight, padding, stride, dilation


def main() -> None:
    """Ask for each graph, and print what came of it."""
    from ..install import installed

    cudnn, folder = importlib.import_module("cudnn"), library()
    assert folder is not None
    loaded = ctypes.CDLL(str(folder / "libcudnn.so.9"))
    cudnn._pybind_module._set_dlhandle_cudnn(loaded._handle)
    device = {"device_property": cudnn.create_device_properties(json.dumps(H200)),
              "sm_version": 900, "sm_count": 132}
    with installed():
        of: Any = importlib.import_module("tinygen.kernels.gpu.cudnn")
        for describe, kind, *arguments in (*_attention(of), *_convolutions(of)):
            graph, _ = of.described(describe, kind, device, *arguments)
            of.plan(graph, kind)
            print(json.dumps([describe.__name__, kind, graph.get_execution_plan_count()]),
                  flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)               # the empty driver does not survive cuDNN's tidying up
