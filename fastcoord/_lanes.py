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
from fastcoord._vector import product

if find_spec("numba_cuda") is None:  # Numba's own numba.cuda, which would be imported instead, is no longer maintained
    raise ImportError(
        "CUDA arrays need numba-cuda: pip install 'fastcoord[cuda13]' (or 'fastcoord[cuda12]' for CUDA 12 drivers)"
    )

from llvmlite import ir
from numba import cuda, types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic, overload
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
    "groups_of",
    "keep_state",
    "kept_merge",
    "kept_state",
    "lane_and_map",
    "lone_pixel",
    "lost_by_product",
    "moved",
    "next_pixel",
    "warp_merge",
    "warp_share",
    "warp_sums",
]

WARP = 32
FULL_WARP = 0xFFFFFFFF
GROUP = 16  # bytes that one instruction moves

Merge = Callable[[Any, Any], Any]
Function = TypeVar("Function", bound=Callable[..., Any])

overload_on_gpu = functools.partial(overload, strict=False)  # strict also compares annotations, which a lambda lacks
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
def lane_and_map(has_blocks: bool) -> Any:
    """The lane, how many there are, and the number of their map: with one block a map, or one warp."""
    if has_blocks:
        return cuda.threadIdx.x, cuda.blockDim.x, cuda.blockIdx.x
    warps = cuda.blockDim.x // WARP
    return cuda.threadIdx.x % WARP, WARP, cuda.blockIdx.x * warps + cuda.threadIdx.x // WARP


@inlined
def groups_of(first: Any, layout: Any, items: Any) -> Any:
    """Pixels before the first group of a map whose pixels stand side by side, its groups, and pixels after the last."""
    pixels = layout.rows * layout.columns
    head = min((layout.before - first) & (items - 1), pixels)
    groups = (pixels - head) // items
    return np.int32(head), np.int32(groups), np.int32(pixels - head - groups * items)


@inlined
def lone_pixel(lane: Any, head: Any, groups: Any, items: Any) -> Any:
    """The pixel of no group that a lane takes, one of those before the first group and those after the last."""
    return lane if lane < head else head + groups * items + lane - head


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


# What rounding took from a product


def lost_by_product(a: Any, b: Any, product: Any) -> Any:
    """a·b − product, rounded once, where `product` is what a·b was rounded to."""
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return type(a)(wide(a) * wide(b) - wide(product))


@intrinsic  # type: ignore[untyped-decorator]
def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    return a(a, a, a), lambda context, builder, signature, arguments: builder.fma(*arguments)


@overload_on_gpu(lost_by_product)  # type: ignore[untyped-decorator]
def _lost_by_product(a: Any, b: Any, product: Any) -> Any:
    return lambda a, b, product: _fused(a, b, -product)


@intrinsic  # type: ignore[untyped-decorator]
def _rounded_product(typing_context: Any, a: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        instruction = ir.InlineAsm(ir.FunctionType(double, [double, double]), "mul.rn.f64 $0, $1, $2;", "=d,d,d")
        return builder.call(instruction, arguments)

    return types.float64(types.float64, types.float64), generate


@overload_on_gpu(product)  # type: ignore[untyped-decorator]
def _product(a: Any, b: Any) -> Any:
    return (lambda a, b: _rounded_product(a, b)) if a == b == types.float64 else None


# The greater of two numbers, in one instruction


def greater(a: Any, b: Any) -> Any:
    """The greater; NaN only if both are. Of 0.0 and −0.0 it may be either."""
    return np.fmax(a, b)


@overload_on_gpu(greater)  # type: ignore[untyped-decorator]
def _greater(a: Any, b: Any) -> Any:
    return lambda a, b: max(a, b)  # CUDA's maximum drops NaN


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


@overload_on_gpu(_from_lane_above)  # type: ignore[untyped-decorator]
def _compiled_from_lane_above(state: Any, delta: Any) -> Any:
    return lambda state, delta: _shuffle_down(state, delta)


@overload_on_gpu(_from_lane)  # type: ignore[untyped-decorator]
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


@overload_on_gpu(_shared_states)  # type: ignore[untyped-decorator]
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


@inlined
def _added(sums: Any, others: Any) -> Any:
    """Two sums of parts, those of the whole."""
    return sums[0] + others[0], sums[1] + others[1]


warp_sums = warp_merge(_added)  # of a state of two numbers


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


def keep_state(kept: Any, number: int, state: tuple[Any, ...], like: tuple[Any, ...]) -> None:
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


@overload_on_gpu(keep_state)  # type: ignore[untyped-decorator]
def _compiled_keep(kept: Any, number: Any, state: Any, like: Any) -> Any:
    return lambda kept, number, state, like: _store_members(kept, number, state, like)


@overload_on_gpu(kept_state)  # type: ignore[untyped-decorator]
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
