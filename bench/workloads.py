"""What is measured: arrays that are the same in every run.

The shapes: all images of the post and of the CoordConv paper's data set, batches of keypoint heatmaps as pose
estimation has them (D1, D2, D4), and one large map.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20180724
BORDER = 8  # pixels that a crop leaves out on each side

SHAPES = {
    "N5": (16384, 64, 64),
    "N1": (3136, 64, 64),
    "D1": (64, 17, 64, 48),
    "D2": (32, 133, 96, 72),
    "D4": (64, 98, 64, 64),
    "post": (7000, 70, 100),
    "D6": (1, 4096, 4096),
    "D7": (1, 2048, 2048),
    "E2": (256, 17, 1, 384 + 512),  # the bins of x and of y
    "O1": (64, 17, 2, 64, 48),  # two maps for each point
    "O4": (64, 98, 2, 64, 64),
}
ONE_HOT, RANDOM, NEGATIVE, CROP, NHWC = "one-hot", "random", "negative background", "strided crop", "NHWC"
LABELS, OFFSETS = "labels", "offsets"
PEAKS = "Gaussians"  # one of width 2 in each map, anywhere, and noise
PEAK_WIDTH, PEAK_NOISE = 2.0, 0.02
ONE, TEN, FIELD = "one Gaussian", "ten Gaussians", "5,000 Gaussians"  # of width 2 in each map, anywhere; no noise
_SPOTS = {ONE: 1, TEN: 10, FIELD: 5000}


@dataclass(frozen=True)
class Workload:
    """An array of maps: its logical shape (..., H, W), what is in it and how it lies in memory."""

    label: str
    dtype: str = "float32"
    content: str = ONE_HOT

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPES[self.label]

    @property
    def canvas(self) -> tuple[int, int]:
        return self.shape[-2], self.shape[-1]

    @property
    def maps(self) -> int:
        return math.prod(self.shape[:-2])

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def axes(self) -> tuple[int, int]:
        return (1, 2) if self.content == NHWC else (-2, -1)

    @property
    def size(self) -> str:
        """The shape in words."""
        return "×".join(map(str, self.shape))

    def __str__(self) -> str:
        return f"{self.size} {self.dtype} {self.content}"

    def _random(self) -> np.random.Generator:
        return np.random.default_rng((SEED, *self.shape))

    def points(self) -> NDArray[np.float32]:
        """(..., 2) points in pixels, float32, each the centre of a pixel."""
        height, width = self.canvas
        random, batch = self._random(), self.shape[:-2]
        x, y = random.integers(width, size=batch), random.integers(height, size=batch)
        return np.stack([x, y], axis=-1).astype(np.float32)

    def blank(self, value: float = 0) -> NDArray[Any]:
        """An array for the maps, each pixel `value`."""
        *batch, height, width = self.shape
        if self.content == NHWC:
            return resident((batch[0], height, width, *batch[1:]), self.dtype, value)
        if self.content == CROP:
            whole = resident((*batch, height + 2 * BORDER, width + 2 * BORDER), self.dtype, value)
            return whole[..., BORDER:-BORDER, BORDER:-BORDER]
        return resident(self.shape, self.dtype, value)

    def images(self) -> NDArray[Any]:
        """The maps to decode."""
        if self.content == PEAKS:
            return self._peaks()
        if self.content in _SPOTS:
            return self._spots(_SPOTS[self.content])
        if self.content == RANDOM:
            random = self._random()
            if self.dtype == "float16":
                return random.random(self.shape, "float32").astype("float16")
            if np.dtype(self.dtype).kind == "f":
                return random.random(self.shape, self.dtype)  # [0, 1)
            return random.integers(np.iinfo(self.dtype).max + 1, size=self.shape, dtype=self.dtype)
        images = self.blank(-0.5 if self.content == NEGATIVE else 0)
        put(self.maps_last(images), self.points())
        return images

    def _peaks(self) -> NDArray[Any]:
        random, (height, width) = self._random(), self.canvas
        images = np.empty(self.shape, self.dtype)
        flat = images.reshape(self.maps, height, width)
        x, y = random.uniform(0, width - 1, self.maps), random.uniform(0, height - 1, self.maps)
        across = np.exp(-((np.arange(width) - x[:, None]) ** 2) / (2 * PEAK_WIDTH**2)).astype(self.dtype)
        down = np.exp(-((np.arange(height) - y[:, None]) ** 2) / (2 * PEAK_WIDTH**2)).astype(self.dtype)
        for i in range(self.maps):
            noise = random.standard_normal((height, width), np.float32)
            flat[i] = np.outer(down[i], across[i]) + np.float32(PEAK_NOISE) * noise
        return images

    def _spots(self, count: int) -> NDArray[Any]:
        """The greatest of so many Gaussians, each as far as it is above 2⁻³⁰ of its peak."""
        random, (height, width) = self._random(), self.canvas
        images = resident(self.shape, self.dtype)
        reach = int(np.ceil(PEAK_WIDTH * np.sqrt(60 * np.log(2))))
        for image in images.reshape(self.maps, height, width):
            for x, y in random.uniform(0, (width - 1, height - 1), (count, 2)):
                left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
                part = image[top : int(y) + reach + 2, left : int(x) + reach + 2]
                rows, columns = np.arange(top, top + part.shape[0]), np.arange(left, left + part.shape[1])
                down = np.exp(-((rows - y) ** 2) / (2 * PEAK_WIDTH**2)).astype(self.dtype)
                across = np.exp(-((columns - x) ** 2) / (2 * PEAK_WIDTH**2)).astype(self.dtype)
                np.maximum(part, np.outer(down, across), out=part)
        return images

    def maps_last(self, images: NDArray[Any]) -> NDArray[Any]:
        """A view of `images` as (..., H, W)."""
        return np.moveaxis(images, self.axes, (-2, -1))


def resident(shape: tuple[int, ...], dtype: str, value: float = 0) -> NDArray[Any]:
    """An array that is in memory.

    The pages of ``np.zeros`` do not exist until they are written: reading them reads one page of zeros over and over,
    from the cache, several times faster than memory.
    """
    array = np.empty(shape, dtype)
    array.fill(value)
    return array


def put(maps: NDArray[Any], points: NDArray[Any]) -> None:
    """Set the pixel at each point of (..., H, W) `maps` to 1."""
    column, row = points[..., 0].astype(np.intp), points[..., 1].astype(np.intp)
    maps[(*np.indices(row.shape, sparse=True), row, column)] = 1


DECODE = (
    *(Workload(label, dtype) for dtype in ("float32", "uint8", "bool") for label in ("N5", "N1")),
    *(Workload(label, content=RANDOM) for label in ("N5", "N1")),
    Workload("N1", "uint8", RANDOM),
    Workload("N1", content=NEGATIVE),
    Workload("N1", content=CROP),
    Workload("D1", content=NHWC),
    *(Workload(label) for label in ("D1", "D2", "D4", "post", "D6")),
    *(Workload(label, content=RANDOM) for label in ("D1", "D2", "D4", "D6")),
)
_ARGMAX = ("D1", "D2", "D4")
ARGMAX = (
    *(Workload(label, dtype, RANDOM) for dtype in ("float32", "float16", "uint8") for label in _ARGMAX),
    Workload("D6", content=RANDOM),
    Workload("D1", content=NHWC),
)
QUICK_ARGMAX = ARGMAX[:3]
MASSES = (
    *(Workload(label, dtype, RANDOM) for dtype in ("float32", "uint8") for label in ("D1", "D2", "D4", "D6")),
    Workload("D1", content=NHWC),
)
QUICK_MASSES = MASSES[:3]
SOFT_ARGMAX = (
    *(Workload(label, content=RANDOM) for label in (*_ARGMAX, "D6")),
    *(Workload("D4", dtype, RANDOM) for dtype in ("float16", "uint8")),
    Workload("D1", content=NHWC),
)
QUICK_SOFT_ARGMAX = SOFT_ARGMAX[:3]
REFINE = tuple(Workload(label, content=PEAKS) for label in _ARGMAX)
QUICK_REFINE = REFINE[:1]
SPOTS = (
    *(Workload(label, content=content) for content in (ONE, TEN, RANDOM) for label in _ARGMAX),
    Workload("D7", content=FIELD),
)
QUICK_SPOTS = tuple(workload for workload in SPOTS if workload.label == "D1" and workload.content != RANDOM)
ENCODE = (
    *(Workload(label, dtype) for dtype in ("float32", "uint8", "bool") for label in ("N5", "N1")),
    Workload("N1", content=CROP),
    Workload("D1", content=NHWC),
    *(Workload(label) for label in ("D1", "D2", "D4", "post", "D6")),
)
SPLAT = tuple(Workload(label) for label in _ARGMAX)
QUICK_SPLAT = SPLAT[:1]


def _is_quick(workload: Workload) -> bool:
    """What has a goal, and one of each layout; no 2 GB of 4096² references, and only one type of the largest batch."""
    is_large = workload.label == "N5"
    return workload.label == "N1" or workload.content == NHWC or (is_large and workload.dtype == "float32")


QUICK_DECODE, QUICK_ENCODE = (tuple(filter(_is_quick, workloads)) for workloads in (DECODE, ENCODE))
