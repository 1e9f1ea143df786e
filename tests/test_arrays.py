"""`_arrays.maps`: whatever the strides, its numbers lead to the pixels, and to nothing else."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcoord import _arrays
from tests.cases import images

pytestmark = pytest.mark.small

_IMAGES = [case for case in images() if case.is_small]


def offsets(maps):
    """Where in the flat memory each pixel (map, row, column) stands, as a kernel finds it."""
    numbers = np.arange(maps.count)
    outer, inner = np.divmod(numbers, maps.inner_count)
    first = [start + outer * maps.outer_stride + inner * maps.inner_stride for start in maps.starts]
    first = np.concatenate(first).astype(np.int64)
    rows = np.arange(maps.height) * maps.row_stride
    columns = np.arange(maps.width) * maps.column_stride
    return first[:, None, None] + rows[:, None] + columns


def as_maps(array, axes=(-2, -1)):
    """The maps of an array, one after the other, by NumPy's own means."""
    moved = np.moveaxis(array, axes, (-2, -1))
    return moved.reshape(-1, *moved.shape[-2:])


def byte_type(array):
    return array.view(np.uint8) if array.dtype == bool else array


@pytest.mark.parametrize("case", _IMAGES, ids=str)
def test_every_pixel_is_found(case):
    array = _arrays.pixel_array("images", *case.arguments, halves=True)
    maps = _arrays.maps("images", array, case.options.get("axes", (-2, -1)))
    where = offsets(maps)
    assert maps.memory.ndim == 1
    assert maps.memory.flags.c_contiguous
    assert maps.memory.flags.aligned
    assert not maps.memory.flags.writeable
    assert where.size == array.size
    if array.size:
        assert where.min() >= 0
        assert where.max() < maps.memory.size
        # no element more than the array reaches: a kernel may read ahead within the memory
        assert where.min() == 0
        assert where.max() == maps.memory.size - 1
    wanted = byte_type(as_maps(array, **case.options))
    np.testing.assert_array_equal(maps.memory[where], wanted)
    assert maps.batch == np.moveaxis(array, case.options.get("axes", (-2, -1)), (-2, -1)).shape[:-2]


@pytest.mark.parametrize("case", _IMAGES, ids=str)
def test_nothing_is_copied_that_can_be_read_in_place(case):
    (array,) = case.arguments
    maps = _arrays.maps("images", array, case.options.get("axes", (-2, -1)))
    needs_copy = not array.flags.aligned or any(stride % array.itemsize for stride in array.strides)
    if array.size:
        assert np.shares_memory(maps.memory, array) != needs_copy


@pytest.mark.parametrize(
    ("batch", "slices", "starts"),
    [
        ((), (), 1),
        ((4,), (np.s_[::2],), 1),
        ((4, 6), (np.s_[:], np.s_[:]), 1),
        ((4, 6), (np.s_[::2], np.s_[::2]), 1),
        ((4, 6, 2), (np.s_[::2], np.s_[:], np.s_[:]), 1),
        ((4, 6, 2), (np.s_[:], np.s_[::2], np.s_[:]), 1),
        ((4, 6, 2), (np.s_[:], np.s_[:], np.s_[::2]), 1),
        ((4, 6, 5), (np.s_[::2], np.s_[::2], np.s_[::2]), 2),
        ((4, 6, 5), (np.s_[::-1], np.s_[::2], np.s_[::2]), 4),
        ((4, 6, 5, 4), (np.s_[::2], np.s_[::2], np.s_[::2], np.s_[::2]), 6),
        ((4, 1, 6, 1, 5), (np.s_[::2], 0, np.s_[::2], np.s_[:], np.s_[::2]), 2),
    ],
)
def test_as_few_starts_as_can_be(batch, slices, starts):
    array = np.arange(np.prod(batch, dtype=int) * 6).reshape(*batch, 2, 3)[slices]
    # a crop, so that no axis of the batch is contiguous with the rows
    maps = _arrays.maps("images", array, (-2, -1))
    assert len(maps.starts) <= starts
    np.testing.assert_array_equal(maps.memory[offsets(maps)], as_maps(array))


@given(st.data())
def test_any_view(data):
    ndim = data.draw(st.integers(2, 5))
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * ndim))
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    array = array.transpose(data.draw(st.permutations(range(ndim))))
    steps = data.draw(st.tuples(*[st.sampled_from([1, 1, 2, -1, -2])] * ndim))
    array = array[tuple(slice(None, None, step) for step in steps)]
    for axis in data.draw(st.sets(st.integers(0, ndim - 1), max_size=1)):
        first = array[(slice(None),) * axis + (slice(0, 1),)]
        array = np.broadcast_to(first, array.shape)
    axes = tuple(data.draw(st.permutations(range(ndim)))[:2])
    maps = _arrays.maps("images", array, axes)
    np.testing.assert_array_equal(maps.memory[offsets(maps)], as_maps(array, axes))


@given(st.data())
def test_what_is_written_arrives(data):
    ndim = data.draw(st.integers(2, 4))
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * ndim))
    memory = np.zeros(tuple(2 * n + 1 for n in shape), np.int32)
    steps = data.draw(st.tuples(*[st.sampled_from([1, 2, -1, -2])] * ndim))
    view = memory[
        tuple(
            slice(1, 2 * n, step) if step > 0 else slice(2 * n - 1, 0, step)
            for n, step in zip(shape, steps, strict=True)
        )
    ]
    maps = _arrays.maps("out", view, (-2, -1), for_writing=True)
    where = offsets(maps)
    maps.memory[where.reshape(-1)] = np.arange(1, where.size + 1)
    np.testing.assert_array_equal(view.reshape(-1), np.arange(1, view.size + 1))
    assert np.count_nonzero(memory) == view.size


def test_reading_leaves_the_callers_array_writable():
    for array in (np.zeros((2, 3, 4)), np.zeros((2, 3, 8))[..., ::2]):
        assert not _arrays.maps("images", array, (-2, -1)).memory.flags.writeable
        assert array.flags.writeable


def test_axes_in_every_order():
    array = np.arange(24).reshape(2, 3, 4)
    for axes in itertools.permutations(range(3), 2):
        for shifted in (axes, (axes[0] - 3, axes[1]), (axes[0], axes[1] - 3)):
            maps = _arrays.maps("images", array, shifted)
            np.testing.assert_array_equal(maps.memory[offsets(maps)], as_maps(array, axes))
            batch, height, width = maps.batch, maps.height, maps.width
            assert _arrays.batch_with_canvas(batch, height, width, shifted) == array.shape


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
@pytest.mark.parametrize("strided", [False, True])
def test_flat_and_write_back(shape, strided):
    whole = np.full(tuple(2 * n for n in shape), 7, np.int32)
    array = whole[(..., *[slice(None, None, 2)] * len(shape))] if strided else np.full(shape, 7, np.int32)
    written = _arrays.flat(array)
    assert written.shape == (array.size,)
    written[:] = np.arange(array.size)
    _arrays.write_back(written, array)
    np.testing.assert_array_equal(array.reshape(-1), np.arange(array.size))
    if strided and shape and array.size:
        assert np.count_nonzero(whole == 7) >= whole.size - array.size
