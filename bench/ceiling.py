"""The read and write bandwidth of this machine: the best of several readers and writers on an array of the same size.

No single loop is the fastest on every machine and at every size, and a slow ceiling flatters. What `fastcoord demo`
measures is joined by loops whose time says more about the machine than a demonstration needs.

``python -m bench.ceiling 268435456`` prints the times of all of them for an array of so many bytes.
"""

import argparse
import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.measure import measured, summary
from bench.workloads import resident
from fastcoord import _ceiling
from fastcoord._compile import kernel
from fastcoord._memory import (
    bytes_past_line,
    load,
    memory,
    store,
    store_streaming,
    stream_fence,
)
from fastcoord._vector import CACHE_LINE, splat

Pass = Callable[[NDArray[Any]], object]

ROW = 1 << 14  # bytes in a row of the row sum: a 64×64 float32 map
PIECE = 1 << 18  # bytes in a task of the writer; PIECE and ROW: multiples of a cache line


def readers(dtype: Any) -> dict[str, Pass]:
    """Functions that read every byte of a contiguous array of `dtype`, by name."""
    near = {"OR, prefetch 2 KB ahead": functools.partial(_ceiling._read, 2048)}
    plain = {"float32 row sum": row_sums} if np.dtype(dtype) == np.float32 else {}
    return {**_ceiling.readers(), **near, **plain}


def writers() -> dict[str, Pass]:
    """Functions that overwrite every byte of a contiguous array with zeros, by name."""
    return {
        **_ceiling.writers(),
        "streaming stores, 32 bytes": streaming_stores,
        "memset, one thread": memset,
        "memset, each thread": memset_by_threads,
    }


def contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """`array`, or where its pixels do not stand side by side an array of as many bytes: the ceiling of these pixels."""
    return array if array.flags.c_contiguous else resident(array.shape, array.dtype.str)


def reading(array: NDArray[Any]) -> dict[str, Callable[[], object]]:
    """Calls that read the bytes of `array`, by the reader's name."""
    array = contiguous(array)
    return {name: functools.partial(read, array) for name, read in readers(array.dtype).items()}


def writing(array: NDArray[Any]) -> dict[str, Callable[[], object]]:
    """Calls that overwrite the bytes of `array` with zeros, by the writer's name."""
    array = contiguous(array)
    return {name: functools.partial(write, array) for name, write in writers().items()}


def row_sums(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sums of each 16 KiB of a float32 array (and of what is left) in 16 lanes: the plainest loop over maps."""
    flat = array.reshape(-1)
    flat.flags.writeable = False  # one type, and so one compilation, for all arrays
    sums = np.empty((-(-flat.nbytes // ROW), 16), np.float32)
    _row_sums(flat.size, flat, sums)
    return sums


@kernel
def _row_sums(values: Any, sums: Any) -> None:
    place, lanes_of_rows = memory(values), memory(sums)
    for index in numba.prange(len(sums)):
        row = np.int64(index)
        first = row * (ROW // 4)
        last = min(first + ROW // 4, values.size)
        whole = first + (last - first) // 16 * 16
        lanes = splat(np.float32(0), 16)
        for k in range(first, whole, 16):
            lanes = lanes + load(place, k, 16)
        store(lanes_of_rows, row * 16, lanes)
        for k in range(whole, last):
            sums[row, 0] += place[k]


def streaming_stores(array: NDArray[Any]) -> None:
    """Zeros past the caches in halves of cache lines, the widest store of AVX2."""
    octets = array.reshape(-1).view(np.uint8)
    _streaming_stores(octets.size // 4, octets)


@kernel
def _streaming_stores(octets: Any) -> None:
    place = memory(octets)
    zeros = splat(np.uint8(0), 32)
    for index in numba.prange((octets.size + PIECE - 1) // PIECE):
        at = np.int64(index) * PIECE
        end = min(at + PIECE, octets.size)
        first = min(at + (CACHE_LINE - bytes_past_line(place, at)) % CACHE_LINE, end)
        last = first + (end - first) // 32 * 32
        for k in range(at, first):
            place[k] = 0
        for k in range(first, last, 32):
            store_streaming(place, k, zeros)
        for k in range(last, end):
            place[k] = 0
        stream_fence()


def memset(array: NDArray[Any]) -> None:
    """The C library's memset, which knows when to go past the caches."""
    ctypes.memset(array.ctypes.data, 0, array.nbytes)


def memset_by_threads(array: NDArray[Any]) -> None:
    """A memset of an equal piece in each of as many threads as Numba uses."""
    threads = numba.get_num_threads()
    piece = -(-array.nbytes // threads)
    starts = range(0, array.nbytes, piece)
    address = array.ctypes.data

    def fill(start: int) -> None:
        ctypes.memset(address + start, 0, min(piece, array.nbytes - start))

    list(_pool(threads).map(fill, starts))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling", description=__doc__.partition("\n")[0])
    parser.add_argument("bytes", type=int, nargs="?", default=1 << 28)
    parser.add_argument("--seconds", type=float, default=3.0, help="time for all of them (default: %(default)s)")
    given = parser.parse_args()
    array = resident((given.bytes // 4,), "float32")
    for kind, calls in (("read", reading(array)), ("write", writing(array))):
        print(f"{kind} {array.nbytes} bytes, {numba.get_num_threads()} threads")
        taken = measured(calls, budget=given.seconds / 2, least=7)
        for name, times in sorted(((name, summary(seconds)) for name, seconds in taken.items()), key=_median):
            rate = array.nbytes / times["median"] / 1e9
            print(f"  {name:28} {1e3 * times['median']:9.3f} ms {rate:7.1f} GB/s")


def _median(item: tuple[str, dict[str, Any]]) -> float:
    return float(item[1]["median"])


if __name__ == "__main__":
    main()
