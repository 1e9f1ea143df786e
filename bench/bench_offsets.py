"""`encode.offsets`: throughput beside the machine's write ceiling and mmpose's loop."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, throughput
from bench.bench_onehot import over
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import OFFSETS, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

ENCODER = "encode.offsets"
_operation = next(operation for operation in OPERATIONS if operation.name == ENCODER)
RADIUS = 4.0
_FEW = 16  # points compared with the reference
_TIMED = 272  # that mmpose's loop draws, whose time is scaled


def _workloads(settings: Settings) -> tuple[Workload, ...]:
    return tuple(Workload(label, content=OFFSETS) for label in ("O1", "O4")[: 1 if settings.quick else 2])


@over(_workloads)
def bench_offsets(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Points anywhere; two maps for each."""
    *batch, _two, height, width = workload.shape
    points = np.random.default_rng(5).uniform(0, (width - 1, height - 1), (*batch, 2)).astype(np.float32)
    options: dict[str, Any] = {"shape": workload.canvas, "radius": RADIUS}
    out = workload.blank(1)
    fc.encode.offsets(points, out=out, **options)
    chosen = np.unravel_index(np.arange(_FEW) * 31 % points[..., 0].size, tuple(batch))
    assert_agrees(_operation, out[chosen], (points[chosen],), options)
    flat = points.reshape(-1, 2)
    few = flat[: min(_TIMED, len(flat))]
    peer = Peer(lambda: _mmpose(few, workload.canvas), lambda maps: np.asarray(maps), len(flat) / len(few))
    within = np.where(peer.call()[:, :1] > 0, peer.call()[:, 1:] * np.float32(RADIUS), 0)
    np.testing.assert_allclose(within, out.reshape(-1, 2, height, width)[: len(few)], atol=2e-6)
    throughput.run(
        benchmark,
        settings,
        ENCODER,
        workload,
        with_out=lambda: fc.encode.offsets(points, out=out, **options),
        allocating=lambda: fc.encode.offsets(points, **options),
        ceilings=ceiling.writing(out),
        peers={"mmpose, restated (three maps)": peer},
    )


def _mmpose(points: NDArray[Any], canvas: tuple[int, int]) -> NDArray[Any]:
    """Mmpose 1.3's `generate_offset_heatmap` of visible points, restated: disc and offsets, in radii, of each."""
    x, y = np.arange(canvas[1]), np.arange(canvas[0])[:, None]
    maps = np.zeros((len(points), 3, *canvas), np.float32)
    for n, mu in enumerate(points):
        across, down = (mu[0] - x) / RADIUS, (mu[1] - y) / RADIUS
        maps[n, 0] = np.where(across**2 + down**2 <= 1, 1, 0)
        maps[n, 1], maps[n, 2] = across, down
    return maps
