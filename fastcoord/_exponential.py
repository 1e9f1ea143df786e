"""e to a power that is not positive, for the lanes of a vector on the CPU and for a scalar on either target.

e^(v/T) = 2^k · 2^r, where k is the whole number nearest to v · log₂e/T, and r what is left, from −½ to ½. Adding
1.5 · 2^23 (in float64 2^52) to a number rounds it to a whole one, which then stands in the lowest bits; moved to where
a float has its exponent, they are 2^k. k is at least the exponent of zero, and so far negative powers are exactly 0.

The factor log₂e/T is a number of the type of v: rounding it is to change T by at most half a unit in its last place, as
a division would change the quotient. To bring what it lost in a second factor takes one more of ten operations.
"""

import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastcoord._compile import inlined
from fastcoord._vector import Vec, fma, instruction, like, maximum, overloaded, require

__all__ = ["Rate", "exponential", "rate", "rates"]

_LOG2_E = Fraction("1.44269504088896340735992468100189213742664595415299")

# 2^r: the largest error in units of the last place, 1.8 with all rounding, is least, and 2^0 is 1. With a term more it
# would be 1.0, and each pixel dearer by one operation of ten.
_SINGLE = (
    1.0,
    0.693146824836731,
    0.24022236466407776,
    0.05550891533493996,
    0.009671762585639954,
    0.0013225707225501537,
)
_DOUBLE = tuple(math.log(2) ** n / math.factorial(n) for n in range(14))  # the next term is 4e-18

_BITS = {np.dtype(np.float32): 23, np.dtype(np.float64): 52}  # of the fraction
_BIAS = {np.dtype(np.float32): 127, np.dtype(np.float64): 1023}  # of the exponent
_SINGLE_SHIFT, _DOUBLE_SHIFT = 1.5 * 2**23 + 127, 1.5 * 2**52 + 1023


class Rate(NamedTuple):
    """1/T for `exponential`, as scalars of one floating-point type."""

    factor: Any  # log₂e/T
    least: Any  # the value whose power is 0


@functools.lru_cache(maxsize=256)
def rate(temperature: float, dtype: Any) -> Rate:
    """For powers e^(v/temperature); `temperature` is between 1e-30 and 1e30."""
    number = np.dtype(dtype).type
    factor = number(float(_LOG2_E / Fraction(temperature)))
    return Rate(factor, number(-_BIAS[np.dtype(dtype)] / float(factor)))


def rates(temperatures: NDArray[Any], dtype: Any) -> Rate:
    """As `rate`, of an array of temperatures."""
    factors = (float(_LOG2_E) / temperatures).astype(dtype)
    return Rate(factors, (-_BIAS[np.dtype(dtype)] / factors.astype(np.float64)).astype(dtype))


def power_of_two(shifted: Any) -> Any:
    """2^k of a float in whose lowest bits stands k and the exponent's bias: these bits moved to its exponent."""
    integer = np.int32 if shifted.dtype == np.float32 else np.int64
    bits = shifted.view(integer)
    return np.left_shift(bits, integer(_BITS[shifted.dtype])).view(shifted.dtype.type)


def _emit_power_of_two(element: Any, builder: Any, value: Any) -> Any:
    bits = ir.IntType(element.bitwidth)
    shift = ir.Constant(bits, _BITS[np.dtype(str(element))])
    if isinstance(value.type, ir.VectorType):
        bits = ir.VectorType(bits, value.type.count)
        shift = ir.Constant(bits, [shift.constant] * bits.count)
    return builder.bitcast(builder.shl(builder.bitcast(value, bits), shift), value.type)


@instruction(power_of_two)
def _power_of_two(shifted: Any) -> Any:
    if not isinstance(shifted, Vec):
        return None
    require(shifted.kind == "float", f"power_of_two: expected floats; got {shifted}")
    return shifted(shifted), lambda builder, value: _emit_power_of_two(shifted.element, builder, value)


@intrinsic  # type: ignore[untyped-decorator]
def _scalar_power_of_two(context: Any, shifted: Any) -> Any:
    return shifted(shifted), lambda context, builder, signature, values: _emit_power_of_two(shifted, builder, values[0])


@overloaded(power_of_two)
def _power_of_two_of_scalar(shifted: Any) -> Any:
    return None if isinstance(shifted, Vec) else lambda shifted: _scalar_power_of_two(shifted)


@inlined
def _parts(value: Any, rate: Any, shift: float) -> Any:
    """2^k and r."""
    value, factor = maximum(like(value, rate[1]), value), like(value, rate[0])  # in this order NaN stays
    shifted = fma(value, factor, like(value, shift))
    return power_of_two(shifted), fma(value, factor, like(value, shift) - shifted)


@inlined
def _single(value: Any, rate: Any) -> Any:
    scale, r = _parts(value, rate, _SINGLE_SHIFT)
    power = fma(like(r, _SINGLE[5]), r, like(r, _SINGLE[4]))
    power = fma(power, r, like(r, _SINGLE[3]))
    power = fma(power, r, like(r, _SINGLE[2]))
    power = fma(power, r, like(r, _SINGLE[1]))
    return fma(power, r, like(r, _SINGLE[0])) * scale


@inlined
def _double(value: Any, rate: Any) -> Any:
    scale, r = _parts(value, rate, _DOUBLE_SHIFT)
    power = fma(like(r, _DOUBLE[13]), r, like(r, _DOUBLE[12]))
    power = fma(power, r, like(r, _DOUBLE[11]))
    power = fma(power, r, like(r, _DOUBLE[10]))
    power = fma(power, r, like(r, _DOUBLE[9]))
    power = fma(power, r, like(r, _DOUBLE[8]))
    power = fma(power, r, like(r, _DOUBLE[7]))
    power = fma(power, r, like(r, _DOUBLE[6]))
    power = fma(power, r, like(r, _DOUBLE[5]))
    power = fma(power, r, like(r, _DOUBLE[4]))
    power = fma(power, r, like(r, _DOUBLE[3]))
    power = fma(power, r, like(r, _DOUBLE[2]))
    power = fma(power, r, like(r, _DOUBLE[1]))
    return fma(power, r, like(r, _DOUBLE[0])) * scale


def exponential(value: Any, rate: Any) -> Any:
    """e^(value/T), for a `value` that is not positive (−∞ too) or NaN, and the two scalars of the `rate` of T.

    Exactly 1 for 0, exactly 0 where it is less than the least normal number, NaN for NaN.
    """
    return (_single if value.dtype == np.float32 else _double)(value, rate)


@overloaded(exponential)
def _exponential(value: Any, rate: Any) -> Any:
    element = value.element if isinstance(value, Vec) else value
    if element == types.float32:
        return lambda value, rate: _single(value, rate)
    return lambda value, rate: _double(value, rate)
