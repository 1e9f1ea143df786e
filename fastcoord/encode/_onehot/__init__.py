"""`encode.onehot`: the inverse of the post's network."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, canvas, is_on_gpu, pixel_type, pixel_value
from fastcoord._draw import drawn
from fastcoord.encode._onehot import cpu
from fastcoord.grid import Grid

__all__ = ["onehot"]


def onehot(
    xy: Any,
    *,
    shape: tuple[int, int],
    dtype: Any = np.float32,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    return_weight: bool = False,
    out: Any = None,
) -> Any:
    """One-hot images: 1 at the pixel nearest to each point, 0 elsewhere.

    Equals, for a point (x, y) and an image of column indices ``X`` and row indices ``Y``, with the network's two layers
    ``relu`` = ``lambda v: np.maximum(v, 0)``::

        x, y = np.floor(x + 0.5), np.floor(y + 0.5)
        image = relu(1 - relu(X - x) - relu(x - X) - relu(Y - y) - relu(y - Y))

    Parameters
    ----------
    xy : array (..., 2)
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the top left pixel is (0, 0). Any integer
        type but uint64, float16, bfloat16, float32 or float64; of NumPy (or nested lists), PyTorch or JAX on the CPU,
        or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of an image.
    dtype : data type
        Of the pixels: bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64
        (in NumPy's arrays that of the package ml_dtypes). It may be one of PyTorch's.
    axes : two ints
        Which axes of the result are height and width; (1, 2) for NHWC.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type and is then
        rounded to one: give float64 where a pixel is less than a millionth of a coordinate, as in crops far away.
    return_weight : bool
        Points may be missing: one that is NaN or beyond the border gives an image of zeros, of weight 0.
    out : array, or Encoded if `return_weight`
        Where to write: arrays as this function would return, with any strides, sharing no memory with `xy`. Arrays of
        JAX cannot be written.

    Returns
    -------
    array (..., H, W), or Encoded(maps, weight) if `return_weight`; of the library of `xy`
        weight (...) float32: 1 where the image has its hot pixel, 0 where the point is missing.

    Raises
    ------
    TypeError
        If the type of an array, of `shape`, `dtype`, `axes` or `grid` is none of these.
    ValueError
        If the last axis of `xy` is not 2 long, an extent is less than 1, `grid` or `out` does not fit, or, unless
        `return_weight`, a point is not finite or lies outside every pixel. On a GPU such a point always gives an image
        of zeros: to raise, the host would have to wait.

    Notes
    -----
    Source: the exercise that F. Piekniewski, "Autopsy of a deep learning paper", 2018, leaves to the reader.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.encode.onehot([2, 1], shape=(3, 4), dtype="uint8")
    array([[0, 0, 0, 0],
           [0, 0, 1, 0],
           [0, 0, 0, 0]], dtype=uint8)
    """
    if is_on_gpu(xy):
        return _cuda().onehot(xy, shape, dtype, axes, grid, return_weight, out)
    size, dtype = canvas(shape), pixel_type(dtype, halves=True)
    return drawn(xy, size, dtype, axes, grid, return_weight, out, _draw(dtype))


@functools.cache
def _draw(dtype: np.dtype[Any]) -> Callable[[Maps, Any, Any], None]:
    return functools.partial(cpu.onehot, pixel_value("1", 1, dtype))


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._onehot import cuda

    return cuda
