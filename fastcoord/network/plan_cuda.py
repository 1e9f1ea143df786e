"""What a network needs on a GPU for maps of one shape: its numbers, and the order in which its taps are visited."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord._lanes import GROUP, WARP
from fastcoord.network.formula import border_rows, coordinate_tables, group_of, trimmed

ROWS = 4  # that a lane holds
MOST_WARPS = 8  # in a block
MOST = 8  # features at a time; 2 in float64, and where sixteen columns are visited at a time: more do not fit
PART = 16  # rows and columns of a kernel under which one tile is visited
PITCH = WARP + PART - 1  # of a tile
OF_PART = 8  # numbers that describe a part of the kernel


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


class Plan(NamedTuple):
    """What a network needs for maps of one shape and number type on one device; made once, and kept by the network."""

    features: int  # at a time
    is_centre: bool  # whether only the centre of the kernel counts
    sizes: Sizes  # but for the bands, and for what depends on the memory
    numbers: Any  # on the device: the weights, the tables, the readout and the offset, as `Sizes` says
    program: Any  # on the device: what `_program` gives, or the channel of each tap where only the centre counts


def _program(taps: Any, kernel: tuple[int, int]) -> tuple[list[int], Any, int]:
    """The parts of the kernel, then their runs; the taps in the order in which they are visited; the number of parts.

    A part is (channel, first row and column of its taps from the centre, rows and columns, first and last run, first
    tap); a run of taps down a column is (where its first stands in a tile, taps).
    """
    within = (*(taps[:, 1:] // PART).T, taps[:, 0])
    order = np.lexsort((taps[:, 1], taps[:, 2], *within))
    taps = taps[order]
    key = np.stack([taps[:, 0], taps[:, 1] // PART, taps[:, 2] // PART], axis=1)
    parts: list[Any] = []
    runs: list[Any] = []
    tap = 0
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
        parts.append([channel, *(low - np.array(kernel) // 2), *(high - low), begin, len(runs), tap])
        tap += len(some)
    start = len(parts) * OF_PART
    flat = [n for *part, first, last, tap in parts for n in (*part, start + 2 * first, start + 2 * last, tap)]
    return [*map(int, flat), *(number for run in runs for number in run[:2])], taps, len(parts)


def _whole_groups(numbers: NDArray[Any]) -> NDArray[Any]:
    return np.pad(numbers, (0, -numbers.nbytes % GROUP // numbers.itemsize))


def plan(weight: Any, bias: Any, readout: Any, offset: Any, height: int, width: int, dtype: Any) -> Plan:
    """The plan for maps of this shape, whose pixels are absorbed as `dtype`, on the current device."""
    weight = trimmed(weight)
    is_centre = weight.shape[2:] == (1, 1)
    has_one_tap = is_centre and (weight[:, :-2] != 0).any(axis=0).sum() == 1
    most = 2 if dtype == np.float64 or has_one_tap else MOST
    planned = _plan((weight, bias, readout, offset), height, width, dtype, group_of(len(weight), most), is_centre)
    cuda.default_stream().synchronize()  # once a plan: kernels on other streams would not wait for the copies
    return planned


def _plan(parameters: Any, height: int, width: int, dtype: Any, features: int, is_centre: bool) -> Plan:
    weight, bias, readout, offset = parameters
    count, channels, kernel = weight.shape[0], weight.shape[1] - 2, weight.shape[2:]
    taps = np.argwhere((weight[:, :channels] != 0).any(axis=0))
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
    return Plan(features, is_centre, sizes, cuda.to_device(np.concatenate(numbers)), _integers(program))


def _integers(numbers: Any) -> Any:
    return cuda.to_device(np.array([*np.ravel(numbers), 0], np.int32))  # not empty


class GradientPlan(NamedTuple):
    """What the gradients of a network need beside its plan."""

    plan: Plan
    warps: int  # in a block
    part_rows: int  # the most of a part
    part_columns: int
    slots: int  # sums that a task keeps of each feature
    all_parts: int
    all_taps: Any  # on the device: for each part of a channel, of x, of y and of the bias, see `_all_taps`
    elements: Any  # on the device: for each weight of a feature, then its bias: first slot, slots apart, slots


def gradient_plan(
    weight: Any, bias: Any, readout: Any, offset: Any, height: int, width: int, dtype: Any
) -> GradientPlan:
    """The plan of the gradients for maps of this shape, whose pixels are absorbed as `dtype`."""
    features = group_of(len(weight), 2 if dtype == np.float64 else 4)
    planned = _plan((weight, bias, readout, offset), height, width, dtype, features, False)
    part_rows, part_columns = (min(extent, PART) for extent in weight.shape[2:])
    warps = min(-(-(min(height, WARP) + part_rows - 1) // ROWS), MOST_WARPS)
    all_taps, elements, slots = _all_taps(weight.shape[1:], warps)
    on_device = _integers(all_taps), _integers(elements)
    cuda.default_stream().synchronize()
    return GradientPlan(planned, warps, part_rows, part_columns, slots, len(all_taps), *on_device)


def _all_taps(shape: tuple[int, int, int], warps: int) -> tuple[Any, Any, int]:
    """The parts of a kernel with all its taps; where each tap's sums are kept; how many are.

    A part is (channel, first row and column of its taps from the centre, rows and columns, first slot, slices): each
    tap has one sum for each slice of a tile's rows, so that there is work for every lane. A last channel is the bias.
    """
    channels, height, width = shape
    parts, slots = [], 0
    elements = np.zeros((channels * height * width + 1, 3), np.int64)
    for channel in range(channels):
        for i in range(0, height, PART):
            for j in range(0, width, PART):
                rows, columns = min(PART, height - i), min(PART, width - j)
                taps = rows * columns
                slices = max(min(warps * WARP // taps, warps * ROWS), 1)
                parts.append((channel, i - height // 2, j - width // 2, rows, columns, slots, slices))
                for row, column in np.ndindex(rows, columns):
                    number = (channel * height + i + row) * width + j + column
                    elements[number] = slots + row * columns + column, taps, slices
                slots += taps * slices
    slices = warps * ROWS
    parts.append((channels, 0, 0, 1, 1, slots, slices))
    elements[-1] = slots, 1, slices
    return parts, elements, slots + slices
