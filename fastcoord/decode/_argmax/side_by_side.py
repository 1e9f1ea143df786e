"""Maps that stand side by side, as those of NHWC do: a pixel of each, then the next pixel of each.

One lane is one map. For some pixels at a time, so that memory is read in order, sixteen maps after sixteen are read;
what their lanes have seen before is kept meanwhile. Of each map a few pixels are searched in the end.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined, outlined
from fastcoord._largest import FAR, absorb
from fastcoord._largest_search import AHEAD, finder, pixels_of, value_of
from fastcoord._memory import first_element, item_bytes, load, load_first, prefetch, store, workspace
from fastcoord._vector import first_lane, lane_bits, like, out_of_line, splat, trailing_zeros

LANES = 16
BLOCK = 16  # pixels; 8: 1.09 times as long (17 channels)
PARTS = 16  # vectors whose state is kept at a time


def decoder(answer: Any, is_half: bool) -> Any:
    """As `one_by_one.decoder`, of maps that stand side by side; `answer` writes what was found in a map."""

    @inlined
    def load_maps(place: Any, at: int, stride: int, count: int) -> Any:
        return load_first(place, at, count, LANES)

    begin, see, largest_of, _is_spoilt = pixels_of(load_maps, is_half)
    value = value_of(is_half)
    find_one_by_one = finder(value)

    @inlined
    def see_block(nothing: Any, place: Any, at: int, stride: int, pixels: int, maps: int, infinity: Any) -> Any:
        """The largest values of some pixels, and where is NaN as bits."""
        seen = nothing
        for k in range(pixels):
            prefetch(place, at + k * stride + AHEAD // item_bytes(place))
            seen = see(seen, place, at + k * stride, 1, maps, infinity)
        return largest_of(seen), lane_bits(seen[-1])

    @outlined
    def see_maps(
        place: Any,
        first: int,
        row_stride: int,
        stride: int,
        maps: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        infinity: Any,
        kept: Any,
        kept_marks: Any,
        spoilt: Any,
    ) -> None:
        """Keep what is seen of `maps` ≤ PARTS · LANES maps, whose pixel (0, 0) is element `first` and those behind."""
        out_of_line()
        nothing = begin(place, first, infinity)
        mark = splat(np.int32(0), LANES)
        two = like(mark, 2)
        parts = (maps + LANES - 1) // LANES
        for part in range(parts):
            store(kept, part * LANES, largest_of(nothing))
            store(kept_marks, part * LANES, mark)
            spoilt[part] = 0
        for row in range(top, bottom):
            for column in range(left, right, BLOCK):
                at = first + row * row_stride + column * stride
                pixels = right - column
                for part in range(parts):
                    some = maps - part * LANES
                    if pixels >= BLOCK and some >= LANES:  # what is known when compiled takes no masks and no loop
                        largest, is_nan = see_block(nothing, place, at, stride, BLOCK, LANES, infinity)
                    elif pixels >= BLOCK:
                        largest, is_nan = see_block(nothing, place, at, stride, BLOCK, some, infinity)
                    else:
                        largest, is_nan = see_block(nothing, place, at, stride, pixels, some, infinity)
                    state = load(kept, part * LANES, LANES), load(kept_marks, part * LANES, LANES)
                    state = absorb(state, largest, mark)
                    store(kept, part * LANES, state[0])
                    store(kept_marks, part * LANES, state[1])
                    spoilt[part] |= is_nan
                    at += LANES
                mark = mark + two

    @inlined
    def search(
        place: Any,
        first: int,
        row_stride: int,
        stride: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        columns: int,
        infinity: Any,
        greatest: Any,
        mark: Any,
        is_spoilt: int,
        least: Any,
    ) -> Any:
        """The state of the map whose pixel (0, 0) is element `first`."""
        if greatest == least:
            if is_spoilt == 0:
                several = 1 if (bottom - top) * (right - left) > 1 else 0
                return greatest, top * columns + left, several, is_spoilt
            position, several = FAR, 0
            for row in range(top, bottom):
                at = first + row * row_stride + left * stride
                here, again = find_one_by_one(place, at, stride, right - left, infinity, greatest)
                if here != FAR:
                    several = again if position == FAR else 1
                    position = row * columns + left + here if position == FAR else position
            return greatest, position, several, is_spoilt
        block = mark >> 1
        across = (right - left + BLOCK - 1) // BLOCK
        down: Any = np.int64(np.uint32(block) // np.uint32(across))
        column = left + (block - down * across) * BLOCK
        down += top
        at = first + down * row_stride + column * stride
        hits = 0
        if right - column >= BLOCK:
            for k in range(BLOCK):
                hits |= (1 if value(place, at + k * stride, infinity) == greatest else 0) << k
        else:
            for k in range(right - column):
                hits |= (1 if value(place, at + k * stride, infinity) == greatest else 0) << k
        is_tie = (mark & 1) | (hits & (hits - 1))
        return greatest, down * columns + column + trailing_zeros(hits), 1 if is_tie != 0 else 0, is_spoilt

    @outlined
    def decode_maps(
        place: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        first_map: int,
        last_map: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        columns: int,
        width: int,
        infinity: Any,
        skips: bool,
        threshold: Any,
        window: Any,
        grid: Any,
        grid_step: int,
        pieces: int,
        piece: int,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        """Write the answers for the maps of one image, or what is found in a piece of them."""
        out_of_line()
        nothing = largest_of(begin(place, start, infinity))
        marks = splat(np.int32(0), LANES)
        kept, kept_marks = workspace(nothing, PARTS), workspace(marks, PARTS)
        spoilt = workspace(splat(np.int64(0), PARTS), 1)
        least = first_lane((nothing,))[0]
        for chunk in range(first_map, last_map, PARTS * LANES):
            maps = PARTS * LANES if last_map - chunk > PARTS * LANES else last_map - chunk
            first = first_element(chunk, start, outer_stride, inner_count, inner_stride)
            see_maps(
                place,
                first,
                row_stride,
                column_stride,
                maps,
                top,
                bottom,
                left,
                right,
                infinity,
                kept,
                kept_marks,
                spoilt,
            )
            for k in range(maps):
                state = search(
                    place,
                    first + k,
                    row_stride,
                    column_stride,
                    top,
                    bottom,
                    left,
                    right,
                    columns,
                    infinity,
                    kept[k],
                    np.int64(kept_marks[k]),
                    (spoilt[k // LANES] >> (k % LANES)) & 1,
                    least,
                )
                answer(
                    place,
                    first + k,
                    row_stride,
                    column_stride,
                    width,
                    state,
                    skips,
                    threshold,
                    window,
                    grid,
                    grid_step,
                    number,
                    chunk + k,
                    pieces,
                    piece,
                    partial,
                    xy,
                    score,
                    status,
                )

    return decode_maps
