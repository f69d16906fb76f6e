"""The inner step of dense products, held in registers, and a hint to the memory; for use inside other Numba kernels.

Numba's own loops reach half of what a core can multiply, since they load and store the sums at every step, and a call of
BLAS for matrices of a few dozen rows costs more than it saves and starts threads of its own. Here 4 × 16 sums (4 × 8 in
float64) stay in registers while the loop runs over what is summed. The order of the sums is fixed, so results are the
same at any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TALL, VECTORS = 4, 2  # rows of a tile, vectors of 32 bytes in each
INDEX = ir.IntType(64)
#: What loops may do with sums: reorder and fuse (once, when compiled), but nothing that assumes there is no NaN.
FAST = {"reassoc", "contract", "nsz", "arcp"}


def _tile(sign: str) -> Any:
    """An intrinsic that adds or subtracts one tile of products."""

    @intrinsic
    def tile(typing: Any, a: Any, at: Any, step: Any, across: Any, b: Any, bt: Any, ldb: Any, c: Any, ct: Any, ldc: Any, k: Any) -> Any:  # fmt: skip
        n = types.intp
        signature = types.void(a, n, n, n, b, n, n, c, n, n, n)
        kind = ir.FloatType() if c.dtype == types.float32 else ir.DoubleType()
        size = 4 if c.dtype == types.float32 else 8
        width = 32 // size
        vector = ir.VectorType(kind, width)
        nothing = ir.Constant(vector, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        const = lambda value: ir.Constant(INDEX, value)

        def make(context: Any, builder: Any, _: Any, args: Any) -> Any:
            def start(array: Any, value: Any, offset: Any) -> Any:
                data = context.make_array(array)(context, builder, value=value).data
                return builder.add(builder.ptrtoint(data, INDEX), builder.mul(offset, const(size)))

            left, right, out = start(a, args[0], args[1]), start(b, args[4], args[5]), start(c, args[7], args[8])
            step, across, ldb, ldc = (builder.mul(args[i], const(size)) for i in (2, 3, 6, 9))
            k = args[10]
            place = lambda base, j: builder.inttoptr(builder.add(base, const(32 * j)), vector.as_pointer())
            rows = [builder.add(out, builder.mul(ldc, const(i))) for i in range(TALL)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(VECTORS)] for _ in range(TALL)]
            for i in range(TALL):
                for j in range(VECTORS):
                    builder.store(builder.load(place(rows[i], j), align=size), sums[i][j])
            offsets = [builder.mul(across, const(i)) for i in range(TALL)]
            with cgutils.for_range(builder, k, intp=INDEX) as loop:
                here = builder.add(right, builder.mul(loop.index, ldb))
                beside = builder.add(left, builder.mul(loop.index, step))
                vectors = [builder.load(place(here, j), align=size) for j in range(VECTORS)]
                for i in range(TALL):
                    spot = builder.inttoptr(builder.add(beside, offsets[i]), kind.as_pointer())
                    scalar = builder.insert_element(
                        nothing, builder.load(spot, align=size), ir.Constant(ir.IntType(32), 0)
                    )
                    same = builder.shuffle_vector(scalar, nothing, first)
                    for j in range(VECTORS):
                        product = builder.fmul(same, vectors[j], flags=("contract",))
                        combine = builder.fadd if sign == "+" else builder.fsub
                        builder.store(combine(builder.load(sums[i][j]), product, flags=("contract",)), sums[i][j])
            for i in range(TALL):
                for j in range(VECTORS):
                    builder.store(builder.load(sums[i][j]), place(rows[i], j), align=size)
            return context.get_dummy_value()

        return signature, make

    return tile


#: add(a, at, step, across, b, bt, ldb, c, ct, ldc, k): for i < 4, j < 16 (8 in float64)
#: c[ct + i ldc + j] += Σ_{p < k} a[at + p step + i across] b[bt + p ldb + j]; offsets and strides count elements from the
#: first of each array. Nothing is checked: whoever calls has room for whole tiles.
add = _tile("+")
#: The same, subtracted.
subtract = _tile("-")


@intrinsic
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of element `offset` of an array, counted from its first; no effect on results."""
    signature = types.void(array, types.intp)

    def make(context: Any, builder: Any, _: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, value=args[0]).data
        number = ir.IntType(32)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(
            hint, [builder.bitcast(builder.gep(data, [args[1]]), byte), *(ir.Constant(number, v) for v in (0, 3, 1))]
        )
        return context.get_dummy_value()

    return signature, make


@njit(cache=True, nogil=True, inline="always")
def columns(array):  # type: ignore[no-untyped-def]
    """Columns of a tile for arrays of this kind."""
    return 64 // array.itemsize


@njit(cache=True, nogil=True)
def gram_into(out, rows, n, width):  # type: ignore[no-untyped-def]
    """Add rowsᵀ rows of the first n rows to the upper triangle of out [width, width] (in whole tiles, so a little below
    the diagonal too); both C-contiguous with a multiple of 16 columns, `width` one too."""
    wide = columns(out)
    ld, la = out.shape[1], rows.shape[1]
    for i in range(0, width, 4):
        for j in range(i // wide * wide, width, wide):
            add(rows, i, la, 1, rows, j, la, out, i * ld + j, ld, n)


@njit(cache=True, nogil=True, fastmath=FAST)
def product_into(out, left, right, low, high):  # type: ignore[no-untyped-def]
    """out[low:high] = left[low:high] right for C-contiguous left [n, m], right [m, w], out [n, w], w a multiple of 16;
    `left` may be `out` itself where m = w."""
    wide = columns(out)
    m, w = left.shape[1], right.shape[1]
    rows = np.zeros((TALL, m), out.dtype)
    for i in range(low, high, TALL):
        count = min(TALL, high - i)
        for a in range(count):
            rows[a] = left[i + a]
            out[i + a] = 0
        if count == TALL:
            for j in range(0, w, wide):
                add(rows, 0, 1, m, right, j, w, out, i * w + j, w, m)
            continue
        for a in range(count):
            own = out[i + a]
            for p in range(m):
                value, row = rows[a, p], right[p]
                for j in range(w):
                    own[j] += value * row[j]


@njit(cache=True, nogil=True, fastmath=FAST)
def cholesky_solve(a, b, n, width):  # type: ignore[no-untyped-def]
    """Solve A x = b in place of b for the symmetric positive A in the upper triangle of a [≥ width, ≥ width], which is
    overwritten by U of A = Uᵀ U. `width` is n rounded up to a multiple of 16; rows and columns from n on must be those
    of the unit matrix, and b has `width` places, 0 from n on."""
    wide, one = columns(a), a.dtype.type(1)
    ld = a.shape[1]
    for j in range(0, n, 4):
        low = j // wide * wide
        for c in range(low, width, wide):
            subtract(a, j, ld, 1, a, c, ld, a, j * ld + c, ld, j)
        rows = a[j : j + 4]
        for p in range(4):
            row = rows[p]
            for q in range(p):
                above, factor = rows[q], rows[q, j + p]
                for c in range(np.uintp(low), np.uintp(width)):
                    row[c] -= factor * above[c]
            scale = one / np.sqrt(row[j + p])
            for c in range(np.uintp(low), np.uintp(width)):
                row[c] *= scale
    for p in range(n):
        row = a[p]
        value = b[p] / row[p]
        for c in range(np.uintp(p), np.uintp(width)):
            b[c] -= value * row[c]
        b[p] = value
    for p in range(n - 1, -1, -1):
        row = a[p]
        total = a.dtype.type(0)
        for c in range(np.uintp(p + 1), np.uintp(width)):
            total += row[c] * b[c]
        b[p] = (b[p] - total) / row[p]
