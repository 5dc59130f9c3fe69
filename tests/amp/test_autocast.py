"""autocast: the types of results beside PyTorch's lists, weights, threads, recordings, training."""

import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim, primitive
from tinygen.amp import policy
from tinygen.nn import functional as F
from tinygen.primitive import Primitive

pytest.importorskip("ml_dtypes")

KINDS = ["bfloat16", "float16"]
EPS = {"bfloat16": 2.0 ** -7, "float16": 2.0 ** -10}


def cast(kind="bfloat16", **options):
    return tg.autocast("cpu", dtype=kind, **options)


def draw(*shape, seed=0):
    return tg.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# -- the policy ------------------------------------------------------------------------------------

# name -> (a function of module, functional and inputs, their shapes): PyTorch has all of them in
# the list of its CPU (lower precision, or float32), or in none.
SAME_ON_CPU = {
    "matmul": (lambda m, f, a, b: m.matmul(a, b), [(4, 5), (5, 3)]),
    "bmm": (lambda m, f, a, b: m.matmul(a, b), [(2, 4, 5), (2, 5, 3)]),
    "operator": (lambda m, f, a, b: a @ b, [(4, 5), (5, 3)]),
    "einsum": (lambda m, f, a, b: m.einsum("ij,jk->ik", a, b), [(4, 5), (5, 3)]),
    "linear": (lambda m, f, x, w, b: f.linear(x, w, b), [(4, 5), (3, 5), (3,)]),
    "conv1d": (lambda m, f, x, w: f.conv1d(x, w), [(2, 3, 8), (4, 3, 3)]),
    "conv2d": (lambda m, f, x, w, b: f.conv2d(x, w, b), [(2, 3, 6, 6), (4, 3, 3, 3), (4,)]),
    "conv3d": (lambda m, f, x, w: f.conv3d(x, w), [(1, 2, 4, 4, 4), (3, 2, 3, 3, 3)]),
    "conv_transpose2d": (lambda m, f, x, w: f.conv_transpose2d(x, w), [(2, 3, 4, 4), (3, 4, 3, 3)]),
    "attention": (lambda m, f, q, k, v: f.scaled_dot_product_attention(q, k, v),
                  [(2, 2, 5, 8)] * 3),
    "mse_loss": (lambda m, f, a, b: f.mse_loss(a @ b, a), [(4, 4), (4, 4)]),
    "cosine_embedding_loss": (
        lambda m, f, a, b: f.cosine_embedding_loss(a @ b, a, m.ones((4,))), [(4, 4), (4, 4)]),
    "kl_div": (lambda m, f, a, b: f.kl_div(a @ b, m.abs(a), reduction="sum"), [(4, 4), (4, 4)]),
    "smooth_l1_loss": (lambda m, f, a, b: f.smooth_l1_loss(a @ b, a), [(4, 4), (4, 4)]),
    "poisson_nll_loss": (lambda m, f, a, b: f.poisson_nll_loss(a @ b, m.abs(a)), [(4, 4), (4, 4)]),
    "margin_ranking_loss": (lambda m, f, a, b: f.margin_ranking_loss(a @ b, a @ a, m.sign(a)),
                            [(4, 4), (4, 4)]),
    "triplet_margin_loss": (lambda m, f, a, b: f.triplet_margin_loss(a @ b, a, b),
                            [(4, 4), (4, 4)]),
    "hinge_embedding_loss": (lambda m, f, a, b: f.hinge_embedding_loss(a @ b, m.sign(a)),
                             [(4, 4), (4, 4)]),
    "bce_with_logits": (
        lambda m, f, a, b: f.binary_cross_entropy_with_logits(a @ b, m.sigmoid(a)),
        [(4, 4), (4, 4)]),
    "prod": (lambda m, f, a, b: m.prod(a @ b), [(4, 4), (4, 4)]),
    "cdist": (lambda m, f, a, b: (m.cdist if m is not tg else f.cdist)(a @ b, a),
              [(4, 4), (4, 4)]),
    "inverse": (lambda m, f, a, b: m.linalg.inv(a @ b), [(4, 4), (4, 4)]),
    "solve": (lambda m, f, a, b: m.linalg.solve(a @ b, b), [(4, 4), (4, 4)]),
    "svd": (lambda m, f, a, b: m.linalg.svdvals(a @ b), [(4, 4), (4, 4)]),
    "qr": (lambda m, f, a, b: m.linalg.qr(a @ b)[1], [(4, 4), (4, 4)]),
    "add": (lambda m, f, a, b: a @ b + a, [(4, 4), (4, 4)]),
    "add halves": (lambda m, f, a, b: a @ b + b @ a, [(4, 4), (4, 4)]),
    "add number": (lambda m, f, a, b: a @ b + 1.5, [(4, 4), (4, 4)]),
    "add alone": (lambda m, f, a, b: a + b, [(4, 4), (4, 4)]),
    "relu": (lambda m, f, a, b: f.relu(a @ b), [(4, 4), (4, 4)]),
    "tanh": (lambda m, f, a, b: m.tanh(a @ b), [(4, 4), (4, 4)]),
    "sigmoid": (lambda m, f, a, b: m.sigmoid(a @ b), [(4, 4), (4, 4)]),
    "gelu": (lambda m, f, a, b: f.gelu(a @ b), [(4, 4), (4, 4)]),
    "silu": (lambda m, f, a, b: f.silu(a @ b), [(4, 4), (4, 4)]),
    "mean": (lambda m, f, a, b: (a @ b).mean(0), [(4, 4), (4, 4)]),
    "max": (lambda m, f, a, b: (a @ b).amax(0), [(4, 4), (4, 4)]),
    "cat": (lambda m, f, a, b: (m.concat if m is tg else m.cat)([a @ b, a], 0), [(4, 4), (4, 4)]),
    "stack": (lambda m, f, a, b: m.stack([a @ b, a]), [(4, 4), (4, 4)]),
    "reshape": (lambda m, f, a, b: (a @ b).reshape(2, 8).T, [(4, 4), (4, 4)]),
    "batch_norm": (lambda m, f, x, w, g, b: f.batch_norm(f.conv2d(x, w), None, None, g, b, True),
                   [(2, 3, 6, 6), (4, 3, 3, 3), (4,), (4,)]),
    "max_pool2d": (lambda m, f, x, w: f.max_pool2d(f.conv2d(x, w), 2),
                   [(2, 3, 6, 6), (4, 3, 3, 3)]),
    "avg_pool2d": (lambda m, f, x, w: f.avg_pool2d(f.conv2d(x, w), 2),
                   [(2, 3, 6, 6), (4, 3, 3, 3)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAME_ON_CPU)
def test_types_of_results_are_pytorchs(name, kind):
    torch = pytest.importorskip("torch")
    run, shapes = SAME_ON_CPU[name]
    values = [draw(*s, seed=i).numpy() for i, s in enumerate(shapes)]
    with torch.autocast("cpu", dtype=getattr(torch, kind)):
        theirs = run(torch, torch.nn.functional, *map(torch.tensor, values))
    with cast(kind):
        ours = run(tg, F, *map(tg.Tensor, values))
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    exact = run(torch, torch.nn.functional, *[torch.tensor(v).double() for v in values])
    if name not in ("inverse", "solve", "prod"):       # their condition, not their precision
        scale = np.abs(exact.numpy()).max()
        assert np.abs(ours.numpy().astype(float) - exact.numpy()).max() <= 8 * EPS[kind] * scale


# In float32 in PyTorch's list for CUDA ("CUDA Ops that can autocast to float32"), and here.
FLOAT32 = {
    "acos": lambda x: tg.acos(x / 99), "asin": lambda x: tg.asin(x / 99), "cosh": tg.cosh,
    "sinh": tg.sinh, "tan": tg.tan, "exp": tg.exp, "expm1": tg.expm1,
    "log": lambda x: tg.log(abs(x)), "log10": lambda x: tg.log10(abs(x)),
    "log1p": lambda x: tg.log1p(abs(x)), "log2": lambda x: tg.log2(abs(x)),
    "pow": lambda x: x ** 3, "rpow": lambda x: 2.0 ** x, "square": lambda x: x ** 2,
    "reciprocal": tg.reciprocal, "rsqrt": lambda x: tg.rsqrt(abs(x)),
    "erfinv": lambda x: tg.special.erfinv(x / 99), "sum": lambda x: x.sum(),
    "sum of rows": lambda x: x.sum(0), "prod": lambda x: x.prod(0),
    "cumsum": lambda x: x.cumsum(0), "norm": lambda x: tg.linalg.norm(x),
    "softmax": lambda x: tg.softmax(x, -1), "softmin": lambda x: F.softmin(x, dim=-1),
    "log_softmax": lambda x: tg.log_softmax(x, -1), "softplus": F.softplus,
    "layer_norm": lambda x: F.layer_norm(x, (4,)), "rms_norm": lambda x: F.rms_norm(x, (4,)),
    "group_norm": lambda x: F.group_norm(x, 2), "normalize": F.normalize,
    "cosine_similarity": lambda x: F.cosine_similarity(x, x), "pdist": F.pdist,
    "cross_entropy": lambda x: F.cross_entropy(x, tg.Tensor([0, 1, 2, 3])),
    "nll_loss": lambda x: F.nll_loss(x, tg.Tensor([0, 1, 2, 3])),
    "l1_loss": lambda x: F.l1_loss(x, x * 2), "huber_loss": lambda x: F.huber_loss(x, x * 2),
    "soft_margin_loss": lambda x: F.soft_margin_loss(x, tg.sign(x)),
    "multi_margin_loss": lambda x: F.multi_margin_loss(x, tg.Tensor([0, 1, 2, 3])),
    "multilabel_margin_loss": lambda x: F.multilabel_margin_loss(x, tg.Tensor([[0, 1, -1, 2]] * 4)),
    "bce": lambda x: F.binary_cross_entropy(tg.sigmoid(x), tg.sigmoid(x)),
    "cumprod": lambda x: x.cumprod(0),
    "gaussian_nll_loss": lambda x: F.gaussian_nll_loss(x, x * 2, abs(x)),
    "cholesky": lambda x: tg.linalg.cholesky(x.astype("float32") @ x.astype("float32").T * 0
                                             + 2 * tg.eye(4)),
}


@pytest.mark.parametrize("name", FLOAT32)
def test_what_is_delicate_is_float32(name):
    a = draw(4, 4)
    with cast():
        half = a @ a
        assert half.dtype == tg.bfloat16 and FLOAT32[name](half).dtype == tg.float32
    assert FLOAT32[name](half).dtype == tg.bfloat16 or name == "cholesky"   # outside: as it came


def test_all_names_of_the_policy_are_those_of_operations_or_functions():
    functions = {n for n in policy.FLOAT32 | policy.HALF if callable(getattr(F, n, None))}
    known = set(primitive.PRIMITIVES) | functions | {"attend"}
    assert policy.FLOAT32 | policy.HALF <= known and not policy.FLOAT32 & policy.HALF


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer, shape", [
    (nn.LSTM(3, 4), (5, 2, 3)), (nn.GRU(3, 4), (5, 2, 3)), (nn.RNN(3, 4), (5, 2, 3)),
    (nn.LSTMCell(3, 4), (2, 3)), (nn.MultiheadAttention(8, 2, batch_first=True), (2, 5, 8)),
    (nn.ConvTranspose1d(3, 4, 3), (2, 3, 8)),
    (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (2, 3))], ids=lambda x: type(x).__name__)
def test_layers_run_in_16_bits_and_learn_in_float32(layer, shape, kind):
    x = draw(*shape)
    given = (x, x, x) if isinstance(layer, nn.MultiheadAttention) else (x,)
    results = {}
    for block in (cast(kind), cast(kind, enabled=False)):
        layer.zero_grad()
        with block:
            y = layer(*given)
            y = y[0] if isinstance(y, tuple) else y
            loss = y.astype("float32").square().mean()
        loss.backward()
        results[block.dtype] = y, {n: p.grad for n, p in layer.named_parameters()}
    (y, grads), (exact, wanted) = results.values()
    assert y.dtype.name == kind and exact.dtype == tg.float32
    assert np.abs(y.data.astype("f4") - exact.data).max() < 8 * EPS[kind]
    for name, g in grads.items():
        assert g.dtype == tg.float32
        assert np.abs(g.data - wanted[name].data).max() < 8 * EPS[kind], name


# -- blocks ----------------------------------------------------------------------------------------


def test_without_a_block_calls_are_those_of_before():
    plain = primitive._plain_call
    assert Primitive.__call__ is plain
    with cast():
        assert Primitive.__call__ is not plain
        with cast("float16"), tg.detect_anomaly():
            assert draw(2, 2).matmul(draw(2, 2)).dtype == tg.float16
        assert (draw(2, 2) @ draw(2, 2)).dtype == tg.bfloat16
    assert Primitive.__call__ is plain
    with tg.detect_anomaly():
        with cast():
            with pytest.raises(tg.AnomalyError, match=r"\[log\] made the first NaN"), (
                    np.errstate(invalid="ignore")):
                tg.log(draw(2, 2) @ draw(2, 2) * 0 - 1)
        assert Primitive.__call__ is not plain
    assert Primitive.__call__ is plain and not tg.amp.is_autocast_enabled("cpu")


def test_nested_disabled_and_decorated():
    a = draw(3, 3)
    with cast("float16"):
        assert tg.amp.is_autocast_enabled("cpu") and not tg.amp.is_autocast_enabled("cuda")
        with cast(enabled=False):
            assert (a @ a).dtype == tg.float32
            assert (a.half() @ a.half()).dtype == tg.float16
        with cast("bfloat16"):
            assert (a @ a).dtype == (a.half() @ a.half()).dtype == tg.bfloat16
        assert (a @ a).dtype == tg.float16 and (a.double() @ a.double()).dtype == tg.float64

    @cast()
    def forward(x, *, w):
        return tg.matmul(x, w)
    assert forward(a, w=a).dtype == tg.bfloat16 and forward.__name__ == "forward"
    assert (a @ a).dtype == tg.float32
    with pytest.raises(RuntimeError, match="inside"), cast():
        raise RuntimeError("inside")
    assert (a @ a).dtype == tg.float32


def test_arguments():
    with pytest.raises(ValueError, match="'cpu' or 'cuda'"):
        tg.autocast("tpu")
    with pytest.raises(ValueError, match="bfloat16 and float16"):
        tg.autocast("cpu", dtype="float32")
    assert tg.autocast("cpu").dtype == tg.bfloat16
    if tg.backend.unavailable_reason():
        with pytest.warns(RuntimeWarning, match="does nothing: CuPy"), tg.autocast("cuda"):
            assert (draw(2, 2) @ draw(2, 2)).dtype == tg.float32


def test_each_thread_has_its_own_blocks():
    a, seen, block = draw(3, 3), {}, cast()

    def work():
        seen["other"] = (a @ a).dtype.name
        with block:
            seen["inside"] = (a @ a).dtype.name
    with block:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert (a @ a).dtype == tg.bfloat16
    assert seen == {"other": "float32", "inside": "bfloat16"}
    assert Primitive.__call__ is primitive._plain_call


# -- weights ---------------------------------------------------------------------------------------


def casts_of(array):
    """A context that counts how often an array is cast by the engine."""
    count = []

    class Watch:
        def __enter__(self):
            self.op = primitive.PRIMITIVES["astype"]
            self.fn = self.op.fn
            self.op.fn = lambda xp, x, dtype: (count.append(x is array), self.fn(xp, x, dtype=dtype)
                                               )[1]
            primitive.forget_implementations()
            return count

        def __exit__(self, *_):
            self.op.fn = self.fn
            primitive.forget_implementations()
    return Watch()


def test_weights_are_cast_once_and_again_after_an_update():
    layer = nn.Linear(3, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = draw(2, 3)
    with casts_of(layer.weight.data) as count, cast():
        first = layer(layer(x))
        assert sum(count) == 1
        with tg.no_grad():
            assert not layer(x).requires_grad               # a cast of its own, without a graph
        first.sum().backward()
        assert sum(count) == 2
        layer(x).sum().backward()                           # the graph of the first cast is freed
        assert sum(count) == 3 and layer.weight.grad is not None
        before = layer(x)
        optimizer.step()
        after = layer(x)
        assert not np.array_equal(before.data, after.data)
        layer.weight.assign_(0)
        assert np.array_equal(layer(x).data[0], layer.bias.data.astype(tg.bfloat16))
    with casts_of(layer.weight.data) as count:
        for _ in range(2):
            with cast():
                layer(x)
    assert sum(count) == 2                                  # forgotten when a block ends
    with casts_of(layer.weight.data) as count, cast(cache_enabled=False):
        layer(layer(x))
    assert sum(count) == 2


def test_a_model_with_shared_weights_and_second_derivatives():
    w = draw(3, 3).requires_grad_()
    x = draw(4, 3, seed=1).requires_grad_()
    with cast():
        y = F.tanh(x @ w) @ w.T
        (g,) = tg.autograd.grad(y.square().mean(), [x], create_graph=True)
        loss = g.square().mean()
    loss.backward()
    exact_w, exact_x = (tg.Tensor(t.data.astype("f8"), requires_grad=True) for t in (w, x))
    y = F.tanh(exact_x @ exact_w) @ exact_w.T
    (h,) = tg.autograd.grad(y.square().mean(), [exact_x], create_graph=True)
    h.square().mean().backward()
    assert g.dtype == w.grad.dtype == tg.float32
    scale = np.abs(exact_w.grad.data).max()
    assert np.abs(w.grad.data - exact_w.grad.data).max() < 8 * EPS["bfloat16"] * scale


def test_checkpointed_parts_compute_in_the_same_types():
    layer = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    grads = []
    for run in (layer, lambda x: tg.checkpoint(layer, x)):
        layer.zero_grad()
        with cast():
            loss = run(draw(3, 4)).square().mean()
        loss.backward()
        grads.append([p.grad.data for p in layer.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*grads, strict=True))


# -- recorded --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_recorded_step_is_the_eager_one(kind, inside):
    """With the block inside of the function or around it: to the last bit where nothing is fused;
    elsewhere sums have another order, and with them a rounding to 16 bits here and there."""
    def build():
        tg.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 16),
                              nn.ReLU(), nn.Linear(16, 3))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, t):
            with cast(kind, enabled=inside or tg.amp.is_autocast_enabled("cpu")):
                loss = F.cross_entropy(model(x), t) + model(x[:2]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()
        return model, step
    (ours, eager), (theirs, step), (fused, other) = build(), build(), build()
    recorded, quick = tg.jit(step, fuse=False), tg.jit(other)
    with cast(kind, enabled=not inside):
        for i in range(4):
            x, t = draw(8, 6, seed=i), tg.Tensor(np.arange(8) % 3)
            loss = eager(x, t).item()
            assert recorded(x, t).item() == loss
            assert quick(x, t).item() == pytest.approx(loss, rel=1e-3)
    for p, q, r in zip(ours.parameters(), theirs.parameters(), fused.parameters(), strict=True):
        assert p.dtype == q.dtype == tg.float32 and np.array_equal(p.data, q.data)
        np.testing.assert_allclose(r.data, p.data, rtol=0, atol=1e-4)
    assert len(recorded.programs) == 1 and kind in repr(recorded.program())


def test_a_recording_belongs_to_the_types_it_was_made_with():
    w = draw(3, 3).requires_grad_()
    run = tg.jit(lambda x: tg.matmul(x, w).detach())
    x = draw(2, 3)
    with cast():
        (x @ w).sum().backward()                     # the cast that is kept is not the program's
        assert run(x).dtype == tg.bfloat16
        w.assign_(w.data * 2)
        assert np.array_equal(run(x).data, (x @ w).data)
    assert run(x).dtype == tg.float32
    with cast("float16"):
        assert run(x).dtype == tg.float16
    assert len(run.programs) == 3
