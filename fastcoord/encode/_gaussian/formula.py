"""A Gaussian is an outer product of two axes, as `_gaussian_axis` has them; here is what its maps need beside these."""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._vector import like, select

__all__ = ["joined", "slopes"]


@inlined
def slopes(found: Any, distance: Any, mean: Any, by_sigma: Any) -> Any:
    """The derivatives of factors by the position of their centre; `by_sigma` is 1/σ.

    `mean` is 0, or where the factors were divided by their sum, the mean distance under them.
    """
    scale = like(found, by_sigma)
    return select(found > like(found, 0), found * scale * scale * (distance - like(found, mean)), like(found, 0))


@inlined
def joined(a: Any, b: Any, is_sum: Any) -> Any:
    """The sum or the greater."""
    return a + b if is_sum else select(a > b, a, b)
