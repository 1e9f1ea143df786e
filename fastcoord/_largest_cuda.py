"""The states of `_largest` as the lanes of a GPU have them, whose positions are int32."""

from typing import Any

import numpy as np

from fastcoord import _largest
from fastcoord._compile import inlined
from fastcoord._vector import convert, like

NOWHERE = np.int32(_largest.NOWHERE)
MEMBERS = 4  # of a state


@inlined
def merge_states(a: Any, b: Any) -> Any:
    return _largest.merge(a, b, NOWHERE)


@inlined
def nothing(unit: Any) -> Any:
    """The state before any pixel."""
    return like(unit, 0), NOWHERE, np.int32(0), np.int32(0)


@inlined
def one_pixel(value: Any, position: Any, unit: Any) -> Any:
    """The state of one pixel."""
    return _largest.pixel(convert(value, unit), np.int32(position), NOWHERE)
