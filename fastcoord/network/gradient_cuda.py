"""Who visits which pixel of a network's maps on a GPU, when its gradients are computed.

Two passes over the maps. In both a block computes the responses of a tile again and gates them: g = d·[response > 0]
with d = readoutᵀ·grad, for up to four features, which is all that is stored, in shared memory. In the first pass a lane
adds up g times the value under one tap, over some rows of the tile; x, y and, for the bias, ones are channels like the
image's. In the second a lane adds up g times the weight of each tap, for its pixels. Every sum has one owner and one
order.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord._arrays import Maps, maps
from fastcoord._compile import inlined
from fastcoord._lanes import WARP, block_merge, first_element, warp_merge
from fastcoord._launch import (
    described,
    device_of,
    flat_memory,
    launch,
    layouts,
    made_or_given,
    require_int32,
    require_like,
)
from fastcoord._stretches import stretches
from fastcoord._vector import convert
from fastcoord.network.formula import absorb, add, merge, total
from fastcoord.network.lane import group_of_features, item
from fastcoord.network.plan_cuda import OF_PART, PART, PITCH, ROWS, GradientPlan, gradient_plan
from fastcoord.network.tile_cuda import BLOCKS, THREADS, TILE, on_map, responder, stage

__all__ = ["gradient_plan", "vjp"]

TASKS = 512  # at most; each keeps sums of its own
PLAIN = 8  # products added up before what rounding takes is kept
OF_ALL = 7  # numbers that describe a part with all its taps
PLANE = (THREADS // WARP * ROWS + PART) * WARP  # of the gated gradients of a feature

_merged_in_warp = warp_merge(merge)


@cuda.jit  # type: ignore[untyped-decorator]
def of_features(grad: Any, sizes: Any, numbers: Any, count: int, d: Any, unit: Any) -> None:
    """D = readoutᵀ·grad of each map; zero for features that fill up a group."""
    index = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
    if index < count * sizes.padded:
        i: Any = np.int64(np.uint32(index) // np.uint32(sizes.padded))
        k = index - i * sizes.padded
        some = unit - unit
        if k < sizes.features:
            for m in range(sizes.outputs):
                g = convert(item(grad, i * sizes.outputs + m), unit)
                some = absorb(some, g, item(numbers, sizes.readout + m * sizes.features + k))
        d[np.uint64(index)] = some


@inlined
def _stage_coordinates(
    tile: Any,
    kind: Any,
    program: Any,
    at: Any,
    top: Any,
    left: Any,
    layout: Any,
    lane: Any,
    warp: Any,
    warps: Any,
    unit: Any,
) -> None:
    """The map of x (kind 0), of y (1) or of ones round a tile, as `stage` copies the image."""
    first_row, first_column = top + item(program, at + 1), left + item(program, at + 2)
    rows, columns = warps * ROWS + item(program, at + 3) - 1, WARP + item(program, at + 4) - 1
    cuda.syncthreads()  # until then another warp may be reading the tile before
    y = warp
    while y < rows:
        x = lane
        while x < columns:
            row, column = first_row + y, first_column + x
            is_there = row >= 0 and row < layout.rows and column >= 0 and column < layout.columns
            number = np.int32(column if kind == 0 else row if kind == 1 else 1)
            tile[np.uint64(y * PITCH + x)] = convert(number if is_there else np.int32(0), unit)
            x += WARP
        y += warps
    cuda.syncthreads()  # until then the tile is not all written


@functools.cache
def parameters_kernel(features: int, number: Any) -> Any:
    """The kernel that adds up the gradients of weights and bias in `kept`, and the features' sums of each tile."""
    group, responses_to = group_of_features(features), responder(features, number)
    add_all, nothing, keep, zeros = group.add, group.nothing, group.keep, group.zeros
    gate_all, collect, add_sums, accumulate = group.gate, group.collect, group.add_sums, group.accumulate
    merged_in_block = block_merge(group.merge)
    length = features * PLANE

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))  # type: ignore[untyped-decorator]
    def parameters(
        images: Any,
        layout: Any,
        sizes: Any,
        first_map: int,
        first_task: int,
        units: int,
        units_in_task: int,
        across: int,
        down: int,
        numbers: Any,
        program: Any,
        all_taps: Any,
        all_parts: int,
        slots: int,
        d: Any,
        kept: Any,
        sums: Any,
        unit: Any,
    ) -> None:
        tile = cuda.shared.array(TILE, number)
        gated = cuda.shared.array(length, number)
        lane, warp, warps = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
        blocks: Any = np.int64(np.uint32(sizes.padded) // np.uint32(features))
        task: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(blocks))
        first_feature = (cuda.blockIdx.x - task * blocks) * features
        first = task * units_in_task
        for u in range(first, min(first + units_in_task, units)):
            i: Any = np.int64(np.uint32(u) // np.uint32(across * down))
            in_map = u - i * across * down
            tile_row: Any = np.int64(np.uint32(in_map) // np.uint32(across))
            top, left = tile_row * warps * ROWS, (in_map - tile_row * across) * WARP
            image = first_element(i * sizes.channels, layout)
            responses = responses_to(
                tile, images, image, layout, sizes, numbers, program, first_feature, top, left, lane, warp, warps, unit
            )
            are_there = on_map(top + warp * ROWS, left + lane, layout)
            states = merged_in_block(add_all(nothing(unit - unit), responses, are_there))
            if cuda.threadIdx.x == 0:
                keep(states, sums, 2 * ((first_map * across * down + u) * sizes.padded + first_feature))
            # no other warp reads these any more: the merge has a barrier
            of_map = (first_map + i) * sizes.padded + first_feature
            gate_all(responses, are_there, d, of_map, gated, warp * ROWS * WARP + lane, PLANE)
            rows, columns = min(warps * ROWS, layout.rows - top), min(WARP, layout.columns - left)
            for part in range(all_parts):
                at = part * OF_ALL
                channel = item(all_taps, at)
                if channel < sizes.channels:
                    stage(tile, images, image, layout, sizes, all_taps, at, top, left, lane, warp, warps, unit)
                else:
                    kind = channel - sizes.channels
                    _stage_coordinates(tile, kind, all_taps, at, top, left, layout, lane, warp, warps, unit)
                taps, slices = item(all_taps, at + 3) * item(all_taps, at + 4), item(all_taps, at + 6)
                index = np.int64(cuda.threadIdx.x)
                while index < taps * slices:
                    y: Any = np.int64(np.uint32(index) // np.uint32(taps))
                    tap = index - y * taps
                    down_by: Any = np.int64(np.uint32(tap) // np.uint32(item(all_taps, at + 4)))
                    under = down_by * PITCH + tap - down_by * item(all_taps, at + 4)
                    states = nothing(unit - unit)
                    while y < rows:
                        for x in range(0, columns, PLAIN):
                            some = zeros(unit - unit)
                            for column in range(x, min(x + PLAIN, columns)):
                                value = item(tile, y * PITCH + column + under)
                                some = collect(some, value, gated, y * WARP + column, PLANE)
                            states = add_sums(states, some)
                        y += slices
                    slot = (first_task + task) * slots + item(all_taps, at + 5) + index
                    accumulate(states, kept, 2 * (slot * sizes.padded + first_feature), u == first)
                    index += cuda.blockDim.x

    return parameters


@functools.cache
def images_kernel(features: int, number: Any) -> Any:
    """The kernel that writes the gradients of the images' pixels."""
    group, responses_to = group_of_features(features), responder(features, number)
    gate_all = group.gate
    length = features * PLANE

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))  # type: ignore[untyped-decorator]
    def of_images(
        images: Any,
        layout: Any,
        out_layout: Any,
        first_in_layout: int,
        first_in_out_layout: int,
        first_map: int,
        sizes: Any,
        rows: int,
        columns: int,
        across: int,
        down: int,
        numbers: Any,
        program: Any,
        d: Any,
        target: Any,
        unit: Any,
    ) -> None:
        tile = cuda.shared.array(TILE, number)
        gated = cuda.shared.array(length, number)
        lane, warp, warps = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP
        map_number: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(across * down))
        in_map = cuda.blockIdx.x - map_number * across * down
        tile_row: Any = np.int64(np.uint32(in_map) // np.uint32(across))
        first_row, first_column = tile_row * rows, (in_map - tile_row * across) * columns
        i: Any = np.int64(np.uint32(map_number) // np.uint32(sizes.channels))
        channel = map_number - i * sizes.channels
        image = first_element((first_in_layout + i) * sizes.channels, layout)
        zero = unit - unit
        a, b, c, e = zero, zero, zero, zero
        for part in range(sizes.parts):
            at = part * OF_PART
            if item(program, at) == channel:
                last_row, last_column = item(program, at + 3) - 1, item(program, at + 4) - 1
                # the pixels that see these: on the other side of the taps
                top = first_row - item(program, at + 1) - last_row
                left = first_column - item(program, at + 2) - last_column
                for first_feature in range(0, sizes.padded, features):
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
                    are_there = on_map(top + warp * ROWS, left + lane, layout)
                    of_map = (first_map + i) * sizes.padded + first_feature
                    cuda.syncthreads()  # until then another warp may be reading those of the features before
                    gate_all(responses, are_there, d, of_map, gated, warp * ROWS * WARP + lane, PLANE)
                    cuda.syncthreads()  # until then they are not all written
                    weight = first_feature * sizes.taps + item(program, at + 7) * features
                    for run in range(item(program, at + 5), item(program, at + 6), 2):
                        tap_row: Any = np.int64(np.uint32(item(program, run)) // np.uint32(PITCH))
                        tap_column = item(program, run) - tap_row * PITCH
                        there = (warp * ROWS + last_row - tap_row) * WARP + lane + last_column - tap_column
                        for _ in range(item(program, run + 1)):
                            for k in range(features):
                                w = item(numbers, weight + k)
                                under = there + k * PLANE
                                a = absorb(a, item(gated, under), w)
                                b = absorb(b, item(gated, under + WARP), w)
                                c = absorb(c, item(gated, under + 2 * WARP), w)
                                e = absorb(e, item(gated, under + 3 * WARP), w)
                            there -= WARP
                            weight += features
        row, column = first_row + warp * ROWS, first_column + lane
        end = min(first_row + rows, layout.rows) if lane < columns and column < layout.columns else 0
        first = first_element((first_in_out_layout + i) * sizes.channels + channel, out_layout)
        first += row * out_layout.row_stride + column * out_layout.column_stride
        if row < end:
            target[np.uint64(first)] = a
        if row + 1 < end:
            target[np.uint64(first + out_layout.row_stride)] = b
        if row + 2 < end:
            target[np.uint64(first + 2 * out_layout.row_stride)] = c
        if row + 3 < end:
            target[np.uint64(first + 3 * out_layout.row_stride)] = e

    return of_images


@cuda.jit  # type: ignore[untyped-decorator]
def gather_parameters(
    kept: Any, elements: Any, count: int, tasks: int, slots: int, sizes: Any, weight: Any, bias: Any, unit: Any
) -> None:
    """A warp merges the sums of one weight, or of one bias, of all tasks."""
    lane = cuda.threadIdx.x % WARP
    number: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    element: Any = np.int64(np.uint32(number) // np.uint32(sizes.features))
    k = number - element * sizes.features
    if element < count:
        first, apart, slices = (
            item(elements, 3 * element),
            item(elements, 3 * element + 1),
            item(elements, 3 * element + 2),
        )
        state = unit - unit, unit - unit
        n = lane
        while n < tasks * slices:
            task: Any = np.int64(np.uint32(n) // np.uint32(slices))
            slot = task * slots + first + (n - task * slices) * apart
            at = 2 * (slot * sizes.padded + k)
            state = merge(state, (item(kept, at), item(kept, at + 1)))
            n += WARP
        state = _merged_in_warp(state)
        if lane == 0:
            if element < count - 1:
                weight[np.uint64(k * (count - 1) + element)] = total(state)
            else:
                bias[np.uint64(k)] = total(state)


@cuda.jit  # type: ignore[untyped-decorator]
def gather_outputs(
    sums: Any, grad: Any, count: int, tiles: int, sizes: Any, readout: Any, offset: Any, unit: Any
) -> None:
    """A warp adds up one readout, or one offset (k beyond the features), over all maps."""
    lane = cuda.threadIdx.x % WARP
    number: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    m: Any = np.int64(np.uint32(number) // np.uint32(sizes.features + 1))
    k = number - m * (sizes.features + 1)
    if m < sizes.outputs:
        state = unit - unit, unit - unit
        i = lane
        while i < count:
            g = convert(item(grad, i * sizes.outputs + m), unit)
            if k == sizes.features:
                state = add(state, g)
            else:
                of_map = unit - unit, unit - unit
                for t in range(tiles):
                    at = 2 * ((i * tiles + t) * sizes.padded + k)
                    of_map = merge(of_map, (item(sums, at), item(sums, at + 1)))
                state = add(state, g * total(of_map))
            i += WARP
        state = _merged_in_warp(state)
        if lane == 0:
            if k == sizes.features:
                offset[np.uint64(m)] = total(state)
            else:
                readout[np.uint64(m * sizes.features + k)] = total(state)


# ---- A call ----------------------------------------------------------------------------------------------------------


def vjp(
    read: Maps,
    batch: tuple[int, ...],
    shapes: tuple[tuple[int, ...], ...],
    plan_of: Callable[[int], GradientPlan],
    grad: Any,
    images: Any,
    seen: NDArray[Any],
    axes: Any,
) -> tuple[Any, ...]:
    """`CoordNet.vjp` of CUDA arrays, as `cuda.network`; `shapes` are those of weight, bias, readout and offset.

    `grad` is a contiguous CUDA array on the same device.
    """
    require_int32("images", read.height, read.width)
    seen_grad = described("grad", grad)
    if seen_grad.dtype.kind not in "biuf":
        raise TypeError(f"grad: expected real numbers; got {seen_grad.dtype.name}")
    require_like("grad", grad, images, (*batch, *shapes[3]), seen_grad.dtype)
    dtype: Any = np.float64 if seen.dtype == np.float64 else np.float32
    made = [made_or_given("gradient", None, images, shape, dtype) for shape in (*shapes, seen.shape)]
    with device_of(images):
        planned = plan_of(cuda.get_current_device().id)
        written = [flat_memory("gradient", seen_made, array) for array, seen_made in made]
        of_images = maps("images", made[4][1], axes, for_writing=True)
        _launch(read, planned, images, flat_memory("grad", seen_grad, grad), of_images, written)
    return tuple(array for array, _ in made)


def _launch(read: Maps, planned: GradientPlan, images: Any, grad: Any, out: Maps, written: list[Any]) -> None:
    features, _, sizes, numbers, program = planned.plan
    weight, bias, readout, offset, pixels = written
    number = numbers.dtype.type
    unit, threads = number(1), planned.warps * WARP
    height, width, tile_rows = read.height, read.width, planned.warps * ROWS
    sizes = sizes._replace(channel_stride=read.inner_stride)
    count = read.count // sizes.channels
    total_count = count * len(read.starts)
    across, down = -(-width // WARP), -(-height // tile_rows)
    units = count * across * down
    units_in_task = max(-(-units // TASKS), 1)
    tasks = -(-units // units_in_task)

    def workspace(size: int) -> Any:
        return flat_memory("sums", *reversed(made_or_given("sums", None, images, (max(size, 1),), number)))

    d = workspace(total_count * sizes.padded)
    kept = workspace(2 * len(read.starts) * tasks * planned.slots * sizes.padded)
    sums = workspace(2 * total_count * across * down * sizes.padded)
    blocks = sizes.padded // features
    if total_count:
        memory = flat_memory("images", read.memory, images)
        launch(of_features, -(-d.size // THREADS), THREADS, images, grad, sizes, numbers, total_count, d, unit)
        run = parameters_kernel(features, number)
        read_layouts = layouts(read, 0, 1)
        for at, layout in enumerate(read_layouts):
            divided = at * count, at * tasks, units, units_in_task, across, down
            program_of_all = planned.all_taps, planned.all_parts, planned.slots
            arguments = memory, layout, sizes, *divided, numbers, program, *program_of_all, d, kept, sums, unit
            launch(run, tasks * blocks, threads, images, *arguments)
        rows, columns = tile_rows - planned.part_rows + 1, WARP - planned.part_columns + 1
        tiles = -(-width // columns), -(-height // rows)
        run = images_kernel(features, number)
        out_layouts, out_count = layouts(out, 0, 1), out.count // sizes.channels
        for first, last in stretches(count, out_count, total_count):
            both = read_layouts[first // count], out_layouts[first // out_count]
            offsets = first % count, first % out_count, first
            of_pixels = memory, *both, *offsets, sizes, rows, columns, *tiles, numbers, program, d, pixels, unit
            launch(run, (last - first) * sizes.channels * tiles[0] * tiles[1], threads, images, *of_pixels)
    warps, elements = THREADS // WARP, weight.size // sizes.features + 1
    gathered = planned.elements, elements, len(read.starts) * tasks, planned.slots, sizes, weight, bias, unit
    launch(gather_parameters, -(-elements * sizes.features // warps), THREADS, images, kept, *gathered)
    outputs = sizes.outputs * (sizes.features + 1)
    of_outputs = sums, grad, total_count, across * down, sizes, readout, offset, unit
    launch(gather_outputs, -(-outputs // warps), THREADS, images, *of_outputs)
