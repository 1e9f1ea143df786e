"""From the largest pixel to the maximum between the pixels.

All methods but "quarter" take the first and second derivatives of a smooth surface at the largest pixel, and step to
the maximum of the quadratic that has them: of logarithms, since that of a Gaussian is a quadratic. The sums over the
window are the walkers'; here is what the sums mean. Values are in units of the largest pixel, so that none overflows.

*dark* blurs the window and takes differences of the logarithms (Zhang et al., Distribution-Aware Coordinate
Representation, CVPR 2020); *dark_udp* takes closer ones (Huang et al., The Devil is in the Details, CVPR 2020). Neither
needs a blurred copy of the map, nor the factor by which mmpose rescales one: it cancels in the differences.

*gaussian* needs no logarithm: where the window is weighted by a Gaussian of width σ, the derivatives of the logarithm
of its sum are those of the mean μ and the covariance C of the weighted pixels, and the step is (1 − C/σ²)⁻¹ μ. Without
noise that is exact for a Gaussian of any width; with noise, 1.004 times the Cramér–Rao bound at σ = 1 where differences
of logarithms reached 1.012, and those of DARK 1.56.
"""

from typing import Any, NamedTuple

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import like, maximum, minimum, select
from fastcoord.results import Status

METHODS = ("quarter", "quadratic", "dark", "dark_udp", "gaussian")
COMPATIBLE = {"mmpose": (None, "quarter", "dark", "dark_udp"), "hrnet": (None, "quarter", "dark")}
MISSING = {"mmpose": -1.0, "hrnet": 0.0}  # what their coordinates are where nothing is found
STENCIL = {"quadratic": 2, "dark": 2, "dark_udp": 1, "gaussian": 0}  # pixels that differences need on each side
MOVES = 3  # pixels that the centre of "gaussian" may move on each axis
TURNS = 3  # windows that "gaussian" looks at; two nearly always suffice

BORDER, CLAMPED, FLAT = (int(s) for s in (Status.BORDER, Status.CLAMPED, Status.FLAT))
LEAST = 2.0**-100  # a maximum, or a difference of pixels, that counts as 0
FLOOR = 1e-10  # the least value of a blurred pixel
UDP_FLOOR, UDP_CEILING = 1e-3, 50.0  # of mmpose's
UDP_RIDGE = 2.0**-23  # what mmpose adds to the second derivatives
SINGULAR = 2.0**-40  # a determinant that counts as 0 where there is no margin
MARGIN = 1e-5  # curvatures of logarithms above −MARGIN are flat: those of a Gaussian of 300 pixels
WEIGHTED_MARGIN = 0.05  # those of "gaussian", in units of 1/σ²: of a Gaussian more than four times as wide
TURN = 2.0**-10  # so much more than half a pixel, or than a limit, is not more: ties are decided alike everywhere
MIDDLE, QUARTER = 0.5, 0.25
LOWEST = -np.inf


class Window(NamedTuple):
    """What a kernel that refines takes besides."""

    taps: Any  # of the blur, its middle at `centre`, between zeros; of "gaussian" three such rows, see `weights`
    radius: int  # of the taps
    centre: int  # the index of the middle tap
    size: int  # of a row of taps
    height: int  # of the maps
    variance: float  # σ² of "gaussian"
    missing: float  # the coordinates where nothing is found, with `compat`


LANES = 16  # of a row of the window that the CPU reads at once
NOTHING = np.zeros(1)


def window_of(refine: str | None, blur: int, sigma: float, compat: str | None, height: int, width: int) -> Window:
    """The numbers for a method."""
    missing = np.nan if compat is None else MISSING[compat]
    if refine not in ("dark", "dark_udp", "gaussian"):
        return Window(NOTHING, 0, 0, 0, height, 0.0, missing)
    # No tap is as far as the map is wide
    radius = int(min(np.ceil(3 * sigma) if refine == "gaussian" else blur // 2, max(height, width)))
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    # Beside the taps stand zeros, for columns that a point of the stencil does not need
    centre = radius + 4
    size = centre + 2 * radius + 8 + LANES
    if refine == "gaussian":
        taps = np.exp(-(offsets**2) / (2 * sigma**2))
        rows = [taps, taps * offsets, taps * offsets**2]
    else:
        taps = _blur(blur, compat is not None)
        rows = [taps[blur // 2 - radius : blur // 2 + radius + 1]]
    padded = np.zeros((len(rows), size))
    padded[:, centre - radius : centre + radius + 1] = rows
    return Window(padded.reshape(-1), radius, centre, size, height, float(sigma) ** 2, missing)


# OpenCV reads blurs of so few taps in a table, in units of 1/256
_SMALL_BLURS = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def _blur(size: int, is_compatible: bool) -> Any:
    """The taps of DARK's blur of this size: of OpenCV's Gaussian blur where it is not told a width."""
    if is_compatible and size in _SMALL_BLURS:
        return np.array(_SMALL_BLURS[size]) / 256
    width = 0.3 * ((size - 1) / 2 - 1) + 0.8
    taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * width**2))
    return taps / taps.sum()


@inlined
def quarter(before: Any, behind: Any, unit: Any) -> Any:
    """A quarter of a pixel towards the larger of two neighbours; none if they are equal or one is NaN."""
    step = like(unit, QUARTER)
    return step if behind > before else (-step if behind < before else like(unit, 0))


@inlined
def is_usable(score: Any) -> Any:
    """Whether the maximum is positive and finite, so that logarithms can be taken of its neighbours."""
    return (score > like(score, LEAST)) & (score - score == like(score, 0))


@inlined
def newton(x: Any, y: Any, xx: Any, xy: Any, yy: Any, margin: Any) -> Any:
    """The step from the first and second derivatives to the maximum, and whether there is one (then it is not 0, 0)."""
    zero, one = like(x, 0), like(x, 1)
    slack_x, slack_y = xx + margin, yy + margin
    is_curved = (slack_x < zero) & (slack_y < zero) & (slack_x * slack_y > xy * xy)
    is_maximum = is_curved & (x - x == zero) & (y - y == zero)
    determinant = select(is_maximum, xx * yy - xy * xy, one)
    dx = select(is_maximum, (xy * y - yy * x) / determinant, zero)
    dy = select(is_maximum, (xy * x - xx * y) / determinant, zero)
    return dx, dy, is_maximum


@inlined
def limited(dx: Any, dy: Any, is_maximum: Any) -> Any:
    """The step, at most a pixel on each axis, and status bits."""
    one, most = like(dx, 1), like(dx, 1 + TURN)
    is_far = (dx > most) | (dx < -most) | (dy > most) | (dy < -most)
    bits = (0 if is_maximum else FLAT) | (CLAMPED if is_far else 0)
    return maximum(minimum(dx, one), -one), maximum(minimum(dy, one), -one), bits


@inlined
def step(x: Any, y: Any, xx: Any, xy: Any, yy: Any) -> Any:
    """The limited step of these derivatives of a surface of logarithms, and status bits."""
    dx, dy, is_maximum = newton(x, y, xx, xy, yy, like(x, MARGIN))
    return limited(dx, dy, is_maximum)


@inlined
def compatible_step(x: Any, y: Any, xx: Any, xy: Any, yy: Any) -> Any:
    """As mmpose and HRNet step: to any stationary point, however far; not where the determinant is 0."""
    determinant = xx * yy - xy * xy
    least = like(x, SINGULAR)
    is_regular = (determinant > least) | (determinant < -least)
    determinant = select(is_regular, determinant, like(x, 1))
    zero = like(x, 0)
    dx = select(is_regular, (xy * y - yy * x) / determinant, zero)
    dy = select(is_regular, (xy * x - xx * y) / determinant, zero)
    return dx, dy, 0 if is_regular else FLAT


# The 13 points of the stencils of `dark`, as steps (columns, rows) from the centre; `dark_udp` needs seven of them
POINTS = (
    *((0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2)),
    *((-1, -1), (1, -1), (-1, 1), (1, 1)),
)


@inlined
def dark(at: Any) -> Any:
    """The derivatives (x, y, xx, xy, yy) of the values at `POINTS`, by differences over two pixels, twice."""
    half, quarter = like(at[0], MIDDLE), like(at[0], QUARTER)
    return (
        half * (at[2] - at[1]),
        half * (at[6] - at[5]),
        quarter * ((at[4] - at[0]) + (at[3] - at[0])),
        quarter * ((at[12] - at[10]) - (at[11] - at[9])),
        quarter * ((at[8] - at[0]) + (at[7] - at[0])),
    )


@inlined
def dark_udp(at: Any) -> Any:
    """The same by differences to the next pixels; the mixed one from two corners only, as in the paper's code."""
    half = like(at[0], MIDDLE)
    one_corner, other_corner = (at[12] - at[2]) - (at[6] - at[0]), (at[9] - at[1]) - (at[5] - at[0])
    return (
        half * (at[2] - at[1]),
        half * (at[6] - at[5]),
        (at[2] - at[0]) + (at[1] - at[0]),
        half * (one_corner + other_corner),
        (at[6] - at[0]) + (at[5] - at[0]),
    )


@inlined
def ridged(derivatives: Any) -> Any:
    """With the little that mmpose's UDP adds to the second derivatives."""
    x, y, xx, xy, yy = derivatives
    ridge = like(x, UDP_RIDGE)
    return x, y, xx + ridge, xy, yy + ridge


@inlined
def fitted(columns: Any, rows: Any, columns_squared: Any, mixed: Any, rows_squared: Any) -> Any:
    """The derivatives of the quadratic that fits 25 values best, by their sums.

    The values are multiplied by the column i, the row j, i² − 2, ij and j² − 2, counted from the middle: these are
    orthogonal to each other, and the fit is a division by Σi² = 50, Σ(i² − 2)²/2 = 35 and Σi²j² = 100.
    """
    return (
        columns / like(columns, 50),
        rows / like(columns, 50),
        columns_squared / like(columns, 35),
        mixed / like(columns, 100),
        rows_squared / like(columns, 35),
    )


@inlined
def weighted(sums: Any, variance: Any) -> Any:
    """The step of "gaussian", not limited, and whether there is one.

    `sums`: of the weighted pixels, and of them times i, i², j, ij and j²; in units of the maximum.
    """
    mass, column, column_squared, row, mixed, row_squared = sums
    one = like(mass, 1)
    has_mass = mass > like(mass, FLOOR)
    share = one / select(has_mass, mass, one)
    x, y = column * share, row * share
    xx = (column_squared * share - x * x) / variance - one
    yy = (row_squared * share - y * y) / variance - one
    xy = (mixed * share - x * y) / variance
    dx, dy, is_maximum = newton(x, y, xx, xy, yy, like(mass, WEIGHTED_MARGIN))
    return dx, dy, is_maximum & has_mass


@inlined
def nearest(step: Any) -> Any:
    """The whole pixels of a step, at most MOVES: 0 up to half a pixel and a little more."""
    most = like(step, MOVES)
    size = minimum(maximum(step, -step), most) + like(step, MIDDLE - TURN)
    whole = np.int64(size)
    return -whole if step < like(step, 0) else whole
