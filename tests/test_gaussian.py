"""What `encode.gaussian` has of its own: other libraries' targets, windows, joined points, halves, what it refuses."""

import itertools

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord.encode._gaussian.reference import gaussian_vjp
from tests import cases
from tests.agreement import assert_close
from tests.contract import said

small = pytest.mark.small
HEIGHT, WIDTH = 30, 41


def mmpose(name, points, sigma, height, width):
    """The maps and weights of mmpose 1.3's codecs, as `codecs/utils/gaussian_heatmap.py` computes them, restated."""
    maps, weights = np.zeros((len(points), height, width), np.float32), np.ones(len(points), np.float32)
    radius = sigma * 3
    for point, image, number in zip(points, maps, range(len(points)), strict=True):
        nearest = point if name == "unbiased" else np.trunc(point + 0.5)
        low, high = nearest - radius, nearest + radius + 1
        if name != "unbiased":
            low, high = low.astype(int), high.astype(int)
        if (low >= (width, height)).any() or (high < 0).any():
            weights[number] = 0
            continue
        if name == "unbiased":
            x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
            image[:] = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
            continue
        side = np.arange(0, 2 * radius + 1, dtype=np.float32)
        centre = np.full(2, (2 * radius + 1) // 2) + (point - nearest if name == "udp" else 0)
        window = np.exp(-((side - centre[0]) ** 2 + (side[:, None] - centre[1]) ** 2) / (2 * sigma**2))
        (left, top), (right, bottom) = low, high
        part = window[max(0, -top) : min(height, bottom) - top, max(0, -left) : min(width, right) - left]
        image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)] = part
    return maps, weights


@small
@pytest.mark.parametrize("name", ["msra", "udp", "unbiased"])
@pytest.mark.parametrize("sigma", [1, 1.5, 2, 2.25])
def test_targets_of_mmpose(name, sigma):
    inside = cases.points_within((12,), HEIGHT, WIDTH)
    edges = [(x, y) for x in (-7.5, -6.6, -3, 0, 20.5, 40, 43.4, 48) for y in (-8, -0.5, 12.49, 29.5, 35, 37)]
    points = np.concatenate([inside, np.array(edges)])
    wanted, weights = mmpose(name, points, sigma, HEIGHT, WIDTH)
    found = fc.encode.gaussian(points, shape=(HEIGHT, WIDTH), sigma=sigma, compat=f"mmpose_{name}", return_weight=True)
    np.testing.assert_allclose(found.maps, wanted, rtol=2e-6, atol=1e-12)
    np.testing.assert_array_equal(found.weight, weights)


@small
def test_targets_of_kornia():
    kornia, torch = pytest.importorskip("kornia"), pytest.importorskip("torch")
    points = cases.points_within((6,), HEIGHT, WIDTH).astype(np.float32)
    sigmas = np.array([[0.7, 1], [1, 2], [3, 1], [2, 2], [5, 9], [1.5, 1]], np.float32)
    wanted = kornia.geometry.subpix.render_gaussian2d(
        torch.from_numpy(points), torch.from_numpy(sigmas), (HEIGHT, WIDTH), normalized_coordinates=False
    )
    found = fc.encode.gaussian(points, shape=(HEIGHT, WIDTH), sigma=sigmas, compat="kornia")
    np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-5, atol=1e-7)


@small
def test_the_sum_of_a_map_is_1_however_little_of_it_is_there():
    maps = fc.encode.gaussian([[3, 4], [-5, 4], [40, 33]], shape=(HEIGHT, WIDTH), norm="sum", dtype="float64")
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-14)


@small
def test_a_window_leaves_its_pixels_as_they_are():
    xy = cases.points_within((7,), HEIGHT, WIDTH)
    whole = fc.encode.gaussian(xy, shape=(HEIGHT, WIDTH), sigma=1.5)
    windowed = fc.encode.gaussian(xy, shape=(HEIGHT, WIDTH), sigma=1.5, radius=2)
    x, y = (abs(np.arange(n) - xy[:, axis, None]) <= 3 for axis, n in enumerate((WIDTH, HEIGHT)))
    np.testing.assert_array_equal(windowed, np.where(y[:, :, None] & x[:, None, :], whole, 0))


@small
@pytest.mark.parametrize("reduce", ["max", "sum"])
def test_joined_points_are_the_maps_of_each_joined(reduce):
    xy = cases.points_within((2, 5), 9, 20)
    apart = fc.encode.gaussian(xy, shape=(9, 20))
    joined = fc.encode.gaussian(xy, shape=(9, 20), reduce=reduce, return_weight=True)
    np.testing.assert_allclose(joined.maps, getattr(apart, reduce)(axis=1), rtol=1e-6)
    assert joined.weight.shape == (2, 5)
    boxes = fc.grid.crops([[-7, 3, 41, 68], [0, 0, 20, 9]])
    placed = np.stack(
        [fc.grid.crops(box).from_pixels(part, 9, 20) for box, part in zip(boxes_of(boxes), xy, strict=True)]
    )
    on_grid = fc.encode.gaussian(placed, shape=(9, 20), reduce=reduce, grid=boxes)
    np.testing.assert_allclose(on_grid, joined.maps, rtol=1e-5, atol=1e-7)


def boxes_of(grid):
    assert grid.batch == (2,)
    return [-7, 3, 41, 68], [0, 0, 20, 9]


@small
@pytest.mark.parametrize(("name", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_halves_are_rounded_to_nearest(name, bits):
    half = cases.half_type(name)
    xy = cases.points_within((8,), 9, 40)
    for options in ({}, {"axes": (1, 2)}, {"norm": "sum", "sigma": 30}, {"sigma": 0.6}):
        single = fc.encode.gaussian(xy, shape=(9, 40), **options)
        maps = fc.encode.gaussian(xy, shape=(9, 40), dtype=name, **options)
        assert maps.dtype == half
        np.testing.assert_array_equal(maps, single.astype(half))
        assert (abs(maps.astype(np.float64) - single) <= np.maximum(single * 2.0**-bits, 2.0**-25)).all()


@small
def test_shifting_by_whole_pixels_shifts_the_map():
    xy = np.array([7.25, 5.5])
    for dx, dy in itertools.product((0, 1, 5), (0, 3)):
        maps = fc.encode.gaussian([xy, xy + (dx, dy)], shape=(20, 30))
        np.testing.assert_array_equal(maps[1, dy:, dx:], maps[0, : 20 - dy, : 30 - dx])


@small
def test_no_pixel_is_denormal():
    maps = fc.encode.gaussian([[0, 0], [50.5, 3]], shape=(60, 70), sigma=3.1)
    assert maps[maps > 0].min() >= np.finfo(np.float32).tiny
    assert (maps == 0).any()


def test_results_do_not_depend_on_the_number_of_threads():
    threads = numba.get_num_threads()
    if threads < 2:
        pytest.skip("a machine with two cores would run it")
    calls = (
        lambda: fc.encode.gaussian(cases.points_within((90,), 64, 48), shape=(64, 48), norm="sum"),
        lambda: fc.encode.gaussian([300.5, 200.25], shape=(700, 901), sigma=80),
        lambda: fc.encode.gaussian(cases.points_within((40, 3), 64, 48), shape=(64, 48), reduce="sum"),
    )
    try:
        for call in calls:
            numba.set_num_threads(threads)
            many = call()
            numba.set_num_threads(1)
            np.testing.assert_array_equal(call(), many)
    finally:
        numba.set_num_threads(threads)


@small
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sigma": 0}, ValueError, ("sigma: expected", "got 0.0")),
        ({"sigma": -1.5}, ValueError, ("sigma: expected", "got -1.5")),
        ({"sigma": np.nan}, ValueError, ("sigma: expected", "got nan")),
        ({"sigma": np.inf}, ValueError, ("sigma: expected", "got inf")),
        ({"sigma": (2, 0)}, ValueError, ("sigma: expected", "got 0.0")),
        ({"sigma": "2"}, TypeError, ("sigma: expected", "got")),
        ({"sigma": None}, TypeError, ("sigma: expected", "got")),
        ({"sigma": True}, TypeError, ("sigma: expected", "got bool")),
        ({"sigma": (1, 2, 3)}, ValueError, ("sigma: expected", "(3, 2)", "got (3,)")),
        ({"radius": 0}, ValueError, ("radius: expected", "got 0")),
        ({"radius": np.inf}, ValueError, ("radius: expected", "got inf")),
        ({"radius": "3"}, TypeError, ("radius: expected", "got str")),
        ({"norm": "mean"}, ValueError, ("norm: expected", "got 'mean'")),
        ({"norm": None}, ValueError, ("norm: expected", "got None")),
        ({"reduce": "mean"}, ValueError, ("reduce: expected", "got 'mean'")),
        ({"compat": "mmpose"}, ValueError, ("compat: expected", "mmpose_udp", "got 'mmpose'")),
        ({"compat": "kornia", "norm": "sum"}, ValueError, ("compat: expected", "kornia")),
        ({"compat": "mmpose_udp", "radius": 3}, ValueError, ("compat: expected", "mmpose_udp")),
        ({"dtype": "uint8"}, TypeError, ("dtype: expected", "got uint8")),
        ({"shape": (1 << 25, 1 << 25)}, MemoryError, ("shape: maps of shape", "GB")),
        ({"shape": (1 << 40, 1 << 40)}, MemoryError, ("shape: maps of shape", "GB")),
    ],
    ids=repr,
)
def test_what_is_refused(options, error, words):
    with pytest.raises(error, match=said(*words)):
        fc.encode.gaussian(np.ones((3, 2)), **{"shape": (9, 13), **options})


@small
def test_one_point_has_nothing_to_join():
    with pytest.raises(ValueError, match=said("xy: expected shape (..., P, 2), with reduce='max'", "got (2,)")):
        fc.encode.gaussian([3, 4], shape=(9, 13), reduce="max")


# The gradient


def _gradients(batch, dtype="float64"):
    return cases.dense((*batch, 9, 13), dtype)


@small
@pytest.mark.parametrize("grid", [None, fc.grid.half, fc.grid.crops(cases.BOXES)], ids=["pixels", "half", "boxes"])
@pytest.mark.parametrize(
    "options", [{}, {"norm": "sum"}, {"sigma": (1.3, 2.5)}, {"sigma": [[1], [2], [0.7]]}], ids=repr
)
def test_gradient_is_that_of_finite_differences(grid, options):
    pixels = np.array([[-2.3, 4.2], [12.3, 9.4], [5.5, 3.25]])
    gradients, h = _gradients((3,)), 1e-5
    xy = pixels if grid is None else grid.from_pixels(pixels, 9, 13)
    found = fc.encode.gaussian_vjp(gradients, xy, grid=grid, **options)
    for axis in (0, 1):
        step = np.eye(2)[axis] * h

        def loss(points):
            maps = fc.encode.gaussian(points, shape=(9, 13), dtype="float64", grid=grid, **options)
            return (gradients * maps).sum((1, 2))

        wanted = (loss(xy + step) - loss(xy - step)) / (2 * h)
        np.testing.assert_allclose(found[:, axis], wanted, rtol=1e-6, atol=1e-7)


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
@pytest.mark.parametrize("options", [{}, {"norm": "sum", "radius": 1.5}], ids=repr)
def test_gradient_agrees_with_the_reference(dtype, batch, options):
    xy, gradients = cases.points_within(batch, 9, 13, dtype), _gradients(batch, dtype)
    out = np.full(xy.shape, np.nan, dtype)
    assert fc.encode.gaussian_vjp(gradients, xy, out=out, **options) is out
    precise, plain = (gaussian_vjp(gradients, xy, dtype=dtype, working=w, **options) for w in (np.float64, dtype))
    assert_close("gradient", out, precise, plain)
    nhwc = np.moveaxis(gradients, (-2, -1), (0, 1))
    np.testing.assert_array_equal(fc.encode.gaussian_vjp(nhwc, xy, axes=(0, 1), **options), out)


@small
def test_gradient_of_joined_points():
    xy, gradients = cases.points_within((2, 4), 9, 13), _gradients((2,))
    found = fc.encode.gaussian_vjp(gradients, xy, reduce="sum")
    each = fc.encode.gaussian_vjp(np.repeat(gradients[:, None], 4, axis=1), xy)
    np.testing.assert_array_equal(found, each)
    np.testing.assert_allclose(
        found, gaussian_vjp(gradients, xy, reduce="sum", dtype="float64"), rtol=1e-12, atol=1e-13
    )
    assert fc.encode.gaussian_vjp(gradients, xy[:, :0], reduce="sum").shape == (2, 0, 2)


@small
def test_missing_points_have_no_gradient():
    xy = [[np.nan, 1], [1, np.inf], [1e9, 0], [1, 1]]
    gradients = np.ones((4, 3, 4)) * np.arange(4)
    assert (fc.encode.gaussian_vjp(gradients, xy) != 0).any(1).tolist() == [False] * 3 + [True]


def test_gradient_of_many_maps():
    xy, gradients = cases.points_within((60,), 64, 48, "float32"), cases.dense((60, 64, 48), "float32")
    found = fc.encode.gaussian_vjp(gradients, xy, sigma=3)
    precise, plain = (gaussian_vjp(gradients, xy, sigma=3, working=w) for w in (np.float64, np.float32))
    assert_close("gradient", found, precise, plain)


@small
def test_what_the_gradient_refuses():
    maps, xy = np.zeros((3, 4, 5)), np.zeros((3, 2))
    for wrong, error, words in (
        ({"xy": np.zeros((2, 2))}, ValueError, ("grad_maps: expected maps of batch shape (2,)", "got (3,)")),
        ({"grad_maps": np.zeros((3, 4, 5), np.uint8)}, TypeError, ("grad_maps: expected float32", "got uint8")),
        ({"grid": "half"}, TypeError, ("grid: expected a grid",)),
        ({"reduce": "max"}, ValueError, ("reduce: expected", "got 'max'")),
        ({"sigma": (1, 2, 3)}, ValueError, ("sigma: expected", "got (3,)")),
        ({"norm": "mean"}, ValueError, ("norm: expected", "got 'mean'")),
        ({"radius": -1}, ValueError, ("radius: expected", "got -1")),
    ):
        with pytest.raises(error, match=said(*words)):
            fc.encode.gaussian_vjp(**{"grad_maps": maps, "xy": xy, **wrong})
