"""`decode.onehot` and `encode.onehot`: what must hold of them whatever the reference says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import fastcoord as fc
from fastcoord.decode._onehot import formula
from fastcoord.encode._onehot import formula as encode_formula
from tests.agreement import assert_agrees
from tests.cases import PIXEL_TYPES, dense, points_within
from tests.operations import OPERATIONS

DECODE = next(operation for operation in OPERATIONS if operation.name == "decode.onehot")
ENCODE = next(operation for operation in OPERATIONS if operation.name == "encode.onehot")
EMPTY, NAN, MULTIPLE, NOT_UNIT = (fc.Status[name] for name in ("EMPTY", "NAN", "MULTIPLE", "NOT_UNIT"))

small = pytest.mark.small

extents = st.integers(1, 40)
batches = npst.array_shapes(min_dims=0, max_dims=3, max_side=3)


@st.composite
def pixels_of_canvases(draw):
    """(height, width), and an integer array (..., 2) of pixels."""
    height, width = draw(extents), draw(extents)
    batch = draw(batches)
    pixels = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    xy = draw(st.lists(pixels, min_size=int(np.prod(batch)), max_size=int(np.prod(batch))))
    return (height, width), np.array(xy).reshape(*batch, 2)


# There and back


@small
@given(pixels_of_canvases(), st.sampled_from(PIXEL_TYPES))
def test_decoding_undoes_encoding(canvas_and_xy, dtype):
    shape, xy = canvas_and_xy
    decoded = fc.decode.onehot(fc.encode.onehot(xy, shape=shape, dtype=dtype))
    np.testing.assert_array_equal(decoded.xy, xy)
    assert (decoded.score == 1).all()
    assert (decoded.status == 0).all()


@small
@given(pixels_of_canvases(), st.floats(-0.5, 0.5, exclude_max=True), st.floats(-0.5, 0.5, exclude_max=True))
def test_encoding_takes_the_nearest_pixel(canvas_and_xy, right, down):
    shape, xy = canvas_and_xy
    near = xy + np.array([right, down])
    # The sum may have been rounded up to the middle, which belongs to the next pixel
    near = np.where(near - xy >= 0.5, np.nextafter(xy + 0.5, 0), near)
    np.testing.assert_array_equal(fc.encode.onehot(near, shape=shape), fc.encode.onehot(xy, shape=shape))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_all_positions_of_the_posts_image(dtype):
    height, width = 70, 100
    rows, columns = np.divmod(np.arange(height * width), width)
    xy = np.stack([columns, rows], -1)
    step = 1000  # images at a time
    for start in range(0, len(xy), step):
        some = xy[start : start + step]
        images = np.zeros((step, height, width), dtype)
        images[np.arange(step), some[:, 1], some[:, 0]] = 1
        decoded = fc.decode.onehot(images)
        np.testing.assert_array_equal(decoded.xy, some)
        assert not decoded.status.any()
        np.testing.assert_array_equal(fc.encode.onehot(some, shape=(height, width), dtype=dtype), images)


@small
@given(pixels_of_canvases(), st.integers(0, 5), st.integers(0, 5))
def test_shifted_images_have_shifted_coordinates(canvas_and_xy, right, down):
    (height, width), xy = canvas_and_xy
    images = fc.encode.onehot(xy, shape=(height, width))
    shifted = np.zeros((*images.shape[:-2], height + down, width + right), np.float32)
    shifted[..., down:, right:] = images
    np.testing.assert_array_equal(
        fc.decode.onehot(shifted).xy - fc.decode.onehot(images).xy, np.full(xy.shape, [right, down])
    )


@small
@given(st.permutations(range(5)), st.sampled_from(["float32", "int16"]))
def test_a_permuted_batch_has_permuted_results(order, dtype):
    images = dense((5, 6, 7), dtype)
    decoded, permuted = fc.decode.onehot(images), fc.decode.onehot(images[list(order)])
    for one, other in ((decoded.xy, permuted.xy), (decoded.score, permuted.score), (decoded.status, permuted.status)):
        np.testing.assert_array_equal(one[list(order)], other)


@small
@given(st.permutations(range(5)))
def test_a_permuted_batch_of_points_has_permuted_images(order):
    xy = points_within((5,), 6, 7)
    images = fc.encode.onehot(xy, shape=(6, 7))
    np.testing.assert_array_equal(fc.encode.onehot(xy[list(order)], shape=(6, 7)), images[list(order)])


# Any image is an input of the network

_finite = {"allow_nan": False, "allow_infinity": False, "width": 32}
_values = {
    "float32": st.floats(-2, 2, **_finite),
    "wide float32": st.floats(**_finite),
    "any float32": st.floats(width=32),
    "uint8": st.integers(0, 255),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "bool": st.booleans(),
}


@small
@pytest.mark.parametrize("kind", _values)
@given(data=st.data())
def test_any_image(kind, data):
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=20))
    images = data.draw(npst.arrays(kind.split()[-1], shape, elements=_values[kind]))
    assert_agrees(DECODE, fc.decode.onehot(images), (images,), {})


@small
@given(
    npst.arrays("float64", npst.array_shapes(max_dims=2, max_side=4).map(lambda s: (*s, 2)), elements=st.floats()),
    *(extents, extents),
)
def test_any_points(xy, height, width):
    options = {"shape": (height, width), "return_weight": True}
    assert_agrees(ENCODE, fc.encode.onehot(xy, **options), (xy,), options)


@small
@given(npst.arrays("float64", (4, 5), elements=st.floats(0.2, 1)), st.floats(1, 4))
def test_twice_the_light_moves_the_answer_in_proportion(image, factor):
    """Where every pixel of the first row and column passes, the rectifications are linear in the image."""
    image[:, 1:] = image[1:] = 0  # then x = W − W·a, y = H − H·a
    before, after = fc.decode.onehot(image).xy, fc.decode.onehot(image * factor).xy
    np.testing.assert_allclose((5 - after[0], 4 - after[1]), (factor * (5 - before[0]), factor * (4 - before[1])))


@small
def test_formula_pixel_by_pixel_is_the_network():
    image = dense((4, 6), "float64")
    one = np.float64(1)
    height, width = 4 * one, 6 * one
    halves = []
    for rows in (range(2), range(2, 4)):
        state, census = formula.nothing(0 * one), formula.nobody(0 * one)
        for row in rows:
            for column in range(6):
                value = image[row, column]
                state = formula.absorb(state, value, column * one, row * one, width, height)
                census = formula.count(census, value)
        halves.append((state, census))
    state = formula.merge(halves[0][0], halves[1][0])
    census = formula.merge_census(halves[0][1], halves[1][1])
    x, y, score, status = formula.finish(state, census, width, height)
    result = fc.Decoded(np.array([x, y]), np.array(score), None, np.array(status, np.int32))
    assert_agrees(DECODE, result, (image,), {})


@small
def test_formula_of_encoding_is_one_at_the_point_and_zero_elsewhere():
    for x, y in ((0, 0), (3, 1), (4, 2)):
        for row in range(3):
            for column in range(5):
                assert encode_formula.response(column, row, x, y) == ((column, row) == (x, y))


# Rounding and borders

_below, _above = np.float64(0), np.float64(1e9)
_ROUNDED = [
    *((-0.5, 0), (-0.25, 0), (-0.0, 0), (0.25, 0), (0.5, 1), (1.5, 2), (2.5, 3), (2.4999998, 2), (3.49, 3)),
    *((np.float32(0.49999997), 0), (np.nextafter(np.float64(0.5), _below), 0), (8.0, 8), (8.25, 8)),
    *((np.nextafter(np.float64(8.5), _below), 8), (np.nextafter(np.float32(8.5), np.float32(0)), 8)),
    *((np.nextafter(np.float64(1.5), _below), 1), (np.nextafter(np.float32(1.5), np.float32(0)), 1)),
]
_OUTSIDE = [
    *(8.5, 9, 1e9, 1e300, -1, -0.50001, np.nan, np.inf, -np.inf, 2.0**63, -(2.0**63), 2.0**64),
    *(np.nextafter(np.float64(-0.5), -_above), np.nextafter(np.float32(-0.5), np.float32(-1))),
]


def _types_that_hold(position):
    return [dtype for dtype in (np.float32, np.float64) if np.array_equal(dtype(position), position, equal_nan=True)]


@small
@pytest.mark.parametrize(("position", "pixel"), _ROUNDED, ids=repr)
def test_positions_are_rounded_half_up(position, pixel):
    with np.errstate(over="ignore"):
        types = _types_that_hold(position)
    for dtype in types:
        for axis, shape in ((0, (1, 9)), (1, (9, 1))):
            xy = np.zeros(2, dtype)
            xy[axis] = position
            image, weight = fc.encode.onehot(xy, shape=shape, return_weight=True)
            np.testing.assert_array_equal(image.reshape(-1), np.arange(9) == pixel)
            assert weight == 1


@small
@pytest.mark.parametrize("position", _OUTSIDE, ids=repr)
def test_positions_outside(position):
    with np.errstate(over="ignore"):
        types = _types_that_hold(position)
    for dtype in types:
        for axis, shape in ((0, (1, 9)), (1, (9, 1))):
            xy = np.zeros(2, dtype)
            xy[axis] = position
            image, weight = fc.encode.onehot(xy, shape=shape, return_weight=True)
            assert not image.any()
            assert weight == 0
            with pytest.raises(ValueError, match="xy: expected"):
                fc.encode.onehot(xy, shape=shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_positions_far_out_on_a_wide_canvas(dtype):
    """Where position + ½ is no longer a float32, and where half pixels are not."""
    width = (1 << 24) + 3
    image = np.empty((1, width), np.uint8)
    for position, pixel in (
        *((4194303.75, 4194304), (8388607.5, 8388608), (8388609, 8388609), (16777215, 16777215), (16777216, 16777216)),
        *((16777218, 16777218), (8388606.5, 8388607)),
    ):
        fc.encode.onehot(np.array([position, 0], dtype), shape=(1, width), dtype=np.uint8, out=image)
        assert np.flatnonzero(image).tolist() == [pixel]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_last_pixel_of_more_than_a_float32_counts(dtype):
    shape = (4099, 4097)
    image = fc.encode.onehot([4096, 4098], shape=shape, dtype=dtype)
    assert np.count_nonzero(image) == 1
    assert image[-1, -1] == 1
    np.testing.assert_array_equal(fc.decode.onehot(image).xy, [4096, 4098])


# Bytes

_WIDE = [
    (1, 4096),
    (4096, 1),
    (3, 5000),
    (5000, 3),
    (64, 64),
    (17, 4095),
    (4096, 40),
    (40, 4096),
    (2, 4097),
    (300, 4500),
]


def _exact(image):
    """(x, y) in integers, rounded once."""
    height, width = image.shape
    a = image.astype(np.int64)
    x = width - np.maximum(width * a - np.arange(width), 0).sum()
    y = height - np.maximum(height * a - np.arange(height)[:, None], 0).sum()
    return np.array([x, y])


@pytest.mark.parametrize("shape", _WIDE, ids=lambda shape: "{}x{}".format(*shape))
def test_bytes_are_summed_exactly(shape):
    full = np.full(shape, 255, np.uint8)
    random = dense(shape, "uint8")
    for image in (full, random, np.where(random < 30, random, 0).astype(np.uint8)):
        exact, xy = _exact(image), fc.decode.onehot(image).xy
        # the last two subtractions each round once
        assert (np.abs(xy.astype(np.float64) - exact) <= np.spacing(np.abs(exact).astype(np.float32))).all()
    few = np.zeros(shape, np.uint8)
    few[0, :3] = few[-1, -1:] = 255
    exact = _exact(few)
    assert (np.abs(exact) < 2**24).all()
    np.testing.assert_array_equal(fc.decode.onehot(few).xy, exact)


# Status

_n, _i = np.nan, np.inf
_STATUS = [
    ([0, 0, 0], EMPTY),
    ([0, -1, -2], EMPTY),
    ([-0.0, 0, -_i], EMPTY),
    ([0, 1, 0], 0),
    ([-5, 1, -_i], 0),
    ([0, 2, 0], NOT_UNIT),
    ([0, 0.5, 0], NOT_UNIT),
    ([0, _i, 0], NOT_UNIT),
    ([1, 1, 0], MULTIPLE),
    ([1, 1, 1], MULTIPLE),
    ([1, 0.5, 0], MULTIPLE | NOT_UNIT),
    ([1, 2, 0], MULTIPLE | NOT_UNIT),
    ([0.5, 0.5, 0.5], MULTIPLE | NOT_UNIT),
    ([_i, _i, 1], MULTIPLE | NOT_UNIT),
    ([_n, 0, 0], NAN),
    ([0, 1, _n], NAN),
    ([_n, _n, _n], NAN),
    ([2, 1, _n], NAN),
    ([_i, -_i, _n], NAN),
]


@small
@pytest.mark.parametrize(("pixels", "status"), _STATUS, ids=lambda value: repr(value))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_status(pixels, status, dtype):
    alone = np.array([pixels], dtype)
    spread = np.zeros((20, 40), dtype)  # over several vectors and cache lines
    spread[0, 5], spread[9, 20], spread[19, 39] = pixels
    for image in (alone, alone.T, spread, spread[:, ::-1], spread.T):
        decoded = fc.decode.onehot(image)
        assert fc.Status(int(decoded.status)) == fc.Status(status)
        if status == NAN:
            assert np.isnan(decoded.xy).all()
            assert np.isnan(decoded.score)
        else:
            assert decoded.score == image.max()


@small
@pytest.mark.parametrize("dtype", PIXEL_TYPES)
@pytest.mark.parametrize(("shape"), [(1, 1), (4, 6), (3, 70)], ids=repr)
def test_nothing_gives_width_and_height(dtype, shape):
    decoded = fc.decode.onehot(np.zeros(shape, dtype))
    np.testing.assert_array_equal(decoded.xy, shape[::-1])
    assert decoded.score == 0
    assert decoded.status == EMPTY


@small
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_extremes_of_integers(dtype):
    limits = np.iinfo(dtype)
    decoded = fc.decode.onehot(np.full((2, 3), limits.min, dtype))
    assert decoded.status == EMPTY
    assert decoded.score == np.float32(limits.min)
    np.testing.assert_array_equal(decoded.xy, [3, 2])
    assert fc.decode.onehot(np.full((2, 3), limits.max, dtype)).status == MULTIPLE | NOT_UNIT


# Memory

_MEASURE = """
import json, resource, sys
import numpy as np
import fastcoord as fc

def peak():
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)

def growth(function, *arguments, out):
    "By how many bytes the peak rises above what the process holds when the call begins."
    ballast, before = [], peak()
    while peak() - before < 1 << 18:  # until what the process holds is its peak
        ballast.append(np.ones(1 << 16, np.uint8))
    before = peak()
    function(*arguments, out=out)
    return peak() - before

n = 4096
images = np.zeros((n, 64, 64), np.float32)
images[:, 5, 7] = 1
written = np.ones_like(images)
xy = np.full((n, 2), 7.0)
decoded = fc.Decoded(np.ones((n, 2), np.float32), np.ones(n, np.float32), None, np.ones(n, np.int32))
encode = lambda xy, out: fc.encode.onehot(xy, shape=(64, 64), out=out)

def plain(images, out):
    np.sum(np.maximum(64 * images - np.arange(64, dtype=np.float32), 0), axis=(1, 2), out=out)

answer = {}
for count in (16, n):
    some = fc.Decoded(*(None if a is None else a[:count] for a in decoded))
    for name, function, read, out in (
        ("decode", fc.decode.onehot, images[:count], some),
        ("encode", encode, xy[:count], written[:count]),
        ("plain", plain, images[:count], decoded.score[:count]),
    ):
        function(read, out=out)
        answer[f"{name} {count}"] = growth(function, read, out=out)
assert (written[:, 7, 7] == 1).all() and written.sum() == n
print(json.dumps(answer))
"""


def test_no_feature_map_is_stored():
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    # Otherwise glibc keeps freed memory for the next large array, and a peak does not show
    environment |= {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "0"}
    environment["PYTHONPATH"] = str(Path(fc.__file__).parent.parent)
    command = [sys.executable, "-c", _MEASURE]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    growth = json.loads(process.stdout)
    for name in ("decode", "encode"):
        assert growth[f"{name} 4096"] - growth[f"{name} 16"] < 1 << 20, growth
    # the same measurement sees a feature map
    assert growth["plain 4096"] - growth["plain 16"] > 32 << 20, growth


def test_a_float32_point_beyond_two_to_the_24th_is_on_the_canvas():
    width = 2**24 + 1  # which float32 cannot hold; the last column it can
    image = fc.encode.onehot(np.array([2.0**24, 0], np.float32), shape=(1, width), dtype="uint8")
    assert image[0, -1] == 1
    assert image.sum() == 1
