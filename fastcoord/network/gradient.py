"""Who visits which pixel when a network's gradients are computed on the CPU.

One pass over the maps, by pieces of a few rows. Where the rows of a piece are, with those around it under the kernel,
the responses are computed again and gated: g = d·[response > 0] with d = readoutᵀ·grad, which the gradient of every
parameter and pixel is a sum of. The g of four features, for one piece, is all that is stored. The coordinates' weights
are not visited: their gradients follow from those of the tables, which have one entry a column and class of rows.
"""

import functools
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel
from fastcoord._memory import first_element, load, memory, store
from fastcoord._vector import convert, lane_merge, splat
from fastcoord.network.cpu import fill_adjacent, fill_scattered, in_lanes, most_features, packed
from fastcoord.network.formula import coordinate_gradient, coordinate_tables, group_of, merge, total
from fastcoord.network.gradient_tile import gradient_piece
from fastcoord.network.tile import LANES, ROWS

PIECE = 1 << 12  # pixels in a piece, where these are at least LEAST_ROWS rows
LEAST_ROWS = 16
TASKS = 32  # each keeps gradients of its own
LEAST_TASKS = 8

_merge_lanes = lane_merge(merge)


@inlined
def _clear(place: Any, size: int, unit: Any) -> None:
    for at in range(0, size, LANES):
        store(place, at, splat(unit - unit, LANES))


@inlined
def _flush(lanes: Any, kept: Any) -> None:
    """Add float32 lanes to float64 ones, and make them zero."""
    source, target = memory(lanes), memory(kept)
    for at in range(0, lanes.size, LANES):
        some = load(source, at, LANES)
        store(target, at, load(target, at, LANES) + convert(some, kept.dtype.type(0)))
        store(source, at, some - some)


@functools.cache
def _gradients(features: int, is_adjacent: bool) -> Kernel:
    fill = fill_adjacent if is_adjacent else fill_scattered
    gate_rows, spread_rows = gradient_piece(features)

    def gradients(
        pixels: Any,
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
        channels: int,
        piece_rows: int,
        above: int,
        aside: int,
        pitch: int,
        source_plane: int,
        kept_plane: int,
        tables: Any,
        weights: Any,
        offsets: Any,
        spread_offsets: Any,
        first_taps: Any,
        all_offsets: Any,
        d: Any,
        of_tables: Any,
        of_weights: Any,
        of_pixels: Any,
        sums_of_pieces: Any,
    ) -> None:
        place, tables_place, weights_place = memory(pixels), memory(tables), memory(weights)
        offsets_place, spread_place, all_offsets_place = memory(offsets), memory(spread_offsets), memory(all_offsets)
        d_place, of_pixels_place = memory(d), memory(of_pixels)
        unit = d.dtype.type(1)
        border, tiles, padded_features = (tables.shape[0] - 1) // 2, tables.shape[1], tables.shape[2]
        blocks, taps, all_taps = weights.shape[0], weights.shape[1], len(all_offsets)
        pieces = (height + piece_rows - 1) // piece_rows
        units, tasks = maps * pieces, len(of_weights)
        for index in prange(tasks):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            source = np.zeros(channels * source_plane, d.dtype)
            kept = np.zeros(features * kept_plane, d.dtype)
            sums = np.empty((padded_features, 2, LANES), d.dtype)
            table_lanes, weight_lanes = np.zeros(tables.shape, d.dtype), np.zeros(of_weights.shape[1:], d.dtype)
            source_place, kept_place, sums_place = memory(source), memory(kept), memory(sums)
            table_lanes_place, weight_lanes_place = memory(table_lanes), memory(weight_lanes)
            for piece in range(units * task // tasks, units * (task + 1) // tasks):
                i = piece // pieces
                row = (piece - i * pieces) * piece_rows
                rows = piece_rows if piece_rows < height - row else height - row
                top = row - above if row > above else 0
                bottom = row + rows + above if row + rows + above < height else height
                image = first_element(i * channels, start, outer_stride, inner_count, inner_stride)
                for c in range(channels):
                    fill(
                        source_place,
                        c * source_plane,
                        pitch,
                        place,
                        image + c * inner_stride,
                        row_stride,
                        column_stride,
                        top - above,
                        bottom - top + 2 * above,
                        -aside,
                        width + 2 * aside,
                        height,
                        width,
                        unit,
                    )
                _clear(sums_place, sums.size, unit)
                for block in range(blocks):
                    if pieces > 1:
                        _clear(kept_place, kept.size, unit)  # rows beyond the map
                    for part in range(3):  # the rows above the piece, its own, those below
                        first_row = top if part == 0 else row if part == 1 else row + rows
                        last_row = row if part == 0 else row + rows if part == 1 else bottom
                        gate_rows(
                            source_place,
                            first_row - top,
                            pitch,
                            first_row,
                            last_row - first_row,
                            part == 1,
                            width,
                            height,
                            border,
                            tables_place,
                            tiles,
                            block,
                            blocks,
                            weights_place,
                            offsets_place,
                            taps,
                            d_place,
                            (number + i) * padded_features,
                            kept_place,
                            (first_row - row + above) * pitch + aside,
                            kept_plane,
                            sums_place,
                            table_lanes_place,
                            weight_lanes_place,
                            all_offsets_place,
                            all_taps,
                            unit,
                        )
                    for c in range(channels):
                        spread_rows(
                            kept_place,
                            pitch,
                            kept_plane,
                            block,
                            weights_place,
                            spread_place,
                            first_taps[c],
                            first_taps[c + 1],
                            taps,
                            of_pixels_place,
                            (((number + i) * channels + c) * height + row) * width,
                            rows,
                            width,
                        )
                for k in range(sums_of_pieces.shape[1]):
                    at = k * 2 * LANES
                    state = _merge_lanes((load(sums_place, at, LANES), load(sums_place, at + LANES, LANES)))
                    sums_of_pieces[number * pieces + piece, k] = total(state)
                _flush(table_lanes, of_tables[task])
                _flush(weight_lanes, of_weights[task])
            source[0] = kept[0] + sums[0, 0, 0]  # they live until here: `memory` does not keep them

    return kernel(gradients)


def vjp(
    maps: Maps, channels: int, parameters: tuple[Any, Any, Any, Any], grad: NDArray[Any], of_pixels: NDArray[Any]
) -> tuple[NDArray[np.float64], ...]:
    """The gradients of weight, bias, readout and offset, for a (n, M) `grad`; those of the pixels in flat memory."""
    weight, bias, readout, _ = parameters
    dtype = of_pixels.dtype
    height, width, count = maps.height, maps.width, maps.count // channels
    features_in_all, _, kernel_height, kernel_width = weight.shape
    features = group_of(features_in_all, most_features(dtype))
    padded = -(-features_in_all // features) * features
    above, aside = kernel_height // 2, kernel_width // 2
    tiles = -(-width // LANES)
    pitch = -(-(tiles * LANES + 2 * aside) // LANES) * LANES
    piece_rows = min(max(PIECE // width // ROWS * ROWS, LEAST_ROWS), -(-height // ROWS) * ROWS)
    pieces = -(-height // piece_rows)
    source_plane, kept_plane = ((piece_rows + 4 * above + ROWS) * pitch, (piece_rows + 2 * above + ROWS) * pitch)
    image_weight = weight[:, :channels]
    taps = np.argwhere((image_weight != 0).any(axis=0))
    all_taps = np.argwhere(np.ones(image_weight.shape[1:], np.bool_))
    in_source = np.array([source_plane, pitch, 1])
    weights = packed(image_weight, taps, features, dtype)
    tables = in_lanes(coordinate_tables(weight, bias, height, width), features, dtype)
    d = np.zeros((len(grad), padded), dtype)
    d[:, :features_in_all] = grad @ readout
    # what they keep for the tables must stay small beside the images, and they must be enough for all threads
    affordable = max(of_pixels.nbytes // (16 * tables.size), LEAST_TASKS)
    tasks = max(min(count * pieces, TASKS, affordable), 1)
    of_tables = np.zeros((tasks, *tables.shape))
    of_weights = np.zeros((tasks, padded // features, len(all_taps), features, LANES))
    sums = np.zeros((len(grad) * pieces, features_in_all), dtype)
    run = _gradients(features, maps.column_stride == 1)
    for i, start in enumerate(maps.starts):
        run(
            count * height * width * max(1, len(taps) * features_in_all // 2),
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
            channels,
            piece_rows,
            above,
            aside,
            pitch,
            source_plane,
            kept_plane,
            tables,
            weights,
            taps @ in_source,
            (2 * above - taps[:, 1]) * pitch + 2 * aside - taps[:, 2],
            np.searchsorted(taps[:, 0], np.arange(channels + 1)),
            all_taps @ in_source,
            d,
            of_tables,
            of_weights,
            of_pixels,
            sums,
        )
    by_class = of_tables.sum(axis=0, dtype=np.longdouble).transpose(3, 0, 2, 1, 4).reshape(2, len(tables), padded, -1)
    constant, slope = by_class[:, :, :features_in_all, :width]
    over_coordinates, of_bias = coordinate_gradient(constant, slope, (kernel_height, kernel_width), height)
    over_taps = (
        of_weights.sum(axis=(0, 4), dtype=np.longdouble)
        .swapaxes(1, 2)
        .reshape(padded, channels, kernel_height, kernel_width)
    )
    of_weight = np.concatenate([over_taps[:features_in_all], over_coordinates], axis=1)
    by_map = sums.reshape(len(grad), pieces, features_in_all).sum(axis=1, dtype=np.longdouble)
    return of_weight, of_bias, grad.T @ by_map, grad.sum(axis=0)
