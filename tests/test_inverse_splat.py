"""What is encoded is decoded again, on every grid: properties of `encode.splat`, and of one-hot maps and boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcoord as fc

pytestmark = pytest.mark.small

HEIGHT, WIDTH = 9, 13
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


def moved(grid, pixels):
    return np.array(pixels, float) if grid is None else grid.from_pixels(pixels, HEIGHT, WIDTH)


def size_of_pixel(grid):
    return abs(moved(grid, [1, 1]) - moved(grid, [0, 0]))


@every_grid
@settings(deadline=None, max_examples=50)
@given(x=st.floats(0, WIDTH - 1), y=st.floats(0, HEIGHT - 1))
def test_splat_and_center_of_mass(grid, x, y):
    xy = moved(grid, [x, y])
    found = fc.decode.center_of_mass(fc.encode.splat(xy, shape=(HEIGHT, WIDTH), grid=grid), grid=grid).xy
    allowed = 1e-5 * size_of_pixel(grid) + 2 * np.spacing(abs(xy).astype(np.float32))
    assert (abs(found - xy) <= allowed).all()


@every_grid
@settings(deadline=None, max_examples=30)
@given(x=st.integers(1, WIDTH - 2), y=st.integers(1, HEIGHT - 2))
def test_onehot_and_boxes_are_exact(grid, x, y):
    xy, options = moved(grid, [x, y]), {"shape": (HEIGHT, WIDTH), "grid": grid}
    wanted = xy.astype(np.float32)
    # A grid is rounded: once where there is an fma, several times in uncompiled runs
    allowed = 0 if grid is None else 4 * np.finfo(np.float32).eps * (size_of_pixel(grid) * WIDTH + abs(xy))
    found = fc.decode.argmax(fc.encode.onehot(xy, **options), grid=grid).xy
    assert (abs(found - wanted) <= allowed).all()
    found = fc.decode.center_of_mass(fc.encode.box(xy, size=3, **options), grid=grid).xy
    assert (abs(found - wanted) <= allowed).all()
