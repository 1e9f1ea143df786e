"""CUDA: what the host does to launch a kernel: arrays and their memory, devices and streams, compiled kernels.

Only `cuda.py` files and what they share import this module, and they only when a CUDA array arrives. A kernel gets
addresses, which it indexes: one parameter instead of the seven of an array, and nothing to make for it. In the
simulator it gets arrays.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_jax_array, is_torch_array
from numba import cuda
from numpy.typing import DTypeLike, NDArray

from fastcoord import _recorded
from fastcoord._arrays import Maps, result
from fastcoord._halves import FORMATS, format_of
from fastcoord._lanes import GROUP
from fastcoord._recorded import Memory

__all__ = [
    "Layout",
    "described",
    "device_of",
    "flat_memory",
    "launch",
    "layouts",
    "made_or_given",
    "require_cuda",
    "require_int32",
    "require_like",
    "stream_of",
    "words",
]

_PIXELS = 1 << 31


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
    number = _device_number(array)
    return nullcontext() if number is None else cuda.gpus[number]


def stream_of(array: Any) -> int:
    """The caller's current stream in the array's library, as the driver knows it.

    PyTorch and CuPy have a current stream per device; for any other array it is the default stream, 0.
    """
    if is_torch_array(array):
        import torch

        return int(torch.cuda.current_stream(array.device).cuda_stream)
    if is_cupy_array(array):
        import cupy

        return int(cupy.cuda.get_current_stream(array.device.id).ptr)
    return 0


def launch(kernel: Any, blocks: int, threads: int, array: Any, *arguments: Any) -> None:
    """Run the kernel on the current stream of the library of `array`, whose device is current; do not wait for it.

    An argument is memory, a number of NumPy's (of its own type), an int (int64), a bool, or a named tuple of ints.
    """
    if _recorded.IS_SIMULATED:
        in_arrays = (_on_device(argument) if type(argument) is Memory else argument for argument in arguments)
        kernel[blocks, threads](*in_arrays)
        return
    in_memory = tuple(_memory_of(argument) for argument in arguments)
    call = _recorded.Launch(_recorded.compiled(kernel, in_memory), blocks, threads, in_memory)
    call.run(stream_of(array))
    _recorded.note(call)


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
    if is_torch_array(array):
        if array.requires_grad:
            said = "expected a tensor without gradients; got one that requires grad: take its .detach()"
            raise TypeError(f"{name}: {said}")
        if array.is_neg():  # its memory holds the numbers with the other sign
            raise TypeError(f"{name}: expected numbers in memory; got a lazy negative: take its .resolve_neg()")
    elif is_jax_array(array):  # its streams are its own, and nothing tells when they are done with the memory
        said = "expected an array of PyTorch, CuPy or Numba on a GPU; got one of JAX: pass it on, by torch.from_dlpack"
        raise TypeError(f"{name}: {said}")
    if hasattr(array, "__cuda_ndarray__") and not _recorded.IS_SIMULATED:
        fields = {"shape": array.shape, "typestr": array.dtype.str, "data": (_address_of(array), False)}
        interface: Any = {**fields, "strides": array.strides}
    else:
        interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        got = f"{type(array).__module__}.{type(array).__qualname__}"
        raise TypeError(f"{name}: expected a CUDA array, which has __cuda_array_interface__; got {got}")
    if interface.get("stream") is not None and not (is_torch_array(array) or is_cupy_array(array)):
        _wait_for(int(interface["stream"]))
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: expected a plain array; got a masked array")
    # Numba's arrays say that they are contiguous where a stride is 0 (numba_cuda/numba/cuda/cudadrv/devicearray.py)
    strides = array.strides if hasattr(array, "__cuda_ndarray__") else interface.get("strides")
    fields = {key: interface[key] for key in ("shape", "typestr", "data", "descr") if key in interface}
    if is_torch_array(array) and str(array.dtype) == "torch.bfloat16":
        fields |= {"typestr": "|V2", "descr": FORMATS["bfloat16"].descr}
    elif hasattr(array, "__cuda_ndarray__") and format_of(array.dtype):
        fields["descr"] = array.dtype.descr
    seen = np.asarray(_Interface({**fields, "strides": strides, "version": 3}))
    places = seen.__array_interface__["data"][0], *seen.strides
    if seen.size and any(place % seen.itemsize for place in places):
        raise ValueError(f"{name}: expected aligned elements, whole elements apart; got strides {seen.strides} bytes")
    return seen


def _wait_for(stream: int) -> None:
    """Wait until what was put on a stream is done, as the CUDA array interface asks of whoever reads the array."""
    if not _recorded.IS_SIMULATED:
        cuda.external_stream(stream).synchronize()


def made_or_given(
    name: str, given: Any, like: Any, shape: tuple[int, ...], dtype: DTypeLike, *others: NDArray[Any]
) -> tuple[Any, NDArray[Any]]:
    """An array to write into, and its description: a new one of the library and on the device of `like`, or `given`.

    `given` must be as a new one would be, but for its strides, and share no memory with `others`, which are
    descriptions.
    """
    if given is None:
        given = _empty(like, shape, np.dtype(dtype))
        _recorded.note_new(given)
        return given, described(name, given)
    seen = described(name, given)
    here, there = _device_number(like), _device_number(given)
    if None not in (here, there) and here != there:
        raise TypeError(f"{name}: expected an array on CUDA device {here}, as the input; got one on device {there}")
    seen = result(name, seen, shape, dtype, *others)
    if is_torch_array(given):
        import torch

        torch.autograd.graph.increment_version(given)  # else autograd would take it for what it was
    return given, seen


def require_like(name: str, given: Any, like: Any, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Refuse an array to be read that is not of this shape and type, or not on the device of `like`."""
    seen = described(name, given)
    here, there = _device_number(like), _device_number(given)
    if None not in (here, there) and here != there:
        raise TypeError(f"{name}: expected an array on CUDA device {here}, as the input; got one on device {there}")
    if seen.shape != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}; got {seen.shape}")
    if seen.dtype != np.dtype(dtype):
        raise TypeError(f"{name}: expected dtype {np.dtype(dtype)}; got {seen.dtype}")


def _empty(like: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    if is_torch_array(like) or is_cupy_array(like):
        library = array_namespace(like)
        return library.empty(shape, dtype=getattr(library, format_of(dtype) or dtype.name), device=like.device)
    with device_of(like):
        return cuda.device_array(shape, dtype)


def _device_number(array: Any) -> int | None:
    if not hasattr(array, "__dlpack_device__"):
        return None
    _kind, number = array.__dlpack_device__()
    return int(number)


def flat_memory(name: str, seen: NDArray[Any], owner: Any) -> Memory:
    """What `seen` describes as an argument of a kernel: contiguous elements.

    The memory is that of `owner`, which lives on with the argument, and whose device is current.
    """
    if not seen.flags.c_contiguous:
        raise ValueError(f"{name}: expected a contiguous array on a GPU; got strides {seen.strides} bytes")
    return Memory(seen.__array_interface__["data"][0], seen.size, seen.dtype, owner)


def words(seen: NDArray[Any], owner: Any) -> tuple[Memory, int]:
    """The same memory from the first multiple of 16 bytes on as int32, and how many elements lie before that."""
    address = seen.__array_interface__["data"][0]
    before = -address % GROUP
    whole = max(seen.nbytes - before, 0) // 4
    return Memory(address + before, whole, np.dtype(np.int32), owner), before // seen.itemsize


def _address_of(array: Any) -> int:
    """The address of a device array of Numba's, whose `__cuda_array_interface__` warns of its stream in Python 3.12."""
    return int(array.device_ctypes_pointer.value or 0)


def _memory_of(argument: Any) -> Any:
    """A device array of Numba's as memory; other arguments as they are."""
    if not hasattr(argument, "__cuda_ndarray__"):
        return argument
    return Memory(_address_of(argument), argument.size, argument.dtype, argument)


def _on_device(memory: Memory) -> Any:
    """The memory as an array of Numba's, for the simulator."""
    interface: dict[str, Any] = {
        "shape": (memory.size,),
        "strides": None,
        "typestr": memory.dtype.str,
        "data": (memory.address, False),
    }
    if format_of(memory.dtype):
        interface["descr"] = memory.dtype.descr
    return cuda.from_cuda_array_interface({**interface, "version": 3}, owner=memory.owner, sync=False)


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
