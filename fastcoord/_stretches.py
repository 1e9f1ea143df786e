"""Two arrays of maps that a kernel visits together: how far one call may go."""

from collections.abc import Iterator
from itertools import pairwise


def stretches(count: int, other_count: int, total: int) -> Iterator[tuple[int, int]]:
    """Runs of maps that have one layout in both arrays; `_arrays.Maps.count` of these have one, of `total` maps."""
    bounds = sorted({*range(0, total, count), *range(0, total, other_count), total})
    return pairwise(bounds)
