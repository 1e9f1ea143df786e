"""The state, as `_largest` has it, of pixels that are read together."""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._vector import like, select


@inlined
def several_pixels(largest: Any, position: Any, has_nan: Any, nowhere: Any) -> Any:
    """The state of pixels side by side, the first at `position`; their `largest` is NaN if all are.

    Whether the largest occurs several times among them, and which of them it is, is left to be found out.
    """
    return largest, select(largest != largest, nowhere, position), like(position, 0), has_nan
