"""Where the one hot pixel of a one-hot image is, by a search that holds no branch which depends on it."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._memory import item_bytes, load, load_first, load_line, octets, prefetch
from fastcoord._vector import CACHE_LINE, any_lane, lane_bits, splat, trailing_zeros
from fastcoord.decode._onehot.formula import matters

LINES = 8  # cache lines in a chunk
CHUNK = LINES * CACHE_LINE
PAGE = 2  # chunks searched before it is asked whether several are busy
CHUNKS = 62  # chunks that the bits of an int64 tell apart
AHEAD = 8192  # bytes between a line that is read and one that is prefetched; 4096: 0.71 instead of 0.83 (D2, random)
NONE, SEVERAL = -1, -2


@inlined
def _is_zero_chunk(lines: Any, at: int) -> Any:
    """Whether the bits of the chunk from byte `at` on are all zero."""
    a = load(lines, at, 64) | load(lines, at + 64, 64)
    b = load(lines, at + 128, 64) | load(lines, at + 192, 64)
    c = load(lines, at + 256, 64) | load(lines, at + 320, 64)
    d = load(lines, at + 384, 64) | load(lines, at + 448, 64)
    bits = (a | b) | (c | d)
    return not any_lane(bits != (bits ^ bits))


@inlined
def _lines_of_rest(lines: Any, at: int, end: int) -> Any:
    """The lines that are not zero, as bits, in the bytes from `at` to `end`, less than a chunk."""
    zero = splat(np.uint8(0), 64)
    bits = 0
    for line in range(at, end, CACHE_LINE):
        bits |= (1 if any_lane(load_first(lines, line, end - line, 64) != zero) else 0) << ((line - at) // CACHE_LINE)
    return bits


@inlined
def _busy_chunks(lines: Any, at: int, end: int) -> Any:
    """The chunks that are not zero, as bits, of the bytes from `at` to `end`, less than CHUNKS + 1 chunks.

    What is left after the last whole chunk is one too. Where several are busy, the rest may go unsearched.
    """
    chunks = (end - at) // CHUNK
    bits, done = 0, 0
    while done < chunks and bits & (bits - 1) == 0:
        some = PAGE if chunks - done > PAGE else chunks - done
        for c in range(done, done + some):
            for line in range(LINES):
                prefetch(lines, at + c * CHUNK + line * CACHE_LINE + AHEAD)
            bits |= (0 if _is_zero_chunk(lines, at + c * CHUNK) else 1) << c
        done += some
    if at + chunks * CHUNK < end:
        rest = _lines_of_rest(lines, at + chunks * CHUNK, end)
        bits |= (1 if rest != 0 else 0) << chunks
    return bits


@inlined
def _lone_chunk(lines: Any, at: int, end: int) -> Any:
    """The byte at which the one chunk begins that is not zero, of the map from byte `at` to `end`; NONE, or SEVERAL."""
    lone = NONE
    while at < end:
        stop = end if end - at <= CHUNKS * CHUNK else at + CHUNKS * CHUNK
        bits = _busy_chunks(lines, at, stop)
        if bits != 0:
            if lone != NONE or bits & (bits - 1) != 0:
                return SEVERAL
            lone = at + trailing_zeros(bits) * CHUNK
        at = stop
    return lone


@inlined
def lone_pixel(place: Any, start: int, pixels: int) -> Any:
    """The number of the one hot pixel of a map that begins with element `start`; NONE, or SEVERAL.

    SEVERAL may also be one hot pixel beside one that is negative.
    """
    lines = octets(place)
    size = item_bytes(place)
    end = (start + pixels) * size
    chunk = _lone_chunk(lines, start * size, end)
    if chunk < 0:
        return chunk
    if end - chunk < CHUNK:
        bits = _lines_of_rest(lines, chunk, end)
    else:
        bits = _lines_of_rest(lines, chunk, chunk + CHUNK)  # of a length known when compiled: no loop
    if bits & (bits - 1) != 0:
        return SEVERAL
    line = chunk + trailing_zeros(bits) * CACHE_LINE
    hot = lane_bits(matters(load_line(place, line // size, (end - line) // size)))
    if hot == 0 or hot & (hot - 1) != 0:
        return SEVERAL
    return line // size + trailing_zeros(hot) - start
