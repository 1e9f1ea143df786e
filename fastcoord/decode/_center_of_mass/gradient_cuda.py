"""Who writes which pixel of the gradient of a centre of mass on a GPU.

The kernels of `cuda` leave some numbers of each map. A warp then writes a tile of the gradient, in groups of 16 bytes;
what fills no group at either end of a tile, float64, and pixels that do not stand side by side, are written one by one.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord import _placement
from fastcoord._arrays import maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._lanes import GROUP, WARP, column_and_row, first_element
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_cuda,
    require_int32,
    require_like,
    words,
)
from fastcoord._placement_cuda import placement
from fastcoord._stretches import stretches
from fastcoord._vector import convert, like
from fastcoord._wide import store_four
from fastcoord.decode._center_of_mass.cuda import FACTS, launch_decoders
from fastcoord.decode._center_of_mass.formula import counts, limits, number_type, slope, slopes
from fastcoord.grid import numbers_for, require_grid

TILE = 1 << 12  # pixels that one warp writes; not measured
THREADS = 256  # in a block


@inlined
def _pixel(
    pixel: Any, layout: Any, images: Any, first: Any, images_layout: Any, of_map: Any, least: Any, reads: Any
) -> Any:
    """The gradient of one pixel of a map; `of_map`: its slopes, its centre and its window."""
    coefficients, from_x, from_y, center_x, center_y, left, right, top, bottom = of_map
    column, row = column_and_row(pixel, layout)
    x, y = convert(column, from_x), convert(row, from_x)
    is_in = x >= left and x < right and y >= top and y < bottom
    if reads:
        at = first + np.int64(row) * images_layout.row_stride + np.int64(column) * images_layout.column_stride
        is_in = is_in and counts(convert(images[np.uint64(at)], from_x), least)
    found = slope(coefficients, (x - center_x) - from_x, (y - center_y) - from_y)
    return found if is_in else like(found, 0)


def _writer(items: int) -> Any:
    """A kernel for pixels side by side, of which a group has so many `items`; for pixels anywhere if that is 1."""

    @cuda.jit  # type: ignore[untyped-decorator]
    def write(
        gradient: Any,
        layout: Any,
        images: Any,
        images_layout: Any,
        first_map: int,
        first_in_layout: int,
        first_in_images_layout: int,
        maps: int,
        tiles: int,
        tile_pixels: int,
        least: Any,
        reads: bool,
        facts: Any,
        status: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        of_xy: Any,
        of_score: Any,
        has_score: bool,
        of_covariance: Any,
        has_covariance: bool,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            begin = (task - i * tiles) * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            at = first_map + i
            fact = FACTS * at
            mass = facts[np.uint64(fact)]
            none = like(mass, 0)
            if has_each:
                numbers = _placement.numbers_at(each, np.int64(at) * _placement.NUMBERS)
            of_x = convert(of_xy[np.uint64(2 * at)], mass) * (convert(numbers[0], mass) * convert(numbers[3], mass))
            of_y = convert(of_xy[np.uint64(2 * at + 1)], mass) * (convert(numbers[4], mass) * convert(numbers[7], mass))
            of_mass = none
            if has_score:
                of_mass = convert(of_score[np.uint64(at)], mass)
            of_spread = none, none, none, none
            if has_covariance:
                of_spread = (
                    convert(of_covariance[np.uint64(4 * at)], mass),
                    convert(of_covariance[np.uint64(4 * at + 1)], mass),
                    convert(of_covariance[np.uint64(4 * at + 2)], mass),
                    convert(of_covariance[np.uint64(4 * at + 3)], mass),
                )
            spread = facts[np.uint64(fact + 3)], facts[np.uint64(fact + 4)], facts[np.uint64(fact + 5)]
            found = slopes(status[np.uint64(at)], mass, spread, (of_x, of_y), of_mass, of_spread)
            of_map = (
                *(found, facts[np.uint64(fact + 1)], facts[np.uint64(fact + 2)], facts[np.uint64(fact + 6)]),
                *(facts[np.uint64(fact + 7)], facts[np.uint64(fact + 8)], facts[np.uint64(fact + 9)]),
                *(facts[np.uint64(fact + 10)], facts[np.uint64(fact + 11)]),
            )
            start = first_element(first_in_layout + i, layout)
            first = first_element(first_in_images_layout + i, images_layout)
            if items > 1:
                head = min((layout.before - (start + begin)) & (items - 1), count)  # pixels before the first group
                groups = (count - head) // items
                tail = count - head - groups * items
                if lane < head + tail:
                    pixel = begin + (lane if lane < head else count - tail + lane - head)
                    value = _pixel(pixel, layout, images, first, images_layout, of_map, least, reads)
                    gradient[np.uint64(start + pixel)] = value
                group = lane
                while group < groups:
                    pixel = begin + head + group * items
                    a = _pixel(pixel, layout, images, first, images_layout, of_map, least, reads)
                    b = _pixel(pixel + 1, layout, images, first, images_layout, of_map, least, reads)
                    c = _pixel(pixel + 2, layout, images, first, images_layout, of_map, least, reads)
                    d = _pixel(pixel + 3, layout, images, first, images_layout, of_map, least, reads)
                    single = np.float32
                    store_four(gradient, start + pixel, single(a), single(b), single(c), single(d))
                    group += WARP
            else:
                pixel = begin + lane
                while pixel < begin + count:
                    column, row = column_and_row(pixel, layout)
                    there = start + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    value = _pixel(pixel, layout, images, first, images_layout, of_map, least, reads)
                    gradient[np.uint64(there)] = value
                    pixel += WARP

    return write


writers = {items: _writer(items) for items in (1, 4)}


def vjp(
    grad_xy: Any,
    grad_score: Any,
    grad_covariance: Any,
    heatmaps: Any,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    axes: Any,
    grid: Any,
    out: Any,
) -> Any:
    """`decode.center_of_mass_vjp` of CUDA arrays, as `_decode_cuda.decoded` says of the decoder.

    The gradients are contiguous arrays on the same device, of the type of xy.
    """
    require_cuda()
    seen = pixel_array("heatmaps", described("heatmaps", heatmaps))
    read = maps("heatmaps", seen, axes)
    require_int32("heatmaps", read.height, read.width)
    dtype: Any = np.dtype(np.float64 if seen.dtype == np.float64 else np.float32)
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, read.batch)
    shapes = {"grad_xy": (*read.batch, 2), "grad_score": read.batch, "grad_covariance": (*read.batch, 2, 2)}
    grads = {"grad_xy": grad_xy, "grad_score": grad_score, "grad_covariance": grad_covariance}
    for name, given in grads.items():
        if given is not None or name == "grad_xy":
            require_like(name, given, heatmaps, shapes[name], dtype)
    gradient, seen_gradient = made_or_given("out", out, heatmaps, seen.shape, dtype, seen)
    if not seen.size:
        return gradient
    written = maps("out", seen_gradient, axes, for_writing=True)
    count = len(read.starts) * read.count
    number = np.dtype(number_type(read.memory.dtype, read.height, read.width))

    def made(size: int, of: Any) -> Any:
        array, seen_array = made_or_given("work", None, heatmaps, (size,), of)
        return flat_memory("work", seen_array, array)

    with device_of(heatmaps):
        facts, xy, status = made(FACTS * count, number), made(2 * count, dtype), made(count, np.dtype(np.int32))
        score = made(count, dtype)
        arrays = xy, score, score, status, facts, True
        pixels = placement(numbers_for(None, dtype, read.height, read.width, ()), heatmaps, xy)
        launch_decoders(read, heatmaps, window, clip_negative, skips_nan, pixels, True, arrays)
        memory = {
            name: xy if given is None else flat_memory(name, described(name, given), given)
            for name, given in grads.items()
        }
        least, _of_nan = limits(clip_negative, skips_nan)
        is_whole = written.column_stride == 1 and written.row_stride == written.width
        items = 4 if is_whole and dtype == np.float32 and written.memory.nbytes >= 2 * GROUP else 1
        tiles = -(-written.height * written.width // TILE)
        _words, before = words(written.memory, gradient)
        out_layouts, image_layouts = layouts(written, before, WARP), layouts(read, 0, WARP)
        in_grid = placement(numbers, heatmaps, xy)
        for first, end in stretches(written.count, read.count, count):
            launch(
                writers[items],
                -(-(end - first) * tiles // (THREADS // WARP)),
                THREADS,
                heatmaps,
                flat_memory("out", written.memory, gradient),
                out_layouts[first // written.count],
                flat_memory("heatmaps", read.memory, heatmaps),
                image_layouts[first // read.count],
                first,
                first % written.count,
                first % read.count,
                end - first,
                tiles,
                TILE,
                number.type(least),
                clip_negative or skips_nan,
                facts,
                status,
                *in_grid,
                memory["grad_xy"],
                memory["grad_score"],
                grad_score is not None,
                memory["grad_covariance"],
                grad_covariance is not None,
            )
    return gradient
