"""The post's network at a pixel: relu(W·a − column), relu(H·a − row), and the two sums.

A state is (sum of x responses, its rest, sum of y responses, its rest, largest pixel). The rests are what rounding
took from the sums, which so are as good as in twice the precision (Knuth, TAOCP 2, 4.2.2, theorem B): exact for bytes.
A census is (smallest hot pixel, number of hot pixels), which tells the status. "Hot" is greater than zero: no other
pixel passes the rectification. The number is only compared with 0 and 1, so a float that stops at 2²⁴ will do.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import fma, like, maximum, minimum, select, two_sum
from fastcoord.results import Status

STATE, CENSUS = 5, 2  # members
PLAIN = 16  # pixels absorbed before the sums are merged with what is kept of rounding
EXACT = 4096  # height and width up to which the sums of so many responses to bytes are exact in float32
INFINITY = np.inf
EMPTY, NAN, MULTIPLE, NOT_UNIT = (int(s) for s in (Status.EMPTY, Status.NAN, Status.MULTIPLE, Status.NOT_UNIT))


def number_type(dtype: Any, height: int, width: int) -> Any:
    """The type in which pixels of type `dtype` are absorbed: float32 where that is exact, or the pixels are float32."""
    if dtype.itemsize == 1:
        return np.float32 if max(height, width) <= EXACT else np.float64
    return np.float32 if dtype == np.float32 else np.float64


@inlined
def nothing(zero: Any) -> Any:
    """The state before any pixel."""
    return zero, zero, zero, zero, like(zero, -INFINITY)


@inlined
def nobody(zero: Any) -> Any:
    """The census before any pixel."""
    return like(zero, INFINITY), zero


@inlined
def response(value: Any, gain: Any, coordinate: Any) -> Any:
    """relu(conv(A, gain·δ) + conv(coordinate map, −δ)) at one pixel."""
    v = fma(value, gain, -coordinate)
    return select(v < like(v, 0), like(v, 0), v)  # in this order NaN stays, on both targets


@inlined
def absorb(state: Any, value: Any, column: Any, row: Any, width: Any, height: Any) -> Any:
    """The state after one more pixel."""
    sum_x, rest_x, sum_y, rest_y, largest = state
    return (
        sum_x + response(value, width, column),
        rest_x,
        sum_y + response(value, height, row),
        rest_y,
        maximum(value, largest),  # drops NaN: the sums have it
    )


@inlined
def absorb_zero(state: Any) -> Any:
    """The state after any number of pixels that are zero."""
    sum_x, rest_x, sum_y, rest_y, largest = state
    return sum_x, rest_x, sum_y, rest_y, maximum(like(largest, 0), largest)


@inlined
def count(census: Any, value: Any) -> Any:
    """The census after one more pixel."""
    smallest, hot = census
    is_hot = value > like(value, 0)
    return (
        minimum(select(is_hot, value, smallest), smallest),
        hot + select(is_hot, like(value, 1), like(value, 0)),
    )


@inlined
def is_settled(state: Any, census: Any) -> Any:
    """Where MULTIPLE and NOT_UNIT are both certain, whatever pixels follow."""
    one = like(census[1], 1)
    return (census[1] > one) & ((census[0] < one) | (state[4] > one))


@inlined
def matters(value: Any) -> Any:
    """Where a pixel passes the rectification, or is NaN."""
    return (value > like(value, 0)) | (value != value)


@inlined
def merge(a: Any, b: Any) -> Any:
    """The state after the pixels of both."""
    sum_x, lost_x = two_sum(a[0], b[0])
    sum_y, lost_y = two_sum(a[2], b[2])
    return sum_x, (a[1] + b[1]) + lost_x, sum_y, (a[3] + b[3]) + lost_y, maximum(a[4], b[4])


@inlined
def merge_census(a: Any, b: Any) -> Any:
    """The census of the pixels of both."""
    return minimum(a[0], b[0]), a[1] + b[1]


@inlined
def _readout(limit: Any, total: Any, rest: Any) -> Any:
    known = select(rest == rest, rest, like(rest, 0))  # an infinite sum has no rest
    return (limit - total) - known


@inlined
def finish(state: Any, census: Any, width: Any, height: Any) -> Any:
    """W − Σ, which is x, and H − Σ, which is y; the largest pixel; the status bits."""
    sum_x, rest_x, sum_y, rest_y, largest = state
    smallest, hot = census
    one = like(hot, 1)
    x = _readout(width, sum_x, rest_x)
    y = _readout(height, sum_y, rest_y)
    if x != x:
        return x, y, x, NAN
    status = 0
    if hot < one:
        status |= EMPTY
    else:
        if hot > one:
            status |= MULTIPLE
        if largest != one or smallest != one:
            status |= NOT_UNIT
    return x, y, largest, status
