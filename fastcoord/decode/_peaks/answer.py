"""From the ranked peaks of a map to its answer."""

from typing import Any

from fastcoord._compile import outlined
from fastcoord._placement import placed
from fastcoord._vector import convert, like, out_of_line
from fastcoord._window import named, refiner
from fastcoord.decode._peaks.candidate import PEAK, WRITTEN, flood
from fastcoord.decode._peaks.formula import EMPTY, NAN, NO_NUMBER, PLATEAU, TRUNCATED, centroid
from fastcoord.decode._peaks.search import SPOILT


def writer(refine: str | None, is_adjacent: bool, is_half: bool) -> Any:
    """The function that writes the answer of one map."""
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
        peaks = max(min(found, k), 0)
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
        behind, end, flags = at * k + peaks, (at + 1) * k, NAN if found == SPOILT else EMPTY
        for to in range(2 * behind, 2 * end):
            xy[to] = nothing
        for to in range(behind, end):
            score[to], status[to] = nothing, flags

    return write
