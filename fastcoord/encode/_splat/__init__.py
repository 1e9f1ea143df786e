"""`encode.splat`: points spread over the four pixels round them, and the gradient."""

import functools
from typing import Any

import numpy as np

from fastcoord._arrays import canvas, is_on_gpu, pixel_type
from fastcoord._draw import drawn, pulled_back
from fastcoord._halves import format_of
from fastcoord.encode._splat import cpu
from fastcoord.grid import Grid

__all__ = ["splat", "splat_vjp"]


def splat(
    xy: Any,
    *,
    shape: tuple[int, int],
    dtype: Any = np.float32,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    return_weight: bool = False,
    out: Any = None,
) -> Any:
    """Maps whose centre of mass is the point: the four pixels round it share 1, all others are 0.

    Equals, for a point (x, y) and a map of column indices ``X`` and row indices ``Y``::

        np.maximum(1 - abs(X - x), 0) * np.maximum(1 - abs(Y - y), 0)

    What lies beyond the border is lost: up to half a pixel outside of the outer pixels' centres the sum is less than 1.

    Parameters
    ----------
    xy : array (..., 2)
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the top left pixel is (0, 0). Any integer
        type but uint64, float16, bfloat16, float32 or float64; of NumPy (or nested lists), PyTorch or JAX on the CPU,
        or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of a map.
    dtype : data type
        Of the pixels: bool, (u)int8, (u)int16, int32, int64, float16, bfloat16 (both not on a GPU), float32 or float64.
        Integers are rounded: 1 where the share is at least one half. It may be one of PyTorch's.
    axes : two ints
        Which axes of the result are height and width; (1, 2) for NHWC.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type.
    return_weight : bool
        Points may be missing: one that is NaN or whose nearest pixel is beyond the border gives a map of zeros, of
        weight 0.
    out : array, or Encoded if `return_weight`
        Where to write: arrays as this function would return, with any strides, sharing no memory with `xy`. Arrays of
        JAX cannot be written.

    Returns
    -------
    array (..., H, W), or Encoded(maps, weight) if `return_weight`; of the library of `xy`
        weight (...) float32: 1 where the map has its point, 0 where the point is missing.

    Raises
    ------
    TypeError
        If the type of an array, of `shape`, `dtype`, `axes` or `grid` is none of these.
    ValueError
        If the last axis of `xy` is not 2 long, an extent is less than 1, `grid` or `out` does not fit, or, unless
        `return_weight`, a point is not finite or lies outside every pixel. On a GPU such a point always gives a map of
        zeros: to raise, the host would have to wait.

    Notes
    -----
    Source: the inverse of the network of `decode.onehot`, by its rectifications; for whole coordinates it is `onehot`.
    Shares are computed in the type of the points.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.encode.splat([1.25, 0.5], shape=(3, 4))
    array([[0.   , 0.375, 0.125, 0.   ],
           [0.   , 0.375, 0.125, 0.   ],
           [0.   , 0.   , 0.   , 0.   ]], dtype=float32)
    """
    if is_on_gpu(xy):
        return _cuda().splat(xy, shape, dtype, axes, grid, return_weight, out)
    height, width = canvas(shape)
    pixels = pixel_type(dtype, halves=True)
    draw = functools.partial(cpu.splat, name=format_of(pixels) or pixels.name)
    return drawn(xy, (height, width), pixels, axes, grid, return_weight, out, draw)


def splat_vjp(
    grad_maps: Any,
    xy: Any,
    *,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Any = None,
) -> Any:
    """The gradient of ``(grad_maps * splat(xy)).sum()`` with respect to the points.

    Equals, for a point between the pixels a, b (above) and c, d (below) of `grad_maps`, f and g beyond a::

        x = (1 - g) * (b - a) + g * (d - c);  y = (1 - f) * (c - a) + f * (d - b)

    Parameters
    ----------
    grad_maps : array (..., H, W)
        The gradient with respect to the maps: float32 or float64; of the library of `xy`. Not modified.
    xy : array (..., 2)
        As for `splat`. Points that are missing have no gradient: 0. On a pixel's centre, where the shares have a kink,
        the slope is that towards the next pixels.
    axes : two ints
        As for `splat`.
    grid : fastcoord.grid.Grid
        As for `splat`: the gradient is with respect to xy in this grid.
    out : array
        Where to write: an array as this function would return, sharing no memory with the other arguments.

    Returns
    -------
    array of the shape of `xy` and of its library
        float32; float64 for points that are float64 or integers.

    Raises
    ------
    TypeError
        As `splat` does, and if `grad_maps` is not float32 or float64.
    ValueError
        As `splat` does, and if the shape of `grad_maps` does not fit.

    Notes
    -----
    Source: the derivative of bilinear weights.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> fc.encode.splat_vjp(np.arange(12.0).reshape(3, 4), [1.25, 0.5])
    array([1., 4.])
    """
    if is_on_gpu(xy) or is_on_gpu(grad_maps):
        return _gradient_cuda().vjp(grad_maps, xy, axes, grid, out)
    return pulled_back(grad_maps, xy, axes, grid, out, cpu.vjp)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._splat import cuda

    return cuda


@functools.cache
def _gradient_cuda() -> Any:
    """As `_cuda`, of the gradient."""
    from fastcoord.encode._splat import gradient_cuda

    return gradient_cuda
