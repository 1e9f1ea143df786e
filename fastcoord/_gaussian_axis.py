"""An axis of a Gaussian: where it is not 0, and its factors. A map is an outer product of two.

A factor is e^(−d²/(2σ²)) at the distance d of a pixel from the centre. The centre is a whole number and a rest, so that
d is exact to a unit in its last place wherever the centre is. No factor is less than 2^−62 (2^−510 in float64): no
product of two is so small that processors become slow.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._compile import inlined
from fastcoord._exponential import exponential, rates
from fastcoord._reciprocal import reciprocal
from fastcoord._vector import is_finite, like, maximum, minimum, select

__all__ = [
    "HUGE",
    "LEAST_POWERS",
    "MODES",
    "SIGMAS",
    "axis_numbers",
    "distances",
    "factors",
    "moments",
    "part",
    "placed_point",
    "reaches",
]

MODES = {"exact": 0, "mmpose_msra": 1, "mmpose_udp": 2, "mmpose_unbiased": 3}
_EXACT, _MSRA, _UDP, _UNBIASED = range(4)
LEAST_POWERS = {np.dtype(np.float32): 62, np.dtype(np.float64): 510}
_TWO_LN_2 = 1.3862943611198906
SIGMAS = 1e-15, 1e15  # whose squares have a place in float32
HUGE = 1 << 30  # pixels from which on a centre is not split


def axis_numbers(sigmas: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Of each sigma (..., 2) the rate of its powers, for `_exponential`, and its reciprocal: flat, six a point."""
    numbers = np.stack([*rates(2 * sigmas**2, dtype), (1 / sigmas).astype(dtype)], axis=-1)
    return numbers.reshape(-1)


def reaches(sigmas: NDArray[Any], radius: float | None, dtype: Any, mode: int) -> NDArray[Any]:
    """How far from its centre each axis is not 0, flat, two a point; in mmpose's modes the radius of its windows."""
    found: NDArray[Any] = np.full_like(sigmas, np.inf) if radius is None else radius * sigmas
    if mode == _EXACT:
        found = np.minimum(found, sigmas * (_TWO_LN_2 * LEAST_POWERS[np.dtype(dtype)]) ** 0.5)
    return np.ascontiguousarray(found.reshape(-1))


@inlined
def _whole(position: Any) -> Any:
    """The integer towards zero, within ±HUGE."""
    return np.int64(minimum(maximum(position, like(position, -HUGE)), like(position, HUGE)))


@inlined
def _within(position: Any, reach: Any, extent: Any) -> Any:
    """The first of `extent` pixels that is at most `reach` from the position, and the first one after them."""
    low = minimum(maximum(position - reach, like(position, 0)), like(position, extent))
    high = minimum(maximum(position + reach, like(position, -1)), like(position, extent - 1))
    first: Any = np.int64(low)
    last: Any = np.int64(high)
    first += 1 if like(position, first) < low else 0
    last -= 1 if like(position, last) > high else 0
    return first, last + 1 if last >= first else first


@inlined
def _placed_axis(position: Any, reach: Any, mode: Any, extent: Any) -> Any:
    """The first pixel and the one after the last, the whole part and the rest of the centre, and if there is anything.

    The modes of mmpose (1.3, `codecs/utils/gaussian_heatmap.py`) leave all of an axis out that is out of reach; `reach`
    is then three sigmas, from the pixel nearest to the point. Where that is not a whole number, the window, and with it
    the centre of MSRA's, are its truncations.
    """
    whole = _whole(position)
    if mode == _EXACT:
        first, end = _within(position, reach, extent)
        has_pixels = end > first
    elif mode == _UNBIASED:
        first, end = _within(position, reach + reach + reach + reach, extent)
        beyond = position + reach + like(position, 1)
        has_pixels = position - reach < like(position, extent) and beyond >= like(position, 0)
    else:
        nearest = _whole(position + like(position, 0.5))
        left = _whole(like(position, nearest) - reach)
        right = _whole(like(position, nearest) + reach + like(position, 1))
        has_pixels = left < extent and right >= 0
        first = left if left > 0 else 0
        end = right if right < extent else extent
        end = end if end > first else first
        centre = left + _whole(reach + like(position, 0.5))
        rest = position - like(position, nearest) if mode == _UDP else like(position, 0)
        return first, end, like(position, centre), rest, has_pixels
    centred = like(position, whole) if whole > -HUGE and whole < HUGE else position
    return first, end, centred, position - centred, has_pixels


@inlined
def placed_point(x: Any, y: Any, columns: Any, rows: Any, reach_x: Any, reach_y: Any, mode: Any) -> Any:
    """Of both axes the first pixel, that after the last, and the centre; and if there is any pixel that is not 0.

    Where there is none, there is none on either axis.
    """
    is_here = is_finite(x) and is_finite(y)
    x, y = x if is_here else like(x, 0), y if is_here else like(y, 0)
    left, right, middle, past_middle, has_columns = _placed_axis(x, reach_x, mode, columns)
    top, bottom, centre, past_centre, has_rows = _placed_axis(y, reach_y, mode, rows)
    has_pixels = is_here and has_columns and has_rows
    right, bottom = right if has_pixels else left, bottom if has_pixels else top
    return left, right, middle, past_middle, top, bottom, centre, past_centre, has_pixels


@inlined
def distances(offsets: Any, k: Any, middle: Any, past_middle: Any) -> Any:
    """How far the pixels that are `offsets` after pixel `k` are from a centre, a whole number and a rest."""
    return offsets + like(offsets, like(middle, k) - middle) - like(offsets, past_middle)


@inlined
def factors(offsets: Any, k: Any, first: Any, end: Any, middle: Any, past_middle: Any, rate: Any) -> Any:
    """The factors e^(−distance²/(2σ²)) of these pixels of an axis, 0 but from pixel `first` to before `end`.

    `rate` is that of −distance² as `_exponential` has it.
    """
    distance = distances(offsets, k, middle, past_middle)
    is_inside = (offsets >= like(offsets, first - k)) & (offsets < like(offsets, end - k))
    return select(is_inside, exponential(-(distance * distance), rate), like(offsets, 0))


@inlined
def part(total: Any) -> Any:
    """What to multiply factors by whose sum is `total`, 0 if there are none."""
    return reciprocal(total) if total > like(total, 0) else total


@inlined
def moments(found: Any, distance: Any) -> Any:
    """The parts of the mean distance under factors whose sum is 1."""
    return select(found > like(found, 0), found * distance, like(found, 0))
