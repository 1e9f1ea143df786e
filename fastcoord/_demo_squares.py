"""The second half of `fastcoord demo`: every square of the CoordConv paper's data there and back.

And beside it what the paper says of its trained networks.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fastcoord import datasets, encode
from fastcoord._ceiling import medians, readers, writers
from fastcoord._demo_table import speed_table, threads
from fastcoord.network import CoordNet
from fastcoord.results import Encoded

__all__ = ["Part", "Results", "draw", "run"]

HEIGHT = WIDTH = 64
SIZE, VALUE = 9, 128
POSITIONS = 3136


class Part(NamedTuple):
    """What was decoded from squares, and how many answers are exact."""

    name: str
    squares: datasets.Squares
    xy: NDArray[np.float32]
    """(n, 2), the decoded (x, y) in pixels."""
    decoded: int
    drawn: int
    overlap: float
    """Of the squares that were drawn at `xy` with the true ones: intersection over union."""


class Results(NamedTuple):
    """All squares, then the two parts of each split; and whether all of it was right."""

    parts: tuple[Part, ...]
    is_right: bool


def run(console: Console) -> Results:
    """Decode and draw all squares, and those of both splits; check every answer, time, and print tables."""
    net = CoordNet.box_decoder(HEIGHT, WIDTH, size=SIZE, value=VALUE)
    everything, _ = datasets.not_so_clevr()
    parts = [_checked("all", net, everything)]
    for split in ("uniform", "quadrant"):
        train, validation = datasets.not_so_clevr(split)
        parts += _checked(f"{split}, train", net, train), _checked(f"{split}, validation", net, validation)
    console.print(
        f"Not-so-Clevr, the paper's squares: {len(everything.images):,} images of {WIDTH}×{HEIGHT} pixels, uint8, "
        f"{everything.images.nbytes / 1e6:.0f} MB, on {threads()}"
    )
    for part in parts:
        count = f"{len(part.xy):,}"
        console.print(
            f"{part.name}: decoded {part.decoded:,} of {count}, drawn {part.drawn:,} of {count} exactly right"
        )
    table, notes, timed_right = _timed(net, everything)
    for line in (table, *notes):
        console.print(line)
    if not timed_right:
        console.print("WRONG: an answer of a call that was timed differs from the true square")
    console.print(_beside_the_paper(net, parts))
    for note in _NOTES:
        console.print(note)
    sizes = [len(part.xy) for part in parts]
    is_whole = [sizes[0], sizes[1] + sizes[2], sizes[3] + sizes[4]] == [POSITIONS] * 3
    is_right = all(part.decoded == part.drawn == len(part.xy) for part in parts)
    return Results(tuple(parts), is_right and is_whole and timed_right)


def _checked(name: str, net: CoordNet, squares: datasets.Squares) -> Part:
    count = len(squares.images)
    # so that a pixel that is not written is noticed
    out = Encoded(np.full_like(squares.images, 255), np.full(count, np.nan, np.float32))
    xy = net(squares.images)
    drawn = encode.box(
        xy, shape=(HEIGHT, WIDTH), size=SIZE, value=VALUE, dtype=np.uint8, return_weight=True, out=out
    ).maps
    there, here = squares.images > 0, drawn > 0
    return Part(
        name,
        squares,
        xy,
        int((xy == squares.locations).all(axis=-1).sum()),
        int((drawn == squares.images).all(axis=(-2, -1)).sum()),
        float(np.logical_and(there, here).sum() / np.logical_or(there, here).sum()),
    )


def argmax(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 2) centres of the squares in (n, H, W) images: the first of the largest pixels is their top left corner."""
    rows, columns = np.unravel_index(images.reshape(len(images), -1).argmax(axis=1), images.shape[1:])
    return np.stack([columns, rows], axis=-1).astype(np.float32) + SIZE // 2


def _timed(net: CoordNet, squares: datasets.Squares) -> tuple[Table, list[str], bool]:
    """The table, the notes under it, and whether the calls that were timed gave the right answers."""
    images, locations = squares.images, squares.locations
    drawn = np.full_like(images, 255)
    box: Any = encode.box
    options = {"shape": (HEIGHT, WIDTH), "size": SIZE, "value": VALUE, "dtype": np.uint8, "out": drawn}
    operations: dict[str, Any] = {
        "decode": functools.partial(net, images),
        "argmax": functools.partial(argmax, images),
        "encode": functools.partial(box, locations, **options),
    }
    reads = {name: functools.partial(read, images) for name, read in readers().items()}
    writes = {name: functools.partial(write, drawn) for name, write in writers().items()}
    seconds = medians({**operations, **reads, **writes}, seconds=1.0)
    is_right = all(
        (
            np.array_equal(operations["decode"](), locations),
            np.array_equal(operations["argmax"](), locations),
            np.array_equal(operations["encode"](), images),
        )
    )
    rows = (
        ("fastcoord CoordNet", "decode", "read"),
        ("NumPy argmax, + 4 ¹", "argmax", "read"),
        ("fastcoord encode, out=", "encode", "write"),
    )
    table, notes = speed_table(images.nbytes, seconds, rows, reads, writes)
    work = int(np.count_nonzero(net.weight[:, :1]))
    rate = work * images.size / seconds["decode"] / 1e9
    notes.append("Times are medians, measured side by side.")
    notes.append(f"The network tests each pixel's surroundings: {work} multiply-adds a pixel, {rate:.0f}·10⁹ a second.")
    notes.append("¹ takes the first of the brightest pixels for the corner of a square")
    return table, notes, is_right


# ---- The paper's figures ---------------------------------------------------------------------------------------------

# Network, parameters, training, and on the validation parts of the uniform and the quadrant split: IoU or accuracy
_PAPER = {
    "x, y → square": (
        ("CoordConv", "8,074–11,850¹", "", "IoU 1²", "IoU 1²"),
        ("deconvolutions", "up to 1.6 million²", "90 min to .8", "IoU .83²", "IoU .36²"),
    ),
    "x, y → pixel": (
        ("CoordConv", "7,553¹", "seconds", "100 %", "100 %"),
        ("deconvolutions", "46,465–1,632,001¹", "over an hour", "≤ 86 %", "≈ 0 %²"),
    ),
    "pixel → x, y": (
        ("CoordConv", "906¹", "", "", ""),
        ("convolutions", "72,850; 12,914¹", "", "", ""),
    ),
}
_NOTES = (
    "The paper's figures are its authors', not measured here (R. Liu et al., arXiv 1807.03247, and their article at "
    "eng.uber.com/coordconv): of networks that learnt from one part of a split, tested on the other.",
    "¹ counted from the layers in the code released with the paper; two numbers are of one network for each split",
    "² recalled from the paper, not looked up again",
)


def _beside_the_paper(net: CoordNet, parts: list[Part]) -> Table:
    table = Table()
    for heading in ("", "parameters", "training", "uniform", "quadrant"):
        table.add_column(heading, justify="right" if heading else "left")
    tested = [part for part in parts if part.name.endswith("validation")]
    numbers = sum(parameter.size for parameter in (net.weight, net.bias, net.readout, net.offset))
    table.add_row("square → x, y")
    right = [f"{100 * part.decoded / len(part.xy):g} %" for part in tested]
    table.add_row("  CoordNet", f"{numbers}", "none", *right)
    table.add_row("x, y → square")
    table.add_row("  encode.box", "none", "none", *(f"IoU {part.overlap:g}" for part in tested), end_section=True)
    table.add_row("The paper:", end_section=True)
    for task, networks in _PAPER.items():
        table.add_row(task)
        for name, *figures in networks:
            table.add_row(f"  {name}", *figures)
    return table


# ---- The picture -----------------------------------------------------------------------------------------------------


def draw(figure: Any, results: Results) -> None:
    """Three squares with their true and decoded centres, and the centres of both splits, into a part of a figure."""
    figure.suptitle(
        f"Squares of {SIZE}×{SIZE} pixels, and what fastcoord.CoordNet.box_decoder({HEIGHT}, {WIDTH}) reads from them"
    )
    axes = figure.subplots(1, 5)
    everything, *others = results.parts
    locations = everything.squares.locations
    for panel, spot in zip(axes, ((4, 4), (37, 22), (59, 48)), strict=False):
        index = int(np.abs(locations - spot).sum(axis=1).argmin())
        (x, y), (read_x, read_y) = locations[index], everything.xy[index]
        panel.imshow(everything.squares.images[index], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        mark = {"linestyle": "none", "markeredgewidth": 2}
        panel.plot(x, y, "o", color="C0", markersize=14, fillstyle="none", label="true", **mark)
        panel.plot(read_x, read_y, "x", color="C3", markersize=7, label="decoded", **mark)
        panel.set_title(f"true ({x:g}, {y:g}),\ndecoded ({read_x:g}, {read_y:g})", fontsize=10)
        panel.set_xlabel("x (column)")
    axes[0].set_ylabel("y (row)")
    for panel, train, validation in zip(axes[3:], others[::2], others[1::2], strict=True):
        worst = 0.0
        for part, colour in ((train, "0.7"), (validation, "C0")):
            worst = max(worst, float(np.abs(part.xy - part.squares.locations).max()))
            label = part.name.rpartition(" ")[2]
            panel.plot(*part.squares.locations.T, "s", color=colour, markersize=2.4, markeredgewidth=0, label=label)
            panel.plot(*part.xy.T, ".", color="C3", markersize=0.9, label=None if part is train else "decoded")
        panel.set(xlim=(-0.5, WIDTH - 0.5), ylim=(HEIGHT - 0.5, -0.5), aspect="equal", xlabel="x (column)")
        panel.set_title(f"{train.name.partition(',')[0]} split:\nlargest error {worst:g} px", fontsize=10)
    for panel, side, scale in ((axes[0], "left", 0.8), (axes[3], "right", 4)):
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(handles, labels, loc=f"outside lower {side}", ncols=3, frameon=False, markerscale=scale)
