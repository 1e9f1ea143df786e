"""Who visits which pixel of a one-hot image on the CPU.

Zero bits contribute exactly nothing. A map in one stretch of memory is searched for the chunks that are not zero,
without a branch that depends on where they lie; if it has one hot pixel, this search and that pixel are all its cost.
Any other map is absorbed in tiles of four rows of 64 pixels, but for tiles that are zero as long as there may be many.
Large maps are cut into bands of rows, by their shape, so that all threads help (not with one long row) and the result
does not depend on how many there are. Maps that stand side by side, as those of NHWC, get a lane each (3.1 times as
fast as a gather for each map, 64×17×64×48).
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import loaded_type
from fastcoord._memory import (
    first_element,
    gather,
    item_bytes,
    load,
    load_first,
    memory,
    prefetch,
    store,
)
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import (
    any_lane,
    convert,
    lane_merge,
    lane_numbers,
    out_of_line,
    splat,
)
from fastcoord.decode._onehot.formula import (
    CENSUS,
    PLAIN,
    STATE,
    absorb,
    absorb_zero,
    count,
    finish,
    is_settled,
    merge,
    merge_census,
    nobody,
    nothing,
    number_type,
)
from fastcoord.decode._onehot.search import AHEAD, NONE, SEVERAL, lone_pixel
from fastcoord.decode._onehot.tile import LANES, TALL, WIDE, absorb_tile, is_zero_tile

GROUP = 32  # maps that one call decodes, at most
TASKS = 64  # calls that there are at least, if there are so many maps
BAND = 1 << 18  # pixels in a band

_merge_lanes = lane_merge(merge)
_merge_census_lanes = lane_merge(merge_census)


@outlined
def _adjacent_band(
    place: Any,
    start: int,
    row_stride: int,
    column_stride: int,
    first_row: int,
    rows: int,
    columns: int,
    height: Any,
    width: Any,
) -> Any:
    """The state and the census of `rows` rows of a map whose first pixel is element `start`; `column_stride` is 1.

    A tile is read before the next, so that memory is read nearly in order, and the sums are merged with what is kept of
    rounding once for each tile.
    """
    out_of_line()
    unit = width
    zero = splat(unit - unit, LANES)
    state, census = nothing(zero), nobody(zero)
    size = item_bytes(place)
    is_known = False
    below = TALL * row_stride * size  # bytes between a tile and the one below
    ahead = AHEAD // TALL // size
    if abs(below) <= AHEAD and below != 0:
        ahead = AHEAD // below * TALL * row_stride
    for first in range(first_row, first_row + rows, TALL):
        tall = TALL if first_row + rows - first > TALL else first_row + rows - first
        y = splat(convert(first, unit), LANES)
        for left in range(0, columns, WIDE):
            wide = WIDE if columns - left > WIDE else columns - left
            at = start + first * row_stride + left
            # Bytes take long to absorb, and until many pixels are known to be hot they have to be counted too.
            if (size == 1 or not is_known) and is_zero_tile(place, at, row_stride, tall, wide, ahead):
                state = absorb_zero(state)
                continue
            x = lane_numbers(zero) + splat(convert(left, unit), LANES)
            state = merge(state, absorb_tile(place, at, row_stride, tall, wide, ahead, x, y, height, width))
            if not is_known:
                for r in range(tall):
                    here = at + r * row_stride
                    if wide == WIDE:
                        for k in range(0, WIDE, LANES):
                            census = count(census, convert(load(place, here + k, LANES), unit))
                    else:
                        for k in range(0, wide, LANES):
                            census = count(census, convert(load_first(place, here + k, wide - k, LANES), unit))
                is_known = any_lane(is_settled(state, census))
    return _merge_lanes(state), _merge_census_lanes(census)


@inlined
def _write(answer: Any, numbers: Any, at: int, xy: Any, score: Any, status: Any) -> None:
    """The answer for map number `at`, in the grid of these numbers."""
    x, y, largest, flags = answer
    xy[2 * at], xy[2 * at + 1] = placed(x, y, numbers)
    score[at], status[at] = largest, flags


@outlined
def _decode_group(
    place: Any,
    start: int,
    outer_stride: int,
    inner_count: int,
    inner_stride: int,
    number: int,
    first_map: int,
    last_map: int,
    rows: int,
    columns: int,
    unit: Any,
    grid: Any,
    grid_step: int,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Maps from number `first_map` to `last_map`, each in one stretch of memory.

    As no branch tells where a pixel lies, the processor is at the next map before it is done with this one. To search
    eight maps and then to look at their pixels took 1.07 times as long (3136×64×64 uint8).
    """
    out_of_line()  # compiled once for the serial and the parallel kernel; as a loop's body it takes a second more
    height, width = convert(rows, unit), convert(columns, unit)
    nil = unit - unit
    for i in range(first_map, last_map):
        first = first_element(i, start, outer_stride, inner_count, inner_stride)
        lone = lone_pixel(place, first, rows * columns)
        if lone == SEVERAL:
            state, census = _adjacent_band(place, first, columns, 1, 0, rows, columns, height, width)
        else:
            state, census = absorb_zero(nothing(nil)), nobody(nil)
            if lone != NONE:
                pixel, across = np.uint32(lone), np.uint32(columns)  # a division of 64 bits takes three times as long
                row: Any = np.int64(pixel // across)
                x, y = convert(lone - row * columns, unit), convert(row, unit)
                value = convert(place[first + lone], unit)
                state, census = absorb(state, value, x, y, width, height), count(census, value)
        at = number + i
        answer = finish(state, census, width, height)
        _write(answer, numbers_at(grid, at * grid_step), at, xy, score, status)


@kernel
def _stretched(
    images: Any,
    start: int,
    outer_stride: int,
    inner_count: int,
    inner_stride: int,
    row_stride: int,
    column_stride: int,
    number: int,
    maps: int,
    rows: int,
    columns: int,
    band_rows: int,
    unit: Any,
    grid: Any,
    partial: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Maps of one band, each in one stretch of memory."""
    place = memory(images)
    xy_place, score_place, status_place = memory(xy), memory(score), memory(status)
    grid_place, grid_step = memory(grid), numbers_step(grid)
    group = 1 if maps < TASKS else GROUP if maps > TASKS * GROUP else maps // TASKS
    for index in prange((maps + group - 1) // group):
        first: Any = np.int64(index) * group  # an unsigned index would make floats of differences
        last = first + group if maps - first > group else maps
        _decode_group(
            place,
            start,
            outer_stride,
            inner_count,
            inner_stride,
            number,
            first,
            last,
            rows,
            columns,
            unit,
            grid_place,
            grid_step,
            xy_place,
            score_place,
            status_place,
        )


@inlined
def _scattered_band(
    place: Any,
    start: int,
    row_stride: int,
    column_stride: int,
    first_row: int,
    rows: int,
    columns: int,
    height: Any,
    width: Any,
) -> Any:
    """As `_adjacent_band`, where the columns do not stand side by side."""
    unit = width
    gain_x, gain_y, step = splat(width, LANES), splat(height, LANES), splat(convert(LANES, unit), LANES)
    zero = gain_x - gain_x
    state, census = nothing(zero), nobody(zero)
    for row in range(first_row, first_row + rows):
        at = start + row * row_stride
        x, y = lane_numbers(zero), splat(convert(row, unit), LANES)
        for k in range(0, columns, LANES):
            value = convert(gather(place, at + k * column_stride, column_stride, columns - k, LANES), unit)
            state = merge(state, absorb(nothing(zero), value, x, y, gain_x, gain_y))
            census = count(census, value)
            x = x + step
    return _merge_lanes(state), _merge_census_lanes(census)


def _decoder(band: Any) -> Kernel:
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
        rows: int,
        columns: int,
        band_rows: int,
        unit: Any,
        grid: Any,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        place, grid_place, grid_step = memory(images), memory(grid), numbers_step(grid)
        height, width = convert(rows, unit), convert(columns, unit)
        bands = (rows + band_rows - 1) // band_rows
        for index in prange(maps * bands):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            i = task // bands
            first_row = (task - i * bands) * band_rows
            first = first_element(i, start, outer_stride, inner_count, inner_stride)
            some = band_rows if band_rows < rows - first_row else rows - first_row
            state, census = band(place, first, row_stride, column_stride, first_row, some, columns, height, width)
            if bands == 1:
                at = number + i
                answer = finish(state, census, width, height)
                _write(answer, numbers_at(grid_place, at * grid_step), at, xy, score, status)
            else:
                for member in range(STATE):
                    partial[task, member] = state[member]
                for member in range(CENSUS):
                    partial[task, STATE + member] = census[member]
        if bands > 1:
            for i in range(maps):
                state, census = nothing(unit - unit), nobody(unit - unit)
                for task in range(i * bands, (i + 1) * bands):
                    row = partial[task]
                    state = merge(state, (row[0], row[1], row[2], row[3], row[4]))
                    census = merge_census(census, (row[STATE], row[STATE + 1]))
                at = number + i
                answer = finish(state, census, width, height)
                _write(answer, numbers_at(grid_place, at * grid_step), at, xy, score, status)

    return kernel(decode)


@outlined
def _absorb_side_by_side(
    place: Any,
    start: int,
    row_stride: int,
    column_stride: int,
    rows: int,
    columns: int,
    maps: int,
    height: Any,
    width: Any,
) -> Any:
    """The states and the censuses of `maps` ≤ 16 maps, one in each lane, whose first pixels are side by side."""
    out_of_line()
    unit = width
    gain_x, gain_y, right = splat(width, LANES), splat(height, LANES), splat(convert(1, unit), LANES)
    zero = gain_x - gain_x
    states, census = nothing(zero), nobody(zero)
    size = item_bytes(place)
    for row in range(rows):
        x, y = zero, splat(convert(row, unit), LANES)
        for left in range(0, columns, PLAIN):
            block = nothing(zero)
            for column in range(left, left + PLAIN if columns - left > PLAIN else columns):
                at = start + row * row_stride + column * column_stride
                prefetch(place, at + AHEAD // size)
                values = convert(load_first(place, at, maps, LANES), unit)
                block = absorb(block, values, x, y, gain_x, gain_y)
                census = count(census, values)
                x = x + right
            states = merge(states, block)
    return states, census


@kernel
def _side_by_side(
    images: Any,
    start: int,
    outer_stride: int,
    inner_count: int,
    inner_stride: int,
    row_stride: int,
    column_stride: int,
    number: int,
    maps: int,
    rows: int,
    columns: int,
    band_rows: int,
    unit: Any,
    grid: Any,
    partial: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Maps that stand side by side, as those of NHWC do: `inner_count` of them, of which sixteen fill a vector."""
    place, kept, grid_place, grid_step = memory(images), memory(partial), memory(grid), numbers_step(grid)
    height, width = convert(rows, unit), convert(columns, unit)
    parts = (inner_count + LANES - 1) // LANES
    for index in prange(maps // inner_count * parts):
        task: Any = np.int64(index)  # an unsigned index would make floats of differences
        outer = task // parts
        first = (task - outer * parts) * LANES
        some = LANES if inner_count - first > LANES else inner_count - first
        at = start + outer * outer_stride + first
        states, census = _absorb_side_by_side(place, at, row_stride, column_stride, rows, columns, some, height, width)
        members = states + census
        for member in range(STATE + CENSUS):
            store(kept, (task * (STATE + CENSUS) + member) * LANES, members[member])
        for k in range(some):
            a = partial[task, :, k]
            at = number + outer * inner_count + first + k
            answer = finish((a[0], a[1], a[2], a[3], a[4]), (a[STATE], a[STATE + 1]), width, height)
            _write(answer, numbers_at(grid_place, at * grid_step), at, xy, score, status)


_adjacent, _scattered = _decoder(_adjacent_band), _decoder(_scattered_band)


_NO_PARTIAL = {dtype: np.empty((0, STATE + CENSUS), dtype) for dtype in (np.float32, np.float64)}


def onehot(maps: Maps, grid: Any, xy: Any, score: Any, status: Any) -> None:
    """Decode `maps` into flat arrays; `grid` holds a grid's numbers."""
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    number = number_type(loaded_type(pixels.dtype), height, width)
    band_rows = min(max(BAND // width, 1), height)
    partial = _NO_PARTIAL[number]
    if band_rows < height:
        partial = np.empty((count * -(-height // band_rows), STATE + CENSUS), number)
    decode = _scattered if maps.column_stride != 1 else _adjacent
    if maps.column_stride != 1 and maps.inner_stride == 1 and maps.inner_count > 1:
        decode = _side_by_side
        tasks = count // maps.inner_count * -(-maps.inner_count // LANES)
        partial = np.empty((tasks, STATE + CENSUS, LANES), number)
    if maps.column_stride == 1 and maps.row_stride == width and height * width <= BAND:
        decode = _stretched
    for i, start in enumerate(maps.starts):
        decode(
            count * width * height,
            pixels,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            height,
            width,
            band_rows,
            number(1),
            grid,
            partial,
            xy,
            score,
            status,
        )
