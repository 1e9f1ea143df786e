"""`fastcoord decode --plot`: some maps with the points that were found."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from fastcoord.results import Decoded, Peaks, Status

__all__ = ["draw"]

PANELS = 12  # at most; maps from the whole file, evenly
LONGEST = 2.5  # height over width, or width over height, to which pixels are drawn as squares
DEVIATIONS = 2  # half the axes of an ellipse, in standard deviations


def draw(
    path: Path, maps: NDArray[Any], method: Callable[..., Decoded | Peaks], options: Mapping[str, Any], title: str
) -> None:
    """Write a picture of some of the (..., H, W) `maps`, each with its points in pixels."""
    batch, (height, width) = maps.shape[:-2], maps.shape[-2:]
    count = math.prod(batch)
    chosen = np.unique(np.linspace(0, count - 1, min(count, PANELS)).round().astype(int)) if count else np.empty(0, int)
    columns = min(len(chosen), 4) or 1
    rows = -(-len(chosen) // columns) or 1
    high = min(max(height / width, 1 / LONGEST), LONGEST)
    figure = Figure(figsize=(3 * columns + 0.5, (3 * high + 0.45) * rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(f"{title}: {len(chosen)} of {count:,} maps, fastcoord.decode.{method.__name__}, in pixels")
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    for panel, number in zip(panels, chosen, strict=False):
        index = tuple(map(int, np.unravel_index(number, batch))) if batch else ()
        _draw_map(panel, maps[index], method(maps[index], **options), index)
    figure.savefig(path)


def _draw_map(panel: Any, image: NDArray[Any], decoded: Decoded | Peaks, index: tuple[int, ...]) -> None:
    shown = image.astype(np.float32)
    panel.imshow(np.where(np.isfinite(shown), shown, np.nan), cmap="gray", interpolation="nearest")
    x, y = decoded.xy[..., 0], decoded.xy[..., 1]
    mark = {"linestyle": "none", "clip_on": False, "markersize": 11}
    panel.plot(x, y, "+", color="white", markeredgewidth=4, **mark)  # a rim, to be seen on any grey
    panel.plot(x, y, "+", color="C3", markeredgewidth=2, **mark)
    if isinstance(decoded, Peaks):
        said = _said_of_peaks(decoded)
    else:
        if decoded.covariance is not None and np.isfinite(decoded.covariance).all():
            panel.add_patch(_ellipse((float(x), float(y)), decoded.covariance))
        where = "nothing found" if math.isnan(x) else f"({x:.2f}, {y:.2f})"
        said = f"{where}\nscore {float(decoded.score):.4g} {Status(int(decoded.status)).name or ''}"
    name = f"{', '.join(map(str, index))}: " if index else ""
    panel.set_title(f"{name}{said}".rstrip(), fontsize=9)
    height, width = image.shape
    panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    panel.tick_params(labelsize=7)
    if not 1 / LONGEST <= height / width <= LONGEST:
        panel.set_aspect("auto")


def _said_of_peaks(found: Peaks) -> str:
    count = int(found.count)
    flags = Status(int(np.bitwise_or.reduce(found.status[: max(count, 1)]))).name or ""
    if count == 0:
        return f"nothing found\n{flags}"
    scores = f"{float(found.score[0]):.4g}" + (f" to {float(found.score[count - 1]):.4g}" if count > 1 else "")
    return f"{count} peak{'s' * (count != 1)}\nscore {scores} {flags}"


def _ellipse(centre: tuple[float, float], covariance: NDArray[Any]) -> Ellipse:
    variances, directions = np.linalg.eigh(covariance.astype(np.float64))
    wide, high = 2 * DEVIATIONS * np.sqrt(np.maximum(variances, 0))
    angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0]))
    return Ellipse(centre, wide, high, angle=angle, fill=False, edgecolor="C3", linewidth=1.2)
