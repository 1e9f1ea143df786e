"""What is `encode.splat`'s own: the four shares, what is lost at the border, and the gradient."""

import numpy as np
import pytest

import fastcoord as fc
from fastcoord.encode._splat.reference import splat_vjp
from tests import cases
from tests.agreement import assert_close
from tests.contract import said

small = pytest.mark.small


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_centre_of_mass_is_the_point(dtype):
    xy = np.clip(cases.points_within((40,), 9, 13, dtype), 0, (12, 8))
    found = fc.decode.center_of_mass(fc.encode.splat(xy, shape=(9, 13), dtype=dtype))
    np.testing.assert_allclose(found.xy, xy, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(found.score, 1, rtol=1e-6)


@small
def test_whole_points_are_onehot():
    xy = np.array([[0, 0], [12, 8], [5, 3], [-0.0, 8]])
    maps = fc.encode.splat(xy, shape=(9, 13))
    np.testing.assert_array_equal(maps, fc.encode.onehot(xy, shape=(9, 13)))
    assert not np.signbit(maps).any()


@small
def test_what_lies_beyond_the_border_is_lost():
    maps = fc.encode.splat([[-0.25, 0], [12.25, 8.25], [-0.5, -0.5]], shape=(9, 13))
    assert maps.sum((1, 2)).tolist() == [0.75, 0.5625, 0.25]
    assert (maps[0, 0, 0], maps[1, 8, 12], maps[2, 0, 0]) == (0.75, 0.5625, 0.25)


@small
def test_integers_are_rounded():
    maps = fc.encode.splat([[1, 1], [1.5, 1], [1.5, 1.5]], shape=(3, 4), dtype="uint8")
    assert maps.sum((1, 2)).tolist() == [1, 2, 0]


def _gradients(batch, height, width, dtype="float64"):
    return cases.dense((*batch, height, width), dtype)


@small
@pytest.mark.parametrize("grid", [None, fc.grid.half, fc.grid.crops(cases.BOXES)], ids=["pixels", "half", "boxes"])
def test_gradient_is_that_of_finite_differences(grid):
    pixels = np.array([[-0.3, 4.2], [12.3, 8.4], [5.5, 3.25]])
    gradients, h = _gradients((3,), 9, 13), 1e-5
    xy = pixels if grid is None else grid.from_pixels(pixels, 9, 13)
    found = fc.encode.splat_vjp(gradients, xy, grid=grid)
    for axis in (0, 1):
        step = np.eye(2)[axis] * h

        def loss(points):
            return (gradients * fc.encode.splat(points, shape=(9, 13), dtype="float64", grid=grid)).sum((1, 2))

        np.testing.assert_allclose(found[:, axis], (loss(xy + step) - loss(xy - step)) / (2 * h), rtol=1e-6, atol=1e-7)


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_gradient_agrees_with_the_reference(dtype, batch):
    xy, gradients = cases.points_within(batch, 9, 13, dtype), _gradients(batch, 9, 13, dtype)
    out = np.full(xy.shape, np.nan, dtype)
    assert fc.encode.splat_vjp(gradients, xy, out=out) is out
    assert_close("gradient", out, *(splat_vjp(gradients, xy, dtype=working) for working in (np.float64, dtype)))
    nhwc = np.moveaxis(gradients, (-2, -1), (0, 1))
    np.testing.assert_array_equal(fc.encode.splat_vjp(nhwc, xy, axes=(0, 1)), out)


@small
def test_missing_points_have_no_gradient():
    xy = [[np.nan, 1], [1, np.inf], [-0.6, 0], [1, 1]]
    assert (fc.encode.splat_vjp(np.ones((4, 3, 4)) * np.arange(4), xy) != 0).any(1).tolist() == [False] * 3 + [True]


@small
def test_what_the_gradient_refuses():
    with pytest.raises(ValueError, match=said("grad_maps: expected maps of batch shape (2,)", "got (3,)")):
        fc.encode.splat_vjp(np.zeros((3, 4, 5)), np.zeros((2, 2)))
    with pytest.raises(TypeError, match=said("grad_maps: expected float32 or float64", "got uint8")):
        fc.encode.splat_vjp(np.zeros((2, 4, 5), np.uint8), np.zeros((2, 2)))
    with pytest.raises(TypeError, match=said("grid: expected a grid")):
        fc.encode.splat_vjp(np.zeros((2, 4, 5)), np.zeros((2, 2)), grid="half")
