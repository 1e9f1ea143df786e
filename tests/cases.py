"""What the operations are tried on: images, and points to draw, at every edge we know of.

A case makes its arguments when it is asked for them, each time the same: collecting hundreds of cases costs nothing.
Names begin with what is varied (`type`, `size`, `batch`, `value`, `layout`, `large`), so that a test can choose.
"""

import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import fastcoord as fc

PIXEL_TYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64")
# Pixels apart are loaded by their size and then converted as others are; uint8 and float32 are among the layouts.
_STRIDED_TYPES = ("bool", "int16", "int64", "float64")
HALVES = ("float16", "bfloat16")
POINT_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")

# (height, width): single lines, off every tile, beyond one page of each type, and those of published heatmaps
SIZES = (
    *((1, 1), (1, 2), (2, 1), (1, 7), (7, 1), (2, 3), (9, 9), (3, 16), (5, 17), (4, 31), (3, 33)),
    *((1, 63), (1, 64), (1, 65), (63, 1), (65, 1), (2, 127), (2, 128), (2, 129), (130, 2), (3, 130)),
    *((64, 48), (96, 72), (64, 64), (100, 70), (127, 129), (1, 4097), (4097, 1), (3, 5000)),
)
BATCHES = ((), (0,), (1,), (2,), (5,), (1, 1), (2, 3), (3, 0, 2), (2, 1, 3), (2, 2, 2, 2))

_SMALL = 1000  # pixels that an uncompiled kernel visits in a moment


@dataclass(frozen=True)
class Case:
    """One call: positional arguments, and keyword options."""

    name: str
    make: Callable[[], tuple[Any, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    is_small: bool = False  # for uncompiled runs and for the simulator
    is_only_cpu: bool = False  # the CUDA kernel refuses it
    is_half: bool = False  # float16 or bfloat16, which the CUDA kernels do not know yet

    @property
    def arguments(self) -> tuple[Any, ...]:
        """New arrays at each access."""
        return self.make()

    def __str__(self) -> str:
        return self.name


def random(name: str) -> np.random.Generator:
    """The random numbers that belong to a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def half_type(name):
    """float16 or bfloat16, as NumPy has them."""
    return np.dtype(np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16)


def halved(array, name):
    """A float32 array as float16 or bfloat16; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(half_type(name))


# Images


def one_hot(shape, dtype="float32", value=1):
    """One pixel of each map is `value`, the others are 0."""
    images = np.zeros(shape, dtype)
    maps = images.reshape(-1, shape[-2] * shape[-1])
    maps[np.arange(len(maps)), random(f"{shape}").integers(maps.shape[1], size=len(maps))] = value
    return images


def dense(shape, dtype="float32"):
    """Random numbers: all values of an integer type, normal ones of a floating-point type."""
    dtype, numbers = np.dtype(dtype), random(f"{shape} {dtype}")
    if dtype.kind == "f":
        return numbers.normal(size=shape).astype(dtype)
    if dtype.kind == "b":
        return numbers.random(shape) < 0.5
    limits = np.iinfo(dtype)
    return numbers.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def sparse(shape, dtype="float32", share=0.01):
    """As dense, but most pixels are 0."""
    return np.where(random(f"sparse {shape}").random(shape) < share, dense(shape, dtype), np.zeros((), dtype))


def patches(shape, dtype="float32"):
    """Dense and empty stretches of many lengths, one after the other."""
    images = dense(shape, dtype)
    flat = images.reshape(-1)
    numbers = random(f"patches {shape}")
    at = 0
    while at < flat.size:
        empty, full = numbers.geometric(1 / 900, size=2)
        flat[at : at + empty] = 0
        at += empty + full
    return images


def negative(shape, dtype="float32"):
    """One hot pixel before a background that is less than zero (zero in unsigned types)."""
    images = one_hot(shape, dtype)
    if images.dtype.kind in "if":
        images[images == 0] = -3
    return images


def _with_pixels(shape, dtype, pixels, background=0):
    """`background`, and the `pixels` given as (row, column, value) in each map."""
    images = np.full(shape, background, dtype)
    for row, column, value in pixels:
        images[..., row, column] = value
    return images


def _memmap(array):
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


def _read_only(array):
    array.flags.writeable = False
    return array


def _unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    shifted = memory[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


def _field(array):
    """A field of packed records: its strides are no multiples of its item."""
    records = np.zeros(array.shape, [("mark", "u1"), ("pixel", array.dtype)])
    records["pixel"] = array
    return records["pixel"]


_ANY_STRIDES = {
    "reversed": lambda a: a[::-1],
    "read-only": _read_only,
    "memmap": _memmap,
    "unaligned": _unaligned,
    "field of records": _field,
}

# Of (3, 9, 20) maps; some make fewer or larger ones. With options they are in another order of axes.
_LAYOUTS = {
    "fortran": (np.asfortranarray, {}),
    "fortran maps": (lambda a: np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2), {}),
    "rows reversed": (lambda a: a[:, ::-1], {}),
    "columns reversed": (lambda a: a[..., ::-1], {}),
    "all reversed": (lambda a: a[::-1, ::-1, ::-1], {}),
    "every second column": (lambda a: a[..., ::2], {}),
    "every third row, backwards": (lambda a: a[:, ::-3], {}),
    "every second map": (lambda a: a[::2], {}),
    "crop": (lambda a: a[1:, 2:-1, 3:-2], {}),
    "one column": (lambda a: a[..., 4:5], {}),
    "one row": (lambda a: a[:, 4:5], {}),
    "height and width exchanged": (lambda a: a, {"axes": (-1, -2)}),
    "NHWC": (lambda a: np.ascontiguousarray(np.moveaxis(a[:, None], 1, -1)), {"axes": (1, 2)}),
    "NHWC, three channels": (lambda a: np.ascontiguousarray(np.moveaxis(a[None], 1, -1)), {"axes": (1, 2)}),
    "HWN": (lambda a: np.ascontiguousarray(np.moveaxis(a, 0, -1)), {"axes": (0, 1)}),
    "HNW": (lambda a: np.ascontiguousarray(np.moveaxis(a, 0, 1)), {"axes": (0, -1)}),
    "batch transposed": (lambda a: np.stack([a, a[::-1] * 2]).swapaxes(0, 1), {}),
    "three batch axes transposed": (
        lambda a: (a[:, None, None] * np.arange(8).reshape(1, 2, 4, 1, 1).astype(a.dtype)).transpose(2, 0, 1, 3, 4),
        {},
    ),
    "three batch axes that do not fold": (
        lambda a: np.tile(a, (5, 3, 1, 1, 1))[::2, ::2, ::2] * np.ones(1, a.dtype),
        {},
    ),
    "every second of three batch axes": (lambda a: np.tile(a, (5, 3, 1, 1, 1))[::2, ::2, ::-2], {}),
    "batch broadcast": (lambda a: np.broadcast_to(a[0], (2, 4, *a.shape[1:])), {}),
    "rows broadcast": (lambda a: np.broadcast_to(a[:, :1], a.shape), {}),
    "columns broadcast": (lambda a: np.broadcast_to(a[..., :1], a.shape), {}),
    "pixel broadcast": (lambda a: np.broadcast_to(a[0, 0, 0], a.shape), {}),
    **{name: (change, {}) for name, change in _ANY_STRIDES.items()},
}

_NAN, _INF = float("nan"), float("inf")
# What only floating-point maps hold, as pixels of a (2, 5, 21) map
_FLOAT_PIXELS = {
    "NaN first": [(0, 0, _NAN), (2, 3, 1)],
    "NaN last": [(4, 20, _NAN), (2, 3, 1)],
    "NaN alone": [(3, 17, _NAN)],
    "several NaN": [(0, 5, _NAN), (1, 20, _NAN), (4, 0, _NAN)],
    "negative NaN": [(1, 1, -_NAN), (2, 3, 1)],
    "infinity": [(2, 3, _INF)],
    "several infinities": [(0, 0, _INF), (2, 3, 1), (4, 20, _INF)],
    "-infinity": [(2, 3, 1), (0, 4, -_INF), (4, 20, -_INF)],
    "both infinities": [(0, 1, _INF), (0, 2, -_INF)],
    "infinity and NaN": [(0, 1, _INF), (4, 2, _NAN)],
    "-0.0": [(0, 0, -0.0), (2, 3, 1)],
    "-0.0 and nothing": [(0, 0, -0.0), (4, 20, -0.0)],
    "not one": [(2, 3, 0.25)],
    "nearly one": [(2, 3, 0.99999)],
    "beyond the type": [(2, 3, 3e38), (4, 4, 3e38)],
    "almost nothing": [(2, 3, 1e-45)],
}
_PIXELS = {
    "two hot": [(0, 0, 1), (4, 20, 1)],
    "two hot, not one": [(1, 0, 1), (1, 1, 2)],
    "first": [(0, 0, 1)],
    "last": [(4, 20, 1)],
    "largest": [(3, 2, 127)],
    "negative and hot": [(0, 0, -1), (0, 1, -128), (3, 2, 1)],
}


def images() -> Iterator[Case]:
    """Cases for an operation on (..., H, W) images."""

    def case(name, make, *arguments, pixels=0, is_small=None, **options):
        is_small = pixels <= _SMALL if is_small is None else is_small
        return Case(name, lambda: (make(*arguments),), options, is_small)

    for dtype in PIXEL_TYPES:
        for content in (one_hot, sparse, patches, dense, negative):
            yield case(f"type {dtype}, {content.__name__}", content, (2, 100, 70), dtype, is_small=False)
        yield case(f"type {dtype}, small", dense, (2, 5, 21), dtype)
        if dtype in _STRIDED_TYPES:
            strided = lambda dtype=dtype: dense((2, 5, 42), dtype)[..., ::2]  # noqa: E731
            yield case(f"type {dtype}, every second column", strided)
    for dtype in ("float32", "uint8"):
        for height, width in SIZES:
            pixels = 2 * height * width
            yield case(f"size {height}x{width} {dtype}, one_hot", one_hot, (2, height, width), dtype, pixels=pixels)
            yield case(f"size {height}x{width} {dtype}, patches", patches, (2, height, width), dtype, pixels=pixels)
    for height, width in ((1, 1), (9, 9), (100, 70)):
        yield case(f"size {height}x{width}, half dense", sparse, (2, height, width), "float32", 0.5, is_small=False)
    for batch in BATCHES:
        yield case(f"batch {batch}", one_hot, (*batch, 7, 9))
    for dtype in ("float32", "float64"):
        for name, pixels in _FLOAT_PIXELS.items():
            yield case(f"value {name}, {dtype}", _with_pixels, (2, 5, 21), dtype, pixels)
        yield case(f"value NaN only, {dtype}", np.full, (2, 5, 21), _NAN, dtype)
        yield case(f"value -infinity only, {dtype}", np.full, (2, 5, 21), -_INF, dtype)
        yield case(f"value NaN far, {dtype}", _with_pixels, (2, 100, 70), dtype, [(99, 69, _NAN)], is_small=False)
        yield case(f"value NaN in dense, {dtype}", _dense_with_nan, dtype, is_small=False)
    for dtype in ("float32", "int8", "int64"):
        for name, pixels in _PIXELS.items():
            yield case(f"value {name}, {dtype}", _with_pixels, (2, 5, 21), dtype, pixels)
        yield case(f"value all -5, {dtype}", np.full, (2, 5, 21), -5, dtype)
    for dtype in ("bool", "uint8", "float32"):
        yield case(f"value none, {dtype}", np.zeros, (2, 5, 21), dtype)
        yield case(f"value all 1, {dtype}", np.ones, (2, 5, 21), dtype)
        yield case(f"value all 1 everywhere, {dtype}", np.ones, (2, 100, 70), dtype, is_small=False)
    yield case("value all 255", np.full, (2, 100, 70), 255, "uint8", is_small=False)
    yield case("value one of 255", one_hot, (3, 9, 20), "uint8", 255)
    for dtype in ("float32", "uint8"):
        for name, (change, options) in _LAYOUTS.items():
            source = lambda dtype=dtype, change=change: change(dense((3, 9, 20), dtype))  # noqa: E731
            yield case(
                f"layout {name}, {dtype}", source, is_small=dtype == "float32" and "three" not in name, **options
            )
    for name in ("crop", "rows reversed", "batch transposed"):
        change, options = _LAYOUTS[name]
        yield case(f"layout {name}, wide", lambda c=change: c(patches((3, 70, 300))), is_small=False, **options)
    yield from _halves_of_images()
    # More pixels than a float32 can count, and enough for all threads
    last = [(4096, 4095, 1)]
    yield case("large, uint8, one hot", _with_pixels, (4097, 4096), "uint8", last, is_small=False)
    yield case("large, float32, all 1", np.ones, (4097, 4096), "float32", is_small=False)
    yield case("large batch, float32", patches, (40, 64, 48), is_small=False)
    yield case(
        "large batch, uint8, every second column", lambda: patches((40, 64, 96), "uint8")[..., ::2], is_small=False
    )


# Where a maximum lies beside others that are as large, or beside NaN, in a (2, 5, 21) map
_MAXIMA = {
    "two maxima": [(0, 3, 5), (4, 20, 5)],
    "two maxima in a row": [(2, 3, 5), (2, 4, 5)],
    "maximum first": [(0, 0, 7), (2, 3, 5)],
    "maximum last": [(4, 20, 7), (2, 3, 5)],
    "maximum of the threshold": [(2, 3, 0.5)],
    "maximum below the threshold": [(2, 3, 0.25)],
}
_MAXIMA_OF_FLOATS = {
    "NaN before the maximum": [(0, 0, _NAN), (2, 3, 5)],
    "NaN behind the maximum": [(4, 20, _NAN), (2, 3, 5), (3, 0, 5)],
    "both zeros": [(0, 3, -0.0), (2, 0, 0.0), (1, 1, -0.0)],
}


def images_and_grids() -> Iterator[Case]:
    """Those of `images`, and grids."""
    yield from images()
    yield from maps_in_grids()


def heatmaps() -> Iterator[Case]:
    """Those of `images`, with a threshold and what NaN does by turns; and maxima where it is easy to go wrong."""
    thresholds = (None, 0.5, None, -3, 1)
    for number, case in enumerate(images()):
        options = {"threshold": thresholds[number % 5], "nan": ("propagate", "ignore")[number % 3 == 1]}
        yield replace(case, options={**case.options, **options})
        if "NaN" in case.name or "infinit" in case.name:
            yield replace(case, name=f"{case.name}, NaN ignored", options={**case.options, "nan": "ignore"})
    backgrounds = {"float32": (0, -1, -_INF, _NAN), "float64": (0, _NAN), "int8": (0, -128), "uint16": (0,)}
    for dtype, values in backgrounds.items():
        for background in values:
            is_float = np.dtype(dtype).kind == "f"
            for name, pixels in {**_MAXIMA, **(_MAXIMA_OF_FLOATS if is_float else {})}.items():
                for nan in ("propagate", "ignore") if is_float else ("propagate",):
                    make = lambda d=dtype, p=pixels, b=background: (_with_pixels((2, 5, 21), d, p, b),)  # noqa: E731
                    yield Case(
                        f"value {name}, {dtype}, background {background}, NaN: {nan}",
                        make,
                        {"threshold": 0.5, "nan": nan},
                        is_small=True,
                    )
    for dtype in ("float32", "int64", "uint8"):
        for shape in ((3, 700), (300, 300), (2, 70000)):
            make = lambda dtype=dtype, shape=shape: (_far_maxima(shape, dtype),)  # noqa: E731
            yield Case(f"value far apart, {shape[0]}x{shape[1]} {dtype}", make)
            columns = lambda dtype=dtype, shape=shape: (_far_maxima(shape, dtype)[..., 1:-1],)  # noqa: E731
            yield Case(f"value far apart, {shape[0]}x{shape[1]} {dtype}, crop", columns)
    neighbours = lambda: (np.array([[[2**53, 2**53 + 1, 2**53 + 1], [0, 2**62, 2**62 - 1]]]),)  # noqa: E731
    yield Case("value of int64 that no float tells apart", neighbours, is_small=True)
    yield Case("large, float32, crop", lambda: (dense((1000, 2000))[3:, 5:],))
    yield from maps_in_grids()
    yield Case("large, float16 in rows", lambda: (halved(dense((900, 1500)), "float16")[:, ::-1],), is_half=True)


_SIGNED = ("dense", "patches", "sparse", "negative", "small", "every second", "layout", "large batch")


def masses() -> Iterator[Case]:
    """Those of `images`, with a covariance and a window by turns; blobs; and more pixels than pieces have.

    Where the pixels are floats of both signs, those below 0 count as 0: a sum in which nearly all cancels would be
    compared with one that is no better.
    """
    windows = (None, None, 2, (0, 40), None, (3, 1))
    for number, case in enumerate(images()):
        options: dict[str, Any] = {"covariance": number % 3 > 0, "window": windows[number % 6]}
        options["nan"] = ("propagate", "ignore")[number % 4 == 1]
        is_whole = any(f"int{bits}" in case.name for bits in (8, 16, 32, 64)) and number % 2
        options["clip_negative"] = any(word in case.name for word in _SIGNED) and not is_whole
        yield replace(case, options={**case.options, **options})
    for dtype in ("float32", "float64", "float16", "uint8", "int16"):
        for height, width in (
            (1, 1),
            (3, 1),
            (5, 7),
            (4, 15),
            (8, 16),
            (8, 31),
            (9, 33),
            (64, 48),
            (70, 100),
            (96, 72),
        ):
            name = f"mass of blobs in {height}x{width} {dtype}"
            make = lambda height=height, width=width, dtype=dtype: (blobs(4, height, width, dtype),)  # noqa: E731
            yield Case(name, make, {"covariance": True}, 4 * height * width <= _SMALL, dtype == "float16")
    yield Case("mass of blobs in float64, large", lambda: (blobs(2, 700, 900, "float64"),), {"covariance": True})
    yield Case("mass of lone pixels", lambda: (_lone_pixels(),), {"covariance": True})
    reversed_rows = lambda: (blobs(3, 40, 50, "float32")[:, ::-1, 3:],)  # noqa: E731
    yield Case("mass of blobs in rows reversed", reversed_rows, {"covariance": True})
    for nan in ("propagate", "ignore"):
        make = lambda: (_blobs_with_nan(),)  # noqa: E731
        yield Case(f"mass of blobs and NaN, {nan}", make, {"covariance": True, "nan": nan, "window": None})
        yield Case(f"mass of blobs and NaN, {nan}, window", make, {"covariance": True, "nan": nan, "window": 5})
    yield Case("large, float32, blob", lambda: (blobs(1, 4100, 4103, "float32"),), {"covariance": True})
    yield Case("large, float32, blob in a row", lambda: (blobs(2, 1, (1 << 18) + 77, "float32"),), {"covariance": True})
    yield Case("large, uint8, blob in a column", lambda: (blobs(2, 300001, 1, "uint8"),), {"covariance": True})
    yield from maps_in_grids()


def blobs(maps, height, width, dtype):
    """Gaussians of several widths anywhere in their maps, the first one in a corner, on a little noise."""
    numbers = random(f"blobs {maps} {height} {width}")
    rows, columns = np.ogrid[:height, :width]
    images = np.empty((maps, height, width), "float32" if np.dtype(dtype).kind != "f" else dtype)
    for i in range(maps):
        x, y = numbers.uniform(0, width - 1) * (i > 0), numbers.uniform(0, height - 1) * (i > 0)
        sigma = (1.5, 0.6, 2.5, 1)[i % 4]
        images[i] = np.exp(-((columns - x) ** 2) / (2 * sigma**2)) * np.exp(-((rows - y) ** 2) / (2 * sigma**2))
        if i % 2:
            images[i] += numbers.random((height, width)) * 0.01
    return images if np.dtype(dtype).kind == "f" else (images * 200).astype(dtype)


def _lone_pixels():
    """Of each map one pixel is not 0, and in float32 not a power of two."""
    maps = np.zeros((64 * 48, 64, 48), np.float32)
    pixels = np.arange(64 * 48)
    maps.reshape(64 * 48, -1)[pixels, pixels] = random("lone").uniform(0.1, 0.9, size=64 * 48)
    return maps


def _blobs_with_nan():
    maps = blobs(4, 64, 48, "float32")
    maps[0, 63, 47] = maps[1, 0, 0] = maps[2, 31, 20] = _NAN
    return maps


# Logits in a (2, 5, 21) map, on a background of −∞
_MASKED = {
    "one logit": [(2, 3, -7)],
    "two logits far apart": [(0, 0, 3), (4, 20, 3)],
    "logits of both signs": [(0, 0, 3e38), (2, 5, -3e38), (4, 20, 2.9e38)],
    "NaN beside -infinity": [(3, 3, _NAN)],
    "NaN and a logit": [(3, 3, _NAN), (0, 1, 2)],
    "infinity beside -infinity": [(0, 1, _INF)],
}
_TEMPERATURES = (1.0, 0.3, 20)


def gaussian_logits(shape, dtype="float32", sigma=1.3):
    """Logits whose softmax is a Gaussian about any point of each map."""
    numbers = random(f"gaussian {shape}")
    height, width = shape[-2:]
    y, x = (numbers.uniform(0, n - 1, size=(*shape[:-2], 1, 1)) for n in (height, width))
    squares = (np.arange(width) - x) ** 2 + (np.arange(height)[:, None] - y) ** 2
    return (-squares / (2 * sigma**2)).astype(dtype)


def logits() -> Iterator[Case]:
    """Some of `images`, with a temperature, a covariance and a window by turns; and what is hard for exponentials.

    Covariances and windows are compiled for float32 and float64 alone, other types for few layouts.
    """
    float_layouts = ("NHWC", "crop", "every second column", "rows reversed", "batch transposed", "pixel broadcast")
    for number, case in enumerate(images()):
        kind, _space, rest = case.name.partition(" ")
        is_float = "float32" in rest or (kind in ("batch", "size") and "uint8" not in rest)
        fits = {
            "type": rest.endswith("small")
            or rest in ("float32, dense", "uint8, dense", "float32, every second column"),
            "size": is_float and rest.endswith("patches"),
            "batch": True,
            "value": is_float and "everywhere" not in rest,
            "layout": is_float and rest.split(",")[0] in float_layouts,
            "large": is_float or "every second column" in rest,
            "large,": "float32" in rest,
        }
        if fits.get(kind, False) and not case.is_half:
            options = {"temperature": _TEMPERATURES[number % 3]}
            if is_float:
                options |= {"covariance": number % 2 == 1, "window": (None, None, None, 2, 0, None, 30)[number % 7]}
            yield replace(case, options={**case.options, **options})
    for dtype in ("float32", "float64"):
        for name, pixels in _MASKED.items():
            for window in (None, 3):
                make = lambda d=dtype, p=pixels: (_with_pixels((2, 5, 21), d, p, -_INF),)  # noqa: E731
                yield Case(f"value {name}, {dtype}, window={window}", make, {"window": window}, is_small=True)
    for name, scale, offset in (("sharp", 1000, 0), ("flat", 0.01, 1e3), ("low", 30, -1e5), ("wide", 5e37, 0)):
        make = lambda s=scale, o=offset: ((dense((2, 9, 20)) * s + o).astype("float32"),)  # noqa: E731
        yield Case(f"value {name}", make, {"covariance": True}, is_small=True)
    for temperature in (1e-30, 1e30):
        make = lambda t=temperature: ((dense((2, 9, 20)) * t).astype("float32"),)  # noqa: E731
        yield Case(f"value temperature {temperature}", make, {"temperature": temperature}, is_small=True)
    for shape in ((3, 64, 48), (2, 9, 20), (2, 300, 301), (500, 700)):
        for covariance in (False, True):
            for window in (None, 7):
                name = f"value gaussian {shape}, covariance={covariance}, window={window}"
                options = {"covariance": covariance, "window": window}
                yield Case(name, lambda s=shape: (gaussian_logits(s),), options, is_small=shape == (2, 9, 20))
    double = {"covariance": True}
    yield Case("value gaussian, float64", lambda: (gaussian_logits((2, 9, 20), "float64"),), double, is_small=True)
    yield Case("large, gaussian", lambda: (gaussian_logits((2000, 2000)),), {"covariance": True})
    yield Case("large, gaussian, window", lambda: (gaussian_logits((2000, 2000)),), {"window": 300})
    yield Case("large, float32, all of one row", lambda: (dense((1, 300_000)),), {"covariance": True})
    yield from maps_in_grids()
    for dtype in HALVES:
        for shape in ((2, 5, 21), (3, 64, 48)):
            half = lambda dtype=dtype, shape=shape: (halved(dense(shape) * 3, dtype),)  # noqa: E731
            yield Case(f"type half, {shape}, {dtype}", half, is_small=shape[-1] == 21, is_half=True)


def _far_maxima(shape, dtype):
    """Of eight maps each has one or two maxima, anywhere."""
    maps = np.zeros((8, *shape), dtype)
    places = random(f"far {shape}").integers(shape[0] * shape[1], size=(8, 2))
    maps.reshape(8, -1)[np.arange(8)[:, None], places] = 9
    maps.reshape(8, -1)[np.arange(0, 8, 2), places[::2, 1]] = 3
    maps.reshape(8, -1)[np.arange(8), places[:, 0]] = 9
    return maps


def _halves_of_images() -> Iterator[Case]:
    for dtype in HALVES:

        def case(name, make, *arguments, is_small=True, dtype=dtype, **options):
            return Case(f"{name}, {dtype}", lambda: (halved(make(*arguments), dtype),), options, is_small, is_half=True)

        for content in (one_hot, sparse, patches, dense, negative):
            yield case(f"type half, {content.__name__}", content, (2, 100, 70), is_small=False)
        yield case("type half, small", dense, (2, 5, 21))
        for height, width in ((1, 1), (3, 33), (2, 129), (1, 4097)):
            for content in (one_hot, dense):
                yield case(f"size {height}x{width} half, {content.__name__}", content, (2, height, width))
        for name, pixels in _FLOAT_PIXELS.items():
            yield case(f"value {name}", _with_pixels, (2, 5, 21), "float32", pixels)
        for name in ("every second column", "rows reversed", "crop", "NHWC", "batch transposed", "fortran"):
            change, options = _LAYOUTS[name]
            yield case(f"layout {name}", lambda c=change: c(dense((3, 9, 20))), **options)
        unaligned = lambda dtype=dtype: (_unaligned(halved(dense((3, 9, 20)), dtype)),)  # noqa: E731
        yield Case(f"layout unaligned, {dtype}", unaligned, is_small=True, is_half=True)
        yield case("large batch", patches, (40, 64, 48), is_small=False)


def _dense_with_nan(dtype):
    images = dense((2, 100, 70), dtype)
    images[1, 63, 17] = _NAN
    return images


# Grids, with what they are in plain NumPy: of pixels and their number, as one fraction, so that rounding comes last

BOXES = np.array([[-7, 3, 41, 67], [0, 0, 20, 9], [100, 200, 110, 202]])


def _between(low, high):
    return lambda i, n: ((2 * i + 1) * (high - low) + (2 * low - 1) * n) / (2 * n)


GRIDS: dict[str, tuple[Any, Callable[..., Any], Callable[..., Any]]] = {
    "corners": (fc.grid.corners, *[lambda i, n: (2 * i + 1 - n) / max(n - 1, 1)] * 2),
    "half": (fc.grid.half, *[lambda i, n: (2 * i + 1 - n) / n] * 2),
    "unit": (fc.grid.unit, *[lambda i, n: i / n] * 2),
    "unit_half": (fc.grid.unit_half, *[lambda i, n: (2 * i + 1) / (2 * n)] * 2),
    "affine": (fc.grid.affine((-3, 0.5), (7, -2)), lambda i, n: 7 - 3 * i, lambda i, n: i / 2 - 2),
    "strides": (fc.grid.strides(4, 1.5), *[lambda i, n: 4 * i + 3 / 2] * 2),
    "udp": (
        fc.grid.udp((256, 192)),
        *(lambda i, n: i * 191 / max(n - 1, 1), lambda i, n: i * 255 / max(n - 1, 1)),
    ),
    "box": (fc.grid.crops([-7, 3, 41, 68]), _between(-7, 41), _between(3, 68)),
    "boxes": (fc.grid.crops(BOXES), _between(BOXES[:, 0], BOXES[:, 2]), _between(BOXES[:, 1], BOXES[:, 3])),
}


def in_grid(grid, xy, height, width):
    """(..., 2) `xy`, in pixels, as a grid of GRIDS has them, computed in their type."""
    _grid, of_x, of_y = next(known for known in GRIDS.values() if known[0] == grid)
    return np.stack([of_x(xy[..., 0], width), of_y(xy[..., 1], height)], -1).astype(xy.dtype)


def in_pixels(grid, xy, height, width):
    """(..., 2) `xy`, in a grid of GRIDS, in pixels."""
    first, second = (in_grid(grid, np.full(xy.shape, pixel, float), height, width) for pixel in (0, 1))
    pixels = (xy - first) / (second - first)
    if grid == fc.grid.corners:  # an axis of one pixel is a point, which takes all
        pixels = np.where(np.array([width, height]) == 1, 0 * xy, pixels)
    return pixels


def points_in_grids() -> Iterator[Case]:
    """Points anywhere in pixels, as each grid has them, some beyond the canvas and one that is none."""
    for name, (grid, _of_x, _of_y) in GRIDS.items():
        for dtype in ("float32", "float64"):

            def make(grid=grid, dtype=dtype):
                pixels = points_within((3,), 11, 15) - 1
                pixels[0, 0] = 20
                return (in_grid(grid, np.stack([pixels, pixels * 0.5, pixels * np.nan]), 9, 13).astype(dtype),)

            options = {"shape": (9, 13), "grid": grid, "return_weight": True, "dtype": "uint8"}
            yield Case(f"grid {name}, {dtype}", make, options, is_small=True)
    for name in ("corners", "boxes"):
        for shape in ((1, 13), (9, 1)):
            grid = GRIDS[name][0]
            make = lambda grid=grid, shape=shape: (in_grid(grid, points_within((3,), *shape), *shape),)  # noqa: E731
            yield Case(f"grid {name}, {shape}", make, {"shape": shape, "grid": grid}, is_small=True)


def maps_in_grids() -> Iterator[Case]:
    """One-hot maps whose points are asked for in each grid."""
    for name, (grid, _of_x, _of_y) in GRIDS.items():
        for shape, dtype in (((3, 9, 20), "float32"), ((3, 1, 7), "uint8"), ((3, 6, 1), "float64")):
            if 1 not in shape or name in ("corners", "udp", "boxes"):
                make = lambda shape=shape, dtype=dtype: (one_hot(shape, dtype),)  # noqa: E731
                yield Case(f"grid {name}, {shape} {dtype}", make, {"grid": grid}, is_small=True)
    nhwc = lambda: (np.moveaxis(one_hot((2, 3, 9, 20)), 1, -1),)  # noqa: E731
    yield Case("grid boxes, NHWC", nhwc, {"grid": fc.grid.crops(BOXES), "axes": (1, 2)}, is_small=True)
    large = lambda: (one_hot((3, 700, 900)),)  # noqa: E731
    yield Case("large, grid boxes", large, {"grid": fc.grid.crops(BOXES)})


# Points


def points_within(batch, height, width, dtype="float64"):
    """Random points of a canvas, on pixels' centres in integer types, anywhere in the others."""
    numbers = random(f"{batch} {height} {width}")
    pixels = numbers.integers(0, (width, height), size=(*batch, 2))
    if np.dtype(dtype).kind != "f":
        return pixels.astype(dtype)
    return (pixels + numbers.uniform(-0.49, 0.49, size=pixels.shape)).astype(dtype)


# Where floor(p + 1/2) turns, on a canvas of 9 × 13
_TURNS = [
    *((0, 0), (0.5, 0), (0, 0.5), (1.5, 2.5), (2.5, 3.5), (-0.5, -0.5), (-0.25, 8.25), (-0.0, 0.0)),
    *((0.49999997, 0), (0.5000001, 1), (0.49999999999999994, 1), (12, 8), (12.49, 8.49), (11.5, 7.5)),
]
_MISSING = [
    *((_NAN, 1), (1, _NAN), (_NAN, _NAN), (_INF, 1), (1, -_INF), (-_INF, _NAN), (12.5, 1), (1, 8.5), (-0.51, 1)),
    *((1, -0.50001), (13, 8), (12, 9), (1e30, 1), (1, -1e30), (2.0**63, 2.0**64), (-1, 3), (3, 4), (12, 8)),
]


def points() -> Iterator[Case]:
    """Cases for an operation that draws (..., 2) points on a canvas."""

    def case(name, make, *arguments, shape=(9, 13), is_small=True, **options):
        return Case(name, lambda: (make(*arguments),), {"shape": shape, **options}, is_small)

    for dtype in PIXEL_TYPES:
        yield case(f"type {dtype}", points_within, (3,), 9, 13, dtype=dtype)
        yield case(f"type {dtype}, NHWC", points_within, (2, 3), 5, 6, shape=(5, 6), dtype=dtype, axes=(1, 2))
        yield case(f"type {dtype}, 100x70", points_within, (3,), 100, 70, shape=(100, 70), dtype=dtype, is_small=False)
    for dtype in POINT_TYPES:
        yield case(f"type of points {dtype}", points_within, (3,), 9, 13, dtype)
    for dtype in HALVES:
        for name, options in {
            f"type {dtype}": {},
            f"type {dtype}, NHWC": {"axes": (1, 2)},
            f"type {dtype}, weight": {"return_weight": True},
            f"large batch, {dtype}": {"shape": (101, 71)},
        }.items():
            options = {"shape": (9, 13), "dtype": dtype} | options
            batch = (60,) if "large" in name else (2, 3)
            make = lambda batch=batch: (points_within(batch, 9, 13),)  # noqa: E731
            yield Case(name, make, options, "large" not in name, is_half=True)
    for height, width in SIZES:
        for dtype in ("float32", "uint8"):
            yield case(
                f"size {height}x{width} {dtype}",
                *(points_within, (2,), height, width),
                shape=(height, width),
                dtype=dtype,
                is_small=2 * height * width <= _SMALL,
            )
    for batch in BATCHES:
        yield case(f"batch {batch}", points_within, batch, 7, 9, shape=(7, 9))
        yield case(f"batch {batch}, weight", points_within, batch, 7, 9, shape=(7, 9), return_weight=True)
    for dtype in ("float32", "float64"):
        at_turns = lambda dtype=dtype: np.array([p for p in _TURNS if np.dtype(dtype).type(p[0]) < 12.5], dtype)  # noqa: E731
        yield case(f"value where rounding turns, {dtype}", at_turns)
        missing = lambda dtype=dtype: np.array(_MISSING, dtype)  # noqa: E731
        yield case(f"value missing, {dtype}", missing, return_weight=True)
        yield case(f"value missing, {dtype}, NHWC", missing, return_weight=True, axes=(1, 2), dtype="uint8")
    for position in ((0, 0), (12, 8), (12, 0), (0, 8)):
        yield case(f"value corner {position}", np.array, position, dtype="int16")
    for axes in ((-1, -2), (0, 1), (1, 0), (1, 2), (0, -1), (-2, 0), (2, 3), (-4, -3)):
        yield case(f"layout axes={axes}", points_within, (2, 3), 9, 13, axes=axes)
    for name, change in {
        **_ANY_STRIDES,
        "fortran": np.asfortranarray,
        "x and y exchanged": lambda a: a[..., ::-1] % 9,
        "of another array": lambda a: np.repeat(a, 3, 1)[:, 1:-1:3].copy()[::2],
        "xy reversed": lambda a: np.minimum(a, 8.0)[..., ::-1],
        "broadcast": lambda a: np.broadcast_to(a[0], (2, 4, 2)),
        "x equals y": lambda a: np.broadcast_to(a[:, 1:], (4, 2)),
        "batch transposed": lambda a: np.stack([a, a + 0.25]).swapaxes(0, 1),
    }.items():
        yield case(f"layout {name}", lambda c=change: c(points_within((4,), 9, 13) * 0.9))
    for dtype in ("float32", "uint8", "float64"):
        big = {"dtype": dtype, "is_small": False}
        yield case(f"large batch, {dtype}", points_within, (60,), 101, 71, shape=(101, 71), **big)
        yield case(f"large, {dtype}", points_within, (), 701, 1103, shape=(701, 1103), **big)
    yield case("large batch, NHWC", points_within, (20, 3), 64, 48, shape=(64, 48), axes=(1, 2), is_small=False)


def points_and_grids() -> Iterator[Case]:
    """Those of `points`, and grids."""
    yield from points()
    yield from points_in_grids()


# Squares. Most reach over the border of a canvas of 9 × 13; runs of their pixels meet and share cache lines where maps
# are narrow.
_SIDES = (1, 3, 9, 5, 13, 17, 2001)
_VALUES = {
    "bool": (True, False),
    **{name: (1, np.iinfo(name).max, np.iinfo(name).min) for name in PIXEL_TYPES if np.dtype(name).kind in "iu"},
    **{name: (1, 0.1, -2.5, _INF, -_INF, _NAN, -0.0) for name in PIXEL_TYPES if np.dtype(name).kind == "f"},
    **dict.fromkeys(HALVES, (1, 0.1, -2.5, 1e-7, _INF, _NAN, -0.0)),
}


def squares() -> Iterator[Case]:
    """Those of `points`, with a side and a value by turns; and every side and value, on every type."""
    for number, case in enumerate(points()):
        dtype = case.options.get("dtype", "float32")
        value = _VALUES[dtype][number % len(_VALUES[dtype])]
        yield replace(case, options={**case.options, "size": _SIDES[number % len(_SIDES)], "value": value})
    for dtype in (*PIXEL_TYPES, *HALVES):
        for value in _VALUES[dtype]:
            for shape in ((9, 13), (3, 5), (7, 64)):
                name = f"square of {value} in {shape[0]}x{shape[1]} {dtype}"
                make = lambda shape=shape: (points_within((4,), *shape),)  # noqa: E731
                options = {"shape": shape, "value": value, "size": 3, "dtype": dtype}
                yield Case(name, make, options, is_small=True, is_half=dtype in HALVES)
    for side in _SIDES:
        for dtype in ("float32", "uint8"):
            for shape in ((1, 1), (9, 13), (2, 3), (5, 64), (1, 70)):
                name = f"side {side} in {shape[0]}x{shape[1]} {dtype}"
                make = lambda shape=shape: (points_within((5,), *shape),)  # noqa: E731
                yield Case(name, make, {"shape": shape, "size": side, "dtype": dtype}, is_small=True)
            name = f"large, side {side}, {dtype}"
            make = lambda: (points_within((2,), 701, 1103),)  # noqa: E731
            yield Case(name, make, {"shape": (701, 1103), "size": side, "dtype": dtype})
    for case in points_in_grids():
        yield replace(case, options={**case.options, "size": 3})
    missing = lambda: (np.array(_MISSING),)  # noqa: E731
    yield Case("side 9, missing", missing, {"shape": (9, 13), "size": 9, "return_weight": True}, is_small=True)
