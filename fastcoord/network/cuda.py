"""Who visits which pixel of a network's maps on a GPU.

A task is a band of a map and up to eight features, whose responses stay in a lane's registers from the first tap to the
ReLU, for four rows of a column. A block works on it. Where a kernel has only its centre, the pixels are read in place,
16 bytes at a time where rows begin at such multiples. Otherwise a tile of the map and what surrounds it under (a part
of) the kernel is copied to shared memory, converted and with zeros beyond the border. No feature map is stored: where a
map is one task, its block reads out the sums; otherwise it leaves them, and a second launch merges and reads them out.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord._arrays import Maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._lanes import GROUP, WARP, block_merge, first_element, warp_merge
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
from fastcoord._vector import convert
from fastcoord._wide import load_four, load_sixteen
from fastcoord.network.formula import finish, merge, read_out
from fastcoord.network.lane import column_adder, group_of_features, item, rows_from, several, table_at
from fastcoord.network.plan_cuda import ROWS, Plan, plan
from fastcoord.network.tile_cuda import BLOCKS, THREADS, TILE, on_map, responder

__all__ = ["network", "plan", "seen"]

BAND = 1 << 13  # pixels in a task, about; not measured


# ---- Which pixels a lane visits --------------------------------------------------------------------------------------


def _by_tiles(features: int, number: Any) -> Any:
    """How a block visits a band of a map, through copies of its tiles in shared memory."""
    group, responses_to = group_of_features(features), responder(features, number)
    add_all, nothing = group.add, group.nothing

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def visit(
        images: Any,
        image: int,
        layout: Any,
        sizes: Any,
        numbers: Any,
        program: Any,
        first_feature: int,
        band: int,
        unit: Any,
    ) -> Any:
        tile = cuda.shared.array(TILE, number)
        lane, warp, warps = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
        height = warps * ROWS
        across = (layout.columns + WARP - 1) // WARP
        down: Any = np.int64(np.uint32(layout.rows + height - 1) // np.uint32(height))
        states = nothing(unit - unit)
        for index in range(band * sizes.band, min((band + 1) * sizes.band, across * down)):
            tile_row: Any = np.int64(np.uint32(index) // np.uint32(across))
            top, left = tile_row * height, (index - tile_row * across) * WARP
            responses = responses_to(
                tile,
                images,
                image,
                layout,
                sizes,
                numbers,
                program,
                first_feature,
                top,
                left,
                lane,
                warp,
                warps,
                unit,
            )
            states = add_all(states, responses, on_map(top + warp * ROWS, left + lane, layout))
        return states

    return visit


def _by_columns(features: int, number: Any, items: int) -> Any:
    """How a block visits a band of a map in place, where only the centre of the kernel counts; `items` side by side.

    More than one item only if the kernel has but one tap, and if rows begin at multiples of 16 bytes.
    """
    group, weights_at = group_of_features(features), several(features, number)
    begin_all, absorb_all, add_all, nothing = group.begin, group.absorb, group.add, group.nothing
    tables_at = several(2 * features, number)
    load: Any = {16: load_sixteen, 4: load_four}.get(items)
    add_columns: Any = column_adder(features, items) if items > 1 else None

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def visit(
        images: Any,
        image: int,
        layout: Any,
        sizes: Any,
        numbers: Any,
        program: Any,
        first_feature: int,
        band: int,
        unit: Any,
    ) -> Any:
        lane, lanes = cuda.threadIdx.x, cuda.blockDim.x
        groups = layout.columns // items
        across = min(groups, lanes)
        down: Any = np.int64(np.uint32(lanes) // np.uint32(across))
        first_row: Any = np.int64(np.uint32(lane) // np.uint32(across))
        first_group = lane - first_row * across
        end = min((band + 1) * sizes.band, layout.rows) if first_row < down else 0  # the last lanes may have no row
        weight = first_feature * sizes.taps
        states = nothing(unit - unit)
        index = first_group
        while index < groups:
            column = index * items
            place, apart = table_at(0, column, layout, sizes, first_feature), 2 * sizes.padded
            row = band * sizes.band + first_row * ROWS
            while row < end:
                are_there = row < end, row + 1 < end, row + 2 < end, row + 3 < end
                rows = rows_from(row, unit)
                # Beyond the last row it is the last one again: no branch stands between the loads.
                a = image + row * layout.row_stride + column * layout.column_stride
                b = a + layout.row_stride if are_there[1] else a
                c = b + layout.row_stride if are_there[2] else b
                d = c + layout.row_stride if are_there[3] else c
                if items > 1:
                    values = load(images, a), load(images, b), load(images, c), load(images, d)
                    weights = weights_at(numbers, weight)
                    states = add_columns(states, values, rows, are_there, numbers, place, apart, weights, unit)
                else:
                    table = tables_at(numbers, place)
                    responses = begin_all(table, table, table, table, rows)
                    for tap in range(sizes.taps):
                        further = item(program, tap) * sizes.channel_stride
                        values = (
                            convert(item(images, a + further), unit),
                            convert(item(images, b + further), unit),
                            convert(item(images, c + further), unit),
                            convert(item(images, d + further), unit),
                        )
                        responses = absorb_all(responses, values, weights_at(numbers, weight + tap * features))
                    states = add_all(states, responses, are_there)
                row += down * ROWS
            index += across
        return states

    return visit


# ---- Launches --------------------------------------------------------------------------------------------------------


@inlined
def _read_out(
    states: Any, at: Any, numbers: Any, sizes: Any, out: Any, i: Any, lane: Any, lanes: Any, unit: Any
) -> None:
    """Write the outputs of map i, whose features' (sum, rest) stand from `at` on."""
    m = lane
    while m < sizes.outputs:
        output = item(numbers, sizes.offset + m), unit - unit
        for k in range(sizes.features):
            state = item(states, at + 2 * k), item(states, at + 2 * k + 1)
            output = read_out(output, state, item(numbers, sizes.readout + m * sizes.features + k))
        out[np.uint64(i * sizes.outputs + m)] = finish(output)
        m += lanes


@functools.cache
def network_kernel(features: int, number: Any, items: int, has_tasks: bool) -> Any:
    """The kernel for so many features at a time.

    `items` are those side by side that are read at once, 0 where a kernel has more than its centre. Where a map has
    several tasks, `target` are their features' sums, otherwise the outputs.
    """
    group = group_of_features(features)
    keep = group.keep
    visit = _by_columns(features, number, items) if items else _by_tiles(features, number)
    merged_in_block = block_merge(group.merge)
    length = 2 * features

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))  # type: ignore[untyped-decorator]
    def respond(
        images: Any, layout: Any, sizes: Any, first_map: int, numbers: Any, program: Any, target: Any, unit: Any
    ) -> None:
        task = cuda.blockIdx.x
        blocks: Any = np.int64(np.uint32(sizes.padded) // np.uint32(features))
        band_of_map: Any = np.int64(np.uint32(task) // np.uint32(blocks))
        first_feature = (task - band_of_map * blocks) * features
        i: Any = np.int64(np.uint32(band_of_map) // np.uint32(sizes.bands))
        band = band_of_map - i * sizes.bands
        image = first_element(i * sizes.channels, layout)
        states = merged_in_block(visit(images, image, layout, sizes, numbers, program, first_feature, band, unit))
        number_of_map = first_map + i
        if has_tasks:
            if cuda.threadIdx.x == 0:
                keep(states, target, 2 * ((number_of_map * sizes.bands + band) * sizes.padded + first_feature))
        else:
            sums = cuda.shared.array(length, number)
            if cuda.threadIdx.x == 0:
                keep(states, sums, 0)
            cuda.syncthreads()  # until then the sums are not written
            _read_out(sums, 0, numbers, sizes, target, number_of_map, cuda.threadIdx.x, cuda.blockDim.x, unit)

    return respond


_merged_in_warp = warp_merge(merge)


@cuda.jit  # type: ignore[untyped-decorator]
def readout_kernel(partial: Any, sizes: Any, numbers: Any, out: Any, unit: Any) -> None:
    """The outputs of a map from the sums of its bands, which are merged into those of the first."""
    lane, warp, warps = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
    i = cuda.blockIdx.x
    first = i * sizes.bands * sizes.padded * 2
    k = warp
    while k < sizes.features:
        state = unit - unit, unit - unit
        for band in range(lane, sizes.bands, WARP):
            at = first + 2 * (band * sizes.padded + k)
            state = merge(state, (item(partial, at), item(partial, at + 1)))
        state = _merged_in_warp(state)
        if lane == 0:
            partial[np.uint64(first + 2 * k)] = state[0]
            partial[np.uint64(first + 2 * k + 1)] = state[1]
        k += warps
    cuda.syncthreads()  # until then the merged sums are not all written
    _read_out(partial, first, numbers, sizes, out, i, cuda.threadIdx.x, cuda.blockDim.x, unit)


# ---- A call ----------------------------------------------------------------------------------------------------------


def seen(images: Any) -> NDArray[Any]:
    """What describes CUDA images whose type can be read."""
    require_cuda()
    return pixel_array("images", described("images", images))


def network(
    read: Maps,
    batch: tuple[int, ...],
    plan_of: Callable[[int], Plan],
    images: Any,
    seen: NDArray[Any],
    out: Any,
) -> Any:
    """`CoordNet.__call__` of CUDA arrays: of PyTorch, CuPy or Numba, or what has `__cuda_array_interface__`.

    `seen` describes `images`, `read` says how to reach its channels, and `plan_of` gives the plan for a device. The
    result is an array of the same library; the kernels run on its current stream, and the host does not wait for them.
    It waits for the network's tables when these are copied to a device, once for each shape of maps.

    Raises
    ------
    RuntimeError
        There is no driver or no GPU.
    TypeError, ValueError
        As for NumPy arrays; also for tensors that require grad and for arrays on two devices.
    """
    require_int32("images", read.height, read.width)
    with device_of(images):
        planned = plan_of(cuda.get_current_device().id)
        dtype: Any = np.float64 if seen.dtype == np.float64 else np.float32
        shape = (*batch, planned.sizes.outputs)
        made, seen_out = made_or_given("out", out, images, shape, dtype, seen)
        written = flat_memory("out", seen_out, made)
        if seen_out.size:
            _launch(read, planned, images, written)
    return made


def _items(read: Maps, planned: Plan, before: int) -> int:
    """How many pixels side by side one instruction reads: 1 where not every row begins at a multiple of 16 bytes."""
    dtype = read.memory.dtype
    items = GROUP // dtype.itemsize
    if not (dtype.itemsize == 1 or dtype == np.float32) or planned.sizes.taps != 1 or read.column_stride != 1:
        return 1
    apart = [start - before for start in read.starts]
    apart += [read.outer_stride, read.inner_stride, read.row_stride if read.height > 1 else 0, read.width]
    return 1 if any(stride % items for stride in apart) else items


def _launch(read: Maps, planned: Plan, images: Any, written: Any) -> None:
    features, sizes, height, width = planned.features, planned.sizes, read.height, read.width
    number = planned.numbers.dtype.type
    memory = flat_memory("images", read.memory, images)
    _whole, before = words(read.memory, images)
    items = _items(read, planned, before) if planned.is_centre else 0
    rows = -(-height // ROWS)
    if planned.is_centre:
        lanes = width // items * rows
        band = max(BAND // width // ROWS, 1) * ROWS
        bands = -(-height // band)
    else:
        lanes = WARP * rows
        tile_rows = min(rows, THREADS // WARP) * ROWS
        band = max(BAND // (WARP * tile_rows), 1)
        bands = -(-(-(-width // WARP) * -(-height // tile_rows)) // band)
    threads = min(-(-lanes // WARP) * WARP, THREADS)
    sizes = sizes._replace(channel_stride=read.inner_stride, bands=bands, band=band)
    count = read.count // sizes.channels
    tasks = bands * sizes.padded // features
    has_tasks = tasks > 1
    target, maps, unit = written, count * len(read.starts), number(1)
    if has_tasks:
        room = (2 * maps * bands * sizes.padded,)
        target = flat_memory("sums", *reversed(made_or_given("sums", None, images, room, number)))
    respond = network_kernel(features, number, items, has_tasks)
    for at, layout in enumerate(layouts(read, before, 1)):
        arguments = memory, layout, sizes, at * count, planned.numbers, planned.program, target, unit
        launch(respond, count * tasks, threads, images, *arguments)
    if has_tasks:
        launch(readout_kernel, maps, THREADS, images, target, sizes, planned.numbers, written, unit)
