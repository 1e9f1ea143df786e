"""`encode.gaussian`: throughput beside the write ceiling of the machine, NumPy, mmpose, kornia and dsntnn."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import QUICK_SPLAT, SPLAT, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

ENCODER = "encode.gaussian"
SIGMA = 2.0
MMPOSE_MAPS = 272  # mmpose's loop is timed on so many, and its time scaled
_operation = next(operation for operation in OPERATIONS if operation.name == ENCODER)
_WINDOW = 3  # sigmas
_FARTHEST = 1e-5  # that a peer's pixel may be from ours


@over(lambda settings: QUICK_SPLAT if settings.quick else SPLAT)
def bench_gaussian(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Whole maps."""
    points, out = _points(workload), workload.blank(1)
    _run(benchmark, settings, workload, points, out, ENCODER, _rivals(workload, points, out))


@over(lambda settings: QUICK_SPLAT if settings.quick else SPLAT)
def bench_windows(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Windows of three sigmas, as mmpose draws them."""
    points, out = _points(workload), workload.blank(1)
    rivals = {"mmpose UDP loop": Peer(*_mmpose(workload, points), workload.maps / _few(workload))}
    _run(benchmark, settings, workload, points, out, f"{ENCODER} windowed", rivals, compat="mmpose_udp")


def _run(
    benchmark: Any,
    settings: Settings,
    workload: Workload,
    points: NDArray[Any],
    out: NDArray[Any],
    title: str,
    rivals: dict[str, Peer],
    **options: Any,
) -> None:
    options = {"shape": workload.canvas, "sigma": SIGMA, **options}
    fc.encode.gaussian(points, out=out, **options)
    if "compat" not in options:
        chosen = np.unravel_index(sample(workload), workload.shape[:-2])
        assert_agrees(_operation, out[chosen], (points[chosen],), options)
    wanted = out.reshape(-1, *workload.canvas).copy()
    for name, peer in rivals.items():
        answer = peer.answer(peer.call())
        if name.startswith(("kornia", "dsntnn")):  # their sum is 1
            answer = answer / answer.max((1, 2), keepdims=True) * wanted[: len(answer)].max((1, 2), keepdims=True)
        np.testing.assert_allclose(answer, wanted[: len(answer)], atol=_FARTHEST, err_msg=name)
    throughput.run(
        benchmark,
        settings,
        title,
        workload,
        with_out=lambda: fc.encode.gaussian(points, out=out, **options),
        allocating=lambda: fc.encode.gaussian(points, **options),
        ceilings=ceiling.writing(out),
        peers=rivals,
    )


def _points(workload: Workload) -> NDArray[Any]:
    """Anywhere between the pixels."""
    points = workload.points()
    points += np.random.default_rng(5).uniform(-0.49, 0.49, points.shape).astype(np.float32)
    return points


def _few(workload: Workload) -> int:
    return min(MMPOSE_MAPS, workload.maps)


def _mmpose(workload: Workload, points: NDArray[Any]) -> tuple[Any, Any]:
    """`generate_udp_gaussian_heatmaps` of mmpose 1.3: point by point, a window of three sigmas."""
    height, width = workload.canvas
    few = points.reshape(-1, 2)[: _few(workload)]
    radius = int(3 * SIGMA)
    side = np.arange(0, 2 * radius + 1, dtype=np.float32)

    def draw() -> NDArray[Any]:
        maps = np.zeros((len(few), height, width), np.float32)
        for image, point in zip(maps, few, strict=True):
            nearest = (point + 0.5).astype(int)
            (left, top), (right, bottom) = nearest - radius, nearest + radius + 1
            x, y = radius + point - nearest
            window = np.exp(-((side - x) ** 2 + (side[:, None] - y) ** 2) / (2 * SIGMA**2))
            rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
            part = window[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            image[rows, columns] = np.maximum(image[rows, columns], part)
        return maps

    return draw, lambda maps: maps


def _rivals(workload: Workload, points: NDArray[Any], out: NDArray[Any]) -> dict[str, Peer]:
    """What NumPy and users of PyTorch call."""
    height, width = workload.canvas
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)

    def outer() -> NDArray[Any]:
        x = np.exp((columns - points[..., :1]) ** 2 * np.float32(-1 / (2 * SIGMA**2)))
        y = np.exp((rows - points[..., 1:]) ** 2 * np.float32(-1 / (2 * SIGMA**2)))
        return np.multiply(y[..., :, None], x[..., None, :], out=out)

    def answer(maps: Any) -> NDArray[Any]:
        return np.asarray(maps).reshape(-1, *workload.canvas)

    rivals = {"NumPy outer product": Peer(outer, answer, allocates=False)}
    library = peers.torch()
    if library is None:
        return rivals
    tensor = library.from_numpy(points.reshape(-1, 2))
    sigmas = library.full_like(tensor, SIGMA)
    try:
        kornia = importlib.import_module("kornia.geometry.subpix")
        rivals["kornia render_gaussian2d"] = Peer(
            lambda: kornia.render_gaussian2d(tensor, sigmas, (height, width), normalized_coordinates=False), answer
        )
    except ImportError:
        pass
    try:
        dsntnn = importlib.import_module("dsntnn")
        # its coordinates run from −1 to 1 between the outer edges of the pixels
        normalized = (2 * tensor + 1) / library.tensor([width, height]) - 1
        shaped = normalized.reshape(1, -1, 2)
        rivals["dsntnn make_gauss"] = Peer(lambda: dsntnn.make_gauss(shaped, (height, width), SIGMA), answer)
    except ImportError:
        pass
    return rivals
