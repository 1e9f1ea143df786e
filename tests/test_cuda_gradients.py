"""The gradients of encoders on CUDA arrays, in the simulator, beside those of the CPU; and what is refused."""

import numpy as np
import pytest

import fastcoord as fc
from tests import cases, cases_gaussian
from tests.test_cuda import Foreign, every_second, garbage_like

in_simulator = pytest.mark.simulator
SHAPE = (9, 13)
GRIDS = [None, fc.grid.half, fc.grid.crops(cases.BOXES)]


def check(vjp, gradients, xy, **options):
    """On the device, in arrays of any strides, off multiples of 16 bytes and into `out`: what the CPU gives."""
    wanted = vjp(gradients, xy, **options)
    scale = np.finfo(gradients.dtype).eps * np.abs(gradients).sum() + np.finfo(wanted.dtype).eps
    grads, points = Foreign(gradients, gradients.itemsize), Foreign(xy, xy.itemsize)
    found = vjp(grads, points, **options)
    out = Foreign(garbage_like(wanted), wanted.itemsize)
    assert vjp(grads, points, **options, out=out) is out
    for array in (found.copy_to_host(), out.copy_to_host()):
        assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=4 * scale)
    out.assert_only(out.copy_to_host())
    grads.assert_only(gradients)
    points.assert_only(xy)
    return wanted


def missing_and_outside(dtype):
    found = cases_gaussian.points((3, 4), *SHAPE).astype(dtype)
    found[0, 1], found[2, 2] = (np.nan, 3), (3, np.inf)
    found[1, 1] = -30, 4
    return found


@in_simulator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grid", GRIDS, ids=["pixels", "half", "boxes"])
def test_splat(grid, dtype):
    pixels = np.array([[-0.3, 4.2], [12.3, 8.4], [5.5, 3.25]])
    xy = (pixels if grid is None else grid.from_pixels(pixels, *SHAPE)).astype(dtype)
    assert check(fc.encode.splat_vjp, cases.dense((3, *SHAPE), dtype), xy, grid=grid).all()


@in_simulator
def test_splat_of_other_layouts():
    gradients, xy = cases.dense((3, 4, *SHAPE)), missing_and_outside("float32")
    wanted = check(fc.encode.splat_vjp, gradients, xy)
    assert not wanted[0, 1].any()
    for beside in (np.moveaxis(gradients, 1, -1), np.moveaxis(gradients, 1, -1).copy()):
        np.testing.assert_array_equal(check(fc.encode.splat_vjp, beside, xy, axes=(1, 2)), wanted)
    strided, apart = every_second(gradients), every_second(xy)
    strided[...], apart[...] = gradients, xy
    np.testing.assert_array_equal(check(fc.encode.splat_vjp, strided, apart), wanted)
    np.testing.assert_allclose(check(fc.encode.splat_vjp, gradients, xy.astype(np.float64)), wanted, rtol=1e-5)
    assert check(fc.encode.splat_vjp, gradients[:0], xy[:0]).shape == (0, 4, 2)
    check(fc.encode.splat_vjp, gradients[:2], np.array([[[1, 2]] * 4, [[3, 0]] * 4], np.int16))


_OPTIONS = {
    "": {},
    "sum": {"norm": "sum"},
    "radius": {"radius": 1.5},
    "radius and sum": {"radius": 1.5, "norm": "sum", "sigma": (1.0, 3.0)},
    "sigma of points": {"sigma": np.arange(1, 13).reshape(3, 4, 1) / 3},
    "sigma of both": {"sigma": np.arange(1, 25).reshape(3, 4, 2) / 6, "norm": "sum"},
}


@in_simulator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", _OPTIONS.values(), ids=_OPTIONS)
def test_gaussian(options, dtype):
    xy = missing_and_outside(dtype)
    wanted = check(fc.encode.gaussian_vjp, cases.dense((3, 4, *SHAPE), dtype), xy, **options)
    assert wanted.any()
    assert not wanted[0, 1].any()
    check(fc.encode.gaussian_vjp, cases.dense((3, *SHAPE), dtype), xy, reduce="sum", **options)


@in_simulator
@pytest.mark.parametrize("grid", GRIDS, ids=["pixels", "half", "boxes"])
def test_gaussian_in_grids(grid):
    pixels = cases_gaussian.points((3, 2), *SHAPE)
    if grid is not None and grid.batch:
        xy = np.stack([grid.from_pixels(pixels[:, p], *SHAPE) for p in range(2)], 1)
    else:
        xy = pixels if grid is None else grid.from_pixels(pixels, *SHAPE)
    check(fc.encode.gaussian_vjp, cases.dense((3, *SHAPE)), xy.astype(np.float32), reduce="sum", grid=grid)
    check(fc.encode.gaussian_vjp, cases.dense((3, *SHAPE)), xy[:, 0].astype(np.float32), grid=grid)


@in_simulator
def test_gaussian_of_other_layouts():
    gradients, xy = cases.dense((3, 4, *SHAPE)), missing_and_outside("float32")
    wanted = check(fc.encode.gaussian_vjp, gradients, xy)
    beside = np.moveaxis(gradients, 1, -1).copy()
    np.testing.assert_array_equal(check(fc.encode.gaussian_vjp, beside, xy, axes=(1, 2)), wanted)
    strided, apart = every_second(gradients), every_second(xy)
    strided[...], apart[...] = gradients, xy
    np.testing.assert_array_equal(check(fc.encode.gaussian_vjp, strided, apart), wanted)
    assert check(fc.encode.gaussian_vjp, gradients[:0], xy[:0]).shape == (0, 4, 2)
    assert check(fc.encode.gaussian_vjp, gradients[:, 0], xy[:, :0], reduce="sum").shape == (3, 0, 2)


@in_simulator
@pytest.mark.parametrize("vjp", [fc.encode.splat_vjp, fc.encode.gaussian_vjp], ids=["splat", "gaussian"])
def test_errors_name_the_argument(vjp):
    grads, xy = Foreign(np.zeros((2, *SHAPE), np.float32)), Foreign(np.zeros((2, 2), np.float32))
    for gradients, points, error, message in (
        (np.zeros((2, *SHAPE)), xy, TypeError, r"grad_maps: expected a CUDA array.*numpy"),
        (grads, np.zeros((2, 2)), TypeError, r"xy: expected a CUDA array.*numpy"),
        (Foreign(np.zeros((2, *SHAPE), np.uint8)), xy, TypeError, "grad_maps: expected float32 or float64; got uint8"),
        (Foreign(np.zeros((3, *SHAPE))), xy, ValueError, r"grad_maps: expected maps of batch shape \(2,\); got \(3,\)"),
        (grads, Foreign(np.zeros((2, 3))), ValueError, r"xy: expected shape \(\.\.\., 2\)"),
        (grads, Foreign(np.zeros((2, 2), bool)), TypeError, "xy: expected an integer type"),
    ):
        with pytest.raises(error, match=message):
            vjp(gradients, points)
    with pytest.raises(ValueError, match=r"out: expected shape \(2, 2\)"):
        vjp(grads, xy, out=Foreign(np.zeros(3, np.float32)))
    with pytest.raises(TypeError, match="grid: expected"):
        vjp(grads, xy, grid="half")


@in_simulator
@pytest.mark.parametrize("encode", [fc.encode.gaussian, fc.encode.simcc, fc.encode.splat, fc.encode.offsets])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_encoders_without_halves_say_so(encode, dtype):
    with pytest.raises(TypeError, match=rf"expected .*float64.*; got (dtype )?'?{dtype}"):
        encode(Foreign(np.zeros((2, 2), np.float32)), shape=SHAPE, dtype=dtype)
