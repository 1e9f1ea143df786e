"""Who visits which pixel of a heatmap on the CPU.

Four rows at a time, each column of floats of at most 32 bits is added up in float32 about the middle of its four
pixels; what comes of that joins the moments of the map in float64. So the moments see each column with one error of
rounding and not with several, and do not need the centre of mass before they begin. All other maps, pixels and options
are added up row by row in float64.

Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on how many
there are.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import loaded_type
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import convert, out_of_line
from fastcoord.decode._center_of_mass.bytes import EIGHT, by_bytes, by_clipped_bytes
from fastcoord.decode._center_of_mass.formula import (
    MOMENTS,
    about,
    finish,
    is_finite,
    limits,
    mean,
    merge,
    nearest,
    nothing,
)
from fastcoord.decode._center_of_mass.region import (
    TALL,
    adjacent_largest,
    adjacent_rows,
    by_clipped_columns,
    by_columns,
    scattered_largest,
    scattered_rows,
)
from fastcoord.grid import numbers_for

GROUP = 8  # maps that one call decodes
PIECE = 1 << 18  # pixels in a piece,
PIECE_COLUMNS = 1 << 12  # and columns: the squares of distances in it have 24 bits
PARTIAL = MOMENTS + 2


@inlined
def _write(
    moments: Any, x: Any, y: Any, numbers: Any, at: int, xy: Any, score: Any, covariance: Any, has_covariance: bool
) -> Any:
    """Write the answer for map number `at`, whose moments about (x, y) these are; its status."""
    mean_x, mean_y, xx, xy_, yy, status = finish(moments, x, y)
    xy[2 * at], xy[2 * at + 1] = placed(mean_x, mean_y, numbers)
    score[at] = moments[0]
    if has_covariance:
        covariance[4 * at] = xx
        covariance[4 * at + 1] = xy_
        covariance[4 * at + 2] = xy_
        covariance[4 * at + 3] = yy
    return status


@inlined
def _piece(partial: Any, task: int) -> Any:
    """The moments of a piece, and their centre."""
    kept = PARTIAL * task
    moments = (
        partial[kept],
        partial[kept + 1],
        partial[kept + 2],
        partial[kept + 3],
        partial[kept + 4],
        partial[kept + 5],
    )
    return moments, partial[kept + 6], partial[kept + 7]


class Plan(NamedTuple):
    """What a kernel is told of all maps, beside where they are."""

    rows: int
    columns: int
    tall: int  # rows and columns of a piece
    wide: int
    window_rows: int  # to each side of the largest pixel; −1 if all pixels count
    window_columns: int
    least: float  # what a pixel counts at least
    of_nan: float  # and what one counts that is NaN
    from_corner: bool  # moments are taken about the top left pixel, not about the middle of a piece
    has_covariance: bool


def _decoder(is_adjacent: bool, by_columns: Any, by_clipped_columns: Any, tall: int) -> Kernel:
    """A kernel for maps whose columns are side by side or not, so many rows of which the functions read at once."""
    by_rows = adjacent_rows if is_adjacent else scattered_rows
    largest = adjacent_largest if is_adjacent else scattered_largest

    @outlined
    def decode_tasks(
        place: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        first_task: int,
        last_task: int,
        plan: Any,
        grid: Any,
        grid_step: int,
        centers: Any,
        has_centers: bool,
        partial: Any,
        xy: Any,
        score: Any,
        covariance: Any,
        status: Any,
    ) -> None:
        """Write the answers for some maps, or if they have several pieces the moments of some pieces."""
        out_of_line()  # compiled once for the serial and the parallel kernel
        is_whole = plan.tall == plan.rows and plan.wide == plan.columns
        across = (plan.columns + plan.wide - 1) // plan.wide
        pieces = (plan.rows + plan.tall - 1) // plan.tall * across
        nil = convert(0, plan.least)
        for task in range(first_task, last_task):
            i, top, left = task, 0, 0
            if not is_whole:
                i = task // pieces
                top, left = (task - i * pieces) // across * plan.tall, (task - i * pieces) % across * plan.wide
            first = first_element(i, start, outer_stride, inner_count, inner_stride)
            bottom = top + plan.tall if plan.rows - top > plan.tall else plan.rows
            right = left + plan.wide if plan.columns - left > plan.wide else plan.columns
            spoils = nil
            if plan.window_rows >= 0:
                row, column, has_nan = largest(place, first, row_stride, column_stride, plan.rows, plan.columns)
                if has_nan:
                    spoils = plan.of_nan
                top = row - plan.window_rows if row > plan.window_rows else 0
                left = column - plan.window_columns if column > plan.window_columns else 0
                bottom = row + plan.window_rows + 1 if plan.rows - row > plan.window_rows else plan.rows
                right = (
                    column + plan.window_columns + 1 if plan.columns - column > plan.window_columns else plan.columns
                )
                if row < 0:  # no pixel is a number
                    bottom = top
            x, y = convert((left + right) // 2, nil), convert((top + bottom) // 2, nil)
            if plan.from_corner:
                x, y = nil, nil
            if has_centers:
                x, y = centers[2 * (number + i)], centers[2 * (number + i) + 1]
            middle, moments = top, nothing(nil)
            if tall > 0:
                middle = bottom - (bottom - top) % tall
                if plan.least == nil:
                    moments = by_clipped_columns(place, first, row_stride, top, middle, left, right, x, y)
                else:
                    moments = by_columns(place, first, row_stride, top, middle, left, right, x, y)
                if not is_finite(moments):  # an infinity, a NaN that may not count, or more than float32 holds
                    middle, moments = top, nothing(nil)
            if middle < bottom:
                rest = by_rows(
                    place,
                    first,
                    row_stride,
                    column_stride,
                    middle,
                    bottom,
                    left,
                    right,
                    x,
                    y,
                    plan.least,
                    plan.of_nan,
                )
                moments = merge(moments, rest)
            moments = merge(moments, nothing(spoils))
            if is_whole:
                at = number + i
                numbers = numbers_at(grid, at * grid_step)
                status[at] = _write(moments, x, y, numbers, at, xy, score, covariance, plan.has_covariance)
            else:
                kept = PARTIAL * task
                partial[kept], partial[kept + 1], partial[kept + 2] = moments[0], moments[1], moments[2]
                partial[kept + 3], partial[kept + 4], partial[kept + 5] = moments[3], moments[4], moments[5]
                partial[kept + 6], partial[kept + 7] = x, y

    @outlined
    def merge_pieces(partial: Any, first_task: int, last_task: int, plan: Any) -> Any:
        """The moments of a map's pieces about the pixel nearest to its centre of mass, and that pixel."""
        out_of_line()
        nil = convert(0, plan.least)
        moments = nothing(nil)
        for task in range(first_task, last_task):
            piece, x, y = _piece(partial, task)
            moments = merge(moments, about(piece, x, y))
        x, y = mean(moments, nil, nil)
        x, y = convert(nearest(x, plan.columns, plan.rows), nil), convert(nearest(y, plan.rows, plan.rows), nil)
        moments = nothing(nil)
        for task in range(first_task, last_task):
            piece, piece_x, piece_y = _piece(partial, task)
            moments = merge(moments, about(piece, piece_x - x, piece_y - y))
        return moments, x, y

    @kernel
    def decode(
        images: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        maps: int,
        plan: Any,
        grid: Any,
        centers: Any,
        partial: Any,
        xy: Any,
        score: Any,
        covariance: Any,
        status: Any,
    ) -> None:
        place, partial_place, centers_place = memory(images), memory(partial), memory(centers)
        xy_place, score_place, covariance_place, status_place = (
            memory(xy),
            memory(score),
            memory(covariance),
            memory(status),
        )
        grid_place, grid_step = memory(grid), numbers_step(grid)
        pieces = ((plan.rows + plan.tall - 1) // plan.tall) * ((plan.columns + plan.wide - 1) // plan.wide)
        some = GROUP if pieces == 1 else 1
        for index in prange((maps * pieces + some - 1) // some):
            first: Any = np.int64(index) * some  # an unsigned index would make floats of differences
            last = first + some if maps * pieces - first > some else maps * pieces
            decode_tasks(
                place,
                start,
                outer_stride,
                inner_count,
                inner_stride,
                row_stride,
                column_stride,
                number,
                first,
                last,
                plan,
                grid_place,
                grid_step,
                centers_place,
                centers.size > 0,
                partial_place,
                xy_place,
                score_place,
                covariance_place,
                status_place,
            )
        if pieces > 1:
            for i in range(maps):
                moments, x, y = merge_pieces(partial_place, i * pieces, (i + 1) * pieces, plan)
                at = number + i
                numbers = numbers_at(grid_place, at * grid_step)
                status[at] = _write(
                    moments, x, y, numbers, at, xy_place, score_place, covariance_place, plan.has_covariance
                )

    return decode


_FLOATS, _BYTES = (
    _decoder(True, by_columns, by_clipped_columns, TALL),
    _decoder(True, by_bytes, by_clipped_bytes, EIGHT),
)
_OTHERS, _SCATTERED = _decoder(True, None, None, 0), _decoder(False, None, None, 0)
_NONE, _DOUBLE = np.empty(0, np.float64), np.dtype(np.float64)


def center_of_mass(
    maps: Maps,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    grid: Any,
    xy: Any,
    score: Any,
    covariance: Any,
    status: Any,
) -> None:
    """Decode `maps` into flat arrays; `grid` holds a grid's numbers, and `covariance` nothing if none is wanted."""
    is_double = maps.memory.dtype == _DOUBLE
    if is_double and covariance.size:
        # The moments have no more digits than the pixels: they are taken about the centre of mass, found before
        centers = np.empty(2 * score.size)
        pixels = numbers_for(None, _DOUBLE, maps.height, maps.width, ())
        _decode(maps, window, clip_negative, skips_nan, pixels, _NONE, centers, score, _NONE, status)
        np.rint(centers, out=centers)
        centers[~np.isfinite(centers)] = 0
    else:
        centers = _NONE
    _decode(maps, window, clip_negative, skips_nan, grid, centers, xy, score, covariance, status)


def _decode(
    maps: Maps,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    grid: Any,
    centers: Any,
    xy: Any,
    score: Any,
    covariance: Any,
    status: Any,
) -> None:
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    tall, wide = height, width
    if window is None and width * height > PIECE:
        wide = min(width, PIECE_COLUMNS)
        tall = min(height, PIECE // wide)
    pieces = -(-height // tall) * -(-width // wide)
    partial = _NONE if pieces == 1 else np.empty(PARTIAL * count * pieces)
    is_adjacent = maps.column_stride == 1
    number = loaded_type(pixels.dtype)
    decode = _FLOATS if number == np.float32 else _BYTES if number.itemsize == 1 else _OTHERS
    decode = decode if is_adjacent else _SCATTERED
    plan = Plan(
        height,
        width,
        tall,
        wide,
        *((-1, -1) if window is None else window),
        *limits(clip_negative, skips_nan),
        number == np.float64,
        covariance.size > 0,
    )
    for i, start in enumerate(maps.starts):
        decode(
            count * width * height,
            pixels,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            plan,
            grid,
            centers,
            partial,
            xy,
            score,
            covariance,
            status,
        )
