"""What is encoded is decoded again, on every grid, by every decoder that says where a peak is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcoord as fc
from tests import cases

pytestmark = pytest.mark.small

HEIGHT, WIDTH, SIGMA = 22, 27, 1.5
INNER = 6 * SIGMA  # from the border
GRIDS = {"pixels": None, **{name: grid for name, (grid, *_) in cases.GRIDS.items() if grid.batch == ()}}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
xs, ys = st.floats(INNER, WIDTH - 1 - INNER), st.floats(INNER, HEIGHT - 1 - INNER)


def moved(grid, pixels):
    return np.array(pixels, float) if grid is None else grid.from_pixels(pixels, HEIGHT, WIDTH)


def gaussian(xy, grid):
    return fc.encode.gaussian(xy, shape=(HEIGHT, WIDTH), sigma=SIGMA, grid=grid)


def check(grid, x, y, pixels, decode, encode=gaussian):
    """`decode` finds the point to so many pixels and two units in the last place of the coordinate."""
    xy = moved(grid, [x, y])
    maps = encode(xy, grid)
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


@every_grid
@settings(deadline=None, max_examples=20)
@given(x=st.floats(0, WIDTH - 1), y=st.floats(0, HEIGHT - 1))
def test_splat(grid, x, y):
    check(
        *(grid, x, y, 1e-5, lambda maps, grid: fc.decode.center_of_mass(maps, grid=grid)),
        encode=lambda xy, grid: fc.encode.splat(xy, shape=(HEIGHT, WIDTH), grid=grid),
    )


@every_grid
@settings(deadline=None, max_examples=20)
@given(x=st.integers(1, WIDTH - 2), y=st.integers(1, HEIGHT - 2))
def test_onehot_and_boxes_are_exact(grid, x, y):
    """In pixels, from whichever grid they came; a grid on the way out rounds, as `test_grid` says."""
    xy = moved(grid, [x, y])
    onehot = fc.encode.onehot(xy, shape=(HEIGHT, WIDTH), grid=grid)
    assert fc.decode.onehot(onehot).xy.tolist() == fc.decode.argmax(onehot).xy.tolist() == [x, y]
    box = fc.encode.box(xy, size=3, shape=(HEIGHT, WIDTH), grid=grid)
    assert fc.decode.center_of_mass(box).xy.tolist() == [x, y]
