"""`decode.simcc`: coordinates from a row of bins for each axis."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, is_on_gpu, pixel_array
from fastcoord._decode import answered
from fastcoord._decoder_options import number, skips_nan
from fastcoord._libraries import library_of
from fastcoord._simcc_options import maps_of_bins, pixels_of_bins, require_alike, split_ratio_of
from fastcoord.decode._simcc import cpu
from fastcoord.decode._simcc.formula import STEPS
from fastcoord.grid import Grid, numbers_for, require_grid
from fastcoord.results import Decoded

__all__ = ["simcc"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def simcc(
    x_logits: Any,
    y_logits: Any,
    *,
    split_ratio: float = 2.0,
    refine: str | None = None,
    compat: str | None = None,
    threshold: float | None = None,
    nan: str = "propagate",
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Coordinates of the largest bin of each axis, for networks that classify x and y by themselves (SimCC).

    Equals, for the bins ``a`` of x and ``b`` of y of a point, and without `refine`::

        x, y = a.argmax() / split_ratio, b.argmax() / split_ratio;  score = min(a.max(), b.max())

    in one read of both.

    Parameters
    ----------
    x_logits, y_logits : array (..., bins)
        The bins along the width and along the height; of one type and batch shape, and as many bins as each has. bool,
        (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or nested lists), PyTorch or
        JAX on the CPU, or on a GPU; with any strides: they are read in place (but copied if the strides are no whole
        elements). Not modified. What they measure, logits or probabilities, does not matter without `refine`.
    split_ratio : float
        Bins for each pixel, from 1 to 1,000: bin number i is at pixel i / split_ratio.
    refine : None, "quadratic" or "gaussian"
        How a position is refined, on each axis from the largest bin and the two beside it: to the maximum of the
        parabola through them ("quadratic": for logits), or of the Gaussian ("gaussian": for probabilities and labels,
        as `encode.simcc` makes them; a neighbour less than 1e-10 of the maximum counts as that).
    compat : None or "mmpose"
        mmpose's convention: a point whose score is not above 0 is not found, and its xy is bin −1, whatever the grid.
    threshold : float
        A point is found where ``score > threshold``, compared in the type of the score; None: everywhere.
    nan : "propagate" or "ignore"
        What a bin that is NaN does: makes the answer NaN, or nothing, as if it were not there.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`, for a map of as many pixels as the bins stand for; None: pixels.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with the bins or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `x_logits`
        xy (..., 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 bins), the centre of the first
        pixel is 0; NaN where nothing is found. Of equal maxima it is the first; −0.0 equals 0.0.
        score (...): the smaller of the maxima of both axes, of the same type. covariance: None.
        status (...) int32: TIE if the maximum of an axis occurs more than once, EMPTY if the score is not above the
        threshold or if all bins of an axis are NaN and ignored, NAN alone (and NaN in xy and score) if a bin is NaN and
        is not ignored. With `refine` also BORDER if the maximum of an axis is its first or last bin, and FLAT if there
        is no maximum near, or a neighbour is NaN or infinite, or for "gaussian" the maximum is not positive (less than
        2⁻¹⁰⁰ counts as 0): the step of that axis is none.

    Raises
    ------
    TypeError
        If the type of an array, of a number or of `grid` is none of these, if arrays are of two types, libraries or
        devices, or if a tensor requires grad.
    ValueError
        If an array has no axis or no bin, the batch shapes differ, `split_ratio` is not from 1 to 1,000, `refine`,
        `compat` or `nan` is none of these, `threshold` is NaN, or `grid` or `out` does not fit.

    Notes
    -----
    Source: Li et al., SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022,
    section 3.1. The conventions and the score are those of mmpose 1.3 (`get_simcc_maximum`). On the CPU steps are
    computed in float64, whatever the type of the bins.

    Examples
    --------
    >>> import fastcoord as fc
    >>> labels = fc.encode.simcc([[7.25, 5.5], [30, 20]], shape=(48, 64))
    >>> labels.x.shape, labels.y.shape
    ((2, 128), (2, 96))
    >>> fc.decode.simcc(labels.x, labels.y, refine="gaussian").xy.round(3)
    array([[ 7.25,  5.5 ],
           [30.  , 20.  ]], dtype=float32)
    """
    ratio = split_ratio_of(split_ratio)
    if not (refine is None or isinstance(refine, str)) or refine not in STEPS:
        raise ValueError(f"refine: expected one of {tuple(STEPS)}; got {refine!r}")
    skips = skips_nan(nan)
    if not (compat is None or (isinstance(compat, str) and compat == "mmpose")):
        raise ValueError(f'compat: expected None or "mmpose"; got {compat!r}')
    least = np.nan if threshold is None else number("threshold", threshold)
    if compat is not None:
        least = max(0.0, least)  # 0 for NaN
    if is_on_gpu(x_logits) or is_on_gpu(y_logits):
        on_gpu: Decoded = _cuda().simcc(x_logits, y_logits, ratio, STEPS[refine], compat, skips, least, grid, out)
        return on_gpu
    library = library_of(x_logits)
    if library_of(y_logits) is not library and not isinstance(y_logits, (list, tuple)):
        raise TypeError(
            f"y_logits: expected an array of the library of x_logits; got {type(y_logits).__module__}."
            f"{type(y_logits).__qualname__}"
        )
    x_axes, x_bins = _axes("x_logits", x_logits)
    y_axes, y_bins = _axes("y_logits", y_logits)
    require_alike(x_axes, y_axes, x_bins, y_bins)
    dtype = _DOUBLE if x_bins.dtype == _DOUBLE else _SINGLE
    require_grid(grid)
    width, height = pixels_of_bins(x_axes.width, ratio), pixels_of_bins(y_axes.width, ratio)
    numbers = numbers_for(grid, dtype, height, width, x_axes.batch)

    def decode(xy: Any, score: Any, covariance: Any, status: Any) -> None:
        with np.errstate(over="ignore"):  # beyond the type it is infinite
            limit = score.dtype.type(least)
        scale = score.dtype.type(ratio)
        cpu.simcc(x_axes, y_axes, skips, limit, scale, numbers, xy, score, status, STEPS[refine], compat is not None)

    return answered((x_bins, y_bins), library, x_axes.batch, dtype, out, decode)


def _axes(name: str, array: Any) -> tuple[Maps, NDArray[Any]]:
    """How a kernel reaches the bins: as maps of one row."""
    bins = pixel_array(name, array, halves=True)
    return maps_of_bins(name, bins), bins


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._simcc import cuda

    return cuda
