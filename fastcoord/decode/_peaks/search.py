"""The strongest peaks of one map, in a list in their order."""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, item_bytes, load, load_first, octets, prefetch
from fastcoord._vector import (
    any_lane,
    convert,
    first_lane,
    lane_bits,
    lane_numbers,
    like,
    out_of_line,
    rotated,
    select,
    splat,
    trailing_zeros,
)
from fastcoord.decode._peaks.candidate import ALONE, FRESH, PEAK, SEEN, TIED, flood, look
from fastcoord.decode._peaks.formula import higher, is_peak, may_be_peak, stands_out
from fastcoord.decode._peaks.ranking import emptied, push, weakest

SPOILT, UNDECIDED = -1, -2  # in place of a number of peaks
AHEAD = 8192  # bytes between a vector that is read and what is prefetched
BLOCK = 8  # vectors that are read before one looks whether a pixel of theirs is above the limit


def finder(is_adjacent: bool, lanes: int) -> Any:
    """The function that finds the peaks of one map."""
    turn = lanes - 1

    @inlined
    def some(place: Any, at: int, stride: int, count: int) -> Any:
        """The first `count` pixels from one on; the lowest value in the other lanes."""
        return load_first(place, at, count, lanes) if is_adjacent else gather(place, at, stride, count, lanes)

    @inlined
    def is_cool(place: Any, at: int, stride: int, pixels: int, limit: Any) -> bool:
        """Whether none of so many pixels in a row is above the limit, nor NaN."""
        limits = splat(limit, lanes)
        always = limits == limits
        cool = always
        whole = pixels // lanes * lanes
        for k in range(0, whole, lanes):
            cool = cool & (some(place, at + k * stride, stride, lanes) <= limits)
        if whole < pixels:
            cool = cool & (some(place, at + whole * stride, stride, pixels - whole) <= limits)
        return not any_lane(cool ^ always)

    @inlined
    def warm_rows(place: Any, first: int, y: int, bottom: int, width: int, limit: Any) -> Any:
        """The next rows, from row `y` on, where a pixel may be above the limit or NaN: the first and the end.

        Of a map whose rows follow each other. Eight vectors are read before one looks: one branch for 512 bytes.
        """
        limits = splat(limit, lanes)
        always = limits == limits
        octets_, size = octets(place), item_bytes(place)
        at, end = y * width, bottom * width
        while at + BLOCK * lanes <= end:
            cool = always
            for k in range(0, BLOCK * lanes, lanes):
                prefetch(octets_, (first + at + k) * size + AHEAD)
                cool = cool & (load(place, first + at + k, lanes) <= limits)
            if any_lane(cool ^ always):
                return at // width, (at + BLOCK * lanes - 1) // width + 1
            at += BLOCK * lanes
        while at < end:
            if any_lane((load_first(place, first + at, end - at, lanes) <= limits) ^ always):
                return at // width, min((at + lanes - 1) // width + 1, bottom)
            at += lanes
        return bottom, bottom

    @inlined
    def column(above: Any, here: Any, below: Any, lowest: Any) -> Any:
        """The greatest of three pixels, one above the other."""
        return higher(higher(higher(lowest, here), above), below)

    @inlined
    def beside(before: Any, middle: Any, behind: Any) -> Any:
        """The greatest of the columns to the left and to the right of each."""
        lane = lane_numbers(middle)
        left, right = rotated((before, middle), turn), rotated((middle, behind), 1)
        return higher(
            select(lane == like(middle, 0), left[0], left[1]),
            select(lane == like(middle, turn), right[1], right[0]),
        )

    @outlined
    def decide(
        place: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        height: int,
        width: int,
        x: int,
        y: int,
        radius: int,
        is_strict: bool,
        unit: Any,
        is_whole: bool,
        marks: Any,
        is_marked: bool,
    ) -> Any:
        """Whether a pixel that no other beside it exceeds is a peak: 0 if not, 1 if it is, 2 if its plateau is.

        And whether there are marks now. UNDECIDED, where others look at other rows (`is_whole`: not): who marks?
        """
        out_of_line()
        seen, kind = look(place, first, row_stride, column_stride, height, width, x, y, radius, unit)
        if kind & TIED == 0 or is_strict:
            return 1 if is_peak(seen, kind & ALONE != 0, is_strict) else 0, is_marked
        if not is_whole:
            return UNDECIDED, is_marked
        mark, zero = marks
        if not is_marked:
            for i in range(height * width):
                mark[zero + i] = FRESH
        position = y * width + x
        if mark[zero + position] != FRESH:
            return 0, True
        seen, _total_x, _total_y, count = flood(
            place, first, row_stride, column_stride, height, width, position, radius, unit, marks, FRESH, SEEN
        )
        if not is_peak(seen, True, False):
            return 0, True
        flood(place, first, row_stride, column_stride, height, width, position, 1, unit, marks, SEEN, PEAK)
        return 1 if count == 1 else 2, True

    @outlined
    def find(
        place: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        height: int,
        width: int,
        top: int,
        bottom: int,
        follows: bool,
        limit: Any,
        slots: int,
        radius: int,
        skips: bool,
        is_strict: bool,
        base: int,
        kept: Any,
        positions: Any,
        marks: Any,
    ) -> Any:
        """How many peaks of some of the rows there are, at most `slots`; or what is told instead.

        SPOILT by NaN, or UNDECIDED: these are not all rows, and a pixel that may be a peak has an equal near it.
        """
        out_of_line()
        stride = 1 if is_adjacent else column_stride
        lowest = some(place, first, stride, 0)
        emptied(kept, base, slots, first_lane((lowest,))[0])
        found, is_marked, y, end = 0, False, top, top
        is_whole = bottom - top == height
        while True:
            if y == end:
                if follows:
                    y, end = warm_rows(place, first, y, bottom, width, limit)
                else:
                    while y < bottom and is_cool(place, first + y * row_stride, stride, width, limit):
                        y += 1
                    end = y + 1
                if y == bottom:
                    break
            row, y = y, y + 1
            at = first + row * row_stride
            # a row that is not there is the other one again; if there is none, the row itself
            above = row_stride if row == 0 else -row_stride
            below = -row_stride if row == height - 1 else row_stride
            above, below = (0, 0) if height == 1 else (above, below)
            before = lowest
            next_above = some(place, at + above, stride, width)
            next_here = some(place, at, stride, width)
            next_below = some(place, at + below, stride, width)
            behind = column(next_above, next_here, next_below, lowest)
            for x in range(0, width, lanes):
                if is_adjacent:  # or the memory would rest meanwhile: .80 of the read ceiling instead of .70
                    prefetch(octets(place), (at + x) * item_bytes(place) + 2 * AHEAD)
                line_above, here, line_below, middle = next_above, next_here, next_below, behind
                ahead, left_over = at + (x + lanes) * stride, width - x - lanes
                next_above = some(place, ahead + above, stride, left_over)
                next_here = some(place, ahead, stride, left_over)
                next_below = some(place, ahead + below, stride, left_over)
                behind = column(next_above, next_here, next_below, lowest)
                around = higher(higher(beside(before, middle, behind), line_above), line_below)
                before = middle
                limits = splat(limit, lanes)
                if not skips and any_lane(here != here):
                    return SPOILT
                candidates = lane_bits(may_be_peak(here, around, limits))
                if candidates == 0:
                    continue
                lone = lane_bits(stands_out(here, around, lowest)) if radius == 1 else 0
                while candidates != 0:
                    lane = trailing_zeros(candidates)
                    verdict = (lone >> lane) & 1
                    candidates &= candidates - 1
                    value = convert(place[at + (x + lane) * stride], limit)
                    if not value > limit:  # which has risen
                        continue
                    if verdict == 0:
                        verdict, is_marked = decide(
                            place,
                            first,
                            row_stride,
                            column_stride,
                            height,
                            width,
                            x + lane,
                            row,
                            radius,
                            is_strict,
                            limit,
                            is_whole,
                            marks,
                            is_marked,
                        )
                        if verdict == UNDECIDED:
                            return UNDECIDED
                    if verdict != 0:
                        position = row * width + x + lane
                        position = position if verdict == 1 else -1 - position
                        found = push(kept, positions, base, found, slots, value, position)
                        if found == slots:
                            limit = weakest(kept, base, slots)
        return found

    return find
