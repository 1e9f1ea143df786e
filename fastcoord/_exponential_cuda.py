"""e to a power that is not positive, by the instruction that a GPU has for powers of two.

Its error is up to 2⁻²² of the power, four times that of `_exponential.exponential`, which takes ten instructions where
this takes two: enough for the weights of a mean.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic  # after _lanes, which says what is missing

from fastcoord._exponential import exponential
from fastcoord._lanes import overload_on_gpu

__all__ = ["power"]


def power(value: Any, rate: Any) -> Any:
    """As `exponential`, of scalars."""
    if value.dtype == np.float32:
        return np.exp2(value * rate[0])
    return exponential(value, rate)


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = ir.FloatType()
        instruction = ir.InlineAsm(ir.FunctionType(single, [single]), "ex2.approx.ftz.f32 $0, $1;", "=f,f")
        return builder.call(instruction, arguments)

    return types.float32(types.float32), generate


@overload_on_gpu(power)  # type: ignore[untyped-decorator]
def _power(value: Any, rate: Any) -> Any:
    if value == types.float32:
        return lambda value, rate: _power_of_two(value * rate[0])
    return lambda value, rate: exponential(value, rate)
