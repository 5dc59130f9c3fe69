"""The innermost loop of every product: a tile of C held in vector registers.

    C[i, j] (+)= sum over k of A[i, k] * B[k, j],   0 <= i < m,  0 <= j < n <= COLUMNS vectors

Each step of k loads one row of B into vector registers, takes one number of each row of A into all
lanes of another, and adds their product to the m rows of C, which stay in registers throughout.
LLVM cannot be talked into this from a plain loop nest (it spills the tile), so the loop is built
from vectors here, for whatever width the processor has; everything around it is Numba.

A is read where it lies. Two forms cover what the callers need:

* `rows`: the address of each row is in a table, k is contiguous (matrices; patches of images);
* `columns`: i is contiguous, steps of k are a given number of bytes apart (transposed matrices).
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["COLUMNS", "ROWS", "VECTOR_BYTES", "address", "columns_tile", "copy_row", "keep",
           "lanes", "narrow_tile", "rows_tile", "stays_apart", "transpose_tile"]

_features = binding.get_host_cpu_features()
_WIDE = bool(_features.get("avx512f"))
VECTOR_BYTES = 64 if _WIDE else 32 if _features.get("avx2") else 16
# The tile fills the registers: 14 x 2 of 32 sums, 2 of B and one of A with AVX-512, 6 x 2 of 16
# with AVX2, and 12 x 2 of 32 on ARM.
ROWS = 14 if _WIDE else 6 if _features.get("avx2") else 12
COLUMNS = 2
_UNROLL = 2

_i64, _i32, _i1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)


def lanes(itemsize: int) -> int:
    """Numbers in a vector register."""
    return VECTOR_BYTES // itemsize


def _scalar(dtype: Any) -> Any:
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


@intrinsic
def address(typingctx, array):
    """The address of an array's first element, as an integer."""
    def codegen(context, builder, signature, args):
        made = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(made.data, _i64)
    return types.int64(array), codegen


@intrinsic
def keep(typingctx, array):
    """Does nothing, after the last use of an array's address: until then it must not be freed.

    Numba frees an array after the last line that names it; of the address it knows nothing.
    """
    def codegen(context, builder, signature, args):
        return context.get_dummy_value()
    return types.none(array), codegen


@intrinsic
def stays_apart(typingctx):
    """Called anywhere in a function: LLVM must not copy that function into its callers.

    A function with a tile in it is 2000 lines of machine code; four copies in a parallel loop took
    47 s to compile, one takes 6.
    """
    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()
    return types.none(), codegen


class _Tile:
    """Emits the loop for m rows of A and `COLUMNS` vectors of B."""

    def __init__(self, builder: Any, dtype: Any, m: int, columns: int):
        self.b, self.m, self.columns = builder, m, columns
        self.scalar = _scalar(dtype)
        self.size = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)

    def at(self, base: Any, offset: Any, kind: Any) -> Any:
        place = offset if isinstance(offset, ir.Value) else ir.Constant(_i64, offset)
        return self.b.inttoptr(self.b.add(base, place), kind.as_pointer())

    def load(self, base: Any, offset: Any, kind: Any) -> Any:
        return self.b.load(self.at(base, offset, kind), align=self.size)

    def splat(self, x: Any) -> Any:
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), x,
                                    ir.Constant(_i32, 0))
        mask = ir.Constant(ir.VectorType(_i32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), mask)

    def fma(self, a: Any, x: Any, c: Any) -> Any:
        name = f"llvm.fma.v{self.lanes}f{self.size * 8}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [a, x, c])

    def step(self, sums: list[Any], a_of: Any, b_row: Any) -> list[Any]:
        """One k: sums[i, j] += a[i] * b[j]."""
        b = [self.load(b_row, VECTOR_BYTES * j, self.vector) for j in range(self.columns)]
        out = []
        for i in range(self.m):
            a = self.splat(a_of(i))
            out += [self.fma(a, b[j], sums[i * self.columns + j]) for j in range(self.columns)]
        return out

    def loop(self, count: Any, unroll: int, state: list[Any], body: Any) -> list[Any]:
        """state = body(state) `count // unroll` times, the state in phi nodes; body does unroll."""
        b = self.b
        before = b.block
        head, inside, after = (b.append_basic_block(n) for n in ("head", "inside", "after"))
        turns = b.udiv(count, ir.Constant(_i64, unroll)) if unroll > 1 else count
        b.branch(head)
        b.position_at_end(head)
        turn = b.phi(_i64)
        turn.add_incoming(ir.Constant(_i64, 0), before)
        phis = []
        for s in state:
            p = b.phi(s.type)
            p.add_incoming(s, before)
            phis.append(p)
        b.cbranch(b.icmp_unsigned("<", turn, turns), inside, after)
        b.position_at_end(inside)
        new = body(phis)
        back = b.block
        turn.add_incoming(b.add(turn, ir.Constant(_i64, 1)), back)
        for p, s in zip(phis, new, strict=True):
            p.add_incoming(s, back)
        b.branch(head)
        b.position_at_end(after)
        return phis

    def prefetch(self, c: Any, ldc: Any) -> None:
        """Ask for the rows of C now: they are written some thousand cycles later."""
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _i32, _i32, _i32])
        fn = cgutils.get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0")
        write, soon, data = (ir.Constant(_i32, v) for v in (1, 3, 1))
        for _ in range(self.m):
            for j in range(self.columns):
                place = self.at(c, VECTOR_BYTES * j, ir.IntType(8))
                self.b.call(fn, [place, write, soon, data])
            c = self.b.add(c, ldc)

    def masks(self, n: Any) -> list[Any]:
        """Which lanes of each vector are among the first n columns."""
        index = ir.VectorType(_i32, self.lanes)
        wide = self.b.trunc(n, _i32)
        one = self.b.insert_element(ir.Constant(index, ir.Undefined), wide, ir.Constant(_i32, 0))
        limit = self.b.shuffle_vector(one, ir.Constant(index, ir.Undefined),
                                      ir.Constant(index, [0] * self.lanes))
        return [self.b.icmp_signed("<", ir.Constant(
            index, [j * self.lanes + k for k in range(self.lanes)]), limit)
            for j in range(self.columns)]

    def masked(self, what: str, place: Any, mask: Any, value: Any = None) -> Any:
        suffix = f"v{self.lanes}f{self.size * 8}.p0"
        bits = ir.VectorType(_i1, self.lanes)
        pointer = self.vector.as_pointer()
        align = ir.Constant(_i32, self.size)
        if what == "store":
            kind = ir.FunctionType(ir.VoidType(), [self.vector, pointer, _i32, bits])
            fn = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.masked.store.{suffix}")
            return self.b.call(fn, [value, place, align, mask])
        kind = ir.FunctionType(self.vector, [pointer, _i32, bits, self.vector])
        fn = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.masked.load.{suffix}")
        return self.b.call(fn, [place, align, mask, ir.Constant(self.vector, None)])

    def store(self, sums: list[Any], c: Any, ldc: Any, n: Any, add: Any) -> None:
        """C = sums, C += sums or C = sums + a row of numbers; the first n columns are touched.

        `add` is 0 for the first, 1 for the second, and the row's address for the third.
        """
        b, masks = self.b, self.masks(n)
        own = b.icmp_signed("==", add, ir.Constant(_i64, 1))
        old, step = b.select(own, c, add), b.select(own, ldc, ir.Constant(_i64, 0))
        with b.if_else(b.icmp_signed("!=", add, ir.Constant(_i64, 0))) as (then, otherwise):
            for block, adding in ((then, True), (otherwise, False)):
                with block:
                    row = c
                    for i in range(self.m):
                        for j in range(self.columns):
                            place = self.at(row, VECTOR_BYTES * j, self.vector)
                            value = sums[i * self.columns + j]
                            if adding:
                                there = self.at(old, VECTOR_BYTES * j, self.vector)
                                value = b.fadd(value, self.masked("load", there, masks[j]))
                            self.masked("store", place, masks[j], value)
                        row = b.add(row, ldc)
                        old = b.add(old, step) if adding else old



def _each_height(builder: Any, m: Any, emit: Any) -> None:
    """Run emit(rows) for the number of rows that m has, 1 to ROWS."""
    end = builder.append_basic_block("end")
    blocks = [builder.append_basic_block(f"rows{i}") for i in range(1, ROWS + 1)]
    choice = builder.switch(m, end)
    for i, block in enumerate(blocks, 1):
        choice.add_case(ir.Constant(_i64, i), block)
        builder.position_at_end(block)
        emit(i)
        builder.branch(end)
    builder.position_at_end(end)


def _rows_form(columns: int, dtype: Any) -> Any:
    """The signature and the code of a tile of so many vectors, for rows of A in a table."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, table, kc, b0, ldb, c, ldc, n, add = args[1:]

        def emit(rows):
            tile = _Tile(builder, kind, rows, columns)
            tile.prefetch(c, ldc)
            a = [tile.load(table, 8 * i, _i64) for i in range(rows)]
            zero = ir.Constant(tile.vector, None)
            state = [zero] * (rows * columns) + [b0, ir.Constant(_i64, 0)]

            def turns(unroll):
                def body(s):
                    sums, b, k = list(s[:-2]), s[-2], s[-1]
                    for u in range(unroll):
                        sums = tile.step(sums, lambda i, u=u: tile.load(
                            builder.add(a[i], k), u * tile.size, tile.scalar), b)
                        b = builder.add(b, ldb)
                    return [*sums, b, builder.add(k, ir.Constant(_i64, unroll * tile.size))]
                return body
            state = tile.loop(kc, _UNROLL, state, turns(_UNROLL))
            rest = builder.urem(kc, ir.Constant(_i64, _UNROLL))
            state = tile.loop(rest, 1, state, turns(1))
            tile.store(state[:-2], c, ldc, n, add)
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 9), codegen


@intrinsic
def rows_tile(typingctx, dtype, m, table, kc, b, ldb, c, ldc, n, add):
    """The tile for rows of A at the m addresses of `table`; ldb and ldc are in bytes.

    All but `dtype` are int64: addresses, counts and strides. m is at most ROWS. `add` is 0 to
    overwrite C, 1 to add to it, or the address of a row of numbers that is added to A B.
    """
    return _rows_form(COLUMNS, dtype)


@intrinsic
def narrow_tile(typingctx, dtype, m, table, kc, b, ldb, c, ldc, n, add):
    """`rows_tile` for n <= 1 vector of columns: half the arithmetic."""
    return _rows_form(1, dtype)


@intrinsic
def columns_tile(typingctx, dtype, m, a, lda, kc, b, ldb, c, ldc, n, add):
    """The tile for rows of A that lie side by side from address `a` on; steps of k are lda apart.

    All but `dtype` are int64: addresses, counts, and strides in bytes. m is at most ROWS. `add` is
    0 to overwrite C, 1 to add to it, or the address of a row of numbers that is added to A B.
    """
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        m, a0, lda, kc, b0, ldb, c, ldc, n, add = args[1:]

        def emit(rows):
            tile = _Tile(builder, kind, rows, COLUMNS)
            tile.prefetch(c, ldc)
            zero = ir.Constant(tile.vector, None)
            state = [zero] * (rows * COLUMNS) + [a0, b0]

            def turns(unroll):
                def body(s):
                    sums, a, b = list(s[:-2]), s[-2], s[-1]
                    for _ in range(unroll):
                        sums = tile.step(sums, lambda i, a=a: tile.load(
                            a, i * tile.size, tile.scalar), b)
                        a, b = builder.add(a, lda), builder.add(b, ldb)
                    return [*sums, a, b]
                return body
            state = tile.loop(kc, _UNROLL, state, turns(_UNROLL))
            rest = builder.urem(kc, ir.Constant(_i64, _UNROLL))
            state = tile.loop(rest, 1, state, turns(1))
            tile.store(state[:-2], c, ldc, n, add)
        _each_height(builder, m, emit)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 10), codegen


@intrinsic
def copy_row(typingctx, dtype, source, target, n):
    """Copy n <= 2 vectors of numbers between two addresses; the rest of the 2 vectors becomes 0."""
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        _, source, target, n = args
        tile = _Tile(builder, kind, 0, COLUMNS)
        for j, mask in enumerate(tile.masks(n)):
            value = tile.masked("load", tile.at(source, VECTOR_BYTES * j, tile.vector), mask)
            builder.store(value, tile.at(target, VECTOR_BYTES * j, tile.vector), align=tile.size)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 3), codegen


@intrinsic
def transpose_tile(typingctx, dtype, source, stride, rows, columns, target, step):
    """Transpose a square of `lanes` x `lanes` numbers: rows `stride` bytes apart to `step` apart.

    Only the first `rows` rows and `columns` columns are read; the others count as 0. In log2(lanes)
    rounds each row trades blocks of 1, 2, 4, ... columns with another row: one shuffle of two
    registers per row and round, a quarter of a cycle per number.
    """
    kind = dtype.dtype

    def codegen(context, builder, signature, args):
        _, place, stride, count, columns, target, step = args
        tile = _Tile(builder, kind, 0, 1)
        n, lines = tile.lanes, []
        mask, none = tile.masks(columns)[0], ir.Constant(ir.VectorType(_i1, tile.lanes), None)
        for r in range(n):
            inside = builder.icmp_signed("<", ir.Constant(_i64, r), count)
            lines.append(tile.masked("load", tile.at(place, 0, tile.vector),
                                     builder.select(inside, mask, none)))
            place = builder.add(place, stride)
        _transpose(builder, lines)
        for line in lines:
            builder.store(line, tile.at(target, 0, tile.vector), align=tile.size)
            target = builder.add(target, step)
        return context.get_dummy_value()
    return types.none(dtype, *[types.int64] * 6), codegen


def _transpose(builder: Any, lines: list[Any]) -> None:
    """Transpose the square matrix whose rows are these vectors."""
    n, width = len(lines), 1
    while width < n:
        low = [i if not i & width else n + i - width for i in range(n)]
        high = [i + width if not i & width else n + i for i in range(n)]
        for r in range(n):
            if not r & width:
                pair = lines[r], lines[r + width]
                lines[r], lines[r + width] = (builder.shuffle_vector(*pair, ir.Constant(
                    ir.VectorType(_i32, n), mask)) for mask in (low, high))
        width *= 2
