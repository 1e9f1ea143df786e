"""`decode.argmax`: the largest pixel."""

import functools
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, is_on_gpu
from fastcoord._decode import decoded
from fastcoord._decoder_options import number, refinement, skips_nan, window
from fastcoord._refinement import COMPATIBLE
from fastcoord.decode._argmax import cpu
from fastcoord.grid import Grid
from fastcoord.results import Decoded

__all__ = ["argmax"]


def argmax(
    heatmaps: Any,
    *,
    refine: str | None = None,
    sigma: float = 2.0,
    blur: int = 11,
    compat: str | None = None,
    threshold: float | None = None,
    nan: str = "propagate",
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Coordinates of the largest pixel of each heatmap, and that pixel; refined between the pixels where asked for.

    Equals, for a heatmap ``a`` of width W and without `refine`::

        y, x = divmod(a.argmax(), W);  score = a.max()

    in one read of the heatmaps.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but copied if
        the strides are no whole elements). Not modified.
    refine : None, "quarter", "quadratic", "dark", "dark_udp" or "gaussian"
        How the position is refined, from the pixels round the largest one:
        "quarter": a quarter of a pixel towards the larger neighbour, on each axis.
        "quadratic": to the maximum of the quadratic that fits the logarithms of 5×5 pixels best; the pixels themselves
        if one of them is not positive.
        "dark": to the maximum of the quadratic with the derivatives of the logarithm of the blurred pixels.
        "dark_udp": the same, with differences to the next pixels instead of those over two.
        "gaussian": for peaks of a known width, with the least error that noise allows: as "dark" with a blur of width
        `sigma`, exact derivatives, and the nearest pixel, at most three away, in place of the largest one.
    sigma : float
        The width in pixels of the peaks, for "gaussian".
    blur : int
        The size in pixels of DARK's blur, odd; its width is 0.3·((blur − 1)/2 − 1) + 0.8.
    compat : None, "mmpose" or "hrnet"
        The conventions of these libraries: a maximum that is not above 0 is not found, and then xy is (−1, −1) or
        (0, 0), whatever the grid; their own bounds where a maximum is refined, and steps without a limit. "hrnet" is
        also DarkPose. For `refine` None, "quarter" and "dark", and with "mmpose" "dark_udp".
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
        pixels are NaN and ignored, NAN alone (and NaN in xy and score) if a pixel is NaN and is not ignored. With
        `refine` also
        BORDER if the window leaves the map: "quarter" then takes no step on that axis, "quadratic" (5×5 pixels) none,
        "dark" none if the maximum is less than two pixels from the border, "dark_udp" less than one; they blur as if
        all were 0 outside, and "gaussian" makes its window narrower;
        CLAMPED if a step was longer than a pixel on an axis, and was shortened to one;
        FLAT if there is no maximum near: the step is none. So it is, but for "quarter" and "quadratic", where the
        largest pixel is not positive (less than 2⁻¹⁰⁰ counts as 0) or infinite.

    Raises
    ------
    TypeError
        If the type of an array, of a number, of `axes` or `grid` is none of these, if arrays are of two libraries or
        devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `refine`, `compat` or `nan` is none of these, `compat` does not
        know `refine`, `sigma` is not from 0.001 to 1,000,000, `blur` is not odd and from 1 to 65,535, `threshold` is
        NaN, or `grid` or `out` does not fit.

    Notes
    -----
    Source: what `numpy.argmax` and `numpy.amax` are for each heatmap. Integers are compared as integers, the score is
    then rounded to its type. "dark": Zhang et al., Distribution-Aware Coordinate Representation for Human Pose
    Estimation, CVPR 2020, section 3.2; "dark_udp": Huang et al., The Devil is in the Details, CVPR 2020. Both blur the
    whole heatmap and scale it; the scale cancels, and the window is enough.

    Where a pixel of the window is NaN (and ignored) or infinite there is no step, and all but "quarter" are FLAT. On
    the CPU windows are computed in float64, whatever the type of the heatmaps.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((2, 48, 64), np.float32)
    >>> heatmaps[0, 5, 7] = heatmaps[1, 20, 30] = 0.75
    >>> fc.decode.argmax(heatmaps, threshold=0.5).xy
    array([[ 7.,  5.],
           [30., 20.]], dtype=float32)
    >>> x, y = np.arange(64), np.arange(48)[:, None]
    >>> heatmap = np.exp(-((x - 30.25) ** 2 + (y - 20.5) ** 2) / (2 * 1.5**2)).astype(np.float32)
    >>> fc.decode.argmax(heatmap, refine="gaussian", sigma=1.5).xy.round(3)
    array([30.25, 20.5 ], dtype=float32)
    """
    size, width = refinement(refine, sigma, blur)
    skips = skips_nan(nan)
    if compat is not None:
        if not isinstance(compat, str) or compat not in COMPATIBLE:
            raise ValueError(f"compat: expected None or one of {tuple(COMPATIBLE)}; got {compat!r}")
        if refine not in COMPATIBLE[compat]:
            raise ValueError(f"refine: expected one of {COMPATIBLE[compat]} for compat={compat!r}; got {refine!r}")
    least = np.nan if threshold is None else number("threshold", threshold)
    if compat is not None:
        least = max(0.0, least)  # 0 for NaN
    if is_on_gpu(heatmaps):
        on_gpu: Decoded = _cuda().argmax(heatmaps, skips, least, axes, grid, out, refine, compat, size, width)
        return on_gpu

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, covariance: Any, status: Any) -> None:
        given: Any = ()
        if refine is not None or compat is not None:
            given = window(refine, size, width, compat, maps.height, maps.width)
        with np.errstate(over="ignore"):  # beyond the type it is infinite
            limit = score.dtype.type(least)
        cpu.argmax(maps, skips, limit, numbers, xy, score, status, refine, compat, given)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._argmax import cuda

    return cuda
