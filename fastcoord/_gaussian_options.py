"""Options of what draws Gaussians, as users give them: the widths, and the type of the pixels."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import pixel_type
from fastcoord._gaussian_axis import SIGMAS, axis_numbers, reaches
from fastcoord._halves import format_of

__all__ = ["TYPES", "float_type", "shape_fitted", "sigmas_of", "sizes_of"]

TYPES = ("float32", "float64", "float16", "bfloat16")
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_NAMES = {_SINGLE: "float32", _DOUBLE: "float64"}  # `dtype.name` takes two microseconds


def float_type(dtype: Any, halves: bool = True) -> tuple[np.dtype[Any], str]:
    """The type of the pixels, and its name; `halves`: of 16 bits too."""
    types = TYPES if halves else TYPES[:2]
    try:
        pixels = pixel_type(dtype, halves=True)
        name = _NAMES.get(pixels) or format_of(pixels) or pixels.name
        got = None if name in types else name
    except TypeError as error:
        got = str(error).rpartition("got ")[2]
    if got is not None:
        expected = "float16, bfloat16, float32 or float64" if halves else "float32 or float64"
        raise TypeError(f"dtype: expected {expected}; got {got}")
    return pixels, name


def sigmas_of(sigma: Any) -> Any:
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


def sizes_of(sigmas: Any, shape: tuple[int, ...], within: float | None, working: Any, mode: int) -> tuple[Any, Any]:
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


def shape_fitted(sigmas: Any, xy: Any) -> tuple[int, ...]:
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
