"""The labels of an axis: the factors of a Gaussian, as `_gaussian_axis` has them, whose centre counts bins."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._gaussian_axis import HUGE, part
from fastcoord._vector import like, maximum, minimum

NORMS = {"peak": 0, "sum": 1, "density": 2}
PEAK, SUM, DENSITY = range(3)
_DENSITY = 0.3989422804014327  # 1/√(2π)


@inlined
def in_bins(position: Any, split_ratio: Any, is_rounded: Any) -> Any:
    """Where a position is that counts pixels; the nearest bin if it `is_rounded`, of two the even one."""
    scaled: Any = position * split_ratio
    if not is_rounded:
        return scaled
    near = minimum(maximum(scaled, like(scaled, -HUGE)), like(scaled, HUGE))
    if near != scaled:  # NaN, or further away than any bin
        return scaled
    whole: Any = np.int64(near)  # towards zero
    rest = near - like(near, whole)
    is_odd = whole & 1 != 0
    half = like(rest, 0.5)
    if rest > half or (rest == half and is_odd):
        whole = whole + 1
    elif rest < -half or (rest == -half and is_odd):
        whole = whole - 1
    return like(near, whole)


@inlined
def share(norm: Any, total: Any, by_sigma: Any) -> Any:
    """What to multiply factors by whose sum is `total`; `by_sigma` is 1/σ in bins."""
    if norm == SUM:
        return part(total)
    return by_sigma * like(by_sigma, _DENSITY) if norm == DENSITY else like(by_sigma, 1)
