"""What a user would write instead: NumPy, PyTorch where it is installed, and the post's computation in SciPy."""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bench.workloads import NHWC, Workload, put
from fastcoord import _demo

SCIPY_IMAGES = 8  # the post's computation is timed on so many, and its time scaled
SCIPY_PIXELS = 1 << 18  # in all its images; it is left out where one image has more
EYE_PIXELS = 4096  # the identity matrix of larger images would not fit into the caches, then not into memory


class Peer(NamedTuple):
    """A call, what it answers as (n, 2) points or (n, H, W) maps, and what its time is to be multiplied by."""

    call: Callable[[], Any]
    answer: Callable[[Any], NDArray[Any]]
    scale: float = 1.0
    allocates: bool = True


def decoders(workload: Workload, images: NDArray[Any]) -> dict[str, Peer]:
    """Peers of `decode.onehot`, by name."""
    peers = {"NumPy argmax": Peer(*_argmax(workload, images))}
    library = torch()
    if library is not None:
        peers["PyTorch max"] = Peer(*_torch_maximum(library, workload, images))
    taken = min(SCIPY_IMAGES, workload.maps, SCIPY_PIXELS // math.prod(workload.canvas))
    if taken and images.flags.c_contiguous and workload.content != NHWC:
        few = images.reshape(-1, *workload.canvas)[:taken].astype(np.float32)
        peers["post in SciPy"] = Peer(lambda: _demo.post(few), lambda xy: xy, workload.maps / taken)
    return peers


def encoders(workload: Workload, points: NDArray[Any], out: NDArray[Any]) -> dict[str, Peer]:
    """Peers of `encode.onehot`, by name; those that do not allocate write into `out`."""
    shape, dtype = workload.shape, np.dtype(workload.dtype)

    def zeros() -> NDArray[Any]:
        maps = np.zeros(shape, dtype)
        put(maps, points)
        return maps

    def fill() -> NDArray[Any]:
        out.fill(0)
        put(maps, points)
        return maps

    def answer(maps: Any) -> NDArray[Any]:
        return np.asarray(maps).reshape(-1, *workload.canvas)

    maps = workload.maps_last(out)
    peers = {"NumPy zeros": Peer(zeros, answer), "NumPy fill": Peer(fill, answer, allocates=False)}
    if not out.flags.c_contiguous or workload.content == NHWC:
        return peers
    height, width = workload.canvas
    index = (points[..., 1] * width + points[..., 0]).astype(np.int64).reshape(-1)
    rows = out.reshape(-1, height * width)
    if height * width <= EYE_PIXELS:
        eye = np.eye(height * width, dtype=dtype)
        # mode: without it NumPy writes into a buffer first
        peers["NumPy eye"] = Peer(lambda: np.take(eye, index, axis=0, out=rows, mode="clip"), answer, allocates=False)
    library = torch()
    if library is not None:
        places, target = library.from_numpy(index)[:, None], library.from_numpy(rows)
        peers["PyTorch scatter"] = Peer(lambda: target.zero_().scatter_(-1, places, 1), answer, allocates=False)
    return peers


def boxes(workload: Workload, points: NDArray[Any], side: int, value: int, out: NDArray[Any]) -> dict[str, Peer]:
    """Peers of `encode.box`, by name; all write into `out`."""
    maps = workload.maps_last(out)
    reach = side // 2
    height, width = workload.canvas
    corners = [
        (index, slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1))
        for index, (x, y) in zip(np.ndindex(maps.shape[:-2]), points.reshape(-1, 2).astype(int).tolist(), strict=True)
    ]
    x, y = points[..., :1], points[..., 1:]

    def slices() -> NDArray[Any]:
        out.fill(0)
        for index, rows, columns in corners:
            maps[(*index, rows, columns)] = value
        return maps

    def compare() -> NDArray[Any]:
        in_columns = abs(np.arange(width, dtype=points.dtype) - x) <= reach
        in_rows = (abs(np.arange(height, dtype=points.dtype) - y) <= reach).astype(maps.dtype) * maps.dtype.type(value)
        np.multiply(in_rows[..., :, None], in_columns[..., None, :], out=maps)
        return maps

    def answer(maps: Any) -> NDArray[Any]:
        return np.asarray(maps).reshape(-1, *workload.canvas)

    return {
        "NumPy fill and slices": Peer(slices, answer, allocates=False),
        "NumPy compare": Peer(compare, answer, allocates=False),
    }


def _argmax(workload: Workload, images: NDArray[Any]) -> tuple[Callable[[], Any], Callable[[Any], NDArray[Any]]]:
    if workload.content == NHWC:
        pixels = images.reshape(images.shape[0], -1, images.shape[-1])

        def over_pixels() -> NDArray[Any]:
            row, column = np.unravel_index(pixels.argmax(axis=1), workload.canvas)
            return np.stack([column, row], axis=-1).astype(np.float32)

        return over_pixels, _flat
    return lambda: _demo.argmax(images.reshape(-1, *workload.canvas)), _flat


def _torch_maximum(
    torch: Any, workload: Workload, images: NDArray[Any]
) -> tuple[Callable[[], Any], Callable[[Any], NDArray[Any]]]:
    tensor = torch.from_numpy(images)
    width = workload.canvas[1]
    is_nhwc = workload.content == NHWC

    def maximum() -> Any:
        if is_nhwc:
            index = tensor.flatten(1, 2).max(1).indices
        else:
            index = tensor.flatten(-2).max(-1).indices
        return torch.stack([index % width, index // width], -1)

    return maximum, lambda xy: _flat(xy.numpy())


def _flat(xy: Any) -> NDArray[Any]:
    points: NDArray[Any] = np.asarray(xy).reshape(-1, 2)
    return points


def torch() -> Any:
    """PyTorch with as many threads as Numba, or None."""
    try:
        library = importlib.import_module("torch")
    except ImportError:
        return None
    library.set_num_threads(numba.get_num_threads())
    return library
