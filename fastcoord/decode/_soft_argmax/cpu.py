"""Who visits which pixel of a heatmap on the CPU.

Floats that stand side by side are read in place; other pixels are first written, as floats, into a buffer that stays in
the cache. Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on
how many there are.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._exponential import Rate
from fastcoord._memory import memory
from fastcoord._placement import numbers_at, numbers_step
from fastcoord._vector import out_of_line
from fastcoord.decode._soft_argmax.formula import STATE, merge
from fastcoord.decode._soft_argmax.region import collect, largest, moments, write
from fastcoord.decode._soft_argmax.window import FOUND, windowed

GROUP = 8  # maps that one call decodes
CALLS = 64  # calls where each has a buffer
PIECE = 1 << 16  # pixels in a piece


@inlined
def _stored(states: Any, number: int) -> Any:
    at = number * STATE
    return (
        states[at],
        states[at + 1],
        states[at + 2],
        states[at + 3],
        states[at + 4],
        states[at + 5],
        states[at + 6],
        states[at + 7],
        states[at + 8],
    )


@inlined
def _store(states: Any, number: int, state: Any) -> None:
    for member in range(STATE):
        states[number * STATE + member] = state[member]


@outlined
def merge_pieces(states: Any, first: int, pieces: int, rate: Any) -> None:
    """Merge the states of so many pieces into that of the first, neighbours first: so that few sums are large."""
    out_of_line()
    step = 1
    while step < pieces:
        for piece in range(first, first + pieces - step, 2 * step):
            _store(states, piece, merge(_stored(states, piece), _stored(states, piece + step), rate))
        step *= 2


def _decoder(is_direct: bool, has_covariance: bool) -> Kernel:
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
        height: int,
        width: int,
        tall: int,
        wide: int,
        ahead: int,
        rate: Any,
        buffer: Any,
        to: int,
        grid: Any,
        grid_step: int,
        partial: Any,
        xy: Any,
        score: Any,
        spread: Any,
        status: Any,
    ) -> None:
        """Write the answers for some maps, or if they have several pieces the states of some pieces."""
        out_of_line()  # compiled once for the serial and the parallel kernel
        unit = rate[0]
        is_whole = tall == height and wide == width
        across = (width + wide - 1) // wide
        pieces = (height + tall - 1) // tall * across
        for task in range(first_task, last_task):
            i, top, left = task, 0, 0
            if not is_whole:
                i = task // pieces
                top, left = (task - i * pieces) // across * tall, (task - i * pieces) % across * wide
            outer = 0 if i < inner_count else i // inner_count
            at = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            at += top * row_stride + left * column_stride
            rows = tall if height - top > tall else height - top
            columns = wide if width - left > wide else width - left
            if is_direct:
                greatest = largest(place, at, row_stride, rows, columns, unit)
                state = moments(place, at, row_stride, rows, columns, left, top, greatest, rate, ahead, has_covariance)
            else:
                collect(place, at, row_stride, column_stride, rows, columns, buffer, to, unit)
                greatest = largest(buffer, to, columns, rows, columns, unit)
                state = moments(buffer, to, columns, rows, columns, left, top, greatest, rate, 0, has_covariance)
            if is_whole:
                i += number
                write(state, numbers_at(grid, i * grid_step), i, xy, score, spread, has_covariance, status)
            else:
                _store(partial, task, state)

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
        height: int,
        width: int,
        tall: int,
        wide: int,
        some: int,
        ahead: int,
        factor: Any,
        least: Any,
        buffer: Any,
        grid: Any,
        partial: Any,
        xy: Any,
        score: Any,
        spread: Any,
        status: Any,
    ) -> None:
        place, buffer_place, partial_place = memory(images), memory(buffer), memory(partial)
        xy_place, score_place, spread_place, status_place = memory(xy), memory(score), memory(spread), memory(status)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        rate = (factor, least)
        pieces = ((height + tall - 1) // tall) * ((width + wide - 1) // wide)
        for index in prange((maps * pieces + some - 1) // some):
            call: Any = np.int64(index)  # an unsigned index would make floats of differences
            first = call * some
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
                first + some if maps * pieces - first > some else maps * pieces,
                height,
                width,
                tall,
                wide,
                ahead,
                rate,
                buffer_place,
                call * (tall * wide),
                grid_place,
                grid_step,
                partial_place,
                xy_place,
                score_place,
                spread_place,
                status_place,
            )
        if pieces > 1:
            for i in range(maps):
                merge_pieces(partial_place, i * pieces, pieces, rate)
                at = number + i
                numbers = numbers_at(grid_place, at * grid_step)
                state = _stored(partial_place, i * pieces)
                write(state, numbers, at, xy_place, score_place, spread_place, has_covariance, status_place)

    return decode


_WAYS = [(direct, covariance) for direct in (True, False) for covariance in (True, False)]
_KERNELS = {way: _decoder(*way) for way in _WAYS}
_WINDOWED = {way: windowed(*way) for way in _WAYS}
_NOTHING = {dtype: np.empty(0, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


def soft_argmax(
    maps: Maps, rate: Rate, window: int | None, grid: Any, xy: Any, score: Any, spread: Any, status: Any
) -> None:
    """Decode `maps` into flat arrays; `spread` is empty where no covariance is asked for, `grid` has a grid's numbers."""
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    is_direct = maps.column_stride == 1 and pixels.dtype == xy.dtype
    wide = min(width, PIECE)
    tall = min(max(PIECE // wide, 1), height)
    pieces = -(-height // tall) * -(-width // wide)
    tasks = count * pieces
    some = (GROUP if pieces == 1 else 1) if is_direct else -(-tasks // CALLS)
    nothing = _NOTHING[xy.dtype]
    buffer = nothing if is_direct else np.empty(-(-tasks // some) * tall * wide, xy.dtype)
    partial = nothing if pieces == 1 else np.empty(STATE * tasks, xy.dtype)
    if window is None:
        decode, distance = _KERNELS[is_direct, spread.size > 0], maps.inner_stride  # what is prefetched: the next map
        distance = maps.inner_stride if pieces == 1 else tall * maps.row_stride
    else:
        partial = np.empty(FOUND * tasks, xy.dtype)
        decode, distance = _WINDOWED[is_direct, spread.size > 0], min(window, max(height, width))
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
            height,
            width,
            tall,
            wide,
            some,
            distance,
            *rate,
            buffer,
            grid,
            partial,
            xy,
            score,
            spread,
            status,
        )
