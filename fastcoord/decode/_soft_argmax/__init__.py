"""`decode.soft_argmax`: the mean position under the softmax of a heatmap, and its gradient."""

import functools
import operator
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, flat, is_on_gpu, maps, pixel_array, result, write_back
from fastcoord._decode import decoded
from fastcoord._exponential import rate
from fastcoord._libraries import in_library, library_of
from fastcoord._numbers import gradient_of
from fastcoord._placement import NUMBERS
from fastcoord.decode._soft_argmax import cpu, gradient
from fastcoord.decode._soft_argmax.region import COVARIANCE, NOTHING_MORE
from fastcoord.grid import Grid, numbers_for, require_grid
from fastcoord.results import Decoded

__all__ = ["soft_argmax", "soft_argmax_vjp"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_COLDEST, _HOTTEST = 1e-30, 1e30  # of temperatures: between them no factor overflows or vanishes in float32


def soft_argmax(
    heatmaps: Any,
    *,
    temperature: float = 1.0,
    covariance: bool = False,
    window: int | None = None,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Mean position of each heatmap under the softmax of its pixels, and the largest probability.

    Equals, for a heatmap ``a``::

        p = np.exp((a - a.max()) / temperature);  p /= p.sum()
        x = (p * np.arange(W)).sum();  y = (p * np.arange(H)[:, None]).sum();  score = p.max()

    with two reads of each heatmap, the second one from the cache.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        The logits: bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64, of
        NumPy (or nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but
        copied if the strides are no whole elements). Integers and floats of 16 bits are taken as float32. Pixels that
        are −∞ count nothing; otherwise any finite numbers are fine, however large. Not modified.
    temperature : float
        What the logits are divided by, from 1e-30 to 1e30: the smaller, the nearer to the largest pixel.
    covariance : bool
        Whether to compute the covariance of x and y under the probabilities too.
    window : int
        Only pixels at most so many columns and rows from the largest pixel (the first in row-major order) count; 1 for
        3×3 of them; None: all.
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
        top left pixel is (0, 0). score (...): the largest probability, of the same type. covariance (..., 2, 2): of the
        same type, in px², in the order (x, y), or None. status (...) int32: EMPTY if all pixels are −∞, NAN if a pixel
        is NaN or +∞; xy, score and covariance are then NaN.

    Raises
    ------
    TypeError
        If the type of an array, of `temperature`, `covariance`, `window`, `axes` or `grid` is none of these, if arrays
        are of two libraries or devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `temperature` or `window` is out of its range, or `grid` or `out`
        does not fit.

    Notes
    -----
    Source: D. C. Luvizon et al., "Human pose regression by combining indirect part detection and contextual
    information", 2019; X. Sun et al., "Integral human pose regression", ECCV 2018. The covariance is taken about the
    mean, as ``Σ p (x − μ)(x − μ)ᵀ``.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((1, 48, 64), np.float32)
    >>> heatmaps[0, 5, 7:9] = 30
    >>> fc.decode.soft_argmax(heatmaps).xy
    array([[7.5, 5. ]], dtype=float32)
    """
    number = checked_temperature(temperature)
    if not isinstance(covariance, (bool, np.bool_)):
        raise TypeError(f"covariance: expected a bool; got {covariance!r}")
    reach = checked_window(window)
    if is_on_gpu(heatmaps):
        on_gpu: Decoded = _cuda().soft_argmax(heatmaps, number, bool(covariance), reach, axes, grid, out)
        return on_gpu

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, spread: Any, status: Any) -> None:
        wants = COVARIANCE if covariance else NOTHING_MORE
        cpu.soft_argmax(maps, rate(number, xy.dtype), reach, numbers, xy, score, spread, status, wants)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode, bool(covariance))


def soft_argmax_vjp(
    grad_xy: Any,
    heatmaps: Any,
    *,
    temperature: float = 1.0,
    window: int | None = None,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Any = None,
) -> Any:
    """The gradient of ``(grad_xy * soft_argmax(heatmaps).xy).sum()`` with respect to the heatmaps.

    Equals, for a heatmap with probabilities ``p``, column indices ``X`` and row indices ``Y``, and its answer::

        p * (grad_x * (X - x) + grad_y * (Y - y)) / temperature

    A heatmap is read three times, from the second time on from the cache, and its gradient is written once. The
    gradient is 0 beyond the window, which stands still, and in all of a heatmap whose status is EMPTY or NAN.

    Parameters
    ----------
    grad_xy : array (..., 2)
        The gradient with respect to xy; real numbers, in an array of the library of `heatmaps` or in nested lists. On a
        GPU a contiguous array of the type of xy on the device of `heatmaps`.
    heatmaps : array (..., H, W)
        As for `soft_argmax`. Not modified.
    temperature : float
        As for `soft_argmax`.
    window : int
        As for `soft_argmax`.
    axes : two ints
        As for `soft_argmax`.
    grid : fastcoord.grid.Grid
        As for `soft_argmax`: `grad_xy` is with respect to xy in this grid.
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
        As `soft_argmax` does, and if `grad_xy` does not consist of real numbers.
    ValueError
        As `soft_argmax` does, and if the shape of `grad_xy` does not fit.

    Notes
    -----
    Source: the derivative of a softmax. A gradient is p/T times the distance from the mean, which in float32 is
    rounded: where T is small, what rounding took from it is multiplied (one pixel of 567 was 3.3e-6 off at T = 0.3).

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> fc.decode.soft_argmax_vjp([1, 0], np.zeros((2, 5), np.float32))[0]
    array([-0.2, -0.1,  0. ,  0.1,  0.2], dtype=float32)
    """
    number, reach = checked_temperature(temperature), checked_window(window)
    if is_on_gpu(heatmaps):
        from fastcoord.decode._soft_argmax import gradient_cuda

        return gradient_cuda.vjp(grad_xy, heatmaps, number, reach, axes, grid, out)
    library = library_of(heatmaps)
    array = pixel_array("heatmaps", heatmaps, halves=True)
    read = maps("heatmaps", array, axes)
    dtype = _DOUBLE if array.dtype == _DOUBLE else _SINGLE
    of_xy = gradient_of("grad_xy", grad_xy, (*read.batch, 2), library, "heatmaps")
    towards = (of_xy.reshape(-1, 2) * pixel_sizes(grid, read) / number).astype(dtype).reshape(-1)
    if out is None:
        in_order = np.empty((*read.batch, read.height, read.width), dtype)
        written = np.moveaxis(in_order, (-2, -1), axes)
    else:
        written = result("out", out, array.shape, dtype, array, library=library)
        in_order = np.moveaxis(written, axes, (-2, -1))
    flat_written = flat(in_order)
    if flat_written.size:
        pixels = numbers_for(None, dtype, read.height, read.width, ())
        gradient.vjp(read, rate(number, dtype), reach, pixels, towards, flat_written)
    write_back(flat_written, in_order)
    if out is None:
        return written if library is None else in_library(library, written)
    if library is not None:
        library.written(out)
    return out


def pixel_sizes(grid: Grid | None, read: Maps) -> Any:
    """How far a pixel is from the next one in a grid, on each axis: (1, 2), or (maps, 2) if each has its own."""
    require_grid(grid)
    numbers = numbers_for(grid, _DOUBLE, read.height, read.width, read.batch).reshape(-1, 2, NUMBERS // 2)
    return numbers[..., 0] / numbers[..., 2]


def checked_temperature(temperature: Any) -> float:
    """`temperature`, a number that is not too large or small."""
    if not isinstance(temperature, (int, float, np.integer, np.floating)) or isinstance(temperature, bool):
        raise TypeError(f"temperature: expected a number; got {temperature!r}")
    if not _COLDEST <= temperature <= _HOTTEST:
        raise ValueError(f"temperature: expected a number from {_COLDEST:g} to {_HOTTEST:g}; got {temperature!r}")
    return float(temperature)


def checked_window(window: Any) -> int | None:
    """`window`, an integer that is not negative, or None."""
    if window is None:
        return None
    try:
        reach = operator.index(window)
    except TypeError:
        raise TypeError(f"window: expected an integer or None; got {window!r}") from None
    if reach < 0 or isinstance(window, bool):
        raise ValueError(f"window: expected an integer of at least 0; got {window!r}")
    return reach


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._soft_argmax import cuda

    return cuda
