"""Who visits which pixel of a one-hot image on a GPU.

A map is read by one warp, or by one block if it is larger, in groups of 16 bytes. A lane loads four groups before it
looks at any. Groups that are zero contribute exactly nothing; only for the others it asks which pixels they are, and
reads them a second time, from the cache. What fills no group at either end of a map, and maps whose pixels do not stand
side by side, are read pixel by pixel.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded, placed
from fastcoord._launch import (
    GROUP,
    WARP,
    block_merge,
    column_and_row,
    first_element,
    flat_memory,
    launch,
    layouts,
    load_four,
    load_sixteen,
    moved,
    next_pixel,
    warp_merge,
    words,
)
from fastcoord._vector import convert
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

AHEAD = 4  # groups that a lane loads before it looks at them
THREADS = 256  # in a block
WARP_PIXELS = 1 << 12  # the largest map that one warp reads; not measured


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
def _absorb_sixteen(block: Any, census: Any, values: Any, column: Any, row: Any, layout: Any, unit: Any) -> Any:
    block, census, column, row = _absorb_four(block, census, values[:4], column, row, layout, unit)
    block, census, column, row = _absorb_four(block, census, values[4:8], column, row, layout, unit)
    block, census, column, row = _absorb_four(block, census, values[8:12], column, row, layout, unit)
    return _absorb_four(block, census, values[12:], column, row, layout, unit)


def _by_groups(load: Any, absorb_group: Any, items: int) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def visit(images: Any, whole: Any, first: int, layout: Any, lane: int, lanes: int, unit: Any) -> Any:
        zero = unit - unit
        state, census = nothing(zero), nobody(zero)
        pixels = layout.rows * layout.columns
        head = min((layout.before - first) & (items - 1), pixels)  # pixels before the first group
        groups = (pixels - head) // items
        tail = pixels - head - groups * items
        if lane < head + tail:
            pixel = lane if lane < head else pixels - tail + lane - head
            column, row = column_and_row(pixel, layout)
            value = images[np.uint64(first + pixel)]
            state, census, _column, _row = _absorb_one(state, census, value, column, row, layout, unit)
        start = first + head
        word = (start - layout.before) // items * 4
        column, row = column_and_row(head + lane * items, layout)
        group = lane
        while group < groups:
            # Beyond the last group it is the last one again: no branch stands between the loads.
            a = load_four(whole, word + 4 * group)
            b = load_four(whole, word + 4 * min(group + lanes, groups - 1))
            c = load_four(whole, word + 4 * min(group + 2 * lanes, groups - 1))
            d = load_four(whole, word + 4 * min(group + 3 * lanes, groups - 1))
            found = 1 if a[0] | a[1] | a[2] | a[3] != 0 else 0
            found |= 2 if b[0] | b[1] | b[2] | b[3] != 0 else 0
            found |= 4 if c[0] | c[1] | c[2] | c[3] != 0 else 0
            found |= 8 if d[0] | d[1] | d[2] | d[3] != 0 else 0
            block = nothing(zero)
            for _ in range(AHEAD):
                if group < groups:
                    if found & 1 != 0:
                        values = load(images, start + group * items)
                        block, census, _column, _row = absorb_group(block, census, values, column, row, layout, unit)
                        if items == PLAIN:
                            state = merge(state, block)
                            block = nothing(zero)
                    else:
                        block = absorb_zero(block)
                found >>= 1
                group += lanes
                column, row = moved(column, row, layout)
            state = merge(state, block)
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
        if has_blocks:
            lane, lanes, i = cuda.threadIdx.x, cuda.blockDim.x, cuda.blockIdx.x
        else:
            lane, lanes = cuda.threadIdx.x % WARP, WARP
            i = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            found = merged_in(visit(images, whole, first, layout, lane, lanes, unit))
            if lane == 0:
                width, height = convert(layout.columns, unit), convert(layout.rows, unit)
                x, y, largest, flags = finish(found[:STATE], found[STATE:], width, height)
                at = np.uint64(first_map + i)
                x, y = placed(x, y, first_map + i, numbers, each, has_each)
                xy[np.uint64(2 * (first_map + i))] = x
                xy[np.uint64(2 * (first_map + i) + 1)] = y
                score[at] = largest
                status[at] = flags

    return decode


_FLOATS, _BYTES = _by_groups(load_four, _absorb_four, 4), _by_groups(load_sixteen, _absorb_sixteen, 16)
by_warps = {4: _decoder(_FLOATS, False), 16: _decoder(_BYTES, False), 1: _decoder(_by_pixels, False)}
by_blocks = {4: _decoder(_FLOATS, True), 16: _decoder(_BYTES, True), 1: _decoder(_by_pixels, True)}


def onehot(images: Any, axes: Any, grid: Any, out: Any) -> Decoded:
    """`decode.onehot` of CUDA arrays, as `_decode_cuda.decoded` says."""
    return decoded("images", images, axes, grid, out, _launch)


def _launch(read: Maps, images: Any, placement: Any, written: Any) -> None:
    dtype, height, width = read.memory.dtype, read.height, read.width
    is_byte = dtype.itemsize == 1
    unit = number_type(dtype, height, width)(1)
    is_whole = read.column_stride == 1 and read.row_stride == width
    has_groups = is_whole and (is_byte or dtype == np.float32) and read.memory.nbytes >= 2 * GROUP
    items = GROUP // dtype.itemsize if has_groups else 1
    if height * width <= WARP_PIXELS:
        decode, lanes, maps_in_block = by_warps[items], WARP, THREADS // WARP
    else:
        decode, lanes, maps_in_block = by_blocks[items], THREADS, 1
    memory = flat_memory("images", read.memory, images)
    whole, before = words(read.memory, images)
    xy, score, _covariance, status = written
    blocks = -(-read.count // maps_in_block)
    for number, layout in enumerate(layouts(read, before, lanes * items)):
        options = layout, number * read.count, read.count, unit
        launch(decode, blocks, THREADS, images, memory, whole, *options, *placement, xy, score, status)
