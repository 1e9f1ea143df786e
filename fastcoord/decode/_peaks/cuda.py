"""Who visits which pixel of a heatmap on a GPU, for its strongest peaks.

A map is one block's. Each lane has a candidate, and the strongest of these is the next peak; only the lane whose it was
looks at its pixels again. So there is no list, and nothing depends on how many maxima there are.
"""

import functools
from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps, maps, peak_members, pixel_array
from fastcoord._compile import inlined
from fastcoord._decode_cuda import placed
from fastcoord._halves import loaded_type
from fastcoord._lanes import WARP, block_merge, block_share, column_and_row, first_element
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
)
from fastcoord._placement_cuda import placement
from fastcoord._recorded import recall
from fastcoord._refinement import Window
from fastcoord._vector import convert, like
from fastcoord._window_cuda import refiner, window_on_device
from fastcoord.decode._peaks.formula import (
    EMPTY,
    NAN,
    NO_NUMBER,
    PLATEAU,
    TRUNCATED,
    centroid,
    compared_type,
    is_peak,
    limit_of,
)
from fastcoord.decode._peaks.visit_cuda import (
    FRESH,
    LONE,
    NOWHERE,
    PEAK,
    PER_BYTE,
    SEEN,
    bytes_of_row,
    flood,
    mark_at,
    merge_candidates,
    strongest,
)
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Peaks

THREADS = 256  # in a block, at most

_strongest_of_block = block_merge(merge_candidates)


@inlined
def _write(slot: Any, x: Any, y: Any, value: Any, bits: Any, at: Any, k: Any, placement: Any, written: Any) -> None:
    xy, score, status = written
    x, y = placed(x, y, at, placement[0], placement[1], placement[2])
    to = np.int64(at) * k + slot
    xy[np.uint64(2 * to)] = x
    xy[np.uint64(2 * to + 1)] = y
    score[np.uint64(to)] = value
    status[np.uint64(to)] = bits


def _finder(refine: str | None) -> Any:
    step_of: Any = None if refine is None else refiner(refine, None)
    is_refined = refine is not None

    @inlined
    def find(
        images: Any,
        layout: Any,
        first_map: Any,
        unit: Any,
        limit: Any,
        k: Any,
        radius: Any,
        skips: Any,
        is_strict: Any,
        marks: Any,
        near: Any,
        placement: Any,
        written: Any,
        number: Any,
    ) -> Any:
        """Write the peaks of the block's map; how many there are."""
        lane, lanes, at = np.int32(cuda.threadIdx.x), np.int32(cuda.blockDim.x), first_map + cuda.blockIdx.x
        first = first_element(cuda.blockIdx.x, layout)
        zero = np.int64(at) * layout.rows * bytes_of_row(layout)
        nothing = like(number, NO_NUMBER)
        own = strongest(images, first, layout, lane, lanes, limit, radius, is_strict, False, limit, NOWHERE, unit)
        found, is_marked, is_over, is_spoilt = np.int64(0), False, False, False
        while not is_over:  # the same for all threads
            value, position, kind, has_nan = block_share(_strongest_of_block(own))
            is_spoilt = has_nan != 0 and not skips
            is_over = is_spoilt or position == NOWHERE
            if not is_over:
                accepted, bits = kind == LONE, 0
                column, row = column_and_row(position, layout)
                x, y = convert(column, number), convert(row, number)
                if kind != LONE:
                    if not is_marked:
                        octet = np.int64(lane)
                        while octet < layout.rows * bytes_of_row(layout):
                            marks[np.uint64(zero + octet)] = np.uint8(FRESH)
                            octet += lanes
                        is_marked = True
                        cuda.syncthreads()  # until then not all marks are cleared
                    is_fresh = mark_at(marks, zero, layout, column, row) == FRESH
                    cuda.syncthreads()  # until then not all threads have read that mark, which is set next
                    if is_fresh:
                        seen, total_x, total_y, pixels = flood(
                            images, first, layout, position, radius, marks, zero, FRESH, SEEN, unit
                        )
                        accepted = is_peak(seen, True, False)
                        if accepted:
                            flood(images, first, layout, position, 1, marks, zero, SEEN, PEAK, unit)
                            if pixels > 1:
                                bits = PLATEAU
                                x, y = centroid(total_x, pixels, number), centroid(total_y, pixels, number)
                if accepted and found < k:
                    if is_refined and bits == 0 and lane < WARP:
                        dx, dy, bits = step_of(images, first, layout, lane, column, row, near, number)
                        x, y = x + dx, y + dy
                    if lane == 0:
                        _write(found, x, y, convert(value, number), bits, at, k, placement, written)
                if accepted:
                    found += 1
                is_over = found > k
                if lane == position % lanes and not is_over:
                    own = strongest(
                        images,
                        first,
                        layout,
                        lane,
                        lanes,
                        limit,
                        radius,
                        is_strict,
                        True,
                        value,
                        position,
                        unit,
                    )
        if lane == 0 and found > k:
            status = written[2]
            to = np.uint64(np.int64(at) * k + k - 1)
            status[to] = status[to] | TRUNCATED
        count = np.int64(0) if is_spoilt else min(found, np.int64(k))
        slot = count + lane
        while slot < k:
            _write(slot, nothing, nothing, nothing, NAN if is_spoilt else EMPTY, at, k, placement, written)
            slot += lanes
        return count

    return find


def _plain() -> Any:
    find = _finder(None)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        unit: Any,
        limit: Any,
        k: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        marks: Any,
        number: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        near, placement, written = number, (numbers, each, has_each), (xy, score, status)
        found = find(
            images,
            layout,
            first_map,
            unit,
            limit,
            k,
            radius,
            skips,
            is_strict,
            marks,
            near,
            placement,
            written,
            number,
        )
        if cuda.threadIdx.x == 0:
            count[np.uint64(first_map + cuda.blockIdx.x)] = found

    return decode


def _refined(refine: str) -> Any:
    find = _finder(refine)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        unit: Any,
        limit: Any,
        k: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        marks: Any,
        number: Any,
        taps: Any,
        reach: int,
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
        count: Any,
    ) -> None:
        near = Window(taps, reach, centre, size, layout.rows, variance, missing)
        placement, written = (numbers, each, has_each), (xy, score, status)
        found = find(
            images,
            layout,
            first_map,
            unit,
            limit,
            k,
            radius,
            skips,
            is_strict,
            marks,
            near,
            placement,
            written,
            number,
        )
        if cuda.threadIdx.x == 0:
            count[np.uint64(first_map + cuda.blockIdx.x)] = found

    return decode


@functools.cache
def decoder(refine: str | None) -> Any:
    """The kernel, with one block a map."""
    return _plain() if refine is None else _refined(refine)


# On the host


def peaks(
    heatmaps: Any,
    search: Any,
    threshold: float,
    axes: Any,
    grid: Any,
    out: Any,
    refine: str | None,
    blur: int,
    sigma: float,
) -> Peaks:
    """`decode.peaks` of CUDA arrays, as `_decode_cuda.decoded` says."""

    def call() -> Peaks:
        return _peaks(heatmaps, search, threshold, axes, grid, out, refine, blur, sigma)

    key = "peaks", search, threshold, refine, blur, sigma, repr(axes)
    recalled: Peaks = recall(key, grid, heatmaps, out, call)
    return recalled


def _peaks(
    heatmaps: Any,
    search: Any,
    threshold: float,
    axes: Any,
    grid: Any,
    out: Any,
    refine: str | None,
    blur: int,
    sigma: float,
) -> Peaks:
    require_cuda()
    seen = pixel_array("heatmaps", described("heatmaps", heatmaps), halves=True)
    read = maps("heatmaps", seen, axes)
    require_int32("heatmaps", read.height, read.width)
    dtype: Any = np.dtype(np.float64 if seen.dtype == np.float64 else np.float32)
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, read.batch)
    given = (None, None, None, None) if out is None else peak_members(out)
    batch, k = read.batch, search.k
    shapes = (*batch, k, 2), (*batch, k), (*batch, k), batch
    made: list[Any] = []
    described_made: list[Any] = []
    for name, member, shape, kind in zip(Peaks._fields, given, shapes, (dtype, dtype, np.int32, np.int32), strict=True):
        array, array_seen = made_or_given(f"out.{name}", member, heatmaps, shape, kind, seen, *described_made)
        made.append(array)
        described_made.append(array_seen)
    with device_of(heatmaps):
        written = [
            flat_memory(f"out.{name}", array_seen, array)
            for name, array_seen, array in zip(Peaks._fields, described_made, made, strict=True)
        ]
        if seen.size:
            placing = placement(numbers, heatmaps, written[0])
            _launch(read, heatmaps, search, threshold, dtype, refine, blur, sigma, placing, written)
    return Peaks(*made) if out is None else out


def _launch(
    read: Maps,
    array: Any,
    search: Any,
    threshold: float,
    dtype: Any,
    refine: str | None,
    blur: int,
    sigma: float,
    placing: Any,
    written: Any,
) -> None:
    loaded = loaded_type(read.memory.dtype)
    compared, height, width = compared_type(loaded), read.height, read.width
    limit = compared(limit_of(threshold, loaded, dtype))
    near: tuple[Any, ...] = ()
    if refine is not None:
        options = refine, blur, sigma, None, height, width
        near = window_on_device(str(cuda.get_current_device().uuid), dtype.type, *options)
    # two bits for each pixel, whose memory nobody touches where there is no plateau
    octets = read.count * len(read.starts) * height * -(-width // PER_BYTE)
    marks = flat_memory("marks", *reversed(made_or_given("marks", None, array, (octets,), np.uint8)))
    memory = flat_memory("heatmaps", read.memory, array)
    threads = min(-(-height * width // WARP) * WARP, THREADS)
    search_numbers = compared(1), limit, search.k, search.radius, search.skips, search.is_strict
    for start, layout in enumerate(layouts(read, 0, threads)):
        rest = marks, dtype.type(1), *near, *placing, *written
        launch(decoder(refine), read.count, threads, array, memory, layout, start * read.count, *search_numbers, *rest)
