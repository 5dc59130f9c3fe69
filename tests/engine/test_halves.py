"""Floats of 16 bits: kept narrow, computed in float32, rounded once; beside PyTorch's."""

import subprocess
import sys

import numpy as np
import pytest

import tinygen as tg
from tinygen import backend, nn, optim
from tinygen.nn import functional as F

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

KINDS = ["bfloat16", "float16"]
EPS = {"bfloat16": 2.0 ** -7, "float16": 2.0 ** -10}


def wide(t):
    """The values of a tensor of either side as float64."""
    if isinstance(t, torch.Tensor):
        return t.detach().double().numpy()
    return np.asarray(t.detach().data).astype(np.float64)


def pair(values, kind, learns=True):
    """One array as a tensor of each side, rounded to `kind` (integers stay)."""
    theirs = torch.tensor(values)
    if values.dtype.kind != "f":
        return theirs, tg.Tensor(values)
    theirs = theirs.to(getattr(torch, kind)).requires_grad_(learns)
    ours = tg.Tensor(wide(theirs), dtype=kind).requires_grad_(learns)
    return theirs, ours


def draw(shape, rng):
    if shape == "classes":
        return rng.integers(0, 6, 5)
    return rng.standard_normal(shape).astype(np.float32)


# name -> the function of (module, its functional, inputs), and the shapes of the inputs.
CASES = {
    "add": (lambda m, f, a, b: a + b, [(3, 4), (4,)]),
    "subtract number": (lambda m, f, a: 1.5 - a, [(3, 4)]),
    "multiply": (lambda m, f, a, b: a * b, [(3, 4), (3, 1)]),
    "divide": (lambda m, f, a, b: a / (b * b + 1), [(3, 4), (3, 4)]),
    "power": (lambda m, f, a: a ** 3, [(3, 4)]),
    "exp": (lambda m, f, a: m.exp(a), [(5, 6)]),
    "sqrt": (lambda m, f, a: m.sqrt(a * a + 1), [(5, 6)]),
    "tanh": (lambda m, f, a: m.tanh(a), [(5, 6)]),
    "sigmoid": (lambda m, f, a: m.sigmoid(a), [(5, 6)]),
    "gelu": (lambda m, f, a: f.gelu(a), [(5, 6)]),
    "silu": (lambda m, f, a: f.silu(a), [(5, 6)]),
    "relu": (lambda m, f, a: f.relu(a), [(5, 6)]),
    "leaky relu": (lambda m, f, a: f.leaky_relu(a, 0.2), [(5, 6)]),
    "softplus": (lambda m, f, a: f.softplus(a), [(5, 6)]),
    "where": (lambda m, f, a, b: m.where(a > 0, a, b), [(5, 6), (5, 6)]),
    "maximum": (lambda m, f, a, b: m.maximum(a, b), [(5, 6), (5, 6)]),
    "sum": (lambda m, f, a: a.sum(), [(300, 7)]),
    "sum of rows": (lambda m, f, a: a.sum(0), [(300, 7)]),
    "mean": (lambda m, f, a: a.mean(-1), [(30, 70)]),
    "var": (lambda m, f, a: m.var(a, axis=-1) if m is tg else a.var(-1, correction=0), [(4, 90)]),
    "cumsum": (lambda m, f, a: m.cumsum(a, 0), [(50, 6)]),
    "prod": (lambda m, f, a: a.prod(-1), [(5, 3)]),
    "max": (lambda m, f, a: a.amax(-1), [(5, 6)]),
    "logsumexp": (lambda m, f, a: m.logsumexp(a, -1), [(5, 60)]),
    "softmax": (lambda m, f, a: m.softmax(a, -1), [(5, 60)]),
    "log softmax": (lambda m, f, a: m.log_softmax(a, -1), [(5, 60)]),
    "matmul": (lambda m, f, a, b: a @ b, [(5, 6), (6, 7)]),
    "matmul of stacks": (lambda m, f, a, b: m.matmul(a, b), [(2, 5, 6), (6, 7)]),
    "einsum": (lambda m, f, a, b: m.einsum("bij,bkj->bik", a, b), [(2, 5, 6), (2, 4, 6)]),
    "reshape": (lambda m, f, a: a.reshape(6, 5).T, [(5, 6)]),
    "part": (lambda m, f, a: a[1:3, ::2], [(5, 6)]),
    "concat": (lambda m, f, a, b: (m.concat if m is tg else m.cat)([a, b], 0), [(5, 6), (2, 6)]),
    "pad": (lambda m, f, a: f.pad(a, (1, 2)), [(5, 6)]),
    "linear": (lambda m, f, x, w, b: f.linear(x, w, b), [(5, 6), (7, 6), (7,)]),
    "conv2d": (lambda m, f, x, w, b: f.conv2d(x, w, b, padding=1),
               [(2, 3, 6, 6), (4, 3, 3, 3), (4,)]),
    "conv transpose2d": (lambda m, f, x, w: f.conv_transpose2d(x, w, stride=2),
                         [(2, 3, 4, 4), (3, 4, 3, 3)]),
    "avg pool": (lambda m, f, x: f.avg_pool2d(x, 2), [(2, 3, 6, 6)]),
    "max pool": (lambda m, f, x: f.max_pool2d(x, 2), [(2, 3, 6, 6)]),
    "layer norm": (lambda m, f, x, w, b: f.layer_norm(x, (40,), w, b), [(5, 40), (40,), (40,)]),
    "group norm": (lambda m, f, x, w, b: f.group_norm(x, 2, w, b), [(3, 4, 5, 5), (4,), (4,)]),
    "batch norm": (lambda m, f, x, w, b: f.batch_norm(x, None, None, w, b, training=True),
                   [(4, 3, 5, 5), (3,), (3,)]),
    "attention": (lambda m, f, q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True),
                  [(2, 2, 9, 8)] * 3),
    "cross entropy": (lambda m, f, x, t: f.cross_entropy(x, t), [(5, 6), "classes"]),
    "mse": (lambda m, f, x, y: f.mse_loss(x, y), [(5, 6), (5, 6)]),
    "bce": (lambda m, f, x, y: f.binary_cross_entropy_with_logits(x, m.sigmoid(y)),
            [(5, 6), (5, 6)]),
    "smooth l1": (lambda m, f, x, y: f.smooth_l1_loss(x, y), [(5, 6), (5, 6)]),
}

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_types_are_pytorchs_and_values_those_of_float64_to_one_digit(name, kind):
    """PyTorch itself is off by 3.5 digits where it rounds in between (gradient of logsumexp)."""
    run, shapes = CASES[name]
    rng = np.random.default_rng(3)
    both = [pair(draw(s, rng), kind) for s in shapes]
    exact = [a.detach().double().requires_grad_() if a.is_floating_point() else a for a, _ in both]
    theirs = run(torch, torch.nn.functional, *[a for a, _ in both])
    wanted = run(torch, torch.nn.functional, *exact)
    ours = run(tg, F, *[b for _, b in both])
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.") == kind
    weight = draw(tuple(theirs.shape), rng) if theirs.ndim else np.asarray(1.5, np.float32)
    seeds = pair(weight, kind, learns=False)
    wanted.backward(seeds[0].double())
    ours.backward(seeds[1])
    compared = [(wanted, ours)] + [(a.grad, b.grad) for a, (_, b) in zip(exact, both, strict=True)
                                   if a.is_floating_point()]
    for a, b in compared:
        assert b.dtype == ours.dtype
        digits = 3 if name == "logsumexp" else 1         # its rule starts at the rounded result
        assert np.abs(wide(a) - wide(b)).max() <= digits * EPS[kind] * np.abs(wide(a)).max()


@pytest.mark.parametrize("kind", KINDS)
def test_sums_and_statistics_are_those_of_float32(kind):
    ones = tg.ones((5000,), dtype=kind)
    assert ones.sum().item() == pytest.approx(5000, rel=EPS[kind])    # 256 where bfloat16 adds up
    assert ones.mean().item() == 1 and ones.var().item() == 0
    big = tg.full((4000,), 300.0, dtype=kind)                         # float16 ends at 65504
    assert big.mean().item() == pytest.approx(300, rel=EPS[kind]) and big.std().item() == 0
    assert tg.linalg.norm(big).item() == pytest.approx(300 * 4000 ** 0.5, rel=EPS[kind])
    x = tg.Tensor(np.zeros((4000, 1)), dtype=kind, requires_grad=True)
    bias = tg.zeros((1,), dtype=kind, requires_grad=True)
    (x + bias).sum().backward()                                       # summed in the walker
    assert bias.grad.item() == pytest.approx(4000, rel=EPS[kind])


@pytest.mark.parametrize("a, b", [
    ("bfloat16", "float32"), ("bfloat16", "float16"), ("float16", "float32"),
    ("bfloat16", "float64"), ("bfloat16", "int64"), ("float16", "int32"), ("bfloat16", "bool"),
    ("bfloat16", "uint8"), ("float16", "int16")])
def test_types_meet_as_in_pytorch(a, b):
    kinds = getattr(torch, a), getattr(torch, b)
    wanted = str(torch.promote_types(*kinds)).removeprefix("torch.")
    x, y = tg.ones((3,), dtype=a), tg.ones((3,), dtype=b)
    assert tg.result_type(x, y).name == tg.promote_types(b, a).name == wanted
    assert (x + y).dtype.name == (y * x).dtype.name == wanted
    assert tg.concat([x, y]).dtype.name == tg.where(x > 0, y, x).dtype.name == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_python_numbers_and_numpys_scalars_have_no_say(kind):
    x = tg.ones((3,), dtype=kind)
    for y in (x + 1, 2.5 * x, x / 3, x ** 0.5, 1 - x, np.float64(2) * x, x * np.float32(2), -x,
              x / True):
        assert y.dtype.name == kind
    assert (x > 0.5).dtype == bool and tg.argmax(x).dtype == np.int64
    x += tg.ones((3,))
    assert x.dtype.name == kind and x.tolist() == [2, 2, 2]


def test_names_and_casts():
    x = tg.Tensor([1.0, 2.5], requires_grad=True)
    y = x.to(tg.bfloat16)
    assert y.dtype == tg.bfloat16 and tg.zeros(2, dtype=tg.bfloat16).dtype.name == "bfloat16"
    same = (x.bfloat16(), x.astype("bfloat16"), x.astype(tg.bfloat16), x.to("bfloat16"))
    assert all(t.dtype == tg.bfloat16 for t in same) and x.half().dtype == tg.float16
    (y * 3).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3, 3]
    assert repr(y.detach()) == "Tensor([1. , 2.5], dtype=bfloat16)"
    assert y.tolist() == [1.0, 2.5] and y[1].item() == 2.5 and f"{y[1]:.2f}" == "2.50"
    info = tg.finfo(tg.bfloat16)
    theirs = torch.finfo(torch.bfloat16)
    for name in ("bits", "eps", "max", "min", "tiny", "smallest_normal"):
        assert getattr(info, name) == getattr(theirs, name)
    assert tg.isdtype(tg.bfloat16, "real floating") and tg.can_cast(y, tg.float32)
    assert tg.randn(3, dtype=tg.bfloat16).dtype == tg.bfloat16
    draws = tg.rand(20000, dtype=tg.bfloat16)
    assert float(draws.max()) < 1 and float(draws.mean()) == pytest.approx(0.5, abs=0.02)
    layer = nn.Linear(2, 3).bfloat16()
    assert layer.weight.dtype == tg.bfloat16 and layer(y).dtype == tg.bfloat16
    with pytest.raises(TypeError, match="for which there is no LAPACK"):
        tg.linalg.inv(tg.ones((2, 2), dtype=tg.bfloat16))


@pytest.mark.parametrize("kind", KINDS)
def test_files(kind, tmp_path):
    files = pytest.importorskip("safetensors.torch")
    values, path = np.float32([[1.5, -2.25], [1e4, 3e-3]]), tmp_path / "x.safetensors"
    ours, theirs = tg.Tensor(values).astype(kind), torch.tensor(values).to(getattr(torch, kind))
    tg.save({"x": ours, "deep": {"y": ours[0]}}, path)
    back = tg.load(path)
    assert back["x"].dtype.name == back["deep"]["y"].dtype.name == kind
    assert np.array_equal(wide(back["x"]), wide(ours))
    assert torch.equal(files.load_file(path)["x"], theirs)
    files.save_file({"x": theirs}, path)
    assert np.array_equal(wide(tg.load(path)["x"]), wide(theirs))


def test_without_ml_dtypes_files_widen_and_names_say_what_is_missing(tmp_path):
    tg.save({"x": tg.Tensor([1.5, 2.25], dtype="bfloat16")}, tmp_path / "x.safetensors")
    code = f"""
import importlib.machinery, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name == "ml_dtypes":
            raise ModuleNotFoundError("No module named 'ml_dtypes'", name=name)
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "ml_dtypes" else real(name, *a)
sys.meta_path.insert(0, Gone())
import tinygen as tg
x = tg.load({str(tmp_path / "x.safetensors")!r})["x"]
assert x.dtype == tg.float32 and x.tolist() == [1.5, 2.25], x
for ask in (lambda: tg.bfloat16, lambda: x.to("bfloat16")):
    try:
        ask()
    except ModuleNotFoundError as error:
        assert "pip install ml_dtypes" in str(error)
    else:
        raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_tinygen_leaves_ml_dtypes_and_amp_alone():
    code = ("import sys, tinygen as tg; tg.ones(3).sum(); "
            "sys.exit(bool({'ml_dtypes', 'tinygen.amp'} & set(sys.modules)))")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bare_arrays_are_seen_without_a_tensor():
    """The first float16 that a process meets may be an array in a call."""
    code = """
import numpy as np, tinygen as tg
from tinygen import backend
assert not backend.halves[0]
y = tg.sum(np.full((3000, 2), 40, np.float16), axis=0) / 2      # 120000: float16 has no such number
assert backend.halves[0]
assert tg.mean(np.full((3000, 2), 40, np.float16), axis=0).tolist() == [40, 40]
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p, lr=0.01),
    lambda p: optim.RMSprop(p, lr=0.01)])
def test_updates_of_narrow_parameters(make, kind):
    """In place, as those of float32 parameters rounded after each step."""
    rng = np.random.default_rng(0)
    start, grads = draw((5, 6), rng), [draw((5, 6), rng) for _ in range(3)]
    p = tg.Tensor(start, dtype=kind).requires_grad_()
    q = tg.Tensor(wide(p), dtype="float32").requires_grad_()
    memory, mine, other = p.data, make([p]), make([q])
    for g in grads:
        p.grad = tg.Tensor(g, dtype=kind)
        q.grad = tg.Tensor(wide(p.grad), dtype="float32")
        mine.step()
        other.step()
    assert p.data is memory and p.dtype.name == kind
    assert np.abs(wide(p) - wide(q)).max() <= 3 * EPS[kind]
    state = next(iter(mine.state.values()))
    assert all(np.isfinite(wide(t)).all() for t in state.values())


def test_second_derivatives():
    x = tg.Tensor([0.5, 1.5], dtype="bfloat16", requires_grad=True)
    w = tg.Tensor([[1.0, 2.0], [3.0, -1.0]], dtype="bfloat16", requires_grad=True)
    y = F.layer_norm(F.linear(x, w).tanh() * 3, (2,)).square().sum() + (x ** 3).sum()
    (g,) = tg.autograd.grad(y, [x], create_graph=True)
    assert g.dtype == tg.bfloat16
    (g * tg.Tensor([1.0, -1.0], dtype="bfloat16")).sum().backward()
    assert x.grad.dtype == tg.bfloat16
    assert np.allclose(wide(x.grad), [3, -9], atol=0.3)        # 6 x; the norm's part is small


def test_kernels_that_name_the_type_get_it_as_it_is():
    seen = []
    from tinygen import primitive

    @primitive.kernel("square", np.ndarray, dtypes=("float32", "bfloat16"))
    def _(x):
        seen.append(x.dtype.name)
        return x * x if x.dtype.name == "bfloat16" else "float32: not today"
    try:
        y = tg.square(tg.Tensor([3.0], dtype="bfloat16"))
        z = tg.square(tg.Tensor([3.0], dtype="float16"))
    finally:
        del primitive.KERNELS["square", np.ndarray]
        primitive.forget_implementations()
    assert seen == ["bfloat16", "float32"] and y.tolist() == z.tolist() == [9]
    assert y.dtype.name == "bfloat16" and z.dtype.name == "float16" and backend.halves[0]
