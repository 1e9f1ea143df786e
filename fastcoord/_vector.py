"""An explicit SIMD vector for Numba, and operations that mean the same for a vector and for a scalar.

``Vec(element, lanes)`` is LLVM's ``<lanes x element>``. LLVM splits or joins it to whatever registers the target has, so
the order of every addition is fixed by our source and not by an auto-vectoriser: the same bits on AVX-512, AVX2 and SSE2
(but for ``fma``, which the last one rounds twice).

Each operation is a plain Python function: its *twin*, which works on NumPy arrays of ``lanes`` elements and is what runs
under ``NUMBA_DISABLE_JIT=1``. Compiled code gets LLVM instructions instead. The operations of the first part (`select`,
`maximum`, `fma`, …, and the operators) are generic: a formula written with them runs on a ``Vec`` on the CPU and on one
lane of a CUDA warp. Those of the second part move vectors to and from memory and exist on the CPU only.

Memory is reached through `memory(array)` of a contiguous array and flat element indices: no slice, no test for negative
indices, no bounds check, and no reference count (an array that is handed to a function keeps a counter up to date, a
call in the inner loop).
"""

import functools
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import infer, infer_global, make_intrinsic_template
from numba.extending import models, overload, register_model

from fastcoord._compile import inlined

_overload = functools.partial(overload, strict=False)  # strict also compares annotations, which a lambda lacks

CACHE_LINE = 64  # bytes; also the width of the widest register we know


class Vec(types.Type):  # type: ignore[misc]
    """The Numba type of ``lanes`` values of the Numba type ``element``, held in registers."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vec({element}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(_llvm_element(self.element), self.lanes)

    @property
    def is_float(self) -> bool:
        """Whether the element is a floating-point number."""
        return isinstance(self.element, types.Float)

    @property
    def is_signed(self) -> bool:
        """Whether the element is a signed integer."""
        return isinstance(self.element, types.Integer) and bool(self.element.signed)

    def of(self, element: types.Type) -> "Vec":
        """As many lanes of another element."""
        return Vec(element, self.lanes)


def _llvm_element(element: types.Type) -> ir.Type:
    if element == types.boolean:
        return ir.IntType(1)
    if element == types.float32:
        return ir.FloatType()
    if element == types.float64:
        return ir.DoubleType()
    return ir.IntType(element.bitwidth)


@register_model(Vec)
class _VecModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, vec.llvm)


def _instruction(twin: Any) -> Any:
    """Compiled code calls the decorated code generator wherever the source calls `twin` (arguments literal if they can be)."""

    def register(definition: Any) -> Any:
        template = make_intrinsic_template(twin, definition, twin.__name__, prefer_literal=True)
        infer(template)
        infer_global(twin, types.Function(template))
        return definition

    return register


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _suffix(vec: Vec) -> str:
    """``v16f32``: how LLVM names the overloads of its intrinsics."""
    return f"v{vec.lanes}{'f' if vec.is_float else 'i'}{vec.element.bitwidth}"


# ---- Generic operations: for a Vec, and for a scalar on either target ------------------------------------------------


def like(reference: Any, number: float) -> Any:
    """`number` in the type of `reference` (in each of its lanes)."""
    if isinstance(reference, np.ndarray):
        return np.full_like(reference, number)
    return type(reference)(number)


@_overload(like)
def _like(reference: Any, number: Any) -> Any:
    if isinstance(reference, Vec):
        element, lanes = reference.element, reference.lanes
        return lambda reference, number: splat(element(number), lanes)
    element = reference
    return lambda reference, number: element(number)


def convert(value: Any, unit: Any) -> Any:
    """`value` with the element type of the scalar `unit`; truncates towards zero where that is an integer."""
    if isinstance(value, np.ndarray):
        return value.astype(type(unit))
    return type(unit)(value)


@_overload(convert)
def _convert(value: Any, unit: Any) -> Any:
    if isinstance(value, Vec):
        return lambda value, unit: _convert_lanes(value, unit)
    element = unit
    return lambda value, unit: element(value)


def select(mask: Any, a: Any, b: Any) -> Any:
    """`a` where `mask` is true, else `b`."""
    if isinstance(mask, np.ndarray):
        return np.where(mask, a, b)
    return a if mask else b


@_overload(select)
def _select(mask: Any, a: Any, b: Any) -> Any:
    if isinstance(mask, Vec):
        return lambda mask, a, b: _select_lanes(mask, a, b)
    return lambda mask, a, b: a if mask else b


def maximum(a: Any, b: Any) -> Any:
    """The greater; `b` if they do not compare: NaN in `a` is dropped, NaN in `b` stays."""
    return select(a > b, a, b)


@_overload(maximum)
def _maximum(a: Any, b: Any) -> Any:
    return lambda a, b: select(a > b, a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller; `b` if they do not compare: NaN in `a` is dropped, NaN in `b` stays."""
    return select(a < b, a, b)


@_overload(minimum)
def _minimum(a: Any, b: Any) -> Any:
    return lambda a, b: select(a < b, a, b)


def fma(a: Any, b: Any, c: Any) -> Any:
    """``a·b + c``, rounded once where the target has the instruction (the twin and SSE2 round twice)."""
    return a * b + c


@_overload(fma)
def _fma(a: Any, b: Any, c: Any) -> Any:
    if isinstance(a, Vec):
        return lambda a, b, c: _fma_lanes(a, b, c)
    return lambda a, b, c: a * b + c


def _convert_lanes(value: Any, unit: Any) -> Any:
    raise NotImplementedError("compiled code only")


def _select_lanes(mask: Any, a: Any, b: Any) -> Any:
    raise NotImplementedError("compiled code only")


def _fma_lanes(a: Any, b: Any, c: Any) -> Any:
    raise NotImplementedError("compiled code only")


@_instruction(_convert_lanes)
def _emit_convert(context: Any, value: Any, unit: Any) -> Any:
    result = value.of(unit)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = arguments[0], result.llvm
        if value.is_float and result.is_float:
            if value.element == result.element:
                return source
            widen = value.element.bitwidth < result.element.bitwidth
            return builder.fpext(source, target) if widen else builder.fptrunc(source, target)
        if value.is_float:
            return builder.fptosi(source, target) if result.is_signed else builder.fptoui(source, target)
        if result.is_float:
            return builder.sitofp(source, target) if value.is_signed else builder.uitofp(source, target)
        before, after = source.type.element.width, target.element.width
        if before == after:
            return source
        if before > after:
            return builder.trunc(source, target)
        return builder.sext(source, target) if value.is_signed else builder.zext(source, target)

    return result(value, unit), emit


@_instruction(_select_lanes)
def _emit_select(context: Any, mask: Any, a: Any, b: Any) -> Any:
    return a(mask, a, b), lambda context, builder, signature, arguments: builder.select(*arguments)


@_instruction(_fma_lanes)
def _emit_fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    # llvm.fma would become a library call for each lane where the target has no such instruction (0.03 of the speed)
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.fmuladd.{_suffix(a)}", a.llvm, list(arguments))

    return a(a, b, c), emit


def _operator(function: Any, on_floats: str, on_signed: str, on_unsigned: str = "", mask: bool = False) -> None:
    """Let a Python operator take two vectors of one type."""

    def lanes(a: Any, b: Any) -> Any:
        raise NotImplementedError("compiled code only")

    lanes.__name__ = function.__name__ + "_lanes"

    @_instruction(lanes)
    def _emit(context: Any, a: Any, b: Any) -> Any:
        name = on_floats if a.is_float else on_signed if a.is_signed or not on_unsigned else on_unsigned

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if mask:
                method, predicate = name.split(" ")
                return getattr(builder, method)(predicate, *arguments)
            return getattr(builder, name)(*arguments)

        return (a.of(types.boolean) if mask else a)(a, b), emit

    @_overload(function)
    def _on_lanes(a: Any, b: Any) -> Any:
        if isinstance(a, Vec) and a == b:
            return lambda a, b: lanes(a, b)
        return None


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.and_, "", "and_")
_operator(operator.or_, "", "or_")
_operator(operator.xor, "", "xor")
_operator(operator.lshift, "", "shl")
_operator(operator.rshift, "", "ashr", "lshr")
for _function, _sign in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _operator(_function, f"fcmp_ordered {_sign}", f"icmp_signed {_sign}", f"icmp_unsigned {_sign}", mask=True)
_operator(operator.ne, "fcmp_unordered !=", "icmp_signed !=", "icmp_unsigned !=", mask=True)  # true for NaN


def _negative_lanes(a: Any) -> Any:
    raise NotImplementedError("compiled code only")


@_instruction(_negative_lanes)
def _emit_negative(context: Any, a: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fneg(arguments[0]) if a.is_float else builder.neg(arguments[0])

    return a(a), emit


@_overload(operator.neg)
def _negative(a: Any) -> Any:
    if isinstance(a, Vec):
        return lambda a: _negative_lanes(a)
    return None


# ---- Vectors: CPU only -----------------------------------------------------------------------------------------------


def splat(value: Any, lanes: int) -> Any:
    """`value` in each of `lanes` lanes."""
    return np.full(lanes, value)


@_instruction(splat)
def _emit_splat(context: Any, value: Any, lanes: Any) -> Any:
    count = lanes.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = arguments[0]
        if value == types.boolean:
            scalar = builder.trunc(scalar, ir.IntType(1)) if scalar.type.width > 1 else scalar
        return _splat(builder, scalar, count)

    return Vec(types.unliteral(value), count)(value, lanes), emit


def splat_line(value: Any) -> Any:
    """`value` in each lane of a vector that fills a cache line."""
    return np.full(CACHE_LINE // value.itemsize, value)


@_overload(splat_line)
def _splat_line(value: Any) -> Any:
    lanes = CACHE_LINE * 8 // value.bitwidth
    return lambda value: splat(value, lanes)


def lane_numbers(reference: Any) -> Any:
    """0, 1, 2, … in the type of the vector `reference`."""
    return np.arange(len(reference)).astype(reference.dtype)


@_instruction(lane_numbers)
def _emit_lane_numbers(context: Any, reference: Any) -> Any:
    numbers = [float(lane) if reference.is_float else lane for lane in range(reference.lanes)]
    return reference(reference), lambda context, builder, signature, arguments: ir.Constant(reference.llvm, numbers)


def reinterpret(value: Any, unit: Any) -> Any:
    """The bits of `value` as elements of the type of the scalar `unit`, which is as wide."""
    return value.view(type(unit))


@_instruction(reinterpret)
def _emit_reinterpret(context: Any, value: Any, unit: Any) -> Any:
    result = value.of(unit)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], result.llvm)

    return result(value, unit), emit


def any_lane(mask: Any) -> Any:
    """Whether `mask` is true in any lane."""
    return bool(mask.any())


@_instruction(any_lane)
def _emit_any_lane(context: Any, mask: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), emit


def lane_bits(mask: Any) -> Any:
    """The lanes of `mask` as the bits of an int64, lane 0 the lowest."""
    return sum(1 << lane for lane in range(len(mask)) if mask[lane])


@_instruction(lane_bits)
def _emit_lane_bits(context: Any, mask: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(mask.lanes))
        return builder.zext(bits, ir.IntType(64)) if mask.lanes < 64 else bits

    return types.int64(mask), emit


def trailing_zeros(bits: Any) -> Any:
    """The position of the lowest set bit of an int64 that is not 0."""
    return (int(bits) & -int(bits)).bit_length() - 1


@_instruction(trailing_zeros)
def _emit_trailing_zeros(context: Any, bits: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


def lower_half(vectors: Any) -> Any:
    """The first half of the lanes, of each vector of a tuple."""
    return tuple(vector[: len(vector) // 2] for vector in vectors)


def upper_half(vectors: Any) -> Any:
    """The second half of the lanes, of each vector of a tuple."""
    return tuple(vector[len(vector) // 2 :] for vector in vectors)


def _halves(twin: Any, upper: bool) -> None:
    @_instruction(twin)
    def _emit(context: Any, vectors: Any) -> Any:
        half = Vec(vectors.dtype.element, vectors.dtype.lanes // 2)
        result = types.UniTuple(half, vectors.count)
        start = half.lanes if upper else 0
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), half.lanes), list(range(start, start + half.lanes)))

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            whole = cgutils.unpack_tuple(builder, arguments[0])
            parts = [builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), chosen) for v in whole]
            return context.make_tuple(builder, result, parts)

        return result(vectors), emit


_halves(lower_half, upper=False)
_halves(upper_half, upper=True)


def only_lane(vectors: Any) -> Any:
    """The scalar of each one-lane vector of a tuple."""
    return tuple(vector[0] for vector in vectors)


@_instruction(only_lane)
def _emit_only_lane(context: Any, vectors: Any) -> Any:
    result = types.UniTuple(vectors.dtype.element, vectors.count)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(ir.IntType(32), 0)
        whole = cgutils.unpack_tuple(builder, arguments[0])
        return context.make_tuple(builder, result, [builder.extract_element(v, zero) for v in whole])

    return result(vectors), emit


def lane_merge(merge: Any) -> Any:
    """A function that merges the lanes of a state of 16-lane vectors by ``merge(state, state)``, always in this order.

    Lane i with i + 8, then with i + 4, i + 2, i + 1: as a warp does by shuffles.
    """

    @inlined
    def merge_lanes(state: Any) -> Any:
        eight = merge(lower_half(state), upper_half(state))
        four = merge(lower_half(eight), upper_half(eight))
        two = merge(lower_half(four), upper_half(four))
        return only_lane(merge(lower_half(two), upper_half(two)))

    return merge_lanes


# ---- Memory: CPU only ------------------------------------------------------------------------------------------------


def memory(array: Any) -> Any:
    """Where the elements of a contiguous array stand, for the functions below."""
    return array.reshape(-1)


@_instruction(memory)
def _emit_memory(context: Any, array: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.create_struct_proxy(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), emit


def octets(place: Any) -> Any:
    """The same memory as bytes."""
    return place.view(np.uint8)


@_instruction(octets)
def _emit_octets(context: Any, place: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.uint8)(place), emit


def item_bytes(place: Any) -> Any:
    """The size of an element."""
    return place.itemsize


@_overload(item_bytes)
def _item_bytes(place: Any) -> Any:
    size = place.dtype.bitwidth // 8
    return lambda place: size


def _pointer(builder: Any, place: Any, index: Any) -> Any:
    return builder.gep(place, [index])


def load(place: Any, index: Any, lanes: int) -> Any:
    """`lanes` consecutive elements from `index` on."""
    return place[index : index + lanes].copy()


@_instruction(load)
def _emit_load(context: Any, place: Any, index: Any, lanes: Any) -> Any:
    vec = Vec(place.dtype, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], arguments[1])
        loaded = builder.load(builder.bitcast(pointer, vec.llvm.as_pointer()))
        loaded.align = place.dtype.bitwidth // 8
        return loaded

    return vec(place, types.intp, lanes), emit


def load_line(place: Any, index: Any) -> Any:
    """As many consecutive elements from `index` on as fill a cache line."""
    return place[index : index + CACHE_LINE // place.itemsize].copy()


@_overload(load_line)
def _load_line(place: Any, index: Any) -> Any:
    lanes = types.literal(CACHE_LINE * 8 // place.dtype.bitwidth).literal_value
    return lambda place, index: load(place, index, lanes)


def _first_lanes(builder: Any, count: Any, lanes: int) -> Any:
    most = ir.Constant(count.type, lanes)
    count = builder.select(builder.icmp_signed("<", count, most), count, most)
    count = builder.trunc(count, ir.IntType(32))  # one comparison of a register's width instead of two
    numbers = ir.Constant(ir.VectorType(count.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, count, lanes))


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _lowest_lanes(vec: Vec) -> Any:
    lowest = float("-inf") if vec.is_float else vec.element.minval
    return ir.Constant(vec.llvm, [lowest] * vec.lanes)


def load_first(place: Any, index: Any, count: Any, lanes: int) -> Any:
    """`count` ≥ 0 consecutive elements from `index` on in the first lanes.

    The memory of the other lanes is not read; they hold the lowest value of the type (−∞, the least integer).
    """
    vector = np.full(lanes, _lowest(place.dtype), place.dtype)
    count = min(int(count), lanes)
    vector[:count] = place[index : index + count]
    return vector


@_instruction(load_first)
def _emit_load_first(context: Any, place: Any, index: Any, count: Any, lanes: Any) -> Any:
    vec = Vec(place.dtype, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, vec.llvm.as_pointer())
        mask = _first_lanes(builder, arguments[2], vec.lanes)
        align = ir.Constant(ir.IntType(32), place.dtype.bitwidth // 8)
        return _call(builder, f"llvm.masked.load.{_suffix(vec)}.p0", vec.llvm, [pointer, align, mask, _lowest_lanes(vec)])

    return vec(place, types.intp, types.intp, lanes), emit


def gather(place: Any, index: Any, stride: Any, count: Any, lanes: int) -> Any:
    """As `load_first`, of the elements `index`, `index` + `stride`, `index` + 2·`stride`, …"""
    vector = np.full(lanes, _lowest(place.dtype), place.dtype)
    for lane in range(min(int(count), lanes)):
        vector[lane] = place[index + lane * stride]
    return vector


@_instruction(gather)
def _emit_gather(context: Any, place: Any, index: Any, stride: Any, count: Any, lanes: Any) -> Any:
    vec = Vec(place.dtype, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arguments[0]
        indices = ir.VectorType(ir.IntType(64), vec.lanes)
        steps = builder.mul(_splat(builder, arguments[2], vec.lanes), ir.Constant(indices, list(range(vec.lanes))))
        places = builder.add(_splat(builder, arguments[1], vec.lanes), steps)
        width = ir.Constant(indices, [place.dtype.bitwidth // 8] * vec.lanes)
        base = _splat(builder, builder.ptrtoint(data, ir.IntType(64)), vec.lanes)
        addresses = builder.add(base, builder.mul(places, width))
        pointers = builder.inttoptr(addresses, ir.VectorType(data.type, vec.lanes))
        mask = _first_lanes(builder, arguments[3], vec.lanes)
        align = ir.Constant(ir.IntType(32), place.dtype.bitwidth // 8)
        name = f"llvm.masked.gather.{_suffix(vec)}.v{vec.lanes}p0"
        return _call(builder, name, vec.llvm, [pointers, align, mask, _lowest_lanes(vec)])

    return vec(place, types.intp, types.intp, types.intp, lanes), emit


def store(place: Any, index: Any, vector: Any) -> None:
    """Write all lanes to consecutive elements from `index` on."""
    place[index : index + len(vector)] = vector


def store_streaming(place: Any, index: Any, vector: Any) -> None:
    """As `store`, past the caches: whole lines are written without being read first.

    The address must be a multiple of the vector's size. `stream_fence` must follow before another thread reads.
    """
    place[index : index + len(vector)] = vector


def _stores(twin: Any, streaming: bool) -> None:
    @_instruction(twin)
    def _emit(context: Any, place: Any, index: Any, vector: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = _pointer(builder, arguments[0], arguments[1])
            stored = builder.store(arguments[2], builder.bitcast(pointer, vector.llvm.as_pointer()))
            stored.align = place.dtype.bitwidth // 8
            if streaming:
                stored.align *= vector.lanes
                flag = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
                stored.set_metadata("nontemporal", flag)
            return context.get_dummy_value()

        return types.void(place, types.intp, vector), emit


_stores(store, streaming=False)
_stores(store_streaming, streaming=True)


def store_first(place: Any, index: Any, vector: Any, count: Any) -> None:
    """Write the first `count` lanes; other memory is not touched."""
    count = max(0, min(int(count), len(vector)))
    place[index : index + count] = vector[:count]


@_instruction(store_first)
def _emit_store_first(context: Any, place: Any, index: Any, vector: Any, count: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, vector.llvm.as_pointer())
        align = ir.Constant(ir.IntType(32), place.dtype.bitwidth // 8)
        mask = _first_lanes(builder, arguments[3], vector.lanes)
        values = [arguments[2], pointer, align, mask]
        _call(builder, f"llvm.masked.store.{_suffix(vector)}.p0", ir.VoidType(), values)
        return context.get_dummy_value()

    return types.void(place, types.intp, vector, types.intp), emit


def stream_fence() -> None:
    """Make streaming stores visible before any later store."""


@_instruction(stream_fence)
def _emit_stream_fence(context: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")  # on x86 a full fence, which orders streaming stores too; portable
        return context.get_dummy_value()

    return types.void(), emit


def prefetch(place: Any, index: Any) -> None:
    """Hint that element `index` will be read; it may lie outside the place."""


@_instruction(prefetch)
def _emit_prefetch(context: Any, place: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        read, keep, data = (ir.Constant(ir.IntType(32), number) for number in (0, 3, 1))
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, read, keep, data])
        return context.get_dummy_value()

    return types.void(place, types.intp), emit


def bytes_past_line(place: Any, index: Any) -> Any:
    """How many bytes element `index` lies past the start of its cache line."""
    return int((place.ctypes.data + int(index) * place.itemsize) % CACHE_LINE)


@_instruction(bytes_past_line)
def _emit_bytes_past_line(context: Any, place: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], arguments[1])
        address = builder.ptrtoint(pointer, ir.IntType(64))
        return builder.and_(address, ir.Constant(ir.IntType(64), CACHE_LINE - 1))

    return types.int64(place, types.intp), emit
