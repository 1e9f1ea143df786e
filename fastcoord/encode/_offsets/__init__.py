"""`encode.offsets`: how far a point is from the pixels round it."""

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, canvas, is_on_gpu
from fastcoord._draw import drawn
from fastcoord._gaussian_options import float_type
from fastcoord.encode._offsets import cpu
from fastcoord.grid import Grid

__all__ = ["offsets"]

_DOUBLE = np.dtype(np.float64)
_LARGEST = 1e6  # pixels


def offsets(
    xy: Any,
    *,
    shape: tuple[int, int],
    radius: float = 4.0,
    with_disc: bool = False,
    compat: Literal["mmpose"] | None = None,
    dtype: Any = np.float32,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    return_weight: bool = False,
    out: Any = None,
) -> Any:
    """Two maps for each point: how far it is, along x and along y, from each pixel of a disc round it.

    Equals, for a point (x, y) and a map of column indices ``X`` and row indices ``Y``::

        np.where((x - X) ** 2 + (y - Y) ** 2 <= radius**2, [x - X, y - Y], 0)

    So a pixel of the disc and what it holds give the point.

    Parameters
    ----------
    xy : array (..., 2)
        (x, y) in pixels (or as `grid` says), x along the width; the centre of the top left pixel is (0, 0). Points may
        lie outside of the map. Any integer type but uint64, float16, bfloat16, float32 or float64; of NumPy (or nested
        lists), PyTorch or JAX on the CPU, or on a GPU; with any strides. Not modified.
    shape : two ints
        (height, width) of a map.
    radius : float
        Of the disc, in pixels, up to 1,000,000; a pixel whose centre is exactly on its edge belongs to it.
    with_disc : bool
        Three maps for each point, of which the first is the disc: 1 inside, 0 outside.
    compat : None or "mmpose"
        As mmpose 1.3 draws (`generate_offset_heatmap`): three maps, the disc and the offsets, which count radii, not
        pixels, and stand on all pixels of the map. Every finite point has weight 1 then.
    dtype : data type
        Of the pixels: float32 or float64. It may be one of PyTorch's.
    axes : two ints
        Which axes of the result are height and width; (1, 2) for NHWC. The axis of the two or three maps is the last of
        the others.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels. A point becomes pixels in its own type; what the maps
        hold are pixels.
    return_weight : bool
        Points may be missing: one that is not finite gives zeros, of weight 0.
    out : array, or Encoded if `return_weight`
        Where to write: arrays as this function would return, with any strides, sharing no memory with `xy`. Arrays of
        JAX cannot be written.

    Returns
    -------
    array (..., 2, H, W), or (..., 3, H, W) with the disc, or Encoded(maps, weight) if `return_weight`; of the library
    of `xy`
        weight (...) float32, one for each point: 0 where it is missing, or no pixel of the map is in its disc; else 1.

    Raises
    ------
    TypeError
        If the type of an argument is none of these.
    ValueError
        If a point is not finite, unless `return_weight` (on a GPU such a point always gives zeros: to raise, the host
        would have to wait); if the last axis of `xy` is not 2 long, an extent is less than 1, `radius` is not positive
        or too large, `compat` is none of these, or `grid` or `out` does not fit.
    MemoryError
        If there is no memory for the result; nothing has been computed then.

    Notes
    -----
    Source: Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild" (2017), section 3.2. Huang et
    al., "The Devil is in the Details" (2020), have them on all pixels; DeepLabCut calls them location refinement.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.encode.offsets([1.25, 0.5], shape=(2, 4), radius=1)
    array([[[ 0.  ,  0.25, -0.75,  0.  ],
            [ 0.  ,  0.25, -0.75,  0.  ]],
    <BLANKLINE>
           [[ 0.  ,  0.5 ,  0.5 ,  0.  ],
            [ 0.  , -0.5 , -0.5 ,  0.  ]]], dtype=float32)
    """
    height, width = canvas(shape)
    pixels, _name = float_type(dtype, halves=False)
    reach = _radius(radius)
    if not isinstance(with_disc, (bool, np.bool_)):
        raise TypeError(f"with_disc: expected True or False; got {with_disc!r}")
    if not (compat is None or (isinstance(compat, str) and compat == "mmpose")):
        raise ValueError(f'compat: expected None or "mmpose"; got {compat!r}')
    is_whole = compat is not None
    members, scale = 3 if with_disc or is_whole else 2, 1 / reach if is_whole else 1.0
    if is_on_gpu(xy):
        options = members, reach, scale, is_whole
        return _cuda().offsets(xy, shape, *options, pixels, axes, grid, return_weight, out)

    def draw(maps: Maps, points: NDArray[Any], weight: NDArray[Any]) -> None:
        cpu.offsets(members, reach, scale, is_whole, maps, points.astype(_DOUBLE), weight)

    return drawn(
        *(xy, (height, width), pixels, axes, grid, return_weight, out, draw), may_be_outside=True, members=members
    )


def _radius(radius: Any) -> float:
    if isinstance(radius, bool) or not isinstance(radius, (int, float, np.integer, np.floating)):
        raise TypeError(f"radius: expected a number of pixels; got {radius!r}")
    if not 0 < radius <= _LARGEST:
        raise ValueError(f"radius: expected a positive number of pixels, up to 1,000,000; got {radius!r}")
    return float(radius)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.encode._offsets import cuda

    return cuda
