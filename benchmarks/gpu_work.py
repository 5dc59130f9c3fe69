"""The work of the rows of `gpu_rows.py`, written once for libraries that have PyTorch's names.

tinygen and PyTorch run the same lines on the same numbers, so a row cannot compare two different
things. Each function gives a step without arguments; a training step gives its loss, unread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gpu_timing import Marks

__all__ = ["Side", "draw", "work"]

Step = Callable[[], Any]


@dataclass
class Side:
    """What the work needs of a library on one device: PyTorch's namespaces, and a few functions."""

    name: str
    version: str
    nn: Any
    functional: Any
    optim: Any
    place: Callable[[np.ndarray, str | None], Any]        # an array on the device, in a dtype
    noise: Callable[[tuple[int, ...]], Any]               # new normal numbers on the device
    no_grad: Callable[[], AbstractContextManager[Any]]
    cast: Callable[[str], AbstractContextManager[Any]]    # autocast to a dtype
    move: Callable[[Any], Any]                            # a model to the device
    record: Callable[[Step], Step]                        # what is done to a training step
    compile: Callable[[Any], Any]                         # what is done to a model
    marks: Marks
    forget: Callable[[], None]                            # free what the row before has left
    seed: Callable[[int], Any]


def work(side: Side, kind: str, options: dict[str, Any]) -> Step:
    """The step of a row; weights and data are those of the seed."""
    side.seed(0)
    return _WORK[kind](side, **options)


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Normal float32 numbers, the same for all sides; a million of them, repeated."""
    size = int(np.prod(shape))
    some = np.random.default_rng(seed).standard_normal(min(size, 1 << 20)).astype(np.float32)
    return np.resize(some, shape)


def _leaf(side: Side, shape: tuple[int, ...], dtype: str | None, seed: int = 0,
          learns: bool = True) -> Any:
    x = side.place(draw(shape, seed), dtype)
    return x.detach().requires_grad_() if learns else x


def _with_gradients(forward: Step, seed: Any, *leaves: Any) -> Step:
    """Forward, then backward from `seed`, with no gradient left over from the step before."""
    def step() -> Any:
        for x in leaves:
            x.grad = None
        y = forward()
        y.backward(seed)
        return y
    return step


# -- single operations ----------------------------------------------------------------------------


def _matmul(side: Side, n: int, dtype: str) -> Step:
    a, b = (_leaf(side, (n, n), dtype, i, False) for i in range(2))
    return lambda: a @ b


def _attention(side: Side, batch: int, heads: int, length: int, width: int, causal: bool,
               learns: bool) -> Step:
    shape = (batch, heads, length, width)
    q, k, v = (_leaf(side, shape, "bfloat16", i, learns) for i in range(3))

    def forward() -> Any:
        return side.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    if not learns:
        return forward
    return _with_gradients(forward, _leaf(side, shape, "bfloat16", 3, False), q, k, v)


def _conv(side: Side, n: int, channels: int, out: int, size: int, kernel: int, stride: int,
          transposed: bool, dtype: str) -> Step:
    padding = 1
    ends = size * stride if transposed else size // stride
    weight = (channels, out, kernel, kernel) if transposed else (out, channels, kernel, kernel)
    x = _leaf(side, (n, channels, size, size), dtype)
    w = _leaf(side, weight, dtype, 1)
    function = side.functional.conv_transpose2d if transposed else side.functional.conv2d
    return _with_gradients(lambda: function(x, w, stride=stride, padding=padding),
                           _leaf(side, (n, out, ends, ends), dtype, 2, False), x, w)


def _memory(side: Side, op: str, rows: int, wide: int, dtype: str) -> Step:
    f, learns = side.functional, op.endswith("-backward")
    if op == "cross-entropy":
        logits = _leaf(side, (rows, wide), dtype)
        target = side.place(np.random.default_rng(1).integers(0, wide, rows), None)

        def step() -> Any:
            logits.grad = None
            loss = f.cross_entropy(logits, target)
            loss.backward()
            return loss
        return step
    x = _leaf(side, (rows, wide), dtype, 0, learns)
    y = _leaf(side, (rows, wide), dtype, 1, False)
    weight, bias = (_leaf(side, (wide,), dtype, 2 + i, learns) for i in range(2))
    run: dict[str, Step] = {
        "add": lambda: x + y,
        "gelu": lambda: f.gelu(x),
        "dropout": lambda: f.dropout(x, 0.1, training=True),
        "softmax": lambda: f.softmax(x, dim=-1),
        "layer-norm": lambda: f.layer_norm(x, (wide,), weight, bias),
        "sum": lambda: x.sum(),
    }
    forward = run[op.removesuffix("-backward")]
    return _with_gradients(forward, y, x, weight, bias) if learns else forward


def _adamw(side: Side, n: int, tensors: int) -> Step:
    weights = [_leaf(side, (n // tensors,), None, i) for i in range(tensors)]
    for i, w in enumerate(weights):
        w.grad = side.place(draw((n // tensors,), tensors + i), None)
    return side.optim.AdamW(weights, lr=1e-4).step


# -- training steps -------------------------------------------------------------------------------


def _mlp(side: Side, batch: int) -> Step:
    nn, f = side.nn, side.functional
    model = side.move(nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(),
                                    nn.Linear(16, 1)))
    optimizer, run = side.optim.Adam(model.parameters(), lr=1e-3), side.compile(model)
    x = side.place(draw((batch, 2)), None)
    target = side.place((draw((batch, 1), 1) > 0).astype(np.float32), None)

    def update() -> Any:
        optimizer.zero_grad()
        loss = f.binary_cross_entropy_with_logits(run(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()
    return side.record(update)


def _gan(side: Side, batch: int, latent: int) -> Step:
    nn = side.nn

    def block(a: int, b: int) -> list[Any]:
        return [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    generator = nn.Sequential(*block(latent, 128), *block(128, 256), nn.Linear(256, 784), nn.Tanh())
    critic = nn.Sequential(*block(784, 256), nn.Dropout(0.3), *block(256, 128), nn.Dropout(0.3),
                           nn.Linear(128, 1))
    return _adversaries(side, generator, critic, (batch, 784), (batch, latent), None)


def _dcgan(side: Side, batch: int, width: int, latent: int, dtype: str) -> Step:
    nn = side.nn

    def up(a: int, b: int, stride: int = 2, padding: int = 1) -> list[Any]:
        return [nn.ConvTranspose2d(a, b, 4, stride, padding, bias=False), nn.BatchNorm2d(b),
                nn.ReLU()]

    def down(a: int, b: int) -> list[Any]:
        return [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    w = width
    generator = nn.Sequential(
        *up(latent, 8 * w, 1, 0), *up(8 * w, 4 * w), *up(4 * w, 2 * w), *up(2 * w, w),
        nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh())
    critic = nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2), *down(w, 2 * w),
        *down(2 * w, 4 * w), *down(4 * w, 8 * w), nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False))
    return _adversaries(side, generator, critic, (batch, 3, 64, 64), (batch, latent, 1, 1), dtype)


def _adversaries(side: Side, generator: Any, critic: Any, images: tuple[int, ...],
                 noise: tuple[int, ...], dtype: str | None) -> Step:
    """The critic learns from real and made images, then the generator from the critic."""
    loss_of = side.functional.binary_cross_entropy_with_logits
    generator, critic = side.move(generator), side.move(critic)
    adam_g, adam_c = (side.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999))
                      for m in (generator, critic))
    make, judge = side.compile(generator), side.compile(critic)
    real, n = side.place(np.tanh(draw(images)), None), images[0]
    ones, zeros = (side.place(np.full((n, 1), v, np.float32), None) for v in (1, 0))

    def update() -> Any:
        with side.cast(dtype or ""):
            fake = make(side.noise(noise))
            loss = (loss_of(judge(real).reshape(n, 1), ones)
                    + loss_of(judge(fake.detach()).reshape(n, 1), zeros))
        adam_c.zero_grad()
        loss.backward()
        adam_c.step()
        with side.cast(dtype or ""):
            fooled = loss_of(judge(fake).reshape(n, 1), ones)
        adam_g.zero_grad()
        fooled.backward()
        adam_g.step()
        return loss.detach()
    return side.record(update)


def _gpt(side: Side, vocabulary: int, layers: int, heads: int, width: int, block: int, batch: int,
         dtype: str | None = None) -> Step:
    nn, f = side.nn, side.functional

    class Block(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:                                  # (B, T, C)
            qkv = self.qkv(self.ln1(x)).reshape(batch, block, 3, heads, width // heads)
            q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))     # (B, H, T, D)
            y = f.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, block, width))
            return x + self.down(f.gelu(self.up(self.ln2(x))))

    class Model(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens: Any, places: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(tokens) + self.places(places))))

    model = side.move(Model())
    text = np.random.default_rng(0).integers(0, vocabulary, (batch, block + 1))
    tokens, following = (side.place(np.ascontiguousarray(a), None)
                         for a in (text[:, :-1], text[:, 1:].reshape(-1)))
    places = side.place(np.arange(block), None)
    optimizer = side.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    run = side.compile(model)

    def update() -> Any:
        with side.cast(dtype or ""):
            logits = run(tokens, places)
            loss = f.cross_entropy(logits.reshape(-1, vocabulary), following)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()
    return side.record(update)


_WORK: dict[str, Callable[..., Step]] = {
    "matmul": _matmul, "attention": _attention, "conv": _conv, "memory": _memory, "adamw": _adamw,
    "mlp": _mlp, "gan": _gan, "dcgan": _dcgan, "gpt": _gpt}
