"""Who visits which bin of the axes of points on a GPU: a warp the bins of x of a point, then those of y."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._decode_cuda import answered
from fastcoord._halves import loaded_type
from fastcoord._lanes import WARP, first_element, warp_merge
from fastcoord._largest import EMPTY, number_type
from fastcoord._largest_cuda import NOWHERE, merge_states, nothing, one_pixel
from fastcoord._launch import (
    described,
    flat_memory,
    launch,
    layouts,
    require_cuda,
    require_int32,
    require_like,
)
from fastcoord._placement_cuda import placed, placement
from fastcoord._refinement import BORDER
from fastcoord._simcc_options import maps_of_bins, pixels_of_bins, require_alike
from fastcoord._stretches import stretches
from fastcoord._vector import convert, like
from fastcoord.decode._simcc.formula import NO_STEP, answer, missing, step, weaker
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Decoded

THREADS = 256  # in a block

_merged = warp_merge(merge_states)


@inlined
def _visited(bins: Any, first: Any, layout: Any, lane: Any, unit: Any) -> Any:
    """The state of the bins that a lane visits."""
    state = nothing(unit)
    k = lane
    while k < layout.columns:
        state = merge_states(state, one_pixel(bins[np.uint64(first + k * layout.column_stride)], k, unit))
        k += WARP
    return state


@inlined
def _refined(kind: int, bins: Any, first: Any, layout: Any, position: Any, unit: Any) -> Any:
    """The step from the largest bin, and status bits."""
    if position == 0 or position == layout.columns - 1:
        return like(unit, 0), BORDER
    before = convert(bins[np.uint64(first + (position - 1) * layout.column_stride)], unit)
    middle = convert(bins[np.uint64(first + position * layout.column_stride)], unit)
    behind = convert(bins[np.uint64(first + (position + 1) * layout.column_stride)], unit)
    return step(kind, before, middle, behind)


@cuda.jit  # type: ignore[untyped-decorator]
def decode(
    x_bins: Any,
    x_layout: Any,
    first_in_x: int,
    y_bins: Any,
    y_layout: Any,
    first_in_y: int,
    first_point: int,
    points: int,
    unit: Any,
    kind: int,
    has_missing: bool,
    skips: bool,
    threshold: Any,
    split_ratio: Any,
    numbers: Any,
    each: Any,
    has_each: bool,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """The answers for all points; `kind` is one of the STEPS."""
    lane = cuda.threadIdx.x % WARP
    i: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    if i < points:  # the same for a warp
        x_at, y_at = first_element(first_in_x + i, x_layout), first_element(first_in_y + i, y_layout)
        x_state = _merged(_visited(x_bins, x_at, x_layout, lane, unit))
        y_state = _merged(_visited(y_bins, y_at, y_layout, lane, unit))
        if lane == 0:
            is_found = x_state[1] != NOWHERE and y_state[1] != NOWHERE
            is_spoilt = (x_state[3] | y_state[3]) != 0 and not skips
            column: Any = np.int64(x_state[1]) if is_found else np.int64(0)
            row: Any = np.int64(y_state[1]) if is_found else np.int64(0)
            weakest = weaker(convert(x_state[0], threshold), convert(y_state[0], threshold))
            nothing_more = like(threshold, 0)
            steps, bits = (nothing_more, nothing_more), 0
            if kind != NO_STEP and is_found and not is_spoilt and not weakest <= threshold:
                dx, x_bits = _refined(kind, x_bins, x_at, x_layout, column, threshold)
                dy, y_bits = _refined(kind, y_bins, y_at, y_layout, row, threshold)
                steps, bits = (dx, dy), x_bits | y_bits
            several = x_state[2] | y_state[2]
            x, y, weakest, flags = answer(
                (column, row), steps, weakest, is_found, several, is_spoilt, threshold, split_ratio
            )
            at = first_point + i
            x, y = placed(x, y, at, numbers, each, has_each)
            if has_missing and flags & EMPTY != 0:
                x, y = missing(split_ratio), missing(split_ratio)
            xy[np.uint64(2 * at)] = x
            xy[np.uint64(2 * at + 1)] = y
            score[np.uint64(at)] = weakest
            status[np.uint64(at)] = flags | bits


# On the host


def simcc(
    x_logits: Any,
    y_logits: Any,
    split_ratio: float,
    kind: int,
    compat: str | None,
    skips: bool,
    threshold: float,
    grid: Any,
    out: Any,
) -> Decoded:
    """`decode.simcc` of CUDA arrays, as `_decode_cuda.decoded` says; `threshold` is NaN where there is none."""
    require_cuda()
    seen_x = pixel_array("x_logits", described("x_logits", x_logits), halves=True)
    given_y = described("y_logits", y_logits)
    require_like("y_logits", y_logits, x_logits, given_y.shape, given_y.dtype)
    seen_y = pixel_array("y_logits", given_y, halves=True)
    x_axes, y_axes = maps_of_bins("x_logits", seen_x), maps_of_bins("y_logits", seen_y)
    require_alike(x_axes, y_axes, seen_x, seen_y)
    require_int32("x_logits", 1, x_axes.width)
    require_int32("y_logits", 1, y_axes.width)
    number: Any = np.float64 if seen_x.dtype == np.float64 else np.float32
    batch = x_axes.batch
    require_grid(grid)
    width, height = pixels_of_bins(x_axes.width, split_ratio), pixels_of_bins(y_axes.width, split_ratio)
    numbers = numbers_for(grid, np.dtype(number), height, width, batch)
    unit = number_type(loaded_type(seen_x.dtype))(1)
    with np.errstate(over="ignore"):  # beyond the type it is infinite
        limit = number(threshold)
    options = unit, kind, compat is not None, skips, limit, number(split_ratio)

    def launch_all(written: tuple[Any, Any, Any, Any]) -> None:
        xy, score, _covariance, status = written
        last = *options, *placement(numbers, x_logits, xy), xy, score, status
        _launch(x_axes, x_logits, y_axes, y_logits, last)

    return answered(x_logits, (seen_x, seen_y), batch, number, out, launch_all)


def _launch(x_axes: Maps, x_logits: Any, y_axes: Maps, y_logits: Any, last: tuple[Any, ...]) -> None:
    x_memory, y_memory = flat_memory("x_logits", x_axes.memory, x_logits), flat_memory("y", y_axes.memory, y_logits)
    x_layouts, y_layouts = layouts(x_axes, 0, WARP), layouts(y_axes, 0, WARP)
    for first, end in stretches(x_axes.count, y_axes.count, x_axes.count * len(x_axes.starts)):
        launch(
            decode,
            -(-(end - first) // (THREADS // WARP)),
            THREADS,
            x_logits,
            x_memory,
            x_layouts[first // x_axes.count],
            first % x_axes.count,
            y_memory,
            y_layouts[first // y_axes.count],
            first % y_axes.count,
            first,
            end - first,
            *last,
        )
