"""What coordinates count: pixels, or the conventions of other libraries, as `grid=` of decoders and encoders.

A grid puts each pixel of a map somewhere, on each axis by itself: pixel number i of n at (gain · i + shift) / divisor,
whose three numbers follow from n. `corners`, `half`, `unit` and `unit_half` are grids; `affine`, `strides`, `udp` and
`crops` make some. ``grid=None`` is pixels: the centre of the top left pixel is (0, 0). An axis of one pixel, where a
formula would divide by zero, is at 0.

Covariances stay in px², and pixels that are not found stay NaN.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcoord._placement import NUMBERS

__all__ = ["Grid", "affine", "corners", "crops", "half", "strides", "udp", "unit", "unit_half"]

# Of an axis, the numbers of `_placement`; each as what it is for an axis of no pixel, and what each pixel adds
_Axis = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a map are, for maps of every size; made by the functions here.

    Grids cannot be changed, can be pickled, and equal grids are equal.
    """

    name: str = field(compare=False)
    """The call that makes it, or its name in `fastcoord.grid`."""
    batch: tuple[int, ...]
    """The batch shape of the maps that have a grid each; () where all maps have the same."""
    _values: bytes = field(repr=False)  # (*batch, 2 axes, 3 numbers, 2) float64: of no pixel, and what each pixel adds

    def scale_and_offset(self, height: int, width: int) -> NDArray[np.float64]:
        """(..., 4) float64: scale_x, offset_x, scale_y, offset_y for maps of this size; in front is the `batch`."""
        axes = self._axes(height, width)
        both = axes[..., :2] / axes[..., 2:]
        return both.reshape(*self.batch, 4) + 0.0  # no −0.0

    def from_pixels(self, xy: ArrayLike, height: int, width: int) -> NDArray[np.float64]:
        """Points (..., 2), which count pixels of maps of this size, in this grid; in front is the `batch`."""
        return _applied(self._axes(height, width), xy)

    def to_pixels(self, xy: ArrayLike, height: int, width: int) -> NDArray[np.float64]:
        """Points (..., 2) of this grid as pixels of maps of this size; in front is the `batch`."""
        return _applied(_inverse(self._axes(height, width)), xy)

    def _axes(self, height: int, width: int) -> NDArray[np.float64]:
        """(..., 2, 3): for each map and for x and y gain, shift and divisor."""
        extents = np.array([width, height], np.float64)[:, None]
        coefficients = np.frombuffer(self._values).reshape(*self.batch, 2, 3, 2)
        axes: NDArray[np.float64] = coefficients[..., 0] + coefficients[..., 1] * extents
        axes[axes[..., 2] == 0] = (0, 0, 1)  # one pixel, and a formula that divides by zero
        return axes


def _made(name: str, coefficients: Any) -> Grid:
    array = np.asarray(coefficients, np.float64) + 0.0  # no −0.0, whose bytes are others
    return Grid(name, array.shape[:-3], array.tobytes())


def _of_extent(name: str, axis: _Axis) -> Grid:
    return _made(name, [axis, axis])


corners = _of_extent("corners", ((2, 0), (1, -1), (-1, 1)))
"""2i/(n − 1) − 1: −1 and 1 are the centres of the first and the last pixel, as kornia and Uber's CoordConv have it."""

half = _of_extent("half", ((2, 0), (1, -1), (0, 1)))
"""(2i + 1)/n − 1: −1 and 1 are the outer edges, as dsntnn and PyTorch's `grid_sample` have it."""

unit = _of_extent("unit", ((1, 0), (0, 0), (0, 1)))
"""i/n."""

unit_half = _of_extent("unit_half", ((2, 0), (1, 0), (0, 2)))
"""(i + ½)/n: 0 and 1 are the outer edges."""


def affine(scale: Any, offset: Any = 0.0) -> Grid:
    """The same for maps of every size: pixel i is at ``scale * i + offset``.

    Parameters
    ----------
    scale, offset : number, or two of them for x and y
        Finite; `scale` is not 0.

    Raises
    ------
    TypeError, ValueError
        If they are none of these.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((1, 48, 64), np.float32)
    >>> heatmaps[0, 5, 7] = 1
    >>> fc.decode.argmax(heatmaps, grid=fc.grid.affine(scale=(2, 0.5), offset=10)).xy
    array([[24. , 12.5]], dtype=float32)
    """
    return _affine("affine", "scale", scale, offset)


def strides(stride: Any, offset: Any = 0.0) -> Grid:
    """Pixels of the image whose heatmaps are smaller by `stride`: pixel i is at ``stride * i + offset``.

    Parameters
    ----------
    stride, offset : number, or two of them for x and y
        `offset` is 0 where the first pixels of both lie upon each other, ``(stride - 1) / 2`` where both show the same
        part of the world.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> fc.encode.onehot([[6, 1]], shape=(1, 3), dtype="uint8", grid=fc.grid.strides(4, 1.5))
    array([[[0, 1, 0]]], dtype=uint8)
    """
    return _affine("strides", "stride", stride, offset)


def _affine(function: str, name: str, scale: Any, offset: Any) -> Grid:
    (scale_x, scale_y), (offset_x, offset_y) = _pair(name, scale), _pair("offset", offset)
    if scale_x == 0 or scale_y == 0:
        raise ValueError(f"{name}: expected numbers that are not 0; got {scale!r}")
    made = f"{function}(({scale_x!r}, {scale_y!r}), ({offset_x!r}, {offset_y!r}))"
    return _made(made, [((scale_x, 0), (offset_x, 0), (1, 0)), ((scale_y, 0), (offset_y, 0), (1, 0))])


def udp(shape: Sequence[int]) -> Grid:
    """Pixels of the image whose heatmaps have the same corner pixels: pixel i of n is at ``i * (m - 1) / (n - 1)``.

    Source: J. Huang et al., "The devil is in the details: delving into unbiased data processing for human pose
    estimation", CVPR 2020.

    Parameters
    ----------
    shape : two ints
        (height, width) of the image: m is one of these.

    Examples
    --------
    >>> import fastcoord as fc
    >>> fc.grid.udp((256, 192)).from_pixels([47, 63], height=64, width=48)
    array([191., 255.])
    """
    height, width = _pair("shape", shape)
    if not (height >= 1 and width >= 1 and height == int(height) and width == int(width)):
        raise ValueError(f"shape: expected a height and a width of at least 1; got {shape!r}")
    axes = [((extent - 1, 0), (0, 0), (-1, 1)) for extent in (width, height)]
    return _made(f"udp(({int(height)}, {int(width)}))", axes)


def crops(boxes: ArrayLike) -> Grid:
    """Pixels of the image of which the maps show boxes: pixel i of n is at ``x0 + (i + 0.5) * (x1 - x0) / n - 0.5``.

    Parameters
    ----------
    boxes : array (..., 4)
        (x0, y0, x1, y1): the part ``image[y0:y1, x0:x1]``, x1 and y1 excluded, which need not be whole numbers; at
        pixel centres as everywhere, so a box (0, 0, W, H) that a map of that size shows changes nothing. One box for
        all maps, or an array whose shape in front of the last axis broadcasts to the batch shape of the maps. A box
        with x1 < x0 is mirrored.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((2, 3, 64, 48), np.float32)  # of two persons three joints each
    >>> heatmaps[..., 20, 10] = 1
    >>> boxes = np.array([[0, 0, 48, 64], [100, 50, 196, 178]])
    >>> fc.decode.argmax(heatmaps, grid=fc.grid.crops(boxes[:, None])).xy[:, 0]
    array([[ 10. ,  20. ],
           [120.5,  90.5]], dtype=float32)
    """
    try:
        array = np.array(boxes, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"boxes: expected an array of numbers (..., 4); got {boxes!r}") from None
    if array.ndim < 1 or array.shape[-1] != 4:
        raise ValueError(f"boxes: expected shape (..., 4), the last axis (x0, y0, x1, y1); got {array.shape}")
    low, high = array[..., :2], array[..., 2:]
    size = high - low
    if not (np.isfinite(array).all() and (size != 0).all()):
        raise ValueError("boxes: expected finite numbers, and x1 and y1 that are not x0 and y0")
    nil = np.zeros_like(size)
    coefficients = [size, nil, size / 2, low - 0.5, nil, nil + 1]
    name = f"crops({array.tolist()})" if array.ndim == 1 else f"crops(<{array.shape}>)"
    return _made(name, np.stack(coefficients, -1).reshape(*size.shape, 3, 2))


def _pair(name: str, value: Any) -> tuple[float, float]:
    """One number twice, or two."""
    numbers = value if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    kinds = int, float, np.integer, np.floating
    if len(numbers) != 2 or not all(isinstance(number, kinds) for number in numbers):
        raise TypeError(f"{name}: expected a number, or two of them; got {value!r}")
    first, second = map(float, numbers)
    if not (math.isfinite(first) and math.isfinite(second)):
        raise ValueError(f"{name}: expected finite numbers; got {value!r}")
    return first, second


def _inverse(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way back; an axis of one pixel whose grid is a single point takes every point."""
    gain, shift, divisor = np.moveaxis(axes, -1, 0)
    is_point = gain == 0
    return np.stack([np.where(is_point, 0, divisor), -shift, np.where(is_point, 1, gain)], -1)


def _applied(axes: NDArray[np.float64], xy: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(xy, np.float64)
    moved: NDArray[np.float64] = (axes[..., 0] * points + axes[..., 1]) / axes[..., 2]
    return moved


def require_grid(grid: Any) -> None:
    """Refuse what is no `grid=`."""
    if grid is not None and not isinstance(grid, Grid):
        kind = f"{type(grid).__module__}.{type(grid).__qualname__}"
        raise TypeError(f"grid: expected a grid of fastcoord.grid, or None; got {kind}")


def numbers_for(
    grid: Grid | None, dtype: np.dtype[Any], height: int, width: int, batch: tuple[int, ...], back: bool = False
) -> NDArray[Any]:
    """The numbers of `_placement` for maps of this size, in `dtype`, flat: of one map if all have the same.

    `back`: those of the way to pixels.
    """
    if grid is None:
        return _PIXELS[dtype]
    if grid.batch == ():
        return _numbers_of_all(grid, dtype, height, width, back)
    numbers = _numbers(grid, dtype, height, width, back)
    try:
        return _read_only(np.broadcast_to(numbers, (*batch, NUMBERS)).reshape(-1))
    except ValueError:
        raise ValueError(f"grid: expected boxes for maps of batch shape {batch}; got {grid.batch}") from None


def _numbers(grid: Grid, dtype: np.dtype[Any], height: int, width: int, back: bool) -> NDArray[Any]:
    """(..., NUMBERS): in front is the batch of the grid."""
    axes = grid._axes(height, width)
    numbers = np.empty((*grid.batch, 2, NUMBERS // 2), dtype)
    with np.errstate(over="ignore"):  # beyond the type it is infinite
        numbers[..., :3] = _inverse(axes) if back else axes
    numbers[..., 3] = 1 / numbers[..., 2].astype(np.float64)
    numbers[..., 1][numbers[..., 1] == 0] = -0.0  # added, it changes nothing, not even −0.0
    return numbers.reshape(*grid.batch, NUMBERS)


@functools.lru_cache(maxsize=256)
def _numbers_of_all(grid: Grid, dtype: np.dtype[Any], height: int, width: int, back: bool) -> NDArray[Any]:
    return _read_only(_numbers(grid, dtype, height, width, back))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False  # all of them, so that a kernel is compiled once
    return array


_PIXELS = {
    dtype: _read_only(np.array([1, -0.0, 1, 1, 1, -0.0, 1, 1], dtype))
    for dtype in (np.dtype(np.float32), np.dtype(np.float64))
}
