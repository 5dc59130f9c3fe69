"""Jit on a GPU: one function of bare arrays for a step, and chains as generated CUDA C."""

import os
import re

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.doubles.cuda import nvrtc
from tests.doubles.cuda.build import ORDERS, thread_order
from tests.gpu.running import BF16, DTYPES, TOLERANCE, agrees, draw, needs_compiler
from tests.gpu.training import CASES, tensors
from tinygen.jit import capture
from tinygen.jit.bind import row_types
from tinygen.jit.passes.together import has_kernel
from tinygen.jit.undo import Undo
from tinygen.models.cycle_gan import ImagePool
from tinygen.ops.host import numpy_function

F = tg.nn.functional
pytestmark = [needs_compiler, pytest.mark.skipif(
    os.environ.get("TINYGEN_KERNELS", "") == "numpy", reason="TINYGEN_KERNELS=numpy: no kernels")]


def names(program):
    return [row.op.name for row in program.rows]


# -- steps of training -----------------------------------------------------------------------------


def trained(name, jit, fuse=True):
    """Losses and weights after four steps, the counts of the last one, and the jitted step."""
    make, batch = CASES[name]
    tg.manual_seed(0)
    model = make().to("cuda")
    optimizers, batch = model.configure_optimizers(), tensors(batch(), "cuda")
    tg.manual_seed(1)

    def step(*batch):
        return model.training_step(*batch, optimizers)
    run = tg.jit(step, fuse=fuse) if jit else step
    losses = [run(*batch) for _ in range(3)]
    with counted() as seen:
        losses.append(run(*batch))
    found = [v.detach().numpy() for each in losses for v in each.values()]
    return [*found, *[p.detach().numpy() for p in model.parameters()]], seen, run


@pytest.mark.parametrize("name", ["gan", "vae", "gpt"])
def test_a_step_is_one_function_and_waits_for_nothing(name):
    expected, eager, _ = trained(name, jit=False)
    exact, seen, run = trained(name, jit=True, fuse=False)
    for a, b in zip(exact, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert seen.launches <= eager.launches
    fused, fewer, run = trained(name, jit=True)
    for a, b in zip(fused, expected, strict=True):
        agrees(a, b, 2e-5)
    assert (fewer.syncs, fewer.h2d, fewer.d2h) == (0, 0, 0), fewer
    assert fewer.launches <= seen.launches
    if name != "gpt":               # its additions stand between products
        assert fewer.by["launches"]["chain"] >= 5 and fewer.launches < seen.launches - 5
    assert run._recorded[0].enter is not None           # by the short way
    assert "def replay(" in run.source() and not Undo(run.program()).needed     # no copies


def test_what_a_function_of_the_host_may_stop_is_put_back():
    """It runs in the middle of a step, with an update before it and one behind."""
    one, other = tg.ones((3,), device="cuda"), tg.ones((3,), device="cuda")
    fails = []

    def host(x):
        if fails:
            raise RuntimeError("stopped")
        return x + 1

    def step(x):
        one.assign_(one * 2)
        y = numpy_function(host, one * x)
        other.assign_(other + y)
        return one * y
    fast, x = tg.jit(step), tg.full((3,), 3.0, device="cuda")
    for _ in range(2):
        fast(x)
    before = one.tolist(), other.tolist()
    fails.append(True)
    with pytest.raises(RuntimeError, match="stopped"):
        fast(x)
    assert (one.tolist(), other.tolist()) == before == ([4.0] * 3, [21.0] * 3)
    fails.clear()
    assert fast(x).tolist() == [8.0 * 25.0] * 3


def test_rows_of_the_host_and_of_both(cupy):
    """A pool of pictures is exchanged with by draws of the host, and a counter lies there."""
    pool, count = ImagePool(4, (2, 3)).to("cuda"), tg.zeros((), dtype="int64")

    def step(x):
        count.assign_(count + 1)
        return tg.exp(pool.exchange(x)) * 2
    fast, x = tg.jit(step), tg.Tensor(draw((3, 2, 3)), device="cuda")
    for _ in range(4):
        fast(x)
    kinds = row_types(fast.program())
    assert set(kinds) == {cupy.ndarray, np.ndarray} and count.item() == 4
    assert "def replay(" in fast.source() and fast.program()._bound is not None
    with counted() as seen:
        fast(x)
    assert (seen.syncs, seen.d2h) == (0, 0), seen


# -- chains ----------------------------------------------------------------------------------------


def mixed(x, row, column):
    """Rows, columns, numbers, a value that leaves, and sums at the end."""
    y = tg.tanh(x * row + 0.5) * F.leaky_relu(x, 0.1)
    z = y - column
    return [z, (z * z).mean(), (z + 3).sum(), tg.absolute(z) * 2]


def per_channel(x, weight):
    """Images, a number for each channel, and gradients."""
    x = x.detach().requires_grad_()
    y = F.softplus(x * weight, beta=1.5) + F.gelu(x) - tg.exp(-x * x)
    y.mean().backward()
    return [y.detach(), x.grad]


def losses(x, target):
    """Losses, one number alone, and what is left of NaN and infinity."""
    inside = tg.maximum(x, -2.0) / tg.sqrt(tg.square(x) + 1.0)
    return [F.binary_cross_entropy_with_logits(x, target) + F.mse_loss(inside, target),
            F.relu(inside) + tg.log1p(tg.square(x))]


CHAINS = [(mixed, ((70, 131), (131,), (70, 1))), (per_channel, ((2, 3, 5, 7), (3, 1, 1))),
          (losses, ((37, 3), (37, 3)))]


CASES_OF_TYPES = [(*chain, dtype) for chain in CHAINS for dtype in (
    DTYPES if chain[0] is mixed else DTYPES[:2])]           # a compilation each


@pytest.mark.parametrize("f, shapes, dtype", CASES_OF_TYPES, ids=[
    f"{f.__name__}-{dtype}" for f, _, dtype in CASES_OF_TYPES])
def test_chains_agree_with_float64_in_every_order_of_threads(f, shapes, dtype):
    arrays = [draw(shape, dtype, seed=i) for i, shape in enumerate(shapes)]
    if f is losses:
        arrays[1] = (arrays[1].astype(np.float32) > 0).astype(dtype)
    args = [tg.Tensor(a, device="cuda") for a in arrays]
    program = capture(f, *args).optimized()
    assert names(program).count("fused") >= 1
    expected = f(*[tg.Tensor(a.astype(np.float64)) for a in arrays])
    bits = None
    for order in ORDERS:
        with thread_order(order):
            found = [y.numpy() for y in program.replay(*args)]
        for got, wanted in zip(found, expected, strict=True):
            assert got.dtype == dtype
            agrees(got, wanted.numpy(), 4 * TOLERANCE[np.dtype(dtype)])
        assert bits in (None, [y.tobytes() for y in found]), "the order of threads matters"
        bits = [y.tobytes() for y in found]


def test_a_chain_is_a_launch_and_a_sum_of_several_blocks_one_more():
    for shape, launches in (((60, 60), 1), ((70, 131), 2)):
        args = [tg.Tensor(draw(s), device="cuda") for s in (shape, shape[1:], (shape[0], 1))]
        program = capture(mixed, *args).optimized()
        program.replay(*args)
        with counted() as seen:
            program.replay(*args)
        assert names(program) == ["fused"]
        assert (seen.launches, seen.syncs, seen.h2d, seen.d2h) == (launches, 0, 0, 0), seen


def two(x, y):
    return [tg.exp(-x * x) * y + 1]


def test_any_order_of_memory_gives_the_same_and_keeps_it(cupy):
    x, y = draw((4, 6, 8)), draw((4, 6, 8), seed=1)
    turned = cupy.asarray(np.ascontiguousarray(x.transpose(2, 0, 1))).transpose(1, 2, 0)
    gaps, anywhere = cupy.asarray(np.repeat(x, 2, 2))[:, :, ::2], cupy.asarray(draw(193))[1:]
    one = cupy.broadcast_to(cupy.asarray(draw((1, 1, 1))), x.shape)
    for a, b in ((turned, cupy.asarray(y)), (gaps, turned), (turned, turned),
                 (cupy.asarray(x), cupy.asarray(y.T.copy()).T), (anywhere, anywhere),
                 (one, turned), (turned, one), (one, one)):
        given = tg.Tensor.wrap(a), tg.Tensor.wrap(b)
        program = capture(two, *given).optimized()
        with counted() as seen:
            found, = program.replay(*given)
        if b is one or (a is one and b is turned) or (a is turned and b is turned):
            assert set(seen.by["launches"]) == {"chain"}                # and no copies
        agrees(found.numpy(), np.exp(-a.get().astype(np.float64) ** 2) * b.get() + 1)
        if a is turned:
            assert found.data.strides == a.strides


def test_several_types_in_one_chain():
    def f(x, w):
        return [(x.astype("float32") * w + 1).astype("bfloat16"), (x * x).astype("float32")]
    x, w = draw((9, 31), BF16), draw((9, 31), seed=1)
    args = tg.Tensor(x, device="cuda"), tg.Tensor(w, device="cuda")
    program = capture(f, *args).optimized()
    assert set(names(program)) == {"fused"}
    wide = x.astype(np.float64)
    for got, wanted in zip(program.replay(*args), (wide * w + 1, wide * wide), strict=True):
        agrees(got.numpy(), wanted, TOLERANCE[np.dtype(BF16)])


def test_what_is_left_to_others():
    x = tg.Tensor(draw((5, 4)).astype(np.float64), device="cuda")
    assert names(capture(two, x, x).optimized()) == ["negative", "multiply", "exp", "multiply",
                                                     "add"]
    rows = capture(lambda x: [tg.exp(x).sum(axis=0), tg.exp(x)], tg.ones((3, 4), device="cuda"))
    assert "sum" in names(rows.optimized())
    empty = tg.zeros((0, 3), device="cuda")
    assert capture(two, empty, empty).optimized().replay(empty, empty)[0].shape == (0, 3)


def test_its_source_can_be_read_and_alike_chains_share_it(cupy):
    from tinygen.kernels.gpu.chains import _compiled

    args = [[tg.Tensor(draw(s, seed=i), device="cuda") for i in (0, 1)] for s in ((3, 5), (7, 2))]
    programs = [capture(two, *given).optimized() for given in args]
    for program, given in zip(programs, args, strict=True):
        program.replay(*given)
    before = _compiled.cache_info().misses
    capture(two, *args[0]).optimized().replay(*args[0])
    assert _compiled.cache_info().misses == before
    text = programs[0].source()
    assert "exp_formula<float>(v" in text and "__global__" in text and "def replay(" in text
    assert set(programs[0].kernels()) != set(programs[1].kernels())
    assert "us" in programs[0].table(*args[0], repeats=1)
    assert "exp_formula" in programs[0].html()
    assert has_kernel(cupy.ndarray) is not None and has_kernel(None) is None


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC: pip install -e '.[gputest]' (58 MB)")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_generated_kernels_do_not_spill(cupy, architecture):
    from tinygen.kernels.gpu import chains
    from tinygen.kernels.gpu.launch import Source

    for f, shapes, dtype in [*[(*chain, "float32") for chain in CHAINS], (*CHAINS[0], BF16)]:
        program = capture(f, *[tg.Tensor(draw(s, dtype), device="cuda") for s in shapes])
        for row in program.optimized().rows:
            if row.op.name == "fused":
                text = chains.source(row.attrs["group"], "chain")
                code = Source("chain", text=text).code()
                found = nvrtc.translate(code, "chain.cu", architecture).kernels
                assert re.findall(r"^(chain|totals)\(", text, re.M) == sorted(found)
                for used in found.values():
                    assert used.spills == used.stack == 0 and used.registers <= 96, used
