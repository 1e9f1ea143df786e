"""`decode.onehot`: the post's network."""

from typing import Any

import numpy as np

from fastcoord._arrays import decoded_members, flat, is_on_gpu, maps, pixel_array, require_apart, result, write_back
from fastcoord._libraries import in_library, library_of
from fastcoord.decode._onehot import cpu
from fastcoord.results import Decoded

__all__ = ["onehot"]

_SINGLE, _DOUBLE, _FLAGS = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32)


def onehot(images: Any, *, axes: tuple[int, int] = (-2, -1), out: Decoded | None = None) -> Decoded:
    """Coordinates of the hot pixel of each one-hot image, by a network of one convolution, one ReLU and one sum.

    Equals, for an image ``a`` of height H and width W with column indices ``X`` and row indices ``Y``::

        x = W - np.maximum(W * a - X, 0).sum();  y = H - np.maximum(H * a - Y, 0).sum()

    which is exact where one pixel is 1 and the others are not positive. The numbers are the network's own for *every*
    image: an image without a positive pixel gives (W, H). `status` tells when they are no position.

    Parameters
    ----------
    images : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float32 or float64, and on the CPU float16 or bfloat16; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: it is read in place (but copied if its
        strides are no whole elements). Not modified.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with `images` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `images`
        xy (..., 2): (x, y) in pixels, float32 (float64 for float64 images), the centre of the top left pixel is (0, 0).
        score (...): the largest pixel, of the same type. covariance: None.
        status (...) int32: EMPTY if no pixel is positive, MULTIPLE if several are, NOT_UNIT if a positive pixel is
        not 1, NAN (and NaN in xy and score) if a pixel is NaN.

    Raises
    ------
    TypeError
        If the type of an array or of `axes` is none of these, if arrays are of two libraries or devices, or if a tensor
        requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, or `out` does not fit.

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
    library = library_of(images)
    if is_on_gpu(images):
        from fastcoord.decode._onehot import cuda

        on_gpu: Decoded = cuda.onehot(images, axes, out)
        return on_gpu
    images = pixel_array("images", images, halves=True)
    read = maps("images", images, axes)
    dtype = _DOUBLE if images.dtype == _DOUBLE else _SINGLE
    batch = read.batch
    if out is None:
        count = len(read.starts) * read.count
        xy, score, status = np.empty(2 * count, dtype), np.empty(count, dtype), np.empty(count, _FLAGS)
        if count:
            cpu.onehot(read, xy, score, status)
        decoded = Decoded(xy.reshape(*batch, 2), score.reshape(batch), None, status.reshape(batch))
        return decoded if library is None else in_library(library, decoded)
    given = decoded_members(out)
    xy = result("out.xy", given[0], (*batch, 2), dtype, library=library)
    score = result("out.score", given[1], batch, dtype, library=library)
    status = result("out.status", given[3], batch, _FLAGS, library=library)
    require_apart(("out.xy", "out.score", "out.status"), xy, score, status, images)
    flat_xy, flat_score, flat_status = flat(xy), flat(score), flat(status)
    if flat_score.size:
        cpu.onehot(read, flat_xy, flat_score, flat_status)
    write_back(flat_xy, xy)
    write_back(flat_score, score)
    write_back(flat_status, status)
    if library is not None:
        library.written(given[0])
        library.written(given[1])
        library.written(given[3])
    return out
