"""The threads of the kernels, and loops over parts that they run together.

    fork(body, (x, y), parts)         body(x, y, t, parts) for each t < parts, in any order
    ranges(body, (x, y), n, parts)    body(x, y, first, last) for ranges that make up range(n)

The caller publishes a *ticket*, a number that holds the first and the last part that nobody has
taken, and takes parts from the first on; workers that see it take them from the last back. So each
core finds in its cache what it wrote in the kernel before, and whoever is slow, or was taken off
its processor, takes fewer: a busy machine costs no more than one thread would.

Workers look out for the next ticket for a tenth of a millisecond, letting others run meanwhile, and
then sleep: in a training step the next kernel comes within some 10 us, and finds them awake, 1 us
away. Where a second Python thread comes while the pool is at work, it does its parts alone.

Numba's own parallel loops stand on tbb, OpenMP or a queue: 6 to 10 us for each loop, one to two
seconds to compile it, and halves that are fixed in advance.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygen import threads

from .atomics import add, exchange, foreign, invoke, load, pause, store, symbol
from .base import jit

__all__ = ["fork", "ranges"]

_i64 = ir.IntType(64)
LINE = 64
# What the system calls these: a mutual exclusion, a bell to wait for, and letting others run.
_POSIX = {"lock": "pthread_mutex_lock", "unlock": "pthread_mutex_unlock",
          "wait": "pthread_cond_wait", "ring": "pthread_cond_signal", "yield": "sched_yield"}
_WINDOWS = {"lock": "AcquireSRWLockExclusive", "unlock": "ReleaseSRWLockExclusive",
            "wait": "SleepConditionVariableSRW", "ring": "WakeConditionVariable",
            "yield": "SwitchToThread"}

# Where what stands in the pool's memory: numbers that change at different times lie in different
# cache lines of 64 bytes.
TICKET, CODE, DATA, LEFT, FAILED = 0, 64, 72, 128, 136
BUSY, SLEEPERS, STOP, LOCK, BELL, SIZE = 192, 256, 264, 320, 384, 448
# Looks at the ticket before a worker sleeps, each 8 pauses: 0.4 us on Intel's, less on others.
PATIENCE = 250
_PARTS = 0xFFFF


@jit
def _waiting(ticket):
    """Whether there are parts left to take."""
    return ticket & _PARTS < ticket >> 16 & _PARTS


@jit
def _take(pool, first):
    """Do parts of the job as long as there are any, from the first on or from the last back.

    What is read of the job is right if the ticket has not changed since: until all of its parts are
    taken, and done, nobody writes another job.
    """
    while True:
        ticket = load(pool + TICKET)
        if not _waiting(ticket):
            return
        code, data = load(pool + CODE), load(pool + DATA)
        if exchange(pool + TICKET, ticket, ticket + 1 if first else ticket - (1 << 16)):
            part = ticket & _PARTS if first else (ticket >> 16 & _PARTS) - 1
            if invoke(code, data, part):
                store(pool + FAILED, 1)
            add(pool + LEFT, -1)


@jit
def _sleep(pool):
    """Wait for the bell; a job that came before this thread could hear it is not missed."""
    lock, bell = pool + LOCK, pool + BELL
    add(pool + SLEEPERS, 1)
    foreign("tinygen_lock", (lock,))
    while not _waiting(load(pool + TICKET)) and load(pool + STOP) == 0:
        foreign("tinygen_wait", (bell, lock, 0xFFFFFFFF, 0))
    foreign("tinygen_unlock", (lock,))
    add(pool + SLEEPERS, -1)


@jit
def _ring(pool, times):
    """Wake up to so many workers."""
    foreign("tinygen_lock", (pool + LOCK,))
    for _ in range(times):
        foreign("tinygen_ring", (pool + BELL,))
    foreign("tinygen_unlock", (pool + LOCK,))


@jit
def _wake(pool):
    """Wake two workers where parts are left for them; they wake others, so that no one has to wake
    all those of a large machine, at 2 us each."""
    ticket = load(pool + TICKET)
    left = (ticket >> 16 & _PARTS) - (ticket & _PARTS) - 1
    if left > 0 and load(pool + SLEEPERS):
        _ring(pool, min(left, 2))


@jit
def serve():
    """What a worker does from beginning to end."""
    pool = symbol("tinygen_pool")
    while load(pool + STOP) == 0:
        looks = 0
        while looks < PATIENCE and not _waiting(load(pool + TICKET)):
            for _ in range(8):
                pause()
            looks += 1
            if looks % 8 == 0:
                foreign("tinygen_yield", ())
        if looks == PATIENCE:
            _sleep(pool)
            _wake(pool)
        _take(pool, False)


@jit
def wake(times):
    """Wake up to so many workers that sleep."""
    _ring(symbol("tinygen_pool"), times)


@jit
def run(code, data, parts):
    """Call the function at address `code` with `data` and each part; whether one of them failed."""
    pool = symbol("tinygen_pool")
    failed = 0
    if parts == 1 or parts > _PARTS or not exchange(pool + BUSY, 0, 1):
        for t in range(parts):
            failed |= invoke(code, data, t)
        return failed
    store(pool + CODE, code)
    store(pool + DATA, data)
    store(pool + FAILED, 0)
    store(pool + LEFT, parts)
    generation = (load(pool + TICKET) >> 32) + 1 & 0x7FFFFFFF
    store(pool + TICKET, generation << 32 | parts << 16)
    _wake(pool)
    _take(pool, True)
    looks = 0
    while load(pool + LEFT):
        pause()
        looks += 1
        if looks % 1024 == 0:
            foreign("tinygen_yield", ())
    failed = load(pool + FAILED)
    store(pool + BUSY, 0)
    return failed


@intrinsic
def fork(typingctx, body, arguments, parts):
    """Call body(*arguments, t, parts) for all t < parts, on as many threads as there are.

    The body is compiled once, for any number of threads. It returns nothing; where it runs out of
    memory, so does the caller.
    """
    return types.none(body, arguments, types.int64), _shared(body, arguments, 1, lambda b, t, n: [
        t, n[0]])


@intrinsic
def ranges(typingctx, body, arguments, n, parts):
    """Call body(*arguments, first, last) for `parts` ranges of the numbers below n, as `fork` does.

    The ranges follow each other, and none is more than one longer than another.
    """
    def bounds(b, t, numbers):
        n, parts = numbers
        after = b.add(t, ir.Constant(_i64, 1))
        return [b.udiv(b.mul(n, t), parts), b.udiv(b.mul(n, after), parts)]
    return (types.none(body, arguments, types.int64, types.int64),
            _shared(body, arguments, 2, bounds))


def _shared(body: Any, arguments: Any, extra: int, numbers: Any) -> Any:
    """The code of a call whose last `extra` arguments say how it is cut; `parts` is the last.

    `numbers` makes the last two arguments of the body from the number of the part and those.
    """
    kinds = (*map(types.unliteral, arguments.types), types.int64, types.int64)
    made = body.dispatcher.get_compile_result(types.none(*kinds))
    launch = run.get_compile_result(types.int64(types.int64, types.int64, types.int64))

    def codegen(context, builder, signature, args):
        context.add_linking_libs([made.library, launch.library])
        values = [_borrowed(context, builder, kind, value) for kind, value in zip(
            kinds, cgutils.unpack_tuple(builder, args[1]), strict=False)] + list(args[2:])
        struct = ir.LiteralStructType([v.type for v in values])
        data = cgutils.alloca_once(builder, struct)
        for i, value in enumerate(values):
            builder.store(value, cgutils.gep_inbounds(builder, data, 0, i))
        part = _part(context, builder.module, made, struct, extra, numbers)
        _, failed = context.call_internal_no_propagate(builder, launch.fndesc, launch.signature, [
            builder.ptrtoint(part, _i64), builder.ptrtoint(data, _i64), args[-1]])
        with builder.if_then(cgutils.is_not_null(builder, failed), likely=False):
            context.call_conv.return_user_exc(builder, MemoryError, ("a kernel's scratch memory",))
        return context.get_dummy_value()
    return codegen


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An argument; an array without its owner, whose counter the threads would fight over.

    The caller keeps it. Softmax of 4096 rows of 64, which makes a view of each row, took 0.37 ms on
    one thread and 1.25 on two.
    """
    if not isinstance(kind, types.Array):
        return value
    made = context.make_array(kind)(context, builder, value)
    made.meminfo = ir.Constant(made.meminfo.type, None)
    return made._getvalue()


def _part(context: Any, module: Any, made: Any, struct: Any, extra: int, numbers: Any) -> Any:
    """A C function of the arguments' address and a part's number that calls the compiled body."""
    name = module.get_unique_name("part")
    function = ir.Function(module, ir.FunctionType(_i64, [_i64, _i64]), name)
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    data = builder.inttoptr(function.args[0], struct.as_pointer())
    values = [builder.load(cgutils.gep_inbounds(builder, data, 0, i))
              for i in range(len(struct.elements))]
    own, last = values[:-extra], values[-extra:]
    status, _ = context.call_internal_no_propagate(
        builder, made.fndesc, made.signature, [*own, *numbers(builder, function.args[1], last)])
    builder.ret(builder.zext(status.is_error, _i64))
    return function


class _Pool:
    """The pool's memory and its threads."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(SIZE + LINE)
        self._place = (ctypes.addressof(self._buffer) + LINE - 1) // LINE * LINE
        self._threads: list[threading.Thread] = []
        self._library = ctypes.WinDLL("kernel32") if sys.platform == "win32" else ctypes.CDLL(None)
        for name, foreign_name in (_WINDOWS if sys.platform == "win32" else _POSIX).items():
            code = ctypes.cast(getattr(self._library, foreign_name), ctypes.c_void_p).value
            binding.add_symbol(f"tinygen_{name}", code)
        binding.add_symbol("tinygen_pool", self._place)

    def start(self) -> None:
        """Begin with fresh memory; a process that was forked has none of its parent's threads."""
        ctypes.memset(self._place, 0, SIZE)
        if sys.platform != "win32":
            self._library.pthread_mutex_init(ctypes.c_void_p(self._place + LOCK), None)
            self._library.pthread_cond_init(ctypes.c_void_p(self._place + BELL), None)
        self._threads = [threading.Thread(target=serve, name=f"tinygen-{i}", daemon=True)
                         for i in range(1, threads.count.largest)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the workers end, before the interpreter takes their code away."""
        ctypes.c_int64.from_address(self._place + STOP).value = 1
        wake(len(self._threads))
        for thread in self._threads:
            thread.join(1)


_pool = _Pool()
serve.compile(())
_pool.start()
atexit.register(_pool.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.start)
