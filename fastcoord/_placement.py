"""Where a grid puts a position: what the kernels of both targets do with the numbers of `grid.Grid`.

A position p on an axis is at (gain · p + shift) / divisor. Two numbers would do, but 2/(W − 1) is rounded, and a grid
that ends at 1 would then end beside it; integers that are divided once end where they should. The reciprocal of the
divisor is the fourth: to divide, a GPU would call a routine.
"""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._vector import convert, fma, like, select

NUMBERS = 8  # of a map: gain, shift, divisor and its reciprocal of x, then those of y


@inlined
def _placed(position: Any, gain: Any, shift: Any, divisor: Any, reciprocal: Any) -> Any:
    numerator = fma(position, convert(gain, position), convert(shift, position))
    quotient = numerator * convert(reciprocal, position)
    # What is left mends the rounding (P. Markstein, IBM J. Res. Dev. 34, 1990); of an infinity or NaN nothing is
    rest = fma(-quotient, convert(divisor, position), numerator)
    has_rest = (rest > like(rest, 0)) | (rest < like(rest, 0))
    return select(has_rest, fma(rest, convert(reciprocal, position), quotient), quotient)


@inlined
def placed(x: Any, y: Any, numbers: Any) -> Any:
    """Both coordinates, which count pixels, in the grid of these numbers, of which there are NUMBERS.

    The grid of pixels leaves every bit as it is: x · 1 + (−0.0) is x, of −0.0 and NaN too.
    """
    a, b, c, d, e, f, g, h = numbers
    return _placed(x, a, b, c, d), _placed(y, e, f, g, h)


@inlined
def pixels_a_unit(numbers: Any) -> Any:
    """How x and y in pixels grow with those of a grid, by the numbers of its way to pixels: gain / divisor."""
    a, _b, _c, d, e, _f, _g, h = numbers
    return a * d, e * h  # by the reciprocal


@inlined
def numbers_at(place: Any, first: Any) -> Any:
    """The numbers that begin at element `first`."""
    return (
        *(place[first], place[first + 1], place[first + 2], place[first + 3]),
        *(place[first + 4], place[first + 5], place[first + 6], place[first + 7]),
    )


@inlined
def numbers_step(numbers: Any) -> Any:
    """How far the numbers of a map are from those of the map before: 0 if all maps have the same."""
    return 0 if numbers.size == NUMBERS else NUMBERS
