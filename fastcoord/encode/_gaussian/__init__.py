"""`encode.gaussian`: a Gaussian for each point, or several points in one map, and the gradient."""

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, canvas, is_on_gpu, pixel_type
from fastcoord._draw import drawn, pulled_back
from fastcoord._halves import FORMATS, format_of
from fastcoord.encode._gaussian import cpu
from fastcoord.encode._gaussian.formula import MODES, SIGMAS, axis_numbers, reaches
from fastcoord.encode._gaussian.gradient import vjp
from fastcoord.grid import Grid

__all__ = ["gaussian", "gaussian_vjp"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_NAMES = {_SINGLE: "float32", _DOUBLE: "float64"}  # `dtype.name` takes two microseconds
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
        (..., 2) for each point and axis.
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
        If the type of an argument is none of these; for arrays on a GPU also where its kernel does not know what is
        asked for: halves, `reduce`, and more than one sigma for each axis.
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
    pixels, name = _pixels(dtype)
    _require_norm(norm)
    if reduce is not None and not (isinstance(reduce, str) and reduce in ("max", "sum")):
        raise ValueError(f'reduce: expected None, "max" or "sum"; got {reduce!r}')
    sigmas, within = _sigmas(sigma), _radius(radius)
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
        if name in FORMATS or reduce is not None or np.shape(sigmas) not in ((), (1,), (2,)):
            raise TypeError(
                "xy: expected an array on the CPU, or float32 or float64 maps, no `reduce`, and one sigma, or one for "
                f"each axis; got dtype {name}, reduce={reduce!r} and sigma of shape {np.shape(sigmas)} on a GPU"
            )
        numbers, reach = _sizes(sigmas, (1, 2), within, working, mode)
        rates, reach = tuple(numbers[[0, 1, 3, 4]]), tuple(reach.astype(working))
        return _cuda().gaussian(*(xy, shape, rates, reach, mode, norm == "sum", dtype, axes, grid, return_weight, out))

    xy_shape = _shape_fitted(sigmas, xy)

    def draw(maps: Maps, points: NDArray[Any], weight: NDArray[Any]) -> None:
        sizes = _sizes(sigmas, xy_shape, within, working, mode)
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
        As `gaussian` does, if `grad_maps` is not float32 or float64, and for arrays on a GPU.
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
    sigmas, within = _sigmas(sigma), _radius(radius)
    shape = _shape_fitted(sigmas, xy)

    def pull(read: Maps, points: NDArray[Any], written: NDArray[Any]) -> None:
        sizes = _sizes(sigmas, shape, within, read.memory.dtype, MODES["exact"])
        vjp(sizes, MODES["exact"], norm == "sum", read, points.astype(_DOUBLE), written)

    return pulled_back(grad_maps, xy, axes, grid, out, pull, joins=reduce)


def _require_norm(norm: Any) -> None:
    if not (isinstance(norm, str) and norm in ("peak", "sum")):
        raise ValueError(f'norm: expected "peak" or "sum"; got {norm!r}')


def _pixels(dtype: Any) -> tuple[np.dtype[Any], str]:
    """The type of the pixels, and its name."""
    try:
        pixels = pixel_type(dtype, halves=True)
        name = _NAMES.get(pixels) or format_of(pixels) or pixels.name
        got = None if name in cpu.TYPES else name
    except TypeError as error:
        got = str(error).rpartition("got ")[2]
    if got is not None:
        raise TypeError(f"dtype: expected float16, bfloat16, float32 or float64; got {got}")
    return pixels, name


def _sigmas(sigma: Any) -> Any:
    """`sigma` as a float, or as an array of float64."""
    low, high = SIGMAS
    if type(sigma) in (float, int) and low <= sigma <= high:
        return float(sigma)
    try:
        array = np.asarray(sigma)
        if array.dtype.kind not in "iuf":
            raise TypeError(array.dtype.name)
        sigmas = array.astype(_DOUBLE)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sigma: expected a number, or an array of them; got {error}") from None
    if not ((sigmas >= low) & (sigmas <= high)).all():
        wrong = sigmas[~((sigmas >= low) & (sigmas <= high))][0]
        raise ValueError(f"sigma: expected numbers from {low} to {high}; got {wrong}")
    return sigmas


def _radius(radius: Any) -> float | None:
    if radius is None:
        return None
    if isinstance(radius, bool) or not isinstance(radius, (int, float, np.integer, np.floating)):
        raise TypeError(f"radius: expected a number of sigmas or None; got {type(radius).__qualname__}")
    if not (radius > 0 and np.isfinite(radius)):
        raise ValueError(f"radius: expected a positive number of sigmas; got {radius}")
    return float(radius)


def _sizes(sigmas: Any, shape: tuple[int, ...], within: float | None, working: Any, mode: int) -> tuple[Any, Any]:
    """The numbers of the axes and how far these reach, of all points or of each of those of this shape."""
    if type(sigmas) is float:
        return _sizes_of_all(sigmas, within, working, mode)
    each = _fitted(sigmas, shape)
    return axis_numbers(each, working), reaches(each, within, working, mode)


@functools.lru_cache(maxsize=256)
def _sizes_of_all(sigma: float, within: float | None, working: Any, mode: int) -> tuple[Any, Any]:
    """Computed once: it takes longer than to draw a map."""
    each = np.full((1, 2), sigma)
    return axis_numbers(each, working), reaches(each, within, working, mode)


def _shape_fitted(sigmas: Any, xy: Any) -> tuple[int, ...]:
    """The shape of `xy`, which the sigmas fit; () where it is none of points, and refused by the door."""
    try:
        shape = tuple(xy.shape) if hasattr(xy, "shape") else np.shape(xy)
    except ValueError:  # a ragged list
        return ()
    if type(sigmas) is not float and shape[-1:] == (2,):
        _fitted(sigmas, shape)
    return shape


def _fitted(sigmas: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The sigmas (points, 2) of x and y: one row if all points have the same."""
    try:
        whole = np.broadcast_to(sigmas, shape)
    except ValueError:
        expected = f"expected an array that broadcasts to the shape of xy, {shape}"
        raise ValueError(f"sigma: {expected}; got {sigmas.shape}") from None
    if sigmas.size == 1 or sigmas.shape == (2,):
        return np.broadcast_to(sigmas.reshape(-1), (1, 2))
    rows = whole.reshape(-1, 2)
    return rows if len(rows) else np.ones((1, 2))


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._gaussian import cuda

    return cuda
