"""`encode.simcc`: a row of bins for each axis of each point."""

import functools
import math
from typing import Any, Literal

import numpy as np

from fastcoord._arrays import canvas, flat, is_on_gpu, read_only, result, stored, write_back
from fastcoord._draw import allocated, checked_points, require_here, way_back
from fastcoord._gaussian_axis import MODES
from fastcoord._gaussian_options import float_type, shape_fitted, sigmas_of, sizes_of
from fastcoord._halves import FORMATS
from fastcoord._libraries import in_library
from fastcoord._points import in_pixels
from fastcoord._simcc_options import bins_of_pixels, maps_of_bins, members_of, split_ratio_of
from fastcoord.encode._simcc import cpu
from fastcoord.encode._simcc.formula import NORMS
from fastcoord.grid import Grid, require_grid
from fastcoord.results import SimCC

__all__ = ["simcc"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_WITH_LABELS = 3  # sigmas that a point may be outside in mmpose


def simcc(
    xy: Any,
    *,
    shape: tuple[int, int],
    sigma: Any = 6.0,
    split_ratio: float = 2.0,
    norm: Literal["peak", "sum", "density"] = "peak",
    compat: Literal["mmpose"] | None = None,
    dtype: Any = np.float32,
    grid: Grid | None = None,
    return_weight: bool = False,
    out: SimCC | None = None,
) -> SimCC:
    """Labels for networks that classify x and y by themselves (SimCC): on each axis a Gaussian over its bins.

    Equals, for a point (x, y) and the bin numbers ``X = np.arange(W * split_ratio)`` (and so for y)::

        np.exp(-((X - x * split_ratio) ** 2) / (2 * sigma**2))

    A bin in which this is less than 2⁻⁶² (9.3 sigmas away; in float64 2⁻⁵¹⁰) is 0.

    Parameters
    ----------
    xy : array (..., 2)
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the first pixel is 0, and so is the first
        bin. Points may lie outside of the canvas. Any integer type but uint64, float16, bfloat16, float32 or float64;
        of NumPy (or nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of the canvas in pixels; an axis of n pixels has ``round(n * split_ratio)`` bins.
    sigma : float, or array that broadcasts to the shape of `xy`
        Standard deviation in bins, from 1e-15 to 1e15: a number; ``(sx, sy)``; (..., 1) for each point its own;
        (..., 2) for each point and axis. An array of NumPy's or nested lists, also where `xy` is on a GPU.
    split_ratio : float
        Bins for each pixel, from 1 to 1,000.
    norm : "peak", "sum" or "density"
        What is 1: the Gaussian at its centre, the sum of the bins of an axis, or the integral of the Gaussian (divided
        by σ√(2π), which is mmpose's `normalize`).
    compat : None or "mmpose"
        As mmpose 1.3 labels (`SimCCLabel`, "gaussian"), to float32's rounding: the centre is the nearest bin (of two
        the even one), and a point is missing where no bin of an axis is within 3 sigmas.
    dtype : data type
        Of the bins: float32, float64, float16 or bfloat16. It may be one of PyTorch's.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type.
    return_weight : bool
        Points may be missing: one that is not finite gives zeros, of weight 0.
    out : SimCC
        Where to write: arrays as this function would return, with any strides, sharing no memory with each other and
        `xy`; its weight None unless `return_weight`. Arrays of JAX cannot be written.

    Returns
    -------
    SimCC(x, y, weight), of arrays of the library of `xy`
        x (..., bins along the width), y (..., bins along the height). weight (...) float32, None unless
        `return_weight`: 0 where the point is missing, or so far away that no bin of an axis is more than 0; else 1.

    Raises
    ------
    TypeError
        If the type of an argument is none of these; for arrays on a GPU also if `dtype` is float16 or bfloat16.
    ValueError
        If a point is not finite, unless `return_weight` (on a GPU such a point always gives zeros: to raise, the host
        would have to wait); if the last axis of `xy` is not 2 long, an extent is less than 1, `sigma` is not a positive
        number, `split_ratio` is not from 1 to 1,000, or `norm`, `compat`, `grid` or `out` does not fit.
    MemoryError
        If there is no memory for the result; nothing has been computed then.

    Notes
    -----
    Source: Li et al., SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022,
    section 3.1; with the centre not rounded. The inverse of ``decode.simcc(refine="gaussian")``.

    Examples
    --------
    >>> import fastcoord as fc
    >>> labels = fc.encode.simcc([1.25, 0.5], shape=(2, 4), sigma=1)
    >>> labels.x.round(3)
    array([0.044, 0.325, 0.882, 0.882, 0.325, 0.044, 0.002, 0.   ],
          dtype=float32)
    >>> labels.y.round(3)
    array([0.607, 1.   , 0.607, 0.135], dtype=float32)
    """
    height, width = canvas(shape)
    ratio = split_ratio_of(split_ratio)
    pixels, name = float_type(dtype)
    if not (isinstance(norm, str) and norm in NORMS):
        raise ValueError(f"norm: expected one of {', '.join(NORMS)}; got {norm!r}")
    if not (compat is None or (isinstance(compat, str) and compat == "mmpose")):
        raise ValueError(f'compat: expected None or "mmpose"; got {compat!r}')
    sigmas = sigmas_of(sigma)
    mode, within = (MODES["exact"], None) if compat is None else (MODES["mmpose_unbiased"], _WITH_LABELS)
    working = _DOUBLE if pixels == _DOUBLE else _SINGLE
    bins = bins_of_pixels(width, ratio), bins_of_pixels(height, ratio)
    if is_on_gpu(xy):
        if name in FORMATS:
            raise TypeError(f"xy: expected an array on the CPU, or float32 or float64 bins; got dtype {name} on a GPU")
        options = sigmas, within, working, mode, ratio, compat is not None, NORMS[norm]
        on_gpu: SimCC = _cuda().simcc(xy, (height, width), bins, *options, pixels, grid, return_weight, out)
        return on_gpu
    fits = shape_fitted(sigmas, xy)
    library, points = checked_points(xy, pixels, out)
    batch = points.shape[:-1]
    require_grid(grid)
    back = None if grid is None else way_back(grid, points, height, width, batch)
    given = members_of(out, return_weight)
    x_labels = allocated(
        *("out.x", given[0], (*batch, bins[0]), pixels, points), library=library, described="bins along the width"
    )
    y_labels = allocated(
        *("out.y", given[1], (*batch, bins[1]), pixels, points, x_labels),
        library=library,
        described="bins along the height",
    )
    weight = None
    if return_weight:
        weight = result("out.weight", given[2], batch, _SINGLE, points, x_labels, y_labels, library=library)
    flat_points = read_only(points.ravel())
    if back is not None:
        flat_points = read_only(in_pixels(flat_points, back))
    if not return_weight:
        require_here(points, flat_points, None)
    if math.prod(batch):
        written = np.empty(math.prod(batch), _SINGLE) if weight is None else flat(weight)
        sizes = sizes_of(sigmas, fits, within, working, mode)
        cpu.simcc(
            *(name, sizes, mode, ratio, compat is not None, NORMS[norm]),
            maps_of_bins("out.x", stored(x_labels), for_writing=True),
            maps_of_bins("out.y", stored(y_labels), for_writing=True),
            flat_points.astype(_DOUBLE),
            written,
        )
        if weight is not None:
            write_back(written, weight)
    if out is None:
        made: SimCC = in_library(library, SimCC(x_labels, y_labels, weight))
        return made
    if library is not None:
        for array in given:
            if array is not None:
                library.written(array)
    return out


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._simcc import cuda

    return cuda
