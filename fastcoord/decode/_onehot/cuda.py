"""Who visits which pixel of a one-hot image on a GPU.

A map is read by one warp, one block or several, in groups of 16 bytes. A lane loads four groups before it looks at any.
Groups that are zero contribute exactly nothing; only for the others it asks which pixels they are, and reads them a
second time, from the cache. What fills no group at either end of a map, and maps whose pixels do not stand side by
side, are read pixel by pixel.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import AHEAD, decoded, placed, share, states
from fastcoord._halves import loaded_type
from fastcoord._lanes import (
    GROUP,
    block_merge,
    column_and_row,
    first_element,
    groups_of,
    keep_state,
    kept_merge,
    lane_and_map,
    lone_pixel,
    moved,
    next_pixel,
    warp_merge,
)
from fastcoord._launch import flat_memory, launch, layouts, words
from fastcoord._vector import convert
from fastcoord._wide import load_eight, load_four, load_sixteen
from fastcoord.decode._onehot.formula import (
    PLAIN,
    STATE,
    absorb,
    absorb_zero,
    count,
    finish,
    merge,
    merge_census,
    nobody,
    nothing,
    number_type,
)
from fastcoord.results import Decoded

MEMBERS = 7  # of a state with its census


@inlined
def _merge_all(a: Any, b: Any) -> Any:
    """`merge` and `merge_census` of states with their census behind them."""
    return merge(a[:STATE], b[:STATE]) + merge_census(a[STATE:], b[STATE:])


@inlined
def _absorb_one(block: Any, census: Any, value: Any, column: Any, row: Any, layout: Any, unit: Any) -> Any:
    """The state and the census after one more pixel, and where the pixel after it lies."""
    number = convert(value, unit)
    width, height = convert(layout.columns, unit), convert(layout.rows, unit)
    block = absorb(block, number, convert(column, unit), convert(row, unit), width, height)
    next_column, next_row = next_pixel(column, row, layout)
    return block, count(census, number), next_column, next_row


@inlined
def _absorb_four(block: Any, census: Any, values: Any, column: Any, row: Any, layout: Any, unit: Any) -> Any:
    a, b, c, d = values
    block, census, column, row = _absorb_one(block, census, a, column, row, layout, unit)
    block, census, column, row = _absorb_one(block, census, b, column, row, layout, unit)
    block, census, column, row = _absorb_one(block, census, c, column, row, layout, unit)
    return _absorb_one(block, census, d, column, row, layout, unit)


@inlined
def _absorb_eight(block: Any, census: Any, values: Any, column: Any, row: Any, layout: Any, unit: Any) -> Any:
    block, census, column, row = _absorb_four(block, census, values[:4], column, row, layout, unit)
    return _absorb_four(block, census, values[4:], column, row, layout, unit)


@inlined
def _absorb_sixteen(block: Any, census: Any, values: Any, column: Any, row: Any, layout: Any, unit: Any) -> Any:
    block, census, column, row = _absorb_eight(block, census, values[:8], column, row, layout, unit)
    return _absorb_eight(block, census, values[8:], column, row, layout, unit)


def _by_groups(load: Any, absorb_group: Any, items: int) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def visit(images: Any, whole: Any, first: int, layout: Any, lane: int, lanes: int, unit: Any) -> Any:
        zero = unit - unit
        state, census = nothing(zero), nobody(zero)
        head, groups, tail = groups_of(first, layout, items)
        if lane < head + tail:
            pixel = lone_pixel(lane, head, groups, items)
            column, row = column_and_row(pixel, layout)
            value = images[np.uint64(first + pixel)]
            state, census, _column, _row = _absorb_one(state, census, value, column, row, layout, unit)
        start = first + head
        word = (start - layout.before) // items * 4
        last = np.int32(groups - 1)
        p = np.int32(lane)
        while p <= last:
            # Beyond the last group it is the last one again: no branch stands between the loads.
            q, r, s = np.int32(p + lanes), np.int32(p + 2 * lanes), np.int32(p + 3 * lanes)
            a = load_four(whole, word + 4 * np.int64(p))
            b = load_four(whole, word + 4 * np.int64(min(q, last)))
            c = load_four(whole, word + 4 * np.int64(min(r, last)))
            d = load_four(whole, word + 4 * np.int64(min(s, last)))
            in_a, in_b = a[0] | a[1] | a[2] | a[3], b[0] | b[1] | b[2] | b[3]
            in_c, in_d = c[0] | c[1] | c[2] | c[3], d[0] | d[1] | d[2] | d[3]
            if (in_a | in_b) | (in_c | in_d) == 0:
                state = absorb_zero(state)
            else:
                found = (1 if in_a != 0 else 0) | (2 if in_b != 0 else 0)
                found |= (4 if in_c != 0 else 0) | (8 if in_d != 0 else 0)
                block = nothing(zero)
                group = p
                for _ in range(AHEAD):
                    if group <= last:
                        if found & 1 != 0:
                            column, row = column_and_row(head + np.int64(group) * items, layout)
                            values = load(images, start + np.int64(group) * items)
                            block, census, _c, _r = absorb_group(block, census, values, column, row, layout, unit)
                            if items == PLAIN:
                                state = merge(state, block)
                                block = nothing(zero)
                        else:
                            block = absorb_zero(block)
                    found >>= 1
                    group = np.int32(group + lanes)
                state = merge(state, block)
            p = np.int32(p + 4 * lanes)
        return state + census

    return visit


@inlined
def _by_pixels(images: Any, whole: Any, first: int, layout: Any, lane: int, lanes: int, unit: Any) -> Any:
    """How a lane visits a map with any strides and any type of pixels."""
    zero = unit - unit
    state, census = nothing(zero), nobody(zero)
    pixels = layout.rows * layout.columns
    column, row = column_and_row(lane, layout)
    pixel = lane
    while pixel < pixels:
        block = nothing(zero)
        for _ in range(PLAIN):
            if pixel < pixels:
                at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                value = images[np.uint64(at)]
                block, census, _column, _row = _absorb_one(block, census, value, column, row, layout, unit)
                column, row = moved(column, row, layout)
                pixel += lanes
        state = merge(state, block)
    return state + census


@inlined
def _nothing(unit: Any) -> Any:
    """The state with its census before any pixel."""
    zero = unit - unit
    return nothing(zero) + nobody(zero)


@inlined
def _answer(
    found: Any,
    layout: Any,
    at: Any,
    unit: Any,
    numbers: Any,
    each: Any,
    has_each: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Write what the state of a map comes to as answer number `at`."""
    width, height = convert(layout.columns, unit), convert(layout.rows, unit)
    x, y, largest, flags = finish(found[:STATE], found[STATE:], width, height)
    x, y = placed(x, y, at, numbers, each, has_each)
    xy[np.uint64(2 * at)] = x
    xy[np.uint64(2 * at + 1)] = y
    score[np.uint64(at)] = largest
    status[np.uint64(at)] = flags


def _decoder(visit: Any, has_blocks: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    merged_in = (block_merge if has_blocks else warp_merge)(_merge_all)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        whole: Any,
        layout: Any,
        first_map: int,
        maps: int,
        unit: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            found = merged_in(visit(images, whole, first, layout, lane, lanes, unit))
            if lane == 0:
                _answer(found, layout, first_map + i, unit, numbers, each, has_each, xy, score, status)

    return decode


def _part_decoder(visit: Any) -> Any:
    """A kernel with several blocks a map, each of which keeps a state."""
    merged = block_merge(_merge_all)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(images: Any, whole: Any, layout: Any, first_map: int, parts: int, unit: Any, kept: Any) -> None:
        i: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(parts))
        part = cuda.blockIdx.x - i * parts
        lane, lanes = part * cuda.blockDim.x + cuda.threadIdx.x, parts * cuda.blockDim.x
        found = merged(visit(images, whole, first_element(i, layout), layout, lane, lanes, unit))
        if cuda.threadIdx.x == 0:
            keep_state(kept, (first_map + i) * parts + part, found, _nothing(unit))

    return decode


_merged_parts = kept_merge(_merge_all)


@cuda.jit  # type: ignore[untyped-decorator]
def merge_parts(
    kept: Any,
    layout: Any,
    first_map: int,
    parts: int,
    unit: Any,
    numbers: Any,
    each: Any,
    has_each: bool,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """A block merges the kept states of a map."""
    at: Any = np.int64(first_map + cuda.blockIdx.x)
    found = _merged_parts(kept, at * parts, parts, _nothing(unit))
    if cuda.threadIdx.x == 0:
        _answer(found, layout, at, unit, numbers, each, has_each, xy, score, status)


_VISITS = {
    1: _by_pixels,
    4: _by_groups(load_four, _absorb_four, 4),
    8: _by_groups(load_eight, _absorb_eight, 8),
    16: _by_groups(load_sixteen, _absorb_sixteen, 16),
}
kernels = {
    "warps": {items: _decoder(visit, False) for items, visit in _VISITS.items()},
    "blocks": {items: _decoder(visit, True) for items, visit in _VISITS.items()},
    "parts": {items: _part_decoder(visit) for items, visit in _VISITS.items()},
}


def onehot(images: Any, axes: Any, grid: Any, out: Any) -> Decoded:
    """`decode.onehot` of CUDA arrays, as `_decode_cuda.decoded` says."""
    return decoded("images", images, axes, grid, out, _launch, options="onehot")


def _launch(read: Maps, images: Any, placement: Any, written: Any) -> None:
    dtype, height, width = read.memory.dtype, read.height, read.width
    unit = number_type(loaded_type(dtype), height, width)(1)
    is_whole = read.column_stride == 1 and read.row_stride == width
    has_type = dtype.itemsize == 1 or loaded_type(dtype) == np.float32
    has_groups = is_whole and has_type and read.memory.nbytes >= 2 * GROUP
    items = GROUP // dtype.itemsize if has_groups else 1
    shared = share(read.count * len(read.starts), -(-height * width // items))
    memory = flat_memory("images", read.memory, images)
    whole, before = words(read.memory, images)
    xy, score, _covariance, status = written
    rest = unit, *placement, xy, score, status
    in_parts = shared.form == "parts"
    kept = states(images, read.count * len(read.starts) * shared.parts, MEMBERS) if in_parts else None
    decode = kernels[shared.form][items]
    for number, layout in enumerate(layouts(read, before, shared.lanes * items)):
        first, blocks = number * read.count, shared.blocks(read.count)
        of_map = memory, whole, layout, first
        if not in_parts:
            launch(decode, blocks, shared.threads, images, *of_map, read.count, *rest)
            continue
        launch(decode, blocks, shared.threads, images, *of_map, shared.parts, unit, kept)
        launch(merge_parts, read.count, shared.mergers, images, kept, layout, first, shared.parts, *rest)
