"""The double of CuPy is as strict as it claims to be: each kind of mistake is caught."""

import importlib
import importlib.machinery
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tinygen as tg
from tests.doubles import memory, names
from tests.doubles.capture import FreedMemory
from tests.doubles.counting import counted


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


def host(*shape):
    return np.ones(shape, np.float32)


# -- host and device ---


@pytest.mark.parametrize("mix", [
    lambda cupy, x: x + host(3), lambda cupy, x: host(3) * x, lambda cupy, x: cupy.add(x, host(3)),
    lambda cupy, x: np.add(host(3), x), lambda cupy, x: cupy.where(x > 0, x, host(2, 3)),
    lambda cupy, x: cupy.concatenate([x, host(2, 3)]), lambda cupy, x: x.sum(out=host(1)),
    lambda cupy, x: x[np.array([0, 1])], lambda cupy, x: x @ host(3, 2),
    lambda cupy, x: cupy.take(x, np.array([0])), lambda cupy, x: cupy.exp([1.0, 2.0]),
    lambda cupy, x: x.__iadd__(host(2, 3)), lambda cupy, x: x.__setitem__(0, host(3)),
], ids=range(13))
def test_a_host_array_among_device_arrays_raises(cupy, x, mix):
    with pytest.raises(TypeError, match=r"host array|Unsupported type"):
        mix(cupy, x)


@pytest.mark.parametrize("leak", [
    np.asarray, np.array, lambda x: np.zeros((2, 3)) + np.asarray(x), lambda x: np.ones(6)[x[0]],
    memoryview, lambda x: np.float32(x)], ids=range(6))
def test_a_device_array_does_not_become_a_host_array(x, leak):
    with pytest.raises(TypeError):
        leak(x)


def test_arrays_of_two_devices_do_not_meet(cupy, x):
    with cupy.cuda.Device(1):
        y = cupy.ones((2, 3))
        assert y.device.id == 1
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            x + y
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        x + y


def test_results_are_device_arrays(cupy, x):
    for y in (x.sum(), x.max(), x[0, 0], cupy.mean(x), x.argmax(), np.exp(x), cupy.exp(1.0)):
        assert type(y) is cupy.ndarray
        assert y.__class__.__module__ == "cupy"
    row = x[1, 2]
    row[...] = 7
    assert x.get()[1, 2] == 7                        # a view, not a number


# -- names and arguments ---


@pytest.mark.parametrize("call, error", [
    (lambda cupy, x: cupy.nextafter(x, x), None), (lambda cupy, x: cupy.vecdot, AttributeError),
    (lambda cupy, x: cupy.no_such_name, AttributeError),
    (lambda cupy, x: cupy.errstate(), AttributeError),
    (lambda cupy, x: x.newbyteorder(), AttributeError),
    (lambda cupy, x: x.flags.writeable, AttributeError),
    (lambda cupy, x: x.max(initial=0), TypeError),
    (lambda cupy, x: cupy.sum(x, where=x > 0), TypeError),
    (lambda cupy, x: cupy.add(x, x, where=x > 0), TypeError),
    (lambda cupy, x: cupy.maximum.accumulate(x), NotImplementedError),
    (lambda cupy, x: cupy.multiply.at(x, 0, 2.0), NotImplementedError),
    (lambda cupy, x: x.astype("int64").scatter_max(0, x), TypeError),
    (lambda cupy, x: cupy.linalg.svdvals(x), AttributeError),
    (lambda cupy, x: cupy.repeat(x, cupy.arange(2), 0), ValueError),
    (lambda cupy, x: cupy.array(["a"]), ValueError),
], ids=range(15))
def test_what_cupy_lacks_raises(cupy, x, call, error):
    if error is None:
        call(cupy, x)
        return
    with pytest.raises(error):
        call(cupy, x)


def test_the_table_says_what_cupy_has():
    """In a process of its own, where `import cupy` finds what is installed (no GPU is needed)."""
    found = importlib.machinery.PathFinder.find_spec("cupy", [p for p in sys.path if p])
    if found is None:
        assert names.TABLE["about"]["version"].count(".") == 2      # nothing to compare with here
        return
    code = "import json; from tests.doubles import names; print(json.dumps(names.survey()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    survey = json.loads(done.stdout)
    if survey["about"] == names.TABLE["about"]:
        assert survey == names.TABLE
    else:                        # another version: what the double is asked for must be there
        assert set(names.TABLE["ndarray"]) <= set(survey["ndarray"])


# -- memory ---


def test_fresh_memory_is_poisoned(cupy):
    assert np.isnan(cupy.empty((4,), np.float32).get()).all()
    assert (cupy.empty((4,), np.int64).get() == -1).all()
    assert np.isnan(cupy.empty_like(cupy.zeros((2, 2), np.float64)).get()).all()


@pytest.mark.parametrize("at", [-1, 6, 900])
def test_a_write_outside_of_an_array_is_caught(x, at):
    beyond = np.lib.stride_tricks.as_strided(x._a.reshape(-1), (1,), (4,))
    raw = memory.owner_of(x._a)
    start = beyond.ctypes.data - raw.ctypes.data + 4 * at
    raw[start:start + 4] = 0
    with pytest.raises(memory.OutOfBounds, match=f"wrote at byte {4 * at} of an allocation of 24"):
        memory.check_all()
    memory.check_all()


def test_pointers_lead_to_arrays_or_nowhere(cupy, x):
    found = memory.find(x.data.ptr, x.nbytes).view(np.float32)
    np.testing.assert_array_equal(found, np.arange(6))
    with pytest.raises(memory.OutOfBounds):
        memory.find(x.data.ptr, x.nbytes + 1)
    same = cupy.ndarray((3, 2), np.float32, memptr=x.data, strides=(4, 12))
    np.testing.assert_array_equal(same.get(), x.get().T)


def test_the_pool_knows_what_is_in_use(cupy):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.zeros((1024,), np.float32)
    assert pool.used_bytes() == before + 4096
    del x
    assert pool.used_bytes() == before


def test_index_arrays_wrap_around_as_on_the_device(cupy, x):
    np.testing.assert_array_equal(x[cupy.asarray([3, -3])].get(), x.get()[[1, 1]])
    np.testing.assert_array_equal(cupy.take(x, cupy.asarray([4]), 1).get(), x.get()[:, [1]])


def test_which_value_stays_at_a_place_named_twice_is_not_the_last(cupy):
    x = cupy.zeros(2)
    x[cupy.asarray([0, 0])] = cupy.asarray([1.0, 2.0])
    assert x.get()[0] == 1


# -- counts ---


@pytest.mark.parametrize("work, kind", [
    (lambda c, x: x.get(), "syncs"), (lambda c, x: x.sum().item(), "syncs"),
    (lambda c, x: bool(x[0, 0]), "syncs"), (lambda c, x: float(x[0, 0]), "syncs"),
    (lambda c, x: repr(x), "syncs"), (lambda c, x: x[x > 1], "syncs"),
    (lambda c, x: c.unique(x), "syncs"), (lambda c, x: c.nonzero(x), "syncs"),
    (lambda c, x: c.where(x > 1), "syncs"),
    (lambda c, x: c.cuda.Stream.null.synchronize(), "syncs"),
    (lambda c, x: c.cuda.runtime.deviceSynchronize(), "syncs"),
    (lambda c, x: c.asnumpy(x), "d2h"), (lambda c, x: x.tolist(), "d2h"),
    (lambda c, x: c.asarray(host(2)), "h2d"), (lambda c, x: c.array(3.0), "h2d"),
    (lambda c, x: x[[0, 1]], "h2d"), (lambda c, x: x.set(host(2, 3)), "h2d"),
    (lambda c, x: x.__setitem__(x > 1, 0.0), "h2d"),
], ids=range(18))
def test_waits_and_copies_are_counted(cupy, x, work, kind):
    with counted() as seen:
        work(cupy, x)
    assert getattr(seen, kind) == 1
    assert "test_double.py" in next(iter(seen.places[kind]))


def test_launches_are_counted_and_views_are_free(cupy, x):
    with counted() as seen:
        y = x.T[1:].reshape(2, 2)[None]
        cupy.broadcast_to(y, (3, 1, 2, 2))
    assert seen.launches == 0
    with counted() as seen:
        z = x * 2
        z += 1
        cupy.exp(z, out=z)
        z[0] = 0.0
        z.sum(axis=0)
    assert (seen.launches, seen.syncs, seen.h2d, seen.d2h) == (5, 0, 0, 0)


# -- graphs ---


def test_a_captured_graph_computes_only_when_it_is_launched(cupy, x):
    stream, total = cupy.cuda.Stream(non_blocking=True), cupy.zeros((2, 3), np.float32)
    with stream:
        stream.begin_capture()
        doubled = x * 2
        total += doubled
        graph = stream.end_capture()
    assert np.isnan(doubled.get()).all()
    assert not total.get().any()
    for n in (1, 2):
        graph.launch(stream)
        np.testing.assert_array_equal(total.get(), 2 * n * x.get())
    x[...] = 0.0
    graph.launch()
    np.testing.assert_array_equal(doubled.get(), 0)


def capture_chain(cupy, x, out):
    """A graph of three launches, two of whose results are gone when it is done."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        cupy.add(cupy.exp(x * 2), 1, out=out)
        return stream.end_capture()


def test_a_pool_keeps_what_is_freed_of_it(cupy):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.ones(4)
    address = x.data.ptr
    del x
    assert memory.find(address, 32).nbytes == 32         # nobody else is given it
    del pool
    with pytest.raises(memory.OutOfBounds):
        memory.find(address, 32)


def test_a_graph_must_not_use_memory_that_was_freed(cupy, x):
    out = cupy.zeros((2, 3), np.float32)
    graph = capture_chain(cupy, x, out)
    with pytest.raises(FreedMemory, match="24 bytes that were freed since it was captured"):
        graph.launch()
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        graph = capture_chain(cupy, x, out)
    graph.launch()
    np.testing.assert_allclose(out.get(), np.exp(x.get() * 2) + 1, rtol=1e-6)
    del pool
    with pytest.raises(FreedMemory):
        graph.launch()


def test_nothing_waits_while_a_stream_captures(cupy, x):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        for wait in (x.sum().item, lambda: x[x > 1], lambda: cupy.asarray(host(2))):
            with pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
                wait()
        stream.end_capture()


# -- the machine as it was ---


def test_the_double_leaves_nothing_behind():
    code = """
import sys
from tests.doubles.install import installed
import tinygen as tg
from tinygen import backend, primitive
before = backend.unavailable_reason()
with installed():
    tg.ones(3, device="cuda").sum().item()
    inside = backend.unavailable_reason()
assert inside is None, inside
assert backend.unavailable_reason() == before
assert all(t.__module__ == "numpy" for t in backend._MODULES), backend._MODULES
assert not [k for k in primitive.KERNELS if k[1].__module__ == "cupy"]
assert not [n for n in sys.modules if n.startswith("tinygen.kernels.gpu")]
with installed():
    assert tg.ones(3, device="cuda").sum().item() == 3
"""
    subprocess.run([sys.executable, "-c", code], check=True,
                   env={**os.environ, "PYTHONPATH": os.getcwd(), "TINYGEN_KERNELS": "numpy"})


def test_tensors_of_two_devices_are_named():
    x, y = tg.ones(2), tg.ones(2, device="cuda")
    with pytest.raises(TypeError, match=r"\[add\] x is on cpu and y is on cuda:0|is on cuda:0"):
        x + y
