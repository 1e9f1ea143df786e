"""`encode.gaussian`: a Gaussian for each point, or several points in one map, and the gradient."""

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, canvas, is_on_gpu
from fastcoord._draw import drawn, pulled_back
from fastcoord._gaussian_axis import MODES
from fastcoord._gaussian_options import float_type, shape_fitted, sigmas_of, sizes_of
from fastcoord._halves import FORMATS
from fastcoord.encode._gaussian import cpu
from fastcoord.encode._gaussian.gradient import vjp
from fastcoord.grid import Grid

__all__ = ["gaussian", "gaussian_vjp"]

_DOUBLE = np.dtype(np.float64)
_PRESETS = {**MODES, "kornia": MODES["exact"]}
_WITH_WINDOW = 3  # sigmas: mmpose's window


def gaussian(
    xy: Any,
    *,
    shape: tuple[int, int],
    sigma: Any = 2.0,
    norm: Literal["peak", "sum"] = "peak",
    radius: float | None = None,
    reduce: Literal["max", "sum"] | None = None,
    compat: Literal["mmpose_msra", "mmpose_udp", "mmpose_unbiased", "kornia"] | None = None,
    dtype: Any = np.float32,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    return_weight: bool = False,
    out: Any = None,
) -> Any:
    """Maps of Gaussians whose centres are the points, which are not rounded: targets for training.

    Equals, for a point (x, y) and a map of column indices ``X`` and row indices ``Y``::

        np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * sigma**2))

    A pixel for which one of the two factors, that of the column and that of the row, is less than 2⁻⁶² (9.3 sigmas
    away; in float64 2⁻⁵¹⁰) is 0.

    Parameters
    ----------
    xy : array (..., 2), or (..., P, 2) with `reduce`
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the top left pixel is (0, 0). Points may
        lie outside of the map. Any integer type but uint64, float16, bfloat16, float32 or float64; of NumPy (or nested
        lists), PyTorch or JAX on the CPU, or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of a map.
    sigma : float, or array that broadcasts to the shape of `xy`
        Standard deviation in pixels, from 1e-15 to 1e15: a number; ``(sx, sy)``; (..., 1) for each point its own;
        (..., 2) for each point and axis. An array of NumPy's or nested lists, also where `xy` is on a GPU.
    norm : "peak" or "sum"
        What is 1: the Gaussian at its centre, or the sum of the pixels of a map (of each point's, with `reduce`).
    radius : float
        Pixels further than so many sigmas from the point, along the row or along the column, are 0. None: all count.
    reduce : "max" or "sum"
        Draws the P points of the last batch axis into one map; a pixel is the largest of their values, or their sum.
        None: a map for each point.
    compat : "mmpose_msra", "mmpose_udp", "mmpose_unbiased" or "kornia"
        As mmpose 1.3 draws (`generate_gaussian_heatmaps`, `generate_udp_gaussian_heatmaps` and
        `generate_unbiased_gaussian_heatmaps`, the first with the centre rounded; windows of 3 sigmas round the pixel
        nearest to the point, none for the third), or kornia 0.9 (`render_gaussian2d`: the sum is 1), to float32's
        rounding. `norm` and `radius` are theirs then.
    dtype : data type
        Of the pixels: float32, float64, float16 or bfloat16. It may be one of PyTorch's.
    axes : two ints
        Which axes of the result are height and width; (1, 2) for NHWC.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type; sigma is in
        pixels.
    return_weight : bool
        Points may be missing: one that is not finite gives zeros, of weight 0.
    out : array, or Encoded if `return_weight`
        Where to write: arrays as this function would return, with any strides, sharing no memory with `xy`. Arrays of
        JAX cannot be written.

    Returns
    -------
    array (..., H, W), or Encoded(maps, weight) if `return_weight`; of the library of `xy`
        weight float32, one for each point: 0 where it is missing, or so far away that no pixel is more than 0; else 1.

    Raises
    ------
    TypeError
        If the type of an argument is none of these; for arrays on a GPU also if `dtype` is float16 or bfloat16.
    ValueError
        If a point is not finite, unless `return_weight` (on a GPU such a point always gives zeros: to raise, the host
        would have to wait); if the last axis of `xy` is not 2 long, an extent is less than
        1, `sigma` or `radius` is not a positive number, or `grid`, `sigma` or `out` does not fit.
    MemoryError
        If there is no memory for the result; nothing has been computed then.

    Notes
    -----
    Source: the targets of Tompson et al., "Joint Training of a Convolutional Network and a Graphical Model for Human
    Pose Estimation" (2014), section 3.1. With the centre not rounded: Zhang et al., "Distribution-Aware Coordinate
    Representation for Human Pose Estimation" (2020), section 3.3. The inverse of ``decode.argmax(refine="gaussian")``.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.encode.gaussian([1.25, 0.5], shape=(2, 4), sigma=1).round(3)
    array([[0.404, 0.855, 0.666, 0.191],
           [0.404, 0.855, 0.666, 0.191]], dtype=float32)
    """
    height, width = canvas(shape)
    pixels, name = float_type(dtype)
    _require_norm(norm)
    if reduce is not None and not (isinstance(reduce, str) and reduce in ("max", "sum")):
        raise ValueError(f'reduce: expected None, "max" or "sum"; got {reduce!r}')
    sigmas, within = sigmas_of(sigma), _radius(radius)
    mode = MODES["exact"]
    if compat is not None:
        presets = [preset for preset in _PRESETS if preset != "exact"]
        if not (isinstance(compat, str) and compat in presets):
            raise ValueError(f"compat: expected None or one of {', '.join(presets)}; got {compat!r}")
        if norm != "peak" or within is not None:
            raise ValueError(f"compat: expected neither norm nor radius beside it, which {compat!r} gives")
        mode = _PRESETS[compat]
        norm = "sum" if compat == "kornia" else "peak"
        within = None if compat == "kornia" else _WITH_WINDOW
    working = pixels if pixels == _DOUBLE else np.dtype(np.float32)
    if is_on_gpu(xy):
        if name in FORMATS:
            raise TypeError(f"xy: expected an array on the CPU, or float32 or float64 maps; got dtype {name} on a GPU")
        options = sigmas, within, working, mode, norm == "sum", reduce
        return _cuda().gaussian(xy, shape, *options, dtype, axes, grid, return_weight, out)

    xy_shape = shape_fitted(sigmas, xy)

    def draw(maps: Maps, points: NDArray[Any], weight: NDArray[Any]) -> None:
        sizes = sizes_of(sigmas, xy_shape, within, working, mode)
        cpu.gaussian(name, sizes, mode, norm == "sum", reduce, maps, points.astype(_DOUBLE), weight)

    return drawn(xy, (height, width), pixels, axes, grid, return_weight, out, draw, may_be_outside=True, joins=reduce)


def gaussian_vjp(
    grad_maps: Any,
    xy: Any,
    *,
    sigma: Any = 2.0,
    norm: Literal["peak", "sum"] = "peak",
    radius: float | None = None,
    reduce: Literal["sum"] | None = None,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Any = None,
) -> Any:
    """The gradient of ``(grad_maps * gaussian(xy)).sum()`` with respect to the points.

    Equals, for a point (x, y), its map ``g`` and the column indices ``X`` (and so for y, with row indices)::

        (grad_maps * g * (X - x)).sum() / sigma**2

    Parameters
    ----------
    grad_maps : array (..., H, W)
        The gradient with respect to the maps: float32 or float64; of the library of `xy`. Not modified.
    xy : array (..., 2), or (..., P, 2) with `reduce`
        As for `gaussian`. Points that are missing have no gradient: 0.
    sigma, norm, radius
        As for `gaussian`. The edge of a window stands still.
    reduce : "sum"
        As for `gaussian`. None: a map for each point.
    axes : two ints
        As for `gaussian`.
    grid : fastcoord.grid.Grid
        As for `gaussian`: the gradient is with respect to xy in this grid.
    out : array
        Where to write: an array as this function would return, sharing no memory with the other arguments.

    Returns
    -------
    array of the shape of `xy` and of its library
        float32; float64 for points that are float64 or integers. The sums are computed in the type of `grad_maps`.

    Raises
    ------
    TypeError
        As `gaussian` does, and if `grad_maps` is not float32 or float64.
    ValueError
        As `gaussian` does, and if the shape of `grad_maps` does not fit.

    Notes
    -----
    Source: the derivative of a Gaussian. One large map is read by one thread.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> fc.encode.gaussian_vjp(np.arange(12.0).reshape(3, 4), [1.25, 0.5], sigma=1).round(3)
    array([ 5.029, 15.099])
    """
    _require_norm(norm)
    if reduce is not None and not (isinstance(reduce, str) and reduce == "sum"):
        raise ValueError(f'reduce: expected None or "sum"; got {reduce!r}')
    sigmas, within = sigmas_of(sigma), _radius(radius)
    if is_on_gpu(xy) or is_on_gpu(grad_maps):
        options = sigmas, within, MODES["exact"], norm == "sum", reduce
        return _gradient_cuda().vjp(grad_maps, xy, *options, axes, grid, out)
    shape = shape_fitted(sigmas, xy)

    def pull(read: Maps, points: NDArray[Any], written: NDArray[Any]) -> None:
        sizes = sizes_of(sigmas, shape, within, read.memory.dtype, MODES["exact"])
        vjp(sizes, MODES["exact"], norm == "sum", read, points.astype(_DOUBLE), written)

    return pulled_back(grad_maps, xy, axes, grid, out, pull, joins=reduce)


def _require_norm(norm: Any) -> None:
    if not (isinstance(norm, str) and norm in ("peak", "sum")):
        raise ValueError(f'norm: expected "peak" or "sum"; got {norm!r}')


def _radius(radius: Any) -> float | None:
    if radius is None:
        return None
    if isinstance(radius, bool) or not isinstance(radius, (int, float, np.integer, np.floating)):
        raise TypeError(f"radius: expected a number of sigmas or None; got {type(radius).__qualname__}")
    if not (radius > 0 and np.isfinite(radius)):
        raise ValueError(f"radius: expected a positive number of sigmas; got {radius}")
    return float(radius)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._gaussian import cuda

    return cuda


@functools.cache
def _gradient_cuda() -> Any:
    """As `_cuda`, of the gradient."""
    from fastcoord.encode._gaussian import gradient_cuda

    return gradient_cuda
