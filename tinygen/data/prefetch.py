"""Run an iterator one step ahead, in a thread of its own."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_JOIN_SECONDS = 10.0  # how long to wait for an item in the making when the consumer stops early
_ALIVE_SECONDS = 1.0  # how often a waiting consumer checks that the thread still exists


class _Channel:
    """A bounded queue that can be closed from either side without leaving anyone waiting."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: deque[Any] = deque()
        self.error: BaseException | None = None
        self.finished = False  # the producer has nothing more to put
        self.cancelled = False  # the consumer wants no more
        # A reentrant lock: cancel() can run from the garbage collector inside put() or get().
        self.changed = threading.Condition(threading.RLock())

    def put(self, item: Any) -> bool:
        """Wait for room and add the item; False when the consumer has gone."""
        with self.changed:
            while len(self.items) >= self.limit and not self.cancelled:
                self.changed.wait()
            if self.cancelled:
                return False
            self.items.append(item)
            self.changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """The producer's last word, after whatever is still queued."""
        with self.changed:
            self.error, self.finished = error, True
            self.changed.notify_all()

    def cancel(self) -> None:
        """The consumer's last word."""
        with self.changed:
            self.cancelled = True
            self.items.clear()
            self.changed.notify_all()

    def get(self, is_alive: Callable[[], bool]) -> Any:
        """The next item; raises the producer's error in its place, StopIteration at the end."""
        with self.changed:
            while not self.items and not self.finished:
                # A fork copies the queue but not the thread: without the check, wait forever.
                if not self.changed.wait(_ALIVE_SECONDS) and not is_alive() and not self.finished:
                    raise RuntimeError(
                        "the prefetch thread is gone (was the process forked in the middle of an "
                        "epoch?); start a new iteration in this process"
                    )
            if self.items:
                item = self.items.popleft()
                self.changed.notify_all()
                return item
            error, self.error = self.error, None
        if error is None:
            raise StopIteration
        try:
            raise error  # its own traceback, with the worker's frames, is kept
        finally:
            error = None  # the traceback holds this frame: break the cycle


class Prefetcher:
    """Iterate over `source` with up to `limit` items made ahead of time by one thread.

    Items come in order. An exception in `source` is raised where its item would have come, with
    the traceback it had in the thread. The thread ends when the source does, on `close()`, and
    when the prefetcher is garbage collected.
    """

    def __init__(self, source: Iterator[Any], limit: int) -> None:
        self._channel = _Channel(limit)
        # The thread must not refer to self, or self would never be collected.
        self._thread = threading.Thread(
            target=_produce, args=(source, self._channel), name="tinygen-prefetch", daemon=True
        )
        self._thread.start()
        self.close = weakref.finalize(self, _stop, self._channel, self._thread)

    def __iter__(self) -> Prefetcher:
        return self

    def __next__(self) -> Any:
        if self._channel.cancelled:
            raise StopIteration
        try:
            return self._channel.get(self._thread.is_alive)
        except BaseException:
            self.close()
            raise


def _produce(source: Iterator[Any], channel: _Channel) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            if not channel.put(item):
                break
    except BaseException as caught:  # KeyboardInterrupt too: the consumer must hear of it
        error = caught
    channel.finish(error)
    error = None  # its traceback holds this frame: break the cycle


def _stop(channel: _Channel, thread: threading.Thread) -> None:
    channel.cancel()
    # The garbage collector may call this in the thread itself, which cannot join itself.
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
