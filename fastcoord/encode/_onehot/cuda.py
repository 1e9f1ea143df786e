"""Who visits which pixel of a one-hot image that is written on a GPU.

One warp writes a map, or a tile of a map that is larger. All pixels but one are zero: groups of 16 bytes of zeros are
written, whatever the type of the pixels, and then the hot pixel over them. What fills no group at either end of a tile,
and maps whose pixels do not stand side by side, are written pixel by pixel.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps, batch_with_canvas, canvas, encoded_members, maps, pixel_type, point_array
from fastcoord._launch import (
    GROUP,
    WARP,
    column_and_row,
    described,
    device_of,
    first_element,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    moved,
    require_cuda,
    require_int32,
    store_four,
    words,
)
from fastcoord._vector import convert
from fastcoord.encode._onehot.formula import NOWHERE, nearest, response
from fastcoord.results import Encoded

TILE = 1 << 12  # pixels that one warp writes; not measured
THREADS = 256  # in a block


def _encoder(items: int) -> Any:
    """A kernel for pixels side by side, of which a group has so many `items`; for pixels anywhere if that is 1."""

    @cuda.jit  # type: ignore[untyped-decorator]
    def encode(
        images: Any,
        whole: Any,
        layout: Any,
        points: Any,
        points_layout: Any,
        weight: Any,
        first_map: int,
        first_in_layout: int,
        first_in_points_layout: int,
        maps: int,
        tiles: int,
        unit: Any,
        point_unit: Any,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            tile = task - i * tiles
            at = first_element(first_in_points_layout + i, points_layout)
            x = nearest(convert(points[np.uint64(at)], point_unit), layout.columns)
            y = nearest(convert(points[np.uint64(at + points_layout.column_stride)], point_unit), layout.rows)
            is_here = x != NOWHERE and y != NOWHERE
            value, zero = convert(response(x, y, x, y), unit), convert(0, unit)
            begin = tile * TILE
            count = min(layout.rows * layout.columns - begin, TILE)
            hot = y * layout.columns + x - begin if is_here else np.int64(NOWHERE)
            first = first_element(first_in_layout + i, layout)
            if items > 1:
                first += begin
                head = min((layout.before - first) & (items - 1), count)  # pixels before the first group
                groups = (count - head) // items
                tail = count - head - groups * items
                if lane < head + tail:
                    pixel = lane if lane < head else count - tail + lane - head
                    images[np.uint64(first + pixel)] = zero
                word = (first + head - layout.before) // items * 4
                none = np.int32(0)
                group = lane
                while group < groups:
                    store_four(whole, word + 4 * group, none, none, none, none)
                    group += WARP
                cuda.syncwarp()  # until then another lane may be writing a zero to the hot pixel
                if lane == 0 and hot >= 0 and hot < count:
                    images[np.uint64(first + hot)] = value
            else:
                column, row = column_and_row(begin + lane, layout)
                pixel = lane
                while pixel < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    images[np.uint64(there)] = value if pixel == hot else zero
                    column, row = moved(column, row, layout)
                    pixel += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(first_map + i)] = 1 if is_here else 0

    return encode


encoders = {items: _encoder(items) for items in (1, 2, 4, 8, 16)}


def onehot(xy: Any, shape: Any, dtype: Any, axes: Any, return_weight: bool, out: Any) -> Any:
    """`encode.onehot` of CUDA arrays: of PyTorch, CuPy or Numba, or what has `__cuda_array_interface__`.

    In one thing it is not as for NumPy arrays: a point that is not on the canvas gives an image of zeros, also without
    `return_weight`. To raise a ValueError the host would have to wait for the GPU.

    The result is an array of the same library; of Numba where that is none of the three. The kernel runs on the current
    stream of PyTorch or CuPy, on the default stream of others, and the host does not wait for it. No point is copied:
    elements that are not whole elements apart are refused, as are images of 2³¹ pixels and more. `dtype` may be one of
    PyTorch's. The weight in `out` is contiguous.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As for NumPy arrays, but for such points; also for tensors that require grad and for arrays on two devices.
    """
    require_cuda()
    seen = described("xy", xy)
    if seen.ndim < 1 or seen.shape[-1] != 2:
        raise ValueError(f"xy: expected shape (..., 2), the last axis (x, y); got {seen.shape}")
    point_array("xy", np.empty((0, 2), seen.dtype))  # refuses a type
    height, width = canvas(shape)
    if type(dtype).__module__ == "torch":
        dtype = str(dtype).removeprefix("torch.")
    dtype = pixel_type(dtype)
    require_int32("shape", height, width)
    batch = seen.shape[:-1]
    whole = batch_with_canvas(batch, height, width, axes)
    given = (out, None)
    if return_weight and out is not None:
        given = encoded_members(out)
    name = "out.maps" if return_weight else "out"
    images, seen_images = made_or_given(name, given[0], xy, whole, dtype, seen)
    weight, seen_weight = made_or_given("out.weight", given[1], xy, batch, np.float32, seen, seen_images)
    written = maps("out", seen_images, axes, for_writing=True)
    with device_of(xy):
        weights = flat_memory("out.weight", seen_weight, weight)
        if seen.size:
            _launch(written, images, maps("xy", seen[..., np.newaxis, :], (-2, -1)), xy, weights)
    if not return_weight:
        return images
    return Encoded(images, weight) if out is None else out


def _launch(written: Maps, images: Any, points: Maps, xy: Any, weights: Any) -> None:
    height, width, dtype = written.height, written.width, written.memory.dtype
    is_whole = written.column_stride == 1 and written.row_stride == width
    items = GROUP // dtype.itemsize if is_whole and written.memory.nbytes >= 2 * GROUP else 1
    tiles = -(-height * width // TILE)
    unit = dtype.type(1)
    point_unit = np.float32(1) if points.memory.dtype == np.float32 else np.float64(1)
    memory = flat_memory("out", written.memory, images)
    in_words, before = words(written.memory, images)
    points_memory = flat_memory("xy", points.memory, xy)
    image_layouts = layouts(written, before, WARP)
    point_layouts = layouts(points, 0, WARP)
    for first, end in _stretches(written.count, points.count, written.count * len(written.starts)):
        launch(
            encoders[items],
            -(-(end - first) * tiles // (THREADS // WARP)),
            THREADS,
            xy,
            memory,
            in_words,
            image_layouts[first // written.count],
            points_memory,
            point_layouts[first // points.count],
            weights,
            first,
            first % written.count,
            first % points.count,
            end - first,
            tiles,
            unit,
            point_unit,
        )


def _stretches(count: int, other_count: int, total: int) -> Iterator[tuple[int, int]]:
    """Runs of maps that have one layout, and whose points have one."""
    bounds = sorted({*range(0, total, count), *range(0, total, other_count), total})
    return pairwise(bounds)
