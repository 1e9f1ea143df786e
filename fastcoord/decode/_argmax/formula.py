"""The states of pixels, as `_largest` has them, and the answer of a map."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import like, select
from fastcoord.results import Status

NO_NUMBER = np.nan
EMPTY, NAN, TIE = (int(s) for s in (Status.EMPTY, Status.NAN, Status.TIE))


@inlined
def pixel(value: Any, position: Any, nowhere: Any) -> Any:
    """The state of one pixel."""
    is_nan = value != value
    return (
        value,
        select(is_nan, nowhere, position),
        like(position, 0),
        select(is_nan, like(position, 1), like(position, 0)),
    )


@inlined
def several_pixels(largest: Any, position: Any, has_nan: Any, nowhere: Any) -> Any:
    """The state of pixels side by side, the first at `position`; their `largest` is NaN if all are.

    Whether the largest occurs several times among them, and which of them it is, is left to be found out.
    """
    return largest, select(largest != largest, nowhere, position), like(position, 0), has_nan


@inlined
def finish(score: Any, x: Any, y: Any, is_found: Any, several: Any, is_spoilt: Any, threshold: Any) -> Any:
    """x, y, score and status bits; of type of `score`, as is `threshold`: NaN where there is none.

    `is_found`: there is a pixel; `is_spoilt`: there is a NaN, and it counts.
    """
    nothing = like(score, NO_NUMBER)
    if is_spoilt:
        return nothing, nothing, nothing, NAN
    if not is_found:
        return nothing, nothing, nothing, EMPTY
    status = TIE if several != 0 else 0
    if score <= threshold:
        return nothing, nothing, score, status | EMPTY
    return x, y, score, status
