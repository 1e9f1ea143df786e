"""One answer for each map, on the CPU: the door that the decoders share, with every check before any work."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, decoded_members, flat, maps, pixel_array, require_apart, result, write_back
from fastcoord._libraries import in_library, library_of
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Decoded

_SINGLE, _DOUBLE, _FLAGS = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32)
_NO_COVARIANCE = {dtype: np.empty(0, dtype) for dtype in (_SINGLE, _DOUBLE)}


def decoded(
    name: str,
    array: Any,
    axes: Any,
    grid: Any,
    out: Decoded | None,
    decode: Callable[[Maps, Any, Any, Any, Any, Any], None],
    covariance: bool = False,
) -> Decoded:
    """What a decoder returns, by ``decode(maps, numbers, xy, score, covariance, status)``, an answer for each map.

    `name` is that of the argument `array`. The arrays that are written are flat, xy with x and y in turn; xy, score and
    covariance are float64 where the maps are, else float32. Of covariance there are four elements for each map, or none
    at all if it is not asked for. `numbers`, of the type of xy, are for `_placement.placed`.

    Raises
    ------
    TypeError, ValueError
        As the decoders say.
    """
    library = library_of(array)
    array = pixel_array(name, array, halves=True)
    read = maps(name, array, axes)
    dtype = _DOUBLE if array.dtype == _DOUBLE else _SINGLE
    batch = read.batch
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, batch)

    def answer(xy: Any, score: Any, spread: Any, status: Any) -> None:
        decode(read, numbers, xy, score, spread, status)

    return answered((array,), library, batch, dtype, out, answer, covariance)


def answered(
    arrays: tuple[NDArray[Any], ...],
    library: Any,
    batch: tuple[int, ...],
    dtype: np.dtype[Any],
    out: Decoded | None,
    decode: Callable[[Any, Any, Any, Any], None],
    covariance: bool = False,
) -> Decoded:
    """What a decoder of these `arrays` returns, by ``decode(xy, score, covariance, status)``: the answers of a batch.

    `out` is checked here, and nothing else; all is as `decoded` says.
    """
    if out is None:
        count = math.prod(batch)
        xy, score, status = np.empty(2 * count, dtype), np.empty(count, dtype), np.empty(count, _FLAGS)
        spread = np.empty(4 * count, dtype) if covariance else _NO_COVARIANCE[dtype]
        if count:
            decode(xy, score, spread, status)
        made = Decoded(
            xy.reshape(*batch, 2),
            score.reshape(batch),
            spread.reshape(*batch, 2, 2) if covariance else None,
            status.reshape(batch),
        )
        return made if library is None else in_library(library, made)
    given = decoded_members(out, covariance)
    xy = result("out.xy", given[0], (*batch, 2), dtype, library=library)
    score = result("out.score", given[1], batch, dtype, library=library)
    status = result("out.status", given[3], batch, _FLAGS, library=library)
    written, names = [xy, score, status], ["out.xy", "out.score", "out.status"]
    if covariance:
        written.append(result("out.covariance", given[2], (*batch, 2, 2), dtype, library=library))
        names.append("out.covariance")
    require_apart(names, *written, *arrays)
    flat_written = [flat(member) for member in written]
    flat_xy, flat_score, flat_status, *spreads = flat_written
    if flat_score.size:
        decode(flat_xy, flat_score, spreads[0] if spreads else _NO_COVARIANCE[dtype], flat_status)
    for flat_member, member in zip(flat_written, written, strict=True):
        write_back(flat_member, member)
    if library is not None:
        for member in given:
            if member is not None:
                library.written(member)
    return out
