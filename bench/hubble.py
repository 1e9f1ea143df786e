"""``python -m bench.hubble``: the spots of the Hubble Deep Field, by `decode.peaks` and by scikit-image.

Prints how many each finds and draws a part of it into bench/results/peaks/hubble.png. scikit-image's are
``peak_local_max`` and, between the pixels, the centroid of the 7×7 pixels round each less the least of them.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.feature import peak_local_max
from skimage.measure import centroid

import fastcoord as fc
from bench.machine import RESULTS
from bench.measure import measured, summary

PICTURE = RESULTS / "peaks" / "hubble.png"
SMOOTHING, THRESHOLD, RADIUS, MOST = 2.0, 40, 5, 2000  # in pixels, of 255, in pixels
PART = (slice(330, 530), slice(560, 860))  # rows and columns that are drawn


def main() -> None:
    grey = gaussian_filter(data.hubble_deep_field().max(-1).astype(np.float32), SMOOTHING)

    def ours() -> Any:
        return fc.decode.peaks(grey, k=MOST, threshold=THRESHOLD, radius=RADIUS, refine="quadratic")

    def theirs() -> NDArray[Any]:
        found = peak_local_max(grey, min_distance=RADIUS, threshold_abs=THRESHOLD, exclude_border=False)
        return np.array([_centroid(grey, row, column) for row, column in found])

    found, others = ours(), theirs()
    count = int(found.count)
    taken = measured({"ours": ours, "theirs": theirs}, budget=2, least=9)
    times = {name: summary(seconds)["median"] for name, seconds in taken.items()}
    off = np.abs(found.xy[:count, None] - others).max(-1).min(1)
    print(f"fastcoord.decode.peaks: {count} peaks in {1e3 * times['ours']:.2f} ms")
    print(f"scikit-image: {len(others)} peaks with centroids in {1e3 * times['theirs']:.1f} ms")
    print(
        f"distance to the nearest of theirs: median {np.median(off):.3f} px, 95 % within {np.quantile(off, 0.95):.2f}"
    )
    _draw(grey, found.xy[:count], others)
    print(f"Drawn: {PICTURE.relative_to(RESULTS.parent.parent)}")


def _centroid(grey: NDArray[Any], row: int, column: int) -> tuple[float, float]:
    """(x, y); at the border of fewer pixels."""
    top, left = max(row - 3, 0), max(column - 3, 0)
    window = grey[top : row + 4, left : column + 4]
    y, x = centroid(window - window.min())
    return left + x, top + y


def _draw(grey: NDArray[Any], ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    rows, columns = PART
    figure = Figure(figsize=(9, 6.6), dpi=110, layout="constrained")
    panel = figure.subplots()
    # the square root, as astronomers do: else only the brightest are seen
    extent = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    panel.imshow(np.sqrt(grey[PART]), cmap="gray", extent=extent, interpolation="nearest")
    panel.plot(*theirs.T, "o", color="C0", fillstyle="none", markersize=11, label="scikit-image, with centroids")
    panel.plot(*ours.T, "+", color="C3", markersize=8, label='fastcoord, refine="quadratic"')
    panel.set(xlim=extent[:2], ylim=extent[2:], xlabel="x, px", ylabel="y, px")
    panel.set_title(f"Hubble Deep Field, smoothed by σ = {SMOOTHING:g} px: peaks above {THRESHOLD}, radius {RADIUS}")
    panel.legend(loc="lower right", framealpha=0.9)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
