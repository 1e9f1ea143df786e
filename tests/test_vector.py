"""Each operation of _vector.py: compiled against plain NumPy, its twin against plain NumPy, and on several processors.

A function that uses operations is written once (the `…_of` functions make one for a number of lanes) and runs compiled
and as Python. ``python -m tests.test_vector check`` prints the machine code of a few functions, and makes the checks of
`check_all`, for whatever processor NUMBA_CPU_NAME names.
"""

import ctypes
import json
import mmap
import os
import platform
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError

from fastcoord._compile import inlined
from fastcoord._memory import (
    bytes_past_line,
    gather,
    item_bytes,
    load,
    load_first,
    load_line,
    load_padded,
    memory,
    octets,
    prefetch,
    store,
    store_first,
    store_streaming,
    stream_fence,
    workspace,
)
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    bit_count,
    convert,
    first_lane,
    fma,
    greatest_lane,
    integer_like,
    lane_bits,
    lane_merge,
    lane_numbers,
    lane_of,
    lane_sums,
    least_lane,
    like,
    log,
    maximum,
    minimum,
    reinterpret,
    rotated,
    select,
    splat,
    splat_line,
    trailing_zeros,
)

UNCOMPILED = bool(numba.config.DISABLE_JIT)
# As many lanes as fill a register of 64 bytes, and the 16 that kernels use for each type.
LANES = [
    ("f4", 16),
    ("f8", 8),
    ("f8", 16),
    ("i1", 64),
    ("u1", 64),
    ("u1", 16),
    ("i2", 32),
    ("u2", 32),
    ("i4", 16),
    ("i8", 8),
]
TYPES = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "i8"]

compiled_only = pytest.mark.skipif(UNCOMPILED, reason="about compiled code")


def variants(function):
    """The function as Python, and compiled."""
    return [function] if UNCOMPILED else [function, numba.njit(error_model="numpy")(function)]


def lowest(dtype):
    return -np.inf if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min


def specials(dtype):
    """What is special in a type, with each of itself in one order and the other, then random bits; two flat arrays."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        values = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            np.nan,
            np.inf,
            -np.inf,
            info.max,
            info.min,
            info.tiny,
            info.smallest_subnormal,
            3e5,
        ]
    else:
        info = np.iinfo(dtype)
        values = [0, 1, 2, 3, info.min, info.max, info.max - 1, info.min + 1, info.max // 2, 100, 7, 5]
    values = np.array(values, dtype)
    a, b = (part.ravel() for part in np.meshgrid(values, values))
    rest = -a.size % 64 + 64
    noise = np.random.default_rng(3).integers(0, 256, (2, rest * dtype.itemsize), np.uint8).view(dtype)
    return np.concatenate([a, noise[0]]), np.concatenate([b, noise[1]])


def assert_same(computed, expected, any_nan=False):
    """The same bits; `any_nan`: any NaN for a NaN (its bits depend on the order of the operands of an addition)."""
    assert computed.dtype == expected.dtype
    assert computed.shape == expected.shape
    differs = computed.view(f"u{computed.itemsize}") != expected.view(f"u{computed.itemsize}")
    if any_nan:
        differs &= ~((computed != computed) & (expected != expected))
    where = np.argwhere(differs)
    assert not differs.any(), (
        f"{len(where)} differ, first at {where[0]}: {computed[differs][0]!r} {expected[differs][0]!r}"
    )


# ---- Elements --------------------------------------------------------------------------------------------------------


def numbers_of(lanes):
    def numbers(a, b, flags, other_unit, computed, moved, other):
        left, right, results, moves, others = memory(a), memory(b), memory(computed), memory(moved), memory(other)
        n = a.size
        for at in range(0, n, lanes):
            x, y = load(left, at, lanes), load(right, at, lanes)
            one, zero = like(x, 1), like(x, 0)
            store(results, at, x + y)
            store(results, at + n, x - y)
            store(results, at + 2 * n, x * y)
            store(results, at + 3 * n, -x)
            store(moves, at, select(x < y, one, zero))
            store(moves, at + n, select(x <= y, one, zero))
            store(moves, at + 2 * n, select(x > y, one, zero))
            store(moves, at + 3 * n, select(x >= y, one, zero))
            store(moves, at + 4 * n, select(x == y, one, zero))
            store(moves, at + 5 * n, select(x != y, one, zero))
            store(moves, at + 6 * n, maximum(x, y))
            store(moves, at + 7 * n, minimum(x, y))
            store(moves, at + 8 * n, select((x < y) | (x == one), x, y))
            store(moves, at + 9 * n, select((x <= y) & (y != one), x, y))
            store(moves, at + 10 * n, select((x <= y) ^ (y <= x), x, y))
            store(moves, at + 11 * n, select((x < y) == (y < one), x, y))
            store(moves, at + 12 * n, select((x < y) > splat(flags[0], lanes), x, y))
            store(moves, at + 13 * n, select(splat(a[at] < b[at], lanes) | splat(flags[1], lanes), x, y))
            store(moves, at + 14 * n, splat(a[at], lanes))
            store(moves, at + 15 * n, lane_numbers(x))
            store(others, at, reinterpret(x, other_unit))

    return numbers


def check_numbers(dtype, lanes):
    a, b = specials(dtype)
    flags = np.array([False, False])
    kind = np.dtype(dtype).kind
    other = np.dtype(dtype.replace(kind, {"f": "i", "i": "u", "u": "i"}[kind]))
    firsts = np.repeat(np.arange(0, a.size, lanes), lanes)
    with np.errstate(all="ignore"):
        expected = np.stack([np.add(a, b), np.subtract(a, b), np.multiply(a, b), np.negative(a)])
    less, most, same = np.less(a, b), np.less_equal(a, b), np.equal(a, b)
    conditions = [less, most, np.greater(a, b), np.greater_equal(a, b), same, ~same]
    expected_moves = np.stack(
        [condition.astype(dtype) for condition in conditions]
        + [np.where(np.greater(a, b), a, b), np.where(less, a, b)]  # b where they do not compare
        + [np.where(less | (a == 1), a, b), np.where(most & (b != 1), a, b), np.where(most ^ np.less_equal(b, a), a, b)]
        + [np.where(less == (b < 1), a, b), np.where(less, a, b), np.where(less[firsts], a, b)]
        + [a[firsts], (np.arange(a.size) % lanes).astype(dtype)]
    )
    for run in variants(numbers_of(lanes)):
        computed, moved = np.zeros((4, a.size), dtype), np.zeros((16, a.size), dtype)
        others = np.zeros(a.size, other)
        with np.errstate(all="ignore"):
            run(a, b, flags, other.type(1), computed, moved, others)
        assert_same(computed, expected, any_nan=True)
        assert_same(moved, expected_moves)
        assert_same(others, a.view(other))


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "lanes"), LANES)
def test_numbers(dtype, lanes):
    check_numbers(dtype, lanes)


def bits_of(lanes, width):
    def bits(a, b, computed):
        left, right, results = memory(a), memory(b), memory(computed)
        n = a.size
        for at in range(0, n, lanes):
            x, y = load(left, at, lanes), load(right, at, lanes)
            by = y & like(y, width - 1)
            store(results, at, x & y)
            store(results, at + n, x | y)
            store(results, at + 2 * n, x ^ y)
            store(results, at + 3 * n, x << by)
            store(results, at + 4 * n, x >> by)

    return bits


def check_bits(dtype, lanes):
    a, b = specials(dtype)
    width = 8 * a.itemsize
    by = b & (width - 1)
    expected = np.stack([a & b, a | b, a ^ b, np.left_shift(a, by), np.right_shift(a, by)])
    for run in variants(bits_of(lanes, width)):
        computed = np.zeros_like(expected)
        run(a, b, computed)
        assert_same(computed, expected)


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "lanes"), [pair for pair in LANES if pair[0][0] != "f"])
def test_bits(dtype, lanes):
    check_bits(dtype, lanes)


def conversions(inside, wild, u, f4, f8, i1, u1, i2, u2, i4, i8, true):
    """`wild` goes to floats, what is `inside` the range of each type to that, and a mask there and back."""
    for at in range(0, wild.size, 16):
        y = load(memory(wild), at, 16)
        store(memory(f4), at, convert(y, u[0]))
        store(memory(f8), at, convert(y, u[1]))
        store(memory(i1), at, convert(load(memory(inside[0]), at, 16), u[2]))
        store(memory(u1), at, convert(load(memory(inside[1]), at, 16), u[3]))
        store(memory(i2), at, convert(load(memory(inside[2]), at, 16), u[4]))
        store(memory(u2), at, convert(load(memory(inside[3]), at, 16), u[5]))
        store(memory(i4), at, convert(load(memory(inside[4]), at, 16), u[6]))
        store(memory(i8), at, convert(load(memory(inside[5]), at, 16), u[7]))
        mask = convert(y, true)
        store(memory(f4), at + wild.size, convert(mask, u[0]))
        store(memory(i1), at + wild.size, convert(mask, u[2]))
        store(memory(i8), at + wild.size, convert(convert(mask, true), u[7]))


@pytest.mark.small
@pytest.mark.parametrize("dtype", TYPES)
def test_convert(dtype):
    wild = specials(dtype)[0]
    inside = dict.fromkeys(TYPES, wild)
    if np.dtype(dtype).kind == "f":  # what is outside an integer's range has no meaning
        for target in TYPES[2:]:
            least, past = float(np.iinfo(target).min), float(np.iinfo(target).max) + 1
            values = np.linspace(least, past, wild.size).astype(dtype)
            values[:4] = 0.0, -0.0, -0.99, 126.99999
            inside[target] = values.clip(None, np.nextafter(np.dtype(dtype).type(past), np.dtype(dtype).type(0)))
    units = tuple(np.dtype(target).type(1) for target in TYPES)
    with np.errstate(all="ignore"):
        mask = wild != 0
        expected = {target: inside[target].astype(target) for target in TYPES}
    for run in variants(conversions):
        outs = {target: np.zeros((2, wild.size), target) for target in TYPES}
        with np.errstate(all="ignore"):
            run(tuple(inside.values())[2:], wild, units, *outs.values(), np.bool_(True))
        for target in TYPES:
            assert_same(outs[target][0], expected[target], any_nan=True)
        for target in ("f4", "i1", "i8"):
            assert_same(outs[target][1], mask.astype(target))


def summaries_of(lanes):
    def summaries(a, out, counts):
        place, written = memory(a), memory(out)
        kept = workspace(load(place, 0, lanes), 2)
        for at in range(0, a.size, lanes):
            vector = load(place, at, lanes)
            store(kept, lanes * (at // lanes % 2), vector)
            vector = load(kept, lanes * (at // lanes % 2), lanes)
            one = select(vector == vector, like(vector, 1), like(vector, 0))
            small = integer_like(vector, 3) == integer_like(one, 3)
            i = at // lanes
            written[2 * i], written[2 * i + 1] = greatest_lane(vector), least_lane(vector)
            counts[i] = bit_count(lane_bits(vector > like(vector, 0))) + 100 * bit_count(lane_bits(small))

    return summaries


def check_summaries(dtype, lanes):
    a = specials(dtype)[0]
    a[np.isnan(a)] = 2
    rows = a.reshape(-1, lanes)
    for run in variants(summaries_of(lanes)):
        out, counts = np.zeros((len(rows), 2), dtype), np.zeros(len(rows), np.int64)
        run(a, out.reshape(-1), counts)
        np.testing.assert_array_equal(out, np.stack([rows.max(1), rows.min(1)], 1))
        np.testing.assert_array_equal(counts, (rows > 0).sum(1) + 100 * lanes)


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "lanes"), LANES)
def test_summaries_of_lanes(dtype, lanes):
    check_summaries(dtype, lanes)


def fma_of(lanes):
    def fused(a, b, c, vectors, scalars):
        left, right, added, results = memory(a), memory(b), memory(c), memory(vectors)
        for at in range(0, a.size, lanes):
            store(results, at, fma(load(left, at, lanes), load(right, at, lanes), load(added, at, lanes)))
        for i in range(a.size):
            scalars[i] = fma(a[i], b[i], c[i])

    return fused


def rounded_once(a, b, c):
    """a·b + c as rational numbers, then the nearest float."""
    results = []
    for x, y, z in zip(a, b, c, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        near = a.dtype.type(float(exact))
        around = [np.nextafter(near, near.dtype.type(-np.inf)), near, np.nextafter(near, near.dtype.type(np.inf))]
        bits = f"u{a.itemsize}"
        # of two that are as near, the even one
        results.append(min(around, key=lambda value: (abs(Fraction(float(value)) - exact), value.view(bits) & 1)))
    return np.array(results, a.dtype)


def check_fma(once):
    """Vectors and scalars; where c nearly cancels a·b, rounding twice shows in almost every element."""
    random = np.random.default_rng(5)
    for dtype, lanes in (("f4", 16), ("f8", 8)):
        a, b = random.normal(size=(2, 128)).astype(dtype)
        c = -(a * b)
        c[::2] += np.finfo(dtype).eps * 3
        twice, single = a * b + c, rounded_once(a, b, c)
        assert (twice != single).mean() > 0.4
        python, *compiled = variants(fma_of(lanes))
        for run, expected in [(python, twice), *((run, single if once else twice) for run in compiled)]:
            vectors, scalars = np.zeros_like(a), np.zeros_like(a)
            run(a, b, c, vectors, scalars)
            assert_same(vectors, expected)
            assert_same(scalars, expected)


@pytest.mark.small
def test_fma_rounds_once_where_the_processor_can():
    check_fma(once=platform.machine() == "aarch64" or ("fma" in processor_flags() and not numba.config.CPU_NAME))


def logarithms_of(lanes):
    def logarithms(a, vectors, scalars, ratios):
        numbers, results, divided = memory(a), memory(vectors), memory(ratios)
        for at in range(0, a.size, lanes):
            vector = load(numbers, at, lanes)
            store(results, at, log(vector))
            store(divided, at, like(vector, 1) / vector)
        for i in range(a.size):
            scalars[i] = log(a[i])

    return logarithms


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "lanes"), [("f4", 16), ("f8", 8), ("f8", 16)])
def test_logarithms_and_quotients(dtype, lanes):
    """Within one unit in the last place, also where the logarithm is small and at the ends of the type."""
    random, limits = np.random.default_rng(3), np.finfo(dtype)
    exponents = random.uniform(np.log(limits.tiny) + 1, np.log(limits.max) - 1, 4096)
    edges = [1, limits.tiny, limits.max, 2, 0.5, np.nextafter(1, 2, dtype=dtype), np.nextafter(1, 0, dtype=dtype)]
    near = np.exp(np.concatenate([random.uniform(-1, 1, 4096), random.uniform(-1e-3, 1e-3, 4096)]))
    a = np.concatenate([np.resize(edges, 16), np.exp(exponents), near]).astype(dtype)
    exact = np.log(a.astype(np.longdouble))
    for number, run in enumerate(variants(logarithms_of(lanes))):
        vectors, scalars, ratios = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a)
        run(a, vectors, scalars, ratios)
        units = 4 if number == 0 else 1  # the twin is NumPy's, which errs by so many in float32
        assert (np.abs(vectors - exact) <= units * np.spacing(np.abs(exact).astype(dtype))).all()
        assert (np.abs(scalars - exact) <= 4 * np.spacing(np.abs(exact).astype(dtype))).all()
        assert_same(ratios, 1 / a)
        assert vectors[0] == 0


def sums_of(lanes):
    def sums(a, out):
        place = memory(a)
        if lanes == 4:
            vectors = load(place, 0, 4), load(place, 4, 4), load(place, 8, 4), load(place, 12, 4)
            sums = lane_sums(vectors)
            store(memory(out), 0, sums)
            out[3] = lane_of(sums, 3)
        else:
            store(memory(out), 0, lane_sums((load(place, 0, 8), load(place, 8, 8))))

    return sums


@pytest.mark.small
@pytest.mark.parametrize("lanes", [2, 4])
def test_lane_sums(lanes):
    random = np.random.default_rng(1)
    shape = (lanes, 4 if lanes == 4 else 8)
    for a in (np.eye(*shape), np.arange(shape[0] * shape[1]).reshape(shape), random.normal(size=shape)):
        results = []
        for run in variants(sums_of(lanes)):
            out = np.zeros(lanes)
            run(np.ascontiguousarray(a, np.float64).reshape(-1), out)
            results.append(out)
            np.testing.assert_allclose(out, a.sum(1), atol=1e-15)
            assert_same(out, results[0])


@pytest.mark.small
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_scalars_keep_their_type(dtype):
    def scalars(a, b):
        less = (a < b) & (b == b) | (a != a)
        whole = convert(like(a, -2.9), np.int32(1))
        return (
            (maximum(a, b), minimum(a, b), select(less, a, b), fma(a, b, a), like(a, 0.1), like(a, 3), convert(7, a)),
            whole,
        )

    number = np.dtype(dtype).type
    for a, b in [(1.5, -2.0), (-3.25, 7.0), (0.0, -0.0), (2.0, np.nan), (np.nan, 2.0)]:
        expected = [a if a > b else b, a if a < b else b, a if a < b or a != a else b, a * b + a, number(0.1), 3.0, 7.0]
        for run in variants(scalars):
            floats, whole = run(number(a), number(b))
            assert_same(np.array(floats, dtype), np.array(expected, dtype), any_nan=True)
            assert whole == -2
            if run is scalars:
                assert all(type(value) is number for value in floats)
                assert type(whole) is np.int32
            else:
                returned = run.overloads[run.signatures[0]].signature.return_type
                assert returned[0] == types.UniTuple(numba.typeof(number(1)), 7)
                assert returned[1] == types.int32


def masks(a, bits, first, hit):
    place = memory(a)
    n = a.size // 64
    for i in range(n):
        eight = load(place, i * 64, 8) != splat(np.uint8(0), 8)
        sixteen = load(place, i * 64, 16) != splat(np.uint8(0), 16)
        half = load(place, i * 64, 32) != splat(np.uint8(0), 32)
        whole = load(place, i * 64, 64) != splat(np.uint8(0), 64)
        bits[i, 0], bits[i, 1], bits[i, 2], bits[i, 3] = (
            lane_bits(eight),
            lane_bits(sixteen),
            lane_bits(half),
            lane_bits(whole),
        )
        hit[i, 0], hit[i, 1], hit[i, 2], hit[i, 3] = any_lane(eight), any_lane(sixteen), any_lane(half), any_lane(whole)
        first[i] = trailing_zeros(lane_bits(whole)) if any_lane(whole) else 64


def check_masks():
    a = np.zeros((64 + 64 + 2, 64), np.uint8)
    a[:64][np.eye(64, dtype=bool)] = 255  # each lane alone
    a[64:128] = np.random.default_rng(1).integers(0, 2, (64, 64))
    a[128] = 1
    bits = np.packbits(a != 0, axis=1, bitorder="little").view(np.uint64)[:, 0]
    expected = np.stack([bits & np.uint64((1 << lanes) - 1) for lanes in (8, 16, 32, 64)], axis=1)
    first = np.where(a.any(axis=1), (a != 0).argmax(axis=1), 64)
    for run in variants(masks):
        computed = np.zeros_like(expected), np.zeros_like(first), np.zeros(expected.shape, bool)
        run(a.reshape(-1), *computed)
        assert_same(computed[0], expected)
        assert_same(computed[1], first)
        assert_same(computed[2], expected != 0)


@pytest.mark.small
def test_masks_as_bits():
    check_masks()


@inlined
def lopsided(a, b):
    """Neither commutative nor associative."""
    return a[0] - (b[0] + b[0]), a[1] * b[1] - a[0]


merge_sixteen = lane_merge(lopsided)


def merges(a, b, out):
    state = load(memory(a), 0, 16), load(memory(b), 0, 16)
    out[0], out[1] = merge_sixteen(state)
    turned = rotated(state, 3)
    store(memory(out), 2, turned[0])
    store(memory(out), 18, turned[1])
    out[34], out[35] = first_lane(turned)


def check_merges():
    a, b = np.random.default_rng(2).normal(size=(2, 16)).astype("f4")
    lanes = list(zip(a, b, strict=True))
    for half in (8, 4, 2, 1):
        lanes = [(x - (u + u), y * v - x) for (x, y), (u, v) in zip(lanes[:half], lanes[half:], strict=True)]
    expected = np.array([*lanes[0], *a[3:], *a[:3], *b[3:], *b[:3], a[3], b[3]], "f4")
    for run in variants(merges)[0 if UNCOMPILED else 1 :]:  # Python would call the compiled `lopsided`
        out = np.zeros(36, "f4")
        run(a, b, out)
        assert_same(out, expected)


@pytest.mark.small
def test_lane_merge_keeps_its_order():
    check_merges()


# ---- Memory ----------------------------------------------------------------------------------------------------------


def moves_of(lanes, row):
    def moves(source, offsets, counts, loaded, some, padded, gathered, stored, stored_some):
        place, whole, first, rest = memory(source), memory(loaded), memory(some), memory(padded)
        strided, out, out_some = memory(gathered), memory(stored), memory(stored_some)
        for i in range(offsets.size):
            offset, count = offsets[i], counts[i]
            vector = load(place, offset, lanes)
            store(whole, i * lanes, vector)
            store(first, i * lanes, load_first(place, offset, count, lanes))
            store(rest, i * lanes, load_padded(place, offset, count, lanes))
            store(out, i * row + offset, vector)
            store_first(out_some, i * row + offset, vector, count)
            middle = source.size // 2
            store(strided, i * lanes, gather(place, middle + offset, 2 - offset % 5, count, lanes))

    return moves


def check_moves(dtype, lanes):
    """Every offset and count from −1 to one past the lanes; every element that must not be touched is looked at."""
    row = 3 * lanes + 8
    offsets, counts = (part.ravel() for part in np.meshgrid(np.arange(lanes + 2), np.arange(-1, lanes + 2)))
    source = np.random.default_rng(4).integers(1, 127, 8 * lanes + 16).astype(dtype)
    lane = np.arange(lanes)
    is_read = lane < counts[:, None]
    loaded = source[offsets[:, None] + lane]
    at = source.size // 2 + offsets[:, None] + (2 - offsets[:, None] % 5) * lane
    positions = np.arange(row) - offsets[:, None]
    inside = (positions >= 0) & (positions < lanes)
    values = np.take_along_axis(loaded, positions.clip(0, lanes - 1), axis=1)
    guard = np.array(85, dtype)  # 0x55
    expected = (
        loaded,
        np.where(is_read, loaded, np.array(lowest(dtype), dtype)),
        np.where(is_read, loaded, np.array(0, dtype)),
        np.where(is_read, source[at], np.array(lowest(dtype), dtype)),
        np.where(inside, values, guard),
        np.where(inside & (positions < counts[:, None]), values, guard),
    )
    for run in variants(moves_of(lanes, row)):
        outs = [np.full(part.shape, guard) for part in expected]
        run(source, offsets, counts, *outs)
        for computed, right in zip(outs, expected, strict=True):
            assert_same(computed, right)


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "lanes"), LANES)
def test_memory_operations_touch_their_elements_only(dtype, lanes):
    check_moves(dtype, lanes)


def edges_of(lanes):
    def edges(a, out):
        """Elements of `a` end where no memory is; counts beyond them are in lanes that must not be touched."""
        place, results = memory(a), memory(out)
        end = a.size
        for count in range(lanes + 1):
            vector = load_first(place, end - count, count, lanes)
            store(results, 2 * count * lanes, vector)
            store(results, (2 * count + 1) * lanes, gather(place, end - count, 1, count, lanes))
            store_first(place, end - count, vector, count)
            prefetch(place, end + 64 * count)
        for count in range(1, lanes + 1):  # and backwards from the first
            store(results, 2 * (lanes + count) * lanes, gather(place, count - 1, -1, count, lanes))

    return edges


def check_edges():
    """Between two pages that may not be touched, at every count: a wrong access ends the process."""
    page = mmap.PAGESIZE
    region = mmap.mmap(-1, 3 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(region))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start in (address, address + 2 * page):
        assert protect(start, page, 0) == 0
    middle = np.frombuffer(region, np.uint8, page, page)
    for dtype, lanes in (("u1", 64), ("i2", 32), ("f4", 16), ("f8", 16)):
        values = middle.view(dtype)
        values[:] = np.arange(values.size) % 100
        right = values.copy()
        out = np.zeros((2 * (2 * lanes + 1), lanes), dtype)
        numba.njit(edges_of(lanes))(values, out)
        assert_same(values, right)
        for count in range(lanes + 1):
            expected = np.full(lanes, lowest(dtype), dtype)
            expected[:count] = right[right.size - count :]
            assert_same(out[2 * count], expected)
            assert_same(out[2 * count + 1], expected)
            if count:
                expected[:count] = right[:count][::-1]
                assert_same(out[2 * (lanes + count)], expected)


def lines_of(streaming):
    def lines(value, out, before, size, partial):
        place, octet = memory(out), octets(memory(out))
        items = CACHE_LINE // item_bytes(place)
        size[0] = item_bytes(place)
        for i in range(items):
            before[i] = bytes_past_line(place, i)
        start = (CACHE_LINE - bytes_past_line(place, 0)) % CACHE_LINE // item_bytes(place)
        streaming(place, start, splat_line(value))
        streaming(place, start + items, load_line(place, start, items) + splat_line(value))
        store(memory(partial), 0, load_line(place, start, 1))
        streaming(octet, (start + 2 * items) * item_bytes(place), splat(np.uint8(7), 64))
        stream_fence()

    return lines


@pytest.mark.small
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2"])
@pytest.mark.parametrize("write", [store, store_streaming], ids=lambda write: write.__name__)
def test_cache_lines(dtype, write):
    dtype = np.dtype(dtype)
    items = CACHE_LINE // dtype.itemsize
    start = 3  # elements past a line
    memory_ = np.zeros(6 * CACHE_LINE, np.uint8)
    to_line = -memory_.ctypes.data % CACHE_LINE + start * dtype.itemsize
    for run in variants(lines_of(write)):
        out = memory_[to_line : to_line + 4 * CACHE_LINE].view(dtype)
        memory_[:] = 0
        before, size = np.zeros(items, np.int64), np.zeros(1, np.int64)
        partial, first_only = np.zeros(items, dtype), np.full(items, lowest(dtype), dtype)
        first_only[0] = 5
        run(dtype.type(5), out, before, size, partial)
        assert_same(partial, first_only)
        expected = np.zeros_like(out)
        first = items - start
        expected[first : first + items] = 5
        expected[first + items : first + 2 * items] = 10
        expected[first + 2 * items : first + 3 * items].view(np.uint8)[:] = 7
        assert_same(out, expected)
        assert size[0] == dtype.itemsize
        np.testing.assert_array_equal(before, (start + np.arange(items)) * dtype.itemsize % CACHE_LINE)
        assert memory_.astype(bool).sum() == expected.view(np.uint8).astype(bool).sum()


@pytest.mark.small
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_in_memory_order(order):
    def flat(a, out):
        store(memory(out), 0, load(memory(a), 0, 8))

    a = np.array(np.arange(8, dtype="f4").reshape(2, 4), order=order)
    for run in variants(flat):
        out = np.zeros(8, "f4")
        run(a, out)
        assert_same(out, a.ravel(order="K"))


# ---- What is refused -------------------------------------------------------------------------------------------------


def unaligned(dtype):
    return np.zeros(65, np.uint8)[1:].view(dtype)


@pytest.mark.small
@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), "f4")[:, :2], np.zeros(8, "f4")[::2], np.zeros(4, bool), np.zeros(4, "c8"), unaligned("f4")],
    ids=["columns", "step", "bool", "complex", "unaligned"],
)
def test_memory_refuses_what_it_cannot_address(array):
    with pytest.raises(ValueError, match="expected a contiguous, aligned array of numbers; got"):
        memory(array)

    if not UNCOMPILED and array.flags.aligned:  # Numba's types do not tell
        with pytest.raises(TypingError, match="memory: expected a contiguous array of numbers; got"):
            numba.njit(lambda a: bytes_past_line(memory(a), 0))(array)


@pytest.mark.small
def test_twins_check_bounds_and_alignment():
    place = memory(np.zeros(CACHE_LINE, np.uint8))
    for access in (
        lambda: load(place, 1, 64),
        lambda: load(place, -1, 8),
        lambda: load_line(place, 1, 64),
        lambda: load_first(place, 60, 5, 16),
        lambda: gather(place, 3, -2, 3, 16),
        lambda: store(place, 57, np.zeros(8, np.uint8)),
        lambda: store_first(place, 57, np.zeros(8, np.uint8), 8),
        lambda: store_streaming(place, 57, np.zeros(8, np.uint8)),
    ):
        with pytest.raises(IndexError, match="of a place with 64"):
            access()
    aligned = -place.ctypes.data % 8
    store_streaming(place, aligned, np.ones(8, np.uint8))
    with pytest.raises(ValueError, match="not aligned to 8 bytes"):
        store_streaming(place, aligned + 1, np.ones(8, np.uint8))


f, d, u = np.zeros(16, "f4"), np.zeros(16, "f8"), np.zeros(16, "u1")


@compiled_only
@pytest.mark.parametrize(
    ("message", "function", "arguments"),
    [
        (
            r"add: expected two vectors of one type; got Vec\(float32, 16\) and Vec\(float64, 16\)",
            lambda a, b: load(memory(a), 0, 16) + load(memory(b), 0, 16),
            (f, d),
        ),
        (
            r"lt: expected two vectors of one type; got Vec\(float32, 16\) and Vec\(float32, 8\)",
            lambda a: load(memory(a), 0, 16) < load(memory(a), 0, 8),
            (f,),
        ),
        ("mul: expected two vectors of one type", lambda a: load(memory(a), 0, 16) * a[0], (f,)),
        ("sub: expected two vectors of one type", lambda a: 1 - load(memory(a), 0, 16), (f,)),
        (r"and_: not for Vec\(float32, 16\)", lambda a: load(memory(a), 0, 16) & load(memory(a), 0, 16), (f,)),
        (r"add: not for Vec\(bool, 4\)", lambda a: splat(a[0] > 0, 4) + splat(True, 4), (f,)),
        ("neg: not for", lambda a: -splat(a[0] > 0, 4), (f,)),
        (
            "select: expected a mask and two vectors",
            lambda a: select(load(memory(a), 0, 16), load(memory(a), 0, 16), load(memory(a), 0, 16)),
            (f,),
        ),
        (
            "select: expected a mask and two vectors",
            lambda a: select(splat(True, 8), load(memory(a), 0, 16), load(memory(a), 0, 16)),
            (f,),
        ),
        (
            "fma: expected three vectors",
            lambda a: fma(load(memory(a), 0, 16), load(memory(a), 0, 16), load(memory(a), 0, 16)),
            (u,),
        ),
        ("lane_of: expected a vector of numbers that has lane 16", lambda a: lane_of(load(memory(a), 0, 16), 16), (f,)),
        ("log: expected floats", lambda a: log(load(memory(a), 0, 16)), (u,)),
        ("lane_sums: expected as many vectors", lambda a: lane_sums((load(memory(a), 0, 16),) * 3), (f,)),
        ("any_lane: expected a mask", lambda a: any_lane(load(memory(a), 0, 16)), (u,)),
        ("reinterpret: expected elements of one width", lambda a: reinterpret(load(memory(a), 0, 8), np.int8(1)), (f,)),
        ("load: expected a number of lanes known at compile time", lambda a, n: load(memory(a), 0, n), (f, 16)),
        ("load: expected what memory", lambda a: load(a, 0, 16), (f,)),
        ("load: expected integers for indices", lambda a: load(memory(a), 0.5, 16), (f,)),
        (
            r"store: expected a vector of uint8; got Vec\(float32, 16\)",
            lambda a, b: store(memory(b), 0, load(memory(a), 0, 16)),
            (f, u),
        ),
        ("expected float32, float64, an integer or bool in a vector; got complex", lambda a: splat(a[0] * 1j, 4), (d,)),
    ],
)
def test_wrong_types_are_refused(message, function, arguments):
    def used(*arguments):
        function_(*arguments)

    function_ = numba.njit(function)
    with pytest.raises(TypingError, match=message):
        numba.njit(used)(*arguments)


# ---- Processors ------------------------------------------------------------------------------------------------------

AVX2 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
AVX512 = {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl", "vbmi", "ifma", "_vbmi2", "_vnni", "_bitalg")}
TARGETS = {"icelake-server": AVX2 | AVX512, "haswell": AVX2, "generic": set()}


def processor_flags():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return set(" ".join(re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)[:1]).split())


def start(target, can_run):
    """A new process that runs this module and compiles for `target`: for all of its instructions and no others."""
    settings = {**os.environ, "NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.test_vector", *(["check"] if can_run else [])],
        cwd=Path(__file__).parent.parent,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def missing_for(target):
    return TARGETS[target] - processor_flags()


@pytest.fixture(scope="module")
def outputs():
    """What a process for each target printed, and its exit status."""
    if platform.machine() != "x86_64":
        pytest.skip(f"about x86-64 processors, this machine is {platform.machine()}")
    processes = {target: start(target, not missing_for(target)) for target in TARGETS}
    return {target: (process.communicate(timeout=300)[0], process.returncode) for target, process in processes.items()}


def check_all():
    """What must give the same bits, those of NumPy, on each processor."""
    check_numbers("f4", 16)
    check_numbers("u1", 64)
    check_bits("u1", 64)
    check_moves("u1", 64)
    check_moves("f4", 16)
    check_summaries("u1", 64)
    check_summaries("f4", 16)
    check_masks()
    check_merges()
    check_edges()
    check_fma(once=numba.config.CPU_NAME != "generic")


@compiled_only
@pytest.mark.parametrize("target", TARGETS)
def test_same_bits_on_each_processor(target, outputs):
    missing = missing_for(target)
    if missing:
        pytest.skip(f"this machine cannot run code for {target}: no {', '.join(sorted(missing))}")
    output, status = outputs[target]
    assert status == 0, f"{target}: exit status {status}\n{output[-4000:]}"
    assert output.splitlines()[-1] == f"checked on {target}"


@compiled_only
def test_operations_stay_inside_their_page():
    """On this processor as it is."""
    if os.name != "posix":
        pytest.skip("needs mprotect")
    code = "from tests import test_vector; test_vector.check_edges()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True, timeout=300)


def added(a, b, out):
    store(memory(out), 0, load(memory(a), 0, 16) + load(memory(b), 0, 16))


def larger(a, b, out):
    store(memory(out), 0, maximum(load(memory(a), 0, 16), load(memory(b), 0, 16)))


def fused(a, b, out):
    x, y = load(memory(a), 0, 16), load(memory(b), 0, 16)
    store(memory(out), 0, fma(x, y, x))


def streamed(a, b, out):
    store_streaming(memory(out), 0, load(memory(a), 0, 16))
    stream_fence()


def plain(a, b, out):
    store(memory(out), 0, load(memory(a), 0, 16))


def compiled_for_assembly():
    array = types.float32[::1]
    for function in (added, larger, fused, streamed, plain):
        compiled = numba.njit(function)
        compiled.compile((array, array, array))  # compiled, not called: the machine need not be able to run it
        yield function.__name__, compiled


@compiled_only
def test_machine_code(outputs):
    assembly = {target: json.loads(output.splitlines()[0]) for target, (output, _) in outputs.items()}

    def has(target, name, pattern):
        return re.search(pattern, assembly[target][name]) is not None

    assert has("icelake-server", "added", r"\tvaddps\t.*%zmm")
    assert has("icelake-server", "larger", r"\tvmaxps\t.*%zmm")
    assert not has("icelake-server", "larger", r"vcmp|vblend")
    assert has("icelake-server", "fused", r"\tvfmadd\w*ps\t.*%zmm")
    assert has("haswell", "added", r"\tvaddps\t.*%ymm")
    assert has("haswell", "larger", r"\tvmaxps\t.*%ymm")
    assert has("haswell", "fused", r"\tvfmadd\w*ps\t.*%ymm")
    assert has("generic", "fused", r"\tmulps\t")
    for target in TARGETS:
        assert not has(target, "fused", r"\bfmaf?\b"), target  # the library's
        assert has(target, "streamed", r"\tv?movnt(ps|pd|dq)\t"), target
        assert has(target, "streamed", r"\tmfence|\tlock\s+or"), target
        assert not has(target, "plain", r"movnt"), target
    for target in ("haswell", "generic"):
        assert not any("%zmm" in text for text in assembly[target].values()), target


@compiled_only
def test_nothing_is_for_one_processor_only():
    """What LLVM gets is translated for an ARM too."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu="neoverse-n1")
    array = types.float32[::1]
    translated = {}
    for name, compiled in compiled_for_assembly():
        text = compiled.inspect_llvm((array, array, array))
        ours = re.escape(compiled.overloads[(array, array, array)].fndesc.mangled_name)
        # without the wrappers and Numba's runtime
        others = re.compile(rf'^define (?![^\n]*@"?{ours}"?\().*?^}}$', re.MULTILINE | re.DOTALL)
        text = others.sub("", text)
        assert text.count("\ndefine ") == 1
        text = re.sub(r'^target (datalayout|triple) = ".*"$', "", text, flags=re.MULTILINE)
        module = llvm.parse_assembly(text)
        module.triple, module.data_layout = machine.triple, str(machine.target_data)
        translated[name] = machine.emit_assembly(module)
    assert "fmla\tv" in translated["fused"]
    assert "stnp\tq" in translated["streamed"]
    assert "dmb\tish" in translated["streamed"]


if __name__ == "__main__":
    array = types.float32[::1]
    codes = {name: compiled.inspect_asm((array, array, array)) for name, compiled in compiled_for_assembly()}
    print(json.dumps(codes), flush=True)
    if sys.argv[1:] == ["check"]:
        check_all()
        print(f"checked on {numba.config.CPU_NAME}")


def round_trip_of(count):
    """Writes `count` vectors into each of two workspaces, and then reads all of them."""

    def round_trip(a, out):
        place, written = memory(a), memory(out)
        vector = load(place, 0, 16)
        one, other = workspace(vector, count), workspace(vector, count)
        for k in range(count):
            store(one, k * 16, vector + like(vector, k))
            store(other, k * 16, vector - like(vector, k))
        for k in range(count):
            store(written, 2 * k * 16, load(one, k * 16, 16))
            store(written, (2 * k + 1) * 16, load(other, k * 16, 16))

    return round_trip


@compiled_only
def test_workspaces_of_several_sizes_in_one_process():
    """Numba knows the first size again when it comes the second time, and must not take the code of the other."""
    a = np.arange(16, dtype=np.float32)
    for count in (4, 1, 4, 16, 4):
        out = np.zeros((count, 2, 16), np.float32)
        numba.njit(round_trip_of(count))(a, out)
        k = np.arange(count, dtype=np.float32)[:, None]
        np.testing.assert_array_equal(out[:, 0], a + k)
        np.testing.assert_array_equal(out[:, 1], a - k)
