"""The axes of a Gaussian on the CPU: the factors of all pixels of a row, and of a column, written into a buffer."""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._gaussian_axis import distances, factors, moments, part, placed_point
from fastcoord._memory import load, store
from fastcoord._vector import first_lane, lane_numbers, lane_sums, like, out_of_line, splat
from fastcoord.encode._gaussian.formula import slopes

LANES = 16
LEAD = 32  # elements before and after the factors of a row, as many as the most pixels in a cache line
POINT = 6  # numbers of a point: log₂e/(2σ²), the least exponent and 1/σ of x, then of y


@inlined
def vectors(extent: Any) -> Any:
    """So many elements that whole vectors cover an axis."""
    return (extent + LANES - 1) // LANES * LANES


@outlined
def write_vector(
    place: Any, at: int, k: int, first: int, end: int, middle: Any, past_middle: Any, width: Any, least: Any
) -> None:
    """The factors of the LANES pixels from `k` on, of an axis whose pixel 0 has element `at`."""
    out_of_line()
    found = splat(width - width, LANES)
    if k < end and k + LANES > first:
        found = factors(lane_numbers(found), k, first, end, middle, past_middle, (width, least))
    store(place, at + k, found)


@outlined
def divide_by_sum(place: Any, at: int, extent: int) -> None:
    """The factors of an axis by their sum."""
    out_of_line()
    total = load(place, at, LANES)
    for k in range(LANES, extent, LANES):
        total = total + load(place, at + k, LANES)
    share = like(total, part(first_lane((lane_sums((total,)),))[0]))
    for k in range(0, extent, LANES):
        store(place, at + k, load(place, at + k, LANES) * share)


@outlined
def _write_slopes(
    place: Any, at: int, step: int, extent: int, middle: Any, past_middle: Any, width: Any, by_sigma: Any, is_sum: bool
) -> None:
    out_of_line()
    moment = splat(width - width, LANES)
    offsets = lane_numbers(moment)
    if is_sum:
        for k in range(0, extent, LANES):
            moment = moment + moments(load(place, at + k, LANES), distances(offsets, k, middle, past_middle))
    mean = first_lane((lane_sums((moment,)),))[0]
    for k in range(0, extent, LANES):
        distance = distances(offsets, k, middle, past_middle)
        store(place, at + step + k, slopes(load(place, at + k, LANES), distance, mean, by_sigma))


@inlined
def write_next(place: Any, across: int, down: int, k: int, wide: int, placed: Any, numbers: Any, n: int) -> None:
    """The vector `k` elements on of both axes of a point, one after the other: a row's, `wide` elements, a column's."""
    left, right, middle, past_middle, top, bottom, centre, past_centre, _has_pixels = placed
    if k < wide:
        write_vector(place, across, k, left, right, middle, past_middle, numbers[n], numbers[n + 1])
    else:
        write_vector(place, down, k - wide, top, bottom, centre, past_centre, numbers[n + 3], numbers[n + 4])


@inlined
def write_axes(
    place: Any,
    at: int,
    rows: int,
    columns: int,
    points: Any,
    i: int,
    numbers: Any,
    numbers_step: int,
    reaches: Any,
    reaches_step: int,
    mode: int,
    is_sum: bool,
    with_slopes: bool,
) -> Any:
    """Both axes of point `i`.

    Its row's factors begin at element `at` + LEAD, its column's LEAD elements after these; with slopes, their
    derivatives by the position as far behind them as all this is long.

    What comes back is the first and the end of columns and of rows that are not 0, and if there are any.
    """
    x, y = points[2 * i], points[2 * i + 1]
    n, r = i * numbers_step, i * reaches_step
    placed = placed_point(x, y, columns, rows, reaches[r], reaches[r + 1], mode)
    left, right, middle, past_middle, top, bottom, centre, past_centre, has_pixels = placed
    across, down = at + LEAD, at + columns + 2 * LEAD
    wide = vectors(columns)
    for k in range(0, wide + rows, LANES):
        write_next(place, across, down, k, wide, placed, numbers, n)
    if is_sum:
        divide_by_sum(place, across, columns)
        divide_by_sum(place, down, rows)
    if with_slopes:
        step = columns + rows + 3 * LEAD
        _write_slopes(place, across, step, columns, middle, past_middle, numbers[n], numbers[n + 2], is_sum)
        _write_slopes(place, down, step, rows, centre, past_centre, numbers[n + 3], numbers[n + 5], is_sum)
    return left, right, top, bottom, has_pixels
