# mypy: disable-error-code="no-untyped-def"
"""Steps over eight float32 at once, as LLVM vectors inside Numba functions: what a compiler does not find by itself.

LLVM makes them AVX, SSE or NEON, whatever the machine has, so nothing here is written for one processor. All arrays are
one-dimensional and contiguous, all places count elements. Nothing is checked: callers keep to their arrays.
"""

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
QUERIES, ITEMS = 6, 16  # a tile of products: its twelve sums stay in registers
HEAD = 8  # bytes ahead of a row of bytes: its step and its bound, float32 both; see `quantised`
ADDED = 64  # columns that are summed at once: their sums stay in registers too
_FUSED = ("contract",)  # a product and a sum may round once; nothing else is relaxed, so NaN stays NaN

_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_F32, LANES)
_BYTES, _SHORTS, _WHOLES = (ir.VectorType(kind, 2 * LANES) for kind in (_I8, _I16, _I32))
_SUMS = ir.VectorType(_I32, LANES)


def _data(context, builder, kind, value):
    return context.make_array(kind)(context, builder, value).data


def _at(builder, data, place):
    return builder.gep(data, [place])


def _vector(builder, data, place):
    """Eight floats from a place on."""
    return builder.load(builder.bitcast(_at(builder, data, place), _VECTOR.as_pointer()), align=4)


def _splat(builder, value):
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        one, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    )


def _shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, LANES), order))


def _turned(builder, a):
    """Eight vectors of eight, turned: rows become columns."""
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    b = [_shuffled(builder, a[j], a[j + 1], order) for j in (0, 2, 4, 6) for order in (low, high)]
    first, second = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    pairs = ((b[j], b[j + 2]) for base in (0, 4) for j in (base, base + 1))
    c = [_shuffled(builder, x, y, order) for x, y in pairs for order in (first, second)]
    lower, upper = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return [_shuffled(builder, c[j], c[j + 4], order) for order in (lower, upper) for j in range(4)]


@intrinsic
def tile(typing, panel, panel_at, queries, at, depth, least, least_at, out, masks):
    """The products of 6 queries with 16 items, looked at while they are in registers: how many rows of the tile hold one
    that reaches its query's `least`, as bits.

    panel float32: item j's component c at `panel_at + 16 c + j`; queries float32: query i's at `at + 6 c + i`. Only where
    a bit is set are the 96 products written to `out` and the bits of each row to `masks` int64 [6]. Components are summed
    in order, so a product does not depend on what else is in the tile. NaN reaches nothing.
    """
    sig = types.int64(panel, types.int64, queries, types.int64, types.int64, least, types.int64, out, masks)

    def codegen(context, builder, signature, args):
        data = lambda i: _data(context, builder, signature.args[i], args[i])
        panel_data, query_data, least_data, out_data, mask_data = data(0), data(2), data(5), data(7), data(8)
        sums = _zeros(builder, 2 * QUERIES)
        const = lambda n: ir.Constant(_I64, n)
        with cgutils.for_range(builder, args[4], intp=_I64) as loop:
            base = builder.add(args[1], builder.mul(loop.index, const(ITEMS)))
            left = _vector(builder, panel_data, base)
            right = _vector(builder, panel_data, builder.add(base, const(LANES)))
            own = builder.add(args[3], builder.mul(loop.index, const(QUERIES)))
            for i in range(QUERIES):
                one = _splat(builder, builder.load(_at(builder, query_data, builder.add(own, const(i)))))
                for half, lanes in enumerate((left, right)):
                    _gain(builder, sums[2 * i + half], one, lanes)
        return _told(builder, sums, least_data, args[6], out_data, mask_data)

    return sig, codegen


def _told(builder, sums, least, least_at, out, masks):
    """Whether any of the sums, two vectors a query, reaches its query's least; if so, they and the bits are written."""
    const = lambda n: ir.Constant(_I64, n)
    found = [builder.load(cell) for cell in sums]
    reached = []
    for i in range(len(sums) // 2):
        low = _splat(builder, builder.load(_at(builder, least, builder.add(least_at, const(i)))))
        reached.append([builder.fcmp_ordered(">=", found[2 * i + half], low) for half in range(2)])
    anything = reached[0][0]
    for pair in reached:
        for lanes in pair:
            anything = builder.or_(anything, lanes)
    result = cgutils.alloca_once_value(builder, const(0))
    builder.store(const(0), result)
    with builder.if_then(
        builder.icmp_unsigned("!=", builder.bitcast(anything, _I8), ir.Constant(_I8, 0)), likely=False
    ):
        for i, pair in enumerate(reached):
            halves = [builder.zext(builder.bitcast(lanes, _I8), _I64) for lanes in pair]
            bits = builder.or_(halves[0], builder.shl(halves[1], const(LANES)))
            builder.store(bits, _at(builder, masks, const(i)))
            for half in range(2):
                where = _at(builder, out, const(ITEMS * i + LANES * half))
                builder.store(found[2 * i + half], builder.bitcast(where, _VECTOR.as_pointer()), align=4)
        builder.store(const(1), result)
    return builder.load(result)


def _zeros(builder, n):
    """Cells of sums, set to 0 wherever this is reached."""
    cells = [cgutils.alloca_once(builder, _VECTOR) for _ in range(n)]
    for cell in cells:
        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), cell)
    return cells


def _gain(builder, cell, one, lanes):
    product = builder.fmul(one, lanes, flags=_FUSED)
    builder.store(builder.fadd(builder.load(cell), product, flags=_FUSED), cell)


@intrinsic
def tile_one(typing, table, places, queries, at, d, least, least_at, out, masks):
    """`tile` for one query, whose d components begin at `at`, and 16 rows where they lie: row j begins at `places[j]`.

    Eight partial sums a product, added in pairs: not the same bits as `tile`, but the same for equal rows.
    """
    sig = types.int64(table, places, queries, types.int64, types.int64, least, types.int64, out, masks)

    def codegen(context, builder, signature, args):
        data = lambda i: _data(context, builder, signature.args[i], args[i])
        rows, begins, asked, least_data, out_data, mask_data = data(0), data(1), data(2), data(5), data(7), data(8)
        const = lambda n: ir.Constant(_I64, n)
        whole = builder.and_(args[4], const(-LANES))
        sums = _zeros(builder, 2)
        for half, cell in enumerate(sums):
            starts = [builder.load(_at(builder, begins, const(LANES * half + j))) for j in range(LANES)]
            partial = _zeros(builder, LANES)
            with cgutils.for_range_slice(builder, const(0), whole, const(LANES), intp=_I64) as (c, _):
                own = _vector(builder, asked, builder.add(args[3], c))
                for j in range(LANES):
                    _gain(builder, partial[j], own, _vector(builder, rows, builder.add(starts[j], c)))
            builder.store(_added(builder, [builder.load(p) for p in partial]), cell)
            with cgutils.for_range_slice(builder, whole, args[4], const(1), intp=_I64) as (c, _):
                lanes = ir.Constant(_VECTOR, ir.Undefined)
                for j in range(LANES):
                    value = builder.load(_at(builder, rows, builder.add(starts[j], c)))
                    lanes = builder.insert_element(lanes, value, ir.Constant(_I32, j))
                one = builder.load(_at(builder, asked, builder.add(args[3], c)))
                _gain(builder, cell, _splat(builder, one), lanes)
        return _told(builder, sums, least_data, args[6], out_data, mask_data)

    return sig, codegen


def _added(builder, a, add="fadd"):
    """The sum of each of eight vectors, as one vector: neighbours are added, then pairs, then halves."""
    for left, right in (
        ([0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]),
        ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
        ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
    ):
        a = [
            getattr(builder, add)(_shuffled(builder, x, y, left), _shuffled(builder, x, y, right))
            for x, y in zip(a[::2], a[1::2], strict=True)
        ]
    return a[0]


@intrinsic
def hopeful(typing, codes, places, query, steps, by, spare, length, least, least_at):
    """Which of 16 rows of bytes could reach a query's `least`, as bits of an int64; see `quantised` for the bound.

    codes int8: row j begins at `places[j]`, its step and its bound ahead of 16 · `steps` components; query int16, as many.
    A row could where step · (by · Σ products + spare) + length · bound reaches `least`; NaN could.
    """
    sig = types.int64(
        codes, places, query, types.int64, types.float32, types.float32, types.float32, least, types.int64
    )

    def codegen(context, builder, signature, args):
        data = lambda i: _data(context, builder, signature.args[i], args[i])
        rows, begins, asked = data(0), data(1), data(2)
        const = lambda n: ir.Constant(_I64, n)
        by, spare, length = (_splat(builder, args[i]) for i in (4, 5, 6))
        low = _splat(builder, builder.load(_at(builder, data(7), args[8])))
        halves = []
        for first in (0, LANES):
            starts = [builder.load(_at(builder, begins, const(first + j))) for j in range(LANES)]
            sums = [cgutils.alloca_once(builder, _SUMS) for _ in starts]
            for cell in sums:
                builder.store(ir.Constant(_SUMS, [0] * LANES), cell)
            with cgutils.for_range(builder, args[3], intp=_I64) as loop:
                c = builder.mul(loop.index, const(2 * LANES))
                own = builder.load(builder.bitcast(_at(builder, asked, c), _SHORTS.as_pointer()), align=2)
                for start, cell in zip(starts, sums, strict=True):
                    at = _at(builder, rows, builder.add(builder.add(start, c), const(HEAD)))
                    row = builder.load(builder.bitcast(at, _BYTES.as_pointer()), align=1)
                    builder.store(builder.add(builder.load(cell), _paired(builder, row, own)), cell)
            total = builder.sitofp(_added(builder, [builder.load(cell) for cell in sums], "add"), _VECTOR)
            step, bound = (_heads(builder, rows, starts, which) for which in (0, 1))
            could = builder.fadd(builder.fmul(by, total), spare)
            could = builder.fadd(builder.fmul(step, could), builder.fmul(length, bound))
            bits = builder.bitcast(builder.fcmp_unordered(">=", could, low), _I8)
            halves.append(builder.shl(builder.zext(bits, _I64), const(first)))
        return builder.or_(*halves)

    return sig, codegen


def _paired(builder, row, own):
    """Sixteen bytes times sixteen shorts, neighbours added: int32 [8], one instruction where the machine has it."""
    products = builder.mul(builder.sext(row, _WHOLES), builder.sext(own, _WHOLES), flags=("nsw",))
    nothing = ir.Constant(_WHOLES, ir.Undefined)
    each = lambda first: ir.Constant(_SUMS, list(range(first, 2 * LANES, 2)))
    return builder.add(*(builder.shuffle_vector(products, nothing, each(j)) for j in (0, 1)), flags=("nsw",))


def _heads(builder, rows, starts, which):
    """The float at one place of the heads of eight rows of bytes."""
    out = ir.Constant(_VECTOR, ir.Undefined)
    for j, start in enumerate(starts):
        at = builder.gep(builder.bitcast(_at(builder, rows, start), _F32.as_pointer()), [ir.Constant(_I64, which)])
        out = builder.insert_element(out, builder.load(at, align=4), ir.Constant(_I32, j))
    return out


@intrinsic
def reaching(typing, scores, at, least):
    """Which of the 32 scores from a place on reach `least`, as bits of an int64; NaN reaches nothing."""
    sig = types.int64(scores, types.int64, types.float32)

    def codegen(context, builder, signature, args):
        data = _data(context, builder, signature.args[0], args[0])
        low = _splat(builder, args[2])
        total = ir.Constant(_I64, 0)
        for part in range(4):
            lanes = _vector(builder, data, builder.add(args[1], ir.Constant(_I64, LANES * part)))
            own = builder.zext(builder.bitcast(builder.fcmp_ordered(">=", lanes, low), _I8), _I64)
            total = builder.or_(total, builder.shl(own, ir.Constant(_I64, LANES * part)))
        return total

    return sig, codegen


@intrinsic
def first_bit(typing, bits):
    """The place of the lowest bit that is set (64 where none is)."""
    sig = types.int64(types.int64)

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return sig, codegen


@intrinsic
def turn(typing, rows, places, at, shift, out, out_at, stride):
    """Eight components of eight rows, turned: component c of row j goes to `out_at + stride c + j`.

    places int64 [8 …] from `at` on: where the rows begin; the components are the eight from `shift` on.
    """
    sig = types.void(rows, places, types.int64, types.int64, out, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        source = _data(context, builder, signature.args[0], args[0])
        begins = _data(context, builder, signature.args[1], args[1])
        target = _data(context, builder, signature.args[4], args[4])
        const = lambda n: ir.Constant(_I64, n)
        place = lambda j: builder.load(_at(builder, begins, builder.add(args[2], const(j))))
        a = [_vector(builder, source, builder.add(place(j), args[3])) for j in range(LANES)]
        turned = _turned(builder, a)
        for j, lanes in enumerate(turned):
            to = _at(builder, target, builder.add(args[5], builder.mul(args[6], const(j))))
            builder.store(lanes, builder.bitcast(to, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def add_rows(typing, table, indices, weights, first, last, out, out_at):
    """Σ weights[a] · row indices[a] of a table of 64 columns over a = first … last - 1, in this order, to `out_at`."""
    sig = types.void(table, indices, weights, types.int64, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        data = lambda i: _data(context, builder, signature.args[i], args[i])
        rows, own, weight, target = data(0), data(1), data(2), data(5)
        const = lambda n: ir.Constant(_I64, n)
        parts = range(ADDED // LANES)
        sums = _zeros(builder, len(parts))
        with cgutils.for_range_slice(builder, args[3], args[4], const(1), intp=_I64) as (index, _):
            at = builder.mul(builder.sext(builder.load(_at(builder, own, index)), _I64), const(ADDED))
            by = _splat(builder, builder.load(_at(builder, weight, index)))
            for l in parts:
                lanes = _vector(builder, rows, builder.add(at, const(LANES * l)))
                builder.store(builder.fadd(builder.load(sums[l]), builder.fmul(by, lanes)), sums[l])
        for l in parts:
            to = _at(builder, target, builder.add(args[6], const(LANES * l)))
            builder.store(builder.load(sums[l]), builder.bitcast(to, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return sig, codegen
