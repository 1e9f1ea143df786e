"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp, one block or several, in groups of 16 bytes. What fills no group at either end of a map, and
maps whose pixels do not stand side by side, are read pixel by pixel.
"""

import functools
from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded, placed, share, states
from fastcoord._halves import loaded_type
from fastcoord._lanes import (
    GROUP,
    WARP,
    block_merge,
    column_and_row,
    first_element,
    keep_state,
    kept_merge,
    lane_and_map,
    warp_merge,
    warp_share,
)
from fastcoord._largest import EMPTY, finish, number_type
from fastcoord._largest_cuda import MEMBERS, NOWHERE, merge_states, nothing
from fastcoord._launch import flat_memory, launch, layouts, words
from fastcoord._refinement import Window
from fastcoord._vector import convert
from fastcoord._window_cuda import refiner, window_on_device
from fastcoord.decode._argmax.visit_cuda import LOADS, resolver, visitor
from fastcoord.results import Decoded


@inlined
def _answer(
    state: Any,
    layout: Any,
    at: Any,
    skips: Any,
    threshold: Any,
    numbers: Any,
    each: Any,
    has_each: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Write what the state of a map comes to as answer number `at`."""
    greatest, position, several, has_nan = state
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
    x, y = placed(x, y, at, numbers, each, has_each)
    xy[np.uint64(2 * at)] = x
    xy[np.uint64(2 * at + 1)] = y
    score[np.uint64(at)] = largest
    status[np.uint64(at)] = flags


def _decoder(items: int, has_blocks: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    visit = visitor(items)
    merged_in, resolved = (block_merge if has_blocks else warp_merge)(merge_states), resolver(items)

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
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            state = merged_in(visit(images, first, layout, lane, lanes, unit))
            if lane == 0:
                state = resolved(images, first, layout, state, unit)
                at = first_map + i
                _answer(state, layout, at, skips, threshold, numbers, each, has_each, xy, score, status)

    return decode


def _part_decoder(items: int) -> Any:
    """A kernel with several blocks a map, each of which keeps a state."""
    visit = visitor(items)
    merged = block_merge(merge_states)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(images: Any, layout: Any, first_map: int, parts: int, unit: Any, kept: Any) -> None:
        i: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(parts))
        part = cuda.blockIdx.x - i * parts
        lane, lanes = part * cuda.blockDim.x + cuda.threadIdx.x, parts * cuda.blockDim.x
        state = merged(visit(images, first_element(i, layout), layout, lane, lanes, unit))
        if cuda.threadIdx.x == 0:
            keep_state(kept, (first_map + i) * parts + part, state, nothing(unit))

    return decode


def _part_merger(items: int) -> Any:
    """A kernel with one block a map, which merges the kept states."""
    merged, resolved = kept_merge(merge_states), resolver(items)

    @cuda.jit  # type: ignore[untyped-decorator]
    def merge_parts(
        images: Any,
        layout: Any,
        first_map: int,
        parts: int,
        kept: Any,
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
        at: Any = np.int64(first_map + cuda.blockIdx.x)
        state = merged(kept, at * parts, parts, nothing(unit))
        if cuda.threadIdx.x == 0:
            state = resolved(images, first_element(cuda.blockIdx.x, layout), layout, state, unit)
            _answer(state, layout, at, skips, threshold, numbers, each, has_each, xy, score, status)

    return merge_parts


kernels = {
    "warps": {items: _decoder(items, False) for items in LOADS},
    "blocks": {items: _decoder(items, True) for items in LOADS},
    "parts": {items: _part_decoder(items) for items in LOADS},
    "merge": {items: _part_merger(items) for items in LOADS},
}


# With a step between the pixels, by the first warp of a block, or as other libraries say (or both)


def _refined_answer(refine: str | None, compat: str | None) -> Any:
    """What a warp writes of the state that its lane 0 has."""
    step_of: Any = None if refine is None else refiner(refine, compat)
    is_refined, has_missing = refine is not None, compat is not None

    @inlined
    def answer(
        images: Any,
        first: Any,
        layout: Any,
        lane: Any,
        state: Any,
        at: Any,
        skips: Any,
        threshold: Any,
        near: Any,
        placement: Any,
        written: Any,
    ) -> None:
        greatest, position, several, has_nan = warp_share(state)
        is_found, is_spoilt = position != NOWHERE, has_nan != 0 and not skips
        column, row = column_and_row(position, layout)
        x, y, largest = convert(column, threshold), convert(row, threshold), convert(greatest, threshold)
        bits = 0
        if is_refined and is_found and not is_spoilt and not largest <= threshold:
            dx, dy, bits = step_of(images, first, layout, lane, column, row, near, threshold)
            x, y = x + dx, y + dy
        x, y, largest, flags = finish(largest, x, y, is_found, several, is_spoilt, threshold)
        x, y = placed(x, y, at, placement[0], placement[1], placement[2])
        if has_missing and flags & EMPTY != 0:
            x, y = near.missing, near.missing
        if lane == 0:
            xy, score, status = written
            xy[np.uint64(2 * at)] = x
            xy[np.uint64(2 * at + 1)] = y
            score[np.uint64(at)] = largest
            status[np.uint64(at)] = flags | bits

    return answer


def _refiner(items: int, has_blocks: bool, refine: str | None, compat: str | None) -> Any:
    """As `_decoder`."""
    visit = visitor(items)
    merged_in, resolved = (block_merge if has_blocks else warp_merge)(merge_states), resolver(items)
    answer = _refined_answer(refine, compat)

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
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            state = merged_in(visit(images, first, layout, lane, lanes, unit))
            if lane < WARP:
                if lane == 0:
                    state = resolved(images, first, layout, state, unit)
                near = Window(taps, radius, centre, size, layout.rows, variance, missing)
                placement, written = (numbers, each, has_each), (xy, score, status)
                at = first_map + i
                answer(images, first, layout, lane, state, at, skips, threshold, near, placement, written)

    return decode


def _refining_merger(items: int, refine: str | None, compat: str | None) -> Any:
    """As `_part_merger`."""
    merged, resolved = kept_merge(merge_states), resolver(items)
    answer = _refined_answer(refine, compat)

    @cuda.jit  # type: ignore[untyped-decorator]
    def merge_parts(
        images: Any,
        layout: Any,
        first_map: int,
        parts: int,
        kept: Any,
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
        lane = cuda.threadIdx.x
        at: Any = np.int64(first_map + cuda.blockIdx.x)
        first = first_element(cuda.blockIdx.x, layout)
        state = merged(kept, at * parts, parts, nothing(unit))
        if lane < WARP:
            if lane == 0:
                state = resolved(images, first, layout, state, unit)
            near = Window(taps, radius, centre, size, layout.rows, variance, missing)
            placement, written = (numbers, each, has_each), (xy, score, status)
            answer(images, first, layout, lane, state, at, skips, threshold, near, placement, written)

    return merge_parts


@functools.cache
def refining(form: str, items: int, refine: str | None, compat: str | None) -> Any:
    """The kernel for groups of so many items."""
    if form == "merge":
        return _refining_merger(items, refine, compat)
    return _refiner(items, form == "blocks", refine, compat)


# On the host


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
    has_window = refine is not None or compat is not None

    def launch_all(read: Maps, array: Any, placement: Any, written: Any) -> None:
        dtype, height, width = read.memory.dtype, read.height, read.width
        is_whole = read.column_stride == 1 and read.row_stride == width
        items = GROUP // dtype.itemsize if is_whole and read.memory.nbytes >= 2 * GROUP else 1
        shared = share(read.count * len(read.starts), -(-height * width // items))
        memory = flat_memory("heatmaps", read.memory, array)
        _whole, before = words(read.memory, array)
        number: Any = np.float64 if dtype == np.float64 else np.float32
        near: tuple[Any, ...] = ()
        if has_window:
            options_of_window = refine, blur, sigma, compat, height, width
            near = window_on_device(str(cuda.get_current_device().uuid), number, *options_of_window)
        unit = number_type(loaded_type(dtype))(1)
        xy, score, _covariance, status = written
        with np.errstate(over="ignore"):  # beyond the type it is infinite
            limit = number(threshold)
        rest = unit, skips, limit, *near, *placement, xy, score, status

        def kernel(form: str) -> Any:
            return refining(form, items, refine, compat) if has_window else kernels[form][items]

        in_parts = shared.form == "parts"
        kept = states(array, read.count * len(read.starts) * shared.parts, MEMBERS) if in_parts else None
        for start, layout in enumerate(layouts(read, before, shared.lanes * items)):
            first, blocks = start * read.count, shared.blocks(read.count)
            of_map = memory, layout, first
            if not in_parts:
                launch(kernel(shared.form), blocks, shared.threads, array, *of_map, read.count, *rest)
                continue
            launch(kernels["parts"][items], blocks, shared.threads, array, *of_map, shared.parts, unit, kept)
            launch(kernel("merge"), read.count, shared.mergers, array, *of_map, shared.parts, kept, *rest)

    least = threshold if threshold == threshold else None
    options = "argmax", skips, least, refine, compat, blur, sigma
    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all, options=options)
