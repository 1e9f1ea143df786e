"""`encode.box`: squares."""

import functools
from typing import Any

import numpy as np

from fastcoord._arrays import canvas, is_on_gpu, pixel_type, pixel_value, radius
from fastcoord._draw import drawn
from fastcoord.encode._box import cpu
from fastcoord.grid import Grid

__all__ = ["box"]


def box(
    xy: Any,
    *,
    shape: tuple[int, int],
    size: int = 9,
    value: float = 1,
    dtype: Any = np.float32,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    return_weight: bool = False,
    out: Any = None,
) -> Any:
    """Images of a square: `value` in the `size` × `size` pixels round each point, 0 elsewhere.

    Equals, for a point (x, y) and an image of column indices ``X`` and row indices ``Y``::

        x, y = np.floor(x + 0.5), np.floor(y + 0.5)
        image = np.where(np.maximum(abs(X - x), abs(Y - y)) <= size // 2, value, 0)

    so the square's centre is the pixel nearest to the point. What lies beyond the border is cut off. With a `size` of 1
    it is `onehot`.

    Parameters
    ----------
    xy : array (..., 2)
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the top left pixel is (0, 0). Any integer
        type but uint64, float16, bfloat16, float32 or float64; of NumPy (or nested lists), PyTorch or JAX on the CPU,
        or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of an image.
    size : int
        The length of a side in pixels, an odd number; it may exceed the canvas.
    value : number
        Of the pixels in the square: any that `dtype` can hold, which is rounded to a floating-point type.
    dtype : data type
        Of the pixels: bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64
        (in NumPy's arrays that of the package ml_dtypes). It may be one of PyTorch's.
    axes : two ints
        Which axes of the result are height and width; (1, 2) for NHWC.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type and is then
        rounded to one: give float64 where a pixel is less than a millionth of a coordinate, as in crops far away.
    return_weight : bool
        Points may be missing: one that is NaN or whose nearest pixel is beyond the border gives an image of zeros, of
        weight 0. The centre decides, also where a part of the square would lie on the canvas.
    out : array, or Encoded if `return_weight`
        Where to write: arrays as this function would return, with any strides, sharing no memory with `xy`. Arrays of
        JAX cannot be written.

    Returns
    -------
    array (..., H, W), or Encoded(maps, weight) if `return_weight`; of the library of `xy`
        weight (...) float32: 1 where the image has its square, 0 where the point is missing.

    Raises
    ------
    TypeError
        If the type of an array, of `shape`, `size`, `value`, `dtype`, `axes` or `grid` is none of these.
    ValueError
        If the last axis of `xy` is not 2 long, an extent is less than 1, `size` is not odd or less than 1, `dtype`
        cannot hold `value`, `grid` or `out` does not fit, or, unless `return_weight`, a point is not finite or lies
        outside every pixel. On a GPU such a point always gives an image of zeros: to raise, the host would have to
        wait.

    Notes
    -----
    Source: the squares of the Not-so-Clevr data, R. Liu et al., arXiv 1807.03247, which are 9 pixels wide.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.encode.box([[2, 1], [4, 3]], shape=(4, 5), size=3, value=128, dtype="uint8")
    array([[[  0, 128, 128, 128,   0],
            [  0, 128, 128, 128,   0],
            [  0, 128, 128, 128,   0],
            [  0,   0,   0,   0,   0]],
    <BLANKLINE>
           [[  0,   0,   0,   0,   0],
            [  0,   0,   0,   0,   0],
            [  0,   0,   0, 128, 128],
            [  0,   0,   0, 128, 128]]], dtype=uint8)
    """
    if is_on_gpu(xy):
        return _cuda().box(xy, shape, size, value, dtype, axes, grid, return_weight, out)
    height, width = canvas(shape)
    dtype = pixel_type(dtype, halves=True)
    draw = functools.partial(cpu.box, radius("size", size, height, width), pixel_value("value", value, dtype))
    return drawn(xy, (height, width), dtype, axes, grid, return_weight, out, draw)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._box import cuda

    return cuda
