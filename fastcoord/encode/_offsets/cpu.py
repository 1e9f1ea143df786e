"""Which pixels of the disc round a point are written on the CPU: a run in each of its rows, for `_lines.drawer`.

What they hold changes along a row, and is computed for a line where it is written.
"""

from typing import Any

import numpy as np

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._lines import Marks, draw_all, drawer
from fastcoord._vector import is_finite, lane_numbers, like, splat_line
from fastcoord.encode._offsets.formula import DISC, columns_in_disc, has_pixels, held, near


@inlined
def _place(x: Any, y: Any, kind: int, columns: int, rows: int, options: Any) -> Any:
    radius, _scale, is_whole, first_kind = options
    is_here = is_finite(x) and is_finite(y)
    x, y = x if is_here else like(x, 0), y if is_here else like(y, 0)
    is_here = is_here and (is_whole or has_pixels(x, y, radius, columns, rows))
    is_everywhere = is_whole and first_kind + kind != DISC
    top, bottom = near(y, radius, rows)
    top, bottom = 0 if is_everywhere else top, rows if is_everywhere else bottom
    return (x, y, first_kind + kind, is_everywhere, radius), top, bottom, is_here


@inlined
def _span(shape: Any, row: int, run: int, columns: int) -> Any:
    x, y, _kind, is_everywhere, radius = shape
    first, end = 0, columns
    if not is_everywhere:
        first, end = columns_in_disc(x, y - like(y, row), radius, columns)
    return first, end


@inlined
def _line(shape: Any, row: int, column: int, run: int, options: Any, unit: Any) -> Any:
    x, y, kind, _is_everywhere, _radius = shape
    return held(kind, lane_numbers(splat_line(unit)), column, row, x, y, options[1], unit)


@inlined
def _pixel(shape: Any, row: int, column: int, run: int, options: Any, unit: Any) -> Any:
    x, y, kind, _is_everywhere, _radius = shape
    return held(kind, like(unit, 0), column, row, x, y, options[1], unit)


_draw = drawer(Marks(_place, _span, _line, _pixel, 1))


def offsets(members: int, radius: float, scale: float, is_whole: bool, maps: Maps, points: Any, weight: Any) -> None:
    """Write `members` maps for each of the flat `points`, of float64, into `maps`, and the weight of each.

    With the disc there are three, without two. A pixel counts `scale`; offsets stand everywhere if `is_whole`.
    """
    options = np.float64(radius), np.float64(scale), is_whole, 3 - members  # without the disc, the kinds after it
    draw_all(_draw, maps, points, weight, members, options, maps.memory.dtype.type(1))
