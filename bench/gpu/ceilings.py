"""The read, write and copy bandwidth of a GPU: the best of several readers and writers, in the same run.

Memory is read by kernels of our own, which take 16 bytes a load and differ in how many loads a lane has under way and
in how the work is divided, and by PyTorch's reductions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import cuda

from bench.gpu import timing
from bench.gpu.timing import buffers_for, seconds
from fastcoord._launch import described, device_of, flat_memory, launch
from fastcoord._wide import load_four, store_four

THREADS = 256


def _reader(ahead: int) -> Any:
    """A kernel that reads groups of 16 bytes, `ahead` of them under way in each lane."""

    @cuda.jit
    def read(words, groups, found):  # type: ignore[no-untyped-def]
        lanes = cuda.gridDim.x * cuda.blockDim.x
        group = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        bits = np.int32(0)
        while group < groups:
            if ahead == 8:
                a = load_four(words, 4 * group)
                b = load_four(words, 4 * min(group + lanes, groups - 1))
                c = load_four(words, 4 * min(group + 2 * lanes, groups - 1))
                d = load_four(words, 4 * min(group + 3 * lanes, groups - 1))
                e = load_four(words, 4 * min(group + 4 * lanes, groups - 1))
                f = load_four(words, 4 * min(group + 5 * lanes, groups - 1))
                g = load_four(words, 4 * min(group + 6 * lanes, groups - 1))
                h = load_four(words, 4 * min(group + 7 * lanes, groups - 1))
                for values in (a, b, c, d, e, f, g, h):
                    bits |= (values[0] | values[1]) | (values[2] | values[3])
                group += 8 * lanes
            elif ahead == 4:
                a = load_four(words, 4 * group)
                b = load_four(words, 4 * min(group + lanes, groups - 1))
                c = load_four(words, 4 * min(group + 2 * lanes, groups - 1))
                d = load_four(words, 4 * min(group + 3 * lanes, groups - 1))
                for values in (a, b, c, d):
                    bits |= (values[0] | values[1]) | (values[2] | values[3])
                group += 4 * lanes
            else:
                values = load_four(words, 4 * group)
                bits |= (values[0] | values[1]) | (values[2] | values[3])
                group += lanes
        if bits == -1:  # never, but who compiles does not know
            found[0] = 1

    return read


@cuda.jit
def _write(words, groups, value):  # type: ignore[no-untyped-def]
    lanes = cuda.gridDim.x * cuda.blockDim.x
    group = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
    while group < groups:
        store_four(words, 4 * group, value, value, value, value)
        group += lanes


_READERS = {ahead: _reader(ahead) for ahead in (1, 4, 8)}


def _words(tensor: Any) -> Any:
    return flat_memory("tensor", described("tensor", tensor), tensor)


def readers(tensor: Any) -> dict[str, Callable[[], Any]]:
    """Calls that read all of a contiguous float32 tensor, by name."""
    words, groups = tensor.view(torch.int32).reshape(-1), tensor.numel() // 4
    found = torch.zeros(1, dtype=torch.int32, device=tensor.device)
    total = torch.empty((), device=tensor.device)
    multiprocessors = torch.cuda.get_device_properties(tensor.device).multi_processor_count

    def ours(ahead: int, blocks: int) -> Callable[[], None]:
        def read() -> None:
            with device_of(tensor):
                launch(_READERS[ahead], blocks, THREADS, tensor, _words(words), groups, _words(found))

        return read

    whole = -(-groups // THREADS)
    calls: dict[str, Callable[[], Any]] = {
        "16 bytes, 8 ahead, 8 blocks a multiprocessor": ours(8, 8 * multiprocessors),
        "16 bytes, 8 ahead, 4 blocks a multiprocessor": ours(8, 4 * multiprocessors),
        "16 bytes, 4 ahead, 8 blocks a multiprocessor": ours(4, 8 * multiprocessors),
        "16 bytes, 4 ahead, 1 round": ours(4, -(-whole // 4)),
        "16 bytes, 8 ahead, 1 round": ours(8, -(-whole // 8)),
        "16 bytes, 1 round": ours(1, whole),
        "torch.sum": lambda: torch.sum(tensor, dim=(0,), out=total),
        "torch.amax": lambda: torch.amax(tensor, dim=(0,), out=total),
    }
    return calls


def writers(tensor: Any) -> dict[str, Callable[[], Any]]:
    """Calls that write all of a contiguous float32 tensor, by name."""
    words, groups = tensor.view(torch.int32).reshape(-1), tensor.numel() // 4

    def ours() -> None:
        with device_of(tensor):
            launch(_write, -(-groups // THREADS), THREADS, tensor, _words(words), groups, np.int32(0))

    return {"16 bytes": ours, "zero_": tensor.zero_, "fill_": lambda: tensor.fill_(1.0)}


def measured(kind: str, nbytes: int, budget: float, guarded: Callable[..., Any]) -> dict[str, Any]:
    """The best of the readers or writers of so many bytes, and all of them: seconds and bytes a second."""
    count = buffers_for(nbytes)
    tensors = [torch.rand(nbytes // 4, device=timing.DEVICE) for _ in range(count)]
    make: Any = {"read": readers, "write": writers, "copy": copies}[kind]
    by_name = [make(tensor) for tensor in tensors]
    moved = nbytes * (2 if kind == "copy" else 1)
    found = {}
    for name in by_name[0]:
        calls = [each[name] for each in by_name]
        times = guarded(f"{kind} {nbytes} bytes, {name}", seconds, calls, budget, True)
        if times:
            median = sorted(times)[len(times) // 2]
            found[name] = {"seconds": median, "gigabytes_per_second": moved / median / 1e9}
    best = min(found, key=lambda name: found[name]["seconds"])
    return {"bytes": nbytes, "best": best, **found[best], "all": found}


def copies(tensor: Any) -> dict[str, Callable[[], Any]]:
    other = torch.empty_like(tensor)
    return {"copy_": lambda: other.copy_(tensor)}
