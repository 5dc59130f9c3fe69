"""DataLoader: errors surface at their batch, and no thread is left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

from tests.data.loaders import array, make, no_thread_stays, threads  # noqa: F401
from tinygen.data import ArrayDataset, DataLoader, Dataset

# -- errors and threads


class Broken(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 7:
            raise KeyError("sample seven is broken")
        return index


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_an_error_surfaces_at_its_batch_with_its_traceback(prefetch):
    loader = DataLoader(Broken(), batch_size=2, prefetch=prefetch)
    seen = []
    with pytest.raises(KeyError, match="sample seven") as caught:
        for batch in loader:
            time.sleep(0.01)  # let the thread run into it long before
            seen.append(array(batch).tolist())
    assert seen == [[0, 1], [2, 3], [4, 5]]
    lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert any("raise KeyError" in line for line in lines)
    assert "batch 3 of epoch 0, samples 6, 7" in caught.value.__notes__[0]
    assert loader.state_dict()["batch"] == 3  # the broken batch is still to come


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_iterator_is_over_after_an_error_and_the_epoch_is_not(prefetch):
    loader = DataLoader(Broken(), batch_size=5, prefetch=prefetch)
    batches = iter(loader)
    next(batches)
    with pytest.raises(KeyError):
        next(batches)
    assert list(batches) == []
    assert (loader.epoch, loader.batch) == (0, 1)


def test_an_error_leaves_no_garbage_behind():
    loader = DataLoader(Broken(), batch_size=5)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(KeyError):
            list(loader)
        del loader
        garbage = [o for o in gc.get_objects() if type(o).__name__ in ("_Epoch", "Prefetcher")]
    finally:
        gc.enable()
    assert garbage == []


class Slow(ArrayDataset):
    def batch(self, indices, rng=None):
        time.sleep(0.02)
        return super().batch(indices, rng)


def test_the_queue_is_bounded():
    class Counting(ArrayDataset):
        fetched = 0

        def batch(self, indices, rng=None):
            self.fetched += 1
            return super().batch(indices, rng)

    data = Counting(np.arange(100))
    batches = iter(DataLoader(data, batch_size=1, prefetch=3))
    next(batches)
    time.sleep(0.1)
    assert data.fetched <= 1 + 3 + 1  # delivered, queued, waiting for room


def test_the_next_batch_is_made_while_the_consumer_works():
    started = threading.Event()

    class Telling(ArrayDataset):
        def batch(self, indices, rng=None):
            if indices[0] == 1:
                started.set()
            return super().batch(indices, rng)

    for _ in DataLoader(Telling(np.arange(3)), batch_size=1, prefetch=1):
        assert started.wait(10)
        break


def test_no_thread_after_break():
    for _ in DataLoader(Slow(np.arange(100)), batch_size=1):
        assert len(threads()) == 1
        break
    assert threads() == []


def test_no_thread_after_a_full_epoch():
    for _ in make():
        pass
    assert threads() == []


def test_no_thread_after_an_exception_in_the_loop():
    with pytest.raises(ZeroDivisionError):
        for _ in make():
            raise ZeroDivisionError
    assert threads() == []


def test_no_thread_after_deleting_the_iterator():
    batches = iter(make())
    next(batches)
    del batches
    assert threads() == []


def test_no_thread_after_garbage_collection_of_a_cycle():
    batches = iter(make())
    cycle = [batches]
    cycle.append(cycle)
    del batches, cycle
    gc.collect()
    assert threads() == []


def test_no_thread_without_prefetch():
    for _ in make(prefetch=0):
        assert threads() == []


def test_many_abandoned_iterators_do_not_deadlock():
    loader = make(prefetch=1)
    for _ in range(100):
        next(iter(loader))
    assert threads() == []


SCRIPT = """
import signal, threading, time
import numpy as np
from tinygen.data import ArrayDataset, DataLoader

# a parent started in the background hands down an ignored SIGINT
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(ArrayDataset):
    def batch(self, indices, rng=None):
        time.sleep(0.5 if indices[0] else 0)
        return super().batch(indices, rng)

try:
    for batch in DataLoader(Slow(np.arange(1000)), batch_size=1):
        print("ready", flush=True)
except KeyboardInterrupt:
    names = [t.name for t in threading.enumerate()]
    print("threads", names, flush=True)
batches = iter(DataLoader(Slow(np.arange(1000)), batch_size=1))
next(batches)  # and leave with a thread at work
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a child process")
def test_ctrl_c_leaves_no_thread_and_the_process_can_exit():
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with child:
        try:
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=20)
        finally:
            child.kill()
    assert out.splitlines()[-1] == "threads ['MainThread']", out + err
    assert child.returncode == 0, err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_iterator_taken_through_a_fork_says_so_instead_of_waiting():
    batches = iter(DataLoader(Slow(np.arange(100)), batch_size=1, prefetch=1))
    next(batches)
    pid = os.fork()
    if pid == 0:  # the child must not run pytest's own exit
        try:
            list(batches)
        except RuntimeError as error:
            os._exit(0 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
