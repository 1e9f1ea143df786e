"""CUDA launches: kernels compiled once for each kind of arguments, and calls recorded, to be made again at little cost.

A call checks its arguments, plans its launches and compiles kernels. The launches of a call on arrays of PyTorch are
recorded under what all of that depends on: options, shapes, strides, types, devices and alignment. A call that differs
from it only in where its arrays are then takes a few microseconds: it makes the new arrays, writes their addresses over
the recorded ones and launches.
"""

import ctypes
import functools
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda, types
from numba.np.numpy_support import from_dtype

from fastcoord._halves import Half, format_of

__all__ = ["IS_SIMULATED", "Launch", "Memory", "compiled", "note", "note_new", "recall"]

MOST = 256  # recorded calls of a thread
_INVALID_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT
_SLOT = 8  # bytes for each parameter, whatever its size
_CODES = {
    "b1": "?",
    "i1": "b",
    "u1": "B",
    "i2": "h",
    "u2": "H",
    "i4": "i",
    "u4": "I",
    "i8": "q",
    "u8": "Q",
    "f4": "f",
    "f8": "d",
}  # those of the module struct, for NumPy's types


class Memory(NamedTuple):
    """Elements side by side on a GPU, as an argument of a kernel."""

    address: int
    size: int  # in elements
    dtype: np.dtype[Any]
    owner: Any  # the array whose memory it is, which lives on with this


IS_SIMULATED = bool(config.ENABLE_CUDASIM)  # kernels run in Numba's simulator


@functools.cache
def _driver() -> Any:
    from cuda.bindings import driver  # numba-cuda has it: that this is missing, `_lanes` says better

    return driver


# Compiled kernels


class Compiled(NamedTuple):
    """A kernel for arguments of some types, on one device."""

    function: Any  # of the driver
    packed: struct.Struct  # of the parameters


_compiled: dict[Any, Compiled] = {}


def compiled(kernel: Any, arguments: tuple[Any, ...]) -> Compiled:
    """The kernel for arguments of these types, on the current device."""
    key = (kernel, cuda.get_current_device().id, *map(_kind, arguments))
    found = _compiled.get(key)
    if found is None:
        signature, codes = [], ""
        for argument in arguments:
            numba_type, code = _type(argument)
            signature.append(numba_type)
            codes += code
        function = kernel.compile(tuple(signature))._codelibrary.get_cufunc()
        packed = struct.Struct("<" + "".join(code + f"{_SLOT - struct.calcsize('<' + code)}x" for code in codes))
        found = _compiled[key] = Compiled(_driver().CUfunction(int(function.handle)), packed)
    return found


def _kind(argument: Any) -> Any:
    """What the type of an argument depends on."""
    if type(argument) is Memory:
        return "memory", argument.dtype
    if isinstance(argument, tuple):
        return type(argument), len(argument), type(argument[0])
    return type(argument)


def _type(argument: Any) -> tuple[Any, str]:
    """The Numba type of an argument, and the codes of its parameters."""
    if type(argument) is Memory:
        form = format_of(argument.dtype)
        return types.CPointer(Half(form) if form else from_dtype(argument.dtype)), "Q"
    if isinstance(argument, tuple):
        number, code = _type(argument[0])
        if type(argument) is tuple:
            return types.UniTuple(number, len(argument)), code * len(argument)
        return types.NamedUniTuple(number, len(argument), type(argument)), code * len(argument)
    if isinstance(argument, bool):
        return types.boolean, "?"
    if isinstance(argument, int):
        return types.int64, "q"
    return from_dtype(argument.dtype), _CODES[argument.dtype.str[1:]]


class Launch:
    """One launch: a compiled kernel and its parameters, some of which are addresses."""

    __slots__ = ("addresses", "blocks", "function", "memories", "parameters", "pointers", "threads", "where")

    def __init__(self, kernel: Compiled, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        numbers: list[Any] = []
        self.memories: list[tuple[int, Memory]] = []  # and which parameter it is
        for argument in arguments:
            if type(argument) is Memory:
                self.memories.append((len(numbers), argument))
                numbers.append(argument.address)
            elif isinstance(argument, tuple):
                numbers.extend(argument)
            else:
                numbers.append(argument)
        self.function, self.blocks, self.threads = kernel.function, blocks, threads
        self.parameters = ctypes.create_string_buffer(kernel.packed.pack(*numbers), _SLOT * len(numbers))
        self.addresses = (ctypes.c_uint64 * len(numbers)).from_buffer(self.parameters)
        first = ctypes.addressof(self.parameters)
        slots = range(first, first + _SLOT * len(numbers), _SLOT)
        self.pointers = (ctypes.c_void_p * len(numbers))(*slots)
        self.where = ctypes.addressof(self.pointers)

    def run(self, stream: int) -> None:
        """Launch on the stream, without waiting; the driver copies the parameters."""
        status = submit(self.function, self.blocks, self.threads, stream, self.where)
        if status:
            raise LaunchError(status)


class LaunchError(RuntimeError):
    """The driver refused a launch, or tells of an error of a kernel before it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a CUDA kernel could not be launched: {_driver().CUresult(status).name}")
        self.status = status


def submit(function: Any, blocks: int, threads: int, stream: int, parameters: int) -> int:
    """Launch, and return what the driver says: 0 if it is well."""
    (status,) = _driver().cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, parameters, 0)
    return int(status)


# Recorded calls


class _Thread(threading.local):
    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.recorded: dict[Any, Recording] = {}


_thread = _Thread()


def note(launch: Launch) -> None:
    """Record the launch, if a call is being recorded."""
    if _thread.recording is not None:
        _thread.recording.add(launch)


def note_new(array: Any) -> None:
    """Record that the call makes an array like this one, if a call is being recorded."""
    if _thread.recording is not None:
        _thread.recording.arrays.append(array)


class Recording:
    """What a call does to tensors of PyTorch: the tensors it makes, its launches, and what it returns."""

    def __init__(self, given: list[Any]) -> None:
        self.given = len(given)
        self.extents = [_extent(tensor) for tensor in given]
        self.device = given[0].device
        self.arrays = list(given)  # while it is recorded; then those that it makes are behind the given ones
        self.launches: list[tuple[Launch, list[tuple[int, int, int]]]] = []
        self.kept: list[Any] = []  # whose memory the launches use, beside that of the arrays
        self.made: list[tuple[Any, Any]] = []  # shape and type
        self.kind: Any = None  # of what is returned, where it is a tuple
        self.members: list[Any] = []  # of what is returned: their places in `arrays`

    def add(self, launch: Launch) -> None:
        places = []
        for parameter, memory in launch.memories:
            for place, array in enumerate(self.arrays):
                if array is memory.owner:
                    places.append((parameter, place, memory.address - array.data_ptr()))
                    break
            else:
                self.kept.append(memory.owner)
        self.launches.append((launch, places))

    def finish(self, returned: Any) -> None:
        """End the recording of a call that returned this, and let its tensors go."""
        places = {id(array): place for place, array in enumerate(self.arrays)}
        if isinstance(returned, tuple):
            self.kind = type(returned)
        members = returned if self.kind else (returned,)
        self.members = [None if member is None else places.get(id(member)) for member in members]
        self.made = [(array.shape, array.dtype) for array in self.arrays[self.given :]]
        self.arrays = []
        for launch, _places in self.launches:
            launch.memories = []

    def again(self, torch: Any, starts: list[int], given: list[Any], out: Any) -> Any:
        """The call for other tensors that are like the first ones, at these addresses; None if they may overlap."""
        if len(starts) > 1 and not _are_apart(starts, self.extents):
            return None
        if self.made:
            device = self.device
            made = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in self.made]
            starts += [tensor.data_ptr() for tensor in made]
        for launch, places in self.launches:
            addresses = launch.addresses
            for parameter, place, offset in places:
                addresses[parameter] = starts[place] + offset
        number = self.device.index
        if torch._C._cuda_getDevice() == number:
            self._run(torch._C._cuda_getCurrentRawStream(number), number)
        else:
            with cuda.gpus[number]:
                self._run(torch._C._cuda_getCurrentRawStream(number), number)
        if out is not None:
            for tensor in given[1:]:
                torch.autograd.graph.increment_version(tensor)  # else autograd would take it for what it was
            return out
        arrays = given + made
        if self.kind is None:
            return arrays[self.members[0]]
        return self.kind(*[None if place is None else arrays[place] for place in self.members])

    def _run(self, stream: int, number: int) -> None:
        for launch, _places in self.launches:
            status = submit(launch.function, launch.blocks, launch.threads, stream, launch.where)
            if status == _INVALID_CONTEXT:  # a thread that has not used PyTorch yet has no current context
                with cuda.gpus[number]:
                    launch.run(stream)
            elif status:
                raise LaunchError(status)


def _extent(tensor: Any) -> int:
    """Bytes from the first element to the end of the last; strides of PyTorch are not negative."""
    if not tensor.numel():
        return 0
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int((last + 1) * tensor.element_size())


def _are_apart(starts: list[int], extents: list[int]) -> bool:
    """Whether no two stretches of memory have a byte in common."""
    for i in range(1, len(starts)):
        start, end = starts[i], starts[i] + extents[i]
        for j in range(i):
            if start < starts[j] + extents[j] and starts[j] < end:
                return False
    return True


def recall(options: Any, grid: Any, array: Any, out: Any, call: Callable[[], Any]) -> Any:
    """What ``call()`` returns: recorded, or made again where a call like it was recorded.

    `options` tell which operation it is, and all that it is called with but `grid`, `array`, and `out`, a tensor or a
    tuple of tensors. Where they are None or cannot be hashed, where these are no tensors of PyTorch, or where each map
    has a grid of its own, whose numbers are copied to the device, nothing is recorded.
    """
    torch = sys.modules.get("torch")
    if torch is None or type(array) is not torch.Tensor or IS_SIMULATED or options is None:
        return call()
    if grid is not None and getattr(grid, "batch", True):
        return call()
    given = [array]
    key, starts = [options, grid, type(out)], []
    if isinstance(out, tuple):
        given += [member for member in out if member is not None]
        key += [member is None for member in out]
    elif out is not None:
        given.append(out)
    try:
        for tensor in given:
            start = tensor.data_ptr()
            starts.append(start)
            key += (tensor.shape, tensor.stride(), tensor.dtype, tensor.get_device(), tensor.requires_grad, start & 15)
            key.append(tensor.is_neg())
        known = tuple(key)
        recording = _thread.recorded.get(known)
    except (AttributeError, TypeError, RuntimeError):  # no tensor, or one without strides; what cannot be hashed
        return call()
    if recording is not None:
        made = recording.again(torch, starts, given, out)
        return call() if made is None else made
    if any(type(tensor) is not torch.Tensor for tensor in given):
        return call()
    return _record(known, given, call)


def _record(key: Any, given: list[Any], call: Callable[[], Any]) -> Any:
    if _thread.recording is not None:  # a call within a call
        return call()
    _thread.recording = recording = Recording(given)
    try:
        returned = call()
    finally:
        _thread.recording = None
    recording.finish(returned)
    if len(_thread.recorded) >= MOST:
        _thread.recorded.clear()
    _thread.recorded[key] = recording
    return returned
