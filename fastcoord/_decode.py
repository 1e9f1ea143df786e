"""One answer for each map, on the CPU: the door that the decoders share, with every check before any work."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, decoded_members, flat, maps, pixel_array, require_apart, result, write_back
from fastcoord._libraries import in_library, library_of
from fastcoord.results import Decoded

_SINGLE, _DOUBLE, _FLAGS = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32)


def decoded(
    name: str, array: Any, axes: Any, out: Decoded | None, decode: Callable[[Maps, Any, Any, Any], None]
) -> Decoded:
    """What a decoder returns, by ``decode(maps, xy, score, status)``, which writes an answer for each map.

    `name` is that of the argument `array`. The arrays that are written are flat, xy with x and y in turn; xy and score
    are float64 where the maps are, else float32.

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
    if out is None:
        count = len(read.starts) * read.count
        xy, score, status = np.empty(2 * count, dtype), np.empty(count, dtype), np.empty(count, _FLAGS)
        if count:
            decode(read, xy, score, status)
        made = Decoded(xy.reshape(*batch, 2), score.reshape(batch), None, status.reshape(batch))
        return made if library is None else in_library(library, made)
    given = decoded_members(out)
    xy = result("out.xy", given[0], (*batch, 2), dtype, library=library)
    score = result("out.score", given[1], batch, dtype, library=library)
    status = result("out.status", given[3], batch, _FLAGS, library=library)
    require_apart(("out.xy", "out.score", "out.status"), xy, score, status, array)
    flat_xy, flat_score, flat_status = flat(xy), flat(score), flat(status)
    if flat_score.size:
        decode(read, flat_xy, flat_score, flat_status)
    write_back(flat_xy, xy)
    write_back(flat_score, score)
    write_back(flat_status, status)
    if library is not None:
        library.written(given[0])
        library.written(given[1])
        library.written(given[3])
    return out
