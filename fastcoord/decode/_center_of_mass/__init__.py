"""`decode.center_of_mass`: the mean position of a heatmap's pixels, and its gradient."""

import operator
from typing import Any

from fastcoord._arrays import Maps, is_on_gpu
from fastcoord._decode import decoded
from fastcoord.decode._center_of_mass import cpu
from fastcoord.grid import Grid
from fastcoord.results import Decoded

__all__ = ["center_of_mass"]

_NAN = {"propagate": False, "ignore": True}  # whether such pixels are skipped
_FARTHEST = 1 << 30  # farther than a window reaches


def center_of_mass(
    heatmaps: Any,
    *,
    covariance: bool = False,
    window: int | tuple[int, int] | None = None,
    clip_negative: bool = False,
    grid: Grid | None = None,
    nan: str = "propagate",
    axes: tuple[int, int] = (-2, -1),
    out: Decoded | None = None,
) -> Decoded:
    """Coordinates of the centre of mass of each heatmap, its mass, and how far the mass is spread.

    Equals, for a heatmap ``a`` with column indices ``X`` and row indices ``Y``::

        score = a.sum();  x = (a * X).sum() / score;  y = (a * Y).sum() / score
        covariance = [[xx, xy], [xy, yy]], where xy = (a * (X - x) * (Y - y)).sum() / score, and xx and yy likewise

    in one read of the heatmaps (two where there is a window, and for the covariance of float64).

    Parameters
    ----------
    heatmaps : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float32 or float64, and on the CPU float16 or bfloat16; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but copied if
        the strides are no whole elements). Not modified.
    covariance : bool
        Whether the covariance is wanted.
    window : int, or two ints
        Only pixels count that are at most so many rows and columns from the largest pixel, the first of them in
        row-major order; (rows, columns) where these differ. None: all pixels count.
    clip_negative : bool
        Whether pixels below 0 count as 0.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels.
    nan : "propagate" or "ignore"
        What a pixel that is NaN does: makes the answer NaN, wherever it is, or nothing, as if it were 0 and not the
        largest.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with `heatmaps` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `heatmaps`
        xy (..., 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 heatmaps), the centre of the
        top left pixel is (0, 0); NaN where nothing is found.
        score (...): the mass, the sum of all pixels that count, of the same type.
        covariance (..., 2, 2): in px², order (x, y), of the same type; None unless it is wanted.
        status (...) int32: EMPTY if the mass is not positive, NAN if it is NaN or ∞; then xy and covariance are NaN.

    Raises
    ------
    TypeError
        If the type of an array, of `window`, `axes` or `grid` is none of these, if arrays are of two libraries or
        devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `window` is negative, `nan` is none of these, or `grid` or `out`
        does not fit.

    Notes
    -----
    Source: the moments of an image of order 0, 1 and 2, M.-K. Hu, "Visual pattern recognition by moment invariants",
    1962. Without negative pixels the centre is within the map. With them it can lie anywhere, and the covariance need
    not be one of anything. The mass of integers is exact up to 2⁵³, the answer then rounded once.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmap = np.zeros((48, 64), np.float32)
    >>> heatmap[20, 30:32] = 0.25, 0.75
    >>> fc.decode.center_of_mass(heatmap).xy
    array([30.75, 20.  ], dtype=float32)
    """
    if not isinstance(nan, str) or nan not in _NAN:
        raise ValueError(f'nan: expected "propagate" or "ignore"; got {nan!r}')
    options = _reach(window), bool(clip_negative), _NAN[nan]
    if is_on_gpu(heatmaps):
        from fastcoord.decode._center_of_mass import cuda

        return cuda.center_of_mass(heatmaps, *options, axes, grid, out, bool(covariance))

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, spread: Any, status: Any) -> None:
        cpu.center_of_mass(maps, *options, numbers, xy, score, spread, status)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode, bool(covariance))


def _reach(window: Any) -> tuple[int, int] | None:
    """`window` as (rows, columns)."""
    if window is None:
        return None
    try:
        rows, columns = window if isinstance(window, (tuple, list)) else (window, window)
        rows, columns = operator.index(rows), operator.index(columns)
    except (TypeError, ValueError):
        raise TypeError(f"window: expected an integer, or two integers, (rows, columns); got {window!r}") from None
    if rows < 0 or columns < 0:
        raise ValueError(f"window: expected integers of at least 0; got {window!r}")
    return min(rows, _FARTHEST), min(columns, _FARTHEST)
