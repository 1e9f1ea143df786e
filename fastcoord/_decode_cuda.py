"""One answer for each map, on a GPU: the door that the decoders share, with every check before any work."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, decoded_members, maps, pixel_array
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    made_or_given,
    require_cuda,
    require_int32,
)
from fastcoord._placement_cuda import placed, placement
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Decoded

__all__ = ["decoded", "placed"]


def decoded(
    name: str,
    array: Any,
    axes: Any,
    grid: Any,
    out: Any,
    launch_all: Callable[[Maps, Any, tuple[Any, Any, bool], tuple[Any, Any, Any, Any]], None],
    covariance: bool = False,
) -> Decoded:
    """What a decoder returns, by ``launch_all(maps, array, placement, (xy, score, covariance, status))``.

    This launches the kernels. `placement` is for `placed`: three arguments of a kernel. The covariance is None unless
    it is asked for.

    `array`, of PyTorch, CuPy or Numba, or what has `__cuda_array_interface__`, is the argument `name`. The result is an
    array of the same library; of Numba where that is none of the three. The kernels run on the current stream of
    PyTorch or CuPy, on the default stream of others, and the host does not wait for them. Nothing is copied: elements
    that are not whole elements apart are refused, as are maps of 2³¹ pixels and more. The arrays of `out` are
    contiguous.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As for NumPy arrays; also for tensors that require grad and for arrays on two devices.
    """
    require_cuda()
    seen = pixel_array(name, described(name, array))
    read = maps(name, seen, axes)
    require_int32(name, read.height, read.width)
    dtype: Any = np.dtype(np.float64 if seen.dtype == np.float64 else np.float32)
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, read.batch)
    given = (None, None, None, None) if out is None else decoded_members(out, covariance)
    xy, seen_xy = made_or_given("out.xy", given[0], array, (*read.batch, 2), dtype, seen)
    score, seen_score = made_or_given("out.score", given[1], array, read.batch, dtype, seen, seen_xy)
    status, seen_status = made_or_given("out.status", given[3], array, read.batch, np.int32, seen, seen_xy, seen_score)
    spread, seen_spread = None, None
    if covariance:
        others = seen, seen_xy, seen_score, seen_status
        spread, seen_spread = made_or_given("out.covariance", given[2], array, (*read.batch, 2, 2), dtype, *others)
    with device_of(array):
        written = (
            flat_memory("out.xy", seen_xy, xy),
            flat_memory("out.score", seen_score, score),
            None if seen_spread is None else flat_memory("out.covariance", seen_spread, spread),
            flat_memory("out.status", seen_status, status),
        )
        if seen.size:
            launch_all(read, array, placement(numbers, array, written[0]), written)
    return Decoded(xy, score, spread, status) if out is None else out
