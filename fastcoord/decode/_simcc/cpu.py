"""Who visits which bin of the axes of points, on the CPU: the bins of x, then those of y, as `_largest_search` reads.

The search of one axis is a long chain of instructions; it overlaps with the reading of the next.
"""

import functools
from typing import Any

import numpy as np
from numba import config, prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import format_of
from fastcoord._largest import EMPTY, FAR, INFINITY_BITS, merge
from fastcoord._largest_search import BLOCKS, LINES, steps
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._refinement import BORDER
from fastcoord._simcc_options import layout_of
from fastcoord._stretches import stretches
from fastcoord._vector import convert, first_lane, out_of_line
from fastcoord.decode._simcc.formula import NO_STEP, answer, missing, step, weaker

TASKS = 4 * config.NUMBA_NUM_THREADS  # calls that there are at least, if there are so many points
GROUP = 64  # points that one call decodes, at most


def _points(is_adjacent: bool, is_half: bool) -> Any:
    lowest_of, lanes_of, read, find = steps(is_adjacent, is_half)

    @outlined
    def largest(place: Any, at: int, stride: int, bins: int, infinity: Any) -> Any:
        """The state of an axis."""
        out_of_line()  # one copy of the search: four took 20 s to compile for uint8
        span = BLOCKS * LINES * lanes_of(place)
        state = (first_lane((lowest_of(place, at, infinity),))[0], FAR, 0, 0)
        for begin in range(0, bins, span):
            some = span if bins - begin > span else bins - begin
            here = at + begin * stride
            values, marks, is_spoilt = read(place, here, stride, some, infinity)
            found = find(place, here, stride, some, infinity, values, marks, 1 if is_spoilt else 0)
            position = found[1] if found[1] == FAR else found[1] + begin
            state = merge(state, (found[0], position, found[2], found[3]), FAR)
        return state

    @inlined
    def refined(kind: int, place: Any, at: int, stride: int, bins: int, position: int) -> Any:
        """The step from the largest bin, in float64."""
        unit = np.float64(0)
        if position == 0 or position == bins - 1:
            return unit, BORDER
        before = convert(place[at + (position - 1) * stride], unit)
        middle = convert(place[at + position * stride], unit)
        behind = convert(place[at + (position + 1) * stride], unit)
        return step(kind, before, middle, behind)

    @outlined
    def decode_points(
        x_place: Any,
        x_layout: Any,
        y_place: Any,
        y_layout: Any,
        first: int,
        last: int,
        number: int,
        infinity: Any,
        kind: int,
        has_missing: bool,
        skips: bool,
        threshold: Any,
        split_ratio: Any,
        grid: Any,
        grid_step: int,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        out_of_line()  # compiled once for the serial and the parallel kernel
        x_first, x_start, x_outer, x_inner_count, x_inner, x_stride, x_bins = x_layout
        y_first, y_start, y_outer, y_inner_count, y_inner, y_stride, y_bins = y_layout
        if is_adjacent:
            x_stride, y_stride = 1, 1
        for i in range(first, last):
            x_at = first_element(x_first + i, x_start, x_outer, x_inner_count, x_inner)
            y_at = first_element(y_first + i, y_start, y_outer, y_inner_count, y_inner)
            x_state = largest(x_place, x_at, x_stride, x_bins, infinity)
            y_state = largest(y_place, y_at, y_stride, y_bins, infinity)
            is_found = x_state[1] != FAR and y_state[1] != FAR
            is_spoilt = (x_state[3] | y_state[3]) != 0 and not skips
            column, row = x_state[1] if is_found else 0, y_state[1] if is_found else 0
            x_score = convert(x_place[x_at + column * x_stride], threshold)
            y_score = convert(y_place[y_at + row * y_stride], threshold)
            weakest = weaker(x_score, y_score)
            unit = np.float64(0)
            steps_of_point, bits = (unit, unit), 0
            if kind != NO_STEP and is_found and not is_spoilt and not weakest <= threshold:
                dx, x_bits = refined(kind, x_place, x_at, x_stride, x_bins, column)
                dy, y_bits = refined(kind, y_place, y_at, y_stride, y_bins, row)
                steps_of_point, bits = (dx, dy), x_bits | y_bits
            x, y, weakest, flags = answer(
                *((column, row), steps_of_point, weakest, is_found, x_state[2] | y_state[2], is_spoilt),
                *(threshold, split_ratio),
            )
            x, y = placed(x, y, numbers_at(grid, (number + i) * grid_step))
            if has_missing and flags & EMPTY != 0:
                x = y = missing(split_ratio)
            at = number + i
            xy[2 * at], xy[2 * at + 1], score[at], status[at] = x, y, weakest, flags | bits

    return decode_points


@functools.cache
def _decoder(is_adjacent: bool, is_half: bool) -> Kernel:
    decode_points = _points(is_adjacent, is_half)

    @kernel
    def decode(
        x_bins: Any,
        x_layout: Any,
        y_bins: Any,
        y_layout: Any,
        first_point: int,
        points: int,
        group: int,
        infinity: Any,
        kind: int,
        has_missing: bool,
        skips: bool,
        threshold: Any,
        split_ratio: Any,
        grid: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        x_place, y_place = memory(x_bins), memory(y_bins)
        xy_place, score_place, status_place = memory(xy), memory(score), memory(status)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        for index in prange((points + group - 1) // group):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            first = task * group
            decode_points(
                x_place,
                x_layout,
                y_place,
                y_layout,
                first,
                first + group if points - first > group else points,
                first_point,
                infinity,
                kind,
                has_missing,
                skips,
                threshold,
                split_ratio,
                grid_place,
                grid_step,
                xy_place,
                score_place,
                status_place,
            )

    return decode


def simcc(
    x_axes: Maps,
    y_axes: Maps,
    skips: bool,
    threshold: Any,
    split_ratio: Any,
    grid: Any,
    xy: Any,
    score: Any,
    status: Any,
    kind: int,
    has_missing: bool,
) -> None:
    """Decode the axes, maps of one row each, into flat arrays.

    `kind` is one of the STEPS. `threshold`, of the type of `score` as is `split_ratio`, is NaN if there is none; `grid`
    holds a grid's numbers.
    """
    form = format_of(x_axes.memory.dtype)
    is_adjacent = x_axes.column_stride == 1 and y_axes.column_stride == 1
    decode = _decoder(is_adjacent, form is not None)
    infinity = np.int16(0 if form is None else INFINITY_BITS[form])
    group = max(min(score.size // TASKS, GROUP), 1)
    for first, end in stretches(x_axes.count, y_axes.count, score.size):
        decode(
            (end - first) * (x_axes.width + y_axes.width),
            x_axes.memory,
            layout_of(x_axes, first),
            y_axes.memory,
            layout_of(y_axes, first),
            first,
            end - first,
            group,
            infinity,
            kind,
            has_missing,
            skips,
            threshold,
            split_ratio,
            grid,
            xy,
            score,
            status,
        )
