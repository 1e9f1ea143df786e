"""A network of one convolution, one ReLU, one sum and one affine readout, at a pixel; and its gradient.

A feature's response at a pixel is relu(bias + Σ weight·value) over the taps of its kernel. What the bias and the
coordinate maps give depends on the column, and on the row in a straight line, but for the rows whose kernel leaves the
map: `coordinate_tables` says it for each column and each *class* of rows, and no coordinate is read at a pixel.

A feature's sum over a map is a pair (sum, rest), where the rest is what rounding took from the sum, which so is as good
as in twice the precision (Knuth, TAOCP 2, 4.2.2, theorem B). A tap whose weight is zero in every feature is not
visited: it contributes nothing, even where the pixel is infinite or NaN. Nor does a feature to an output that reads it
with weight zero.
"""

from typing import Any, NamedTuple

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import fma, like, select, two_sum


def number_type(dtype: Any) -> Any:
    """The type in which pixels of type `dtype` are absorbed: one that holds them, if there is one."""
    return np.float32 if dtype.itemsize == 1 or dtype == np.float32 else np.float64


# ---- Once a network and a shape of maps ------------------------------------------------------------------------------


def group_of(count: int, most: int) -> int:
    """How many of `count` features are computed at a time: what leaves the fewest places empty, else the most."""
    return min(range(1, most + 1), key=lambda group: (-(-count // group) * group, -group))


class Tables(NamedTuple):
    """What the bias and the coordinate maps add to a feature at (row, column): constant + row·slope.

    Both are (classes, features, width) in float64; `row_class` tells the class of a row.
    """

    constant: Any
    slope: Any


def trimmed(weight: Any) -> Any:
    """(K, C + 2, kh, kw) weights without the outermost rows and columns of the kernel while all of these are zero."""
    while weight.shape[2] > 1 and not weight[:, :, [0, -1]].any():
        weight = weight[:, :, 1:-1]
    while weight.shape[3] > 1 and not weight[..., [0, -1]].any():
        weight = weight[..., 1:-1]
    return weight


def border_rows(kernel_height: int, height: int) -> int:
    """How many rows at the top, and at the bottom, have a class of their own."""
    return min(kernel_height // 2, height // 2)


@inlined
def row_class(row: Any, height: Any, border: Any) -> Any:
    """The class of a row, of 2·border + 1: the rows of the upper border, those between, and the rows of the lower."""
    upper = row if row < border else border
    lower = row - (height - 1 - border)
    return upper + (lower if lower > 0 else 0)


def _reach(position: Any, extent: int, kernel: int) -> tuple[Any, Any]:
    """Where each tap of a kernel stands (positions, kernel), and whether it is on the map."""
    there = np.asarray(position)[:, np.newaxis] + np.arange(kernel) - kernel // 2
    return there, (there >= 0) & (there < extent)


def _rows_of_classes(kernel_height: int, height: int) -> Any:
    border = border_rows(kernel_height, height)
    classes = np.arange(2 * border + 1)
    return np.where(classes <= border, classes, height - 1 - 2 * border + classes)


def coordinate_tables(weight: Any, bias: Any, height: int, width: int) -> Tables:
    """The tables of (K, C + 2, kh, kw) weights, of which the last two channels are x and y, for maps of this size."""
    over_x, over_y = weight[:, -2], weight[:, -1]
    kernel_height, kernel_width = over_x.shape[1:]
    above = np.arange(kernel_height) - kernel_height // 2
    _, row_on = _reach(_rows_of_classes(kernel_height, height), height, kernel_height)
    column, column_on = _reach(np.arange(width), width, kernel_width)
    from_x = np.einsum("ri,kij,wj->rkw", row_on, over_x, np.where(column_on, column, 0))
    from_y = np.einsum("ri,kij,wj->rkw", row_on * above, over_y, column_on)
    slope = np.einsum("ri,kij,wj->rkw", row_on, over_y, column_on)
    return Tables(from_x + from_y + np.asarray(bias)[:, np.newaxis], slope)


def coordinate_gradient(constant: Any, slope: Any, kernel: tuple[int, int], height: int) -> tuple[Any, Any]:
    """The gradients of the (K, 2, kh, kw) coordinate weights and of the bias from those of the tables."""
    width = constant.shape[-1]
    above = np.arange(kernel[0]) - kernel[0] // 2
    _, row_on = _reach(_rows_of_classes(kernel[0], height), height, kernel[0])
    column, column_on = _reach(np.arange(width), width, kernel[1])
    # einsum adds one after the other; in float64 that lost 14 units in the last place over 150 columns
    constant, slope = constant.astype(np.longdouble), slope.astype(np.longdouble)
    by_column = np.einsum("rkw,wj->rkj", constant, column_on)
    over_x = np.einsum("rkj,ri->kij", np.einsum("rkw,wj->rkj", constant, np.where(column_on, column, 0)), row_on)
    over_y = np.einsum("rkj,ri->kij", by_column, row_on * above)
    over_y += np.einsum("rkj,ri->kij", np.einsum("rkw,wj->rkj", slope, column_on), row_on)
    return np.stack([over_x, over_y], axis=1), constant.sum((0, 2))


# ---- At a pixel ------------------------------------------------------------------------------------------------------


@inlined
def begin(constant: Any, slope: Any, row: Any) -> Any:
    """The response before any tap and before the rectification: what bias and coordinates give in this row."""
    return fma(row, slope, constant)


@inlined
def absorb(response: Any, value: Any, weight: Any) -> Any:
    """The response after one more tap."""
    return fma(value, weight, response)


@inlined
def rectify(response: Any) -> Any:
    """relu, which keeps NaN on both targets (in this order)."""
    return select(response < like(response, 0), like(response, 0), response)


@inlined
def gate(response: Any, gradient: Any) -> Any:
    """The gradient of `rectify`: zero where the response is not positive, also at zero; NaN lets it pass."""
    return select(response <= like(response, 0), like(gradient, 0), gradient)


# ---- Over a map ------------------------------------------------------------------------------------------------------


@inlined
def add(state: Any, value: Any) -> Any:
    """The (sum, rest) after one more value."""
    total, lost = two_sum(state[0], value)
    return total, state[1] + lost


@inlined
def merge(a: Any, b: Any) -> Any:
    """The (sum, rest) of what both have seen."""
    total, lost = two_sum(a[0], b[0])
    return total, (a[1] + b[1]) + lost


@inlined
def _known(rest: Any) -> Any:
    return select(rest == rest, rest, like(rest, 0))  # an infinite sum has no rest


@inlined
def total(state: Any) -> Any:
    """The number that is a (sum, rest)."""
    return state[0] + _known(state[1])


@inlined
def read_out(output: Any, state: Any, weight: Any) -> Any:
    """The (sum, rest) of an output, which begins with (offset, 0), after one more feature's (sum, rest)."""
    takes_part = weight != like(weight, 0)
    value, value_rest = select(takes_part, state[0], like(weight, 0)), select(takes_part, state[1], like(weight, 0))
    product = weight * value
    lost = _known(fma(weight, value, -product)) + weight * _known(value_rest)
    total, rest = two_sum(output[0], product)
    return total, output[1] + (_known(rest) + lost)


@inlined
def finish(output: Any) -> Any:
    """The number that is an output's (sum, rest)."""
    return output[0] + output[1]
