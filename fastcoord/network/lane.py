"""What a lane of a GPU does with the pixels it visits and the features it holds, for four rows at a time.

Features are in registers, which have no index: they are tuples, and a function of a tuple is made for the number of
features, of which each calls itself for the others.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from fastcoord._compile import inlined
from fastcoord._lanes import GROUP, WARP
from fastcoord._vector import convert, like, select
from fastcoord._wide import load_four, load_two
from fastcoord.network.formula import absorb, add, begin, gate, merge, rectify, row_class


@inlined
def item(array: Any, at: Any) -> Any:
    """`array[at]`, where `at` is never negative: Numba would ask."""
    return array[np.uint64(at)]


@inlined
def _one(array: Any, at: Any) -> Any:
    return (array[np.uint64(at)],)


class _Group(NamedTuple):
    """Functions of so many features, for four rows of a column."""

    begin: Any  # (a, b, c, d, rows): the responses before the first tap, from each row's (constant, slope, …)
    absorb: Any  # (responses, values, weights): the responses after one more tap
    add: Any  # (states, responses, are_there): the (sum, rest, sum, rest, …) after four more pixels
    merge: Any  # (states, states)
    nothing: Any  # (zero): the states before any pixel
    keep: Any  # (states, place, at): write them
    gate: Any  # (responses, are_there, gradients, at, place, there, apart): write the gradients where responses pass
    collect: Any  # (sums, value, place, at, apart): the sums after one more value times what `gate` wrote
    zeros: Any  # (zero): sums of nothing
    add_sums: Any  # (states, sums): the states after the sums
    accumulate: Any  # (states, place, at, is_first): merge the states with those that are kept, or write them


@functools.cache
def group_of_features(features: int) -> _Group:
    """What is done to so many features at once."""

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

    @inlined
    def gate_one(responses: Any, are_there: Any, gradients: Any, at: Any, place: Any, there: Any, apart: int) -> None:
        a, b, c, d = responses[0]
        g = item(gradients, at)
        zero = like(a, 0)
        place[np.uint64(there)] = select(are_there[0], gate(a, g), zero)
        place[np.uint64(there + WARP)] = select(are_there[1], gate(b, g), zero)
        place[np.uint64(there + 2 * WARP)] = select(are_there[2], gate(c, g), zero)
        place[np.uint64(there + 3 * WARP)] = select(are_there[3], gate(d, g), zero)

    @inlined
    def collect_one(sums: Any, value: Any, place: Any, at: Any, apart: int) -> Any:
        return (absorb(sums[0], value, item(place, at)),)

    @inlined
    def add_sums_one(states: Any, sums: Any) -> Any:
        return add(states[:2], sums[0])

    @inlined
    def accumulate_one(states: Any, place: Any, at: Any, is_first: Any) -> None:
        zero = like(states[0], 0)
        before = zero if is_first else item(place, at), zero if is_first else item(place, at + 1)
        state = merge(before, states[:2])
        place[np.uint64(at)] = state[0]
        place[np.uint64(at + 1)] = state[1]

    @inlined
    def zeros_one(zero: Any) -> Any:
        return (zero,)

    if features == 1:
        first = begin_one, absorb_one, add_one, merge_one, nothing_one, keep_one
        return _Group(*first, gate_one, collect_one, zeros_one, add_sums_one, accumulate_one)
    others = group_of_features(features - 1)
    begin_others, absorb_others, add_others, merge_others, nothing_others, keep_others = others[:6]
    gate_others, collect_others, zeros_others, add_sums_others, accumulate_others = others[6:]

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

    @inlined
    def gate_all(responses: Any, are_there: Any, gradients: Any, at: Any, place: Any, there: Any, apart: int) -> None:
        gate_one(responses, are_there, gradients, at, place, there, apart)
        gate_others(responses[1:], are_there, gradients, at + 1, place, there + apart, apart)

    @inlined
    def collect_all(sums: Any, value: Any, place: Any, at: Any, apart: int) -> Any:
        some = collect_one(sums, value, place, at, apart)
        return some + collect_others(sums[1:], value, place, at + apart, apart)

    @inlined
    def add_sums_all(states: Any, sums: Any) -> Any:
        return add_sums_one(states, sums) + add_sums_others(states[2:], sums[1:])

    @inlined
    def accumulate_all(states: Any, place: Any, at: Any, is_first: Any) -> None:
        accumulate_one(states, place, at, is_first)
        accumulate_others(states[2:], place, at + 2, is_first)

    @inlined
    def zeros_all(zero: Any) -> Any:
        return zeros_one(zero) + zeros_others(zero)

    all_of_first = begin_all, absorb_all, add_all, merge_all, nothing_all, keep_all
    return _Group(*all_of_first, gate_all, collect_all, zeros_all, add_sums_all, accumulate_all)


def several(count: int, number: Any) -> Any:
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


@inlined
def rows_from(row: Any, unit: Any) -> Any:
    """The numbers of four rows."""
    first = convert(np.int32(row), unit)
    return first, first + unit, first + (unit + unit), first + (unit + unit + unit)


@inlined
def table_at(row: Any, column: Any, layout: Any, sizes: Any, feature: Any) -> Any:
    """Where the tables say what a feature begins with in a row (the nearest one, if there is none) and a column."""
    of_row = row_class(max(min(row, layout.rows - 1), 0), layout.rows, sizes.border)
    return sizes.tables + ((of_row * layout.columns + column) * sizes.padded + feature) * 2


# ---- Kernels that have only their centre -----------------------------------------------------------------------------


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
            item(numbers, place),
            item(numbers, place + apart),
            item(numbers, place + 2 * apart),
            item(numbers, place + 3 * apart),
        )
        # that of every column: no tap of the coordinates' leaves the map
        slope, weight = item(numbers, place + 1), weights[0]
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


def column_adder(features: int, items: int) -> Any:
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
    add_half = column_adder(features, half)

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
