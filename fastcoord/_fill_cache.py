"""`fastcoord compile`: every operation is called as users will call it, so that the disk cache has its machine code."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcoord import _compile, decode, encode, grid
from fastcoord._arrays import PIXEL_TYPES
from fastcoord._halves import FORMATS, format_of
from fastcoord.network import CoordNet

__all__ = ["CALLS", "COMMON", "TYPES", "Done", "fill"]

TYPES = (*(dtype.name for dtype in PIXEL_TYPES), *FORMATS)
COMMON = "float32", "uint8"  # bool has the machine code of uint8
ONE, MANY = 1, 5 * _compile.SERIAL_LIMIT // (64 * 64)  # maps: for one thread, and for all, also of one byte a pixel


class Arrays(NamedTuple):
    """What the calls take: maps of zeros, and points on their canvas."""

    maps: NDArray[Any]
    points: tuple[NDArray[Any], ...]  # in each of the types that kernels know; integers become float64
    canvas: dict[str, Any]  # the options of an encoder that makes such maps


def _of_floats(given: Arrays) -> dict[str, Any]:
    """The options of an encoder whose maps are floats: where the others are not, as it is without options."""
    return given.canvas if _is_float(given) else {"shape": given.canvas["shape"]}


def _of_wide_floats(given: Arrays) -> dict[str, Any]:
    """The options of an encoder that has no floats of 16 bits, and several maps for each point."""
    is_wide = given.maps.dtype.kind == "f" and given.maps.dtype.itemsize > 2
    return {"shape": given.canvas["shape"], "dtype": given.canvas["dtype"] if is_wide else np.float32}


def _float_type(given: Arrays) -> Any:
    """That of the maps if they are floats."""
    return given.canvas["dtype"] if _is_float(given) else np.float32


def _is_float(given: Arrays) -> bool:
    return given.maps.dtype.kind == "f" or format_of(given.canvas["dtype"]) is not None


# Every public function, by name: how it is called. `maps` lie in memory in each way for which there is a kernel. Of
# `CoordNet`, whose kernels go by the number of features too, the networks that it constructs, which have two.
CALLS: dict[str, Callable[[Arrays], object]] = {
    "decode.onehot": lambda given: decode.onehot(given.maps),
    "decode.argmax": lambda given: decode.argmax(given.maps),
    "decode.peaks": lambda given: decode.peaks(given.maps),
    "decode.simcc": lambda given: decode.simcc(given.maps, given.maps),  # each row is one of bins
    "decode.soft_argmax": lambda given: decode.soft_argmax(given.maps),
    "decode.center_of_mass": lambda given: decode.center_of_mass(given.maps),
    "encode.onehot": lambda given: [
        encode.onehot(xy, grid=to, **given.canvas) for xy in given.points for to in (None, grid.unit)
    ],
    "encode.box": lambda given: [encode.box(xy, **given.canvas) for xy in given.points],
    "encode.gaussian": lambda given: [encode.gaussian(xy, **_of_floats(given)) for xy in given.points],
    "encode.simcc": lambda given: [
        # as many bins as the maps have pixels, or about that
        encode.simcc(np.broadcast_to(xy, (32, *xy.shape)), shape=given.canvas["shape"], dtype=_float_type(given))
        for xy in given.points
    ],
    "encode.offsets": lambda given: [encode.offsets(xy, **_of_wide_floats(given)) for xy in given.points],
    "encode.splat": lambda given: [encode.splat(xy, **given.canvas) for xy in given.points],
    "CoordNet.onehot": lambda given: CoordNet.onehot_decoder(*given.maps.shape[1:])(given.maps),
    "CoordNet.box": lambda given: CoordNet.box_decoder(*given.maps.shape[1:])(given.maps),
}

# How so many maps lie in memory, each in a way that has a kernel of its own: what everybody has, and for `everything`
# the rest, with maps wider than one number type allows.
_USUAL: dict[str, Callable[[int, Any], NDArray[Any]]] = {
    "contiguous": lambda maps, dtype: np.zeros((maps, 64, 64), dtype),
    "one large map": lambda maps, dtype: np.zeros((1, 640, 640), dtype),
}
_OTHERS: dict[str, Callable[[int, Any], NDArray[Any]]] = {
    "rows apart": lambda maps, dtype: np.zeros((maps, 64, 65), dtype)[..., :64],
    "pixels apart": lambda maps, dtype: np.zeros((maps, 64, 128), dtype)[..., ::2],
    "wide": lambda maps, dtype: np.zeros((maps, 1, 4097), dtype),
}


class Done(NamedTuple):
    """What was called, and what it took."""

    operation: str
    dtype: str
    layout: str
    compiled: int  # kernels, each for one thread or for all
    stored: int  # of these, how many are in the cache now
    read: int  # kernels that were in the cache before
    seconds: float


def fill(types: Iterable[str], everything: bool = False) -> Iterator[Done]:
    """Call every operation on maps of these types, few and many; as most lie in memory, or in `everything` there is."""
    layouts = {**_USUAL, **(_OTHERS if everything else {})}
    for (operation, call), dtype, (layout, make) in itertools.product(CALLS.items(), types, layouts.items()):
        before, start = _compile.counts(), time.perf_counter()
        for maps in (ONE, MANY):
            # as kernels have it: NumPy's own bfloat16 needs a package
            call(_arrays(make(maps, FORMATS["bfloat16"] if dtype == "bfloat16" else dtype)))
        seconds = time.perf_counter() - start
        compiled, stored, read = (now - then for now, then in zip(_compile.counts(), before, strict=True))
        yield Done(operation, dtype, layout, compiled, stored, read, seconds)


def _arrays(maps: NDArray[Any]) -> Arrays:
    points = tuple(np.zeros((len(maps), 2), dtype) for dtype in (np.float32, np.float64))
    return Arrays(maps, points, {"shape": maps.shape[1:], "dtype": format_of(maps.dtype) or maps.dtype, "out": maps})
