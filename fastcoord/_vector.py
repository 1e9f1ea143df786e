"""An explicit SIMD vector for Numba, and operations that mean the same for a vector and for a scalar.

``Vec(element, lanes)`` is LLVM's ``<lanes x element>``. LLVM splits or joins it to whatever registers the target has,
so the order of every addition is fixed by our source and not by an auto-vectoriser: the same bits on AVX-512, AVX2 and
SSE2 (but for `fma`, which the last one rounds twice). No instruction of one processor is named here.

Each operation is a plain Python function: its *twin*, which works on NumPy arrays of ``lanes`` elements and is what
runs under ``NUMBA_DISABLE_JIT=1``. Compiled code gets LLVM instructions instead. The operations of the first part
(`select`, `maximum`, `fma`, …, and the operators) are generic: a formula written with them runs on a ``Vec`` on the CPU
and on one lane of a CUDA warp. Those of the second part exist for vectors only, on the CPU, as do those of
`_memory`, which move vectors to and from memory.

Two vectors of one type (`splat` a scalar) take ``+ − * & | ^ << >>``, floats also ``/``, the comparisons and unary
``−``, as NumPy arrays do: integers wrap round, comparisons give a mask (a vector of bool), with NaN all are false but
``!=``. Masks take ``& | ^`` and comparisons. A shift must be by fewer bits than the element has.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing.templates import infer, infer_global, make_intrinsic_template
from numba.extending import models, overload, register_model

from fastcoord._compile import inlined
from fastcoord._halves import Half, emit_widened, widened

F = TypeVar("F", bound=Callable[..., Any])

CACHE_LINE = 64  # bytes; also the width of the widest register we know

ELEMENTS: dict[Any, ir.Type] = {
    types.boolean: ir.IntType(1),  # in a mask; in memory it is a byte
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    **{integer: ir.IntType(integer.bitwidth) for integer in types.integer_domain},
}


def require(condition: bool, message: str) -> None:
    if not condition:
        raise TypingError(message)


class Vec(types.Type):  # type: ignore[misc]  # Numba has no types
    """The Numba type of ``lanes`` values of the Numba type ``element``, held in registers."""

    def __init__(self, element: Any, lanes: int) -> None:
        require(element in ELEMENTS, f"expected float32, float64, an integer or bool in a vector; got {element}")
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vec({element}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(ELEMENTS[self.element], self.lanes)

    @property
    def kind(self) -> str:
        """What instructions it takes: those for "float", "signed", "unsigned" or "mask"."""
        if self.element == types.boolean:
            return "mask"
        if isinstance(self.element, types.Float):
            return "float"
        return "signed" if self.element.signed else "unsigned"

    def of(self, element: Any) -> "Vec":
        """As many lanes of another element."""
        return Vec(types.unliteral(element), self.lanes)


register_model(Vec)(lambda manager, vec: models.PrimitiveModel(manager, vec, vec.llvm))


def overloaded(operation: Any) -> Callable[[F], F]:
    """Compiled code of every target runs what the decorated function returns wherever it calls `operation`."""
    # strict compares annotations too, which a lambda lacks
    return cast(Callable[[F], F], overload(operation, strict=False))


def instruction(operation: Any) -> Callable[[F], F]:
    """Code for the CPU gets LLVM instructions wherever it calls `operation`.

    The decorated function takes the Numba types of the arguments, literal where they can be. It returns the signature,
    and a function that takes the builder and the values, emits the instructions and returns the value (a list for a
    tuple); None for types that it leaves to others; and it raises TypingError for types that are wrong.
    """

    def register(definition: F) -> F:
        @functools.wraps(definition)
        def typed(context: Any, *arguments: Any) -> Any:
            found = definition(*arguments)
            if found is None:
                return None
            signature, emit = found

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                result = emit(builder, *values)
                if isinstance(signature.return_type, types.BaseTuple):
                    return context.make_tuple(builder, signature.return_type, result)
                return context.get_dummy_value() if signature.return_type == types.void else result

            return signature, generate

        # Numba drops the first parameter and folds keyword arguments into the others
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(definition).parameters.values()
        typed.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        options = {"prefer_literal": True, "kwargs": {"target": "cpu"}}
        template = make_intrinsic_template(operation, typed, operation.__name__, **options)
        infer(template)
        infer_global(operation, types.Function(template))
        return definition

    return register


def number(value: int, bits: int = 32) -> ir.Constant:
    return ir.Constant(ir.IntType(bits), value)


def splat_value(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, number(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def call(builder: Any, name: str, result: ir.Type, *values: Any) -> Any:
    """The value of LLVM's intrinsic function of this name."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def suffix(kind: Any) -> str:
    """``v16f32`` or ``f32``: how LLVM names the overloads of its intrinsic functions."""
    lanes, element = (f"v{kind.lanes}", kind.element) if isinstance(kind, Vec) else ("", kind)
    return f"{lanes}{'f' if isinstance(element, types.Float) else 'i'}{element.bitwidth}"


# ---- Generic operations: for a Vec, and for a scalar on either target ------------------------------------------------


def like(reference: Any, number: float) -> Any:
    """`number` in the type of `reference` (in each of its lanes)."""
    if isinstance(reference, np.ndarray):
        return np.full_like(reference, number)
    return type(reference)(number)


@overloaded(like)
def _like(reference: Any, number: Any) -> Any:
    if isinstance(reference, Vec):
        element, lanes = reference.element, reference.lanes
        return lambda reference, number: splat(element(number), lanes)
    element = reference
    return lambda reference, number: element(number)


def convert(value: Any, unit: Any) -> Any:
    """`value` with the element type of the scalar `unit`.

    An integer wraps round if it is too wide. A float is truncated towards zero where `unit` is an integer; NaN and what
    lies outside that type's range give any number. Anything but zero, NaN too, is true where `unit` is a bool. A float
    of 16 bits, read from memory as a scalar, goes to float32 or float64 only.
    """
    if isinstance(value, np.ndarray):
        return value.astype(type(unit))
    if isinstance(value, np.void):
        value = widened(value)
    return type(unit)(value)


@overloaded(convert)
def _convert_scalar(value: Any, unit: Any) -> Any:
    element = unit
    return None if isinstance(value, (Vec, Half)) else lambda value, unit: element(value)


@instruction(convert)
def _convert_half(value: Any, unit: Any) -> Any:
    if not isinstance(value, Half):
        return None
    require(unit in (types.float32, types.float64), f"convert: expected float32 or float64 for {value}; got {unit}")
    wide = ELEMENTS[unit]
    return unit(value, unit), lambda builder, bits, unit: builder.fpext(emit_widened(builder, bits, value.form), wide)


@instruction(convert)
def _convert(value: Any, unit: Any) -> Any:
    if not isinstance(value, Vec):
        return None
    result = value.of(unit)
    before, after = value.kind, result.kind
    if after == "mask":
        unequal = "fcmp_unordered" if before == "float" else "icmp_unsigned"
        zeros = ir.Constant(value.llvm, [0] * value.lanes)
        return result(value, unit), lambda builder, v, unit: getattr(builder, unequal)("!=", v, zeros)
    widens = before == "mask" or value.element.bitwidth < result.element.bitwidth
    method = {
        (True, True): "fpext" if widens else "fptrunc",
        (True, False): "fptosi" if after == "signed" else "fptoui",
        (False, True): "sitofp" if before == "signed" else "uitofp",
        (False, False): ("sext" if before == "signed" else "zext") if widens else "trunc",
    }[before == "float", after == "float"]
    return result(value, unit), lambda builder, v, unit: getattr(builder, method)(v, result.llvm)


def select(mask: Any, a: Any, b: Any) -> Any:
    """`a` where `mask` is true, else `b`; both of one type."""
    if isinstance(mask, np.ndarray):
        return np.where(mask, a, b)
    return a if mask else b


overloaded(select)(lambda mask, a, b: None if isinstance(mask, Vec) else lambda mask, a, b: a if mask else b)


@instruction(select)
def _select(mask: Any, a: Any, b: Any) -> Any:
    if not isinstance(mask, Vec):
        return None
    fits = mask.kind == "mask" and isinstance(a, Vec) and a == b and a.lanes == mask.lanes
    require(fits, f"select: expected a mask and two vectors of one type with as many lanes; got {mask}, {a}, {b}")
    return a(mask, a, b), lambda builder, *vectors: builder.select(*vectors)


def maximum(a: Any, b: Any) -> Any:
    """The greater; `b` if neither is: NaN in `a` is dropped, NaN in `b` stays, and of 0.0 and −0.0 `b` is taken."""
    return select(a > b, a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller; `b` if neither is: NaN in `a` is dropped, NaN in `b` stays, and of 0.0 and −0.0 `b` is taken."""
    return select(a < b, a, b)


overloaded(maximum)(lambda a, b: maximum)  # the twins themselves
overloaded(minimum)(lambda a, b: minimum)


def fma(a: Any, b: Any, c: Any) -> Any:
    """``a·b + c`` of floats, rounded once where the target has the instruction (the twin and SSE2 round twice)."""
    return a * b + c


overloaded(fma)(lambda a, b, c: None if isinstance(a, Vec) else fma)  # CUDA contracts it


@instruction(fma)
def _fma(a: Any, b: Any, c: Any) -> Any:
    is_float = a.kind == "float" if isinstance(a, Vec) else a in (types.float32, types.float64)
    if not (isinstance(a, Vec) or (is_float and a == b == c)):
        return None
    require(is_float and a == b == c, f"fma: expected three vectors of one type of floats; got {a}, {b}, {c}")
    # llvm.fma would become a library call for each lane where the target has no such instruction (0.03 of the speed)
    name = f"llvm.fmuladd.{suffix(a)}"
    return a(a, b, c), lambda builder, *values: call(builder, name, values[0].type, *values)


def product(a: Any, b: Any) -> Any:
    """a·b of scalars, rounded, whatever is added to it: a GPU would round the sum only, see `_lanes`."""
    return a * b


overloaded(product)(lambda a, b: product)


@inlined
def is_finite(value: Any) -> Any:
    """Neither NaN nor infinite."""
    return value - value == like(value, 0)


@inlined
def two_sum(a: Any, b: Any) -> Any:
    """The rounded sum, and what rounding took from it, exactly; NaN if the sum is infinite.

    D. Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B.
    """
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _operator(function: Any, sign: str = "", **methods: str) -> None:
    """Let a Python operator take two vectors of one type; `sign`: of a comparison; `methods`: the builder's by kind."""

    @instruction(function)
    def _of_two(a: Any, b: Any) -> Any:
        if not (isinstance(a, Vec) or isinstance(b, Vec)):
            return None
        require(a == b, f"{function.__name__}: expected two vectors of one type; got {a} and {b}")
        require(a.kind in methods, f"{function.__name__}: not for {a}")
        result, signs = (a.of(types.boolean), [sign]) if sign else (a, [])
        return result(a, b), lambda builder, x, y: getattr(builder, methods[a.kind])(*signs, x, y)


_operator(operator.add, float="fadd", signed="add", unsigned="add")
_operator(operator.sub, float="fsub", signed="sub", unsigned="sub")
_operator(operator.mul, float="fmul", signed="mul", unsigned="mul")
_operator(operator.truediv, float="fdiv")
_operator(operator.and_, signed="and_", unsigned="and_", mask="and_")
_operator(operator.or_, signed="or_", unsigned="or_", mask="or_")
_operator(operator.xor, signed="xor", unsigned="xor", mask="xor")
_operator(operator.lshift, signed="shl", unsigned="shl")
_operator(operator.rshift, signed="ashr", unsigned="lshr")
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}.items():
    _of_floats = "fcmp_unordered" if _name == "ne" else "fcmp_ordered"  # with NaN != is true, the others are false
    _of_others = {"signed": "icmp_signed", "unsigned": "icmp_unsigned", "mask": "icmp_unsigned"}
    _operator(getattr(operator, _name), _sign, float=_of_floats, **_of_others)


@instruction(operator.neg)
def _negative(a: Any) -> Any:
    if not isinstance(a, Vec):
        return None
    require(a.kind != "mask", f"neg: not for {a}")
    return a(a), lambda builder, x: builder.fneg(x) if a.kind == "float" else builder.neg(x)


def log(value: Any) -> Any:
    """The natural logarithm of a float32 or float64 that is positive, normal and finite; of others any number.

    Of a vector within one unit in the last place (0.8 was the most of 10⁷).
    """
    return np.log(value)


# log((1 + s)/(1 − s)) = s·(2 + R(s²)), R(z)/z by Chebyshev's nodes for the s of a mantissa from √½ to √2: to 5e-18
_LOG_TERMS = (
    *(0.666666666666667, 0.3999999999989945, 0.2857142862600189, 0.22222211130413802),
    *(0.1818288944768017, 0.15331710814014815, 0.14616583590448454),
)
_LOG_2_HIGH = 0.693145751953125  # of 16 bits: times an exponent it is exact
_LOG_2_LOW = 1.4286068203094172e-06
_ROOT_HALF_BITS = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}
_FRACTION_BITS = {32: 23, 64: 52}


@overloaded(log)
def _log(value: Any) -> Any:
    if not isinstance(value, Vec):
        return lambda value: math.log(value)
    require(value.kind == "float", f"log: expected floats; got {value}")
    width = value.element.bitwidth
    bit, unit = getattr(types, f"int{width}"), value.element
    root, shift = _ROOT_HALF_BITS[width], _FRACTION_BITS[width]
    a, b, c, d, e, f, g = _LOG_TERMS
    high, low = _LOG_2_HIGH, _LOG_2_LOW

    def log_of_vector(value: Any) -> Any:
        bits = reinterpret(value, bit(0))
        exponent = (bits - like(bits, root)) >> like(bits, shift)
        x = reinterpret(bits - (exponent << like(bits, shift)), unit(0)) - like(value, 1)  # from √½ − 1 to √2 − 1
        s = x / (x + like(value, 2))
        z = s * s
        r = fma(fma(fma(like(z, g), z, like(z, f)), z, like(z, e)), z, like(z, d))
        r = z * fma(fma(fma(r, z, like(z, c)), z, like(z, b)), z, like(z, a))
        half = like(x, 0.5) * x * x
        power = convert(exponent, unit(0))
        # s·(2 + R) = x − (half − s·(half + R)): x is exact, the rest small
        return power * like(x, high) - ((half - (s * (half + r) + power * like(x, low))) - x)

    return log_of_vector


# ---- Vectors: CPU only -----------------------------------------------------------------------------------------------


def constant(name: str, lanes: Any) -> int:
    require(isinstance(lanes, types.IntegerLiteral), f"{name}: expected a number of lanes known at compile time")
    return int(lanes.literal_value)


def _require_mask(name: str, mask: Any) -> None:
    fits = isinstance(mask, Vec) and mask.kind == "mask" and mask.lanes <= 64
    require(fits, f"{name}: expected a mask of at most 64 lanes; got {mask}")


def splat(value: Any, lanes: int) -> Any:
    """`value` in each of `lanes` lanes."""
    return np.full(lanes, value)


@instruction(splat)
def _emit_splat(value: Any, lanes: Any) -> Any:
    vec = Vec(types.unliteral(value), constant("splat", lanes))
    return vec(vec.element, lanes), lambda builder, scalar, lanes: splat_value(builder, scalar, vec.lanes)


def splat_line(value: Any) -> Any:
    """`value`, a number, in each lane of a vector that fills a cache line."""
    return np.full(CACHE_LINE // value.itemsize, value)


@overloaded(splat_line)
def _splat_line(value: Any) -> Any:
    lanes = CACHE_LINE * 8 // value.bitwidth
    return lambda value: splat(value, lanes)


def integer_like(reference: Any, number: int) -> Any:
    """`number` in each lane of a vector of integers as wide as those of the vector `reference`, and as many.

    They are signed where `reference` holds floats, else of its type.
    """
    dtype = reference.dtype
    return np.full(len(reference), number, f"i{dtype.itemsize}" if dtype.kind == "f" else dtype)


@overloaded(integer_like)
def _integer_like(reference: Any, number: Any) -> Any:
    lanes, element = reference.lanes, reference.element
    if reference.kind == "float":
        element = types.Integer.from_bitwidth(element.bitwidth)
    return lambda reference, number: splat(element(number), lanes)


def lane_numbers(reference: Any) -> Any:
    """0, 1, 2, … in the type of the vector `reference`, which is not a mask."""
    return np.arange(len(reference)).astype(reference.dtype)


@instruction(lane_numbers)
def _lane_numbers(reference: Any) -> Any:
    fits = isinstance(reference, Vec) and reference.kind != "mask"
    require(fits, f"lane_numbers: expected a vector of numbers; got {reference}")
    numbers = ir.Constant(reference.llvm, list(range(reference.lanes)))
    return reference(reference), lambda builder, vector: numbers


def reinterpret(value: Any, unit: Any) -> Any:
    """The bits of the vector `value` as elements of the type of the scalar `unit`, which is as wide."""
    return value.view(type(unit))


@instruction(reinterpret)
def _reinterpret(value: Any, unit: Any) -> Any:
    require(isinstance(value, Vec), f"reinterpret: expected a vector; got {value}")
    result = value.of(unit)
    fits = "mask" not in (value.kind, result.kind) and value.element.bitwidth == result.element.bitwidth
    require(fits, f"reinterpret: expected elements of one width; got {value} and {unit}")
    return result(value, unit), lambda builder, vector, unit: builder.bitcast(vector, result.llvm)


def as_octets(vector: Any) -> Any:
    """The bytes of a vector of numbers, as a vector of uint8."""
    return vector.view(np.uint8)


@instruction(as_octets)
def _as_octets(vector: Any) -> Any:
    require(isinstance(vector, Vec) and vector.kind != "mask", f"as_octets: expected a vector of numbers; got {vector}")
    result = Vec(types.uint8, vector.lanes * vector.element.bitwidth // 8)
    return result(vector), lambda builder, value: builder.bitcast(value, result.llvm)


def any_lane(mask: Any) -> Any:
    """Whether `mask` is true in any lane."""
    return bool(mask.any())


@instruction(any_lane)
def _any_lane(mask: Any) -> Any:
    _require_mask("any_lane", mask)
    none = number(0, mask.lanes)
    return types.boolean(mask), lambda builder, v: builder.icmp_unsigned("!=", builder.bitcast(v, none.type), none)


def lane_bits(mask: Any) -> Any:
    """The lanes of `mask` as the bits of an int64, lane 0 the lowest.

    Lane 63 is its sign. The twin's int is never negative: ``bits & (bits − 1)`` clears the lowest bit in both.
    """
    return sum(1 << lane for lane in range(len(mask)) if mask[lane])


@instruction(lane_bits)
def _lane_bits(mask: Any) -> Any:
    _require_mask("lane_bits", mask)
    bits, wide = ir.IntType(mask.lanes), ir.IntType(64)
    return types.int64(mask), lambda builder, v: builder.zext(builder.bitcast(v, bits), wide)


def trailing_zeros(bits: Any) -> Any:
    """The position of the lowest set bit of an int64 that is not 0."""
    return (int(bits) & -int(bits)).bit_length() - 1


@instruction(trailing_zeros)
def _trailing_zeros(bits: Any) -> Any:
    return types.int64(types.int64), lambda builder, value: builder.cttz(value, number(1, 1))


def bit_count(bits: Any) -> Any:
    """How many bits of an int64 are set."""
    return (int(bits) & (1 << 64) - 1).bit_count()


@instruction(bit_count)
def _bit_count(bits: Any) -> Any:
    return types.int64(types.int64), lambda builder, value: builder.ctpop(value)


def first_lane(vectors: Any) -> Any:
    """The scalar in lane 0 of each vector of a tuple."""
    return tuple(vector[0] for vector in vectors)


@instruction(first_lane)
def _first_lane(vectors: Any) -> Any:
    _require_vectors("first_lane", vectors)
    result = types.BaseTuple.from_types([vec.element for vec in vectors])
    return result(vectors), lambda builder, members: [
        builder.extract_element(v, number(0)) for v in cgutils.unpack_tuple(builder, members)
    ]


def lane_of(vector: Any, number: int) -> Any:
    """The scalar in lane `number`, which is known when compiled."""
    return vector[number]


@instruction(lane_of)
def _lane_of(vector: Any, lane: Any) -> Any:
    position = number(constant("lane_of", lane))
    fits = isinstance(vector, Vec) and vector.kind != "mask" and position.constant < vector.lanes
    require(fits, f"lane_of: expected a vector of numbers that has lane {position.constant}; got {vector}")
    return vector.element(vector, lane), lambda builder, v, lane: builder.extract_element(v, position)


def _require_vectors(name: str, vectors: Any) -> None:
    fits = isinstance(vectors, types.BaseTuple) and all(isinstance(v, Vec) and v.kind != "mask" for v in vectors)
    require(fits, f"{name}: expected a tuple of vectors of numbers; got {vectors}")


def rotated(vectors: Any, by: int) -> Any:
    """Each vector of a tuple with lane i + `by` in lane i, and its first `by` lanes at the end."""
    return tuple(np.roll(vector, -by) for vector in vectors)


@instruction(rotated)
def _rotated(vectors: Any, by: Any) -> Any:
    _require_vectors("rotated", vectors)
    shift = constant("rotated", by)

    def emit(builder: Any, members: Any, by: Any) -> Any:
        turned = []
        for v in cgutils.unpack_tuple(builder, members):
            order = [(lane + shift) % v.type.count for lane in range(v.type.count)]
            numbers = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
            turned.append(builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), numbers))
        return turned

    return vectors(vectors, by), emit


def greatest_lane(vector: Any) -> Any:
    """The greatest of the lanes, none of which is NaN; of 0.0 and −0.0 either."""
    return vector.max()


def least_lane(vector: Any) -> Any:
    """The least of the lanes, none of which is NaN; of 0.0 and −0.0 either."""
    return vector.min()


def _lane_of_all(operation: Any, sign: str, of_integers: str) -> None:
    name = operation.__name__

    @instruction(operation)
    def _reduce(vector: Any) -> Any:
        fits = isinstance(vector, Vec) and vector.kind != "mask" and vector.lanes & (vector.lanes - 1) == 0
        require(fits, f"{name}: expected a vector of 2, 4, 8, … numbers; got {vector}")
        kind = "u" if vector.kind == "unsigned" else "s"

        def emit(builder: Any, value: Any) -> Any:
            if vector.kind != "float":
                whole = f"llvm.vector.reduce.{kind}{of_integers}.{suffix(vector)}"
                return call(builder, whole, ELEMENTS[vector.element], value)
            lanes = vector.lanes
            while lanes > 1:  # of halves, since whole vectors are turned by slow instructions
                lanes //= 2
                low, high = (
                    builder.shuffle_vector(
                        value,
                        ir.Constant(value.type, ir.Undefined),
                        ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes))),
                    )
                    for first in (0, lanes)
                )
                value = builder.select(builder.fcmp_ordered(sign, low, high), low, high)
            return builder.extract_element(value, number(0))

        return vector.element(vector), emit


_lane_of_all(greatest_lane, ">", "max")
_lane_of_all(least_lane, "<", "min")


def lane_sums(vectors: Any) -> Any:
    """A vector with the sum of the lanes of vector i in lane i.

    There are as many vectors of floats as they have lanes, or half, a quarter, … as many. They are added by halves: n
    vectors of n lanes take n − 1 additions, of which each adds up two vectors at once.
    """
    while len(vectors[0]) > len(vectors):
        half = len(vectors[0]) // 2
        vectors = tuple(vector[:half] + vector[half:] for vector in vectors)
    while len(vectors) > 1:
        half = len(vectors) // 2
        is_low = (np.arange(len(vectors[0])) & half) == 0
        vectors = tuple(
            np.where(is_low, a, np.roll(b, half)) + np.where(is_low, np.roll(a, -half), b)
            for a, b in zip(vectors[:half], vectors[half:], strict=True)
        )
    return vectors[0]


@instruction(lane_sums)
def _lane_sums(vectors: Any) -> Any:
    _require_vectors("lane_sums", vectors)
    vec, count = vectors[0], len(vectors)
    fits = all(other == vec for other in vectors) and vec.kind == "float"
    fits = fits and count & (count - 1) == 0 and vec.lanes % count == 0
    require(fits, f"lane_sums: expected as many vectors of floats as they have lanes, or half…; got {vectors}")

    def emit(builder: Any, members: Any) -> Any:
        def added(a: Any, low: list[int], b: Any, high: list[int]) -> Any:
            orders = (ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order) for order in (low, high))
            return builder.fadd(*(builder.shuffle_vector(a, b, order) for order in orders))

        tree, lanes = list(cgutils.unpack_tuple(builder, members)), vec.lanes
        while lanes > count:
            lanes //= 2
            tree = [added(v, list(range(lanes)), v, list(range(lanes, 2 * lanes))) for v in tree]
        while len(tree) > 1:
            half = len(tree) // 2
            low = [lane if lane & half == 0 else lanes + lane - half for lane in range(lanes)]
            high = [lane + half if lane & half == 0 else lanes + lane for lane in range(lanes)]
            tree = [added(a, low, b, high) for a, b in zip(tree[:half], tree[half:], strict=True)]
        return tree[0]

    return Vec(vec.element, count)(vectors), emit


def lane_merge(merge: Any) -> Any:
    """A function that merges the lanes of a state of 16-lane vectors by ``merge(state, state)``, always in this order.

    Lane i with i + 8, then with i + 4, i + 2, i + 1: as a warp does by shuffles. All lanes take part each time, so that
    `merge` is compiled for one width instead of five, which took as long as everything else.
    """

    @inlined
    def merge_lanes(state: Any) -> Any:
        state = merge(state, rotated(state, 8))
        state = merge(state, rotated(state, 4))
        state = merge(state, rotated(state, 2))
        return first_lane(merge(state, rotated(state, 1)))

    return merge_lanes


def out_of_line() -> None:
    """Keep the compiled function that says this out of its callers: their loops then keep their registers."""


@instruction(out_of_line)
def _out_of_line() -> Any:
    return types.void(), lambda builder: builder.function.attributes.add("noinline")
