"""mmpose's way of refining keypoints, restated: one heatmap after the other, in NumPy and OpenCV (else SciPy).

So it is used: a head's decode loops over the samples, and the refinement over the keypoints.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def blur_by() -> tuple[str, Callable[[Array, int], Array]] | None:
    """The library that blurs, by name, and its Gaussian blur of a map before zeros; None where there is none."""
    try:
        library = importlib.import_module("cv2")
    except ImportError:
        return _blur_by_scipy()
    library.setNumThreads(0)
    return "OpenCV", lambda padded, size: library.GaussianBlur(padded, (size, size), 0)


def _blur_by_scipy() -> tuple[str, Callable[[Array, int], Array]] | None:
    try:
        filters = importlib.import_module("scipy.ndimage")
    except ImportError:
        return None

    def blur(padded: Array, size: int) -> Array:
        width = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * width**2))
        taps = (taps / taps.sum()).astype(padded.dtype)
        lines = filters.correlate1d(padded, taps, 0, mode="constant")
        blurred: Array = filters.correlate1d(lines, taps, 1, mode="constant")
        return blurred

    return "SciPy", blur


def _largest(maps: Array) -> tuple[Array, Array]:
    """(n, 2) points and values."""
    flat = maps.reshape(len(maps), -1)
    rows, columns = np.unravel_index(flat.argmax(1), maps.shape[1:])
    values = flat.max(1)
    xy = np.stack([columns, rows], -1).astype(np.float32)
    xy[values <= 0] = -1
    return xy, values


def quarter(samples: Array) -> Array:
    """(n, 2) points of (samples, keypoints, H, W) heatmaps, moved a quarter of a pixel."""
    height, width = samples.shape[-2:]
    found = []
    for maps in samples:
        xy, _values = _largest(maps)
        for k in range(len(maps)):
            x, y = int(xy[k, 0]), int(xy[k, 1])
            dx = maps[k, y, x + 1] - maps[k, y, x - 1] if 1 < x < width - 1 and 0 < y < height else 0.0
            dy = maps[k, y + 1, x] - maps[k, y - 1, x] if 1 < y < height - 1 and 0 < x < width else 0.0
            xy[k] += np.sign([dx, dy], dtype=np.float32) * 0.25
        found.append(xy)
    return np.concatenate(found)


def dark(samples: Array, blur: Callable[[Array, int], Array], size: int = 11) -> Array:
    """The same, moved to the maximum of the blurred heatmap's logarithm."""
    height, width = samples.shape[-2:]
    edge = (size - 1) // 2
    found = []
    for maps in samples:
        xy, _values = _largest(maps)
        logs = np.empty_like(maps)
        for k, heatmap in enumerate(maps):
            padded = np.zeros((height + 2 * edge, width + 2 * edge), np.float32)
            padded[edge:-edge, edge:-edge] = heatmap
            blurred = blur(padded, size)[edge:-edge, edge:-edge]
            logs[k] = blurred * (heatmap.max() / blurred.max())
        np.maximum(logs, 1e-10, out=logs)
        np.log(logs, out=logs)
        for k, log in enumerate(logs):
            x, y = int(xy[k, 0]), int(xy[k, 1])
            if not (1 < x < width - 2 and 1 < y < height - 2):
                continue
            gradient = np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]]) / 2
            xx = (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4
            yy = (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4
            xy_ = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
            if xx * yy - xy_**2 != 0:
                xy[k] -= np.linalg.inv(np.array([[xx, xy_], [xy_, yy]])) @ gradient
        found.append(xy)
    return np.concatenate(found)
