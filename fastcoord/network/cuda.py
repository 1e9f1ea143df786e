"""Who visits which pixel of a network's maps on a GPU.

A task is a band of a map and up to eight features, whose responses stay in a lane's registers from the first tap to the
ReLU, for four rows of a column. A block works on it. Where a kernel has only its centre, the pixels are read in place,
16 bytes at a time where rows begin at such multiples. Otherwise a tile of the map and what surrounds it under (a part
of) the kernel is copied to shared memory, converted and with zeros beyond the border. No feature map is stored: where a
map is one task, its block reads out the sums; otherwise it leaves them, and a second launch merges and reads them out.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord._arrays import Maps, pixel_array
from fastcoord._compile import inlined
from fastcoord._launch import (
    GROUP,
    WARP,
    block_merge,
    described,
    device_of,
    first_element,
    flat_memory,
    launch,
    layouts,
    load_four,
    load_sixteen,
    load_two,
    made_or_given,
    require_cuda,
    require_int32,
    warp_merge,
    words,
)
from fastcoord._vector import convert, like, select
from fastcoord.network.formula import (
    absorb,
    add,
    begin,
    border_rows,
    coordinate_tables,
    finish,
    group_of,
    merge,
    read_out,
    rectify,
    row_class,
    trimmed,
)

ROWS = 4  # that a lane holds
MOST = 8  # features at a time; 2 in float64, and where sixteen columns are visited at a time: more do not fit
THREADS = 256  # at most, in a block
BLOCKS = 2  # at least, on a multiprocessor: 128 registers a lane
BAND = 1 << 13  # pixels in a task, about; not measured
PART = 16  # rows and columns of a kernel under which one tile is visited
PITCH = WARP + PART - 1  # of a tile
TILE = (THREADS // WARP * ROWS + PART - 1) * PITCH
OF_PART = 7  # numbers that describe a part of the kernel


class Sizes(NamedTuple):
    """The numbers of a network and of how it is divided, for a kernel."""

    channels: int
    channel_stride: int  # in elements
    features: int
    padded: int  # features, with those that fill up the last group
    outputs: int
    taps: int
    parts: int
    bands: int  # of a map
    band: int  # tiles, or rows where a kernel has only its centre, in a band
    border: int  # rows with a class of their own, at each end
    tables: int  # where they begin in the numbers; the weights begin at 0
    readout: int
    offset: int


# ---- Features in registers: tuples, of which each function calls itself for the next member --------------------------


@inlined
def _item(array: Any, at: Any) -> Any:
    return array[np.uint64(at)]


@inlined
def _one(array: Any, at: Any) -> Any:
    return (array[np.uint64(at)],)


class _Group(NamedTuple):
    """What is done to so many features at once, for four rows of a column."""

    begin: Any  # (a, b, c, d, rows): the responses before the first tap, from each row's (constant, slope, …)
    absorb: Any  # (responses, values, weights): the responses after one more tap
    add: Any  # (states, responses, are_there): the (sum, rest, sum, rest, …) after four more pixels
    merge: Any  # (states, states)
    nothing: Any  # (zero): the states before any pixel
    keep: Any  # (states, place, at): write them


@functools.cache
def _group(features: int) -> _Group:
    @inlined
    def begin_one(a: Any, b: Any, c: Any, d: Any, rows: Any) -> Any:
        return (
            (
                begin(a[0], a[1], rows[0]),
                begin(b[0], b[1], rows[1]),
                begin(c[0], c[1], rows[2]),
                begin(d[0], d[1], rows[3]),
            ),
        )

    @inlined
    def absorb_one(responses: Any, values: Any, weights: Any) -> Any:
        a, b, c, d = responses[0]
        weight = weights[0]
        return (
            (
                absorb(a, values[0], weight),
                absorb(b, values[1], weight),
                absorb(c, values[2], weight),
                absorb(d, values[3], weight),
            ),
        )

    @inlined
    def add_one(states: Any, responses: Any, are_there: Any) -> Any:
        a, b, c, d = responses[0]
        return add(states[:2], _sum_there((rectify(a), rectify(b), rectify(c), rectify(d)), are_there))

    @inlined
    def merge_one(states: Any, others: Any) -> Any:
        return merge(states[:2], others[:2])

    @inlined
    def nothing_one(zero: Any) -> Any:
        return zero, zero

    @inlined
    def keep_one(states: Any, place: Any, at: int) -> None:
        place[np.uint64(at)] = states[0]
        place[np.uint64(at + 1)] = states[1]

    if features == 1:
        return _Group(begin_one, absorb_one, add_one, merge_one, nothing_one, keep_one)
    begin_others, absorb_others, add_others, merge_others, nothing_others, keep_others = _group(features - 1)

    @inlined
    def begin_all(a: Any, b: Any, c: Any, d: Any, rows: Any) -> Any:
        return begin_one(a, b, c, d, rows) + begin_others(a[2:], b[2:], c[2:], d[2:], rows)

    @inlined
    def absorb_all(responses: Any, values: Any, weights: Any) -> Any:
        return absorb_one(responses, values, weights) + absorb_others(responses[1:], values, weights[1:])

    @inlined
    def add_all(states: Any, responses: Any, are_there: Any) -> Any:
        return add_one(states, responses, are_there) + add_others(states[2:], responses[1:], are_there)

    @inlined
    def merge_all(states: Any, others: Any) -> Any:
        return merge_one(states, others) + merge_others(states[2:], others[2:])

    @inlined
    def nothing_all(zero: Any) -> Any:
        return nothing_one(zero) + nothing_others(zero)

    @inlined
    def keep_all(states: Any, place: Any, at: int) -> None:
        keep_one(states, place, at)
        keep_others(states[2:], place, at + 2)

    return _Group(begin_all, absorb_all, add_all, merge_all, nothing_all, keep_all)


def _several(count: int, number: Any) -> Any:
    """The function that reads so many numbers: 16 bytes at a time, if they are whole groups of these."""
    items = GROUP // number().itemsize
    return _steps(count // items, items) if count % items == 0 else _steps(count, 1)


def _steps(count: int, items: int) -> Any:
    load = {1: _one, 2: load_two, 4: load_four}[items]
    if count == 1:
        return load
    load_others = _steps(count - 1, items)

    @inlined
    def load_all(numbers: Any, at: Any) -> Any:
        return load(numbers, at) + load_others(numbers, at + items)

    return load_all


@inlined
def _sum_there(values: Any, are_there: Any) -> Any:
    a, b, c, d = values
    zero = like(a, 0)
    a, b = select(are_there[0], a, zero), select(are_there[1], b, zero)
    c, d = select(are_there[2], c, zero), select(are_there[3], d, zero)
    return (a + b) + (c + d)


# ---- Which pixels a lane visits --------------------------------------------------------------------------------------


@inlined
def _rows_from(row: Any, unit: Any) -> Any:
    first = convert(np.int32(row), unit)
    return first, first + unit, first + (unit + unit), first + (unit + unit + unit)


@inlined
def _table(row: Any, column: Any, layout: Any, sizes: Any, feature: Any) -> Any:
    """Where the tables say what a feature begins with in a row (of the last one, if there is none) and a column."""
    of_row = row_class(min(row, layout.rows - 1), layout.rows, sizes.border)
    return sizes.tables + ((of_row * layout.columns + column) * sizes.padded + feature) * 2


def _by_tiles(features: int, number: Any) -> Any:
    """How a block visits a band of a map, through copies of its tiles in shared memory."""
    group, weights_at = _group(features), _several(features, number)
    begin_all, absorb_all, add_all, nothing = group.begin, group.absorb, group.add, group.nothing
    tables_at = _several(2 * features, number)

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
        height, width = warps * ROWS, layout.columns
        across = (width + WARP - 1) // WARP
        down: Any = np.int64(np.uint32(layout.rows + height - 1) // np.uint32(height))
        here = warp * ROWS * PITCH + lane
        zero = unit - unit
        states = nothing(zero)
        for index in range(band * sizes.band, min((band + 1) * sizes.band, across * down)):
            tile_row: Any = np.int64(np.uint32(index) // np.uint32(across))
            top, left = tile_row * height, (index - tile_row * across) * WARP
            row, column = top + warp * ROWS, left + lane
            inside = min(column, width - 1)
            a = tables_at(numbers, _table(row, inside, layout, sizes, first_feature))
            b = c = d = a
            if row < sizes.border or row + ROWS > layout.rows - sizes.border:  # else the four are of one class
                b = tables_at(numbers, _table(row + 1, inside, layout, sizes, first_feature))
                c = tables_at(numbers, _table(row + 2, inside, layout, sizes, first_feature))
                d = tables_at(numbers, _table(row + 3, inside, layout, sizes, first_feature))
            responses = begin_all(a, b, c, d, _rows_from(row, unit))
            weight = first_feature * sizes.taps
            for part in range(sizes.parts):
                at = part * OF_PART
                first = image + _item(program, at) * sizes.channel_stride
                first_row, first_column = top + _item(program, at + 1), left + _item(program, at + 2) + lane
                rows, columns = height + _item(program, at + 3) - 1, WARP + _item(program, at + 4) - 1
                # A row of a tile is less than twice as long as a warp.
                has_left = first_column >= 0 and first_column < width
                has_right = first_column + WARP >= 0 and first_column + WARP < width
                is_right = lane + WARP < columns
                there = first + (first_row + warp) * layout.row_stride + first_column * layout.column_stride
                further, below = WARP * layout.column_stride, warps * layout.row_stride
                cuda.syncthreads()  # until then another warp may be reading the tile before
                y = warp
                while y < rows:  # a range's length, where its step is no constant, is a division that calls a routine
                    is_row = y >= -first_row and y < layout.rows - first_row
                    # Beyond the map it is some pixel of the map: no branch stands between the loads.
                    value = convert(_item(images, there if is_row and has_left else image), unit)
                    tile[np.uint64(y * PITCH + lane)] = value if is_row and has_left else zero
                    value = convert(_item(images, there + further if is_row and has_right else image), unit)
                    if is_right:
                        tile[np.uint64(y * PITCH + WARP + lane)] = value if is_row and has_right else zero
                    y += warps
                    there += below
                cuda.syncthreads()  # until then the tile is not all written
                for run in range(_item(program, at + 5), _item(program, at + 6), 2):
                    under = here + _item(program, run)
                    v0, v1, v2 = _item(tile, under), _item(tile, under + PITCH), _item(tile, under + 2 * PITCH)
                    under += 3 * PITCH
                    for _ in range(_item(program, run + 1)):  # down a column of the kernel: three of four values stay
                        v3 = _item(tile, under)
                        responses = absorb_all(responses, (v0, v1, v2, v3), weights_at(numbers, weight))
                        v0, v1, v2 = v1, v2, v3
                        under += PITCH
                        weight += features
            is_there = column < width
            are_there = (
                is_there and row < layout.rows,
                is_there and row + 1 < layout.rows,
                is_there and row + 2 < layout.rows,
                is_there and row + 3 < layout.rows,
            )
            states = add_all(states, responses, are_there)
        return states

    return visit


@inlined
def _sum_columns(constants: Any, slope: Any, row: Any, values: Any, weight: Any) -> Any:
    """The responses of four pixels side by side in a row, where one tap is all there is, added up."""
    a = rectify(absorb(begin(constants[0], slope, row), values[0], weight))
    b = rectify(absorb(begin(constants[1], slope, row), values[1], weight))
    c = rectify(absorb(begin(constants[2], slope, row), values[2], weight))
    d = rectify(absorb(begin(constants[3], slope, row), values[3], weight))
    return (a + b) + (c + d)


def _add_square(features: int) -> Any:
    """The function that adds the responses of four rows of four columns to the states of so many features."""

    @inlined
    def add_one(
        states: Any, values: Any, rows: Any, are_there: Any, numbers: Any, place: Any, apart: Any, weights: Any
    ) -> Any:
        constants = (
            _item(numbers, place),
            _item(numbers, place + apart),
            _item(numbers, place + 2 * apart),
            _item(numbers, place + 3 * apart),
        )
        # that of every column: no tap of the coordinates' leaves the map
        slope, weight = _item(numbers, place + 1), weights[0]
        sums = (
            _sum_columns(constants, slope, rows[0], values[0], weight),
            _sum_columns(constants, slope, rows[1], values[1], weight),
            _sum_columns(constants, slope, rows[2], values[2], weight),
            _sum_columns(constants, slope, rows[3], values[3], weight),
        )
        return add(states[:2], _sum_there(sums, are_there))

    if features == 1:
        return add_one
    add_others = _add_square(features - 1)

    @inlined
    def add_all(
        states: Any, values: Any, rows: Any, are_there: Any, numbers: Any, place: Any, apart: Any, weights: Any
    ) -> Any:
        others = add_others(states[2:], values, rows, are_there, numbers, place + 2, apart, weights[1:])
        return add_one(states, values, rows, are_there, numbers, place, apart, weights) + others

    return add_all


@inlined
def _converted(values: Any, unit: Any) -> Any:
    return convert(values[0], unit), convert(values[1], unit), convert(values[2], unit), convert(values[3], unit)


def _add_columns(features: int, items: int) -> Any:
    """The function that adds the responses of four rows of so many columns to the states of so many features."""
    add_square = _add_square(features)

    @inlined
    def add_four(
        states: Any,
        values: Any,
        rows: Any,
        are_there: Any,
        numbers: Any,
        place: Any,
        apart: Any,
        weights: Any,
        unit: Any,
    ) -> Any:
        a, b, c, d = values
        numbers_of_rows = _converted(a, unit), _converted(b, unit), _converted(c, unit), _converted(d, unit)
        return add_square(states, numbers_of_rows, rows, are_there, numbers, place, apart, weights)

    if items == 4:
        return add_four
    half = items // 2
    add_half = _add_columns(features, half)

    @inlined
    def add_both(
        states: Any,
        values: Any,
        rows: Any,
        are_there: Any,
        numbers: Any,
        place: Any,
        apart: Any,
        weights: Any,
        unit: Any,
    ) -> Any:
        a, b, c, d = values
        left, right = (a[:half], b[:half], c[:half], d[:half]), (a[half:], b[half:], c[half:], d[half:])
        states = add_half(states, left, rows, are_there, numbers, place, apart, weights, unit)
        return add_half(states, right, rows, are_there, numbers, place + half * apart, apart, weights, unit)

    return add_both


def _by_columns(features: int, number: Any, items: int) -> Any:
    """How a block visits a band of a map in place, where only the centre of the kernel counts; `items` side by side.

    More than one item only if the kernel has but one tap, and if rows begin at multiples of 16 bytes.
    """
    group, weights_at = _group(features), _several(features, number)
    begin_all, absorb_all, add_all, nothing = group.begin, group.absorb, group.add, group.nothing
    tables_at = _several(2 * features, number)
    load: Any = {16: load_sixteen, 4: load_four}.get(items)
    add_columns: Any = _add_columns(features, items) if items > 1 else None

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
            place, apart = _table(0, column, layout, sizes, first_feature), 2 * sizes.padded
            row = band * sizes.band + first_row * ROWS
            while row < end:
                are_there = row < end, row + 1 < end, row + 2 < end, row + 3 < end
                rows = _rows_from(row, unit)
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
                        further = _item(program, tap) * sizes.channel_stride
                        values = (
                            convert(_item(images, a + further), unit),
                            convert(_item(images, b + further), unit),
                            convert(_item(images, c + further), unit),
                            convert(_item(images, d + further), unit),
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
        output = _item(numbers, sizes.offset + m), unit - unit
        for k in range(sizes.features):
            state = _item(states, at + 2 * k), _item(states, at + 2 * k + 1)
            output = read_out(output, state, _item(numbers, sizes.readout + m * sizes.features + k))
        out[np.uint64(i * sizes.outputs + m)] = finish(output)
        m += lanes


@functools.cache
def network_kernel(features: int, number: Any, items: int, has_tasks: bool) -> Any:
    """The kernel for so many features at a time.

    `items` are those side by side that are read at once, 0 where a kernel has more than its centre. Where a map has
    several tasks, `target` are their features' sums, otherwise the outputs.
    """
    group = _group(features)
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
            state = merge(state, (_item(partial, at), _item(partial, at + 1)))
        state = _merged_in_warp(state)
        if lane == 0:
            partial[np.uint64(first + 2 * k)] = state[0]
            partial[np.uint64(first + 2 * k + 1)] = state[1]
        k += warps
    cuda.syncthreads()  # until then the merged sums are not all written
    _read_out(partial, first, numbers, sizes, out, i, cuda.threadIdx.x, cuda.blockDim.x, unit)


# ---- A call ----------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What a network needs for maps of one shape and number type on one device; made once, and kept by the network."""

    features: int  # at a time
    is_centre: bool  # whether only the centre of the kernel counts
    sizes: Sizes  # but for the bands, and for what depends on the memory
    numbers: Any  # on the device: the weights, the tables, the readout and the offset, as `Sizes` says
    program: Any  # on the device: what `_program` gives, or the channel of each tap where only the centre counts


def _program(taps: Any, kernel: tuple[int, int]) -> tuple[list[int], Any, int]:
    """The parts of the kernel, then their runs; the taps in the order in which they are visited; the number of parts.

    A part is (channel, first row and column of its taps from the centre, rows and columns, first and last run); a run
    of taps down a column is (where its first stands in a tile, taps).
    """
    within = (*(taps[:, 1:] // PART).T, taps[:, 0])
    order = np.lexsort((taps[:, 1], taps[:, 2], *within))
    taps = taps[order]
    key = np.stack([taps[:, 0], taps[:, 1] // PART, taps[:, 2] // PART], axis=1)
    parts: list[Any] = []
    runs: list[Any] = []
    for channel, i, j in dict.fromkeys(map(tuple, key.tolist())):
        some = taps[(key == (channel, i, j)).all(axis=1), 1:]
        low, high = some.min(axis=0), some.max(axis=0) + 1
        begin = len(runs)
        for row, column in (some - low).tolist():
            if len(runs) > begin and runs[-1][2:] == [row, column]:
                runs[-1][1] += 1
                runs[-1][2] += 1
            else:
                runs.append([row * PITCH + column, 1, row + 1, column])
        parts.append([channel, *(low - np.array(kernel) // 2), *(high - low), begin, len(runs)])
    start = len(parts) * OF_PART
    flat = [number for *part, first, last in parts for number in (*part, start + 2 * first, start + 2 * last)]
    return [*map(int, flat), *(number for run in runs for number in run[:2])], taps, len(parts)


def _whole_groups(numbers: NDArray[Any]) -> NDArray[Any]:
    return np.pad(numbers, (0, -numbers.nbytes % GROUP // numbers.itemsize))


def plan(weight: Any, bias: Any, readout: Any, offset: Any, height: int, width: int, dtype: Any) -> Plan:
    """The plan for maps of this shape, whose pixels are absorbed as `dtype`, on the current device."""
    weight = trimmed(weight)
    count, channels, kernel = weight.shape[0], weight.shape[1] - 2, weight.shape[2:]
    taps = np.argwhere((weight[:, :channels] != 0).any(axis=0))
    is_centre = kernel == (1, 1)
    most = 2 if dtype == np.float64 or (is_centre and len(taps) == 1) else MOST
    features = group_of(count, most)
    padded = -(-count // features) * features
    program, parts = taps[:, 0].tolist(), 0
    if not is_centre:
        program, taps, parts = _program(taps, kernel)
    weights = np.zeros((padded, len(taps)))
    weights[:count] = weight[:, taps[:, 0], taps[:, 1], taps[:, 2]]
    constant, slope = coordinate_tables(weight, bias, height, width)
    tables = np.zeros((len(constant), width, padded, 2))
    tables[:, :, :count] = np.stack([constant, slope], axis=-1).swapaxes(1, 2)
    in_blocks = weights.reshape(padded // features, features, len(taps)).swapaxes(1, 2)
    numbers = [_whole_groups(array.reshape(-1).astype(dtype)) for array in (in_blocks, tables, readout, offset)]
    starts = np.cumsum([array.size for array in numbers]).tolist()
    border = border_rows(kernel[0], height)
    sizes = Sizes(channels, 0, count, padded, len(offset), len(taps), parts, 0, 0, border, *starts[:3])
    on_device = cuda.to_device(np.concatenate(numbers)), cuda.to_device(np.array([*program, 0], np.int32))
    cuda.default_stream().synchronize()  # once a plan: kernels on other streams would not wait for the copies
    return Plan(features, is_centre, sizes, *on_device)


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
