"""Vectors of float32 as the bits of float16 and bfloat16, rounded to nearest, on the CPU.

By integers, since `fptrunc` to half is a call for each lane where the target lacks F16C. Numbers are not negative.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import convert, like, reinterpret, select

__all__ = ["as_bfloat16", "as_float16", "unchanged"]

_HALF = 0.5  # its unit in the last place is 2^−24, the least float16
_LEAST_NORMAL = 2.0**-14
_BEYOND = 65520.0  # rounds to infinity
_REBIAS = 112 << 23  # between the exponents' biases, 127 and 15
_INFINITY = 0x7C00


@inlined
def unchanged(values: Any) -> Any:
    """The values, of float32 or float64, themselves."""
    return values


@inlined
def _shifted(bits: Any, by: int, half: int) -> Any:
    """The integer nearest to bits / 2^by, of two the even one."""
    odd = (bits >> like(bits, by)) & like(bits, 1)
    return (bits + like(bits, half) + odd) >> like(bits, by)


@inlined
def as_bfloat16(values: Any) -> Any:
    """The bits of bfloat16; of numbers that are finite."""
    bits = reinterpret(values, np.int32(0))
    return convert(_shifted(bits, 16, 0x7FFF), np.uint16(0))


@inlined
def as_float16(values: Any) -> Any:
    """The bits of float16; infinity where that has no number."""
    bits = reinterpret(values, np.int32(0))
    normal = _shifted(bits - like(bits, _REBIAS), 13, 0x0FFF)
    tiny = reinterpret(values + like(values, _HALF), np.int32(0)) - reinterpret(like(values, _HALF), np.int32(0))
    found = select(values < like(values, _LEAST_NORMAL), tiny, normal)
    found = select(values >= like(values, _BEYOND), like(bits, _INFINITY), found)
    return convert(found, np.uint16(0))
