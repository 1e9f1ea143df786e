"""How fast this machine reads and writes: what no decoder and no encoder can beat, measured here and now.

Each reader takes all bytes of a contiguous array, each writer overwrites them with zeros, with as many threads as Numba
uses. No single loop is the fastest on every machine and at every size, so a ceiling is the best of several.

An array to be read must have been written before: of one fresh from `np.zeros` all pages are the same page of zeros,
which is read from the cache (four times the speed of memory was seen).
"""

import functools
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastcoord._compile import inlined, kernel
from fastcoord._memory import (
    bytes_past_line,
    load,
    load_first,
    memory,
    prefetch,
    store,
    store_first,
    store_streaming,
    stream_fence,
)
from fastcoord._vector import CACHE_LINE, any_lane, splat

__all__ = ["medians", "read_ceiling", "readers", "write_ceiling", "writers"]

TASK = 1 << 18  # bytes that a thread reads or writes in one piece
BLOCK = 8 * CACHE_LINE  # bytes for which a reader has loads of their own in flight


def readers() -> dict[str, Callable[[NDArray[Any]], object]]:
    """Functions that read every byte of a contiguous array, by name."""
    return {
        "OR": functools.partial(_read, 0),
        "OR, prefetch 4 KB ahead": functools.partial(_read, 4096),
        "OR, prefetch 8 KB ahead": functools.partial(_read, 8192),
        "sum": functools.partial(_read, -1),
        "numpy max": _max,
    }


def writers() -> dict[str, Callable[[NDArray[Any]], object]]:
    """Functions that overwrite every byte of a contiguous array with zeros, by name."""
    return {
        "plain stores": functools.partial(_write, False),
        "streaming stores": functools.partial(_write, True),
        "numpy fill": lambda array: array.fill(0),
    }


def read_ceiling(array: NDArray[Any]) -> dict[str, float]:
    """Median seconds in which each of `readers` reads exactly the bytes of `array`; the ceiling is the least."""
    return medians({name: functools.partial(read, array) for name, read in readers().items()})


def write_ceiling(array: NDArray[Any]) -> dict[str, float]:
    """Median seconds in which each of `writers` overwrites exactly the bytes of `array`; the ceiling is the least."""
    return medians({name: functools.partial(write, array) for name, write in writers().items()})


def medians(calls: Mapping[str, Callable[[], object]], *, seconds: float = 0.5, least: int = 7) -> dict[str, float]:
    """Median seconds of each call, all measured side by side: in every round each runs once.

    A machine's speed wanders by more than the differences of interest; within a round it wanders for all alike. Each
    round has another order, since a call also pays for what the one before it left in the caches to be written. Rounds
    are made for `seconds`, and `least` of them in any case, after one that is not counted (compilation, page faults).
    """
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(0).shuffle
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or time.perf_counter() < end:
        shuffle(order)
        for name in order:
            call = calls[name]
            before = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - before)
        rounds += 1
    return {name: statistics.median(times) for name, times in taken.items()}


def _read(ahead: int, array: NDArray[Any]) -> None:
    octets = _octets(array)
    octets.flags.writeable = False  # one type, and so one compilation, for all arrays
    _read_lines(octets.size // 4, octets, ahead, np.empty(-(-octets.size // TASK), np.bool_))


def _write(is_streamed: bool, array: NDArray[Any]) -> None:
    octets = _octets(array)
    _write_lines(octets.size // 4, octets, is_streamed)


def _max(array: NDArray[Any]) -> Any:
    return np.max(array.view(np.uint8) if array.dtype == np.bool_ else array)  # a search for True ends at the first


def _octets(array: NDArray[Any]) -> NDArray[np.uint8]:
    if not array.flags.c_contiguous:
        raise ValueError(f"array: expected a contiguous array; got strides {array.strides}")
    return array.reshape(-1).view(np.uint8)


@inlined
def _or_block(place: Any, at: int) -> Any:
    a = load(place, at, CACHE_LINE) | load(place, at + 64, CACHE_LINE)
    b = load(place, at + 128, CACHE_LINE) | load(place, at + 192, CACHE_LINE)
    c = load(place, at + 256, CACHE_LINE) | load(place, at + 320, CACHE_LINE)
    d = load(place, at + 384, CACHE_LINE) | load(place, at + 448, CACHE_LINE)
    return (a | b) | (c | d)


@kernel
def _read_lines(octets: Any, ahead: int, sink: Any) -> None:
    """OR blocks of lines, with a prefetch `ahead` bytes further on if that is not 0; if it is −1, add line by line."""
    place = memory(octets)
    for index in numba.prange(sink.size):
        task = np.int64(index)
        at = task * TASK
        end = min(at + TASK, octets.size)
        head = min((CACHE_LINE - bytes_past_line(place, at)) % CACHE_LINE, end - at)
        total = load_first(place, at, head, CACHE_LINE)
        zero = total ^ total
        at += head
        last = at + (end - at) // BLOCK * BLOCK
        if ahead < 0:
            for line in range(at, last, CACHE_LINE):
                total = total + load(place, line, CACHE_LINE)
        elif ahead == 0:
            for block in range(at, last, BLOCK):
                total = total | _or_block(place, block)
        else:
            for block in range(at, last, BLOCK):
                for line in range(0, BLOCK, CACHE_LINE):
                    prefetch(place, block + line + ahead)
                total = total | _or_block(place, block)
        for line in range(last, end, CACHE_LINE):
            total = total | load_first(place, line, end - line, CACHE_LINE)
        sink[task] = any_lane(total != zero)  # the bytes must matter, or the compiler drops the loads


@kernel
def _write_lines(octets: Any, is_streamed: bool) -> None:
    """Write zeros, past the caches if `is_streamed`."""
    place = memory(octets)
    zeros = splat(np.uint8(0), 64)
    for index in numba.prange((octets.size + TASK - 1) // TASK):
        task = np.int64(index)
        at = task * TASK
        end = min(at + TASK, octets.size)
        head = min((CACHE_LINE - bytes_past_line(place, at)) % CACHE_LINE, end - at)
        store_first(place, at, zeros, head)
        at += head
        last = at + (end - at) // CACHE_LINE * CACHE_LINE
        if is_streamed:
            for line in range(at, last, CACHE_LINE):
                store_streaming(place, line, zeros)
            stream_fence()
        else:
            for line in range(at, last, CACHE_LINE):
                store(place, line, zeros)
        store_first(place, last, zeros, end - last)
