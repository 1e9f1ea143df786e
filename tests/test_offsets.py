"""What `encode.offsets` is on its own: which pixels lie in a disc, what they give back, and mmpose's convention."""

import numpy as np
import pytest

import fastcoord as fc
from tests import cases_offsets

small = pytest.mark.small
SHAPE = (33, 45)


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("radius", [0.7, 1, 3, 6.5, 100])
def test_a_pixel_and_what_it_holds_give_the_point(dtype, radius):
    points = cases_offsets.points((12,), *SHAPE)
    maps = fc.encode.offsets(points, shape=SHAPE, radius=radius, dtype=dtype, with_disc=True)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for (x, y), (disc, dx, dy) in zip(points, maps, strict=True):
        inside = (x - columns) ** 2 + (y - rows) ** 2 <= radius**2
        np.testing.assert_array_equal(disc, inside)
        tolerance = 2e-7 * max(radius, 1) if dtype == "float32" else 1e-13
        np.testing.assert_allclose(columns[inside] + dx[inside].astype(float), x, rtol=0, atol=tolerance)
        np.testing.assert_allclose(rows[inside] + dy[inside].astype(float), y, rtol=0, atol=tolerance)
        assert not dx[~inside].any()
        assert not dy[~inside].any()


@small
def test_distances_are_rounded_once():
    # close to a pixel's centre a whole part and a rest of float32 would leave no digit
    points = np.array([(0.99999999999, 6.9999999), (8 - 1e-9, 3 + 1e-12), (5, 4)])
    maps = fc.encode.offsets(points, shape=SHAPE, radius=3)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for (x, y), found in zip(points, maps, strict=True):
        inside = (x - columns) ** 2 + (y - rows) ** 2 <= 9
        wanted = np.where(inside, [x - columns, y - rows], 0).astype(np.float32)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))  # 0.0, not −0.0, at the centre


@small
def test_pixels_on_the_edge_are_inside():
    # on three and four sides of a disc of 5 about a pixel's centre, twelve pixels lie at 3-4-5 and on the axes
    disc = fc.encode.offsets([20, 15], shape=SHAPE, radius=5, with_disc=True)[0]
    assert disc.sum() == 81
    assert disc[15, 25] == disc[15, 15] == disc[10, 20] == disc[18, 24] == disc[19, 17] == 1
    smaller = fc.encode.offsets([20, 15], shape=SHAPE, radius=np.nextafter(5, 0), with_disc=True)[0]
    assert smaller.sum() == 81 - 12


@small
def test_a_pixel_whose_distance_is_the_radius_is_inside_however_that_is_rounded():
    # straight below, above and beside the point, where its row or column is the last of the disc, and aslant
    numbers = np.random.default_rng(3)
    rows, columns = np.mgrid[:12, :14]
    for x, y in numbers.uniform(3, 9, (150, 2)):
        column, row = numbers.integers(12, size=2)
        for dx, dy in ((0, y - row), (x - column, 0), (x - column, y - row)):
            at = (column if dx == 0 else x), (row if dy == 0 else y)
            radius = abs(dx or dy) if dx == 0 or dy == 0 else np.sqrt(dx * dx + dy * dy)
            disc = fc.encode.offsets(at, shape=(12, 14), radius=radius, with_disc=True)[0]
            inside = (at[0] - columns) ** 2 + (at[1] - rows) ** 2 <= radius**2
            np.testing.assert_array_equal(disc, inside)


@small
def test_the_disc_is_one_of_three_maps():
    points = cases_offsets.points((5,), *SHAPE)
    three = fc.encode.offsets(points, shape=SHAPE, radius=3, with_disc=True)
    np.testing.assert_array_equal(three[:, 1:], fc.encode.offsets(points, shape=SHAPE, radius=3))
    assert three.shape == (5, 3, *SHAPE)


@small
def test_weight_is_whether_a_pixel_is_in_the_disc():
    points = [(-2, 3), (-2.001, 3), (44 + 1.99, 32), (44 + 1.5, 32 + 1.5), (np.nan, 3), (3, np.inf), (20.5, 15.5)]
    encoded = fc.encode.offsets(points, shape=SHAPE, radius=2, return_weight=True)
    assert encoded.weight.tolist() == [1, 0, 1, 0, 0, 0, 1]
    assert encoded.maps.any((1, 2, 3)).tolist() == [True, False, True, False, False, False, True]
    between = fc.encode.offsets([20.5, 15.5], shape=SHAPE, radius=0.7, return_weight=True)
    assert (between.weight, between.maps.any()) == (0, False)


def _mmpose(points, shape, radius):
    """Mmpose 1.3's `generate_offset_heatmap` of visible points, restated."""
    x, y = np.arange(shape[1]), np.arange(shape[0])[:, None]
    maps = np.zeros((len(points), 3, *shape), np.float32)
    for n, mu in enumerate(points):
        across, down = (mu[0] - x) / radius, (mu[1] - y) / radius
        maps[n] = np.where(across**2 + down**2 <= 1, 1, 0), across + 0 * y, down + 0 * x
    return maps


@small
@pytest.mark.parametrize("radius", [0.0546875 * 45, 3, 17.25])
def test_compat_is_what_mmpose_draws(radius):
    points = cases_offsets.points((12,), *SHAPE)
    found = fc.encode.offsets(points, shape=SHAPE, radius=radius, compat="mmpose", return_weight=True)
    wanted = _mmpose(points, SHAPE, radius)
    np.testing.assert_array_equal(found.maps[:, 0], wanted[:, 0])
    np.testing.assert_allclose(found.maps, wanted, rtol=3e-7, atol=2e-7 * 45 / radius)
    assert (found.weight == 1).all()
    shaped = fc.encode.offsets(points, shape=SHAPE, radius=radius, compat="mmpose", with_disc=False)
    np.testing.assert_array_equal(shaped, found.maps)


@small
def test_batches_are_points_one_by_one():
    points = cases_offsets.points((2, 3), *SHAPE)
    together = fc.encode.offsets(points, shape=SHAPE, radius=3)
    assert together.shape == (2, 3, 2, *SHAPE)
    beside = fc.encode.offsets(points, shape=SHAPE, radius=3, axes=(1, 2))
    np.testing.assert_array_equal(np.moveaxis(beside, (1, 2), (-2, -1)), together)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(fc.encode.offsets(points[index], shape=SHAPE, radius=3), together[index])


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"radius": "4"}, TypeError, "radius: expected a number of pixels; got '4'"),
        ({"radius": True}, TypeError, "radius: expected a number of pixels"),
        ({"radius": None}, TypeError, "radius: expected a number of pixels"),
        ({"radius": 0}, ValueError, "radius: expected a positive number of pixels, up to 1,000,000; got 0"),
        ({"radius": -1}, ValueError, "radius: expected"),
        ({"radius": np.nan}, ValueError, "radius: expected"),
        ({"radius": np.inf}, ValueError, "radius: expected"),
        ({"with_disc": 1}, TypeError, "with_disc: expected True or False; got 1"),
        ({"compat": "hrnet"}, ValueError, "compat: expected None or \"mmpose\"; got 'hrnet'"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64; got float16"),
        ({"shape": (1 << 40, 1 << 40)}, MemoryError, "shape: maps of shape"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        fc.encode.offsets([[1, 2]], **{"shape": SHAPE, **options})


def test_tensors():
    torch = pytest.importorskip("torch")
    points = torch.tensor([[3.25, 4.5], [20, 11]])
    maps = fc.encode.offsets(points, shape=SHAPE, radius=2)
    assert isinstance(maps, torch.Tensor)
    np.testing.assert_array_equal(maps, fc.encode.offsets(points.numpy(), shape=SHAPE, radius=2))
