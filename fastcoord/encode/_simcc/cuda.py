"""Who visits which bin of the labels of points that are written on a GPU: a warp those of an axis of a point."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import as_format, maps, point_array
from fastcoord._draw_cuda import THREADS, position_of_point
from fastcoord._gaussian_axis import factors, is_finite, placed_axis
from fastcoord._lanes import WARP, first_element, warp_merge, warp_share
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
)
from fastcoord._placement_cuda import placement
from fastcoord._recorded import recall
from fastcoord._simcc_options import maps_of_bins, members_of
from fastcoord._stretches import stretches
from fastcoord._vector import convert
from fastcoord.encode._simcc.formula import SUM, added, in_bins, share
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import SimCC

_sum = warp_merge(added)


@cuda.jit  # type: ignore[untyped-decorator]
def encode(
    labels: Any,
    layout: Any,
    points: Any,
    points_layout: Any,
    weight: Any,
    first_point: int,
    first_in_layout: int,
    first_in_points_layout: int,
    count: int,
    columns: int,
    rows: int,
    is_down: bool,
    has_weight: bool,
    point_unit: Any,
    position: Any,
    numbers: Any,
    each: Any,
    has_each: bool,
    sizes: Any,
    reaches: Any,
    mode: int,
    split_ratio: Any,
    is_rounded: bool,
    norm: int,
) -> None:
    """The labels of one axis of all points."""
    lane = cuda.threadIdx.x % WARP
    i: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    if i < count:  # the same for a warp
        point = first_in_points_layout + i
        x, y = position_of_point(point, points, points_layout, point_unit, first_point + i, numbers, each, has_each)
        x = in_bins(convert(x, position), split_ratio, is_rounded)
        y = in_bins(convert(y, position), split_ratio, is_rounded)
        is_here = is_finite(x) and is_finite(y)
        x, y = x if is_here else position, y if is_here else position
        left, right, middle, past_middle, has_columns = placed_axis(x, convert(reaches[0], x), mode, columns)
        top, bottom, centre, past_centre, has_rows = placed_axis(y, convert(reaches[1], y), mode, rows)
        is_here = is_here and has_columns and has_rows
        rate, by_sigma = (sizes[0], sizes[1]), sizes[2]
        if is_down:
            left, right, middle, past_middle = top, bottom, centre, past_centre
            rate, by_sigma = (sizes[3], sizes[4]), sizes[5]
        elif has_weight and lane == 0:
            weight[np.uint64(first_point + i)] = 1 if is_here else 0
        right = right if is_here else left
        nil = by_sigma - by_sigma
        total = nil
        if norm == SUM:
            k = left + lane
            while k < right:
                total += factors(nil, k, left, right, middle, past_middle, rate)
                k += WARP
            total = warp_share(_sum((total,)))[0]
        height = share(norm, total, by_sigma)
        first = first_element(first_in_layout + i, layout)
        k = lane
        while k < layout.columns:
            found = factors(nil, k, left, right, middle, past_middle, rate) * height
            labels[np.uint64(first + k * layout.column_stride)] = found
            k += WARP


def simcc(
    xy: Any,
    shape: tuple[int, int],
    bins: tuple[int, int],
    sizes: tuple[Any, Any],
    mode: int,
    split_ratio: float,
    is_rounded: bool,
    norm: int,
    dtype: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
) -> SimCC:
    """`encode.simcc` of CUDA arrays, as `_draw_cuda.drawn` says; with one sigma for each axis.

    `sizes` are six numbers and two reaches, as `_gaussian_axis` has them.
    """
    options = *sizes, mode, np.float64(split_ratio), is_rounded, norm

    def call() -> SimCC:
        return _labels(xy, shape, bins, options, dtype, grid, return_weight, out)

    key = "encode.simcc", repr((shape, bins, options)), dtype, return_weight
    made: SimCC = recall(key, grid, xy, out, call)
    return made


def _labels(
    xy: Any, shape: Any, bins: Any, options: tuple[Any, ...], dtype: Any, grid: Any, return_weight: bool, out: Any
) -> SimCC:
    require_cuda()
    seen = as_format(described("xy", xy))
    if seen.ndim < 1 or seen.shape[-1] != 2:
        raise ValueError(f"xy: expected shape (..., 2), the last axis (x, y); got {seen.shape}")
    point_array("xy", np.empty((0, 2), seen.dtype))  # refuses a type
    require_int32("shape", 1, max(bins))
    batch = seen.shape[:-1]
    require_grid(grid)
    unit: Any = np.dtype(np.float32 if seen.dtype == np.float32 else np.float64)
    back = numbers_for(grid, unit, shape[0], shape[1], batch, back=True)
    given = members_of(out, return_weight)
    x_labels, seen_x = made_or_given("out.x", given[0], xy, (*batch, bins[0]), dtype, seen)
    y_labels, seen_y = made_or_given("out.y", given[1], xy, (*batch, bins[1]), dtype, seen, seen_x)
    weight, seen_weight = None, None
    if return_weight:
        weight, seen_weight = made_or_given("out.weight", given[2], xy, batch, np.float32, seen, seen_x, seen_y)
    with device_of(xy):
        if seen.size:
            points = maps("xy", seen[..., np.newaxis, :], (-2, -1))
            points_memory = flat_memory("xy", points.memory, xy)
            point_layouts = layouts(points, 0, WARP)
            weights = points_memory if seen_weight is None else flat_memory("out.weight", seen_weight, weight)
            last = unit.type(1), np.float64(0), *placement(back, xy, weights), *options
            for is_down, (name, labels, seen_labels) in enumerate(
                (("out.x", x_labels, seen_x), ("out.y", y_labels, seen_y))
            ):
                written = maps_of_bins(name, seen_labels, for_writing=True)
                memory, label_layouts = flat_memory(name, written.memory, labels), layouts(written, 0, WARP)
                for first, end in stretches(written.count, points.count, written.count * len(written.starts)):
                    launch(
                        encode,
                        -(-(end - first) // (THREADS // WARP)),
                        THREADS,
                        xy,
                        memory,
                        label_layouts[first // written.count],
                        points_memory,
                        point_layouts[first // points.count],
                        weights,
                        first,
                        first % written.count,
                        first % points.count,
                        end - first,
                        *bins,
                        is_down == 1,
                        return_weight,
                        *last,
                    )
    return SimCC(x_labels, y_labels, weight) if out is None else out
