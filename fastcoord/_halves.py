"""Floats of 16 bits: float16 and bfloat16. They are read from memory as float32, which holds all of them.

Numba has neither on the CPU, and NumPy no bfloat16. An array of them goes to a kernel as a view of records with one
member, which the type system tells apart and whose name is the format: `FORMATS`. `_memory` converts what it loads.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

FORMATS = {name: np.dtype([(name, np.uint16)]) for name in ("float16", "bfloat16")}
LOWEST = {"float16": 0xFC00, "bfloat16": 0xFF80}  # the bits of −∞
GREATEST = {"float16": 65504.0, "bfloat16": float.fromhex("0x1.fep127")}


class Half(types.Type):  # type: ignore[misc]  # Numba has no types
    """The Numba type of one such number, as it stands in memory."""

    bitwidth = 16

    def __init__(self, form: str) -> None:
        self.form = form
        super().__init__(name=f"Half({form})")


register_model(Half)(lambda manager, half: models.PrimitiveModel(manager, half, ir.IntType(16)))


def half_of(element: Any) -> Half | None:
    """The type of the numbers in an array of `FORMATS`, by the Numba type of its elements; None for other arrays."""
    if isinstance(element, types.Record) and len(element.fields) == 1:
        name = next(iter(element.fields))
        return Half(name) if name in FORMATS else None
    return None


def format_of(dtype: np.dtype[Any]) -> str | None:
    """The name of the format of an array of `FORMATS`, by its NumPy type; None for other arrays."""
    return dtype.names[0] if dtype.names is not None and dtype in FORMATS.values() else None


def loaded_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which `_memory` loads the elements of an array."""
    return np.dtype(np.float32) if format_of(dtype) is not None else dtype


def widened(values: Any) -> Any:
    """An array or a scalar of one of `FORMATS`, as float32: the twin of `emit_widened`."""
    name = values.dtype.names[0]
    bits = values[name]
    if name == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrowed(number: float, name: str) -> np.uint16:
    """The bits of the float16 or bfloat16 that is nearest to `number`; of two the even one."""
    if name == "float16":
        return np.float16(number).view(np.uint16)
    single = np.float32(number)
    if single != single:
        return np.uint16(0x7FC0)
    bits = int(single.view(np.uint32))
    # what float32 took from the number decides where its other bits are half a unit exactly
    lost = abs(float(number)) - abs(float(single)) if number - number == 0 else 0.0
    half = (bits & 0xFFFF) - 0x8000
    up = half > 0 or (half == 0 and (lost > 0 or (lost == 0 and bits >> 16 & 1 == 1)))
    return np.uint16((bits >> 16) + up)


def emit_widened(builder: Any, bits: Any, form: str) -> Any:
    """The float, or vector of floats, for an i16 or a vector of them.

    By integers, which is exact on every target: ``fpext`` from half crashed on one without F16C. No float is subnormal
    on the way, so that a thread which flushes such numbers to zero (PyTorch can be told to) gets the same answer.
    """
    count = bits.type.count if isinstance(bits.type, ir.VectorType) else None

    def of(element: ir.Type) -> ir.Type:
        return element if count is None else ir.VectorType(element, count)

    def number(value: int) -> ir.Constant:
        return ir.Constant(of(ir.IntType(32)), value if count is None else [value] * count)

    wide = builder.zext(bits, of(ir.IntType(32)))
    if form == "bfloat16":
        return builder.bitcast(builder.shl(wide, number(16)), of(ir.FloatType()))
    sign = builder.shl(builder.and_(wide, number(0x8000)), number(16))
    size = builder.shl(builder.and_(wide, number(0x7FFF)), number(13))
    # The exponent is biased by 127 instead of 15; that of infinity and NaN is all ones
    normal = builder.add(size, number(112 << 23))
    beyond = builder.icmp_unsigned(">=", size, number(0x7C00 << 13))
    normal = builder.select(beyond, builder.add(normal, number(112 << 23)), normal)
    # A subnormal number is its fraction · 2⁻²⁴: what stands behind the 1 of 2⁻¹⁴, whose exponent is 113
    least = number(113 << 23)
    fraction = builder.fsub(
        builder.bitcast(builder.add(size, least), of(ir.FloatType())), builder.bitcast(least, of(ir.FloatType()))
    )
    tiny = builder.icmp_unsigned("<", size, number(0x0400 << 13))
    found = builder.select(tiny, builder.bitcast(fraction, of(ir.IntType(32))), normal)
    return builder.bitcast(builder.or_(found, sign), of(ir.FloatType()))
