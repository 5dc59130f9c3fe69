"""Compiles generated loops over the elements of large arrays, and runs them on all threads."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from . import vecmath
from .base import jit
from .bits import fabs
from .cache import KernelCache
from .pool import fork
from .vecmath import __all__ as _names

__all__ = ["OUTPUTS", "compiled", "get", "launch", "pointer", "put"]


@intrinsic
def pointer(typingctx, address, like):
    """An address as that of numbers of the type of `like`."""
    made = types.CPointer(like.dtype)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(made))
    return made(types.int64, like), generate


def _place(builder: Any, array: Any, place: Any) -> Any:
    return builder.gep(array, [place], inbounds=True)


@intrinsic
def get(typingctx, array, place):
    """Element `place` of an input. Inputs and outputs do not overlap, which LLVM is told: of more
    than four arrays it would not look, and use no vectors."""
    def generate(context, builder, signature, args):
        found = builder.load(_place(builder, *args))
        found.set_metadata("noalias", builder.module.add_metadata(_scopes(builder.module)))
        return found
    return array.dtype(array, types.int64), generate


@intrinsic
def put(typingctx, array, place, value, output):
    """Set element `place` of an output, which has a number."""
    if not isinstance(output, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, args):
        number = context.cast(builder, args[2], value, array.dtype)
        made = builder.store(number, _place(builder, *args[:2]))
        scopes, module = _scopes(builder.module), builder.module
        own = scopes[output.literal_value]
        made.set_metadata("alias.scope", module.add_metadata([own]))
        made.set_metadata("noalias", module.add_metadata([s for s in scopes if s is not own]))
        return context.get_dummy_value()
    return types.void(array, types.int64, value, output), generate


@intrinsic
def added(typingctx, total, value):
    """total + value, in any order: this addition may run on vectors.

    Nothing else in a chain may be rewritten: with `arcp` 1 / sqrt(x) becomes an estimate, which is
    NaN for 0 and infinity, and x / x of tiny numbers infinite.
    """
    def generate(context, builder, signature, args):
        number = context.cast(builder, args[1], value, total)
        return builder.fadd(args[0], number, flags=("reassoc", "nsz", "contract"))
    return total(total, value), generate


OUTPUTS = 32        # a chain has fewer


def _scopes(module: Any) -> list[Any]:
    """A name for the memory of each output."""
    domain = module.add_metadata([ir.MetaDataString(module, "outputs of a chain")])
    return [module.add_metadata([ir.MetaDataString(module, f"output {k}"), domain])
            for k in range(OUTPUTS)]

_SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64)
_scope: dict[str, Any] = {"__name__": __name__, "sqrt": np.sqrt, "inf": math.inf, "nan": math.nan,
                          "added": added, "fabs": fabs, "carray": carray, "get": get,
                          "pointer": pointer, "put": put,
                          **{name: getattr(vecmath, name) for name in _names}}
_made: dict[tuple[str, str], CFunc] = {}


def compiled(text: str, kind: Any) -> int:
    """The address of a loop, given as text; equal texts share it, on disk as well."""
    made = _made.get((text, kind.name))
    if made is None:
        name = f"chain_{hashlib.sha256((kind.name + text).encode()).hexdigest()[:16]}"
        scope = {**_scope, "kind": kind.type, "zero": kind.type(0), "one": kind.type(1),
                 "like": np.zeros(1, kind)}
        code = re.sub(r"(\w+) \+= (.+)", r"\1 = added(\1, \2)", text)
        exec(compile(code.replace("def chain(", f"def {name}(", 1), __file__, "exec"), scope)
        made = CFunc(scope[name], (_SIGNATURE.args, _SIGNATURE.return_type), {},
                     {"nopython": True, "boundscheck": False, "error_model": "numpy",
                      "fastmath": {"contract"}})
        made._cache = KernelCache(scope[name])
        made.compile()
        _made[text, kind.name] = made
    return made.address


@intrinsic
def _call(typingctx, address, table, first, last, part):
    """Call the loop at `address`."""
    def generate(context, builder, signature, args):
        long = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [long.as_pointer(), long, long, long])
        f = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(f, [builder.inttoptr(args[1], long.as_pointer()), *args[2:]])
        return context.get_dummy_value()
    return types.void(*[types.int64] * 5), generate


@jit
def _part(address, table, n, t, parts):
    _call(address, table, n * t // parts, n * (t + 1) // parts, t)


@jit
def launch(address, table, n, parts, together):
    """Run a loop on the parts of n elements, or rows: each part gives its own sums."""
    if together:
        fork(_part, (address, table, n), parts)
    else:
        for t in range(parts):
            _part(address, table, n, t, parts)
