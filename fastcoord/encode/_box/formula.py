"""Where a square is: which pixels of an axis it covers, over integers.

The network of `reference.py` is 1 where ``relu(±(X − x) − r)`` and ``relu(±(Y − y) − r)`` are all 0: where X is one of
x − r … x + r and Y one of y − r … y + r. So two axes by themselves say where the square is, and no distance is computed
for a pixel that lies in neither.
"""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._points import NOWHERE, nearest

__all__ = ["NOWHERE", "nearest", "span", "within"]


@inlined
def span(centre: Any, radius: Any, extent: Any) -> Any:
    """The first of the pixels centre − radius … centre + radius among `extent`, and the first one after them."""
    first = centre - radius
    end = centre + radius + 1
    return first if first > 0 else 0, end if end < extent else extent


@inlined
def within(index: Any, first: Any, end: Any) -> Any:
    """Whether `index` is one of first … end − 1, in each lane of a vector."""
    return (index >= first) & (index < end)
