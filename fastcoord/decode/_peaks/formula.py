"""Which pixels are peaks, and in which order.

A pixel is compared with the greatest of those round it, NaN aside. It is a peak by itself if it is greater, none if it
is less; if it is equal, or nothing stands beside it, its plateau is looked at pixel by pixel. All comparisons are in
the pixels' own type, so no two integers are taken for equal.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._reciprocal import reciprocal
from fastcoord._vector import convert, maximum
from fastcoord.results import Status

EMPTY, NAN, PLATEAU, TRUNCATED = (int(s) for s in (Status.EMPTY, Status.NAN, Status.PLATEAU, Status.TRUNCATED))
NO_NUMBER = np.nan
HIGHER, LOWER, SUPPRESSED = 1, 2, 4  # what stands round a pixel or a plateau: bits


def limit_of(threshold: float, dtype: np.dtype[Any], number: np.dtype[Any]) -> Any:
    """What a pixel must be greater than, in its own type; `number` is that of the scores, in which it is compared.

    A pixel that is the least of its type is never a peak, so there always is such a value.
    """
    with np.errstate(over="ignore"):  # beyond the type it is infinite
        least = number.type(threshold)
    if dtype.kind == "f":
        return dtype.type(least)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if not number.type(high) > least:
        return dtype.type(high)
    while high - low > 1:  # `high` is above the threshold; `low` is not, or the least
        middle = (low + high) // 2
        low, high = (low, middle) if number.type(middle) > least else (middle, high)
    return dtype.type(low)


@inlined
def higher(around: Any, value: Any) -> Any:
    """The greater of a value and what was seen round a pixel, which is not NaN."""
    return maximum(value, around)


@inlined
def may_be_peak(value: Any, around: Any, limit: Any) -> Any:
    """Where pixels may be peaks, or of a plateau that is, by the greatest of those beside each."""
    return (value > limit) & (value >= around)


@inlined
def stands_out(value: Any, around: Any, lowest: Any) -> Any:
    """Where pixels are peaks by themselves if the radius is 1; nothing is seen round one where that is `lowest`."""
    return (value > around) & (around > lowest)


@inlined
def beside(value: Any, other: Any) -> Any:
    """What another pixel within the radius tells of this one, as bits."""
    return HIGHER if other > value else (LOWER if other < value else 0)


@inlined
def is_peak(seen: Any, is_alone: Any, is_strict: Any) -> Any:
    """Whether it is a peak, by what was seen round it and whether it is one pixel with no equal beside it.

    As sleap-nn has it (`is_strict`) it has to be alone, and need not have a lower one beside it.
    """
    if is_strict:
        return is_alone and seen & HIGHER == 0
    return seen & (HIGHER | LOWER | SUPPRESSED) == LOWER


@inlined
def is_stronger(value: Any, position: Any, other: Any, other_position: Any) -> Any:
    """Whether a peak comes before another one."""
    return value > other or (value == other and position < other_position)


@inlined
def centroid(total: Any, count: Any, unit: Any) -> Any:
    """The mean of `count` integers whose sum is `total`: the whole pixels apart, so that little is rounded."""
    whole = total // count
    return convert(whole, unit) + convert(total - whole * count, unit) * reciprocal(convert(count, unit))


def compared_type(dtype: Any) -> Any:
    """The type in which a GPU compares pixels of type `dtype`: one that it has and that holds all of them."""
    wide = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))
    return dtype.type if dtype in wide else np.int32


@inlined
def stronger(a: Any, b: Any, nowhere: Any) -> Any:
    """The stronger of two candidates (value, position, …); `nowhere` is the position of none."""
    takes = b[1] != nowhere and (a[1] == nowhere or is_stronger(b[0], b[1], a[0], a[1]))
    return b if takes else a
