"""The gradients of encoders with respect to their points, on a GPU: the door that they share, and what kernels need."""

from typing import Any

import numpy as np

from fastcoord import _placement
from fastcoord._arrays import maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._draw_cuda import THREADS, described_points
from fastcoord._lanes import WARP
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
    require_like,
)
from fastcoord._placement import NUMBERS, numbers_at
from fastcoord._placement_cuda import placement
from fastcoord._stretches import stretches
from fastcoord.grid import numbers_for, require_grid

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


@inlined
def pixels_a_unit(at: Any, numbers: Any, each: Any, has_each: Any) -> Any:
    """How many pixels a unit of the grid is, along x and y, for map number `at`; the last three are a placement."""
    if has_each:
        return _placement.pixels_a_unit(numbers_at(each, np.int64(at) * NUMBERS))
    return _placement.pixels_a_unit(numbers)


def pulled_back(
    kernel: Any, grad_maps: Any, xy: Any, axes: Any, grid: Any, out: Any, *numbers: Any, joins: str | None = None
) -> Any:
    """What the gradient of an encoder returns, by a kernel with a warp for each point, which writes two numbers.

    The last arguments of the kernel are the placement of the grid's way back, and `numbers`. If it `joins` them, all
    points of the last batch axis have one map. Arrays and results are as `_draw_cuda.drawn` says; `out` is contiguous.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As the gradients say; also for tensors that require grad and for arrays on two devices.
    """
    require_cuda()
    seen, position = described_points(xy, joins)
    given = described("grad_maps", grad_maps)
    require_like("grad_maps", grad_maps, xy, given.shape, given.dtype)
    seen_maps = pixel_array("grad_maps", given)
    if seen_maps.dtype not in (_SINGLE, _DOUBLE):
        raise TypeError(f"grad_maps: expected float32 or float64; got {seen_maps.dtype.name}")
    read = maps("grad_maps", seen_maps, axes)
    require_int32("grad_maps", read.height, read.width)
    of_maps, in_map = (seen.shape[:-2], seen.shape[-2]) if joins else (seen.shape[:-1], 1)
    if read.batch != of_maps:
        raise ValueError(f"grad_maps: expected maps of batch shape {of_maps}; got {read.batch}")
    require_grid(grid)
    back = numbers_for(grid, position, read.height, read.width, of_maps, back=True)
    dtype = _DOUBLE if seen.dtype == _DOUBLE or seen.dtype.kind in "iu" else _SINGLE
    gradient, seen_gradient = made_or_given("out", out, xy, seen.shape, dtype, seen, seen_maps)
    with device_of(xy):
        written = flat_memory("out", seen_gradient, gradient)
        if seen.size:
            points = maps("xy", seen[..., np.newaxis, :], (-2, -1))
            memory = flat_memory("grad_maps", read.memory, grad_maps)
            points_memory = flat_memory("xy", points.memory, xy)
            map_layouts, point_layouts = layouts(read, 0, WARP), layouts(points, 0, WARP)
            last = *placement(back, xy, written), *numbers
            of_points = points.count // in_map  # maps whose points have one layout
            for first, end in stretches(read.count, of_points, read.count * len(read.starts)):
                launch(
                    kernel,
                    -(-(end - first) * in_map // (THREADS // WARP)),
                    THREADS,
                    xy,
                    memory,
                    map_layouts[first // read.count],
                    points_memory,
                    point_layouts[first // of_points],
                    written,
                    first,
                    first % read.count,
                    first % of_points * in_map,
                    in_map,
                    (end - first) * in_map,
                    position.type(1),
                    read.memory.dtype.type(1),
                    *last,
                )
    return gradient if out is None else out
