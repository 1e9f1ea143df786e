"""What `encode.gaussian` is tried on."""

from collections.abc import Iterator

import numpy as np

from tests import cases
from tests.cases import Case

_NAN, _INF = np.nan, np.inf
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
_MISSING = [(_NAN, 1), (1, _NAN), (_INF, 1), (1, -_INF), (3, 4), (-30, 4), (3, 90), (1e30, 1), (1e300, -1e300), (-1, 9)]


def points(batch, height, width, dtype="float64"):
    """Random points of a canvas and as far again round it."""
    found = cases.points_within(batch, height, width, dtype)
    return found if np.dtype(dtype).kind == "u" else (found * 1.5 - min(height, width) // 4).astype(dtype)


def gaussians() -> Iterator[Case]:
    """Cases for `encode.gaussian`."""

    def case(name, make, *arguments, shape=(9, 13), is_small=True, **options):
        return Case(name, lambda: (make(*arguments),), {"shape": shape, **options}, is_small)

    for dtype in ("float32", "float64"):
        yield case(f"type {dtype}", points, (5,), 9, 13, dtype=dtype)
        yield case(f"type {dtype}, NHWC", points, (2, 3), 5, 6, shape=(5, 6), dtype=dtype, axes=(1, 2))
        yield case(f"type {dtype}, sum", points, (5,), 9, 20, shape=(9, 20), dtype=dtype, norm="sum")
        yield case(f"type {dtype}, reduce", points, (2, 3), 9, 13, dtype=dtype, reduce="max")
        yield case(f"value missing, {dtype}", np.array, _MISSING, return_weight=True, dtype=dtype)
        big = {"dtype": dtype, "is_small": False}
        yield case(f"large batch, {dtype}", points, (60,), 101, 71, shape=(101, 71), **big)
        yield case(f"large, {dtype}", points, (), 701, 1103, shape=(701, 1103), sigma=90, **big)
    for dtype in cases.POINT_TYPES:
        yield case(f"type of points {dtype}", points, (3,), 9, 13, dtype)
    for height, width in _SIZES:
        options = {"shape": (height, width), "is_small": 3 * height * width <= 1000}
        yield case(f"size {height}x{width}", points, (3,), height, width, **options)
    for batch in cases.BATCHES:
        yield case(f"batch {batch}", points, batch, 7, 19, shape=(7, 19), return_weight=True)
        if batch:
            yield case(f"batch {batch}, reduce", points, batch, 7, 9, shape=(7, 9), reduce="sum")
    for name, options in {
        "sigma 0.3": {"sigma": 0.3},
        "sigma 1e-15": {"sigma": 1e-15},
        "sigma 1e15": {"sigma": 1e15, "norm": "sum"},
        "sigma of axes": {"sigma": (0.75, 3)},
        "sigma of points": {"sigma": [[0.5], [1], [2], [4]]},
        "sigma of both": {"sigma": [[0.5, 1], [1, 2], [2, 4], [4, 8]], "norm": "sum"},
        "radius 3": {"radius": 3},
        "radius 0.6, sum": {"radius": 0.6, "norm": "sum"},
        "reduce, sigma of points": {"reduce": "sum", "sigma": [[0.5], [1], [2], [4]], "norm": "sum"},
        "reduce, missing": {"reduce": "max", "return_weight": True},
    }.items():
        for shape in ((9, 13), (9, 33)):
            yield case(f"value {name}, {shape}", points, (4,), *shape, shape=shape, **options)
    yield case("value whole points", np.array, [(0, 0), (12, 8), (-0.0, 3), (5, 0)])
    yield case("value whole points far away", np.array, [(1e6, 2e6)], shape=(3, 5), sigma=3e5)
    for name, change in {
        "fortran": np.asfortranarray,
        "xy reversed": lambda a: a[..., ::-1],
        "broadcast": lambda a: np.broadcast_to(a[0], (2, 4, 2)),
        "batch transposed": lambda a: np.stack([a, a + 0.25]).swapaxes(0, 1),
    }.items():
        yield case(f"layout {name}", lambda c=change: c(points((4,), 9, 13)))
    for axes in ((-1, -2), (0, 1), (1, 2), (2, 3)):
        yield case(f"layout axes={axes}", points, (2, 3), 9, 13, axes=axes)
    for dtype in ("float16",):  # bfloat16 has no eps by which to judge it: `test_gaussian` does
        for name, options in {
            f"type {dtype}": {},
            f"type {dtype}, NHWC": {"axes": (1, 2)},
            f"type {dtype}, weight": {"return_weight": True},
            f"large batch, {dtype}": {"shape": (101, 71)},
        }.items():
            options = {"shape": (9, 13), "dtype": dtype} | options
            batch = (60,) if "large" in name else (2, 3)
            make = lambda batch=batch: (points(batch, 9, 13),)  # noqa: E731
            yield Case(name, make, options, "large" not in name, is_only_cpu=True, is_half=True)
    for grid_case in cases.points_in_grids():
        if not grid_case.name.endswith("float32"):  # which rounds the points
            yield Case(grid_case.name, grid_case.make, {**grid_case.options, "dtype": "float32"}, is_small=True)
