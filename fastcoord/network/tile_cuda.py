"""The responses of a tile of a map on a GPU: four rows of a column in each lane, a warp beside the other downwards.

The pixels under a part of the kernel are copied to shared memory, converted and with zeros beyond the border.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._compile import inlined
from fastcoord._lanes import WARP
from fastcoord._vector import convert
from fastcoord.network.lane import group_of_features, item, rows_from, several, table_at
from fastcoord.network.plan_cuda import MOST_WARPS, OF_PART, PART, PITCH, ROWS

THREADS = MOST_WARPS * WARP  # at most, in a block
BLOCKS = 2  # at least, on a multiprocessor: 128 registers a lane
TILE = (THREADS // WARP * ROWS + PART - 1) * PITCH


@inlined
def stage(
    tile: Any,
    images: Any,
    image: Any,
    layout: Any,
    sizes: Any,
    program: Any,
    at: Any,
    top: Any,
    left: Any,
    lane: Any,
    warp: Any,
    warps: Any,
    unit: Any,
) -> None:
    """Copy what lies under a part of the kernel, which the program describes from `at` on, round a tile."""
    zero, width = unit - unit, layout.columns
    first = image + item(program, at) * sizes.channel_stride
    first_row, first_column = top + item(program, at + 1), left + item(program, at + 2) + lane
    rows, columns = warps * ROWS + item(program, at + 3) - 1, WARP + item(program, at + 4) - 1
    # A row of a tile is less than twice as long as a warp.
    has_left = first_column >= 0 and first_column < width
    has_right = first_column + WARP >= 0 and first_column + WARP < width
    is_right = lane + WARP < columns
    there = first + (first_row + warp) * layout.row_stride + first_column * layout.column_stride
    further, below = WARP * layout.column_stride, warps * layout.row_stride
    cuda.syncthreads()  # until then another warp may be reading the tile before
    y = warp
    while y < rows:  # a range's length, where its step is no constant, is a division that calls a routine
        is_row = y >= -first_row and y < layout.rows - first_row
        # Beyond the map it is some pixel of the map: no branch stands between the loads.
        value = convert(item(images, there if is_row and has_left else image), unit)
        tile[np.uint64(y * PITCH + lane)] = value if is_row and has_left else zero
        value = convert(item(images, there + further if is_row and has_right else image), unit)
        if is_right:
            tile[np.uint64(y * PITCH + WARP + lane)] = value if is_row and has_right else zero
        y += warps
        there += below
    cuda.syncthreads()  # until then the tile is not all written


def responder(features: int, number: Any) -> Any:
    """The function that gives the responses of so many features, from `first_feature` on, to a lane's four pixels."""
    group, weights_at, tables_at = group_of_features(features), several(features, number), several(2 * features, number)
    begin_all, absorb_all = group.begin, group.absorb

    @inlined
    def responses_to(
        tile: Any,
        images: Any,
        image: Any,
        layout: Any,
        sizes: Any,
        numbers: Any,
        program: Any,
        first_feature: Any,
        top: Any,
        left: Any,
        lane: Any,
        warp: Any,
        warps: Any,
        unit: Any,
    ) -> Any:
        row = top + warp * ROWS
        inside = max(min(left + lane, layout.columns - 1), 0)
        a = tables_at(numbers, table_at(row, inside, layout, sizes, first_feature))
        b = c = d = a
        if row < sizes.border or row + ROWS > layout.rows - sizes.border:  # else the four are of one class
            b = tables_at(numbers, table_at(row + 1, inside, layout, sizes, first_feature))
            c = tables_at(numbers, table_at(row + 2, inside, layout, sizes, first_feature))
            d = tables_at(numbers, table_at(row + 3, inside, layout, sizes, first_feature))
        responses = begin_all(a, b, c, d, rows_from(row, unit))
        weight = first_feature * sizes.taps
        here = warp * ROWS * PITCH + lane
        for part in range(sizes.parts):
            at = part * OF_PART
            stage(tile, images, image, layout, sizes, program, at, top, left, lane, warp, warps, unit)
            for run in range(item(program, at + 5), item(program, at + 6), 2):
                under = here + item(program, run)
                v0, v1, v2 = item(tile, under), item(tile, under + PITCH), item(tile, under + 2 * PITCH)
                under += 3 * PITCH
                for _ in range(item(program, run + 1)):  # down a column of the kernel: three of four values stay
                    v3 = item(tile, under)
                    responses = absorb_all(responses, (v0, v1, v2, v3), weights_at(numbers, weight))
                    v0, v1, v2 = v1, v2, v3
                    under += PITCH
                    weight += features
        return responses

    return responses_to


@inlined
def on_map(row: Any, column: Any, layout: Any) -> Any:
    """Which of four pixels, from a row on, are on the map."""
    is_there = column >= 0 and column < layout.columns
    return (
        is_there and row >= 0 and row < layout.rows,
        is_there and row >= -1 and row + 1 < layout.rows,
        is_there and row >= -2 and row + 2 < layout.rows,
        is_there and row >= -3 and row + 3 < layout.rows,
    )
