"""From the largest bin of an axis to between the bins: the maximum of what runs through it and its two neighbours.

Both are estimators of three points (Willert and Gharib, Digital particle image velocimetry, 1991): a parabola for
logits, which are logarithms of probabilities but for a constant, and a Gaussian for labels and probabilities.
"""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._vector import like, log, maximum, select
from fastcoord.results import Status

BORDER, FLAT = int(Status.BORDER), int(Status.FLAT)
LEAST = 2.0**-100  # a maximum that is less counts as 0
FLOOR = 1e-10  # of a neighbour, in units of the maximum


@inlined
def weaker(x_score: Any, y_score: Any) -> Any:
    """The smaller of the maxima of both axes."""
    return select(y_score < x_score, y_score, x_score)


@inlined
def is_finite(number: Any) -> Any:
    """Neither NaN nor infinite."""
    return number - number == like(number, 0)


@inlined
def parabola(before: Any, at: Any, behind: Any) -> Any:
    """How far the maximum of the parabola through three bins is from the second, at most ½, and status bits.

    The second is not less than the others.
    """
    nothing = like(at, 0)
    curvature = (before - at) + (behind - at)
    if not (curvature < nothing and is_finite(curvature)):
        return nothing, FLAT
    return like(at, 0.5) * ((before - behind) / curvature), 0


@inlined
def gaussian(before: Any, at: Any, behind: Any) -> Any:
    """As `parabola`, of a Gaussian: of the logarithms."""
    if not (at > like(at, LEAST) and is_finite(at) and is_finite(before) and is_finite(behind)):
        return like(at, 0), FLAT
    low = log(maximum(before / at, like(at, FLOOR)))
    high = log(maximum(behind / at, like(at, FLOOR)))
    return parabola(low, like(at, 0), high)


STEPS = {None: 0, "quadratic": 1, "gaussian": 2}
NO_STEP, _PARABOLA, _GAUSSIAN = range(3)


@inlined
def step(kind: Any, before: Any, at: Any, behind: Any) -> Any:
    """The step of this kind: one of STEPS."""
    return gaussian(before, at, behind) if kind == _GAUSSIAN else parabola(before, at, behind)


@inlined
def in_pixels(position: Any, split_ratio: Any) -> Any:
    """A position that counts bins, in pixels."""
    return position / split_ratio


@inlined
def missing(split_ratio: Any) -> Any:
    """Where mmpose (1.3, `get_simcc_maximum`) puts what is not found, in pixels: at bin −1."""
    return in_pixels(like(split_ratio, -1), split_ratio)
