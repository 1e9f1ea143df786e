"""What a network needs on a GPU for maps of one shape: its numbers, and the order in which its taps are visited."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastcoord._launch import GROUP, WARP
from fastcoord.network.formula import border_rows, coordinate_tables, group_of, trimmed

MOST = 8  # features at a time; 2 in float64, and where sixteen columns are visited at a time: more do not fit
PART = 16  # rows and columns of a kernel under which one tile is visited
PITCH = WARP + PART - 1  # of a tile
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
