"""The thread pool: every part runs once, whoever calls, and whatever happens to the threads."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

numba = pytest.importorskip("numba")
pool = pytest.importorskip("tinygen.kernels.cpu.native.pool")
fork, ranges = pool.fork, pool.ranges


@numba.njit(nogil=True)
def _mark(seen, weight, t, parts):
    seen[t] += weight * parts


@numba.njit(nogil=True)
def marked(seen, weight, parts):
    fork(_mark, (seen, weight), parts)


@numba.njit(nogil=True)
def _count(seen, first, last):
    for i in range(first, last):
        seen[i] += 1


@numba.njit(nogil=True)
def counted(seen, parts):
    ranges(_count, (seen,), len(seen), parts)


@numba.njit(nogil=True)
def _inner(rows, t, parts):
    ranges(_count, (rows[t],), len(rows[t]), 3)


@numba.njit(nogil=True)
def nested(rows):
    fork(_inner, (rows,), len(rows))


@numba.njit(nogil=True)
def _greedy(size, out, t, parts):
    scratch = np.empty(size if t == 1 else 8, np.uint8)
    scratch[0] = 1
    out[t] = scratch[0]


@numba.njit(nogil=True)
def greedy(size, out, parts):
    fork(_greedy, (size, out), parts)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 64, 1000, 70_000])
def test_every_part_runs_once_and_knows_how_many_there_are(parts):
    seen = np.zeros(parts, np.int64)
    marked(seen, 2, parts)
    assert (seen == 2 * parts).all()


@pytest.mark.parametrize(("n", "parts"), [(0, 2), (1, 2), (5, 3), (1000, 7), (3, 8)])
def test_ranges_make_up_the_whole(n, parts):
    seen = np.zeros(n, np.int64)
    counted(seen, parts)
    assert (seen == 1).all()


def test_a_loop_inside_a_part_runs_too():
    rows = np.zeros((9, 100), np.int64)
    nested(rows)
    assert (rows == 1).all()


def test_out_of_memory_in_a_part_is_an_error_and_the_pool_goes_on():
    for _ in range(3):
        with pytest.raises(MemoryError):
            greedy(1 << 60, np.zeros(4), 4)
        out = np.zeros(4)
        greedy(16, out, 4)
        assert (out == 1).all()


def test_many_python_threads_at_once():
    bad = []

    def work(i):
        for j in range(400):
            parts = 1 + (i + j) % 9
            seen = np.zeros(parts, np.int64)
            marked(seen, 1, parts)
            if not (seen == parts).all():
                bad.append((i, j, seen))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not bad


PRODUCT = """
import os, sys, time, numpy as np, tinygen as tg
a = tg.Tensor.wrap(np.random.default_rng(0).random((300, 300), np.float32))
want = (a @ a).numpy().copy()
def right():
    return all(np.array_equal((a @ a).numpy(), want) for _ in range(50))
"""


def run(code, threads):
    env = {**os.environ, "TINYGEN_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", PRODUCT + code], env=env, capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_workers_sleep_wake_and_end_with_the_process(threads):
    run("assert right(); time.sleep(0.05); assert right()", threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own():
    told = run("""
import warnings; warnings.simplefilter("ignore")     # newer Pythons warn of threads and fork
assert right()
child = os.fork()
if not child:
    ok = right()
    time.sleep(0.05)
    ok = ok and right()
    print("right" if ok else "wrong", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert right()
""", 3)
    assert told.strip() == "right"
