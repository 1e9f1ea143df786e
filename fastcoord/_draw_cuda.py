"""One map for each point, on a GPU: the door that the encoders share, and what their kernels have in common.

One warp writes a map, or a tile of a map that is larger. Most pixels are zero: groups of 16 bytes of zeros are written,
whatever the type of the pixels, and then the others over them. What fills no group at either end of a tile, and maps
whose pixels do not stand side by side, are written pixel by pixel.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastcoord._arrays import (
    Maps,
    as_format,
    batch_with_canvas,
    canvas,
    encoded_members,
    maps,
    pixel_type,
    point_array,
    stored,
)
from fastcoord._compile import inlined
from fastcoord._lanes import GROUP, WARP, first_element
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
    words,
)
from fastcoord._placement_cuda import placed, placement
from fastcoord._points import nearest
from fastcoord._stretches import stretches
from fastcoord._vector import convert
from fastcoord._wide import store_four
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Encoded

TILE = 1 << 12  # pixels that one warp writes; not measured
THREADS = 256  # in a block


# In a kernel


@inlined
def position_of_point(
    i: Any, points: Any, points_layout: Any, unit: Any, at: Any, numbers: Any, each: Any, has_each: Any
) -> Any:
    """The place of point `i`, x and y, in pixels.

    It is the point of map number `at`; the last three arguments are the placement.
    """
    first: Any = first_element(i, points_layout)
    x = convert(points[np.uint64(first)], unit)
    y = convert(points[np.uint64(first + points_layout.column_stride)], unit)
    return placed(x, y, at, numbers, each, has_each)


@inlined
def pixel_of_point(
    i: Any,
    points: Any,
    points_layout: Any,
    unit: Any,
    layout: Any,
    at: Any,
    numbers: Any,
    each: Any,
    has_each: Any,
) -> Any:
    """The column and the row of the pixel nearest to point `i`, each NOWHERE if it is none of the canvas.

    It is the point of map number `at`; the last three arguments are the placement.
    """
    x, y = position_of_point(i, points, points_layout, unit, at, numbers, each, has_each)
    return nearest(x, layout.columns), nearest(y, layout.rows)


@inlined
def clear(images: Any, whole: Any, first: Any, count: Any, before: Any, items: Any, lane: Any, zero: Any) -> None:
    """Zeros in `count` pixels side by side from `first` on, `items` of which make a group of 16 bytes.

    After it the warp must meet: until then another lane may be writing a zero to any of them.
    """
    head = min((before - first) & (items - 1), count)  # pixels before the first group
    groups = (count - head) // items
    tail = count - head - groups * items
    if lane < head + tail:
        pixel = lane if lane < head else count - tail + lane - head
        images[np.uint64(first + pixel)] = zero
    word = (first + head - before) // items * 4
    none = np.int32(0)
    group = lane
    while group < groups:
        store_four(whole, word + 4 * group, none, none, none, none)
        group += WARP


# On the host


def type_of_pixels(dtype: Any) -> np.dtype[Any]:
    """`dtype`, which may be one of PyTorch's, as the type of the pixels that an encoder writes."""
    return pixel_type(dtype, halves=True)


def drawn(
    encoders: Mapping[int, Any],
    xy: Any,
    shape: Any,
    dtype: np.dtype[Any],
    axes: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
    value: Any,
    *numbers: Any,
    members: int = 0,
    joins: str | None = None,
) -> Any:
    """What an encoder returns for CUDA arrays: of PyTorch, CuPy or Numba, or what has `__cuda_array_interface__`.

    In one thing it is not as for NumPy arrays: a point that is not on the canvas gives an image of zeros, also without
    `return_weight`. To raise a ValueError the host would have to wait for the GPU.

    The result is an array of the same library; of Numba where that is none of the three. The kernel runs on the current
    stream of PyTorch or CuPy, on the default stream of others, and the host does not wait for it. No point is copied:
    elements that are not whole elements apart are refused, as are images of 2³¹ pixels and more. The weight in `out` is
    contiguous.

    `encoders` are kernels by the number of pixels in a group; that of 1 is for pixels anywhere. The last arguments of a
    kernel are the placement of the grid's way back, `value`, in the type of the pixels as they are written (a bool as a
    byte, a float of 16 bits as its bits), and `numbers`. With `members` there are so many maps for each point, one
    after the other, and kernels get the number of the first in the layout of the points as one of a map. If it `joins`
    them, all points of the last batch axis have one map.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As for NumPy arrays, but for such points; also for tensors that require grad and for arrays on two devices.
    """
    require_cuda()
    seen, position = described_points(xy, joins)
    height, width = canvas(shape)
    require_int32("shape", height, width)
    batch = seen.shape[:-1]
    of_maps, in_map = (batch[:-1], batch[-1]) if joins else (batch, 1)
    require_grid(grid)
    back = numbers_for(grid, position, height, width, of_maps, back=True)
    whole = batch_with_canvas((*of_maps, members) if members else of_maps, height, width, axes)
    given = (out, None)
    if return_weight and out is not None:
        given = encoded_members(out)
    name = "out.maps" if return_weight else "out"
    images, seen_images = made_or_given(name, given[0], xy, whole, dtype, seen)
    weight, seen_weight = made_or_given("out.weight", given[1], xy, batch, np.float32, seen, seen_images)
    written = maps("out", stored(seen_images), axes, for_writing=True)
    with device_of(xy):
        weights = flat_memory("out.weight", seen_weight, weight)
        if seen_images.size:
            points = maps("xy", seen[..., np.newaxis, :], (-2, -1))
            last = *placement(back, xy, weights), written.memory.dtype.type(value), *numbers
            share = max(members, 1), in_map
            _launch(encoders, written, images, points, xy, weights, position.type(1), last, share)
    if not return_weight:
        return images
    return Encoded(images, weight) if out is None else out


def described_points(xy: Any, joins: str | None = None) -> tuple[Any, Any]:
    """What the host knows of points on a GPU, and the type of their positions; wrong ones are refused.

    If it `joins` them, all points of the last batch axis have one map.
    """
    seen = as_format(described("xy", xy))
    if seen.ndim < 1 or seen.shape[-1] != 2:
        raise ValueError(f"xy: expected shape (..., 2), the last axis (x, y); got {seen.shape}")
    point_array("xy", np.empty((0, 2), seen.dtype))  # refuses a type
    if joins and seen.ndim < 2:
        raise ValueError(f"xy: expected shape (..., P, 2), with reduce={joins!r}; got {seen.shape}")
    return seen, np.dtype(np.float32 if seen.dtype == np.float32 else np.float64)


def _launch(
    encoders: Mapping[int, Any],
    written: Maps,
    images: Any,
    points: Maps,
    xy: Any,
    weights: Any,
    point_unit: Any,
    last: tuple[Any, ...],
    share: tuple[int, int],
) -> None:
    """`share`: so many maps, one after the other, have so many points."""
    height, width, dtype = written.height, written.width, written.memory.dtype
    is_whole = written.column_stride == 1 and written.row_stride == width
    items = GROUP // dtype.itemsize if is_whole and written.memory.nbytes >= 2 * GROUP else 1
    tiles = -(-height * width // TILE)
    memory = flat_memory("out", written.memory, images)
    in_words, before = words(written.memory, images)
    points_memory = flat_memory("xy", points.memory, xy)
    image_layouts = layouts(written, before, WARP)
    point_layouts = layouts(points, 0, WARP)
    maps_of_share, points_of_share = share
    of_points = written.count * len(written.starts)  # maps whose points have one layout
    if points_of_share:
        of_points = points.count * maps_of_share // points_of_share
    else:  # maps of no points
        points_memory, point_layouts = memory, image_layouts
    for first, end in stretches(written.count, of_points, written.count * len(written.starts)):
        launch(
            encoders[items],
            -(-(end - first) * tiles // (THREADS // WARP)),
            THREADS,
            xy,
            memory,
            in_words,
            image_layouts[first // written.count],
            points_memory,
            point_layouts[first // of_points],
            weights,
            first,
            first % written.count,
            first % of_points * points_of_share,
            end - first,
            tiles,
            TILE,
            point_unit,
            *last,
        )
