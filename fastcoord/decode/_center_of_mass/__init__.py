"""`decode.center_of_mass`: the mean position of a heatmap's pixels, and its gradient."""

import functools
import operator
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, flat, is_on_gpu, maps, pixel_array, result, write_back
from fastcoord._decode import decoded
from fastcoord._decoder_options import skips_nan
from fastcoord._libraries import in_library, library_of
from fastcoord._numbers import gradient_of
from fastcoord.decode._center_of_mass import cpu, gradient
from fastcoord.grid import Grid, numbers_for, require_grid
from fastcoord.results import Decoded

__all__ = ["center_of_mass", "center_of_mass_vjp"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_NONE = np.empty(0)
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

    in one read of the heatmaps; two for a window, the covariance of float64, and on a GPU any covariance.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or
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
    options = _checked(window, clip_negative, nan)
    if is_on_gpu(heatmaps):
        on_gpu: Decoded = _cuda().center_of_mass(heatmaps, *options, axes, grid, out, bool(covariance))
        return on_gpu

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, spread: Any, status: Any) -> None:
        cpu.center_of_mass(maps, *options, numbers, xy, score, spread, status)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode, bool(covariance))


def center_of_mass_vjp(
    grad_xy: Any,
    heatmaps: Any,
    *,
    grad_score: Any = None,
    grad_covariance: Any = None,
    window: int | tuple[int, int] | None = None,
    clip_negative: bool = False,
    grid: Grid | None = None,
    nan: str = "propagate",
    axes: tuple[int, int] = (-2, -1),
    out: Any = None,
) -> Any:
    """The gradient of ``(grad_xy * center_of_mass(heatmaps).xy).sum()``, in one read of them and one write.

    Equals, for a heatmap with column indices ``X`` and row indices ``Y``, its answer and the gradients of that::

        (grad_x * (X - x) + grad_y * (Y - y)) / score

    and with the gradient of the score, and of the covariance ``C``, with ``d = (X - x, Y - y)``::

        ... + grad_score + (grad_covariance * (outer(d, d) - C)).sum() / score

    It is 0 where a pixel does not count: beyond the window, below 0 where such pixels count as 0, NaN that is ignored;
    and in all of a heatmap whose status is EMPTY or NAN. The window stands still.

    Parameters
    ----------
    grad_xy : array (..., 2)
        The gradient with respect to xy; real numbers, in an array of the library of `heatmaps` or in nested lists. On a
        GPU a contiguous array of the type of xy on the device of `heatmaps`, as are the two that follow.
    heatmaps : array (..., H, W)
        As for `center_of_mass`. Not modified.
    grad_score : array (...)
        The gradient with respect to the score; None: it is 0.
    grad_covariance : array (..., 2, 2)
        The gradient with respect to the covariance, of each of its four elements by itself; None: it is 0.
    window : int, or two ints
        As for `center_of_mass`.
    clip_negative : bool
        As for `center_of_mass`; the gradient of a pixel that is 0 passes.
    grid : fastcoord.grid.Grid
        As for `center_of_mass`: `grad_xy` is with respect to xy in this grid.
    nan : "propagate" or "ignore"
        As for `center_of_mass`.
    axes : two ints
        As for `center_of_mass`.
    out : array
        Where to write: an array as this function would return, sharing no memory with the other arguments; on a GPU
        contiguous.

    Returns
    -------
    array of the shape of `heatmaps`, of their library and on their device
        float32; float64 for float64 heatmaps.

    Raises
    ------
    TypeError
        As `center_of_mass` does, and if a gradient does not consist of real numbers.
    ValueError
        As `center_of_mass` does, and if the shape of a gradient does not fit.

    Notes
    -----
    Source: the derivatives of a quotient of sums.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> fc.decode.center_of_mass_vjp([1, 0], np.ones((2, 5), np.float32))[0]
    array([-0.2, -0.1,  0. ,  0.1,  0.2], dtype=float32)
    """
    options = _checked(window, clip_negative, nan)
    if is_on_gpu(heatmaps):
        from fastcoord.decode._center_of_mass import gradient_cuda

        return gradient_cuda.vjp(grad_xy, grad_score, grad_covariance, heatmaps, *options, axes, grid, out)
    library = library_of(heatmaps)
    array = pixel_array("heatmaps", heatmaps, halves=True)
    read = maps("heatmaps", array, axes)
    batch, extents = read.batch, (read.height, read.width)
    require_grid(grid)
    numbers = numbers_for(grid, _DOUBLE, *extents, batch).reshape(-1, 2, 4)
    dtype = _DOUBLE if array.dtype == _DOUBLE else _SINGLE
    of_xy = gradient_of("grad_xy", grad_xy, (*batch, 2), library, "heatmaps").reshape(-1, 2)
    of_xy = (of_xy * (numbers[..., 0] / numbers[..., 2])).reshape(-1)  # pixels, times what one is in the grid
    of_score = _NONE if grad_score is None else gradient_of("grad_score", grad_score, batch, library, "heatmaps")
    of_covariance = _NONE
    if grad_covariance is not None:
        of_covariance = gradient_of("grad_covariance", grad_covariance, (*batch, 2, 2), library, "heatmaps")
    if out is None:
        in_order = np.empty((*batch, *extents), dtype)
        written = np.moveaxis(in_order, (-2, -1), axes)
    else:
        written = result("out", out, array.shape, dtype, array, library=library)
        in_order = np.moveaxis(written, axes, (-2, -1))
    flat_written = flat(in_order)
    if flat_written.size:
        count = of_xy.size // 2
        xy, score, status = np.empty(2 * count), np.empty(count), np.empty(count, np.int32)
        covariance = np.empty(4 * count if dtype == _DOUBLE else of_covariance.size)  # as precise as it finds xy
        pixels = numbers_for(None, _DOUBLE, *extents, ())
        cpu.center_of_mass(read, *options, pixels, xy, score, covariance, status)
        answer, of_answer = (xy, score, covariance, status), (of_xy, of_score, of_covariance)
        gradient.vjp(read, *options, answer, of_answer, flat_written)
    write_back(flat_written, in_order)
    if library is None:
        return written
    if out is None:
        return in_library(library, written)
    library.written(out)
    return out


def _checked(window: Any, clip_negative: Any, nan: Any) -> tuple[tuple[int, int] | None, bool, bool]:
    """The options of which pixels count: the window's reach, whether negative ones are 0, whether NaN is skipped."""
    return _reach(window), bool(clip_negative), skips_nan(nan)


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


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._center_of_mass import cuda

    return cuda
