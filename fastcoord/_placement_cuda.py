"""Grids on a GPU: how their numbers reach a kernel.

A kernel takes a *placement*, three arguments: the numbers of `_placement` for all maps, those of each map, and whether
there are these. So the usual grid, which is the same for all maps, costs no copy to the device.
"""

from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord import _placement
from fastcoord._compile import inlined
from fastcoord._launch import stream_of


@inlined
def placed(x: Any, y: Any, at: Any, numbers: Any, each: Any, has_each: Any) -> Any:
    """Both coordinates of map number `at` as `_placement.placed` has them; the last three are the placement."""
    if has_each:
        return _placement.placed(x, y, _placement.numbers_at(each, np.int64(at) * _placement.NUMBERS))
    return _placement.placed(x, y, numbers)


def placement(numbers: NDArray[Any], array: Any, any_memory: Any) -> tuple[Any, Any, bool]:
    """The placement for the `numbers` of a grid, on the device and the stream of `array`.

    `any_memory` stands for the numbers of each map where there are none.
    """
    for_all = tuple(numbers[: _placement.NUMBERS])
    if numbers.size == _placement.NUMBERS:
        return for_all, any_memory, False
    return for_all, cuda.to_device(numbers, stream=cuda.external_stream(stream_of(array))), True
