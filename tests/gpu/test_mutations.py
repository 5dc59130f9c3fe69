"""Mistakes put into the engine, and into kernels, on purpose: each is caught on the double.

A row names a function, a piece of its text, what stands there instead, and what then fails.
"""

import importlib
import inspect
import textwrap

import numpy as np
import pytest

import tinygen as tg
from tests.doubles import memory
from tests.doubles.counting import counted
from tests.doubles.cuda.build import KernelError
from tests.gpu.running import needs_compiler
from tinygen.nn import functional as F
from tinygen.primitive import Primitive, forget_implementations

KERNELS = False
# Modules by their paths: some have the name of a function that stands beside them.
attention, indexing, pool, table, windows, adam, clip, position = (
    importlib.import_module(f"tinygen.{path}") for path in (
        "ops.attention", "ops.index", "ops.pool", "ops.table", "ops.windows", "optim.adam",
        "nn.utils.clip", "nn.functional.position"))


@pytest.fixture
def mutate(monkeypatch):
    """A function that gives another of the engine's functions another text, for one test."""
    def change(module, name, old, new):
        found = getattr(module, name)
        function = inspect.unwrap(found.fn if isinstance(found, Primitive) else found)
        text = textwrap.dedent(inspect.getsource(function))
        text = text[text.index("def "):]
        assert text.count(old) >= 1, f"{name} does not read {old!r} any more"
        space = dict(vars(module))
        exec(text.replace(old, new), space)
        changed = space[function.__name__]
        if isinstance(found, Primitive):
            monkeypatch.setattr(found, "fn", changed)
            forget_implementations()
        else:
            monkeypatch.setattr(module, name, changed)
    yield change
    monkeypatch.undo()
    forget_implementations()


def x(*shape):
    return tg.Tensor(np.random.default_rng(0).standard_normal(shape), device="cuda")


def pooled():
    return F.max_pool2d(x(1, 1, 4, 4), 3, padding=1)


def attended():
    q = x(1, 2, 3, 4)
    return F.scaled_dot_product_attention(q, q, q)


def framed():
    """Overlapping windows added up, whose sum NumPy knows."""
    frames = tg.ones(1, 1, 3, 2, device="cuda")
    out = windows.overlap_add_p(frames, first=2, kernel=(3,), stride=(2,), padding=((0, 0),),
                                dilation=(1,), size=(5,))
    assert out.sum().item() == 6
    return out


def stepped():
    weight = tg.ones(3, device="cuda").requires_grad_()
    optimizer = tg.optim.Adam([weight])
    for _ in range(2):
        optimizer.zero_grad()
        (weight * weight).sum().backward()
        with counted() as seen:
            clip.clip_grad_norm_([weight], 1.0)
            optimizer.step()
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen


def placed():
    position.sinusoidal_positions(4, 6, device="cuda")
    with counted() as seen:
        position.sinusoidal_positions(4, 6, device="cuda")
    assert seen.h2d == 0, seen


def looked_up():
    with counted() as seen:
        rows = F.embedding(tg.tensor([1, 7], device="cuda"), x(3, 2))
    assert seen.syncs == 0, seen
    assert np.isnan(rows[1].cpu().numpy()).all()          # CuPy would wrap around, in silence


def written():
    y = tg.zeros(3, device="cuda")
    y[tg.tensor([1, 1], device="cuda")] = tg.tensor([2.0, 3.0], device="cuda")
    assert y.tolist() == [0, 3, 0]


MUTATIONS = [
    ("a host array beside a device array", pool, "_first_taps",
     "beside(np.asarray(first, taps.dtype), best)", "np.asarray(first, taps.dtype)", pooled,
     TypeError, "host array"),
    ("np.asarray of a device array", attention, "_largest", "s.max(axis", "np.asarray(s).max(axis",
     attended, TypeError, "Implicit conversion to a NumPy array"),
    ("an argument that CuPy's method lacks", attention, "_largest", "keepdims=True)",
     "keepdims=True, initial=-math.inf)", attended, TypeError, "unexpected keyword argument"),
    ("memory that nobody set", windows, "overlap_add_p", "xp.zeros_like(", "xp.empty_like(", framed,
     AssertionError, "nan"),
    ("a number read from the device", adam, "adam_update", "number(xp, step)", "float(step)",
     stepped, AssertionError, "syncs=1"),
    ("a norm read from the device", clip, "scale_to_norm", "if xp is not np:", "if False:", stepped,
     AssertionError, "syncs=1"),
    ("a table copied at every call", position, "_table", "constant(values.astype(kind), place)",
     "backend.to_device(values.astype(kind), place)", placed, AssertionError, "h2d=1"),
    ("a check that waits", table, "look_up", "if xp is not np:", "if False:", looked_up, Exception,
     "from|bool"),
    ("numbers outside of a table", table, "look_up", "xp.where(known[..., None], rows, xp.nan)",
     "rows", looked_up, AssertionError, "assert"),
    ("an order of writers that is not defined", indexing, "_put",
     "if xp is np or _is_basic(template):", "if True:", written, AssertionError, "assert"),
]


@pytest.mark.parametrize(("module", "name", "old", "new", "work", "error", "words"),
                         [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
def test_a_mistake_in_the_engine_is_caught(mutate, module, name, old, new, work, error, words):
    work()
    mutate(module, name, old, new)
    with pytest.raises(error, match=words):
        work()


# -- kernels ---


SOURCE = """
extern "C" __global__ void scale(const float* x, float* y, int n, float by) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i LIMIT n) y[i] = x[i] * by;
}
"""


def launch(cupy, limit="<", **changed):
    given = {"x": cupy.ones(6, np.float32), "y": cupy.empty(6, np.float32), "n": np.int32(6),
             "by": np.float32(3), "grid": (1,), "block": (32,), "shared_mem": 0, **changed}
    code = SOURCE.replace("LIMIT", limit)
    kernel = cupy.RawModule(code=code, options=("-std=c++17",)).get_function("scale")
    kernel(given["grid"], given["block"], tuple(given[k] for k in ("x", "y", "n", "by")),
           shared_mem=given["shared_mem"])
    return given["y"].get()


@needs_compiler
def test_a_kernel_of_the_double_computes(cupy):
    with counted() as seen:
        np.testing.assert_array_equal(launch(cupy), np.full(6, 3, np.float32))
    assert seen.by["launches"]["scale"] == 1


@needs_compiler
def test_a_write_beyond_the_array_is_caught(cupy):
    with pytest.raises((memory.OutOfBounds, KernelError), match="wrote at byte 24"):
        launch(cupy, limit="<=")


@needs_compiler
@pytest.mark.parametrize(("changed", "error"), [
    ({"x": np.ones(6, np.float32)}, TypeError),                  # a host array
    ({"n": 6}, KernelError),                                     # CuPy passes 8 bytes
    ({"by": 3.0}, KernelError), ({"by": np.float64(3)}, KernelError),
    ({"n": np.int64(6)}, KernelError),
    ({"grid": (0,)}, RuntimeError), ({"block": (2048,)}, RuntimeError),
    ({"shared_mem": 60000}, RuntimeError),                       # without opting in
], ids=range(8))
def test_a_wrong_argument_of_a_launch_is_caught(cupy, changed, error):
    with pytest.raises(error):
        launch(cupy, **changed)


@needs_compiler
def test_an_array_of_another_type_or_device_is_caught(cupy):
    with pytest.raises(KernelError, match="float64"):
        launch(cupy, x=cupy.ones(6, np.float64))
    with cupy.cuda.Device(1):
        elsewhere = cupy.ones(6, np.float32)
    with pytest.raises(ValueError, match="lies on device 1"):
        launch(cupy, x=elsewhere)
