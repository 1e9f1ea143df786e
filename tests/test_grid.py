"""`fastcoord.grid`: the formulas, the way there and back, and what a grid is as an object."""

import copy
import pickle

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _points
from tests import cases
from tests.contract import said

pytestmark = pytest.mark.small

GRIDS = {name: grid for name, (grid, _of_x, _of_y) in cases.GRIDS.items()}
each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
sizes = pytest.mark.parametrize("size", [(4, 7), (1, 48), (17, 1), (1, 1)], ids=repr)


def maps_of_all_pixels(height, width, dtype=np.float32):
    """(3, pixels, height, width): another pixel is hot in each map, three times."""
    pixels = height * width
    maps = np.eye(pixels, dtype=dtype).reshape(pixels, height, width)
    return np.broadcast_to(maps, (3, *maps.shape))


# As their authors write them
_AS_WRITTEN = {
    "corners": lambda i, n: 2 * i / (n - 1) - 1,
    "half": lambda i, n: (2 * i + 1) / n - 1,
    "unit": lambda i, n: i / n,
    "unit_half": lambda i, n: (i + 0.5) / n,
}


@pytest.mark.parametrize("name", _AS_WRITTEN)
@pytest.mark.parametrize("decode", [fc.decode.argmax, fc.decode.onehot])
def test_formulas(name, decode):
    height, width = 9, 13
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    wanted = np.stack([_AS_WRITTEN[name](x, width), _AS_WRITTEN[name](y, height)], -1)
    grid = getattr(fc.grid, name)
    decoded = decode(maps_of_all_pixels(height, width)[0], grid=grid)
    np.testing.assert_allclose(decoded.xy, wanted, rtol=0, atol=2**-23)
    np.testing.assert_allclose(grid.from_pixels(np.stack([x, y], -1), height, width), wanted, rtol=0, atol=1e-15)


@each_grid
@sizes
def test_methods_agree_with_each_other_and_with_decoders(grid, size):
    pixels = np.stack(np.mgrid[: size[1], : size[0]], -1).reshape(-1, 1, 2)
    there = grid.from_pixels(pixels, *size)
    np.testing.assert_allclose(grid.to_pixels(there, *size), np.broadcast_to(pixels, there.shape), atol=1e-12)
    numbers = grid.scale_and_offset(*size)
    assert numbers.shape == (*grid.batch, 4)
    scaled = numbers[..., ::2] * pixels + numbers[..., 1::2]
    np.testing.assert_allclose(scaled, np.broadcast_to(there, scaled.shape), atol=1e-12)
    last = np.zeros((3, *size))
    last[..., -1, -1] = 1
    decoded = fc.decode.argmax(last, grid=grid).xy
    np.testing.assert_allclose(decoded, np.broadcast_to(there[-1], (3, 2)), rtol=1e-14, atol=1e-14)


@each_grid
@sizes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_pixel_comes_back(grid, size, dtype):
    maps = maps_of_all_pixels(*size, dtype)
    grid = fc.grid.crops(cases.BOXES[:, None]) if grid.batch else grid
    options = {"shape": size, "grid": grid, "dtype": dtype}
    decoded = fc.decode.onehot(maps, grid=grid)
    assert decoded.xy.dtype == dtype
    encoded = fc.encode.onehot(decoded.xy, **options)
    np.testing.assert_array_equal(encoded, maps)
    np.testing.assert_array_equal(fc.decode.onehot(encoded, grid=grid).xy, decoded.xy)
    np.testing.assert_array_equal(fc.encode.box(decoded.xy, **options, size=1), maps)


@pytest.mark.parametrize("width", [2, 3, 7, 47, 48, 100, 1000, 4097])
def test_ends_are_exact(width):
    ends = np.zeros((2, 1, width), np.float32)
    ends[0, 0, 0] = ends[1, 0, -1] = 1
    x = {name: fc.decode.argmax(ends, grid=grid).xy[:, 0].tolist() for name, grid in GRIDS.items() if not grid.batch}
    assert x["corners"] == [-1, 1]
    assert x["udp"] == [0, 191]
    if not numba.config.DISABLE_JIT:  # the twins round twice what processors round once
        assert x["half"] == [np.float32(1 / width - 1), np.float32(1 - 1 / width)]
        assert x["unit_half"] == [np.float32(0.5 / width), np.float32(1 - 0.5 / width)]


def test_pixels_as_a_grid_change_no_bit():
    maps = np.stack([cases.dense((6, 8)), np.zeros((6, 8), np.float32)] * 4)
    maps[2, 3, 4], maps[3, 0, 0], maps[4, 1, 1] = np.inf, -np.inf, np.nan
    maps[5, 2, 3] = maps[6, 0, 0] = 1e30
    for decode in (fc.decode.onehot, fc.decode.argmax):
        assert decode(maps, grid=fc.grid.affine(1)).xy.tobytes() == decode(maps).xy.tobytes()
    wild = np.array([-0.0, 0.0, np.inf, -np.inf, np.nan, 1e-45, 1 / 3, 3e38], np.float32)
    numbers = fc.grid.numbers_for(None, wild.dtype, 1, 1, ())
    assert _points.in_pixels(wild, numbers).tobytes() == wild.tobytes()


def test_a_box_is_a_slice():
    image = np.zeros((100, 200), np.float32)
    image[41, 77] = 1
    crop = image[30:60, 50:120]
    assert fc.decode.argmax(crop, grid=fc.grid.crops([50, 30, 120, 60])).xy.tolist() == [77, 41]
    halved = crop.reshape(15, 2, 35, 2).max((1, 3))
    assert fc.decode.argmax(halved, grid=fc.grid.crops([50, 30, 120, 60])).xy.tolist() == [76.5, 40.5]
    mirrored = fc.decode.argmax(crop[:, ::-1], grid=fc.grid.crops([120, 30, 50, 60]))
    assert mirrored.xy.tolist() == [77, 41]


def test_boxes_are_broadcast_over_the_batch():
    maps = cases.one_hot((3, 4, 9, 20))
    boxes = np.stack([cases.BOXES, cases.BOXES + 1, cases.BOXES * 2, cases.BOXES - 7], 1)  # (3, 4, 4)
    for some in (boxes, boxes[:, :1], boxes[0], boxes[0, 0]):
        wanted = np.empty((3, 4, 2), np.float32)
        for index in np.ndindex(3, 4):
            box = np.broadcast_to(some, boxes.shape)[index]
            wanted[index] = fc.decode.onehot(maps[index], grid=fc.grid.crops(box)).xy
        grid = fc.grid.crops(some)
        np.testing.assert_array_equal(fc.decode.onehot(maps, grid=grid).xy, wanted)
        np.testing.assert_array_equal(fc.decode.onehot(np.moveaxis(maps, 1, -1), axes=(1, 2), grid=grid).xy, wanted)
    apart = np.zeros((6, 4, 4, 4, 9, 20), np.float32)[::2, ::2, ::2, ::4]  # batch axes that do not fold into two
    apart[...] = maps.reshape(3, 2, 2, 1, 9, 20)
    xy = fc.decode.onehot(apart, grid=fc.grid.crops(boxes.reshape(3, 2, 2, 1, 4))).xy
    np.testing.assert_array_equal(xy.reshape(3, 4, 2), fc.decode.onehot(maps, grid=fc.grid.crops(boxes)).xy)


def test_points_that_are_integers_or_missing():
    grid = fc.grid.strides(4, (1, 2))
    assert fc.encode.onehot([9, 2], shape=(1, 4), grid=grid, dtype="uint8").tolist() == [[0, 0, 1, 0]]
    encoded = fc.encode.onehot([[np.nan, 2], [-2, 2], [17, 2]], shape=(1, 4), grid=grid, return_weight=True)
    assert encoded.weight.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=said("xy: expected points", "got [30.0, 2.0] at index (1,)")):
        fc.encode.onehot([[9, 2], [30, 2]], shape=(1, 4), grid=grid)


# Objects


def test_equal_grids_are_equal():
    same = [
        (fc.grid.affine(4, 1.5), fc.grid.strides((4, 4), [1.5, 1.5])),
        (fc.grid.affine(2), fc.grid.affine(2, -0.0)),
        (fc.grid.crops(cases.BOXES), fc.grid.crops(cases.BOXES.tolist())),
    ]
    for one, other in same:
        assert one == other
        assert hash(one) == hash(other)
    assert len({*GRIDS.values(), fc.grid.affine((4, 2)), fc.grid.affine((2, 4))}) == len(GRIDS) + 2
    assert fc.grid.corners != "corners"


@each_grid
def test_grids_can_be_pickled_and_not_changed(grid):
    for other in (pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid)):
        assert other == grid
        np.testing.assert_array_equal(other.scale_and_offset(5, 6), grid.scale_and_offset(5, 6))
    with pytest.raises(AttributeError):
        grid.batch = (2,)
    assert repr(grid).startswith("Grid(name=")


@pytest.mark.parametrize(
    ("make", "argument", "error", "expected"),
    [
        (fc.grid.affine, "x", TypeError, ("scale: expected a number, or two of them", "got 'x'")),
        (fc.grid.affine, (1, 2, 3), TypeError, ("scale: expected a number, or two of them", "got (1, 2, 3)")),
        (fc.grid.affine, 0, ValueError, ("scale: expected numbers that are not 0", "got 0")),
        (fc.grid.strides, (np.nan, 1), ValueError, ("stride: expected finite numbers", "got (nan, 1)")),
        (lambda offset: fc.grid.strides(1, offset), [1, None], TypeError, ("offset: expected", "got [1, None]")),
        (fc.grid.udp, (0, 4), ValueError, ("shape: expected a height and a width of at least 1", "got (0, 4)")),
        (fc.grid.udp, (2.5, 4), ValueError, ("shape: expected", "got (2.5, 4)")),
        (fc.grid.udp, "ab", TypeError, ("shape: expected", "got 'ab'")),
        (fc.grid.crops, [1, 2, 3], ValueError, ("boxes: expected shape (..., 4)", "got (3,)")),
        (fc.grid.crops, 3, ValueError, ("boxes: expected shape (..., 4)", "got ()")),
        (fc.grid.crops, [[1, 2, 3, "x"]], TypeError, ("boxes: expected an array of numbers", "got")),
        (fc.grid.crops, [1, 2, 1, 5], ValueError, ("boxes: expected", "x1 and y1 that are not x0 and y0")),
        (fc.grid.crops, [1, 2, np.inf, 5], ValueError, ("boxes: expected finite numbers",)),
    ],
)
def test_what_makes_no_grid(make, argument, error, expected):
    with pytest.raises(error, match=said(*expected)):
        make(argument)
