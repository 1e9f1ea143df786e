"""CUDA: what the kernels share: 16-byte loads and stores, merges across a warp and a block, devices and streams.

Only the `cuda.py` files import this module, and they only when a CUDA array arrives: `import fastcoord` needs no
numba-cuda. What a kernel calls is a plain Python function, which the CUDA simulator runs, with an `overload` beside it,
which the compiler takes.
"""

import functools
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_torch_array
from numpy.typing import DTypeLike, NDArray

from fastcoord._arrays import Maps, result
from fastcoord._compile import inlined

if find_spec("numba_cuda") is None:  # Numba's own numba.cuda, which would be imported instead, is no longer maintained
    raise ImportError(
        "CUDA arrays need numba-cuda: pip install 'fastcoord[cuda13]' (or 'fastcoord[cuda12]' for CUDA 12 drivers)"
    )

from llvmlite import ir
from numba import cuda, types
from numba.core.errors import TypingError
from numba.cuda import cgutils
from numba.cuda.core import config
from numba.cuda.extending import intrinsic, overload
from numba.cuda.intrinsics import shfl_sync_intrinsic

__all__ = [
    "FULL_WARP",
    "GROUP",
    "WARP",
    "Layout",
    "block_merge",
    "block_share",
    "column_and_row",
    "described",
    "device_of",
    "first_element",
    "flat_memory",
    "launch",
    "layouts",
    "load_eight",
    "load_four",
    "load_sixteen",
    "load_two",
    "made_or_given",
    "moved",
    "next_pixel",
    "require_cuda",
    "require_int32",
    "store_four",
    "stream_of",
    "warp_merge",
    "warp_share",
    "words",
]

WARP = 32
FULL_WARP = 0xFFFFFFFF
GROUP = 16  # bytes that one instruction moves

Merge = Callable[[Any, Any], Any]
Function = TypeVar("Function", bound=Callable[..., Any])

_overload = functools.partial(overload, strict=False)  # strict also compares annotations, which a lambda lacks
_device_function: Callable[[Function], Function] = cuda.jit(device=True)

_PIXELS = 1 << 31
# Modes of llvm.nvvm.shfl.sync.i32: a lane by its number, or the lane so far above; and its clamp, for the whole warp
_SHFL_LANE, _SHFL_DOWN, _LAST_LANE = 0, 2, 31
_SHARED_MEMORY = 3  # NVVM's address space


# The driver, the device, the stream


@functools.cache  # a failure is not remembered
def require_cuda() -> None:
    """Nothing, if a kernel can be launched.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU; the message says what the driver said. (That numba-cuda is not installed is an
        ImportError when this module is imported.)
    """
    if not cuda.is_available():
        reason = " ".join(str(cuda.cuda_error() or "no device, or CUDA's compiler library (NVVM) is missing").split())
        raise RuntimeError(f"a CUDA array needs an NVIDIA driver and a GPU, and none was found: {reason}")


def device_of(array: Any) -> AbstractContextManager[Any]:
    """The array's own device, as a context in which to launch.

    As in `with device_of(array): launch(kernel, blocks, threads, array, flat_memory("array", seen, array))`. An array
    that does not tell its device (a Numba device array) lies on the current one.
    """
    if not hasattr(array, "__dlpack_device__"):
        return nullcontext()
    _kind, number = array.__dlpack_device__()
    return cuda.gpus[int(number)]  # type: ignore[no-any-return]


def stream_of(array: Any) -> Any:
    """The caller's current stream in the array's library, as Numba launches on it.

    PyTorch and CuPy have a current stream per device; for any other array it is the default stream.
    """
    if is_torch_array(array):
        import torch

        return cuda.external_stream(torch.cuda.current_stream(array.device).cuda_stream)
    if is_cupy_array(array):
        import cupy

        return cuda.external_stream(cupy.cuda.get_current_stream(array.device.id).ptr)
    return cuda.default_stream()


def launch(kernel: Any, blocks: int, threads: int, array: Any, *arguments: Any) -> None:
    """Run the kernel on the current stream of the library of `array`, whose device is current; do not wait for it."""
    # Numba warns of each small grid, but a batch of three maps is no mistake. It reads the setting here and only here.
    warns = config.CUDA_LOW_OCCUPANCY_WARNINGS
    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
    try:
        configured = kernel[blocks, threads, stream_of(array)]
    finally:
        config.CUDA_LOW_OCCUPANCY_WARNINGS = warns
    configured(*arguments)


# What the host knows of a CUDA array


class _Interface:
    """What NumPy takes for an array."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def described(name: str, array: Any) -> NDArray[Any]:
    """A NumPy array with the address, shape, strides and type of the CUDA array, for the checks in `_arrays`.

    They read no element, and nobody may: none is in the CPU's memory.

    Raises
    ------
    TypeError
        It is no CUDA array, or a tensor that requires grad or is masked.
    ValueError
        Its elements are not aligned, or not whole elements apart: what could only be read from a copy.
    """
    if is_torch_array(array) and array.requires_grad:
        raise TypeError(f"{name}: expected a tensor without gradients; got one that requires grad: take its .detach()")
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        got = f"{type(array).__module__}.{type(array).__qualname__}"
        raise TypeError(f"{name}: expected a CUDA array, which has __cuda_array_interface__; got {got}")
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: expected a plain array; got a masked array")
    # Numba's arrays say that they are contiguous where a stride is 0 (numba_cuda/numba/cuda/cudadrv/devicearray.py)
    strides = array.strides if hasattr(array, "__cuda_ndarray__") else interface.get("strides")
    fields = {key: interface[key] for key in ("shape", "typestr", "data")}
    seen = np.asarray(_Interface({**fields, "strides": strides, "version": 3}))
    if seen.size and (not seen.flags.aligned or any(stride % seen.itemsize for stride in seen.strides)):
        raise ValueError(f"{name}: expected aligned elements, whole elements apart; got strides {seen.strides} bytes")
    return seen


def made_or_given(
    name: str, given: Any, like: Any, shape: tuple[int, ...], dtype: DTypeLike, *others: NDArray[Any]
) -> tuple[Any, NDArray[Any]]:
    """An array to write into, and its description: a new one of the library and on the device of `like`, or `given`.

    `given` must be as a new one would be, but for its strides, and share no memory with `others`, which are
    descriptions.
    """
    if given is None:
        given = _empty(like, shape, np.dtype(dtype))
        return given, described(name, given)
    seen = described(name, given)
    here, there = _device_number(like), _device_number(given)
    if None not in (here, there) and here != there:
        raise TypeError(f"{name}: expected an array on CUDA device {here}, as the input; got one on device {there}")
    return given, result(name, seen, shape, dtype, *others)


def _empty(like: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    if is_torch_array(like) or is_cupy_array(like):
        library = array_namespace(like)
        return library.empty(shape, dtype=getattr(library, dtype.name), device=like.device)
    with device_of(like):
        return cuda.device_array(shape, dtype)


def _device_number(array: Any) -> int | None:
    if not hasattr(array, "__dlpack_device__"):
        return None
    _kind, number = array.__dlpack_device__()
    return int(number)


def flat_memory(name: str, seen: NDArray[Any], owner: Any) -> Any:
    """What `seen` describes as an argument of a kernel: contiguous elements, as an array of one dimension.

    The memory is that of `owner`, which lives on with the argument, and whose device is current.
    """
    if not seen.flags.c_contiguous:
        raise ValueError(f"{name}: expected a contiguous array on a GPU; got strides {seen.strides} bytes")
    return _on_device(seen.__array_interface__["data"][0], seen.size, seen.dtype, owner)


def words(seen: NDArray[Any], owner: Any) -> tuple[Any, int]:
    """The same memory from the first multiple of 16 bytes on as int32, and how many elements lie before that."""
    address = seen.__array_interface__["data"][0]
    before = -address % GROUP
    whole = max(seen.nbytes - before, 0) // 4
    return _on_device(address + before, whole, np.dtype(np.int32), owner), before // seen.itemsize


def _on_device(address: int, size: int, dtype: np.dtype[Any], owner: Any) -> Any:
    interface = {"shape": (size,), "strides": None, "typestr": dtype.str, "data": (address, False), "version": 3}
    return cuda.from_cuda_array_interface(interface, owner=owner, sync=False)


class Layout(NamedTuple):
    """The numbers of `_arrays.Maps`, for a kernel: where the maps from one of the starts on lie, in elements."""

    start: int
    outer_stride: int
    inner_count: int
    inner_stride: int
    row_stride: int
    column_stride: int
    rows: int
    columns: int
    before: int  # elements before the first multiple of 16 bytes
    columns_on: int  # from one pixel or group that a lane visits to its next
    rows_on: int


def require_int32(name: str, height: int, width: int) -> None:
    """Nothing, if the positions in a map are int32, as in our kernels; else a ValueError."""
    if height * width >= _PIXELS:
        raise ValueError(f"{name}: expected maps of less than 2³¹ pixels on a GPU; got {height} × {width}")


def layouts(maps: Maps, before: int, step: int) -> list[Layout]:
    """One layout for each of the starts, for lanes that move `step` pixels on."""
    rows_on, columns_on = divmod(step, maps.width)
    inner_count = min(maps.inner_count, _PIXELS)  # more than all of them, where `maps` says so
    strides = maps.outer_stride, inner_count, maps.inner_stride, maps.row_stride, maps.column_stride
    return [Layout(start, *strides, maps.height, maps.width, before, columns_on, rows_on) for start in maps.starts]


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
    """The same, of Numba's types, when the kernel is compiled."""
    bits = 8 * GROUP // items
    if not (isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C" and _bits(array.dtype) == bits):
        raise TypingError(f"expected a contiguous array of one dimension with {bits}-bit items, got {array}")


def _bits(item: Any) -> int:
    return 8 if item == types.boolean else int(item.bitwidth)


def _vector_pointer(context: Any, builder: Any, signature: Any, arguments: Any, vector: Any) -> Any:
    """LLVM's pointer to the vector at `array[index]`, the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
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
            state = states[min(lane, warps - 1)]
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
