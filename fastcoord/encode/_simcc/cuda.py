"""Who visits which bin of the labels of points that are written on a GPU: a warp those of an axis of a point."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import maps
from fastcoord._draw_cuda import THREADS, described_points, position_of_point
from fastcoord._gaussian_axis import factors
from fastcoord._gaussian_cuda import axes_of_point, axis_sums, size_of_point, sizes_on_device
from fastcoord._lanes import WARP, first_element
from fastcoord._launch import (
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
from fastcoord.encode._simcc.formula import SUM, in_bins, share
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import SimCC


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
    each_sizes: Any,
    has_sizes: bool,
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
        size = size_of_point(first_point + i, sizes, each_sizes, has_sizes)
        axis, down_axis, is_here = axes_of_point(x, y, columns, rows, size, mode)
        by_sigma = size[2]
        if is_down:
            axis, by_sigma = down_axis, size[6]
        elif has_weight and lane == 0:
            weight[np.uint64(first_point + i)] = 1 if is_here else 0
        nil = by_sigma - by_sigma
        total = nil
        if norm == SUM:
            total = axis_sums(axis, lane, nil)[0]
        left, right, middle, past_middle, rate = axis
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
    sigmas: Any,
    within: float | None,
    working: Any,
    mode: int,
    split_ratio: float,
    is_rounded: bool,
    norm: int,
    dtype: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
) -> SimCC:
    """`encode.simcc` of CUDA arrays, as `_draw_cuda.drawn` says; the options are those of the CPU's kernel."""

    def call() -> SimCC:
        sizes = sizes_on_device(xy, sigmas, within, working, mode)
        options = *sizes, mode, np.float64(split_ratio), is_rounded, norm
        return _labels(xy, shape, bins, options, dtype, grid, return_weight, out)

    key = None
    if np.ndim(sigmas) <= 1:  # else its numbers are copied to the device
        options = shape, bins, sigmas, within, mode, split_ratio, is_rounded, norm
        key = "encode.simcc", repr(options), dtype, return_weight
    made: SimCC = recall(key, grid, xy, out, call)
    return made


def _labels(
    xy: Any, shape: Any, bins: Any, options: tuple[Any, ...], dtype: Any, grid: Any, return_weight: bool, out: Any
) -> SimCC:
    require_cuda()
    seen, unit = described_points(xy)
    require_int32("shape", 1, max(bins))
    batch = seen.shape[:-1]
    require_grid(grid)
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
