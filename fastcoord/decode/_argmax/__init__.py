"""`decode.argmax`: the largest pixel."""

from typing import Any

import numpy as np

from fastcoord._arrays import Maps, is_on_gpu
from fastcoord._decode import decoded
from fastcoord.decode._argmax import cpu
from fastcoord.grid import Grid
from fastcoord.results import Decoded

__all__ = ["argmax"]

REFINEMENTS = (None,)
_NAN = {"propagate": False, "ignore": True}  # whether such pixels are skipped


def argmax(
    heatmaps: Any,
    *,
    refine: None = None,
    threshold: float | None = None,
    nan: str = "propagate",
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Coordinates of the largest pixel of each heatmap, and that pixel.

    Equals, for a heatmap ``a`` of width W::

        y, x = divmod(a.argmax(), W);  score = a.max()

    in one read of the heatmaps.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float32 or float64, and on the CPU float16 or bfloat16; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but copied if
        the strides are no whole elements). Not modified.
    refine : None
        How the position is refined between pixels; so far there is only None: it is not.
    threshold : float
        A maximum is found where ``score > threshold``, compared in the type of the score; None: everywhere.
    nan : "propagate" or "ignore"
        What a pixel that is NaN does: makes the answer NaN, or nothing, as if it were not there.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with `heatmaps` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `heatmaps`
        xy (..., 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 heatmaps), the centre of the
        top left pixel is (0, 0); NaN where nothing is found. Of equal maxima it is the first in row-major order; −0.0
        equals 0.0.
        score (...): the maximum, of the same type. covariance: None.
        status (...) int32: TIE if the maximum occurs more than once, EMPTY if it is not above the threshold or if all
        pixels are NaN and ignored, NAN alone (and NaN in xy and score) if a pixel is NaN and is not ignored.

    Raises
    ------
    TypeError
        If the type of an array, of `threshold`, `axes` or `grid` is none of these, if arrays are of two libraries or
        devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `refine` or `nan` is none of these, `threshold` is NaN, or `grid`
        or `out` does not fit.

    Notes
    -----
    Source: what `numpy.argmax` and `numpy.amax` are for each heatmap. Integers are compared as integers, the score is
    then rounded to its type.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((2, 48, 64), np.float32)
    >>> heatmaps[0, 5, 7] = heatmaps[1, 20, 30] = 0.75
    >>> fc.decode.argmax(heatmaps, threshold=0.5).xy
    array([[ 7.,  5.],
           [30., 20.]], dtype=float32)
    """
    if refine not in REFINEMENTS:
        raise ValueError(f"refine: expected one of {REFINEMENTS}; got {refine!r}")
    if not isinstance(nan, str) or nan not in _NAN:
        raise ValueError(f'nan: expected "propagate" or "ignore"; got {nan!r}')
    skips = _NAN[nan]
    least = np.nan if threshold is None else _number("threshold", threshold)
    if is_on_gpu(heatmaps):
        from fastcoord.decode._argmax import cuda

        return cuda.argmax(heatmaps, skips, least, axes, grid, out)

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, covariance: Any, status: Any) -> None:
        cpu.argmax(maps, skips, score.dtype.type(least), numbers, xy, score, status)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode)


def _number(name: str, value: Any) -> float:
    """`value`, a number that is not NaN."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number or None; got {value!r}")
    number = float(value)
    if number != number:
        raise ValueError(f"{name}: expected a number that is not NaN; got {value!r}")
    return number
