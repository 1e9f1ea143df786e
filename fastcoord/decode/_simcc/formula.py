"""From the largest bin of an axis to between the bins: the maximum of what runs through it and its two neighbours.

Both are estimators of three points (Willert and Gharib, Digital particle image velocimetry, 1991): a parabola for
logits, which are logarithms of probabilities but for a constant, and a Gaussian for labels and probabilities.
"""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._largest import finish
from fastcoord._refinement import FLAT, FLOOR, is_usable
from fastcoord._vector import convert, is_finite, like, log, maximum, select


@inlined
def weaker(x_score: Any, y_score: Any) -> Any:
    """The smaller of the maxima of both axes."""
    return select(y_score < x_score, y_score, x_score)


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
    if not (is_usable(at) and is_finite(before) and is_finite(behind)):
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
def _in_pixels(position: Any, split_ratio: Any) -> Any:
    """A position that counts bins, in pixels."""
    return position / split_ratio


@inlined
def answer(
    bins: Any, steps: Any, score: Any, is_found: Any, several: Any, is_spoilt: Any, threshold: Any, split_ratio: Any
) -> Any:
    """x, y, score and status bits, as `_largest.finish` has them: from the largest bins of x and y and steps there."""
    x = convert(convert(bins[0], steps[0]) + steps[0], threshold)
    y = convert(convert(bins[1], steps[1]) + steps[1], threshold)
    x, y = _in_pixels(x, split_ratio), _in_pixels(y, split_ratio)
    return finish(score, x, y, is_found, several, is_spoilt, threshold)


@inlined
def missing(split_ratio: Any) -> Any:
    """Where mmpose (1.3, `get_simcc_maximum`) puts what is not found, in pixels: at bin −1."""
    return _in_pixels(like(split_ratio, -1), split_ratio)
