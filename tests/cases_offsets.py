"""What `encode.offsets` is tried on."""

from collections.abc import Iterator

import numpy as np

from tests import cases
from tests.cases import Case
from tests.cases_gaussian import _MISSING, points

_SIZES = (
    (1, 1),
    (1, 7),
    (7, 1),
    (5, 16),
    (5, 17),
    (3, 33),
    (2, 63),
    (40, 31),
    (64, 48),
    (100, 70),
    (1, 4097),
    (4097, 1),
)
# Pixels exactly on the edge of a disc of 5: dx² + dy² is exact
_ON_EDGES = [(6, 4), (6.5, 4), (6, 4.25), (9, 8), (-4, 4), (17, 4), (6, -3), (-3, -4), (16, 12)]


def offsets() -> Iterator[Case]:
    """Cases for `encode.offsets`."""

    def case(name, make, *arguments, shape=(9, 13), is_small=True, radius=2.5, **options):
        return Case(name, lambda: (make(*arguments),), {"shape": shape, "radius": radius, **options}, is_small)

    for dtype in ("float32", "float64"):
        for name, options in {
            "": {},
            ", disc": {"with_disc": True},
            ", mmpose": {"compat": "mmpose"},
            ", NHWC": {"axes": (1, 2)},
            ", NHWC, mmpose": {"axes": (1, 2), "compat": "mmpose"},
        }.items():
            yield case(f"type {dtype}{name}", points, (2, 3), 9, 13, dtype=dtype, **options)
            yield case(f"type {dtype}{name}, wide", points, (2, 3), 5, 40, shape=(5, 40), dtype=dtype, **options)
            missing = {"return_weight": True, "dtype": dtype, **options}
            yield case(f"value missing, {dtype}{name}", np.array, [*_MISSING[:-4], (-1, 9)], **missing)
        big = {"dtype": dtype, "is_small": False}
        yield case(f"large batch, {dtype}", points, (60,), 101, 71, shape=(101, 71), **big)
        yield case(f"large, {dtype}", points, (), 701, 1103, shape=(701, 1103), radius=200, **big)
        yield case(f"large, {dtype}, mmpose", points, (), 701, 1103, shape=(701, 1103), compat="mmpose", **big)
        yield case(f"large, NHWC {dtype}", points, (8, 9), 64, 48, shape=(64, 48), axes=(1, 2), **big)
    for dtype in cases.POINT_TYPES:
        yield case(f"type of points {dtype}", points, (3,), 9, 13, dtype)
    for height, width in _SIZES:
        options = {"shape": (height, width), "is_small": 3 * height * width <= 1000}
        yield case(f"size {height}x{width}", points, (3,), height, width, **options)
    for batch in cases.BATCHES:
        yield case(f"batch {batch}", points, batch, 7, 9, shape=(7, 9), return_weight=True)
        yield case(f"batch {batch}, disc", points, batch, 7, 9, shape=(7, 9), with_disc=True)
    for radius in (1e-9, 0.3, 0.5, 1, 2, 7, 60, 1e6):
        for compat in (None, "mmpose"):
            yield case(
                f"value radius {radius}, {compat}", points, (4,), 9, 33, shape=(9, 33), radius=radius, compat=compat
            )
    edges = {"radius": 5, "with_disc": True, "return_weight": True}
    yield case("value on edges", np.array, _ON_EDGES, **edges)
    yield case("value whole points", np.array, [(0, 0), (12, 8), (-0.0, 3), (5, 0)], radius=1)
    yield case("value far away, mmpose", np.array, [(1e5, -3e5), (2.0**40, 0)], compat="mmpose", dtype="float64")
    for axes in ((-1, -2), (0, 1), (1, 0), (1, 2), (0, -1), (-2, 0), (2, 3)):
        yield case(f"layout axes={axes}", points, (2, 3), 9, 13, axes=axes)
    for name, (grid, _of_x, _of_y) in cases.GRIDS.items():
        make = lambda grid=grid: grid.from_pixels(points((3,), 9, 13), 9, 13)  # noqa: E731
        yield case(f"value grid {name}", make, grid=grid, with_disc=name == "boxes")
    for name, change in {
        "fortran": np.asfortranarray,
        "xy reversed": lambda a: a[..., ::-1],
        "broadcast": lambda a: np.broadcast_to(a[0], (2, 4, 2)),
        "batch transposed": lambda a: np.stack([a, a + 0.25]).swapaxes(0, 1),
    }.items():
        yield case(f"layout {name}", lambda change=change: change(points((4,), 9, 13)))
