"""The numerics on a real GPU, against float64 on the CPU: what `make gpu` runs first.

Elsewhere every test here is skipped, and says what is missing. `TINYGEN_ON_DOUBLE=1` runs them on
the double of CuPy instead, which tells whether the tests themselves are right.
"""

import math
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.cases import CASES
from tests.checking import Drawn, call, gradients, recorded, reference, seeds_like
from tests.doubles.install import installed
from tests.gpu.training import CASES as MODELS
from tests.gpu.training import HostStream, tensors
from tinygen import backend, nn, optim
from tinygen.nn import functional as F
from tinygen.random.draws import default_generator
from tinygen.tensor import Tensor

pytestmark = pytest.mark.gpu

ON_DOUBLE = os.environ.get("TINYGEN_ON_DOUBLE") == "1"
# A result is rounded to 24, 8 and 11 bits; sums in float32 lose a few of the first.
EPS = {"float64": 1e-11, "float32": 2.0 ** -19, "bfloat16": 2.0 ** -7, "float16": 2.0 ** -10}
few = settings(max_examples=2, derandomize=True, database=None, phases=[Phase.generate],
               deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def cupy():
    """CuPy itself, or the double where that is asked for."""
    if ON_DOUBLE:
        with installed(True) as module:
            yield module
        return
    reason = backend.unavailable_reason()
    if reason:
        pytest.skip(f"no GPU: {reason}")
    import cupy as module
    yield module


@pytest.fixture(autouse=True)
def guard_zones(cupy):
    """Those of the double are looked at by the other files of this folder."""


def there(x, dtype=None, learns=False):
    """A float64 array on the device in a type; integers as they are."""
    t = Tensor.wrap(np.asarray(x)).to(device="cuda")
    if t.dtype.kind == "f" and dtype is not None:
        t = t.to(dtype=dtype)
    return t.detach().requires_grad_() if learns else t.detach()


def back(t):
    """Values on the host in float64."""
    return backend.to_device(t.detach().data, "cpu").astype(np.float64)


def near(found, wanted, eps, what=""):
    """Equal within `eps` of the largest value."""
    found, wanted = back(found), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, what
    if wanted.size:
        finite = wanted[np.isfinite(wanted)]
        size = np.abs(finite).max(initial=1e-6)
        np.testing.assert_allclose(found, wanted, rtol=eps, atol=eps * size, err_msg=what)


# -- the op table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "transfer"], ids=repr)
@few
@given(data=st.data())
def test_the_op_and_its_gradients_are_those_of_the_cpu(case, data):
    """In float64 to 11 digits, and in one of the narrower types as far as that goes."""
    drawn = Drawn(case, data)
    host, device = drawn.tensors(), [None if t is None else there(
        t.data, learns=t.requires_grad) for t in drawn.tensors()]
    expected, found = call(case, host, drawn.attrs), call(case, device, drawn.attrs)
    for y, r in zip(found, expected, strict=True):
        assert (y.device, y.dtype, y.shape) == ("cuda:0", r.dtype, r.shape)
        near(y, r.data, 1e-9, case.name)
    if drawn.needs:
        expected, found = recorded(expected), recorded(found)
        seeds = seeds_like(expected, drawn.rng)
        wanted = gradients(expected, [Tensor.wrap(s) for s in seeds],
                           [host[i] for i in drawn.needs])
        got = gradients(found, [there(s) for s in seeds], [device[i] for i in drawn.needs])
        for g, r in zip(got, wanted, strict=True):
            near(g, r.data, 1e-8, case.name)
    kind = data.draw(st.sampled_from(["float32"] if case.half is None else
                                     ["float32", "bfloat16", "float16"]))
    inputs = [None if t is None else there(t.data, kind) for t in host]
    exact = [None if t is None else back(t) if t.dtype.kind in backend.FLOATS else
             backend.to_device(t.data, "cpu") for t in inputs]
    tolerance = case.single if kind == "float32" else case.half * (8 if kind[0] == "b" else 1)
    for y, r in zip(call(case, inputs, drawn.attrs), reference(case, exact, drawn.attrs),
                    strict=True):
        near(y, r, 2 * tolerance, f"{case.name} {kind}")


# -- kernels: sizes that they take -----------------------------------------------------------------

# name -> (a function of the inputs, their shapes); (n,) of "ids" are integers below 50.
KERNELS = {
    "matmul": (lambda a, b: a @ b, [(130, 257), (257, 65)]),
    "matmul of stacks": (lambda a, b: a @ b.swapaxes(-1, -2), [(3, 4, 33, 40), (3, 4, 65, 40)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(300, 65), (130, 65), (130,)]),
    "softmax": (lambda x: F.softmax(x, dim=-1), [(300, 1025)]),
    "log softmax": (lambda x: F.log_softmax(x, dim=-1), [(300, 77)]),
    "layer norm": (lambda x, w, b: F.layer_norm(x, (513,), w, b), [(300, 513), (513,), (513,)]),
    "rms norm": (lambda x, w: F.rms_norm(x, (512,), w, 1e-5), [(300, 512), (512,)]),
    "batch norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
                   [(16, 33, 17, 15), (33,), (33,)]),
    "group norm": (lambda x, w, b: F.group_norm(x, 4, w, b), [(8, 32, 15, 15), (32,), (32,)]),
    "cross entropy": (lambda x, t: F.cross_entropy(x, t), [(700, 50), "ids 700"]),
    "bce": (lambda x, y: F.binary_cross_entropy_with_logits(x, tg.sigmoid(y)),
            [(300, 33), (300, 33)]),
    "gelu": (lambda x: F.gelu(x), [(300, 1025)]),
    "silu": (lambda x: F.silu(x), [(300, 1025)]),
    "bias and tanh": (lambda x, w, b: tg.tanh(F.linear(x, w, b)), [(300, 64), (129, 64), (129,)]),
    "embedding": (lambda table, i: F.embedding(i, table), [(50, 65), "ids 700"]),
    "max pool": (lambda x: F.max_pool2d(x, 2), [(4, 9, 33, 32)]),
    "avg pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), [(4, 9, 33, 32)]),
    "resize": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), [(2, 5, 17, 16)]),
    "sum": (lambda x: x.sum(0), [(1025, 300)]),
    "mean and variance": (lambda x: x.mean(-1) + x.var(-1), [(300, 1025)]),
    "cumsum": (lambda x: x.cumsum(1), [(30, 1025)]),
    "part": (lambda x: x[:, 3:200:2].transpose(1, 0), [(300, 257)]),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), [(4, 16, 19, 17), (24, 16, 3, 3),
                                                              (24,)]),
    "conv2d, strides and groups": (lambda x, w: F.conv2d(x, w, stride=2, padding=1, groups=4),
                                   [(4, 16, 19, 17), (24, 4, 4, 4)]),
    "conv transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
                         [(4, 24, 9, 8), (24, 16, 4, 4)]),
}


def drawn(shape, rng):
    if isinstance(shape, str):
        return rng.integers(0, 50, int(shape.split()[1]))
    return rng.standard_normal(shape)


def compare(run, arrays, kind, eps):
    """Result and gradients on the device in a type, and on the CPU in float64 from its values."""
    ours = [there(a, kind, a.dtype.kind == "f") for a in arrays]
    exact = [Tensor(back(t) if t.requires_grad else a, requires_grad=t.requires_grad)
             for t, a in zip(ours, arrays, strict=True)]
    y, wanted = run(*ours), run(*exact)
    assert y.device == "cuda:0" and y.dtype.name == kind
    near(y, wanted.data, eps, "result")
    seed = np.random.default_rng(9).standard_normal(wanted.shape)
    g = there(seed, kind)
    y.backward(g)
    wanted.backward(Tensor(back(g)))
    for i, (a, b) in enumerate(zip(ours, exact, strict=True)):
        if b.requires_grad:
            assert a.grad.dtype == a.dtype
            near(a.grad, b.grad.data, eps, f"gradient {i}")


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_and_gradients_agree_with_float64(name, kind):
    run, shapes = KERNELS[name]
    rng = np.random.default_rng(0)
    compare(run, [drawn(s, rng) for s in shapes], kind, 8 * EPS[kind])


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length, width", [(33, 64), (256, 128), (500, 64), (129, 80)])
def test_attention_kernels_agree_with_float64(length, width, causal, kind):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((2, 3, length, width)) for _ in range(3)]
    compare(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal), arrays, kind,
            8 * EPS[kind])


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_attention_kernels_with_masks_and_other_lengths(kind):
    rng = np.random.default_rng(2)
    shapes = [(2, 4, 65, 64), (2, 4, 130, 64), (2, 4, 130, 64)]
    arrays = [rng.standard_normal(s) for s in shapes]
    mask = rng.random((2, 1, 65, 130)) < 0.7
    mask[..., 0] = True

    def run(q, k, v):
        seen = Tensor(mask).to(device=q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    compare(run, arrays, kind, 8 * EPS[kind])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_kernels_agree_with_float64(layer):
    tg.manual_seed(0)
    exact = layer(7, 12, num_layers=2, bidirectional=True).to(dtype="float64")
    tg.manual_seed(0)
    ours = layer(7, 12, num_layers=2, bidirectional=True).to("cuda")
    x = np.random.default_rng(0).standard_normal((9, 5, 7))
    wanted = exact(Tensor(x))[0]
    found = ours(there(x, "float32"))[0]
    near(found, wanted.data, 64 * EPS["float32"])
    wanted.square().mean().backward()
    found.square().mean().backward()
    for p, q in zip(ours.parameters(), exact.parameters(), strict=True):
        near(p.grad, q.grad.data, 256 * EPS["float32"])


@pytest.mark.parametrize("make", [
    lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1), lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.RMSprop(p, lr=0.01)])
def test_update_kernels_agree_with_float64(make):
    rng = np.random.default_rng(0)
    shapes = [(5,), (33, 7), (70, 65), (1,)]
    start, grads = ([rng.standard_normal(s) for s in shapes] for _ in range(2))
    ours = [there(a, "float32", True) for a in start]
    exact = [Tensor(back(t), requires_grad=True) for t in ours]
    a, b = make(ours), make(exact)
    for _ in range(3):
        for p, q, g in zip(ours, exact, grads, strict=True):
            p.grad, q.grad = there(g, "float32"), Tensor(back(there(g, "float32")))
        nn.utils.clip_grad_norm_(ours, 5.0)
        nn.utils.clip_grad_norm_(exact, 5.0)
        a.step()
        b.step()
    for p, q in zip(ours, exact, strict=True):
        near(p, q.data, 64 * EPS["float32"])


def test_draws_are_reproducible_and_have_their_laws():
    def draws():
        tg.manual_seed(3)
        return (tg.randn(4000, device="cuda"), tg.rand(4000, device="cuda"),
                F.dropout(tg.ones((4000,), device="cuda"), 0.25))
    first, second = draws(), draws()
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(back(a), back(b))
    normal, uniform, kept = map(back, first)
    assert abs(normal.mean()) < 0.06 and abs(normal.std() - 1) < 0.05
    assert 0 <= uniform.min() and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.03
    assert set(np.round(np.unique(kept), 4)) == {0.0, round(4 / 3, 4)}
    assert abs((kept == 0).mean() - 0.25) < 0.04


# -- training --------------------------------------------------------------------------------------


def trained(name, device, dtype):
    """Losses and weights after two steps, with NumPy's random numbers on both devices."""
    make, batch = MODELS[name]
    tg.manual_seed(0)
    model = make().to(device, dtype)
    optimizers, data = model.configure_optimizers(), tensors(batch(), device)
    tg.manual_seed(1)
    if device != "cpu":
        default_generator(device).stream = HostStream(1)
    try:
        losses = [model.training_step(*data, optimizers) for _ in range(2)]
    finally:
        if device != "cpu":
            default_generator(device).manual_seed(0)
    return [{k: v.item() for k, v in step.items()} for step in losses], model


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_is_that_of_the_cpu(name):
    """In float64, so that nothing hides behind rounding."""
    expected, reference_model = trained(name, "cpu", "float64")
    found, model = trained(name, "cuda", "float64")
    for step, wanted in zip(found, expected, strict=True):
        assert step == pytest.approx(wanted, rel=1e-7, abs=1e-9)
    for (key, value), t in zip(reference_model.state_dict().items(), model.state_dict().values(),
                               strict=True):
        np.testing.assert_allclose(back(t), value.numpy(), rtol=1e-5, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("jit", [False, True])
def test_mixed_precision_learns(kind, jit):
    """The losses of a small network in float32 on the CPU, to the precision of the products."""
    def losses(device, kind):
        tg.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 4))
        model = model.to(device)
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        scaler = tg.GradScaler(device, enabled=kind == "float16")
        rng = np.random.default_rng(0)
        x = Tensor(rng.standard_normal((64, 8)).astype("f4")).to(device=device)
        t = Tensor(rng.integers(0, 4, 64)).to(device=device)

        def step():
            optimizer.zero_grad()
            with tg.autocast(device, dtype="float16" if kind == "float32" else kind,
                             enabled=kind != "float32"):
                loss = F.cross_entropy(model(x), t)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss.detach()
        step = tg.jit(step) if jit and device != "cpu" else step
        return [step().item() for _ in range(20)]
    wanted, found = losses("cpu", "float32"), losses("cuda", kind)
    assert wanted[-1] < 0.8 * wanted[0]
    if kind == "float16":       # the first steps may be passed over, until the scale fits
        assert found[0] == pytest.approx(wanted[0], rel=1e-2) and found[-1] < 0.85 * found[0]
    else:
        assert found == pytest.approx(wanted, rel=1e-3 if kind == "float32" else 0.03)


def test_checkpoints_go_from_device_to_device(tmp_path):
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to("cuda")
    optimizer = optim.Adam(model.parameters())
    model(tg.randn(5, 3, device="cuda")).square().mean().backward()
    optimizer.step()
    tg.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()},
            tmp_path / "x.safetensors")
    kept = tg.load(tmp_path / "x.safetensors")
    host = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    host.load_state_dict(kept["model"])
    other = optim.Adam(host.parameters())
    other.load_state_dict(kept["optimizer"])
    for p, q in zip(model.parameters(), host.parameters(), strict=True):
        near(p, q.data, 0)
    model.load_state_dict(host.state_dict())
    x = np.random.default_rng(0).standard_normal((6, 3)).astype("f4")
    near(model.eval()(there(x, "float32")), host.eval()(Tensor(x)).data, EPS["float32"])


def test_half_the_largest_number_is_no_overflow_and_the_largest_is_seen():
    x = there(np.array([3e4, 3e4]), "float16", True)
    assert x.mean().item() == pytest.approx(3e4, rel=1e-3)
    assert math.isinf((x * 4).sum().item())
