"""Which pixels share a point, on the CPU: two in each of two rows, for `_lines.drawer`; and who reads them."""

from typing import Any

import numpy as np

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel
from fastcoord._lines import Marks, draw_all, drawer
from fastcoord._memory import first_element, memory
from fastcoord._narrow import as_bfloat16, as_float16
from fastcoord._vector import first_lane, like, splat_line
from fastcoord._vector import splat as splat_number
from fastcoord.encode._splat.formula import NOWHERE, corner, nearest, pixel, share, slopes

LANES = 16


def _half(narrow: Any) -> Any:
    """How a share becomes a pixel of 16 bits."""

    @inlined
    def as_pixel(part: Any, unit: Any) -> Any:
        return first_lane((narrow(splat_number(np.float32(part), LANES)),))[0]

    return as_pixel


@inlined
def _place(x: Any, y: Any, kind: int, columns: int, rows: int, options: int) -> Any:
    is_here = nearest(x, columns) != NOWHERE and nearest(y, rows) != NOWHERE
    left, across = corner(x, is_here)
    top, down = corner(y, is_here)
    first, end = top if top > 0 else 0, top + 2 if top + 2 < rows else rows
    return (left, top, across, down), first, end, is_here


@inlined
def _span(shape: Any, row: int, run: int, columns: int) -> Any:
    """Of the two pixels of a row each is a run."""
    column = shape[0] + run
    return column, column + 1 if column >= 0 and column < columns else column


def _drawer(as_pixel: Any) -> Any:
    @inlined
    def pixel_at(shape: Any, row: int, column: int, run: int, options: int, unit: Any) -> Any:
        _left, top, across, down = shape
        return as_pixel(share(across, down, run, row - top), unit)

    @inlined
    def line_at(shape: Any, row: int, column: int, run: int, options: int, unit: Any) -> Any:
        return splat_line(pixel_at(shape, row, column, run, options, unit))

    return drawer(Marks(_place, _span, line_at, pixel_at, 2))


_draw = _drawer(pixel)
_HALVES = {"float16": _drawer(_half(as_float16)), "bfloat16": _drawer(_half(as_bfloat16))}


def splat(maps: Maps, points: Any, weight: Any, name: str) -> None:
    """Write a map for each of the flat `points` into `maps`, of the type `name`, and into `weight` if it has one."""
    draw_all(_HALVES.get(name, _draw), maps, points, weight, 1, 0, maps.memory.dtype.type(1))


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
    maps: int,
    rows: int,
    columns: int,
    points: Any,
    written: Any,
) -> None:
    place = memory(images)
    for i in range(maps):
        x, y = points[2 * (number + i)], points[2 * (number + i) + 1]
        is_here = nearest(x, columns) != NOWHERE and nearest(y, rows) != NOWHERE
        left, across = corner(x, is_here)
        top, down = corner(y, is_here)
        first = first_element(i, start, outer_stride, inner_count, inner_stride)
        to_x = to_y = like(x, 0)
        if is_here:
            for row in range(top if top > 0 else 0, top + 2 if top + 2 < rows else rows):
                for column in range(left if left > 0 else 0, left + 2 if left + 2 < columns else columns):
                    value = like(x, place[first + row * row_stride + column * column_stride])
                    dx, dy = slopes(across, down, column - left, row - top)
                    to_x += value * dx
                    to_y += value * dy
        written[2 * (number + i)], written[2 * (number + i) + 1] = to_x, to_y


def vjp(maps: Maps, points: Any, written: Any) -> None:
    """Write into the flat `written` the gradient of each of the flat `points`; `maps` are the gradients of the maps."""
    for i, start in enumerate(maps.starts):
        _vjp.serial(
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * maps.count,
            maps.count,
            maps.height,
            maps.width,
            points,
            written,
        )
