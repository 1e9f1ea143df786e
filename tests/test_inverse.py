"""What `encode.gaussian` draws is decoded again, on every grid, by every decoder that says where a peak is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcoord as fc

pytestmark = pytest.mark.small

HEIGHT, WIDTH, SIGMA = 22, 27, 1.5
INNER = 6 * SIGMA  # from the border
GRIDS = {
    "pixels": None,
    "corners": fc.grid.corners,
    "half": fc.grid.half,
    "unit": fc.grid.unit,
    "unit_half": fc.grid.unit_half,
    "affine": fc.grid.affine((-3, 0.5), (7, -2)),
    "strides": fc.grid.strides(4, 1.5),
    "udp": fc.grid.udp((256, 192)),
    "crop": fc.grid.crops([-7, 3, 41, 68]),
}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
xs, ys = st.floats(INNER, WIDTH - 1 - INNER), st.floats(INNER, HEIGHT - 1 - INNER)


def moved(grid, pixels):
    return np.array(pixels, float) if grid is None else grid.from_pixels(pixels, HEIGHT, WIDTH)


def check(grid, x, y, pixels, decode):
    """`decode` finds the point to so many pixels and two units in the last place of the coordinate."""
    xy = moved(grid, [x, y])
    maps = fc.encode.gaussian(xy, shape=(HEIGHT, WIDTH), sigma=SIGMA, grid=grid)
    size = abs(moved(grid, [1, 1]) - moved(grid, [0, 0]))
    allowed = pixels * size + 2 * np.spacing(abs(xy).astype(np.float32))
    assert (abs(decode(maps, grid).xy - xy) <= allowed).all()


@every_grid
@pytest.mark.parametrize(("refine", "pixels"), [("quadratic", 1e-4), ("gaussian", 1e-4), ("dark", 5e-4)])
@settings(deadline=None, max_examples=20)
@given(x=xs, y=ys)
def test_argmax(grid, refine, pixels, x, y):
    options = {"sigma": SIGMA} if refine == "gaussian" else {}
    check(grid, x, y, pixels, lambda maps, grid: fc.decode.argmax(maps, refine=refine, grid=grid, **options))


@every_grid
@settings(deadline=None, max_examples=20)
@given(x=xs, y=ys)
def test_center_of_mass(grid, x, y):
    check(grid, x, y, 1e-4, lambda maps, grid: fc.decode.center_of_mass(maps, grid=grid))


@every_grid
@settings(deadline=None, max_examples=20)
@given(x=xs, y=ys)
def test_soft_argmax_of_logarithms(grid, x, y):
    def decode(maps, grid):
        with np.errstate(divide="ignore"):
            return fc.decode.soft_argmax(np.log(maps), grid=grid)

    check(grid, x, y, 1e-4, decode)
