"""One answer for each map, on a GPU: the door that the decoders share, with every check before any work."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastcoord._arrays import Maps, decoded_members, maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._lanes import KEPT, WARP
from fastcoord._launch import Layout, described, device_of, flat_memory, made_or_given, require_cuda, require_int32
from fastcoord._placement_cuda import placed, placement
from fastcoord._recorded import recall
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Decoded

__all__ = ["AHEAD", "Share", "decoded", "placed", "rows_in_part", "rows_of", "share", "states"]

AHEAD = 4  # groups of 16 bytes that a lane loads before it looks at them
THREADS = 256  # in a block, at most
LANES = 1 << 17  # that keep a GPU busy: half of those of an H200
WARP_GROUPS = 1 << 12  # the largest map that one warp reads: 64 KiB
AGAIN_GROUPS = 1 << 8  # the same where it is read several times: 4 KiB, so that all maps that are read fit into the L2
BLOCK_GROUPS = 1 << 13  # the largest map that one block reads where there are few: 128 KiB


class Share(NamedTuple):
    """How the lanes of a GPU are shared among maps."""

    form: str  # "warps": one warp a map, several maps a block; "blocks": one block a map; "parts": several
    threads: int  # in a block
    parts: int  # blocks a map
    lanes: int  # a map

    def blocks(self, maps: int) -> int:
        """How many blocks so many maps take."""
        return -(-maps * WARP // self.threads) if self.form == "warps" else maps * self.parts

    @property
    def mergers(self) -> int:
        """Threads of a block that merges what the blocks of a map keep."""
        return min(-(-self.parts // WARP) * WARP, THREADS)


def share(maps: int, groups: int, parts: int = 0, may_part: bool = True, again: bool = False) -> Share:
    """How the lanes are shared among so many maps, of so many groups of 16 bytes (or pixels read one by one) each.

    `parts`: so many blocks read a map that several blocks read; 0: as many as keep the GPU busy. `again`: what is read
    is read again, and should come from the caches.

    A map has a warp where there are enough maps to keep all lanes busy: to merge the states of a warp is cheapest. It
    has a block that reads it in few steps where there are not, and several if it is large: many more than run at a
    time, so that the last ones do not leave most of the GPU idle.
    """
    if groups <= (AGAIN_GROUPS if again else WARP_GROUPS) and maps * WARP >= LANES:
        return Share("warps", THREADS, 1, WARP)
    if groups <= BLOCK_GROUPS or maps * THREADS >= LANES or parts == 1 or not may_part:
        steps = max(-(-groups // (AHEAD * THREADS)), 1)
        threads = min(-(-groups // (AHEAD * steps * WARP)) * WARP, THREADS) if steps < 8 else THREADS
        return Share("blocks", threads, 1, threads)
    parts = parts or max(min(8 * LANES // (maps * THREADS), groups // (4 * AHEAD * THREADS)), 2)
    return Share("parts", THREADS, parts, parts * THREADS)


PART = 1 << 13  # pixels, about, that a block reads where each reads some rows of a map


def rows_in_part(width: int) -> int:
    """How many rows of so many pixels a block reads where each reads some rows of a map."""
    return max(PART // width, 1)


@inlined
def rows_of(layout: Any, rows: Any) -> Any:
    """The layout of so many rows of a map, which are visited as the map is."""
    return Layout(
        layout.start,
        layout.outer_stride,
        layout.inner_count,
        layout.inner_stride,
        layout.row_stride,
        layout.column_stride,
        rows,
        layout.columns,
        layout.before,
        layout.columns_on,
        layout.rows_on,
    )


def states(array: Any, count: int, members: int) -> Any:
    """Memory for so many kept states, on the device of `array`."""
    return flat_memory("states", *reversed(made_or_given("states", None, array, (count * members * KEPT,), np.uint8)))


def decoded(
    name: str,
    array: Any,
    axes: Any,
    grid: Any,
    out: Any,
    launch_all: Callable[[Maps, Any, tuple[Any, Any, bool], tuple[Any, Any, Any, Any]], None],
    covariance: bool = False,
    options: Any = None,
) -> Decoded:
    """What a decoder returns, by ``launch_all(maps, array, placement, (xy, score, covariance, status))``.

    This launches the kernels. `placement` is for `placed`: three arguments of a kernel. The covariance is None unless
    it is asked for.

    `options` tell what `launch_all` does: which operation it is, and with which options. Calls on tensors with the same
    ones are recorded, as `_recorded.recall` says; None: they are not.

    `array`, of PyTorch, CuPy or Numba, or what has `__cuda_array_interface__`, is the argument `name`. The result is an
    array of the same library; of Numba where that is none of the three. The kernels run on the current stream of
    PyTorch or CuPy, on the default stream of others, and the host does not wait for them. Nothing is copied: elements
    that are not whole elements apart are refused, as are maps of 2³¹ pixels and more. The arrays of `out` are
    contiguous.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As for NumPy arrays; also for tensors that require grad and for arrays on two devices.
    """

    def call() -> Decoded:
        return _decoded(name, array, axes, grid, out, launch_all, covariance)

    key = None if options is None else (name, options, repr(axes), covariance)
    recalled: Decoded = recall(key, grid, array, out, call)
    return recalled


def _decoded(name: str, array: Any, axes: Any, grid: Any, out: Any, launch_all: Any, covariance: bool) -> Decoded:
    require_cuda()
    seen = pixel_array(name, described(name, array), halves=True)
    read = maps(name, seen, axes)
    require_int32(name, read.height, read.width)
    dtype: Any = np.dtype(np.float64 if seen.dtype == np.float64 else np.float32)
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, read.batch)

    def launch(written: tuple[Any, Any, Any, Any]) -> None:
        launch_all(read, array, placement(numbers, array, written[0]), written)

    return answered(array, (seen,), read.batch, dtype, out, launch, covariance)


def answered(
    array: Any,
    seen: tuple[Any, ...],
    batch: tuple[int, ...],
    dtype: Any,
    out: Any,
    launch: Callable[[tuple[Any, Any, Any, Any]], None],
    covariance: bool = False,
) -> Decoded:
    """What a decoder returns, by ``launch((xy, score, covariance, status))``, for the answers of a batch.

    On the device of `array`; `seen` are the descriptions of all arrays that are read. Only `out` is checked here.
    """
    given = (None, None, None, None) if out is None else decoded_members(out, covariance)
    xy, seen_xy = made_or_given("out.xy", given[0], array, (*batch, 2), dtype, *seen)
    score, seen_score = made_or_given("out.score", given[1], array, batch, dtype, *seen, seen_xy)
    status, seen_status = made_or_given("out.status", given[3], array, batch, np.int32, *seen, seen_xy, seen_score)
    spread, seen_spread = None, None
    if covariance:
        others = *seen, seen_xy, seen_score, seen_status
        spread, seen_spread = made_or_given("out.covariance", given[2], array, (*batch, 2, 2), dtype, *others)
    with device_of(array):
        written = (
            flat_memory("out.xy", seen_xy, xy),
            flat_memory("out.score", seen_score, score),
            None if seen_spread is None else flat_memory("out.covariance", seen_spread, spread),
            flat_memory("out.status", seen_status, status),
        )
        if seen_score.size:
            launch(written)
    return Decoded(xy, score, spread, status) if out is None else out
