"""`fastcoord demo`: every position of the post's image there and back, checked, timed beside other ways to do it.

And, in `_demo_squares`, every square of the paper's data.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from scipy.signal import convolve2d

from fastcoord import _demo_squares, decode, encode
from fastcoord._ceiling import medians, readers, writers
from fastcoord._demo_table import speed_table, threads

__all__ = ["Results", "draw", "run"]

HEIGHT, WIDTH = 70, 100
POSITIONS = HEIGHT * WIDTH
PIECE = 500  # positions between two steps of the progress bar
SCIPY_IMAGES = 100

_DELTA = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)


class Results(NamedTuple):
    """What was decoded, and whether all of it was right."""

    images: NDArray[np.float32]
    """(7000, 70, 100), image i has its hot pixel at points[i]."""
    points: NDArray[np.float32]
    """(7000, 2), the true (x, y) in pixels."""
    xy: NDArray[np.float32]
    """(7000, 2), the decoded (x, y) in pixels."""
    squares: _demo_squares.Results
    is_right: bool


def run() -> Results:
    """Decode and encode every position, then every square; check every answer, time, and print tables."""
    console = Console(highlight=False)
    points = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).reshape(-1, 2).astype(np.float32)
    images = np.full((POSITIONS, HEIGHT, WIDTH), 0, np.float32)
    rewritten = np.full_like(images, np.nan)  # so that a pixel that is not written is noticed
    xy = np.full_like(points, np.nan)
    decoded = encoded = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        positions = progress.add_task("compiling (first time only)", total=POSITIONS)
        for first in range(0, POSITIONS, PIECE):
            piece = slice(first, first + PIECE)
            column, row = points[piece].T.astype(np.intp)
            images[np.arange(first, first + len(column)), row, column] = 1
            xy[piece] = decode.onehot(images[piece]).xy
            encode.onehot(xy[piece], shape=(HEIGHT, WIDTH), out=rewritten[piece])
            decoded += int((xy[piece] == points[piece]).all(axis=-1).sum())
            encoded += int((rewritten[piece] == images[piece]).all(axis=(-2, -1)).sum())
            progress.update(positions, advance=PIECE, description="decoding, encoding, checking")
        progress.update(positions, description="timing")
        table, notes, timed_right = _timed(images, points, rewritten)

    console.print(
        f"{POSITIONS:,} images of {WIDTH}×{HEIGHT} pixels, float32, {images.nbytes / 1e6:.0f} MB, on {threads()}"
    )
    console.print(f"decoded: {decoded:,} of {POSITIONS:,} exactly right")
    console.print(f"encoded: {encoded:,} of {POSITIONS:,} exactly right")
    console.print(table)
    for note in notes:
        console.print(note)
    is_right = decoded == encoded == POSITIONS and timed_right
    if not timed_right:
        console.print("WRONG: an answer of a call that was timed differs from the true coordinates")
    console.print()
    squares = _demo_squares.run(console)
    return Results(images, points, xy, squares, is_right and squares.is_right)


def argmax(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 2) coordinates of the largest pixels of (n, H, W) images, as one writes it in NumPy."""
    rows, columns = np.unravel_index(images.reshape(len(images), -1).argmax(axis=1), images.shape[1:])
    return np.stack([columns, rows], axis=-1).astype(np.float32)


def post(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 2) coordinates of the hot pixels of (n, H, W) images by the post's network, feature maps and all."""
    _, height, width = images.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    xy = np.empty((len(images), 2), np.float32)
    for i, image in enumerate(images):
        dx = np.maximum(convolve2d(image, width * _DELTA, "same") + convolve2d(columns, -_DELTA, "same"), 0)
        dy = np.maximum(convolve2d(image, height * _DELTA, "same") + convolve2d(rows, -_DELTA, "same"), 0)
        xy[i] = width - dx.sum(), height - dy.sum()
    return xy


def _timed(
    images: NDArray[np.float32], points: NDArray[np.float32], rewritten: NDArray[np.float32]
) -> tuple[Table, list[str], bool]:
    """The table, the notes under it, and whether the calls that were timed gave the right answers."""
    some = slice(0, POSITIONS, POSITIONS // SCIPY_IMAGES)
    reads = {name: functools.partial(read, images) for name, read in readers().items()}
    writes = {name: functools.partial(write, rewritten) for name, write in writers().items()}
    operations: dict[str, Any] = {
        "decode": functools.partial(decode.onehot, images),
        "argmax": functools.partial(argmax, images),
        "encode": functools.partial(encode.onehot, points, shape=(HEIGHT, WIDTH), out=rewritten),
    }
    seconds = medians({**operations, **reads, **writes}, seconds=1.5)
    few = medians({"post": functools.partial(post, images[some])}, seconds=0.0, least=3)["post"]
    seconds["post"] = few * (POSITIONS / len(images[some]))

    is_right = all(
        (
            np.array_equal(operations["decode"]().xy, points),
            np.array_equal(operations["encode"](), images),
            np.array_equal(operations["argmax"](), points),
            np.array_equal(post(images[some]), points[some]),
        )
    )
    table, notes = speed_table(
        images.nbytes,
        seconds,
        (
            ("fastcoord decode", "decode", "read"),
            ("NumPy argmax", "argmax", "read"),
            ("the post, in SciPy ¹", "post", "read"),
            ("fastcoord encode, out=", "encode", "write"),
        ),
        reads,
        writes,
    )
    notes.append("Times are medians; all but SciPy's were measured side by side.")
    notes.append(f"¹ timed on {len(images[some])} images and scaled to {POSITIONS:,}")
    return table, notes, is_right


def draw(path: Path, results: Results) -> None:
    """Write a picture of some images and squares with true and decoded coordinates, and of all pairs of these."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 11), dpi=120, layout="constrained")
    parts: Any = figure.subfigures(3, 1, height_ratios=(1.25, 1, 1))
    upper, lower, last = parts
    upper.suptitle(f"One-hot images of {WIDTH}×{HEIGHT} pixels, and what fastcoord.decode.onehot reads from them")
    axes = upper.subplots(1, 3, sharey=True)
    # The window is drawn in the half of the image where the hot pixel is not.
    spots = ((27, 48), (74, 12), (99, 69))
    corners = ((0.55, 0.44), (0.12, 0.12), (0.12, 0.44))
    for panel, (column, row), corner in zip(axes, spots, corners, strict=True):
        _draw_image(panel, results, row * WIDTH + column, corner)
    axes[0].set_ylabel("y (row)")
    handles, labels = axes[0].child_axes[0].get_legend_handles_labels()
    upper.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    for k, (panel, name, extent) in enumerate(zip(lower.subplots(1, 2), "xy", (WIDTH, HEIGHT), strict=True)):
        ends = (0, extent - 1)
        panel.plot(ends, ends, color="C0", alpha=0.4, linewidth=6, label="true")
        panel.plot(results.points[:, k], results.xy[:, k], ".", color="C3", markersize=3, label="decoded")
        panel.set(xlabel=f"true {name} (pixels)", ylabel=f"decoded {name} (pixels)")
        worst = np.abs(results.xy[:, k] - results.points[:, k]).max()
        panel.set_title(f"{name} of all {POSITIONS:,} images: largest error {worst:g} px", fontsize=10)
        panel.legend(frameon=False)
        panel.grid(alpha=0.3)
    _demo_squares.draw(last, results.squares)
    figure.savefig(path)


def _draw_image(panel: Any, results: Results, index: int, corner: tuple[float, float]) -> None:
    """Image `index`, and in a window, whose lower left corner is at `corner`, the pixels round its hot pixel."""
    from matplotlib.patches import Rectangle

    (x, y), (read_x, read_y) = results.points[index], results.xy[index]
    style = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    panel.imshow(results.images[index], **style)
    panel.set_title(f"true ({x:g}, {y:g}), decoded ({read_x:g}, {read_y:g})", fontsize=10)
    panel.set_xlabel("x (column)")
    window = panel.inset_axes((*corner, 0.34, 0.34 * WIDTH / HEIGHT))
    window.imshow(results.images[index], **style)
    # not clipped: the circle round a pixel in the image's corner leaves the window
    mark = {"linestyle": "none", "markeredgewidth": 2, "clip_on": False}
    window.plot(x, y, "o", color="C0", markersize=18, fillstyle="none", label="true", **mark)
    window.plot(read_x, read_y, "x", color="C3", markersize=8, label="decoded", **mark)
    left, top = min(max(x - 4.5, -0.5), WIDTH - 9.5), min(max(y - 4.5, -0.5), HEIGHT - 9.5)
    window.set(xlim=(left, left + 9), ylim=(top + 9, top), xticks=(left + 0.5, x), yticks=(top + 0.5, y))
    window.set_title("the framed pixels", color="C1", fontsize=8, pad=3)
    window.tick_params(colors="C1", labelsize=8)
    window.spines[:].set_color("C1")
    panel.add_patch(Rectangle((left, top), 9, 9, fill=False, edgecolor="C1", clip_on=False))
