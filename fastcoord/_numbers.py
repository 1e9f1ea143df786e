"""Numbers that come beside the maps: gradients and parameters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import is_on_gpu
from fastcoord._halves import format_of, widened
from fastcoord._libraries import Library, is_bfloat16, library_of


def numbers_of(name: str, given: Any, library: Library | None, maps: str) -> Any:
    """An array of the library of the argument `maps` as one of NumPy, halves as float32; nested lists as they are."""
    if isinstance(given, (list, tuple, int, float)):
        return given
    if library_of(given) is not library or is_on_gpu(given):
        noun = "a NumPy array" if library is None else library.noun
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        raise TypeError(f"{name}: expected {noun} on the CPU, as {maps} is, or nested lists; got {kind}")
    array = given if library is None else library.read(name, given)
    if isinstance(array, np.ndarray):
        if format_of(array.dtype) is not None:
            return widened(array)
        if is_bfloat16(array.dtype):
            return array.astype(np.float32)
    return array


def real_numbers(name: str, shape: str, given: Any) -> NDArray[Any]:
    """`given` as an array of real numbers."""
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name}: expected shape {shape}; got {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers; got {array.dtype.name}")
    return array


def gradient_of(name: str, given: Any, shape: tuple[int, ...], library: Library | None, maps: str) -> NDArray[Any]:
    """The gradient with respect to what has this shape, in float64 and flat."""
    array = real_numbers(name, f"{shape}", numbers_of(name, given, library, maps))
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; got {array.shape}")
    return np.array(array, np.float64).reshape(-1)
