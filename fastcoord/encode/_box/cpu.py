"""Which pixels of a square are written on the CPU: a run in each of its rows, for `_lines.drawer`."""

from typing import Any

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._lines import Marks, draw_all, drawer
from fastcoord._vector import splat_line
from fastcoord.encode._box.formula import NOWHERE, nearest, span


@inlined
def _place(x: Any, y: Any, kind: int, columns: int, rows: int, radius: int) -> Any:
    column, row = nearest(x, columns), nearest(y, rows)
    top, bottom = span(row, radius, rows)
    return span(column, radius, columns), top, bottom, column != NOWHERE and row != NOWHERE


@inlined
def _span(shape: Any, row: int, run: int, columns: int) -> Any:
    return shape


@inlined
def _line(shape: Any, row: int, column: int, run: int, radius: int, value: Any) -> Any:
    return splat_line(value)


@inlined
def _pixel(shape: Any, row: int, column: int, run: int, radius: int, value: Any) -> Any:
    return value


_draw = drawer(Marks(_place, _span, _line, _pixel, 1))


def box(radius: int, value: Any, maps: Maps, points: Any, weight: Any) -> None:
    """Write a square for each of the flat `points` into `maps`, and into `weight` whether there is one.

    It reaches `radius` pixels from its centre to each side, and `value` has the type of the pixels.
    """
    pixel = maps.memory.dtype.type(value)  # a bool is written as a byte
    draw_all(_draw, maps, points, weight, 1, radius, pixel)
