"""Who visits which pixel of a heatmap on the CPU, for its strongest peaks.

Some rows at a time are read, and left at once where no pixel is above the limit; else their vectors are compared with
the eight round them, and what is left are candidates. The limit is the threshold, and once the list is full the weakest
peak in it: so there are few. The list has a place more than is asked for, which tells whether there were more.

Where there are fewer maps than threads each thread looks at some rows of one. It cannot tell what is in others'
plateaus: if it sees a pixel of one, the map is looked at again, as a whole.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import config, prange

from fastcoord._arrays import Maps
from fastcoord._compile import SERIAL_LIMIT, Kernel, kernel, outlined
from fastcoord._halves import format_of, loaded_type
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step
from fastcoord._vector import CACHE_LINE, out_of_line
from fastcoord._window import opener
from fastcoord.decode._peaks.answer import writer
from fastcoord.decode._peaks.ranking import LIST, push, ranked, ranking_size, weakest
from fastcoord.decode._peaks.search import UNDECIDED, finder

TASKS = 16 * config.NUMBA_NUM_THREADS  # calls that there are at most: each has marks of its own
ROWS = 32  # of a map that one call looks at, at least, where there are fewer maps than threads
GATHERED = 16  # lanes of a vector whose pixels stand apart


class Search(NamedTuple):
    """Which peaks are looked for."""

    k: int  # how many, at most
    radius: int
    skips: bool  # pixels that are NaN
    is_strict: bool  # greater than those beside it, as sleap-nn has it


@functools.cache
def _decoder(is_adjacent: bool, lanes: int, is_half: bool, refine: str | None) -> Kernel:
    opened, write = opener(refine), writer(refine, is_adjacent, is_half)
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
        slots: int,
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
            found = find(
                place,
                first,
                row_stride,
                column_stride,
                height,
                width,
                0,
                height,
                follows,
                limit,
                slots,
                radius,
                skips,
                is_strict,
                base,
                kept,
                positions,
                marks,
            )
            ranked(kept, positions, base, found, slots)
            write(
                place,
                first,
                row_stride,
                column_stride,
                height,
                width,
                k,
                found,
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

    @outlined
    def join_parts(
        place: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        height: int,
        width: int,
        k: int,
        slots: int,
        parts: int,
        base: int,
        kept: Any,
        positions: Any,
        marks: Any,
        told: Any,
        part: int,
        window: Any,
        numbers: Any,
        at: int,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        """Write the answer for map number `at`, whose rows were looked at in `parts`, unless something is undecided."""
        out_of_line()
        found, other = told[part], base
        for i in range(1, parts):
            other += ranking_size(slots)
            more = told[part + i]
            found = min(found, more) if found < 0 or more < 0 else found
            for slot in range(other, other + more if found >= 0 else other):
                if found < slots or kept[slot] > weakest(kept, base, slots):
                    found = push(kept, positions, base, found, slots, kept[slot], positions[slot])
        if found != UNDECIDED:
            ranked(kept, positions, base, found, slots)
            write(
                place,
                first,
                row_stride,
                column_stride,
                height,
                width,
                k,
                found,
                kept,
                positions,
                base,
                marks,
                window,
                numbers,
                at,
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
        parts: int,
        height: int,
        width: int,
        follows: bool,
        limit: Any,
        k: int,
        slots: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        kept: Any,
        positions: Any,
        marks: Any,
        told: Any,
        window: Any,
        grid: Any,
        xy: Any,
        score: Any,
        status: Any,
        count: Any,
    ) -> None:
        place, near = memory(images), opened(window)
        kept_place, position_place, mark_place, told_place = (
            memory(kept),
            memory(positions),
            memory(marks),
            memory(told),
        )
        grid_place, grid_step = memory(grid), numbers_step(grid)
        xy_place, score_place, status_place, count_place = memory(xy), memory(score), memory(status), memory(count)
        for index in prange((maps + group - 1) // group * parts):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            base = LIST + task * ranking_size(slots)
            if parts > 1:
                part = task % parts
                told_place[task] = find(
                    place,
                    first_element(task // parts, start, outer_stride, inner_count, inner_stride),
                    row_stride,
                    column_stride,
                    height,
                    width,
                    height * part // parts,
                    height * (part + 1) // parts,
                    follows,
                    limit,
                    slots,
                    radius,
                    skips,
                    is_strict,
                    base,
                    kept_place,
                    position_place,
                    (mark_place, 0),
                )
            else:
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
                    slots,
                    radius,
                    skips,
                    is_strict,
                    base,
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
        for i in range(maps if parts > 1 else 0):
            join_parts(
                place,
                first_element(i, start, outer_stride, inner_count, inner_stride),
                row_stride,
                column_stride,
                height,
                width,
                k,
                slots,
                parts,
                LIST + i * parts * ranking_size(slots),
                kept_place,
                position_place,
                (mark_place, 0),
                told_place,
                i * parts,
                near,
                numbers_at(grid_place, (number + i) * grid_step),
                number + i,
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
    loaded = loaded_type(pixels.dtype)
    group, parts = -(-number // TASKS), 1
    # of integers many are equal
    if loaded.kind == "f" and number < config.NUMBA_NUM_THREADS and height * width >= SERIAL_LIMIT:
        parts = max(min(TASKS // number, height // ROWS), 1)
    tasks = -(-number // group) * parts
    # no more peaks have room beside each other
    slots = min(search.k, (height + 1) // 2 * ((width + 1) // 2)) + 1
    size = tasks * ranking_size(slots)
    kept = np.full(size, np.nan if loaded.kind == "f" else np.iinfo(loaded).max, loaded)
    positions, told = np.empty(size, np.int64), np.zeros(tasks, np.int64)
    # pages that nobody sees where there is no plateau
    marks = np.empty((tasks if parts == 1 else number) * height * width, np.uint8)
    decode = _decoder(is_adjacent, lanes, is_half, refine)

    def run(i: int, start: int, group: int, parts: int) -> None:
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
            parts,
            height,
            width,
            follows,
            limit,
            search.k,
            slots,
            search.radius,
            search.skips,
            search.is_strict,
            kept,
            positions,
            marks,
            told,
            window,
            grid,
            xy,
            score,
            status,
            count,
        )

    for i, start in enumerate(maps.starts):
        run(i, start, group, parts)
        if parts > 1 and (told == UNDECIDED).any():
            run(i, start, 1, 1)
