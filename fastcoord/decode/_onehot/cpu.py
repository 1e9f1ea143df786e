"""Who visits which pixel of a one-hot image on the CPU.

Zero bits contribute exactly nothing. A map in one stretch of memory is searched for the chunks that are not zero,
without a branch that depends on where they lie; if it has one hot pixel, this search and that pixel are all its cost.
Any other map is absorbed in tiles of four rows of 64 pixels, but for tiles that are zero as long as there may be many.
Large maps are cut into bands of rows, by their shape, so that all threads help (not with one long row) and the result
does not depend on how many there are.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import loaded_type
from fastcoord._memory import (
    gather,
    item_bytes,
    load,
    load_first,
    load_line,
    memory,
    octets,
    prefetch,
)
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    convert,
    lane_bits,
    lane_merge,
    lane_numbers,
    out_of_line,
    splat,
    trailing_zeros,
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
    matters,
    merge,
    merge_census,
    nobody,
    nothing,
    number_type,
)

LANES = 16
LINES = 8  # cache lines in a chunk
CHUNK = LINES * CACHE_LINE
PAGE = 2  # chunks searched before it is asked whether several are busy
CHUNKS = 62  # chunks that the bits of an int64 tell apart
AHEAD = 8192  # bytes between a line that is read and one that is prefetched; 4096: 0.71 instead of 0.83 (D2, random)
NONE, SEVERAL = -1, -2
GROUP = 8  # maps that one call decodes
TALL = 4  # rows in a tile
WIDE = PLAIN // TALL * LANES  # pixels in a row of a tile
BAND = 1 << 18  # pixels in a band

_merge_lanes = lane_merge(merge)
_merge_census_lanes = lane_merge(merge_census)


@inlined
def _is_zero_tile(place: Any, at: int, row_stride: int, rows: int, columns: int, ahead: int) -> Any:
    """Whether the bits of a tile are all zero."""
    lines, size = octets(place), item_bytes(place)
    zero = splat(np.uint8(0), 64)
    bits = zero
    if rows == TALL and columns == WIDE:  # known when compiled: no loops
        for r in range(TALL):
            for k in range(0, WIDE * size, CACHE_LINE):
                prefetch(lines, (at + r * row_stride + ahead) * size + k)
                bits = bits | load(lines, (at + r * row_stride) * size + k, 64)
    else:
        for r in range(rows):
            for k in range(0, columns * size, CACHE_LINE):
                bits = bits | load_first(lines, (at + r * row_stride) * size + k, columns * size - k, 64)
    return not any_lane(bits != zero)


@inlined
def _absorb_tile(
    place: Any, at: int, row_stride: int, rows: int, columns: int, ahead: int, x: Any, y: Any, height: Any, width: Any
) -> Any:
    """The state of a tile: its first columns are `x`, its first row is `y`.

    The rows are read side by side: x is counted up once for all of them.
    """
    unit = width
    lines, size = octets(place), item_bytes(place)
    gain_x, gain_y, step = splat(width, LANES), splat(height, LANES), splat(convert(LANES, unit), LANES)
    down = splat(convert(1, unit), LANES)
    state = nothing(gain_x - gain_x)
    whole = columns // LANES * LANES if rows == TALL else 0
    for k in range(0, whole, LANES):
        row_y = y
        for r in range(TALL):
            here = at + r * row_stride + k
            if size > 1:
                for line in range(0, LANES * size, CACHE_LINE):
                    prefetch(lines, (here + ahead) * size + line)
            state = absorb(state, convert(load(place, here, LANES), unit), x, row_y, gain_x, gain_y)
            row_y = row_y + down
        x = x + step
    for k in range(whole, columns, LANES):
        row_y = y
        for r in range(rows):
            value = convert(load_first(place, at + r * row_stride + k, columns - k, LANES), unit)
            state = absorb(state, value, x, row_y, gain_x, gain_y)
            row_y = row_y + down
        x = x + step
    return state


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
            if (size == 1 or not is_known) and _is_zero_tile(place, at, row_stride, tall, wide, ahead):
                state = absorb_zero(state)
                continue
            x = lane_numbers(zero) + splat(convert(left, unit), LANES)
            state = merge(state, _absorb_tile(place, at, row_stride, tall, wide, ahead, x, y, height, width))
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
def _is_zero_chunk(lines: Any, at: int) -> Any:
    """Whether the bits of the chunk from byte `at` on are all zero."""
    a = load(lines, at, 64) | load(lines, at + 64, 64)
    b = load(lines, at + 128, 64) | load(lines, at + 192, 64)
    c = load(lines, at + 256, 64) | load(lines, at + 320, 64)
    d = load(lines, at + 384, 64) | load(lines, at + 448, 64)
    bits = (a | b) | (c | d)
    return not any_lane(bits != (bits ^ bits))


@inlined
def _lines_of_rest(lines: Any, at: int, end: int) -> Any:
    """The lines that are not zero, as bits, in the bytes from `at` to `end`, less than a chunk."""
    zero = splat(np.uint8(0), 64)
    bits = 0
    for line in range(at, end, CACHE_LINE):
        bits |= (1 if any_lane(load_first(lines, line, end - line, 64) != zero) else 0) << ((line - at) // CACHE_LINE)
    return bits


@inlined
def _busy_chunks(lines: Any, at: int, end: int) -> Any:
    """The chunks that are not zero, as bits, of the bytes from `at` to `end`, less than CHUNKS + 1 chunks.

    What is left after the last whole chunk is one too. Where several are busy, the rest may go unsearched.
    """
    chunks = (end - at) // CHUNK
    bits, done = 0, 0
    while done < chunks and bits & (bits - 1) == 0:
        some = PAGE if chunks - done > PAGE else chunks - done
        for c in range(done, done + some):
            for line in range(LINES):
                prefetch(lines, at + c * CHUNK + line * CACHE_LINE + AHEAD)
            bits |= (0 if _is_zero_chunk(lines, at + c * CHUNK) else 1) << c
        done += some
    if at + chunks * CHUNK < end:
        rest = _lines_of_rest(lines, at + chunks * CHUNK, end)
        bits |= (1 if rest != 0 else 0) << chunks
    return bits


@inlined
def _lone_chunk(lines: Any, at: int, end: int) -> Any:
    """The byte at which the one chunk begins that is not zero, of the map from byte `at` to `end`; NONE, or SEVERAL."""
    lone = NONE
    while at < end:
        stop = end if end - at <= CHUNKS * CHUNK else at + CHUNKS * CHUNK
        bits = _busy_chunks(lines, at, stop)
        if bits != 0:
            if lone != NONE or bits & (bits - 1) != 0:
                return SEVERAL
            lone = at + trailing_zeros(bits) * CHUNK
        at = stop
    return lone


@inlined
def _lone_pixel(place: Any, start: int, pixels: int) -> Any:
    """The number of the one hot pixel of a map that begins with element `start`; NONE, or SEVERAL.

    SEVERAL may also be one hot pixel beside one that is negative.
    """
    lines = octets(place)
    size = item_bytes(place)
    end = (start + pixels) * size
    chunk = _lone_chunk(lines, start * size, end)
    if chunk < 0:
        return chunk
    if end - chunk < CHUNK:
        bits = _lines_of_rest(lines, chunk, end)
    else:
        bits = _lines_of_rest(lines, chunk, chunk + CHUNK)  # of a length known when compiled: no loop
    if bits & (bits - 1) != 0:
        return SEVERAL
    line = chunk + trailing_zeros(bits) * CACHE_LINE
    hot = lane_bits(matters(load_line(place, line // size, (end - line) // size)))
    if hot == 0 or hot & (hot - 1) != 0:
        return SEVERAL
    return line // size + trailing_zeros(hot) - start


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
        outer = 0 if i < inner_count else i // inner_count
        first = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
        lone = _lone_pixel(place, first, rows * columns)
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
        xy[2 * at], xy[2 * at + 1], score[at], status[at] = finish(state, census, width, height)


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
    partial: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """Maps of one band, each in one stretch of memory."""
    place = memory(images)
    xy_place, score_place, status_place = memory(xy), memory(score), memory(status)
    for group in prange((maps + GROUP - 1) // GROUP):
        first: Any = np.int64(group) * GROUP  # an unsigned index would make floats of differences
        last = first + GROUP if maps - first > GROUP else maps
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
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        place = memory(images)
        height, width = convert(rows, unit), convert(columns, unit)
        bands = (rows + band_rows - 1) // band_rows
        for index in prange(maps * bands):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            i = task // bands
            first_row = (task - i * bands) * band_rows
            outer = i // inner_count
            first = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            some = band_rows if band_rows < rows - first_row else rows - first_row
            state, census = band(place, first, row_stride, column_stride, first_row, some, columns, height, width)
            if bands == 1:
                i += number
                xy[2 * i], xy[2 * i + 1], score[i], status[i] = finish(state, census, width, height)
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
                i += number
                xy[2 * i], xy[2 * i + 1], score[i], status[i] = finish(state, census, width, height)

    return kernel(decode)


_adjacent, _scattered = _decoder(_adjacent_band), _decoder(_scattered_band)


_NO_PARTIAL = {dtype: np.empty((0, STATE + CENSUS), dtype) for dtype in (np.float32, np.float64)}


def onehot(maps: Maps, xy: Any, score: Any, status: Any) -> None:
    """Decode `maps` into flat arrays."""
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    number = number_type(loaded_type(pixels.dtype), height, width)
    band_rows = min(max(BAND // width, 1), height)
    partial = _NO_PARTIAL[number]
    if band_rows < height:
        partial = np.empty((count * -(-height // band_rows), STATE + CENSUS), number)
    decode = _scattered if maps.column_stride != 1 else _adjacent
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
            partial,
            xy,
            score,
            status,
        )
