"""Who visits which pixel of a one-hot image on the CPU.

Zero bits contribute exactly nothing, so where the columns of a map stand side by side its bytes are searched for what
is not zero, in pages of 64 cache lines. A map with one hot pixel costs this search and that pixel alone. Of any other
map the pages without a zero chunk are absorbed as a whole, sixteen pixels at a time, and of the other pages the lines
that are not zero. Large maps are cut into bands of rows, by their shape, so that all threads help (not with one long
row) and the result does not depend on how many there are.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
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
CHUNKS = 8  # chunks in a page
AHEAD = 8192  # bytes between a line that is read and one that is prefetched
NONE, SEVERAL = -1, -2
GROUP = 8  # maps searched before their pixels are looked at
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
def _absorb_pixels(
    state: Any, census: Any, place: Any, at: int, pixel: int, pixels: int, columns: int, height: Any, width: Any
) -> Any:
    """`pixels` contiguous pixels from number `pixel` of the map on, which is element `at`."""
    row = pixel // columns
    column = pixel - row * columns
    done = 0
    while done < pixels:
        rows = (pixels - done) // columns
        rows = rows if rows < PLAIN else PLAIN
        if column == 0 and rows > 1:
            state = _absorb_rows(state, place, at + done, row, rows, columns, height, width)
            done += rows * columns
            row += rows
        else:
            some = LANES * PLAIN
            some = some if some < pixels - done else pixels - done
            some = some if some < columns - column else columns - column
            state = _absorb_piece(state, place, at + done, column, row, some, height, width)
            done += some
            column += some
            if column == columns:
                row += 1
                column = 0
    done = 0
    while done < pixels and not any_lane(is_settled(state, census)):
        some = LANES * PLAIN if pixels - done > LANES * PLAIN else pixels - done
        for k in range(done, done + some, LANES):
            census = count(census, convert(load_first(place, at + k, pixels - k, LANES), width))
        done += some
    return state, census


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
def _next_page(lines: Any, at: int, end: int) -> Any:
    """Where the next page that is not zero begins, from byte `at` to `end`; its chunks; those not zero, as bits.

    The last page of a map may have fewer chunks. Where there is no more chunk: what is left after the last, 0 and 0. No
    branch depends on where in its page a hot pixel lies, which cannot be predicted.
    """
    chunks, found = 0, 0
    while at + CHUNK <= end:
        chunks = (end - at) // CHUNK
        chunks = chunks if chunks < CHUNKS else CHUNKS
        for c in range(chunks):
            for line in range(LINES):
                prefetch(lines, at + c * CHUNK + line * CACHE_LINE + AHEAD)
            found |= (0 if _is_zero(lines, at + c * CHUNK) else 1) << c
        if found != 0:
            break
        at += chunks * CHUNK
    return at, chunks, found


@inlined
def _lines_of_chunk(lines: Any, at: int) -> Any:
    """The lines that are not zero, as bits, of the chunk from byte `at` on."""
    zero = splat(np.uint8(0), 64)
    bits = 0
    for line in range(LINES):
        bits |= (1 if any_lane(load(lines, at + line * CACHE_LINE, 64) != zero) else 0) << line
    return bits


@inlined
def _lines_of_rest(lines: Any, at: int, end: int) -> Any:
    """The lines not zero, as bits, in the bytes from `at` to `end`, less than a chunk; and whether any line is zero."""
    zero = splat(np.uint8(0), 64)
    bits = 0
    has_zero = False
    for line in range(at, end, CACHE_LINE):
        if any_lane(load_first(lines, line, end - line, 64) != zero):
            bits |= 1 << ((line - at) // CACHE_LINE)
        else:
            has_zero = True
    return bits, has_zero


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
    """The state and the census of `rows` rows of a map whose first pixel is element `start`; `column_stride` is 1."""
    out_of_line()
    zero = splat(width - width, LANES)
    state, census = nothing(zero), nobody(zero)
    lines = octets(place)
    size = item_bytes(place)
    is_whole = row_stride == columns  # one stretch of memory
    length = rows * columns if is_whole else columns
    for stretch in range(1 if is_whole else rows):
        at = start + (first_row + stretch) * row_stride
        end = at + length
        pixel = (first_row + stretch) * columns - at  # the number in the map of element 0
        while at < end:
            next_at, chunks, found = _next_page(lines, at * size, end * size)
            has_zero = next_at > at * size
            at = next_at // size
            bits = 0
            if found == 0:  # less than a chunk is left
                pixels = end - at
                bits, has_zero_line = _lines_of_rest(lines, next_at, end * size)
                is_full = not has_zero_line
            else:
                # Every page is searched, also after full ones: to absorb three more unseen gave 0.53 of the read
                # ceiling instead of 0.68 (random 16384×64×64), as only the search reads in ascending order.
                pixels = chunks * CHUNK // size
                is_full = found == (1 << chunks) - 1
                while not is_full and found != 0:
                    c = trailing_zeros(found)
                    found &= found - 1
                    bits |= _lines_of_chunk(lines, next_at + c * CHUNK) << (c * LINES)
            if has_zero or not is_full:
                state = absorb_zero(state)
            if is_full:
                bits = 1
            while bits != 0:
                here = at + trailing_zeros(bits) * CACHE_LINE // size
                bits &= bits - 1
                some = CACHE_LINE // size if here + CACHE_LINE // size < end else end - here
                if is_full:
                    some = pixels
                state, census = _absorb_pixels(state, census, place, here, pixel + here, some, columns, height, width)
            at += pixels
    return _merge_lanes(state), _merge_census_lanes(census)


@inlined
def _lone_chunk(lines: Any, at: int, end: int) -> Any:
    """The byte at which the one chunk begins that is not zero, of the map from byte `at` to `end`; NONE, or SEVERAL.

    What is left after the last whole chunk is one too.
    """
    lone = NONE
    while at < end:
        at, chunks, found = _next_page(lines, at, end)
        if found & (found - 1) != 0:
            return SEVERAL
        if found == 0 and (at >= end or _lines_of_rest(lines, at, end)[0] == 0):
            return lone
        if lone != NONE:
            return SEVERAL
        lone = at + trailing_zeros(found) * CHUNK if found != 0 else at
        at = at + chunks * CHUNK if found != 0 else end
    return lone


@inlined
def _lone_pixel(place: Any, chunk: int, end: int) -> Any:
    """The element that is the one hot pixel in the chunk from byte `chunk` on, of a map that ends at `end`; or SEVERAL.

    SEVERAL may also be one hot pixel beside one that is negative.
    """
    lines = octets(place)
    size = item_bytes(place)
    if end - chunk < CHUNK:
        bits, _ = _lines_of_rest(lines, chunk, end)
    else:
        bits = _lines_of_chunk(lines, chunk)
    if bits & (bits - 1) != 0:
        return SEVERAL
    line = chunk + trailing_zeros(bits) * CACHE_LINE
    hot = lane_bits(matters(load_line(place, line // size, (end - line) // size)))
    if hot == 0 or hot & (hot - 1) != 0:
        return SEVERAL
    return line // size + trailing_zeros(hot)


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
    """Maps of one band, each in one stretch of memory.

    First all maps of a group are searched, then their pixels are looked at. To do both map by map interrupts the stream
    of reads: 0.90 instead of 0.96 of the read ceiling for 16384×64×64 float32, 0.65 instead of 0.83 for uint8.
    """
    place = memory(images)
    height, width = convert(rows, unit), convert(columns, unit)
    nil = unit - unit
    pixels = rows * columns
    size = item_bytes(place)
    for group in prange((maps + GROUP - 1) // GROUP):
        first_map: Any = np.int64(group) * GROUP  # an unsigned index would make floats of differences
        group_maps = GROUP if maps - first_map > GROUP else maps - first_map
        starts, chunks = np.empty(GROUP, np.int64), np.empty(GROUP, np.int64)
        for k in range(group_maps):
            i = first_map + k
            outer = 0 if i < inner_count else i // inner_count
            starts[k] = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            chunks[k] = SEVERAL
            if k == 0 or chunks[0] != SEVERAL:  # where the first has several, so have the others: no search
                chunks[k] = _lone_chunk(octets(place), starts[k] * size, (starts[k] + pixels) * size)
        for k in range(group_maps):
            first, chunk = starts[k], chunks[k]
            lone = chunk if chunk < 0 else _lone_pixel(place, chunk, (first + pixels) * size)
            if lone == SEVERAL:
                state, census = _adjacent_band(place, first, columns, 1, 0, rows, columns, height, width)
            else:
                state, census = absorb_zero(nothing(nil)), nobody(nil)
                if lone != NONE:
                    row = (lone - first) // columns
                    x, y = convert(lone - first - row * columns, unit), convert(row, unit)
                    value = convert(place[lone], unit)
                    state, census = absorb(state, value, x, y, width, height), count(census, value)
            i = number + first_map + k
            xy[2 * i], xy[2 * i + 1], score[i], status[i] = finish(state, census, width, height)


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
    number = number_type(pixels.dtype, height, width)
    band_rows = min(max(BAND // width, 1), height)
    partial = _NO_PARTIAL[number]
    if band_rows < height:
        partial = np.empty((count * -(-height // band_rows), STATE + CENSUS), number)
    decode = _scattered if maps.column_stride != 1 else _adjacent
    if maps.column_stride == 1 and maps.row_stride == width and band_rows == height:
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
