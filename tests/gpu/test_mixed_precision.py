"""Mixed precision on the double of CuPy: no waiting, and products that reach kernels in 16 bits."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.running import needs_compiler
from tinygen import nn, optim
from tinygen.nn import functional as F
from tinygen.primitive import KERNELS

pytestmark = needs_compiler


class Block(nn.Module):
    """What a transformer is made of, and a convolution."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 16, 4, 4)
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, x):                                                   # (B, 3, 8, 8)
        x = self.image(x).flatten(2).transpose(1, 2)                        # (B, T, C)
        qkv = self.qkv(self.norm(x)).reshape(4, 4, 3, 2, 8)
        q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(4, 4, 16))
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(1))


def training(kind):
    """A step of mixed precision, scaled where the type needs it."""
    tg.manual_seed(0)
    model = Block().to("cuda")
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    scaler = tg.GradScaler("cuda", enabled=kind == "float16", init_scale=256.0)
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.standard_normal((4, 3, 8, 8)).astype("f4"), device="cuda")
    target = tg.Tensor(rng.integers(0, 5, 4), device="cuda")

    def step():
        optimizer.zero_grad()
        with tg.autocast("cuda", dtype=kind):
            loss = F.cross_entropy(model(x), target)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()
    return model, scaler, step


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_a_step_waits_for_nothing(kind):
    """Whether a float16 step is passed over is decided on the device."""
    model, scaler, step = training(kind)
    first = step()
    with counted() as seen:
        losses = [step() for _ in range(3)]
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
    assert losses[-1].item() < first.item()
    assert {p.dtype.name for p in model.parameters()} == {"float32"}
    assert scaler.get_scale() == (256.0 if kind == "float16" else 1.0)


def test_an_overflow_on_the_device_changes_nothing_but_the_scale():
    model, scaler, step = training("float16")
    step()
    before = [p.cpu().detach().data.copy() for p in model.parameters()]
    scaler.update(2.0 ** 40)
    with np.errstate(all="ignore"):
        step()
    assert scaler.get_scale() == 2.0 ** 39
    for p, b in zip(model.parameters(), before, strict=True):
        assert np.array_equal(p.cpu().detach().data, b)


def test_products_reach_their_kernels_in_16_bits(cupy):
    """Forward and backward; attention and normalisation too."""
    seen = {}
    _, _, step = training("bfloat16")
    step()
    names = [n for n in ("matmul", "linear", "linear_vjp", "attention", "attention_vjp", "conv2d",
                         "conv2d_weight", "gelu_exact", "gelu_exact_grad")
             if (n, cupy.ndarray) in KERNELS]
    assert {"linear", "linear_vjp", "attention", "conv2d_weight", "gelu_exact"} <= set(names)
    kept = {}
    for name in names:
        native = KERNELS[name, cupy.ndarray]
        kept[name] = native.function

        def spy(*arrays, _name=name, _run=native.function, **attrs):
            y = _run(*arrays, **attrs)
            kinds = {a.dtype.name for a in arrays if hasattr(a, "dtype") and a.dtype.kind in "fV"}
            if type(y) is not str and y is not NotImplemented:
                seen.setdefault(_name, set()).add(frozenset(kinds))
            return y
        native.function = spy
    try:
        tg.primitive.forget_implementations()
        step()
    finally:
        for name, function in kept.items():
            KERNELS[name, cupy.ndarray].function = function
        tg.primitive.forget_implementations()
    seen.setdefault("matmul", {frozenset({"bfloat16"})})     # linear layers have a kernel of theirs
    for name in names:
        if name == "attention_vjp":                          # its log-sum-exp is float32
            assert seen[name] == {frozenset({"bfloat16", "float32"})}
        else:
            assert seen[name] == {frozenset({"bfloat16"})}, (name, seen.get(name))


def test_single_operations_are_single_launches():
    """CuPy's own functions compute in float32 and round once, and sum in float32 as they read."""
    x = tg.full((300, 200), 3.0, dtype="bfloat16", device="cuda")
    for run, launches, value in ((lambda: x + x, 1, 6), (lambda: x * x, 1, 9), (lambda: -x, 1, -3),
                                 (lambda: tg.exp(x), 1, 20.125), (lambda: x.sum(0), 2, 900),
                                 (lambda: x.mean(), 2, 3)):
        run()
        with counted() as seen:
            y = run()
        assert y.dtype == tg.bfloat16 and seen.launches == launches
        assert set(y.cpu().data.reshape(-1).tolist()) == {value}


def test_all_kernels_of_floats_name_the_types_of_16_bits(cupy):
    """What a kernel does not name is widened to float32 before it is asked."""
    tg.ones(1, device="cuda").exp()                          # registers them
    for (name, kind), native in KERNELS.items():
        if kind is cupy.ndarray and "float32" in native.dtypes:
            assert {"bfloat16", "float16"} <= set(native.dtypes), name
