"""Vectors to and from memory, on the CPU.

Memory is reached through `memory(array)` of a contiguous array and flat element indices: no slice, no test for negative
indices, no bounds check, and no reference count (an array that is handed to a function keeps a counter up to date, a
call in the inner loop). The twins do check, so an uncompiled run finds an access outside the array.

Below, `place` is what `memory` gave; indices and counts are in its elements. Floats of 16 bits are loaded as float32.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import default_manager
from numba.core.registry import cpu_target

from fastcoord._compile import inlined
from fastcoord._halves import LOWEST, Half, emit_widened, format_of, half_of, widened
from fastcoord._vector import (
    CACHE_LINE,
    ELEMENTS,
    Vec,
    call,
    constant,
    instruction,
    number,
    overloaded,
    require,
    splat_value,
    suffix,
)


def memory(array: Any) -> Any:
    """Where the elements of a contiguous, aligned array of numbers stand in memory order, for the functions below.

    Compiled code refuses other arrays by their type, which does not tell whether they are aligned. The caller must keep
    the array: one that compiled code made itself is freed after its last use, which this is not (a crash was seen).
    """
    is_known = array.dtype.kind in "fiu" or format_of(array.dtype) is not None
    if not array.flags.forc or not array.flags.aligned or not is_known:
        raise ValueError(f"expected a contiguous, aligned array of numbers; got {array.dtype} {array.strides}")
    return array.reshape(-1, order="A")


@instruction(memory)
def _memory(array: Any) -> Any:
    fits = isinstance(array, types.Array) and array.layout in "CF"
    half = half_of(array.dtype) if fits else None
    fits = fits and (half is not None or (array.dtype in ELEMENTS and array.dtype != types.boolean))
    require(fits, f"memory: expected a contiguous array of numbers; got {array}")
    data = default_manager[array].get_field_position("data")
    place = types.CPointer(half or array.dtype)
    pointer = default_manager[place].get_value_type()
    return place(array), lambda builder, value: builder.bitcast(builder.extract_value(value, data), pointer)


def workspace(vector: Any, count: int) -> Any:
    """A place for `count` vectors like this one, as long as the compiled function runs that asks for it.

    One that is `inlined` asks for the function that it is compiled into: once, however often a loop comes by.
    """
    return np.empty(count * len(vector), vector.dtype)


@instruction(workspace)
def _workspace(vector: Any, count: Any) -> Any:
    fits = isinstance(vector, Vec) and vector.kind != "mask"
    require(fits, f"workspace: expected a vector of numbers; got {vector}")
    size, place = constant("workspace", count), types.CPointer(vector.element)

    def emit(builder: Any, vector_: Any, count: Any) -> Any:
        lines = cgutils.alloca_once(builder, ir.ArrayType(vector.llvm, size))
        return builder.bitcast(lines, ELEMENTS[vector.element].as_pointer())

    # the literal: Numba keeps what is emitted by these types, and 4 of a vector are not 16
    return place(vector, count), emit


@inlined
def first_element(i: Any, start: Any, outer_stride: Any, inner_count: Any, inner_stride: Any) -> Any:
    """The element at which map number `i` begins, by the numbers of `_arrays.Maps`."""
    outer = 0 if i < inner_count else i // inner_count  # mostly there is no division, which takes 20 cycles and more
    return start + outer * outer_stride + (i - outer * inner_count) * inner_stride


def octets(place: Any) -> Any:
    """The same memory as bytes."""
    return place.view(np.uint8)


@instruction(octets)
def _octets(place: Any) -> Any:
    byte = ir.IntType(8).as_pointer()
    return types.CPointer(types.uint8)(place), lambda builder, pointer: builder.bitcast(pointer, byte)


def as_int16(place: Any) -> Any:
    """The same memory, that of elements of two bytes, as int16."""
    return place.view(np.int16)


@instruction(as_int16)
def _as_int16(place: Any) -> Any:
    require(
        isinstance(place, types.CPointer) and place.dtype.bitwidth == 16, f"as_int16: expected 16 bits; got {place}"
    )
    word = ir.IntType(16).as_pointer()
    return types.CPointer(types.int16)(place), lambda builder, pointer: builder.bitcast(pointer, word)


def item_bytes(place: Any) -> Any:
    """The size of an element."""
    return place.itemsize


@overloaded(item_bytes)
def _item_bytes(place: Any) -> Any:
    size = place.dtype.bitwidth // 8
    return lambda place: size


def _place(name: str, place: Any, *indices: Any, vector: Any = None) -> None:
    """Refuse what is not a place, not an index or count in it, or not a vector that it can hold."""
    require(isinstance(place, types.CPointer), f"{name}: expected what memory(array) gives; got {place}")
    fits = all(isinstance(index, types.Integer) for index in indices)
    require(fits, f"{name}: expected integers for indices and counts; got {', '.join(map(str, indices))}")
    fits = vector is None or (isinstance(vector, Vec) and vector.element == place.dtype)
    require(fits, f"{name}: expected a vector of {place.dtype}; got {vector}")


def _span(place: Any, index: Any, count: int) -> slice:
    """The twins' access to `count` elements, which must lie in the array."""
    start, stop = int(index), int(index) + max(count, 0)
    if stop > start and not (start >= 0 and stop <= place.size):
        raise IndexError(f"elements {start} to {stop} of a place with {place.size}")
    return slice(start, stop)


def _pointer(builder: Any, place: Any, index: Any, kind: ir.Type) -> Any:
    return builder.bitcast(builder.gep(place, [index]), kind.as_pointer())


def _read(place: Any, span: slice) -> Any:
    """What the twins read."""
    return place[span].copy() if format_of(place.dtype) is None else widened(place[span])


def _nothing_read(place: Any, lanes: int) -> Any:
    dtype = place.dtype if format_of(place.dtype) is None else np.dtype(np.float32)
    return np.full(lanes, _lowest(dtype), dtype)


def _vectors(place: Any, lanes: int) -> tuple[Vec, Vec]:
    """The type of so many elements as they stand in memory, and as they are loaded."""
    if isinstance(place.dtype, Half):
        return Vec(types.uint16, lanes), Vec(types.float32, lanes)
    return Vec(place.dtype, lanes), Vec(place.dtype, lanes)


def _as_loaded(builder: Any, place: Any, vector: Any) -> Any:
    return emit_widened(builder, vector, place.dtype.form) if isinstance(place.dtype, Half) else vector


def load(place: Any, index: Any, lanes: int) -> Any:
    """`lanes` consecutive elements from `index` on, all of which are read."""
    return _read(place, _span(place, index, lanes))


@instruction(load)
def _load(place: Any, index: Any, lanes: Any) -> Any:
    _place("load", place, index)
    stored, vec = _vectors(place, constant("load", lanes))

    def emit(builder: Any, place_: Any, index: Any, lanes: Any) -> Any:
        loaded = builder.load(_pointer(builder, place_, index, stored.llvm))
        loaded.align = place.dtype.bitwidth // 8
        return _as_loaded(builder, place, loaded)

    return vec(place, types.intp, lanes), emit


def _masked(builder: Any, name: str, vec: Vec, count: Any, *values: Any, lowest: Any = None) -> Any:
    """What LLVM's masked operation gives for the first `count` lanes, for none of them if `count` is negative."""
    none, most = number(0, 64), number(vec.lanes, 64)
    kept = builder.select(builder.icmp_signed(">", count, none), count, none)
    ones = builder.sub(builder.shl(number(1, 64), kept), number(1, 64))
    # as bits of an integer, which on AVX-512 is a mask already; to compare lane numbers takes four registers of bytes
    bits = builder.select(builder.icmp_signed("<", kept, most), ones, number(-1, 64))
    bits = builder.trunc(bits, ir.IntType(vec.lanes)) if vec.lanes < 64 else bits
    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), vec.lanes))
    alignment = number(vec.element.bitwidth // 8)
    if name.startswith("store"):
        return call(builder, f"llvm.masked.{name}", ir.VoidType(), *values, alignment, mask)
    others = ir.Constant(vec.llvm, [lowest] * vec.lanes)
    return call(builder, f"llvm.masked.{name}", vec.llvm, *values, alignment, mask, others)


def _lowest_stored(element: Any) -> Any:
    return LOWEST[element.form] if isinstance(element, Half) else _lowest(np.dtype(str(element)))


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def load_first(place: Any, index: Any, count: Any, lanes: int) -> Any:
    """`count` consecutive elements from `index` on in the first lanes; none if `count` ≤ 0, all if it is ≥ `lanes`.

    The memory of the other lanes is not read; they hold the lowest value of the type (−∞, the least integer).
    """
    count = max(0, min(int(count), lanes))
    vector = _nothing_read(place, lanes)
    vector[:count] = _read(place, _span(place, index, count))
    return vector


def load_padded(place: Any, index: Any, count: Any, lanes: int) -> Any:
    """As `load_first`, with 0 in the other lanes."""
    count = max(0, min(int(count), lanes))
    vector = np.zeros_like(_nothing_read(place, lanes))
    vector[:count] = _read(place, _span(place, index, count))
    return vector


def _load_operation(operation: Any, others: Any) -> None:
    """Compiled code loads the first lanes; the others hold ``others(element)`` as it stands in memory."""

    @instruction(operation)
    def _load_some(place: Any, index: Any, count: Any, lanes: Any) -> Any:
        _place(operation.__name__, place, index, count)
        stored, vec = _vectors(place, constant(operation.__name__, lanes))
        rest = others(place.dtype)

        def emit(builder: Any, place_: Any, index: Any, count: Any, lanes: Any) -> Any:
            pointer = _pointer(builder, place_, index, stored.llvm)
            loaded = _masked(builder, f"load.{suffix(stored)}.p0", stored, count, pointer, lowest=rest)
            return _as_loaded(builder, place, loaded)

        return vec(place, types.intp, types.intp, lanes), emit


_load_operation(load_first, _lowest_stored)
_load_operation(load_padded, lambda element: 0)


def load_line(place: Any, index: Any, count: Any) -> Any:
    """As `load_first`, with as many lanes as fill a cache line."""
    return load_first(place, index, count, CACHE_LINE // place.itemsize)


@overloaded(load_line)
def _load_line(place: Any, index: Any, count: Any) -> Any:
    lanes = CACHE_LINE * 8 // place.dtype.bitwidth
    return lambda place, index, count: load_first(place, index, count, lanes)


def gather(place: Any, index: Any, stride: Any, count: Any, lanes: int) -> Any:
    """As `load_first`, of the elements `index`, `index` + `stride`, `index` + 2·`stride`, … and no others.

    `stride` may be negative or zero.
    """
    vector = _nothing_read(place, lanes)
    for lane in range(min(int(count), lanes)):
        vector[lane] = _read(place, _span(place, index + lane * stride, 1))[0]
    return vector


@instruction(gather)
def _gather(place: Any, index: Any, stride: Any, count: Any, lanes: Any) -> Any:
    _place("gather", place, index, stride, count)
    stored, vec = _vectors(place, constant("gather", lanes))
    lowest = _lowest_stored(place.dtype)

    def emit(builder: Any, place_: Any, index: Any, stride: Any, count: Any, lanes: Any) -> Any:
        first = builder.ptrtoint(builder.gep(place_, [index]), stride.type)
        steps = ir.Constant(
            ir.VectorType(stride.type, vec.lanes), [lane * place.dtype.bitwidth // 8 for lane in range(vec.lanes)]
        )
        addresses = builder.mul(splat_value(builder, stride, vec.lanes), steps)
        addresses = builder.add(splat_value(builder, first, vec.lanes), addresses)
        pointers = builder.inttoptr(addresses, ir.VectorType(place_.type, vec.lanes))
        name = f"gather.{suffix(stored)}.v{vec.lanes}p0"
        return _as_loaded(builder, place, _masked(builder, name, stored, count, pointers, lowest=lowest))

    return vec(place, types.intp, types.intp, types.intp, lanes), emit


def store(place: Any, index: Any, vector: Any) -> None:
    """Write all lanes to consecutive elements from `index` on."""
    place[_span(place, index, len(vector))] = vector


def store_streaming(place: Any, index: Any, vector: Any) -> None:
    """As `store`, past the caches: whole lines are written without being read first.

    The address must be a multiple of the vector's size: compiled code that breaks this is stopped by the processor, the
    twin raises ValueError. `stream_fence` must follow before another thread reads.
    """
    span = _span(place, index, len(vector))
    if (place.ctypes.data + span.start * place.itemsize) % vector.nbytes:
        raise ValueError(f"element {span.start} is not aligned to {vector.nbytes} bytes")
    place[span] = vector


def _store_operation(operation: Any, streaming: bool) -> None:
    @instruction(operation)
    def _store(place: Any, index: Any, vector: Any) -> Any:
        _place(operation.__name__, place, index, vector=vector)

        def emit(builder: Any, place_: Any, index: Any, lanes: Any) -> None:
            stored = builder.store(lanes, _pointer(builder, place_, index, vector.llvm))
            stored.align = place.dtype.bitwidth // 8
            if streaming:
                stored.align *= vector.lanes
                stored.set_metadata("nontemporal", builder.module.add_metadata([number(1)]))

        return types.void(place, types.intp, vector), emit


_store_operation(store, streaming=False)
_store_operation(store_streaming, streaming=True)


def store_first(place: Any, index: Any, vector: Any, count: Any) -> None:
    """Write the first `count` lanes, none if `count` ≤ 0, all if it is as many or more; other memory is not touched."""
    count = max(0, min(int(count), len(vector)))
    place[_span(place, index, count)] = vector[:count]


@instruction(store_first)
def _store_first(place: Any, index: Any, vector: Any, count: Any) -> Any:
    _place("store_first", place, index, count, vector=vector)
    name, llvm = f"store.{suffix(vector)}.p0", vector.llvm

    def emit(builder: Any, place_: Any, index: Any, lanes: Any, count: Any) -> None:
        pointer = _pointer(builder, place_, index, llvm)
        if _has_slow_masks():
            _copy_first(builder, vector, lanes, count, pointer)
        else:
            _masked(builder, name, vector, count, lanes, pointer)

    return types.void(place, types.intp, vector, types.intp), emit


def _has_slow_masks() -> bool:
    """Whether the processor has masked stores of 32 and 64 bits only, of which AMD's take 80 cycles (Zen 3)."""
    _triple, _name, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = features.split(",")
    return "+avx" in enabled and "+avx512vl" not in enabled


def _copy_first(builder: Any, vec: Vec, lanes: Any, count: Any, pointer: Any) -> None:
    """Write the vector to the stack, and copy as much of it as the first `count` lanes take."""
    none, most = number(0, 64), number(vec.lanes, 64)
    kept = builder.select(builder.icmp_signed(">", count, none), count, none)
    kept = builder.select(builder.icmp_signed("<", kept, most), kept, most)
    slot = cgutils.alloca_once(builder, vec.llvm)
    builder.store(lanes, slot)
    size = builder.mul(kept, number(vec.element.bitwidth // 8, 64))
    octets = ir.IntType(8).as_pointer()
    source, target = builder.bitcast(slot, octets), builder.bitcast(pointer, octets)
    call(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), target, source, size, number(0, 1))


def stream_fence() -> None:
    """Make streaming stores visible before any later store: a full fence, which on x86 orders them too."""


@instruction(stream_fence)
def _stream_fence() -> Any:
    return types.void(), lambda builder: builder.fence("seq_cst")


def prefetch(place: Any, index: Any) -> None:
    """Hint that element `index` will be read; nothing is read, and it may lie outside the place."""


def prefetch_far(place: Any, index: Any) -> None:
    """As `prefetch`, but not into the first cache, where what is read now may need the room."""


def _prefetch_operation(operation: Any, locality: int) -> None:
    @instruction(operation)
    def _prefetch(place: Any, index: Any) -> Any:
        _place(operation.__name__, place, index)

        def emit(builder: Any, place_: Any, index: Any) -> None:
            read, keep, data = number(0), number(locality), number(1)
            call(builder, "llvm.prefetch.p0", ir.VoidType(), builder.gep(place_, [index]), read, keep, data)

        return types.void(place, types.intp), emit


_prefetch_operation(prefetch, 3)
_prefetch_operation(prefetch_far, 2)


def bytes_past_line(place: Any, index: Any) -> Any:
    """How many bytes element `index` lies past the start of its cache line."""
    return int((place.ctypes.data + int(index) * place.itemsize) % CACHE_LINE)


@instruction(bytes_past_line)
def _bytes_past_line(place: Any, index: Any) -> Any:
    _place("bytes_past_line", place, index)
    past = number(CACHE_LINE - 1, 64)
    result = types.int64(place, types.intp)
    return result, lambda builder, p, index: builder.and_(builder.ptrtoint(builder.gep(p, [index]), past.type), past)
