"""`encode.box`: what must hold of it whatever the reference says, and what it shares with the other encoders."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcoord as fc
from fastcoord import _lines, _points
from fastcoord.encode._box import formula
from fastcoord.encode._box.reference import network
from tests.cases import PIXEL_TYPES, points_within, random

small = pytest.mark.small

extents = st.integers(1, 40)
sides = st.integers(0, 50).map(lambda radius: 2 * radius + 1)


@st.composite
def calls(draw):
    """(xy, shape, size): a batch of pixels of a canvas, and a side."""
    height, width, count = draw(extents), draw(extents), draw(st.integers(1, 7))
    pixels = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return np.array(draw(st.lists(pixels, min_size=count, max_size=count))), (height, width), draw(sides)


def plain(xy, shape, size, value, dtype):
    """The line of the docstring, for a batch of pixels."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y = xy[:, 0, None, None], xy[:, 1, None, None]
    return np.where(np.maximum(abs(columns - x), abs(rows - y)) <= size // 2, value, 0).astype(dtype)


@small
@given(calls(), st.sampled_from(PIXEL_TYPES))
def test_it_is_the_line_of_the_docstring(call, dtype):
    xy, shape, size = call
    value = True if dtype == "bool" else 100
    images = fc.encode.box(xy, shape=shape, size=size, value=value, dtype=dtype)
    np.testing.assert_array_equal(images, plain(xy, shape, size, value, dtype))


@small
@given(calls(), st.sampled_from(PIXEL_TYPES))
def test_a_side_of_one_is_onehot(call, dtype):
    xy, shape, _size = call
    images = fc.encode.box(xy, shape=shape, size=1, dtype=dtype)
    np.testing.assert_array_equal(images, fc.encode.onehot(xy, shape=shape, dtype=dtype))


@small
@given(calls(), st.randoms(use_true_random=False))
def test_a_permuted_batch_has_permuted_images(call, order):
    xy, shape, size = call
    numbers = list(range(len(xy)))
    order.shuffle(numbers)
    images = fc.encode.box(xy, shape=shape, size=size)
    np.testing.assert_array_equal(fc.encode.box(xy[numbers], shape=shape, size=size), images[numbers])


@small
@given(calls(), st.integers(0, 5), st.integers(0, 5))
def test_on_a_larger_canvas_it_is_the_same_square_moved(call, right, down):
    xy, (height, width), size = call
    images = fc.encode.box(xy, shape=(height, width), size=size)
    larger = fc.encode.box(xy + (right, down), shape=(height + down + 3, width + right + 2), size=size)
    np.testing.assert_array_equal(larger[:, down : down + height, right : right + width], images)


@small
@given(calls())
def test_transposed(call):
    xy, (height, width), size = call
    images = fc.encode.box(xy, shape=(height, width), size=size)
    across = fc.encode.box(xy[:, ::-1], shape=(width, height), size=size)
    np.testing.assert_array_equal(across.swapaxes(1, 2), images)


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_every_centre_of_a_canvas_and_the_middle_of_its_square(dtype):
    rows, columns = np.mgrid[4:66, 4:96]
    xy = np.stack([columns, rows], axis=-1)
    images = fc.encode.box(xy, shape=(70, 100), dtype=dtype)
    assert (np.count_nonzero(images, axis=(-2, -1)) == 81).all()
    along_x, along_y = images.any(axis=-2), images.any(axis=-1)
    for along, middle in ((along_x, columns), (along_y, rows)):
        np.testing.assert_array_equal(along.argmax(axis=-1), middle - 4)
        np.testing.assert_array_equal(along.sum(axis=-1), 9)


@small
@pytest.mark.parametrize("extent", [1, 2, 5, 9])
def test_spans_are_the_network(extent):
    for centre in range(extent):
        for radius in range(12):
            first, end = formula.span(centre, radius, extent)
            inside = [int(formula.within(index, first, end)) for index in range(extent)]
            assert inside == network(centre, 0, 1, extent, radius)[0].tolist()
            assert inside == network(0, centre, extent, 1, radius)[:, 0].tolist()
            lanes = np.arange(extent)
            assert formula.within(lanes, first, end).tolist() == [bool(lane) for lane in inside]


# Every way to divide the work, and every place of a line


@small
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 13), (8, 64)])
def test_any_division_into_tasks(monkeypatch, shape):
    numbers = random(f"tasks {shape}")
    xy = numbers.integers(0, shape[::-1], size=(11, 2))
    wanted = plain(xy, shape, 5, 7, "uint8")
    for task in (1, 7, 100, 5000):
        for most in (1, 3, 4096):
            for stream in (0, 1 << 60):
                for name, number in (("TASK", task), ("MAPS", most), ("STREAM", stream), ("AT_ONCE", 2)):
                    monkeypatch.setattr(_lines, name, number)
                images = fc.encode.box(xy, shape=shape, size=5, value=7, dtype="uint8")
                np.testing.assert_array_equal(images, wanted)


@small
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("stream", [0, 1 << 60])
def test_any_place_of_the_first_pixel_in_a_cache_line(monkeypatch, dtype, stream):
    monkeypatch.setattr(_lines, "STREAM", stream)
    xy, shape = np.array([[0, 0], [6, 2], [3, 1], [1, 2]]), (3, 7)
    wanted = plain(xy, shape, 3, 9, dtype)
    memory = np.zeros(256 + wanted.size, dtype)
    for place in range(128 // memory.itemsize):
        memory[:] = 77
        out = memory[place : place + wanted.size].reshape(wanted.shape)
        fc.encode.box(xy, shape=shape, size=3, value=9, dtype=dtype, out=out)
        np.testing.assert_array_equal(out, wanted)
        assert (memory[:place] == 77).all()
        assert (memory[place + wanted.size :] == 77).all()


# Side and value


@small
@pytest.mark.parametrize("size", [2.0, 3.5, "3", None, (3,), np.float32(3)], ids=repr)
def test_a_side_of_a_wrong_type(size):
    with pytest.raises(TypeError, match=re.escape(f"size: expected an odd integer; got {size!r}")):
        fc.encode.box([1, 1], shape=(3, 4), size=size)


@small
@pytest.mark.parametrize("size", [0, -1, -3, 2, 4, 1 << 70], ids=repr)
def test_a_side_that_is_not_odd(size):
    with pytest.raises(ValueError, match=f"size: expected an odd integer of at least 1; got {size}"):
        fc.encode.box([1, 1], shape=(3, 4), size=size)


@small
@pytest.mark.parametrize("size", [np.int8(101), (1 << 70) + 1, 201])
def test_a_side_beyond_every_canvas(size):
    assert (fc.encode.box([[1, 1], [0, 2], [3, 0]], shape=(3, 4), size=size) == 1).all()


@small
@pytest.mark.parametrize("value", ["1", None, 1j, [1], np.ones(1), np.complex64(1), b"1"], ids=repr)
def test_a_value_of_a_wrong_type(value):
    with pytest.raises(TypeError, match=re.escape(f"value: expected a number; got {value!r}")):
        fc.encode.box([1, 1], shape=(3, 4), value=value)


_HELD = [
    *(("uint8", value) for value in (0, 255, 128.0, True, np.float32(3), np.uint64(255))),
    *(("int8", value) for value in (-128, 127)),
    *(("int64", value) for value in (-(2**63), 2**63 - 1, 2.0**62)),
    *(("bool", value) for value in (0, 1, True, False, 1.0, np.True_)),
    *(
        ("float32", value)
        for value in (0.1, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 2**24 + 1, np.float64(0.1), np.True_)
    ),
    *(("float64", value) for value in (0.1, 1e308, 2**70, np.longdouble(3))),
]
_NOT_HELD = [
    *(("uint8", value) for value in (256, -1, 0.5, np.nan, np.inf, -np.inf, 10**30, np.int64(-1))),
    *(("int8", value) for value in (128, -129, 1e9)),
    *(("int64", value) for value in (2**63, -(2**63) - 1, 2.0**63, np.nan)),
    *(("bool", value) for value in (2, -1, 0.5, np.nan)),
    *(("float32", value) for value in (3.5e38, -1e39, 10**400)),
    ("float64", 10**400),
]


@small
@pytest.mark.parametrize(("dtype", "value"), _HELD, ids=repr)
def test_a_value_that_the_type_holds(dtype, value):
    image = fc.encode.box([1, 1], shape=(3, 4), size=3, value=value, dtype=dtype)
    wanted = np.zeros((3, 4), dtype)
    wanted[:, :3] = value
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, wanted)
    np.testing.assert_array_equal(np.signbit(image[:, :3].astype(float)), np.signbit(np.float64(value)))


@small
@pytest.mark.parametrize(("dtype", "value"), _NOT_HELD, ids=lambda value: repr(value)[:20])
def test_a_value_that_the_type_does_not_hold(dtype, value):
    out = np.full((3, 4), 1, dtype)
    expected = re.escape(f"value: expected a value that {dtype} can hold; got {value!r}")
    with pytest.raises(ValueError, match=expected):
        fc.encode.box([1, 1], shape=(3, 4), value=value, dtype=dtype, out=out)
    assert (out == 1).all()


@small
def test_the_centre_decides():
    """A square whose centre is beyond the border is missing, though a part of it would lie on the canvas."""
    maps, weight = fc.encode.box([[-0.6, 1], [-0.5, 1]], shape=(3, 4), size=3, return_weight=True)
    assert weight.tolist() == [0, 1]
    assert maps.sum(axis=(1, 2)).tolist() == [0, 6]


# The search for a point that is not on the canvas


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("extents", [(1, 1), (7, 9), (2**23 + 3, 5), (5, 2**24 + 1), (2**30, 2**31)])
def test_the_search_finds_what_has_no_nearest_pixel(dtype, extents):
    height, width = extents
    kind = np.dtype(dtype).type
    edges = [np.nan, np.inf, -np.inf, 0, -0.5, np.nextafter(kind(-0.5), kind(-1)), 1e30]
    for extent in extents:
        for edge in (extent - 1, extent - 0.5, extent):
            near = kind(edge)
            edges += [near, np.nextafter(near, kind(-1)), np.nextafter(near, kind(np.inf))]
    points = np.stack(np.meshgrid(edges, edges), axis=-1).astype(dtype).reshape(-1, 2)
    for point in points:
        is_outside = any(
            _points.nearest(position, extent) == _points.NOWHERE
            for position, extent in zip(point, (width, height), strict=True)
        )
        assert _points.first_outside(point, height, width) == (0 if is_outside else -1), point


@small
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 23])
def test_the_search_finds_the_first_one_at_every_place(count):
    for place in range(count):
        for spoilt in (0, 1):
            points = points_within((count,), 7, 9)
            points[place:, spoilt] = -1
            assert _points.first_outside(points.reshape(-1), 7, 9) == place
    assert _points.first_outside(points_within((count,), 7, 9).reshape(-1), 7, 9) == -1
