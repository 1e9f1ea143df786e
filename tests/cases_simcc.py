"""What `decode.simcc` and `encode.simcc` are tried on."""

from collections.abc import Iterator

import numpy as np

from tests import cases
from tests.cases import Case
from tests.cases_gaussian import _MISSING, points

_NAN, _INF = np.nan, np.inf
_BINS = (  # of x and of y: beside the ends of vectors, of blocks of eight, and of what is read at once
    *((1, 1), (1, 7), (2, 3), (16, 17), (31, 33), (127, 129), (128, 256), (384, 512)),
    *((1023, 1025), (8063, 8065), (20000, 3), (40000, 33000)),
)
_REFINEMENTS = (None, "quadratic", "gaussian")


def axes_of(batch, bins, dtype="float32", levels=None):
    """Random bins of x and of y; with so many `levels`, several are equal."""
    if dtype in cases.HALVES:
        return tuple(cases.halved(axis, dtype) for axis in axes_of(batch, bins, levels=levels))
    made = cases.dense((*batch, bins[0]), dtype), np.roll(cases.dense((*batch, bins[1]), dtype), 1, -1)
    if levels is not None:
        made = tuple((axis.astype(np.float64) * 100 % levels).astype(dtype) for axis in made)
    return made


def _each(axis):
    """The axis as x, beside another, and as y."""
    other = cases.dense(axis.shape, axis.dtype)
    return np.stack([axis, other]), np.stack([other, axis])


_VALUES = {
    "equal": np.full((1, 19), 3.0),
    "zeros of both signs": np.array([[0.0, -0.0] * 9, [-0.0, 0.0] * 9]),
    "negative": -np.arange(1.0, 20)[None],
    "−∞": np.full((1, 19), -_INF),
    "−∞ beside the maximum": np.array([[*[-_INF] * 9, 1.0, *[-_INF] * 9]]),
    "∞": np.array([[*range(9), _INF, *range(9)]]),
    "NaN": np.array([[*range(9), _NAN, *range(9)], [_NAN, *range(18)], [*range(18), _NAN]]),
    "NaN alone": np.full((1, 19), _NAN),
    "first": np.arange(19.0)[None, ::-1],
    "last": np.arange(19.0)[None],
    "beside the ends": np.array([[1.0, 4, 2, *[0] * 16], [*[0] * 16, 2, 4, 1.0]]),
    "tiny": np.arange(1.0, 20)[None] * 2.0**-120,
    "plateau": np.array([[*range(9), 9, 9, 9, *range(7)]]),
    "two equal": np.array([[*range(9), 9, 9, *range(8)]]),
    "one alone": np.array([[*[0.0] * 9, 1, *[0.0] * 9]]),
}


def axes() -> Iterator[Case]:
    """Cases for `decode.simcc`."""

    def case(name, make, *arguments, is_small=True, **options):
        return Case(name, lambda: make(*arguments), options, is_small)

    for dtype in (*cases.PIXEL_TYPES, *cases.HALVES):
        yield case(f"type {dtype}", axes_of, (3,), (130, 77), dtype)
        yield case(f"type {dtype}, refined", axes_of, (3,), (130, 77), dtype, refine="quadratic")
        yield case(f"type {dtype}, ties", axes_of, (5,), (300, 77), dtype, 2, is_small=False)
        if dtype in ("uint8", "float32", "float64"):
            yield case(f"large, {dtype}", axes_of, (211, 17), (96, 128), dtype, is_small=False, refine="quadratic")
    for bins in _BINS:
        yield case(f"size {bins}", axes_of, (3,), bins, is_small=max(bins) < 600, split_ratio=1)
        yield case(f"size {bins}, uint8", axes_of, (3,), bins, "uint8", is_small=max(bins) < 600)
        yield case(f"size {bins}, ties", axes_of, (3,), bins, "float32", 3, is_small=max(bins) < 600)
    for batch in cases.BATCHES:
        yield case(f"batch {batch}", axes_of, batch, (18, 14))
    for name, axis in _VALUES.items():
        for dtype in ("float32", "float64"):
            for refine in _REFINEMENTS:
                make = lambda axis=axis, dtype=dtype: _each(axis.astype(dtype))  # noqa: E731
                yield case(f"value {name}, {dtype}, {refine}", make, refine=refine)
        make = lambda axis=axis: _each(axis.astype("float32"))  # noqa: E731
        yield case(f"value {name}, ignored", make, nan="ignore", refine="quadratic")
    for threshold in (-1, 0, 0.5, 1e300, -1e300):
        yield case(f"value threshold {threshold}", axes_of, (40,), (2, 3), threshold=threshold)
    for ratio in (1, 1.3, 2.0, 3, 7.25, np.float32(2.5), 1000):
        yield case(f"value split_ratio {ratio}", axes_of, (9,), (39, 51), split_ratio=ratio, refine="gaussian")
    for name, (grid, _of_x, _of_y) in cases.GRIDS.items():
        yield case(f"value grid {name}", axes_of, (3,), (39, 51), "float64", grid=grid)
    for name, change in {
        "fortran": np.asfortranarray,
        "reversed": lambda a: a[..., ::-1],
        "every second": lambda a: a[..., ::2],
        "rows apart": lambda a: a[..., 1:],
        "of a batch in front": lambda a: np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1),
        "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
        "read-only": cases._read_only,
        "unaligned": cases._unaligned,
    }.items():
        for which in ("x", "y", "both"):

            def make(change=change, which=which):
                x, y = axes_of((4, 3), (41, 37))
                return x if which == "y" else change(x), y if which == "x" else change(y)

            yield case(f"layout {name}, {which}", make)

    def apart():
        x, y = axes_of((4, 6, 4, 6), (9, 8))
        return x[::2, ::3, ::2, ::3], np.ascontiguousarray(y[::2, ::3, ::2, ::3])

    yield case("layout of several starts", apart)


def labels() -> Iterator[Case]:
    """Cases for `encode.simcc`."""

    def case(name, make, *arguments, shape=(9, 13), is_small=True, **options):
        return Case(name, lambda: (make(*arguments),), {"shape": shape, **options}, is_small)

    for dtype in ("float32", "float64"):
        yield case(f"type {dtype}", points, (5,), 9, 13, dtype=dtype)
        yield case(f"type {dtype}, sum", points, (5,), 9, 20, shape=(9, 20), dtype=dtype, norm="sum")
        yield case(f"type {dtype}, density", points, (5,), 9, 20, shape=(9, 20), dtype=dtype, norm="density")
        yield case(f"value missing, {dtype}", np.array, _MISSING, return_weight=True, dtype=dtype, sigma=2)
        big = {"shape": (64, 97), "dtype": dtype, "is_small": False}
        yield case(f"large, {dtype}", points, (41, 17), 64, 97, **big)
        yield case(f"large, {dtype}, sum", points, (41, 17), 64, 97, norm="sum", **big)
    for dtype in cases.POINT_TYPES:
        yield case(f"type of points {dtype}", points, (3,), 9, 13, dtype)
    for height, width in ((1, 1), (1, 7), (7, 1), (8, 16), (16, 17), (33, 31), (63, 65), (127, 129), (256, 192)):
        for ratio in (1, 2, 1.3):
            options = {"shape": (height, width), "is_small": height + width < 60, "split_ratio": ratio}
            yield case(f"size {height}x{width}, {ratio}", points, (5,), height, width, **options)
    yield case("size 3x9001", points, (5,), 3, 9001, shape=(3, 9001), is_small=False, sigma=300)
    for batch in cases.BATCHES:
        yield case(f"batch {batch}", points, batch, 7, 19, shape=(7, 19), return_weight=True)
    for name, options in {
        "sigma 0.3": {"sigma": 0.3},
        "sigma 1e-15": {"sigma": 1e-15},
        "sigma 1e15": {"sigma": 1e15, "norm": "sum"},
        "sigma of axes": {"sigma": (0.75, 3)},
        "sigma of points": {"sigma": [[0.5], [1], [2], [4]]},
        "sigma of both": {"sigma": [[0.5, 1], [1, 2], [2, 4], [4, 8]], "norm": "sum"},
        "mmpose": {"compat": "mmpose", "return_weight": True, "sigma": 2},
        "mmpose, density": {"compat": "mmpose", "norm": "density", "sigma": (1.5, 3)},
    }.items():
        for shape in ((9, 13), (9, 33)):
            yield case(f"value {name}, {shape}", points, (4,), *shape, shape=shape, **options)
    halves = [(0, 0), (0.25, 0.75), (1.25, 1.75), (-0.25, 8.75), (12.75, 3), (5.5, -0.75), (40, 3), (3, -30)]
    yield case("value where mmpose rounds", np.array, halves, compat="mmpose", return_weight=True, sigma=1)
    yield case("value whole points", np.array, [(0, 0), (12, 8), (-0.0, 3), (5, 0)])
    for name, (grid, _of_x, _of_y) in cases.GRIDS.items():

        def make(grid=grid):
            return grid.from_pixels(points((3,), 9, 13), 9, 13)

        if not grid.batch or grid.batch == (3,):
            yield case(f"value grid {name}", make, grid=grid)
    for name, change in {
        "fortran": np.asfortranarray,
        "xy reversed": lambda a: a[..., ::-1],
        "broadcast": lambda a: np.broadcast_to(a[0], (2, 4, 2)),
        "batch transposed": lambda a: np.stack([a, a + 0.25]).swapaxes(0, 1),
    }.items():
        yield case(f"layout {name}", lambda change=change: change(points((4,), 9, 13)))
