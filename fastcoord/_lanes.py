"""CUDA: what the lanes of a kernel share: where a pixel is, 16-byte loads and stores, merges across a warp and a block.

Only `cuda.py` files and what they share import this module, and they only when a CUDA array arrives: `import fastcoord`
needs no numba-cuda. What a kernel calls is a plain Python function, which the CUDA simulator runs, with an `overload`
beside it, which the compiler takes. An array in a kernel is an address of elements side by side; in the simulator it is
an array of one dimension.
"""

import functools
import itertools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from fastcoord._compile import inlined
from fastcoord._halves import Half
from fastcoord._vector import convert

if find_spec("numba_cuda") is None:  # Numba's own numba.cuda, which would be imported instead, is no longer maintained
    raise ImportError(
        "CUDA arrays need numba-cuda: pip install 'fastcoord[cuda13]' (or 'fastcoord[cuda12]' for CUDA 12 drivers)"
    )

from llvmlite import ir
from numba import cuda, types
from numba.core.errors import TypingError
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic, models, overload, register_model
from numba.cuda.intrinsics import shfl_sync_intrinsic

__all__ = [
    "FULL_WARP",
    "GROUP",
    "WARP",
    "block_merge",
    "block_share",
    "column_and_row",
    "first_element",
    "greater",
    "keep",
    "kept_merge",
    "kept_state",
    "load_eight",
    "load_four",
    "load_sixteen",
    "load_two",
    "moved",
    "next_pixel",
    "store_four",
    "warp_merge",
    "warp_share",
]

WARP = 32
FULL_WARP = 0xFFFFFFFF
GROUP = 16  # bytes that one instruction moves

Merge = Callable[[Any, Any], Any]
Function = TypeVar("Function", bound=Callable[..., Any])

_overload = functools.partial(overload, strict=False)  # strict also compares annotations, which a lambda lacks
_device_function: Callable[[Function], Function] = cuda.jit(device=True)

# Modes of llvm.nvvm.shfl.sync.i32: a lane by its number, or the lane so far above; and its clamp, for the whole warp
_SHFL_LANE, _SHFL_DOWN, _LAST_LANE = 0, 2, 31
_SHARED_MEMORY = 3  # NVVM's address space


# Where a map and a pixel are. Divisions are of 32 bits: one of 64 calls a routine. And the results are int32: sums of
# int32 are int64 to Numba, which a GPU converts to a float more slowly.


@inlined
def first_element(i: Any, layout: Any) -> Any:
    """The element at which the first pixel of map `i` stands."""
    outer: Any = np.int64(np.uint32(i) // np.uint32(layout.inner_count))
    inner = i - outer * layout.inner_count
    return layout.start + outer * layout.outer_stride + inner * layout.inner_stride


@inlined
def column_and_row(pixel: Any, layout: Any) -> Any:
    """The column and the row of a pixel of a map."""
    row: Any = np.uint32(pixel) // np.uint32(layout.columns)
    return np.int32(pixel - np.int64(row) * layout.columns), np.int32(row)


@inlined
def moved(column: Any, row: Any, layout: Any) -> Any:
    """The column and the row of the pixel `columns_on` and `rows_on` further."""
    further: Any = column + layout.columns_on
    wraps = further >= layout.columns
    return np.int32(further - (layout.columns if wraps else 0)), np.int32(row + layout.rows_on + (1 if wraps else 0))


@inlined
def next_pixel(column: Any, row: Any, layout: Any) -> Any:
    """The column and the row of the next pixel."""
    further: Any = column + 1
    wraps = further == layout.columns
    return np.int32(0 if wraps else further), np.int32(row + (1 if wraps else 0))


# Floats of 16 bits

register_model(Half)(lambda manager, half: models.PrimitiveModel(manager, half, ir.IntType(16)))


@intrinsic  # type: ignore[untyped-decorator]
def _widen(typing_context: Any, half: Any, unit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = arguments[0]
        if half.form == "float16":
            single = builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType())
        else:
            wide = builder.zext(bits, ir.IntType(32))
            single = builder.bitcast(builder.shl(wide, ir.Constant(wide.type, 16)), ir.FloatType())
        return single if unit == types.float32 else builder.fpext(single, ir.DoubleType())

    return unit(half, unit), generate


@_overload(convert)  # type: ignore[untyped-decorator]
def _convert_half(value: Any, unit: Any) -> Any:
    if not isinstance(value, Half) or unit not in (types.float32, types.float64):
        return None
    return lambda value, unit: _widen(value, unit)


# The greater of two numbers, in one instruction


def greater(a: Any, b: Any) -> Any:
    """The greater; NaN only if both are. Of 0.0 and −0.0 it may be either."""
    return np.fmax(a, b)


@_overload(greater)  # type: ignore[untyped-decorator]
def _greater(a: Any, b: Any) -> Any:
    return lambda a, b: max(a, b)  # CUDA's maximum drops NaN


# 16 bytes at a time


def _require_whole_vector(array: Any, index: int, items: int) -> None:
    """Raise what the GPU would answer with a fault, or with a wrong item: the uncompiled twins' check."""
    if array.dtype.itemsize * items != GROUP:
        raise TypeError(f"expected items of {GROUP // items} bytes, got {array.dtype}")
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise TypeError(f"expected a contiguous array of one dimension, got strides {array.strides}")
    if (array.ctypes.data + int(index) * array.dtype.itemsize) % GROUP:
        raise ValueError(f"item {index} is not at a multiple of {GROUP} bytes in memory")


def _check_types(array: Any, items: int) -> None:
    """The same, of Numba's types, when the kernel is compiled: an address says nothing of its alignment."""
    bits = 8 * GROUP // items
    is_flat = isinstance(array, types.CPointer) or (
        isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    )
    if not (is_flat and _bits(array.dtype) == bits):
        raise TypingError(f"expected a contiguous array of one dimension with {bits}-bit items, got {array}")


def _bits(item: Any) -> int:
    return 8 if item == types.boolean else int(item.bitwidth)


def _vector_pointer(context: Any, builder: Any, signature: Any, arguments: Any, vector: Any) -> Any:
    """LLVM's pointer to the vector at `array[index]`, the first two arguments."""
    data = arguments[0]
    if isinstance(signature.args[0], types.Array):
        data = context.make_array(signature.args[0])(context, builder, data).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())


def _loader(items: int) -> Callable[[Any, Any], tuple[Any, ...]]:
    """The function that reads so many items, which make 16 bytes."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load_vector(typing_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            item = signature.args[0].dtype
            bits = _bits(item)
            word = ir.IntType(max(bits, 32))
            # Whole words, taken apart by shifts: a vector of bytes or halves, or a bitcast to one, is split into four
            # loads of 4 bytes (bytes) or two of 8 (halves).
            vector = ir.VectorType(word, 8 * GROUP // word.width)
            loaded = builder.load(_vector_pointer(context, builder, signature, arguments, vector))
            loaded.align = GROUP
            model = context.data_model_manager[item]
            values = []
            for position in range(items):
                number, shift = divmod(position * bits, word.width)
                value = builder.extract_element(loaded, ir.Constant(ir.IntType(32), number))
                value = builder.trunc(builder.lshr(value, ir.Constant(word, shift)), ir.IntType(bits))
                values.append(model.from_data(builder, builder.bitcast(value, model.get_data_type())))
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(array.dtype, items)(array, types.intp), generate

    def load(array: Any, index: int) -> tuple[Any, ...]:
        """16 bytes: `array[index]` and the items after it."""
        _require_whole_vector(array, index, items)
        return tuple(array[index + position] for position in range(items))

    @_overload(load)  # type: ignore[untyped-decorator]
    def compiled(array: Any, index: Any) -> Any:
        _check_types(array, items)
        return lambda array, index: load_vector(array, index)

    return load


# load(array, index) is the tuple of `array[index]` and the items after it, 16 bytes in one instruction (LDG.E.128). The
# array is contiguous, of one dimension, with items of the size below; `index` counts items, and `array[index]` stands
# at a multiple of 16 bytes in memory.
load_two = _loader(2)  # 8 bytes: float64, int64
load_four = _loader(4)  # 4 bytes: float32, int32
load_eight = _loader(8)  # 2 bytes: float16, (u)int16, bfloat16 as uint16
load_sixteen = _loader(16)  # 1 byte: bool, (u)int8


def store_four(array: Any, index: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Store a, b, c, d at `array[index]` and after it, in one instruction (STG.E.128): `load_four`'s counterpart."""
    _require_whole_vector(array, index, 4)
    for position, value in enumerate((a, b, c, d)):
        array[index + position] = value


@intrinsic  # type: ignore[untyped-decorator]
def _store_vector(typing_context: Any, array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), 4)
        value = ir.Constant(vector, ir.Undefined)
        for position, item in enumerate(arguments[2:]):
            value = builder.insert_element(value, item, ir.Constant(ir.IntType(32), position))
        pointer = _vector_pointer(context, builder, signature, arguments, vector)
        builder.store(value, pointer).align = GROUP
        return context.get_dummy_value()

    return types.none(array, types.intp, *[array.dtype] * 4), generate


@_overload(store_four)  # type: ignore[untyped-decorator]
def _store_four(array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    _check_types(array, 4)
    return lambda array, index, a, b, c, d: _store_vector(array, index, a, b, c, d)


# Merges. A state is a tuple of 4- and 8-byte numbers.


def _from_lane_above(state: tuple[Any, ...], delta: int) -> tuple[Any, ...]:
    """The state that the lane `delta` above holds; the last `delta` lanes keep their own."""
    return tuple(cuda.shfl_down_sync(FULL_WARP, member, delta) for member in state)


def _from_lane(state: tuple[Any, ...], lane: int) -> tuple[Any, ...]:
    """The state that this lane holds."""
    return tuple(cuda.shfl_sync(FULL_WARP, member, lane) for member in state)


def _member_shuffle(mode: int) -> Any:
    """The intrinsic that shuffles each member of a state."""

    @intrinsic  # type: ignore[untyped-decorator]
    def shuffle_members(typing_context: Any, state: Any, argument: Any) -> Any:
        parts = [
            shfl_sync_intrinsic(typing_context, types.int32, mode, member, types.int32, _LAST_LANE) for member in state
        ]

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            members = cgutils.unpack_tuple(builder, arguments[0])
            mask = ir.Constant(ir.IntType(32), FULL_WARP)
            shuffled = [
                shuffle(context, builder, member_signature, (mask, member, arguments[1]))
                for (member_signature, shuffle), member in zip(parts, members, strict=True)
            ]
            return context.make_tuple(builder, signature.return_type, shuffled)

        return state(state, types.int32), generate

    return shuffle_members


_shuffle_down, _shuffle_from = _member_shuffle(_SHFL_DOWN), _member_shuffle(_SHFL_LANE)


@_overload(_from_lane_above)  # type: ignore[untyped-decorator]
def _compiled_from_lane_above(state: Any, delta: Any) -> Any:
    return lambda state, delta: _shuffle_down(state, delta)


@_overload(_from_lane)  # type: ignore[untyped-decorator]
def _compiled_from_lane(state: Any, lane: Any) -> Any:
    return lambda state, lane: _shuffle_from(state, lane)


def _shared_states(state: tuple[Any, ...]) -> Any:
    """Shared memory for one such state a warp: `[warp]` reads and writes it whole."""
    return cuda.shared.array(WARP, object)


_shared_states_number = itertools.count()


@intrinsic  # type: ignore[untyped-decorator]
def _allocate_states(typing_context: Any, state: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        item = context.get_data_type(state)
        # The symbol is global (NVVM mangles local ones into illegal names): no two may have the same.
        name = f"fastcoord_states_{next(_shared_states_number)}"
        memory = cgutils.add_global_variable(builder.module, ir.ArrayType(item, WARP), name, _SHARED_MEMORY)
        memory.initializer = ir.Constant(memory.value_type, ir.Undefined)
        memory.linkage = "linkonce_odr"  # two functions with states of this type bring one definition each
        return builder.addrspacecast(memory, item.as_pointer(), "generic")

    return types.CPointer(state)(state), generate


@_overload(_shared_states)  # type: ignore[untyped-decorator]
def _compiled_shared_states(state: Any) -> Any:
    return lambda state: _allocate_states(state)


def warp_merge(merge: Merge) -> Callable[[Any], Any]:
    """A device function `merged(state)`: what the states of the warp's 32 lanes merge to, in lane 0.

    Parameters
    ----------
    merge
        An `njit` function `merge(state, state)` → state, associative up to rounding. Its first argument comes from
        lower lanes than its second, and nothing lies between: it need not be commutative. A state is a tuple of
        int32, int64, float32 and float64 members.

    Returns
    -------
    callable
        To be called by all lanes of a warp together. The order of merging is fixed, so results repeat bit for bit.
        What lanes other than 0 receive is of no use.
    """

    @_device_function
    def merged(state: Any) -> Any:
        # Neighbours first (1, 2, 4, …), not halves (16, 8, …): as many shuffles, and they keep the order of the lanes.
        delta = 1
        while delta < WARP:
            state = merge(state, _from_lane_above(state, delta))
            delta *= 2
        return state

    return merged


def block_merge(merge: Merge) -> Callable[[Any], Any]:
    """A device function `merged(state)`: what the states of the block's threads merge to, in thread 0.

    As `warp_merge`, for a block of one dimension whose size is a multiple of 32: each warp's states, then the warps'.
    To be called by all threads of the block together; it may be called again at once. No atomics; two barriers, and
    shared memory for 32 states.
    """
    within_warp = warp_merge(merge)

    @_device_function
    def merged(state: Any) -> Any:
        states = _shared_states(state)
        warps = cuda.blockDim.x // WARP
        warp = cuda.threadIdx.x // WARP
        lane = cuda.laneid
        state = within_warp(state)
        cuda.syncthreads()  # until then the first warp may be reading the states of the merge before
        if lane == 0:
            states[warp] = state
        cuda.syncthreads()  # until then the warps' states are not all written
        if warp == 0:
            if lane < warps:
                state = states[lane]
            delta = 1
            while delta < warps:
                other = _from_lane_above(state, delta)
                if lane + delta < warps:
                    state = merge(state, other)
                delta *= 2
        return state

    return merged


@_device_function
def warp_share(state: Any) -> Any:
    """The state that lane 0 holds, in all lanes of the warp, which call this together."""
    return _from_lane(state, 0)


@_device_function
def block_share(state: Any) -> Any:
    """The state that thread 0 holds, in all threads of the block, which call this together.

    It must not be called again with a state of this type before all threads have read the first one: a `block_merge`
    between the two sees to that. The memory is that of a `block_merge` of such states, which are read by then.
    """
    states = _shared_states(state)
    if cuda.threadIdx.x == 0:
        states[0] = state
    cuda.syncthreads()  # until then it is not written
    return states[0]


# States that the blocks of a map leave for a second launch, which merges them: 8 bytes for each member.

KEPT = 8


def keep(kept: Any, number: int, state: tuple[Any, ...], like: tuple[Any, ...]) -> None:
    """Write the state, its members as those of `like` are, as number `number` of `kept`, an array of bytes."""
    for place, member in enumerate(state):
        at = KEPT * (int(number) * len(state) + place)
        is_float = isinstance(like[place], (float, np.floating))
        kept[at : at + KEPT].view(np.float64 if is_float else np.int64)[0] = member


def kept_state(kept: Any, number: int, like: tuple[Any, ...]) -> tuple[Any, ...]:
    """The state that was written."""
    members = []
    for place, member in enumerate(like):
        at = KEPT * (int(number) * len(like) + place)
        is_float = isinstance(member, (float, np.floating))
        members.append(type(member)(kept[at : at + KEPT].view(np.float64 if is_float else np.int64)[0]))
    return tuple(members)


def _place_of_member(builder: Any, kept: Any, number: Any, members: int, place: int, of_type: Any) -> Any:
    """LLVM's pointer to a member of the state with this number."""
    word = builder.bitcast(kept, ir.IntType(8 * KEPT).as_pointer())
    at = builder.add(builder.mul(number, ir.Constant(number.type, members)), ir.Constant(number.type, place))
    return builder.bitcast(builder.gep(word, [at]), of_type.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def _store_members(typing_context: Any, kept: Any, number: Any, state: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for place, member in enumerate(cgutils.unpack_tuple(builder, arguments[2])):
            value = context.cast(builder, member, state[place], like[place])
            where = _place_of_member(builder, arguments[0], arguments[1], len(like), place, value.type)
            builder.store(value, where).align = KEPT
        return context.get_dummy_value()

    return types.none(kept, types.int64, state, like), generate


@intrinsic  # type: ignore[untyped-decorator]
def _load_members(typing_context: Any, kept: Any, number: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        members = []
        for place, of_type in enumerate(like):
            value_type = context.get_value_type(of_type)
            where = _place_of_member(builder, arguments[0], arguments[1], len(like), place, value_type)
            loaded = builder.load(where)
            loaded.align = KEPT
            members.append(loaded)
        return context.make_tuple(builder, signature.return_type, members)

    return like(kept, types.int64, like), generate


@_overload(keep)  # type: ignore[untyped-decorator]
def _compiled_keep(kept: Any, number: Any, state: Any, like: Any) -> Any:
    return lambda kept, number, state, like: _store_members(kept, number, state, like)


@_overload(kept_state)  # type: ignore[untyped-decorator]
def _compiled_kept(kept: Any, number: Any, like: Any) -> Any:
    return lambda kept, number, like: _load_members(kept, number, like)


def kept_merge(merge: Merge) -> Callable[[Any, int, int, Any], Any]:
    """A device function `merged(kept, first, count, nothing)`: what `count` kept states merge to, in thread 0.

    `nothing` is the state before any pixel, of the types of what was kept. As `block_merge`, by all threads of a block
    together, and in the order in which they are kept.
    """
    within_block = block_merge(merge)

    @_device_function
    def merged(kept: Any, first: int, count: int, nothing: Any) -> Any:
        share: Any = np.int64(np.uint32(count + cuda.blockDim.x - 1) // np.uint32(cuda.blockDim.x))
        number: Any = np.int64(cuda.threadIdx.x) * share
        end = min(number + share, count)
        state = nothing
        while number < end:
            state = merge(state, kept_state(kept, first + number, nothing))
            number += 1
        return within_block(state)

    return merged
