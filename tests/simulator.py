"""Numba's CUDA simulator, made strict, fast, and complete enough for our kernels.

`install()` changes the simulator that `NUMBA_ENABLE_CUDASIM=1` selects:

* A CUDA thread is a greenlet, not an operating-system thread: much faster, and every run is the same. Warps and threads
  run in an order shuffled with a fixed seed, so that a missing barrier gives a wrong result and not a lucky one.
* Warp shuffles, votes, `syncwarp`, loads and stores with cache hints, external streams, aligned shared and local
  arrays, and the compiler's options in `cuda.jit` exist.
* What a GPU answers with a hang or with rubbish is an error: a barrier or a warp operation that not all of its threads
  reach, a lane read from outside the mask, a negative index (NumPy would count it from the end). Shared and local
  arrays start with NaN or −1.
* While a kernel runs, `numba.cuda` works in every module, as in compiled code, and not only in the kernel's own.
* A device array has `__cuda_array_interface__`, can be made from one, and does not pass for memory of the CPU.

One thing it cannot show: NumPy promotes types by its own rules, so a leak of float64 is found by machine_code.py only.
"""

import contextvars
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numba import config, cuda, types
from numba.cuda.simulator import api, kernel, kernelapi
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from numba.cuda.simulator.cudadrv.devices import FakeCUDADevice
from numba.np import numpy_support

WARP = 32
FULL_WARP = 0xFFFFFFFF


def install() -> None:
    """Change the simulator; before the modules with kernels are imported."""
    if not config.ENABLE_CUDASIM:
        raise RuntimeError("the CUDA simulator is off: set NUMBA_ENABLE_CUDASIM=1")
    kernel.BlockManager = Block
    kernel.FakeWithinKernelCUDAArray = _array_in_kernel
    kernelapi.FakeCUDAShared.array = _shared_array
    kernelapi.FakeCUDALocal.array = _local_array
    kernelapi.GridGroup.sync = lambda self: _at_barrier("grid.sync")  # the simulator allows one block only
    for name, operation in _IN_KERNELS.items():
        setattr(kernelapi.FakeCUDAModule, name, operation)
        vars(cuda).pop(name, None)  # a placeholder, which would hide ours
    cuda.__getattr__ = _in_running_kernel
    cuda.jit = _jit
    cuda.external_stream = lambda pointer: cuda.stream()
    cuda.from_cuda_array_interface = _from_cuda_array_interface
    FakeCUDAArray.__cuda_array_interface__ = property(_cuda_array_interface)
    FakeCUDAArray.__getattr__ = _device_array_attribute
    FakeCUDADevice.id = 0


# The threads of a block, and who runs next


class Thread(greenlet):
    """One CUDA thread. It runs until it ends or waits: then it hands `waits_for` and `value` to its block."""

    def __init__(self, function: Callable[..., None], index: int, block: "Block") -> None:
        super().__init__(function)
        self.gr_context = contextvars.copy_context()  # a greenlet starts without the caller's np.errstate
        width, height, _depth = block.shape
        self.index = index
        self.warp, self.lane = divmod(index, WARP)
        self.threadIdx = kernelapi.Dim3(index % width, index // width % height, index // (width * height))
        self.blockIdx = block.position
        self.waits_for: tuple[Any, ...] = ()
        self.value: Any = None
        self.arguments: tuple[Any, ...] = ()

    def wait(self, operation: str, place: str, warp: int | None, mask: int, value: Any = None) -> dict[int, Any]:
        """What each thread brought to this barrier (warp None, by index) or warp operation (by lane)."""
        self.waits_for, self.value = (operation, place, warp, mask), value
        return self.parent.switch()


class Block:
    """Runs the threads of one block: what the simulator calls a BlockManager."""

    def __init__(self, function: Callable[..., None], grid_dim: Any, block_dim: Iterable[int], debug: bool) -> None:
        self.function = function
        self.shape = tuple(block_dim)

    def run(self, grid_point: Iterable[int], *arguments: Any) -> None:
        self.position = kernelapi.Dim3(*grid_point)
        width, height, depth = self.shape
        with np.errstate(all="ignore"):  # a GPU does not report floating-point exceptions
            threads = [Thread(self.function, index, self) for index in range(width * height * depth)]
        for thread in threads:
            thread.arguments = arguments
        warps = [threads[start : start + WARP] for start in range(0, len(threads), WARP)]
        shuffle = random.Random(0).shuffle
        ready = threads
        try:
            while ready:
                shuffle(warps)
                for warp in warps:
                    self._run_warp(warp, shuffle)
                ready = _released_by_barrier(threads)
            if any(not thread.dead for thread in threads):
                raise RuntimeError(_who_waits(threads))
        finally:
            for thread in threads:  # so that each leaves its `with` blocks: the simulator counts who is in them
                if not thread.dead:
                    thread.throw()

    def _run_warp(self, warp: list[Thread], shuffle: Callable[[list[Thread]], None]) -> None:
        """As far as the warp gets without the others: a GPU may let it, and then a barrier that is missing shows."""
        ready = [thread for thread in warp if not thread.dead]
        while ready:
            shuffle(ready)
            for thread in ready:
                self._resume(thread)
            ready = _released_in_warp(warp)

    def _resume(self, thread: Thread) -> None:
        try:
            thread.switch(*thread.arguments)
        except Exception as error:
            error.add_note(f"in CUDA thread {tuple(thread.threadIdx)} of block {tuple(self.position)}")
            raise


def _meetings(threads: Iterable[Thread]) -> dict[tuple[Any, ...], list[Thread]]:
    meetings = defaultdict(list)
    for thread in threads:
        if not thread.dead:
            meetings[thread.waits_for].append(thread)
    return meetings


def _released_in_warp(warp: list[Thread]) -> list[Thread]:
    """The threads whose companions in the mask have all come to the same operation."""
    released = []
    for (_operation, _place, _warp, mask), here in _meetings(warp).items():
        if mask and sum(1 << thread.lane for thread in here) == mask:
            values = {thread.lane: thread.value for thread in here}
            for thread in here:
                thread.arguments = (values,)
            released += here
    return released


def _released_by_barrier(threads: list[Thread]) -> list[Thread]:
    """All threads, if all have come to the same barrier; none otherwise."""
    meetings = _meetings(threads)
    if len(meetings) != 1:
        return []
    (((_operation, _place, warp, _mask), here),) = meetings.items()
    if warp is not None or len(here) < len(threads):
        return []
    values = {thread.index: thread.value for thread in here}
    for thread in here:
        thread.arguments = (values,)
    return here


def _who_waits(threads: list[Thread]) -> str:
    lines = ["deadlock: a barrier or a warp operation that not all of its threads reach"]
    for (operation, place, warp, mask), here in _meetings(threads).items():
        at = place if warp is None else f"for lanes {mask:#010x} of warp {warp}"
        lines.append(f"  threads {_ranges(thread.index for thread in here)} wait in {operation} {at}")
    if ended := _ranges(thread.index for thread in threads if thread.dead):
        lines.append(f"  threads {ended} have ended")
    return "\n".join(lines)


def _ranges(numbers: Iterable[int]) -> str:
    runs = itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(run) for _difference, run in runs)]
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ends)


# What a kernel finds in numba.cuda


def _at_barrier(operation: str, value: Any = None) -> Iterable[Any]:
    frame = sys._getframe(2)
    place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return getcurrent().wait(operation, place, None, 0, value).values()


def _in_warp(operation: str, mask: int, value: Any = None) -> dict[int, Any]:
    thread, mask = getcurrent(), int(mask) & FULL_WARP
    if not mask >> thread.lane & 1:
        raise RuntimeError(f"{operation}: lane {thread.lane} is not in its own mask {mask:#010x}")
    return thread.wait(operation, "", thread.warp, mask, value)


def _shuffle(operation: str, source_of: Callable[[int, int], int]) -> Callable[..., Any]:
    def shuffle(module: Any, mask: int, value: Any, argument: int) -> Any:
        source = source_of(getcurrent().lane, int(argument))
        values = _in_warp(operation, mask, value)
        if not 0 <= source < WARP:
            return value
        if source not in values:
            raise RuntimeError(f"{operation}: lane {source} is read but not in the mask {mask:#010x}")
        return values[source]

    return shuffle


def _lanes(values: dict[int, Any], wanted: Callable[[Any], bool]) -> int:
    return sum(1 << lane for lane, value in values.items() if wanted(value))


def _syncthreads(module: Any) -> None:
    _at_barrier("syncthreads")


def _syncthreads_count(module: Any, value: Any) -> int:
    return sum(map(bool, _at_barrier("syncthreads_count", value)))


def _syncthreads_and(module: Any, value: Any) -> int:
    return int(all(_at_barrier("syncthreads_and", value)))


def _syncthreads_or(module: Any, value: Any) -> int:
    return int(any(_at_barrier("syncthreads_or", value)))


def _syncwarp(module: Any, mask: int = FULL_WARP) -> None:
    _in_warp("syncwarp", mask)


def _all_sync(module: Any, mask: int, value: Any) -> bool:
    return all(_in_warp("all_sync", mask, value).values())


def _any_sync(module: Any, mask: int, value: Any) -> bool:
    return any(_in_warp("any_sync", mask, value).values())


def _eq_sync(module: Any, mask: int, value: Any) -> bool:
    return len({bool(other) for other in _in_warp("eq_sync", mask, value).values()}) == 1


def _ballot_sync(module: Any, mask: int, value: Any) -> int:
    return _lanes(_in_warp("ballot_sync", mask, value), bool)


def _match_any_sync(module: Any, mask: int, value: Any) -> int:
    return _lanes(_in_warp("match_any_sync", mask, value), lambda other: other == value)


def _match_all_sync(module: Any, mask: int, value: Any) -> tuple[int, bool]:
    equal = _lanes(_in_warp("match_all_sync", mask, value), lambda other: other == value)
    return (equal, True) if equal == mask else (0, False)


def _load(module: Any, array: Any, index: Any) -> Any:
    return array[index]


def _store(module: Any, array: Any, index: Any, value: Any) -> None:
    array[index] = value


_IN_KERNELS = {
    "threadIdx": property(lambda module: getcurrent().threadIdx),
    "blockIdx": property(lambda module: getcurrent().blockIdx),
    "laneid": property(lambda module: getcurrent().lane),
    "lanemask_lt": lambda module: (1 << getcurrent().lane) - 1,
    "nanosleep": lambda module, nanoseconds: None,
    "syncthreads": _syncthreads,
    "syncthreads_count": _syncthreads_count,
    "syncthreads_and": _syncthreads_and,
    "syncthreads_or": _syncthreads_or,
    "syncwarp": _syncwarp,
    "shfl_sync": _shuffle("shfl_sync", lambda lane, source: source % WARP),
    "shfl_up_sync": _shuffle("shfl_up_sync", lambda lane, delta: lane - delta),
    "shfl_down_sync": _shuffle("shfl_down_sync", lambda lane, delta: lane + delta),
    "shfl_xor_sync": _shuffle("shfl_xor_sync", lambda lane, bits: lane ^ bits),
    "all_sync": _all_sync,
    "any_sync": _any_sync,
    "eq_sync": _eq_sync,
    "ballot_sync": _ballot_sync,
    "match_any_sync": _match_any_sync,
    "match_all_sync": _match_all_sync,
    **dict.fromkeys(("ldca", "ldcg", "ldcs", "ldlu", "ldcv"), _load),
    **dict.fromkeys(("stcg", "stcs", "stwb", "stwt"), _store),
}


def _in_running_kernel(name: str) -> Any:
    running = kernel._get_kernel_context()
    if running is None or name.startswith("__"):
        raise AttributeError(f"module 'numba.cuda' has no attribute {name!r} outside a kernel of the simulator")
    return getattr(running, name)


def _jit(function_or_signature: Any = None, **options: Any) -> Any:
    for only_for_the_compiler in ("forceinline", "launch_bounds", "lineinfo", "lto", "max_registers"):
        options.pop(only_for_the_compiler, None)
    return api.jit(function_or_signature, **options)


# Arrays


class KernelArray(np.ndarray):
    """An array inside a kernel."""

    def __getitem__(self, index: Any) -> Any:
        _refuse_negative(index)
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_negative(index)
        super().__setitem__(index, value)


_INTEGERS = (int, np.integer)  # a union of the two, made anew in each call, took a tenth of the simulator's time


def _refuse_negative(index: Any) -> None:
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            _refuse_negative((part.start, part.stop))
        elif isinstance(part, _INTEGERS) and part < 0:
            raise IndexError(f"negative index: {index}")


def _array_in_kernel(array: FakeCUDAArray) -> KernelArray:
    return array._ary.view(KernelArray)


def _new_array(shape: Any, dtype: Any) -> KernelArray:
    array = np.empty(shape, _numpy_dtype(dtype)).view(KernelArray)
    if not array.dtype.hasobject:
        array.reshape(-1).view(np.uint8)[:] = 0xFF
    return array


def _numpy_dtype(dtype: Any) -> np.dtype[Any]:
    return np.dtype(numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)


def _shared_array(shared: Any, shape: Any, dtype: Any, alignment: int | None = None) -> KernelArray:
    if shape == 0:  # all of the dynamic shared memory, whoever asks
        dtype = _numpy_dtype(dtype)
        memory = shared._allocations.setdefault("dynamic", _new_array(shared._dynshared_size, np.uint8))
        return memory[: memory.size // dtype.itemsize * dtype.itemsize].view(dtype)
    frame = sys._getframe(1)
    key = id(frame.f_code), frame.f_lasti, shape, dtype  # one array for each place in the code, common to the block
    if key not in shared._allocations:
        shared._allocations[key] = _new_array(shape, dtype)
    return shared._allocations[key]


def _local_array(local: Any, shape: Any, dtype: Any, alignment: int | None = None) -> KernelArray:
    return _new_array(shape, dtype)


def _cuda_array_interface(array: FakeCUDAArray) -> dict[str, Any]:
    interface = array._ary.__array_interface__
    return {key: interface[key] for key in ("shape", "typestr", "data", "strides", "version")}


def _from_cuda_array_interface(interface: dict[str, Any], owner: Any = None, sync: bool = True) -> FakeCUDAArray:
    holder = SimpleNamespace(__array_interface__=interface, owner=owner)  # the array keeps it
    return FakeCUDAArray(np.asarray(holder))


_OF_CPU_ARRAYS = {"__array_interface__", "__array_struct__", "__dlpack__", "__dlpack_device__"}


def _device_array_attribute(array: FakeCUDAArray, name: str) -> Any:
    if name in _OF_CPU_ARRAYS:
        raise AttributeError(f"a device array has no attribute {name!r}")
    return getattr(array._ary, name)
