"""A pixel of a one-hot image: two layers of sums and rectifications, over integers."""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._points import NOWHERE, nearest
from fastcoord._vector import like, maximum

__all__ = ["NOWHERE", "nearest", "response"]


@inlined
def response(column: Any, row: Any, x: Any, y: Any) -> Any:
    """relu(1 − Σ relu(±(column − x)) − Σ relu(±(row − y))): 1 at (x, y), 0 at every other pixel."""
    zero = like(column, 0)
    aside = maximum(column - x, zero) + maximum(x - column, zero)
    above = maximum(row - y, zero) + maximum(y - row, zero)
    return maximum(like(column, 1) - aside - above, zero)
