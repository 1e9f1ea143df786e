"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp, or by one block if it is larger, in groups of 16 bytes. What fills no group at either end of
a map, and maps whose pixels do not stand side by side, are read pixel by pixel.
"""

import functools
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
    warp_merge,
    warp_share,
    words,
)
from fastcoord._vector import convert, like
from fastcoord.decode._argmax import formula
from fastcoord.decode._argmax.formula import EMPTY, finish, number_type, pixel
from fastcoord.decode._argmax.refinement import Window
from fastcoord.decode._argmax.window_cuda import refiner, window_on_device
from fastcoord.results import Decoded

AHEAD = 4  # groups of floats that a lane loads before it looks at them
THREADS = 256  # in a block
WARP_PIXELS = 1 << 12  # the largest map that one warp reads; not measured
NOWHERE = np.int32(formula.NOWHERE)


@inlined
def _merge(a: Any, b: Any) -> Any:
    return formula.merge(a, b, NOWHERE)


@inlined
def _absorb(state: Any, value: Any, position: Any, unit: Any) -> Any:
    """The state after one more pixel."""
    return _merge(state, pixel(convert(value, unit), np.int32(position), NOWHERE))


@inlined
def _absorb_four(state: Any, values: Any, position: Any, unit: Any) -> Any:
    a, b, c, d = values
    state = _absorb(state, a, position, unit)
    state = _absorb(state, b, position + 1, unit)
    state = _absorb(state, c, position + 2, unit)
    return _absorb(state, d, position + 3, unit)


@inlined
def _absorb_sixteen(state: Any, values: Any, position: Any, unit: Any) -> Any:
    state = _absorb_four(state, values[:4], position, unit)
    state = _absorb_four(state, values[4:8], position + 4, unit)
    state = _absorb_four(state, values[8:12], position + 8, unit)
    return _absorb_four(state, values[12:], position + 12, unit)


@inlined
def _nothing(unit: Any) -> Any:
    """The state before any pixel."""
    return like(unit, 0), NOWHERE, np.int32(0), np.int32(0)


def _by_groups(load: Any, absorb_group: Any, items: int) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def visit(images: Any, first: int, layout: Any, lane: int, lanes: int, unit: Any) -> Any:
        state = _nothing(unit)
        pixels = layout.rows * layout.columns
        head = min((layout.before - first) & (items - 1), pixels)  # pixels before the first group
        groups = (pixels - head) // items
        tail = pixels - head - groups * items
        if lane < head + tail:
            position = lane if lane < head else pixels - tail + lane - head
            state = _absorb(state, images[np.uint64(first + position)], position, unit)
        start = first + head
        group = lane
        while group < groups:
            if items == AHEAD:  # four groups of four floats; one of bytes has as many values
                # Beyond the last group it is the last one again: no branch stands between the loads.
                a = load(images, start + items * group)
                b = load(images, start + items * min(group + lanes, groups - 1))
                c = load(images, start + items * min(group + 2 * lanes, groups - 1))
                d = load(images, start + items * min(group + 3 * lanes, groups - 1))
                for values in (a, b, c, d):
                    if group < groups:
                        state = absorb_group(state, values, head + group * items, unit)
                    group += lanes
            else:
                state = absorb_group(state, load(images, start + items * group), head + group * items, unit)
                group += lanes
        return state

    return visit


@inlined
def _by_pixels(images: Any, first: int, layout: Any, lane: int, lanes: int, unit: Any) -> Any:
    """How a lane visits a map with any strides and any type of pixels."""
    state = _nothing(unit)
    pixels = layout.rows * layout.columns
    column, row = column_and_row(lane, layout)
    position = lane
    while position < pixels:
        at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
        state = _absorb(state, images[np.uint64(at)], position, unit)
        column, row = moved(column, row, layout)
        position += lanes
    return state


def _decoder(visit: Any, has_blocks: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    merged_in = (block_merge if has_blocks else warp_merge)(_merge)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        maps: int,
        unit: Any,
        skips: bool,
        threshold: Any,
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
            greatest, position, several, has_nan = merged_in(visit(images, first, layout, lane, lanes, unit))
            if lane == 0:
                column, row = column_and_row(position, layout)
                x, y, largest, flags = finish(
                    convert(greatest, threshold),
                    convert(column, threshold),
                    convert(row, threshold),
                    position != NOWHERE,
                    several,
                    has_nan != 0 and not skips,
                    threshold,
                )
                at = np.uint64(first_map + i)
                x, y = placed(x, y, first_map + i, numbers, each, has_each)
                xy[np.uint64(2 * (first_map + i))] = x
                xy[np.uint64(2 * (first_map + i) + 1)] = y
                score[at] = largest
                status[at] = flags

    return decode


def _refiner(visit: Any, has_blocks: bool, refine: str | None, compat: str | None) -> Any:
    """The same with a step between the pixels, by the first warp of a block, or as other libraries say (or both)."""
    merged_in = (block_merge if has_blocks else warp_merge)(_merge)
    step_of: Any = None if refine is None else refiner(refine, compat)
    is_refined, has_missing = refine is not None, compat is not None

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        maps: int,
        unit: Any,
        skips: bool,
        threshold: Any,
        taps: Any,
        radius: int,
        centre: int,
        size: int,
        variance: Any,
        missing: Any,
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
            state = merged_in(visit(images, first, layout, lane, lanes, unit))
            if lane < WARP:
                greatest, position, several, has_nan = warp_share(state)
                is_found, is_spoilt = position != NOWHERE, has_nan != 0 and not skips
                column, row = column_and_row(position, layout)
                x, y, largest = convert(column, threshold), convert(row, threshold), convert(greatest, threshold)
                bits = 0
                if is_refined and is_found and not is_spoilt and not largest <= threshold:
                    near = Window(taps, radius, centre, size, layout.rows, variance, missing)
                    dx, dy, bits = step_of(images, first, layout, lane, column, row, near, threshold)
                    x, y = x + dx, y + dy
                x, y, largest, flags = finish(largest, x, y, is_found, several, is_spoilt, threshold)
                x, y = placed(x, y, first_map + i, numbers, each, has_each)
                if has_missing and flags & EMPTY != 0:
                    x, y = missing, missing
                if lane == 0:
                    at = np.uint64(first_map + i)
                    xy[np.uint64(2 * (first_map + i))] = x
                    xy[np.uint64(2 * (first_map + i) + 1)] = y
                    score[at] = largest
                    status[at] = flags | bits

    return decode


_FLOATS, _BYTES = _by_groups(load_four, _absorb_four, 4), _by_groups(load_sixteen, _absorb_sixteen, 16)
by_warps = {4: _decoder(_FLOATS, False), 16: _decoder(_BYTES, False), 1: _decoder(_by_pixels, False)}
by_blocks = {4: _decoder(_FLOATS, True), 16: _decoder(_BYTES, True), 1: _decoder(_by_pixels, True)}


@functools.cache
def refining(items: int, has_blocks: bool, refine: str | None, compat: str | None) -> Any:
    """The kernel for groups of so many items."""
    return _refiner({4: _FLOATS, 16: _BYTES, 1: _by_pixels}[items], has_blocks, refine, compat)


def argmax(
    heatmaps: Any,
    skips: bool,
    threshold: float,
    axes: Any,
    grid: Any,
    out: Any,
    refine: str | None = None,
    compat: str | None = None,
    blur: int = 1,
    sigma: float = 1,
) -> Decoded:
    """`decode.argmax` of CUDA arrays, as `_decode_cuda.decoded` says; `threshold` is NaN where there is none."""

    def launch_all(read: Maps, array: Any, placement: Any, written: Any) -> None:
        dtype, height, width = read.memory.dtype, read.height, read.width
        is_whole = read.column_stride == 1 and read.row_stride == width
        has_groups = is_whole and (dtype.itemsize == 1 or dtype == np.float32) and read.memory.nbytes >= 2 * GROUP
        items = GROUP // dtype.itemsize if has_groups else 1
        if height * width <= WARP_PIXELS:
            decode, lanes, maps_in_block = by_warps[items], WARP, THREADS // WARP
        else:
            decode, lanes, maps_in_block = by_blocks[items], THREADS, 1
        memory = flat_memory("heatmaps", read.memory, array)
        _whole, before = words(read.memory, array)
        number: Any = np.float64 if dtype == np.float64 else np.float32
        least = number(threshold)
        near: tuple[Any, ...] = ()
        if refine is not None or compat is not None:
            options_of_window = refine, blur, sigma, compat, height, width
            near = window_on_device(str(cuda.get_current_device().uuid), number, *options_of_window)
            decode = refining(items, lanes == THREADS, refine, compat)
        unit = number_type(dtype)(1)
        xy, score, _covariance, status = written
        blocks = -(-read.count // maps_in_block)
        for start, layout in enumerate(layouts(read, before, lanes * items)):
            options = layout, start * read.count, read.count, unit, skips, least, *near
            launch(decode, blocks, THREADS, array, memory, *options, *placement, xy, score, status)

    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all)
