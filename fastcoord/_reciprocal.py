"""1/v without a division, for which a GPU calls a routine.

A first guess by integers, whose error is at most an eighth, and Newton's steps y + y(1 − vy), each of which squares it.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcoord._compile import inlined
from fastcoord._vector import fma, like, overloaded

__all__ = ["reciprocal"]

# What minus the bits of v are those of about 1/v: J. F. Blinn, "Floating-point tricks", 1997
_GUESS = {32: 0x7EF311C7, 64: 0x7FDE623822FC16E6}


@intrinsic  # type: ignore[untyped-decorator]
def _guess(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = ir.IntType(value.bitwidth)
        difference = builder.sub(ir.Constant(bits, _GUESS[value.bitwidth]), builder.bitcast(values[0], bits))
        return builder.bitcast(difference, values[0].type)

    return value(value), generate


@inlined
def _step(guess: Any, value: Any) -> Any:
    return fma(guess, fma(-guess, value, like(value, 1)), guess)


@inlined
def _single(value: Any) -> Any:
    guess = _guess(value)
    return _step(_step(_step(_step(guess, value), value), value), value)


@inlined
def _double(value: Any) -> Any:
    guess = _guess(value)
    return _step(_step(_step(_step(_step(_step(guess, value), value), value), value), value), value)


def reciprocal(value: Any) -> Any:
    """1/`value` of a scalar from 1 to 2^100, to a unit in the last place; anything for NaN."""
    return type(value)(1) / value


@overloaded(reciprocal)
def _reciprocal(value: Any) -> Any:
    if value == types.float32:
        return lambda value: _single(value)
    return lambda value: _double(value)
