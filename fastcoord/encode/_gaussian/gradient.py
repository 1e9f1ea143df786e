"""Who visits which pixel of the gradient of `encode.gaussian` on the CPU: a map is read once for each of its points."""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import kernel
from fastcoord._memory import first_element, gather, load, load_padded, memory
from fastcoord._vector import first_lane, lane_numbers, lane_sums, like, select, splat
from fastcoord.encode._gaussian.axis import LANES, LEAD, POINT, write_axes

BUFFER = 1 << 25  # bytes of the axes that are in use at once


@kernel
def _vjp(
    images: Any,
    start: int,
    outer_stride: int,
    inner_count: int,
    inner_stride: int,
    row_stride: int,
    column_stride: int,
    number: int,
    first_map: int,
    maps: int,
    rows: int,
    columns: int,
    points_in_map: int,
    points: Any,
    numbers: Any,
    numbers_step: int,
    reaches: Any,
    reaches_step: int,
    mode: int,
    is_sum: bool,
    buffer: Any,
    written: Any,
) -> None:
    place, factors = memory(images), memory(buffer)
    size = columns + rows + 3 * LEAD
    for index in prange(maps):
        i: Any = first_map + np.int64(index)
        first = first_element(i, start, outer_stride, inner_count, inner_stride)
        base: Any = np.int64(index) * 2 * size
        zero = splat(numbers[0] - numbers[0], LANES)
        lanes = lane_numbers(zero)
        for p in range(points_in_map):
            point = (number + i) * points_in_map + p
            left, right, top, bottom, _has_pixels = write_axes(
                *(factors, base, rows, columns, points, point, numbers, numbers_step),
                *(reaches, reaches_step, mode, is_sum, True),
            )
            left = left // LANES * LANES
            across, down = base + LEAD, base + columns + 2 * LEAD
            to_x, to_y = zero, zero
            for row in range(top, bottom):
                drawn, pulled = zero, zero
                for column in range(left, right, LANES):
                    at = first + row * row_stride + column * column_stride
                    if column_stride == 1:
                        grad = load_padded(place, at, columns - column, LANES)
                    else:
                        grad = gather(place, at, column_stride, columns - column, LANES)
                        grad = select(lanes < like(lanes, columns - column), grad, zero)
                    drawn = drawn + grad * load(factors, across + column, LANES)
                    pulled = pulled + grad * load(factors, across + size + column, LANES)
                to_x = to_x + pulled * splat(factors[down + row], LANES)
                to_y = to_y + drawn * splat(factors[down + size + row], LANES)
            written[2 * point] = first_lane((lane_sums((to_x,)),))[0]
            written[2 * point + 1] = first_lane((lane_sums((to_y,)),))[0]


def vjp(sizes: tuple[Any, Any], mode: int, is_sum: bool, maps: Maps, points: Any, written: Any) -> None:
    """Write into the flat `written` the gradient of each of the flat `points`; `maps` are the gradients of the maps.

    The other arguments are as for `cpu.gaussian`.
    """
    numbers, reaches = sizes
    points_in_map = points.size // 2 // (maps.count * len(maps.starts))
    each = 2 * (maps.width + maps.height + 3 * LEAD)
    at_once = max(1, min(maps.count, BUFFER // (each * numbers.itemsize)))
    buffer = np.zeros(at_once * each, numbers.dtype)
    options = points, numbers, POINT * (numbers.size > POINT), reaches, 2 * (reaches.size > 2), mode, is_sum
    for i, start in enumerate(maps.starts):
        for first in range(0, maps.count, at_once):
            count = min(at_once, maps.count - first)
            _vjp(
                count * maps.height * maps.width * points_in_map,
                *(maps.memory, start, maps.outer_stride, maps.inner_count, maps.inner_stride),
                *(maps.row_stride, maps.column_stride, i * maps.count, first, count, maps.height, maps.width),
                *(points_in_map, *options, buffer, written),
            )
