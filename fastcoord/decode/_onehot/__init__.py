"""`decode.onehot`: the post's network."""

import functools
from typing import Any

from fastcoord._arrays import Maps, is_on_gpu
from fastcoord._decode import decoded
from fastcoord.decode._onehot import cpu
from fastcoord.grid import Grid
from fastcoord.results import Decoded

__all__ = ["onehot"]


def onehot(
    images: Any,
    *,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Coordinates of the hot pixel of each one-hot image, by a network of one convolution, one ReLU and one sum.

    Equals, for an image ``a`` of height H and width W with column indices ``X`` and row indices ``Y``::

        x = W - np.maximum(W * a - X, 0).sum();  y = H - np.maximum(H * a - Y, 0).sum()

    which is exact where one pixel is 1 and the others are not positive. The numbers are the network's own for *every*
    image: an image without a positive pixel gives (W, H). `status` tells when they are no position.

    Parameters
    ----------
    images : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: it is read in place (but copied if its
        strides are no whole elements). Not modified.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with `images` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `images`
        xy (..., 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 images), the centre of the top
        left pixel is (0, 0).
        score (...): the largest pixel, of the same type. covariance: None.
        status (...) int32: EMPTY if no pixel is positive, MULTIPLE if several are, NOT_UNIT if a positive pixel is
        not 1, NAN (and NaN in xy and score) if a pixel is NaN.

    Raises
    ------
    TypeError
        If the type of an array, of `axes` or `grid` is none of these, if arrays are of two libraries or devices, or if
        a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, or `grid` or `out` does not fit.

    Notes
    -----
    Source: F. Piekniewski, "Autopsy of a deep learning paper", 2018, on R. Liu et al., arXiv 1807.03247. Sums keep what
    rounding takes from them; for images of bytes up to 4096 pixels wide and high the sums are exact.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> images = np.zeros((2, 48, 64), np.float32)
    >>> images[0, 5, 7] = images[1, 20, 30] = 1
    >>> fc.decode.onehot(images).xy
    array([[ 7.,  5.],
           [30., 20.]], dtype=float32)
    """
    if is_on_gpu(images):
        on_gpu: Decoded = _cuda().onehot(images, axes, grid, out)
        return on_gpu
    return decoded("images", images, axes, grid, out, _decode)


def _decode(maps: Maps, numbers: Any, xy: Any, score: Any, covariance: Any, status: Any) -> None:
    cpu.onehot(maps, numbers, xy, score, status)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._onehot import cuda

    return cuda
