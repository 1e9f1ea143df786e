"""Who visits which pixel of a one-hot image on the CPU.

Where the columns of a map stand side by side it is read in pages of 64 cache lines. First one OR tells which of a page's
lines are not zero; zero lines contribute exactly nothing. Then a page without a zero chunk is absorbed as a whole, row by
row; of any other page only the lines that are not zero.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    convert,
    gather,
    item_bytes,
    lane_bits,
    lane_merge,
    lane_numbers,
    load,
    load_first,
    load_line,
    memory,
    octets,
    prefetch,
    splat,
    trailing_zeros,
)
from fastcoord.decode._onehot.formula import (
    CENSUS,
    STATE,
    absorb,
    absorb_zero,
    count,
    finish,
    is_settled,
    matters,
    merge,
    merge_census,
    nobody,
    nothing,
)

LANES = 16
PLAIN = 16  # vectors added without keeping the rest
EXACT = 4096  # width up to which such sums of 16 responses to bytes are exact in float32
LINES = 8  # cache lines in a chunk
CHUNKS = 8  # chunks in a page
CHUNK = LINES * CACHE_LINE
PAGE = CHUNKS * CHUNK
AHEAD = 4096  # bytes between a line that is read and one that is prefetched
TRUST = 3  # pages absorbed unseen after one that had no zero chunk
BAND = 1 << 18  # pixels in a band

_merge_lanes = lane_merge(merge)
_merge_census_lanes = lane_merge(merge_census)


@inlined
def _absorb_piece(state: Any, place: Any, at: int, column: int, row: int, pixels: int, height: Any, width: Any) -> Any:
    """`pixels` ≤ 16·PLAIN pixels of one row from `column` on, which is element `at`."""
    unit = width
    gain_x, gain_y, step = splat(width, LANES), splat(height, LANES), splat(convert(LANES, unit), LANES)
    y = splat(convert(row, unit), LANES)
    x = lane_numbers(gain_x) + splat(convert(column, unit), LANES)
    block = nothing(gain_x - gain_x)
    for k in range(0, pixels, LANES):
        value = convert(load_first(place, at + k, pixels - k, LANES), unit)
        block = absorb(block, value, x, y, gain_x, gain_y)
        x = x + step
    return merge(state, block)


@inlined
def _absorb_rows(state: Any, place: Any, at: int, row: int, rows: int, columns: int, height: Any, width: Any) -> Any:
    """`rows` ≤ PLAIN contiguous rows of `columns` pixels from `row` on, the first pixel of which is element `at`.

    Column by column, two vectors side by side: the x of a vector stays in its register, nothing is done for a row, and
    two chains of additions overlap.
    """
    unit = width
    gain_x, gain_y, step = splat(width, LANES), splat(height, LANES), splat(convert(LANES, unit), LANES)
    zero = gain_x - gain_x
    down = splat(convert(1, unit), LANES)
    first = splat(convert(row, unit), LANES)
    x = lane_numbers(zero)
    whole = columns // (2 * LANES) * (2 * LANES)
    for k in range(0, whole, 2 * LANES):
        left, right = nothing(zero), nothing(zero)
        y = first
        for r in range(rows):
            here = at + r * columns + k
            left = absorb(left, convert(load(place, here, LANES), unit), x, y, gain_x, gain_y)
            right = absorb(right, convert(load(place, here + LANES, LANES), unit), x + step, y, gain_x, gain_y)
            y = y + down
        state = merge(state, merge(left, right))
        x = x + step + step
    for k in range(whole, columns, LANES):
        block = nothing(zero)
        y = first
        for r in range(rows):
            value = convert(load_first(place, at + r * columns + k, columns - k, LANES), unit)
            block = absorb(block, value, x, y, gain_x, gain_y)
            y = y + down
        state = merge(state, block)
        x = x + step
    return state


@inlined
def _absorb_pixels(state: Any, place: Any, at: int, pixel: int, pixels: int, columns: int, height: Any, width: Any) -> Any:
    """`pixels` contiguous pixels from number `pixel` of the map on, which is element `at`."""
    row = pixel // columns
    column = pixel - row * columns
    done = 0
    while done < pixels:
        rows = min((pixels - done) // columns, PLAIN)
        if column == 0 and rows > 1:
            state = _absorb_rows(state, place, at + done, row, rows, columns, height, width)
            done += rows * columns
            row += rows
        else:
            some = min(pixels - done, columns - column, LANES * PLAIN)
            state = _absorb_piece(state, place, at + done, column, row, some, height, width)
            done += some
            column += some
            if column == columns:
                row += 1
                column = 0
    return state


@inlined
def _count_pixels(state: Any, census: Any, place: Any, at: int, pixels: int, unit: Any) -> Any:
    """The census after `pixels` contiguous pixels from element `at` on, which are in the state already."""
    if any_lane(is_settled(state, census)):
        return census
    for k in range(0, pixels, LANES):
        census = count(census, convert(load_first(place, at + k, pixels - k, LANES), unit))
    return census


@inlined
def _is_zero(lines: Any, at: int) -> Any:
    """Whether the bits of the chunk from byte `at` on are all zero."""
    a = load(lines, at, 64) | load(lines, at + 64, 64)
    b = load(lines, at + 128, 64) | load(lines, at + 192, 64)
    c = load(lines, at + 256, 64) | load(lines, at + 320, 64)
    d = load(lines, at + 384, 64) | load(lines, at + 448, 64)
    bits = (a | b) | (c | d)
    return not any_lane(bits != (bits ^ bits))


@inlined
def _find_lines(lines: Any, at: int, chunks: int) -> Any:
    """The lines of a page of `chunks` chunks, from byte `at` on, that are not zero, as bits.

    Or, first, whether no chunk is zero (then the bits are 0).     No branch depends on where in its chunk a hot pixel lies: that cannot be predicted.
    """
    found = 0
    for c in range(chunks):
        found |= (0 if _is_zero(lines, at + c * CHUNK) else 1) << c
    if found == (1 << chunks) - 1:
        return True, 0
    zero = splat(np.uint8(0), 64)
    bits = 0
    while found != 0:
        c = trailing_zeros(found)
        found &= found - 1
        for line in range(LINES):
            is_found = any_lane(load(lines, at + c * CHUNK + line * CACHE_LINE, 64) != zero)
            bits |= (1 if is_found else 0) << (c * LINES + line)
    return False, bits


@inlined
def _prefetch(lines: Any, at: int, count: int) -> None:
    for line in range(count):
        prefetch(lines, at + line * CACHE_LINE + AHEAD)


@inlined
def _band(
    place: Any, start: int, row_stride: int, column_stride: int, first_row: int, rows: int, columns: int, height: Any, width: Any
) -> Any:
    """The state and the census of `rows` rows of a map whose first pixel is element `start`."""
    unit = width
    zero = splat(unit - unit, LANES)
    state, census = nothing(zero), nobody(zero)
    few, few_census = nothing(unit - unit), nobody(unit - unit)
    lines = octets(place)
    size = item_bytes(place)
    line_pixels = CACHE_LINE // size
    if row_stride == columns:  # one stretch of all rows
        stretches, length = 1, rows * columns
    else:
        stretches, length = rows, columns
    is_dense = False
    for stretch in range(stretches):
        at = start + (first_row + stretch) * row_stride
        pixel = (first_row + stretch) * columns
        done = 0
        trusted = 0
        while done < length:
            chunks = min((length - done) * size // CHUNK, CHUNKS)
            pixels = chunks * LINES * line_pixels if chunks > 0 else length - done
            place_of_line = (at + done) * size
            _prefetch(lines, place_of_line, chunks * LINES)
            found = 0
            if trusted > 0:
                trusted -= 1
                is_full = True
            else:
                is_full, found = _find_lines(lines, place_of_line, chunks)
                trusted = TRUST if is_full else 0
            if is_full:
                state = _absorb_pixels(state, place, at + done, pixel + done, pixels, columns, height, width)
                census = _count_pixels(state, census, place, at + done, pixels, unit)
                is_dense = True
            else:
                few = absorb_zero(few)
            while found != 0:
                here = done + trailing_zeros(found) * line_pixels
                found &= found - 1
                values = load_line(place, at + here)
                hot = lane_bits(matters(values))
                if hot != 0 and hot & (hot - 1) == 0:
                    here += trailing_zeros(hot)
                    row = (pixel + here) // columns
                    column = pixel + here - row * columns
                    value = convert(place[at + here], unit)
                    few = merge(
                        few,
                        absorb(nothing(unit - unit), value, convert(column, unit), convert(row, unit), width, height),
                    )
                    few_census = count(few_census, value)
                else:
                    state = _absorb_pixels(state, place, at + here, pixel + here, line_pixels, columns, height, width)
                    census = _count_pixels(state, census, place, at + here, line_pixels, unit)
                    is_dense = True
            done += pixels
    if is_dense:
        few = merge(few, _merge_lanes(state))
        few_census = merge_census(few_census, _merge_census_lanes(census))
    return few, few_census


@inlined
def _scattered_band(
    place: Any, start: int, row_stride: int, column_stride: int, first_row: int, rows: int, columns: int, height: Any, width: Any
) -> Any:
    """As `_band`, where the columns do not stand side by side."""
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
        maps: int,
        rows: int,
        columns: int,
        band_rows: int,
        unit: Any,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        place = memory(images)
        height, width = convert(rows, unit), convert(columns, unit)
        bands = (rows + band_rows - 1) // band_rows
        for index in prange(maps * bands):
            task = np.int64(index)
            i = task // bands
            first_row = (task - i * bands) * band_rows
            outer = i // inner_count
            first = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            some = min(band_rows, rows - first_row)
            state, census = band(place, first, row_stride, column_stride, first_row, some, columns, height, width)
            if bands == 1:
                x, y, largest, flags = finish(state, census, width, height)
                xy[2 * i] = x
                xy[2 * i + 1] = y
                score[i] = largest
                status[i] = flags
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
                x, y, largest, flags = finish(state, census, width, height)
                xy[2 * i] = x
                xy[2 * i + 1] = y
                score[i] = largest
                status[i] = flags

    return kernel(decode)


_adjacent, _scattered = _decoder(_band), _decoder(_scattered_band)


def onehot(maps: Maps, xy: Any, score: Any, status: Any) -> None:
    """Decode maps into flat arrays; `maps`: as `_arrays.maps` describes them."""
    size, width, height = maps.memory.itemsize, maps.width, maps.height
    is_double = size > 1 and maps.memory.dtype != np.float32 or size == 1 and max(width, height) > EXACT
    unit = np.float64(1) if is_double else np.float32(1)
    band_rows = min(max(BAND // width, 1), height)
    bands = -(-height // band_rows)
    partial = np.empty((maps.count * bands if bands > 1 else 0, STATE + CENSUS), unit.dtype)
    decode = _adjacent if maps.column_stride == 1 else _scattered
    for i, start in enumerate(maps.starts):
        first, last = i * maps.count, (i + 1) * maps.count
        decode(
            maps.count * width * height,
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            maps.count,
            height,
            width,
            band_rows,
            unit,
            partial,
            xy[2 * first : 2 * last],
            score[first:last],
            status[first:last],
        )
