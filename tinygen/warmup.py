"""Compile the CPU kernels ahead of time: each one is called once through the operation it serves.

Compiled functions are kept on disk, so `tinygen warmup` is needed once per installation, and only
by those who would not wait in the first training step. `WORK` is a list of small computations, each
large enough that the kernels are taken; together they reach every kernel of the dispatch table,
which a test checks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import nn, ops, optim
from .ops.batchnorm import batch_norm_activation
from .ops.norm import add_layer_norm, add_rms_norm
from .primitive import KERNELS, kernel_status
from .tensor import Tensor

__all__ = ["WORK", "untouched", "warmup"]

F = nn.functional


def _draw(*shape: int, dtype: str, grad: bool = True) -> Tensor:
    array = np.random.default_rng(0).random(shape, np.float32).astype(dtype)
    array += 0.1
    return Tensor.wrap(array).requires_grad_(grad)


def _run(y: Any) -> None:
    """The backward pass, with a gradient that is an array of its own."""
    y.backward(np.ones(y.shape, y.dtype))


def _products(dtype: str) -> None:
    x, w, b = (_draw(*s, dtype=dtype) for s in ((256, 128), (64, 128), (64,)))
    _run(F.linear(x, w, b))
    for name in ("relu", "leaky_relu", "tanh", "sigmoid"):
        _run(ops.linear_activation(x, w, b, activation=name, slope=0.2))
    F.linear(_draw(1, 512, dtype=dtype, grad=False), _draw(64, 512, dtype=dtype, grad=False), b)
    _run(x @ _draw(128, 64, dtype=dtype))


def _pointwise(dtype: str) -> None:
    for name in ("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sqrt", "rsqrt"):
        _run(getattr(ops, name)(_draw(1 << 18, dtype=dtype)))
    for name in ("relu", "leaky_relu", "elu", "softplus", "silu", "mish", "logsigmoid", "gelu"):
        _run(getattr(F, name)(_draw(1 << 18, dtype=dtype)))
    _run(F.gelu(_draw(1 << 18, dtype=dtype), approximate="tanh"))
    x, y = _draw(1 << 18, dtype=dtype), _draw(1 << 18, dtype=dtype)
    _run((x + y) * x / y - y)
    _run(F.dropout(_draw(1 << 14, dtype=dtype), 0.5))
    target = _draw(1 << 14, dtype=dtype, grad=False)
    _run(F.binary_cross_entropy_with_logits(_draw(1 << 14, dtype=dtype), target))
    _run(F.mse_loss(_draw(1 << 14, dtype=dtype), target))
    _run(_draw(1 << 18, dtype=dtype).sum() + _draw(1 << 18, dtype=dtype).mean())


def _rows(dtype: str) -> None:
    from .jit.passes.losses import cross_entropy_and_gradient

    x, w, b = _draw(64, 512, dtype=dtype), _draw(512, dtype=dtype), _draw(512, dtype=dtype)
    _run(F.softmax(x, -1))
    _run(F.log_softmax(x, -1))
    _run(F.layer_norm(x, (512,), w, b))
    _run(F.rms_norm(x, (512,), w))
    _run(add_layer_norm(x, x, w, b, axes=(1,), eps=1e-5)[1])
    _run(add_rms_norm(x, x, w, axes=(1,), eps=1e-5)[1])
    _run(F.cross_entropy(x, ops.arange(64)))
    cross_entropy_and_gradient(x.data, 1.0, np.arange(64), ignore_index=-100, reduction="mean",
                               label_smoothing=0.0)


def _channels(dtype: str) -> None:
    w, b = _draw(32, dtype=dtype), _draw(32, dtype=dtype)
    for x in _both_layouts(dtype):
        mean, var = np.zeros(32, dtype), np.ones(32, dtype)
        _run(F.batch_norm(x, Tensor.wrap(mean), Tensor.wrap(var), w, b, training=True))
        _run(F.batch_norm(x, Tensor.wrap(mean), Tensor.wrap(var), w, b))
        _run(batch_norm_activation(x, w, b, eps=1e-5, slope=0.2)[0])
        _run(F.group_norm(x, 4, w, b))


def _both_layouts(dtype: str) -> Iterator[Tensor]:
    """Images (8, 32, 16, 16) as planes, and with their channels last in memory."""
    yield _draw(8, 32, 16, 16, dtype=dtype)
    last = _draw(8, 16, 16, 32, dtype=dtype, grad=False).data.transpose(0, 3, 1, 2)
    yield Tensor.wrap(last).requires_grad_()


def _windows(dtype: str) -> None:
    for x in _both_layouts(dtype):
        _run(F.max_pool2d(x, 2))
        _run(F.avg_pool2d(x, 2))
        _run(F.interpolate(x, scale_factor=2, mode="bilinear"))


def _convolutions(dtype: str) -> None:
    for channels in (3, 32):
        x = _draw(8, channels, 16, 16, dtype=dtype)
        for size, stride in ((1, 1), (3, 1), (4, 2)):
            w = _draw(48, channels, size, size, dtype=dtype)
            _run(F.conv2d(x, w, _draw(48, dtype=dtype), stride, size // 2))
    for channels in (64, 160):      # Winograd's algorithm; the sums of few weights, and of many
        x, w = (_draw(8, channels, 16, 16, dtype=dtype),
                _draw(channels, channels, 3, 3, dtype=dtype))
        _run(F.conv2d(x, w, None, 1, 1))
    for outs in (3, 48):
        x, w = _draw(8, 32, 8, 8, dtype=dtype), _draw(32, outs, 4, 4, dtype=dtype)
        _run(F.conv_transpose2d(x, w, _draw(outs, dtype=dtype), 2, 1))
    x, w = _draw(8, 32, 16, 16, dtype=dtype), _draw(32, 1, 3, 3, dtype=dtype)
    _run(F.conv2d(x, w, None, 1, 1, groups=32))


def _attention(dtype: str) -> None:
    for causal in (False, True):
        q, k, v = (_draw(4, 4, 96, 32, dtype=dtype) for _ in range(3))
        _run(F.scaled_dot_product_attention(q, k, v, is_causal=causal))
    seen = Tensor.wrap(np.tri(96, dtype=bool))
    _run(F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=0.1))


def _recurrent(dtype: str) -> None:
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        layer = kind(32, 64)
        for p in layer.parameters():
            p.data = p.data.astype(dtype)
        _run(layer(_draw(16, 16, 32, dtype=dtype))[0])
    layer = nn.LSTM(32, 128)                # divided by hidden units
    for p in layer.parameters():
        p.data = p.data.astype(dtype)
    _run(layer(_draw(4, 6, 32, dtype=dtype))[0])


def _embedding(dtype: str) -> None:
    _run(F.embedding(ops.arange(512) % 100, _draw(100, 64, dtype=dtype)))
    _run(_draw(100, 64, dtype=dtype)[ops.arange(512) % 100])


def _updates(dtype: str) -> None:
    for make in (lambda p: optim.Adam(p), lambda p: optim.AdamW(p, amsgrad=True),
                 lambda p: optim.SGD(p, 0.1, momentum=0.9)):
        params = [_draw(n, dtype=dtype) for n in (64, 1 << 16)]
        for p in params:
            p.grad = Tensor.wrap(np.ones_like(p.data))
        nn.utils.clip_grad_norm_(params, 1.0)
        make(params).step()
        make(params[1:]).step()             # a single one has a kernel of its own
    optim.EMA(params).update()
    optim.swa_utils.get_swa_multi_avg_fn()([p.detach() for p in params], params, 1)


def _groups(dtype: str) -> None:
    """A small model under jit: its steps are one compiled loop."""
    from .jit import jit

    layers = [nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    model = nn.Sequential(*layers).to(dtype)
    optimizer = optim.Adam(model.parameters())

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach() - F.logsigmoid(model(x)).mean().detach()
    fast = jit(step)
    for _ in range(2):
        fast(_draw(4, 8, dtype=dtype, grad=False), _draw(4, 1, dtype=dtype, grad=False))


WORK: dict[str, Callable[[str], None]] = {
    "products": _products, "pointwise": _pointwise, "rows": _rows, "channels": _channels,
    "windows": _windows, "convolutions": _convolutions, "attention": _attention,
    "recurrent": _recurrent, "embedding": _embedding, "updates": _updates, "groups": _groups,
}


def untouched() -> list[str]:
    """The CPU kernels that no call of this process has used yet."""
    return sorted(k.name for k in KERNELS.values() if k.kind is np.ndarray and k.last is not True)


def warmup(dtypes: tuple[str, ...] = ("float32",), processes: int = 1,
           progress: Callable[[str], None] = lambda text: None) -> None:
    """Compile all CPU kernels for these number types, into the cache on disk.

    Args:
        processes: how many families of kernels are compiled at once, each in a process of its own.
        progress: is told what is done.

    Raises:
        RuntimeError: there are no kernels here (the message says why), or a process failed.
    """
    status = kernel_status()
    if not any(k.kind is np.ndarray for k in KERNELS.values()):
        raise RuntimeError(f"there are no CPU kernels to compile: {status}")
    todo = [(family, dtype) for dtype in dtypes for family in WORK]
    if processes == 1:
        for family, dtype in todo:
            WORK[family](dtype)
            progress(f"{family}, {dtype}")
        return
    _in_processes(todo, processes, progress)


def _in_processes(todo: list[tuple[str, str]], processes: int,
                  progress: Callable[[str], None]) -> None:
    waiting = list(todo)
    running: dict[str, subprocess.Popen[str]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            family, dtype = waiting.pop(0)
            code = f"from tinygen.warmup import WORK; WORK[{family!r}]({dtype!r})"
            running[f"{family}, {dtype}"] = subprocess.Popen(
                [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        name, process = next(iter(running.items()))
        said = process.communicate()[1]
        del running[name]
        if process.returncode:
            for other in running.values():
                other.kill()
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"compiling {name} failed: {last}")
        progress(name)
