"""The table and the plot: ``python -m bench.accuracy``.

Each method on the same maps: one Gaussian of height 1 on 64×48 pixels, its centre anywhere but near the border, with
normal noise. The bound is Cramér and Rao's: no unbiased estimator has a smaller root mean square error per axis than
noise·√(2/π), whatever the width of the Gaussian.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import results
from bench.machine import RESULTS

CANVAS = 64, 48
SIGMAS, NOISES = (1.0, 1.5, 2.0, 3.0), (0.0, 0.01, 0.05)
MARGIN = 13  # pixels that the centre is from the border
TOLD = 2.0  # the width that "gaussian" is told where it is not the true one
FLOOR = np.float32(1e-6)  # the least value whose logarithm is taken
LIMIT, LEAST = 1.05, 0.001  # goals: times the bound with noise, and pixels without

Points = NDArray[np.floating[Any]]
METHODS: dict[str, Callable[[Any, float], Any]] = {
    "argmax": lambda maps, sigma: fc.decode.argmax(maps),
    "quarter": lambda maps, sigma: fc.decode.argmax(maps, refine="quarter"),
    "quadratic": lambda maps, sigma: fc.decode.argmax(maps, refine="quadratic"),
    "dark": lambda maps, sigma: fc.decode.argmax(maps, refine="dark"),
    "dark_udp": lambda maps, sigma: fc.decode.argmax(maps, refine="dark_udp"),
    "gaussian": lambda maps, sigma: fc.decode.argmax(maps, refine="gaussian", sigma=sigma),
    f"gaussian, told {TOLD:g}": lambda maps, sigma: fc.decode.argmax(maps, refine="gaussian", sigma=TOLD),
    "center_of_mass within 3σ": lambda maps, sigma: fc.decode.center_of_mass(
        maps, window=math.ceil(3 * sigma), clip_negative=True
    ),
    "soft_argmax of logarithms": lambda maps, sigma: fc.decode.soft_argmax(np.log(np.maximum(maps, FLOOR))),
}


def gaussians(xy: Points, sigma: float, noise: float, seed: int) -> NDArray[np.float32]:
    """A noisy map for each point."""
    height, width = CANVAS
    across = np.exp(-((np.arange(width) - xy[:, :1]) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) - xy[:, 1:]) ** 2) / (2 * sigma**2))
    maps = (down[:, :, None] * across[:, None, :]).astype(np.float32)
    if noise:
        maps += np.random.default_rng(seed).normal(scale=noise, size=maps.shape).astype(np.float32)
    return maps


def points(count: int, seed: int) -> Points:
    height, width = CANVAS
    return np.random.default_rng(seed).uniform(MARGIN, (width - 1 - MARGIN, height - 1 - MARGIN), size=(count, 2))


def bound(noise: float) -> float:
    return noise * math.sqrt(2 / math.pi)


def measured(count: int) -> Iterator[dict[str, Any]]:
    """A row for each width, noise and method."""
    for sigma in SIGMAS:
        for noise in NOISES:
            xy = points(count, seed=1)
            maps = gaussians(xy, sigma, noise, seed=2)
            for name, method in METHODS.items():
                error = method(maps, sigma).xy - xy
                rms = float(np.sqrt((error**2).mean()))
                yield {
                    "method": name,
                    "sigma": sigma,
                    "noise": noise,
                    "rms": float(f"{rms:.4g}"),
                    "max": float(f"{np.abs(error).max():.4g}"),
                    "of_bound": float(f"{rms / bound(noise):.4g}") if noise else None,
                }


def table(rows: list[dict[str, Any]]) -> str:
    """The root mean square errors in pixels, and with noise how many times the bound that is."""
    columns = [(sigma, noise) for sigma in SIGMAS for noise in NOISES]
    found = {(row["method"], row["sigma"], row["noise"]): row for row in rows}
    lines = ["| σ, noise | " + " | ".join(f"{sigma:g}, {noise:g}" for sigma, noise in columns) + " |"]
    lines.append("|" + "---|" * (len(columns) + 1))
    for name in METHODS:
        cells = []
        for sigma, noise in columns:
            row = found[name, sigma, noise]
            cells.append(f"{row['rms']:.4f}" + (f" ({row['of_bound']:.2f})" if noise else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """Where "gaussian", told the width, is not as accurate as it should be."""
    return [
        f"gaussian at σ {row['sigma']:g}, noise {row['noise']:g}: {row['rms']:.4f} px"
        for row in rows
        if row["method"] == "gaussian"
        and (row["of_bound"] > LIMIT if row["of_bound"] is not None else row["rms"] >= LEAST)
    ]


def plot(path: Path, count: int, sigma: float = 1.5) -> None:
    """The mean error along x against the place between two pixels: a method that prefers places shows waves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    places = np.linspace(-0.5, 0.5, 41)
    for axis, noise in zip(axes, (0.0, 0.05), strict=True):
        repeats = max(1, count // len(places)) if noise else 4
        x = np.repeat(places, repeats)
        middle = np.array([CANVAS[1] // 2, CANVAS[0] // 2])
        y = np.random.default_rng(3).uniform(-0.5, 0.5, size=x.size)
        xy = middle + np.stack([x, y], -1)
        maps = gaussians(xy, sigma, noise, seed=4)
        for name, method in METHODS.items():
            error = (method(maps, sigma).xy - xy)[:, 0].reshape(len(places), repeats).mean(1)
            axis.plot(places, error, label=name, linewidth=1.2)
        axis.set(xlabel="true place between two pixels, px", title=f"σ {sigma:g}, noise {noise:g}", ylim=(-0.3, 0.3))
    axes[0].set_ylabel("mean error along x, px")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__.partition("\n")[0])
    parser.add_argument("--maps", type=int, default=2000, help="of each width and noise (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "accuracy", help="a folder for what is found")
    given = parser.parse_args()
    rows = list(measured(given.maps))
    given.output.mkdir(parents=True, exist_ok=True)
    results.store({"maps": given.maps, "canvas": list(CANVAS), "rows": rows}, given.output / "refinements.json")
    plot(given.output / "refinements.png", given.maps)
    print(table(rows))
    for line in missed(rows):
        print(f"goal missed: {line}")


if __name__ == "__main__":
    main()
