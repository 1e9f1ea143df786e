"""Who visits which pixel of a heatmap on the CPU, for its strongest peaks.

Some rows at a time are read, and left at once where no pixel is above the limit; else their vectors are compared with
the eight round them, and what is left are candidates. The limit is the threshold, and once the list is full the weakest
peak in it: so there are few. The list has a place more than is asked for, which tells whether there were more.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import config, prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, kernel, outlined
from fastcoord._halves import format_of, loaded_type
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import CACHE_LINE, convert, like, out_of_line
from fastcoord._window import named, opener, refiner
from fastcoord.decode._peaks.candidate import PEAK, WRITTEN, flood
from fastcoord.decode._peaks.formula import EMPTY, NAN, NO_NUMBER, PLATEAU, TRUNCATED, centroid
from fastcoord.decode._peaks.search import LIST, finder, list_size

TASKS = 16 * config.NUMBA_NUM_THREADS  # calls that there are at most: each has marks of its own
GATHERED = 16  # lanes of a vector whose pixels stand apart


class Search(NamedTuple):
    """Which peaks are looked for."""

    k: int  # how many, at most
    radius: int
    skips: bool  # pixels that are NaN
    is_strict: bool  # greater than those beside it, as sleap-nn has it


def _writer(refine: str | None, is_adjacent: bool, is_half: bool) -> Any:
    step = refiner(refine, None, is_adjacent, is_half)
    is_refined = step is not None

    @outlined
    def write(
        place: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        height: int,
        width: int,
        k: int,
        found: int,
        is_spoilt: bool,
        kept: Any,
        positions: Any,
        base: int,
        marks: Any,
        window: Any,
        numbers: Any,
        at: int,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        """The answer for map number `at`: the list's peaks."""
        out_of_line()
        peaks = 0 if is_spoilt else min(found, k)
        count[at] = peaks
        nothing = like(score[at * k], NO_NUMBER)
        for slot in range(peaks):
            position, bits = positions[base + slot], 0
            strength = convert(kept[base + slot], nothing)
            if position < 0:  # of a plateau, which is walked through once more
                _seen, total_x, total_y, pixels = flood(
                    place,
                    first,
                    row_stride,
                    column_stride,
                    height,
                    width,
                    -1 - position,
                    1,
                    kept[base],
                    marks,
                    PEAK,
                    WRITTEN,
                )
                x, y, bits = centroid(total_x, pixels, nothing), centroid(total_y, pixels, nothing), PLATEAU
            else:
                row = position // width
                column = position - row * width
                x, y = convert(column, nothing), convert(row, nothing)
                if is_refined:
                    dx, dy, bits = step(place, first, row_stride, column_stride, width, column, row, named(window))
                    x, y = convert(convert(column, dx) + dx, nothing), convert(convert(row, dy) + dy, nothing)
            if slot == k - 1 and found > k:
                bits |= TRUNCATED
            x, y = placed(x, y, numbers)
            to = at * k + slot
            xy[2 * to], xy[2 * to + 1], score[to], status[to] = x, y, strength, bits
        # loops without a branch, of which the compiler makes vectors
        behind, end, flags = at * k + peaks, (at + 1) * k, NAN if is_spoilt else EMPTY
        for to in range(2 * behind, 2 * end):
            xy[to] = nothing
        for to in range(behind, end):
            score[to], status[to] = nothing, flags

    return write


@functools.cache
def _decoder(is_adjacent: bool, lanes: int, is_half: bool, refine: str | None) -> Kernel:
    opened, write = opener(refine), _writer(refine, is_adjacent, is_half)
    find = finder(is_adjacent, lanes)

    @outlined
    def decode_maps(
        place: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        first_map: int,
        last_map: int,
        height: int,
        width: int,
        follows: bool,
        limit: Any,
        k: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        base: int,
        kept: Any,
        positions: Any,
        marks: Any,
        window: Any,
        grid: Any,
        grid_step: int,
        number: int,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        out_of_line()  # compiled once for the serial and the parallel kernel
        for i in range(first_map, last_map):
            first = first_element(i, start, outer_stride, inner_count, inner_stride)
            found, is_spoilt = find(
                place,
                first,
                row_stride,
                column_stride,
                height,
                width,
                follows,
                limit,
                k + 1,
                radius,
                skips,
                is_strict,
                base,
                kept,
                positions,
                marks,
            )
            write(
                place,
                first,
                row_stride,
                column_stride,
                height,
                width,
                k,
                found,
                is_spoilt,
                kept,
                positions,
                base,
                marks,
                window,
                numbers_at(grid, (number + i) * grid_step),
                number + i,
                xy,
                score,
                status,
                count,
            )

    @kernel
    def decode(
        images: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        maps: int,
        group: int,
        height: int,
        width: int,
        follows: bool,
        limit: Any,
        k: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        kept: Any,
        positions: Any,
        marks: Any,
        window: Any,
        grid: Any,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        place, near = memory(images), opened(window)
        kept_place, position_place, mark_place = memory(kept), memory(positions), memory(marks)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        xy_place, score_place, status_place, count_place = memory(xy), memory(score), memory(status), memory(count)
        for index in prange((maps + group - 1) // group):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            first_map = task * group
            decode_maps(
                place,
                start,
                outer_stride,
                inner_count,
                inner_stride,
                row_stride,
                column_stride,
                first_map,
                first_map + group if maps - first_map > group else maps,
                height,
                width,
                follows,
                limit,
                k,
                radius,
                skips,
                is_strict,
                LIST + task * list_size(k + 1),
                kept_place,
                position_place,
                (mark_place, task * (height * width)),
                near,
                grid_place,
                grid_step,
                number,
                xy_place,
                score_place,
                status_place,
                count_place,
            )

    return decode


def peaks(
    maps: Maps,
    search: Search,
    limit: Any,
    grid: Any,
    refine: str | None,
    window: Any,
    xy: Any,
    score: Any,
    status: Any,
    count: Any,
) -> None:
    """Decode `maps` into flat arrays; `limit` is of the type of pixels, `grid` holds a grid's numbers.

    `window`: what `refine` takes, as `_refinement.Window`.
    """
    pixels, width, height, number = maps.memory, maps.width, maps.height, maps.count
    is_adjacent, is_half = maps.column_stride == 1, format_of(pixels.dtype) is not None
    lanes = CACHE_LINE // pixels.dtype.itemsize if is_adjacent else GATHERED
    follows = is_adjacent and maps.row_stride == width
    group = -(-number // TASKS)
    tasks = -(-number // group)
    size = list_size(search.k + 1)
    loaded = loaded_type(pixels.dtype)
    kept = np.full(tasks * size, np.nan if loaded.kind == "f" else np.iinfo(loaded).max, loaded)
    positions = np.empty(tasks * size, np.int64)
    marks = np.empty(tasks * height * width, np.uint8)  # whose pages nobody sees where there is no plateau
    decode = _decoder(is_adjacent, lanes, is_half, refine)
    for i, start in enumerate(maps.starts):
        decode(
            number * width * height,
            pixels,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * number,
            number,
            group,
            height,
            width,
            follows,
            limit,
            search.k,
            search.radius,
            search.skips,
            search.is_strict,
            kept,
            positions,
            marks,
            window,
            grid,
            xy,
            score,
            status,
            count,
        )
