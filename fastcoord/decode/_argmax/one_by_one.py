"""Maps one by one: their stretches are read, a few at a time, and these are then searched.

All of a map's stretches follow each other, and those of the next map. Where a map is one stretch, nothing is merged.
"""

from typing import Any

from fastcoord._compile import outlined
from fastcoord._largest import FAR, merge
from fastcoord._largest_search import BLOCKS, GATHERED, LINES, steps
from fastcoord._memory import first_element, load, load_line, store, workspace
from fastcoord._vector import first_lane, integer_like, out_of_line

BATCH = 4  # stretches that are read before they are searched; 8 and 16 were no faster


def decoder(answer: Any, is_adjacent: bool, is_half: bool) -> Any:
    """How maps are decoded that do not stand side by side; `answer` writes what was found in a map."""
    lowest_of, lanes_of, read, find = steps(is_adjacent, is_half)

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
        """Write the answers for some maps; if they have several pieces, what is found in one.

        All of a map's stretches follow each other, and those of the next map.
        """
        out_of_line()  # compiled once for the serial and the parallel kernel
        stride = 1 if is_adjacent else column_stride
        lanes = lanes_of(place)
        span = BLOCKS * LINES * lanes
        is_single = right - left <= span and bottom - top == 1 and pieces == 1
        nothing = lowest_of(place, start, infinity)
        kept, kept_marks = workspace(nothing, BATCH), workspace(integer_like(nothing, 0), BATCH)
        lowest = first_lane((nothing,))[0]
        # of the next stretch that is read, and of the next that is searched
        read_map, read_row, read_column = first_map, top, left
        i, row, column = first_map, top, left
        state = (lowest, FAR, 0, 0)
        while i < last_map:
            spoilt, count = 0, 0
            while count < BATCH and read_map < last_map:
                at = first_element(read_map, start, outer_stride, inner_count, inner_stride)
                at += read_row * row_stride + read_column * stride
                some = span if right - read_column > span else right - read_column
                largest, marks, is_spoilt = read(place, at, stride, some, infinity)
                store(kept, count * lanes, largest)
                store(kept_marks, count * lanes, marks)
                spoilt |= (1 if is_spoilt else 0) << count
                count += 1
                read_column += span
                if read_column >= right:
                    read_column = left
                    read_row += 1
                    if read_row == bottom:
                        read_row = top
                        read_map += 1
            for k in range(count):
                first_pixel = first_element(i, start, outer_stride, inner_count, inner_stride)
                at = first_pixel + row * row_stride + column * stride
                some = span if right - column > span else right - column
                largest = load_line(kept, k * lanes, lanes) if is_adjacent else load(kept, k * GATHERED, GATHERED)
                marks = (
                    load_line(kept_marks, k * lanes, lanes) if is_adjacent else load(kept_marks, k * GATHERED, GATHERED)
                )
                found = find(place, at, stride, some, infinity, largest, marks, (spoilt >> k) & 1)
                if is_single:
                    state = found
                else:
                    first = found[1] if found[1] == FAR else found[1] + row * columns + column
                    state = merge(state, (found[0], first, found[2], found[3]), FAR)
                column += span
                if column < right:
                    continue
                column = left
                row += 1
                if row < bottom:
                    continue
                row = top
                answer(
                    place,
                    first_pixel,
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
                    i,
                    pieces,
                    piece,
                    partial,
                    xy,
                    score,
                    status,
                )
                state = (lowest, FAR, 0, 0)
                i += 1

    return decode_maps
