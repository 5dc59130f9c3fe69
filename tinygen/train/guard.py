"""What keeps a run's folder safe: one process at a time, and a stop only between steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from .errors import TrainingError

__all__ = ["StopSignals", "locked"]


class StopSignals:
    """Within the block, the first Ctrl-C or SIGTERM is only noted in `received`.

    The second one raises KeyboardInterrupt at once. Signal handlers belong to the main thread;
    in other threads this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._note)
                # None: a handler that was not set from Python, which cannot be put back
                self._before[number] = signal.SIG_DFL if before is None else before
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        # os.write: a print that the signal interrupted may hold the stream's lock
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this step (again to leave at once) ...\n")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `FOLDER/.lock`; the system frees it when the process ends, however it ends.

    Raises TrainingError if another process trains into the folder. No lock where there is none
    to be had (Windows, some network file systems).
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            raise TrainingError(f"another process{f' ({owner})' if owner else ''} is training "
                                f"into {folder}; wait for it, or use another folder") from None
        except OSError:  # a file system that knows no locks
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
