"""Where the largest of the pixels of a stretch is: in two steps, neither of which has a branch that depends on it.

A stretch is read in blocks of `LINES` vectors. Each lane keeps the largest value of its blocks, the number of the first
block that had it, and whether a second one had: that is `Steps.read`. Then the lanes are compared, and one block is
searched, which the cache still has: that is `Steps.find`, a long chain in which each instruction waits for the one
before. So several stretches are read first, and then searched together: their chains overlap.

A stretch whose pixels do not stand side by side is gathered in the same way.
"""

from typing import Any, NamedTuple

import numpy as np

from fastcoord._compile import inlined, outlined
from fastcoord._largest import (
    FAR,
    absorb,
    absorb_bits,
    greatest_key,
    is_key,
    is_nan_among,
    key,
    negative,
)
from fastcoord._memory import as_int16, gather, item_bytes, load_line, octets, prefetch, workspace
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    bit_count,
    first_lane,
    greatest_lane,
    integer_like,
    lane_bits,
    lane_numbers,
    least_lane,
    like,
    maximum,
    out_of_line,
    reinterpret,
    select,
    splat,
    trailing_zeros,
)

LINES = 8  # vectors in a block
GATHERED = 16  # lanes of a vector whose pixels stand apart
BLOCKS = 63  # in a stretch: any type of pixels holds twice the number of each, and one more
ABSENT = 127  # no mark
AHEAD = 8192  # bytes between a line that is read and one that is prefetched
WORD = 64  # bits


class Steps(NamedTuple):
    """How a stretch is decoded, whatever the type of its pixels; halves are compared as keys."""

    lowest: Any  # (place, at, infinity): a vector of the lowest value
    lanes: Any  # (place): of a vector
    read: Any  # (place, at, stride, pixels, infinity): largest values and marks of the lanes, whether a pixel is NaN
    find: Any  # (place, at, stride, pixels, infinity, *what `read` gave): the state of the stretch


class _Pixels(NamedTuple):
    """How pixels of a type are read. What lanes have seen is a tuple, whose last member is kept from block to block."""

    begin: Any  # (place, at, infinity): what was seen by lanes that saw nothing
    see: Any  # (seen, place, at, stride, count, infinity): and then the first `count` pixels of a vector
    largest: Any  # (seen): the largest value, as it is compared
    is_spoilt: Any  # (largest of all, last member of what was seen, infinity): where NaN was seen


def _lines(is_adjacent: bool) -> tuple[Any, Any]:
    """How many lanes a vector has, and how the first `count` pixels are read into one."""

    @inlined
    def lanes(place: Any) -> int:
        return CACHE_LINE // item_bytes(place) if is_adjacent else GATHERED

    @inlined
    def load(place: Any, at: int, stride: int, count: int) -> Any:
        return load_line(place, at, count) if is_adjacent else gather(place, at, stride, count, GATHERED)

    return lanes, load


def _plain(load: Any) -> _Pixels:
    @inlined
    def begin(place: Any, at: int, infinity: Any) -> Any:
        nothing = load(place, at, 1, 0)
        return nothing, nothing != nothing

    @inlined
    def see(seen: Any, place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        values = load(place, at, stride, count)
        return maximum(values, seen[0]), seen[1] | (values != values)  # in this order NaN is dropped

    return _Pixels(begin, see, inlined(lambda seen: seen[0]), inlined(lambda largest, is_nan, infinity: is_nan))


def _bits(load: Any) -> Any:
    """How floats of 16 bits are read; −∞ where there is no pixel."""

    @inlined
    def bits(place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        vector = load(as_int16(place), at, stride, count)
        is_there = lane_numbers(vector) < like(vector, count)
        least: Any = np.int16(negative(infinity))
        return select(is_there, vector, like(vector, least))

    return bits


def _halves(load: Any) -> _Pixels:
    """Floats of 16 bits, if none is NaN. If one is, that is noticed, and nothing else holds."""
    bits = _bits(load)

    @inlined
    def begin(place: Any, at: int, infinity: Any) -> Any:
        nothing = bits(place, at, 1, 0, infinity)
        unsigned = reinterpret(nothing, np.uint16(0))
        return nothing, unsigned, unsigned

    @inlined
    def see(seen: Any, place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        return absorb_bits(seen, bits(place, at, stride, count, infinity))

    return _Pixels(begin, see, inlined(lambda seen: greatest_key(seen[0], seen[1])), is_nan_among)


def _halves_and_nan(load: Any) -> _Pixels:
    """Floats of 16 bits."""
    bits = _bits(load)

    @inlined
    def begin(place: Any, at: int, infinity: Any) -> Any:
        return key(bits(place, at, 1, 0, infinity), infinity)

    @inlined
    def see(seen: Any, place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        number, is_nan = key(bits(place, at, stride, count, infinity), infinity)
        return maximum(number, seen[0]), seen[1] | is_nan

    return _Pixels(begin, see, inlined(lambda seen: seen[0]), inlined(lambda largest, is_nan, infinity: is_nan))


def _reader(pixels: _Pixels, lanes: Any, is_adjacent: bool) -> Any:
    """`Steps.read`, for such pixels."""
    begin, see, largest_of, is_spoilt = pixels

    @inlined
    def read(place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        octets_, size, width = octets(place), item_bytes(place), lanes(place)
        block = LINES * width
        nothing = begin(place, at, infinity)
        rest = nothing[-1]
        state = (largest_of(nothing), integer_like(largest_of(nothing), 0))
        mark, two = state[1], integer_like(state[0], 2)
        whole = count // block
        for b in range(whole):
            here = at + b * block * stride
            if is_adjacent:
                for line in range(LINES):
                    prefetch(octets_, here * size + line * CACHE_LINE + AHEAD)
            seen = nothing[:-1] + (rest,)
            for k in range(LINES):  # the count is known when compiled: no masks
                seen = see(seen, place, here + k * width * stride, stride, width, infinity)
            state, rest = absorb(state, largest_of(seen), mark), seen[-1]
            mark = mark + two
        if whole * block < count:
            here = at + whole * block * stride
            seen = nothing[:-1] + (rest,)
            for _line in range((count - whole * block) // width):
                seen = see(seen, place, here, stride, width, infinity)
                here += width * stride
            seen = see(seen, place, here, stride, count % width, infinity)
            state, rest = absorb(state, largest_of(seen), mark), seen[-1]
        return state[0], state[1], any_lane(is_spoilt(state[0], rest, infinity))

    return read


def pixels_of(load: Any, is_half: bool) -> _Pixels:
    """How all pixels are read by ``load(place, at, stride, count)``, and NaN is told from them at once."""
    return _halves_and_nan(load) if is_half else _plain(load)


def value_of(is_half: bool) -> Any:
    """How one pixel is read, as it is compared."""

    @inlined
    def value(place: Any, at: int, infinity: Any) -> Any:
        return key(np.int64(as_int16(place)[at]), infinity)[0] if is_half else place[at]

    return value


def finder(value: Any) -> Any:
    """How pixels are searched one by one: where the lanes of a vector do not tell."""

    @outlined
    def find(place: Any, at: int, stride: int, pixels: int, infinity: Any, wanted: Any) -> Any:
        """The number of the first pixel that is `wanted`, FAR if none is; 1 if there are several."""
        out_of_line()
        first, several = FAR, 0
        for i in range(pixels):
            if value(place, at + i * stride, infinity) == wanted:
                several = 0 if first == FAR else 1
                first = i if first == FAR else first
        return first, several

    return find


def _search(load: Any, lanes: Any, is_half: bool) -> Any:
    """How a block is searched."""

    @inlined
    def hits(place: Any, at: int, stride: int, best: Any) -> Any:
        """The lanes of a vector that are `best`, as bits."""
        if is_half:
            vector = load(as_int16(place), at, stride, lanes(place))
            return lane_bits(is_key(vector, best))
        vector = load(place, at, stride, lanes(place))
        return lane_bits(vector == like(vector, best))

    @inlined
    def word_of(place: Any, at: int, stride: int, best: Any, w: int) -> int:
        """Of as many pixels as a word has bits, those that are `best`."""
        width = lanes(place)
        lines, bits = WORD // width, 0
        for k in range(lines):
            bits |= hits(place, at + (w * lines + k) * width * stride, stride, best) << k * width
        return bits

    @inlined
    def search(place: Any, at: int, stride: int, best: Any) -> Any:
        """The number of the first of a block's pixels that are `best`, and how many are."""
        words = LINES * lanes(place) // WORD
        # The word is read back from here: no branch picks it
        kept = workspace(splat(np.uint64(0), LINES), 1)
        filled, count = 0, 0
        for w in range(words):
            bits = word_of(place, at, stride, best, w)
            kept[w] = np.uint64(bits)
            count += bit_count(bits)
            filled |= (1 if bits != 0 else 0) << w
        w = trailing_zeros(filled)
        return w * WORD + trailing_zeros(np.int64(kept[w])), count

    return search


def steps(is_adjacent: bool, is_half: bool) -> Steps:
    lanes, load = _lines(is_adjacent)
    pixels = _halves(load) if is_half else _plain(load)
    read_numbers = _reader(pixels, lanes, is_adjacent)
    begin, largest_of = pixels.begin, pixels.largest

    @inlined
    def lowest(place: Any, at: int, infinity: Any) -> Any:
        return largest_of(begin(place, at, infinity))

    value = value_of(is_half)
    find_one_by_one, search = finder(value), _search(load, lanes, is_half)

    @inlined
    def find(
        place: Any, at: int, stride: int, count: int, infinity: Any, largest: Any, marks: Any, is_spoilt: int
    ) -> Any:
        block = LINES * lanes(place)
        greatest, least = greatest_lane(largest), first_lane((lowest(place, at, infinity),))[0]
        if greatest == least and is_spoilt == 0:
            return greatest, 0, 1 if count > 1 else 0, is_spoilt
        if greatest == least or count < block:
            first, several = find_one_by_one(place, at, stride, count, infinity, greatest)
            return greatest, first, several, is_spoilt
        # From here on the lanes beyond the last pixel, which hold the lowest value, are not equal to the greatest
        holds = largest == like(largest, greatest)
        lanes_that_hold = lane_bits(holds)
        mark: Any = np.int64(least_lane(select(holds, marks, integer_like(largest, ABSENT))))
        offset = (mark >> 1) * block
        # The last block may be short: none of the pixels before it is the greatest, so as many of them are searched
        # too. Of a comparison the compiler makes a branch, which is mispredicted whenever it is the last block.
        beyond = count - block - offset
        offset += beyond & (beyond >> 63)
        first, hits = search(place, at + offset * stride, stride, greatest)
        # it came again in this lane, in another, or in the block
        is_tie = (mark & 1 != 0) | (lanes_that_hold & (lanes_that_hold - 1) != 0) | (hits > 1)
        return greatest, offset + first, 1 if is_tie else 0, is_spoilt

    if not is_half:
        return Steps(lowest, lanes, read_numbers, find)
    read_all = _reader(pixels_of(load, is_half), lanes, is_adjacent)

    @outlined
    def read_again(place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        out_of_line()
        return read_all(place, at, stride, count, infinity)

    @inlined
    def read(place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        largest, marks, is_spoilt = read_numbers(place, at, stride, count, infinity)
        if is_spoilt:
            return read_again(place, at, stride, count, infinity)
        return largest, marks, is_spoilt

    return Steps(lowest, lanes, read, find)
