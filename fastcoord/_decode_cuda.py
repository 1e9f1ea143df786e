"""One answer for each map, on a GPU: the door that the decoders share, with every check before any work."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from fastcoord import _placement
from fastcoord._arrays import Maps, decoded_members, maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    made_or_given,
    require_cuda,
    require_int32,
    stream_of,
)
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Decoded


@inlined
def placed(x: Any, y: Any, at: Any, numbers: Any, each: Any, has_each: Any) -> Any:
    """Both coordinates of map number `at`, in pixels, in the decoder's grid; the last three are its placement."""
    if has_each:
        numbers = _placement.numbers_at(each, np.int64(at) * _placement.NUMBERS)
    return _placement.placed(x, y, numbers)


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


def placement(numbers: Any, array: Any, any_memory: Any) -> tuple[Any, Any, bool]:
    """What kernels take for `numbers`: those of all maps, those of each map on the device, whether there are these.

    `any_memory` stands for those of each map if there are none; it has the type of `numbers`.
    """
    for_all = tuple(numbers[: _placement.NUMBERS])
    if numbers.size == _placement.NUMBERS:
        return for_all, any_memory, False
    return for_all, cuda.to_device(numbers, stream=stream_of(array)), True
