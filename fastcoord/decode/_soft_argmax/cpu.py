"""Who visits which pixel of a heatmap on the CPU.

Floats that stand side by side are read in place; other pixels are first written, as floats, into a buffer that stays in
the cache. Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on
how many there are.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._exponential import Rate
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step
from fastcoord._vector import out_of_line
from fastcoord.decode._soft_argmax.formula import STATE, merge
from fastcoord.decode._soft_argmax.region import COVARIANCE, NOTES, NOTHING_MORE, collect, largest, moments, write
from fastcoord.decode._soft_argmax.window import FOUND, windowed

GROUP = 8  # maps that one call decodes
CALLS = 64  # calls where each has a buffer
PIECE = 1 << 16  # pixels in a piece
AHEAD = 16384  # bytes between a line of the next map that is read and one that is prefetched


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


def decoder(is_direct: bool, wants: int) -> tuple[Any, Kernel]:
    """What decodes some maps, or some pieces of maps; and the kernel that calls it."""
    has_covariance = wants == COVARIANCE

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
        more: Any,
        status: Any,
    ) -> None:
        """Write the answers for some maps, or if they have several pieces the states of some pieces."""
        out_of_line()  # compiled once for the serial and the parallel kernel
        unit = rate[0]
        of_next = unit
        is_whole = tall == height and wide == width
        across = (width + wide - 1) // wide
        pieces = (height + tall - 1) // tall * across
        for task in range(first_task, last_task):
            i, top, left = task, 0, 0
            if not is_whole:
                i = task // pieces
                top, left = (task - i * pieces) // across * tall, (task - i * pieces) % across * wide
            at = first_element(i, start, outer_stride, inner_count, inner_stride)
            at += top * row_stride + left * column_stride
            rows = tall if height - top > tall else height - top
            columns = wide if width - left > wide else width - left
            if is_direct and is_whole:
                greatest = of_next if task > first_task else largest(place, at, row_stride, rows, columns, unit)
                onward = 0  # the last one searches itself again
                if task + 1 < last_task:
                    onward = first_element(i + 1, start, outer_stride, inner_count, inner_stride) - at
                state, of_next = moments(
                    place, at, row_stride, rows, columns, 0, 0, greatest, rate, onward, True, ahead, has_covariance
                )
            elif is_direct:
                greatest = largest(place, at, row_stride, rows, columns, unit)
                state, _of_next = moments(
                    place, at, row_stride, rows, columns, left, top, greatest, rate, 0, False, ahead, has_covariance
                )
            else:
                collect(place, at, row_stride, column_stride, rows, columns, buffer, to, unit)
                greatest = largest(buffer, to, columns, rows, columns, unit)
                state, _of_next = moments(
                    buffer, to, columns, rows, columns, left, top, greatest, rate, 0, False, 0, has_covariance
                )
            if is_whole:
                i += number
                write(state, numbers_at(grid, i * grid_step), 0, 0, i, xy, score, more, status, wants)
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
        more: Any,
        status: Any,
    ) -> None:
        place, buffer_place, partial_place = memory(images), memory(buffer), memory(partial)
        xy_place, score_place, more_place, status_place = memory(xy), memory(score), memory(more), memory(status)
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
                more_place,
                status_place,
            )
        if pieces > 1:
            for i in range(maps):
                merge_pieces(partial_place, i * pieces, pieces, rate)
                at = number + i
                numbers = numbers_at(grid_place, at * grid_step)
                state = _stored(partial_place, i * pieces)
                write(state, numbers, 0, 0, at, xy_place, score_place, more_place, status_place, wants)

    return decode_tasks, decode


WAYS = [(direct, wants) for direct in (True, False) for wants in (NOTHING_MORE, COVARIANCE, NOTES)]
TASKS = {way: decoder(*way) for way in WAYS}
WINDOWED = {way: windowed(*way) for way in WAYS}
_NOTHING = {dtype: np.empty(0, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


class Plan(NamedTuple):
    """How maps are cut into pieces, and pieces shared among calls."""

    is_direct: bool
    tall: int
    wide: int
    pieces: int  # of a map
    some: int  # tasks of a call
    buffer: Any  # one for each call, if pixels are not read in place


def plan(maps: Maps, dtype: Any) -> Plan:
    """The plan for these maps, decoded in this type; it follows from their shape and type alone."""
    is_direct = maps.column_stride == 1 and maps.memory.dtype == dtype
    wide = min(maps.width, PIECE)
    tall = min(max(PIECE // wide, 1), maps.height)
    pieces = -(-maps.height // tall) * -(-maps.width // wide)
    tasks = maps.count * pieces
    some = (GROUP if pieces == 1 else 1) if is_direct else -(-tasks // CALLS)
    buffer = _NOTHING[dtype] if is_direct else np.empty(-(-tasks // some) * tall * wide, dtype)
    return Plan(is_direct, tall, wide, pieces, some, buffer)


def soft_argmax(
    maps: Maps, rate: Rate, window: int | None, grid: Any, xy: Any, score: Any, more: Any, status: Any, wants: int
) -> None:
    """Decode `maps` into flat arrays; `more` is for what it `wants` beside, `grid` has a grid's numbers."""
    width, height, count = maps.width, maps.height, maps.count
    planned = plan(maps, xy.dtype)
    tall, wide, pieces = planned.tall, planned.wide, planned.pieces
    partial = _NOTHING[xy.dtype]
    if window is None:
        decode, distance = TASKS[planned.is_direct, wants][1], maps.inner_stride + AHEAD // xy.itemsize
        if pieces > 1:
            partial, distance = np.empty(STATE * count * pieces, xy.dtype), tall * maps.row_stride
    else:
        decode, distance = WINDOWED[planned.is_direct, wants][1], min(window, max(height, width))
        partial = np.empty(FOUND * count * pieces, xy.dtype)
    for i, start in enumerate(maps.starts):
        decode(
            count * width * height,
            maps.memory,
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
            planned.some,
            distance,
            *rate,
            planned.buffer,
            grid,
            partial,
            xy,
            score,
            more,
            status,
        )
