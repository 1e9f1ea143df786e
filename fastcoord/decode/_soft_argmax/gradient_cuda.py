"""The gradient of `decode.soft_argmax` on a GPU.

A warp, or a block where maps are larger, finds the mean of a map as `cuda` does, and writes the gradient pixel by
pixel: neighbouring lanes write neighbouring pixels, of which the cache still has the values.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import maps, pixel_array
from fastcoord._decode_cuda import share
from fastcoord._exponential import rate
from fastcoord._lanes import GROUP, block_share, column_and_row, first_element, lane_and_map, moved, warp_share
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
    require_like,
    words,
)
from fastcoord._placement import NUMBERS, numbers_at
from fastcoord._placement_cuda import placement
from fastcoord._reciprocal import reciprocal
from fastcoord._stretches import stretches
from fastcoord._vector import convert, like, select
from fastcoord._wide import load_four
from fastcoord.decode._soft_argmax.cuda import finder, part_of
from fastcoord.decode._soft_argmax.formula import pull
from fastcoord.grid import numbers_for, require_grid


def _differentiator(load: Any, items: int, has_blocks: bool, has_window: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    find = finder(load, items, has_blocks, has_window)
    share_state = block_share if has_blocks else warp_share

    @cuda.jit  # type: ignore[untyped-decorator]
    def differentiate(
        images: Any,
        layout: Any,
        first_read: int,
        written_layout: Any,
        first_written: int,
        first_map: int,
        maps: int,
        window: int,
        rate: Any,
        coldness: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        grad: Any,
        written: Any,
    ) -> None:
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            factor = rate[0]
            nil = factor - factor
            corner = first_element(first_read + i, layout)
            greatest, _first, left, top, area, mass, x, y = find(images, corner, layout, lane, lanes, window, rate)
            mass, x, y = share_state((mass, x, y))
            has_mean = mass > nil  # no NaN either
            part = reciprocal(select(has_mean, mass, like(mass, 1)))
            at = first_map + i
            if has_each:
                numbers = numbers_at(each, np.int64(at) * NUMBERS)
            # the gain of an axis of the grid, and the reciprocal of its divisor
            towards_x = grad[np.uint64(2 * at)] * numbers[0] * numbers[3] * coldness
            towards_y = grad[np.uint64(2 * at + 1)] * numbers[4] * numbers[7] * coldness
            mean_x, mean_y = x * part, y * part
            to = first_element(first_written + i, written_layout)
            whole = part_of(layout, layout.rows, layout.columns, lanes)
            pixels = layout.rows * layout.columns
            column, row = column_and_row(lane, whole)
            position = lane
            while position < pixels:
                here = corner + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                value = convert(images[np.uint64(here)], factor)
                right, down = column - left, row - top
                is_inside = (right >= 0) & (right < area.columns) & (down >= 0) & (down < area.rows) & has_mean
                dx, dy = convert(right, factor) - mean_x, convert(down, factor) - mean_y
                found = pull(value, greatest, rate, part, towards_x, towards_y, dx, dy)
                there = to + np.int64(row) * written_layout.row_stride + np.int64(column) * written_layout.column_stride
                written[np.uint64(there)] = select(is_inside, found, nil)
                column, row = moved(column, row, whole)
                position += lanes

    return differentiate


_WAYS = [(blocks, window) for blocks in (False, True) for window in (False, True)]
differentiators = {way: {items: _differentiator(load_four, items, *way) for items in (1, 4)} for way in _WAYS}


def vjp(grad_xy: Any, heatmaps: Any, temperature: float, window: int | None, axes: Any, grid: Any, out: Any) -> Any:
    """`decode.soft_argmax_vjp` of CUDA arrays, as `_decode_cuda.decoded` says of the decoder.

    `grad_xy` is a contiguous array on the same device, of the type of xy.
    """
    require_cuda()
    seen = pixel_array("heatmaps", described("heatmaps", heatmaps))
    read = maps("heatmaps", seen, axes)
    height, width = read.height, read.width
    require_int32("heatmaps", height, width)
    dtype: Any = np.dtype(np.float64 if seen.dtype == np.float64 else np.float32)
    require_grid(grid)
    numbers = numbers_for(grid, dtype, height, width, read.batch)
    seen_grad = described("grad_xy", grad_xy)
    require_like("grad_xy", grad_xy, heatmaps, (*read.batch, 2), dtype)
    gradient, seen_gradient = made_or_given("out", out, heatmaps, seen.shape, dtype, seen)
    if not seen.size:
        return gradient
    into = maps("out", seen_gradient, axes, for_writing=True)
    is_whole = read.column_stride == 1 and read.row_stride == width
    items = 4 if is_whole and seen.dtype == np.float32 and read.memory.nbytes >= 2 * GROUP else 1
    shared = share(read.count * len(read.starts), -(-height * width // items), may_part=False, again=True)
    has_blocks, lanes = shared.form == "blocks", shared.lanes
    reach = 0 if window is None else min(window, height + width)
    options = reach, tuple(rate(temperature, dtype)), dtype.type(1 / temperature)
    with device_of(heatmaps):
        memory = flat_memory("heatmaps", read.memory, heatmaps)
        grads = flat_memory("grad_xy", seen_grad, grad_xy)
        written = flat_memory("out", into.memory, gradient)
        _words, before = words(read.memory, heatmaps)
        in_grid = placement(numbers, heatmaps, grads)
        read_layouts, written_layouts = layouts(read, before, lanes * items), layouts(into, 0, lanes)
        for first, end in stretches(into.count, read.count, len(read.starts) * read.count):
            launch(
                differentiators[has_blocks, window is not None][items],
                shared.blocks(end - first),
                shared.threads,
                heatmaps,
                memory,
                read_layouts[first // read.count],
                first % read.count,
                written_layouts[first // into.count],
                first % into.count,
                first,
                end - first,
                *options,
                *in_grid,
                grads,
                written,
            )
    return gradient
