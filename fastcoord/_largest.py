"""The first of the largest pixels: the states of pixels one after the other, and the answer they come to.

A state is (largest pixel, position of the first such pixel, whether there are several, whether a pixel is NaN), the
last two 0 or 1; a position is NOWHERE while there is no pixel, and counts pixels in row-major order. NaN is neither
greater than a number nor equal to one, so it is never the largest. The pixels are compared in their own type, so no
two integers are taken for equal.

Floats of 16 bits are compared as integers of 16 bits: `key`.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import like, maximum, minimum, reinterpret, select
from fastcoord.results import Status

NOWHERE = (1 << 31) - 1  # on a GPU, whose maps have fewer pixels; on the CPU `FAR`
FAR = (1 << 62) - 1
INFINITY_BITS = {"float16": 0x7C00, "bfloat16": 0x7F80}
LOWEST_KEY = -(1 << 15)  # below that of −∞
SIGN = 1 << 15
NO_NUMBER = np.nan
EMPTY, NAN, TIE = (int(s) for s in (Status.EMPTY, Status.NAN, Status.TIE))


def number_type(dtype: Any) -> Any:
    """The type in which a GPU compares pixels of type `dtype`: one that it has and that holds all of them."""
    wide = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))
    return dtype.type if dtype in wide else np.int32


@inlined
def key(bits: Any, infinity: Any) -> Any:
    """An integer in the order of the floats whose `bits` these are, both zeros 0, LOWEST_KEY for NaN; and where NaN is.

    The bits are a sign and a size; `infinity` is the size of ∞, beyond which are those of NaN. A sketch that converted
    to float32 instead reached 0.71 of the read ceiling where one with keys reached 0.98 (D1, Ice Lake).
    """
    size = bits & like(bits, 0x7FFF)
    sign = bits >> like(bits, 15)  # 0 or −1: minus is to flip all bits and to subtract −1
    is_nan = size > like(bits, infinity)
    return select(is_nan, like(bits, LOWEST_KEY), (size ^ sign) - sign), is_nan


@inlined
def absorb(state: Any, value: Any, mark: Any) -> Any:
    """The state (largest value, mark) after a value that stands behind those before, and is not NaN.

    A mark is twice a number, and one more if the largest value came again. It begins with the lowest value of the type,
    which is not told from a pixel: as long as that is the largest, the mark means nothing.
    """
    largest, first = state
    again = select(value == largest, first | like(first, 1), first)
    return maximum(value, largest), select(value > largest, mark, again)


@inlined
def absorb_bits(extremes: Any, bits: Any) -> Any:
    """The greatest of the `bits` of floats as signed integers, their least and the greatest of all as unsigned ones.

    That is enough for `greatest_key` and `is_nan_among`, and half the work of a `key` for each pixel.
    """
    high, low, top = extremes
    unsigned = reinterpret(bits, np.uint16(0))
    return maximum(bits, high), minimum(unsigned, low), maximum(unsigned, top)


@inlined
def greatest_key(high: Any, low: Any) -> Any:
    """The greatest key of floats, none of them NaN, that have these extremes.

    The largest is the one with the greatest bits, or where all are negative the one with the least.
    """
    return select(high < like(high, 0), like(high, LOWEST_KEY) - reinterpret(low, np.int16(0)), high)


@inlined
def is_nan_among(greatest: Any, top: Any, infinity: Any) -> Any:
    """Whether a float is NaN, of those that have the unsigned extreme `top` and this `greatest_key`."""
    return (greatest > like(greatest, infinity)) | (top > like(top, negative(infinity)))


@inlined
def is_key(bits: Any, wanted: Any) -> Any:
    """Where the float with these `bits` has the key `wanted`, a scalar that is not LOWEST_KEY."""
    one: Any = wanted if wanted >= 0 else np.int16(LOWEST_KEY - wanted)
    other: Any = np.int16(LOWEST_KEY) if wanted == 0 else one  # both zeros
    return (bits == like(bits, one)) | (bits == like(bits, other))


@inlined
def negative(bits: Any) -> Any:
    """The bits of minus the positive float that has these, as an unsigned integer."""
    return np.uint16(bits) | np.uint16(SIGN)


@inlined
def pixel(value: Any, position: Any, nowhere: Any) -> Any:
    """The state of one pixel."""
    is_nan = value != value
    return (
        value,
        select(is_nan, nowhere, position),
        like(position, 0),
        select(is_nan, like(position, 1), like(position, 0)),
    )


@inlined
def absorb_counting(state: Any, value: Any, position: Any) -> Any:
    """(largest, position of the first, whether there are several) after a value behind those before, which is not NaN.

    It begins with what is lower than every value.
    """
    largest, first, several = state
    is_greater, is_equal = value > largest, value == largest
    return (
        select(is_greater, value, largest),
        select(is_greater, position, first),
        select(is_greater, like(several, 0), select(is_equal, like(several, 1), several)),
    )


@inlined
def merge(a: Any, b: Any, nowhere: Any) -> Any:
    """The state of the pixels of both, in whatever order they come."""
    has_both = (a[1] != nowhere) & (b[1] != nowhere)
    is_tie = has_both & (a[0] == b[0])
    takes = (a[1] == nowhere) | (has_both & (b[0] > a[0])) | (is_tie & (b[1] < a[1]))
    several = select(takes, b[2], a[2])
    return (
        select(takes, b[0], a[0]),
        select(takes, b[1], a[1]),
        select(is_tie, like(several, 1), several),
        maximum(a[3], b[3]),
    )


@inlined
def finish(score: Any, x: Any, y: Any, is_found: Any, several: Any, is_spoilt: Any, threshold: Any) -> Any:
    """x, y, score and status bits; of type of `score`, as is `threshold`: NaN where there is none.

    `is_found`: there is a pixel; `is_spoilt`: there is a NaN, and it counts.
    """
    nothing = like(score, NO_NUMBER)
    if is_spoilt:
        return nothing, nothing, nothing, NAN
    if not is_found:
        return nothing, nothing, nothing, EMPTY
    status = TIE if several != 0 else 0
    if score <= threshold:
        return nothing, nothing, score, status | EMPTY
    return x, y, score, status
