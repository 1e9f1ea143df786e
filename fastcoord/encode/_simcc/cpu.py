"""Who visits which bin of the labels of points that are written on the CPU: its bins of x, then those of y.

Whole cache lines are written, past the caches where there are many. Bins beyond the reach of the Gaussian are zeros
that nobody computes.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord import _lines
from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel, outlined
from fastcoord._gaussian_axis import factors, placed_point
from fastcoord._lines import tasks_of, written, zeros_written
from fastcoord._memory import (
    bytes_past_line,
    first_element,
    item_bytes,
    memory,
    store,
    store_first,
    stream_fence,
    workspace,
)
from fastcoord._narrow import as_bfloat16, as_float16, unchanged
from fastcoord._simcc_options import layout_of
from fastcoord._stretches import stretches
from fastcoord._vector import CACHE_LINE, first_lane, lane_numbers, lane_sums, out_of_line, splat
from fastcoord.encode._simcc.formula import SUM, in_bins, share

LANES = 16
POINT = 6  # numbers of a point: the rate of its powers, two, and 1/σ, of x and then of y


@outlined
def _total(first: int, end: int, middle: Any, past_middle: Any, rate: Any, unit: Any) -> Any:
    """The sum of the factors of an axis."""
    out_of_line()
    total = splat(unit - unit, LANES)
    offsets = lane_numbers(total)
    for k in range(first // LANES * LANES, end, LANES):
        total = total + factors(offsets, k, first, end, middle, past_middle, rate)
    return first_lane((lane_sums((total,)),))[0]


def _writer(lanes: int, narrow: Any, is_adjacent: bool) -> Any:
    """How the axis of a point is written, `lanes` bins of which are a cache line."""

    @inlined
    def line(k: int, first: int, end: int, middle: Any, past_middle: Any, rate: Any, height: Any) -> Any:
        """The bins from number `k` on."""
        nothing = splat(height - height, lanes)
        found = nothing
        if k < end and k + lanes > first:
            found = factors(lane_numbers(nothing), k, first, end, middle, past_middle, rate) * splat(height, lanes)
        return narrow(found)

    @outlined
    def write(
        place: Any,
        at: int,
        stride: int,
        bins: int,
        is_streamed: bool,
        axis: Any,
        rate: Any,
        by_sigma: Any,
        norm: int,
    ) -> None:
        """All bins of the `axis`."""
        out_of_line()
        first, end, middle, past_middle = axis
        total = by_sigma
        if norm == SUM:
            total = _total(first, end, middle, past_middle, rate, by_sigma)
        height = share(norm, total, by_sigma)
        if is_adjacent:
            nothing = line(0, 0, 0, middle, past_middle, rate, height)
            past = bytes_past_line(place, at) // item_bytes(place)
            k = (lanes - past) % lanes
            if k > 0:
                k = k if k < bins else bins
                store_first(place, at, line(0, first, end, middle, past_middle, rate, height), k)
            if k < first:
                k = zeros_written(place, at + k, at + first, nothing, is_streamed) - at
            while k < end and k + lanes <= bins:
                found = line(k, first, end, middle, past_middle, rate, height)
                k = written(place, at + k, lanes, found, is_streamed) - at
            if k < bins:
                k = zeros_written(place, at + k, at + bins, nothing, is_streamed) - at
            if k < bins:
                store_first(place, at + k, line(k, first, end, middle, past_middle, rate, height), bins - k)
        else:
            kept = workspace(line(0, 0, 0, middle, past_middle, rate, height), 1)
            for k in range(0, bins, lanes):
                store(kept, 0, line(k, first, end, middle, past_middle, rate, height))
                for lane in range(lanes if bins - k > lanes else bins - k):
                    place[at + (k + lane) * stride] = kept[lane]

    return write


def _drawer(lanes: int, narrow: Any, is_adjacent: bool) -> Any:
    write = _writer(lanes, narrow, is_adjacent)

    @outlined
    def draw_axes(
        x_place: Any,
        x_layout: Any,
        y_place: Any,
        y_layout: Any,
        first: int,
        last: int,
        first_point: int,
        is_streamed: bool,
        xy: Any,
        weight: Any,
        numbers: Any,
        numbers_step: int,
        reaches: Any,
        reaches_step: int,
        mode: int,
        split_ratio: Any,
        is_rounded: bool,
        norm: int,
    ) -> None:
        """The axes of some points, the last of them excluded."""
        out_of_line()  # compiled once for the serial and the parallel kernel
        x_first, x_start, x_outer, x_inner_count, x_inner, x_stride, columns = x_layout
        y_first, y_start, y_outer, y_inner_count, y_inner, y_stride, rows = y_layout
        for k in range(first, last):
            i = first_point + k
            n, r = i * numbers_step, i * reaches_step
            x = in_bins(xy[2 * i], split_ratio, is_rounded)
            y = in_bins(xy[2 * i + 1], split_ratio, is_rounded)
            left, right, middle, past_middle, top, bottom, centre, past_centre, is_here = placed_point(
                x, y, columns, rows, reaches[r], reaches[r + 1], mode
            )
            weight[i] = 1 if is_here else 0
            at = first_element(x_first + k, x_start, x_outer, x_inner_count, x_inner)
            axis, rate = (left, right, middle, past_middle), (numbers[n], numbers[n + 1])
            write(x_place, at, x_stride, columns, is_streamed, axis, rate, numbers[n + 2], norm)
            at = first_element(y_first + k, y_start, y_outer, y_inner_count, y_inner)
            axis, rate = (top, bottom, centre, past_centre), (numbers[n + 3], numbers[n + 4])
            write(y_place, at, y_stride, rows, is_streamed, axis, rate, numbers[n + 5], norm)
        stream_fence()

    @kernel
    def draw(
        x_labels: Any,
        x_layout: Any,
        y_labels: Any,
        y_layout: Any,
        first_point: int,
        points: int,
        points_in_task: int,
        is_streamed: bool,
        xy: Any,
        weight: Any,
        numbers: Any,
        numbers_step: int,
        reaches: Any,
        reaches_step: int,
        mode: int,
        split_ratio: Any,
        is_rounded: bool,
        norm: int,
    ) -> None:
        x_place, y_place = memory(x_labels), memory(y_labels)
        for index in prange((points + points_in_task - 1) // points_in_task):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            first = task * points_in_task
            last = first + points_in_task if points_in_task < points - first else points
            draw_axes(
                x_place,
                x_layout,
                y_place,
                y_layout,
                first,
                last,
                first_point,
                is_streamed,
                xy,
                weight,
                numbers,
                numbers_step,
                reaches,
                reaches_step,
                mode,
                split_ratio,
                is_rounded,
                norm,
            )

    return draw


_NARROW = {"float32": unchanged, "float64": unchanged, "float16": as_float16, "bfloat16": as_bfloat16}
_KERNELS = {
    (name, is_adjacent): _drawer(CACHE_LINE // {"float64": 8, "float32": 4}.get(name, 2), narrow, is_adjacent)
    for name, narrow in _NARROW.items()
    for is_adjacent in (True, False)
}


def simcc(
    name: str,
    sizes: tuple[Any, Any],
    mode: int,
    split_ratio: float,
    is_rounded: bool,
    norm: int,
    x_labels: Maps,
    y_labels: Maps,
    points: Any,
    weight: Any,
) -> None:
    """Write the labels of the flat `points`, of float64, into maps of one row, and the weight of each.

    `sizes` are six numbers and two reaches of each point, or of all of them, as `_gaussian_axis` has them.
    """
    numbers, reaches = sizes
    options = points, weight, numbers, POINT * (numbers.size > POINT), reaches, 2 * (reaches.size > 2)
    count, bins = points.size // 2, x_labels.width + y_labels.width
    total = count * bins * x_labels.memory.itemsize
    draw = _KERNELS[name, x_labels.column_stride == 1 and y_labels.column_stride == 1]
    for first, end in stretches(x_labels.count, y_labels.count, count):
        draw(
            (end - first) * bins,
            x_labels.memory,
            layout_of(x_labels, first),
            y_labels.memory,
            layout_of(y_labels, first),
            first,
            end - first,
            min(-(-count // tasks_of(total)), _lines.MAPS),
            total >= _lines.STREAM,
            *options,
            mode,
            split_ratio,
            is_rounded,
            norm,
        )
