"""What `decode.peaks` is tried on: few values, so that many pixels are equal, plateaus of every form, and peaks."""

from collections.abc import Iterator

import numpy as np

import fastcoord as fc
from tests import cases
from tests.cases import HALVES, Case, halved, random

_NAN, _INF = np.nan, np.inf
_SIZES = (
    *((1, 1), (1, 2), (2, 1), (1, 7), (7, 1), (2, 2), (2, 3), (3, 3), (5, 15), (5, 16), (5, 17), (3, 31), (4, 33)),
    *((9, 20), (1, 65), (65, 1), (7, 63), (6, 64), (5, 129)),
)
# Plateaus, one character a pixel: where they hang together, whether something higher or lower stands beside them
_FORMS = {
    "one": ("....", ".7..", "...."),
    "two on a diagonal": ("5...", ".5..", "...."),
    "square": ("......", ".99...", ".99..3", "......"),
    "ring round a peak": (".........", ".5555555.", ".5.....5.", ".5..9..5.", ".5.....5.", ".5555555.", "........."),
    "ring round a hole": ("5555", "5..5", "5555"),
    "constant": ("444", "444"),
    "letter U, twice first": ("5..5", "5..5", "5555", "...."),
    "letter V": ("5...5", ".5.5.", "..5..", "....."),
    "spiral": ("5555555", "......5", "55555.5", "5...5.5", "5.555.5", "5.....5", "5555555"),
    "step beside a plateau": ("55556...",),
    "plateau beside a step far off": ("5555555....7", "............"),
    "pairs, two apart": ("5.5.5.5.5", ".........", "5.5.5.5.5"),
    "pairs, three apart": ("5..5..5..5", "..........", "..........", "5..5..5..5"),
    "suppressed by one that is suppressed": ("5..55....5",),
    "a plateau between two": ("5...........5", ".............", "..555555555..", "............."),
    "corners": ("9..8", "....", "7..6"),
    "board": ("5.5.5", ".5.5.", "5.5.5"),
    "stairs": ("1234567", "2345678", "3456789"),
}
_PIXELS_WITH_NAN = {
    "NaN beside": [(2, 3, 5), (2, 4, _NAN)],
    "NaN far": [(2, 3, 5), (4, 20, _NAN)],
    "NaN all round": [(j, i, _NAN) for j in (1, 2, 3) for i in (2, 3, 4) if (j, i) != (2, 3)] + [(2, 3, 5)],
    "NaN in a plateau": [(2, 3, 5), (2, 4, _NAN), (2, 5, 5), (3, 4, 5)],
    "NaN first": [(0, 0, _NAN), (2, 3, 5)],
}


def form(name, dtype="float32"):
    """A map of two with this form, the second turned round."""
    one = np.array([[0 if c == "." else int(c) for c in line] for line in _FORMS[name]], dtype)
    return np.stack([one, one[::-1, ::-1]])


def levels(shape, dtype="float32", count=3):
    """Numbers from 0 to `count` − 1."""
    return random(f"levels {shape} {count}").integers(0, count, size=shape).astype(dtype)


def _halved_levels(shape, dtype):
    return halved(levels(shape, "float32", 5) - 1, dtype)


def spots(shape, count=4, dtype="float32", noise=0.0, sigma=2.0):
    """Gaussians anywhere, of heights from 0.3 to 1."""
    numbers = random(f"spots {shape} {count}")
    height, width = shape[-2:]
    y, x = np.mgrid[:height, :width]
    maps = noise * numbers.normal(size=shape)
    for _ in range(count):
        at = numbers.uniform(0, (width - 1, height - 1), size=(*shape[:-2], 2))[..., None, None, :]
        far = (x - at[..., 0]) ** 2 + (y - at[..., 1]) ** 2
        maps = np.maximum(maps, numbers.uniform(0.3, 1, size=(*shape[:-2], 1, 1)) * np.exp(-far / (2 * sigma**2)))
    return maps.astype(dtype)


def peaks() -> Iterator[Case]:
    """Cases for `decode.peaks`."""

    def case(name, make, *arguments, is_small=True, is_half=False, **options):
        return Case(name, lambda: (make(*arguments),), options, is_small, is_half=is_half)

    for number, shape in enumerate(_SIZES):
        for count in (2, 3, 6, 40):
            options = {"k": (1, 2, 5, 20)[number % 4], "radius": (1, 2, 1, 3)[(number + count) % 4]}
            options["threshold"] = (0.2, None, 1, -3)[(number + count // 2) % 4]
            dtype = "uint8" if count == 6 else "float32"
            yield case(f"size {shape[0]}x{shape[1]}, {count} values", levels, (2, *shape), dtype, count, **options)
        yield case(f"size {shape[0]}x{shape[1]}, dense", cases.dense, (2, *shape), k=3, threshold=None)
    for name in _FORMS:
        for radius in (1, 2, 3):
            yield case(f"value {name}, radius={radius}", form, name, radius=radius, k=4)
        yield case(f"value {name}, sleap", form, name, compat="sleap", k=4)
    yield case("value 1x1, sleap", np.ones, (2, 1, 1), "float32", compat="sleap")
    yield case("value dense, sleap", cases.dense, (2, 9, 33), compat="sleap", k=5)
    for name, pixels in {**cases._FLOAT_PIXELS, **_PIXELS_WITH_NAN}.items():
        for nan in ("propagate", "ignore"):
            yield case(f"value {name}, {nan}", cases._with_pixels, (2, 5, 21), "float32", pixels, nan=nan, k=3)
    yield case("value -0.0 is 0.0", cases._with_pixels, (2, 5, 21), "float32", [(2, 3, -0.0), (2, 4, 0.0)], -1)
    yield case("value both zeros", lambda: np.array([[[-1, 0.0, -0.0, -1]]], "f4"), threshold=-0.5)
    yield case("value minus both zeros", lambda: np.array([[[-1, -0.0, 0.0, -1]]], "f4"), threshold=0)
    yield case("value -infinity round a peak", cases._with_pixels, (1, 5, 21), "float32", [(2, 3, -3)], -_INF, k=2)
    minus = {"threshold": None, "k": 2}
    yield case("value -infinity round a low peak", cases._with_pixels, (1, 5, 9), "f4", [(2, 3, -3)], -_INF, **minus)
    yield case("value of the threshold", cases._with_pixels, (1, 5, 9), "float32", [(2, 3, 0.2), (4, 8, 0.3)])
    yield case("value threshold infinite", cases.dense, (2, 5, 21), threshold=_INF)
    yield case("value threshold beyond uint8", levels, (2, 5, 21), "uint8", 9, threshold=300)
    yield case("value threshold 0.5 of uint8", levels, (2, 5, 21), "uint8", 3, threshold=0.5)
    for batch in cases.BATCHES:
        yield case(f"batch {batch}", levels, (*batch, 7, 9), k=3)
    for name in ("crop", "every second column", "columns reversed", "fortran", "NHWC", "batch transposed"):
        change, options = cases._LAYOUTS[name]
        yield case(f"layout {name}", lambda c=change: c(levels((3, 9, 20), "float32", 9)), k=4, radius=2, **options)
    change, _ = cases._LAYOUTS["three batch axes that do not fold"]
    yield case("layout batch that does not fold", lambda c=change: c(levels((3, 5, 7), "float32", 9)), k=3)
    for name in ("corners", "boxes"):
        yield case(f"grid {name}", spots, (3, 15, 21), 2, k=3, grid=cases.GRIDS[name][0])
    for dtype in HALVES[:1]:
        yield case(f"type {dtype}", _halved_levels, (2, 9, 40), dtype, is_half=True, k=6)
    yield case("type float64", spots, (2, 15, 21), 3, "float64", 0.05)
    yield case("refine dark", spots, (3, 24, 30), 4, "float32", 0.01, refine="dark", k=5)
    yield case("value spots", spots, (3, 40, 50), 9, k=5, is_small=False)
    yield case("value noise", cases.dense, (3, 64, 48), is_small=False)
    yield case("value large plateaus", lambda: np.repeat(np.repeat(levels((2, 9, 9)), 13, 1), 17, 2), is_small=False)
    yield case("large batch", spots, (40, 48, 64), 3, "float32", 0.02, is_small=False)
    yield case("large batch, uint8", levels, (40, 48, 64), "uint8", 200, is_small=False, k=30, threshold=190)
    yield case("large, spots", spots, (2, 400, 500), 50, is_small=False, k=60, grid=fc.grid.unit)
