"""`decode.simcc` and `encode.simcc`: throughput beside the machine's ceilings and what mmpose computes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, throughput
from bench.bench_onehot import over
from bench.peers import Peer, torch
from bench.settings import Settings
from bench.workloads import LABELS, RANDOM, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER, ENCODER = "decode.simcc", "encode.simcc"
_operations = {operation.name: operation for operation in OPERATIONS}
WIDTH, HEIGHT, SPLIT_RATIO, SIGMA = 192, 256, 2, 6.0  # 384 and 512 bins: mmpose's configuration of 256×192
_FEW = 16  # maps compared with the reference; images that mmpose labels, whose time is scaled


def _parts(workload: Workload, memory: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The bins of x, then those of y, in the memory of the workload."""
    batch = workload.shape[:2]
    bins = [SPLIT_RATIO * extent for extent in (WIDTH, HEIGHT)]
    flat = memory.reshape(-1)
    of_x = batch[0] * batch[1] * bins[0]
    return flat[:of_x].reshape(*batch, bins[0]), flat[of_x:].reshape(*batch, bins[1])


@over(lambda settings: (Workload("E2", content=RANDOM),))
def bench_decode(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Random bins."""
    memory = workload.images()
    x, y = _parts(workload, memory)
    out = fc.decode.simcc(x, y)
    assert_agrees(_operations[DECODER], fc.decode.simcc(x[:_FEW], y[:_FEW]), (x[:_FEW], y[:_FEW]), {})
    throughput.check_peers(_decoders(x, y), out.xy.reshape(-1, 2))
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.simcc(x, y, out=out),
        allocating=lambda: fc.decode.simcc(x, y),
        ceilings=ceiling.reading(memory),
        peers=_decoders(x, y),
    )


def _decoders(x: NDArray[Any], y: NDArray[Any]) -> dict[str, Peer]:
    flat_x, flat_y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])

    def maximum() -> NDArray[Any]:
        """Mmpose 1.3's `get_simcc_maximum` and what `SimCCLabel.decode` does with it, restated."""
        found = np.stack([flat_x.argmax(1), flat_y.argmax(1)], -1).astype(np.float32)
        values = np.minimum(flat_x.max(1), flat_y.max(1))
        found[values <= 0] = -1
        found /= SPLIT_RATIO
        return found

    peers = {"mmpose, restated": Peer(maximum, lambda xy: np.asarray(xy))}
    library = torch()
    if library is not None:
        tensors = library.from_numpy(flat_x), library.from_numpy(flat_y)

        def of_torch() -> Any:
            (values, column), (others, row) = (tensor.max(-1) for tensor in tensors)
            return library.stack([column, row], -1) / SPLIT_RATIO, library.minimum(values, others)

        peers["PyTorch max"] = Peer(of_torch, lambda found: np.asarray(found[0]))
    return peers


@over(lambda settings: (Workload("E2", content=LABELS),))
def bench_encode(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Points anywhere on the canvas."""
    points = np.random.default_rng(5).uniform(0, (WIDTH - 1, HEIGHT - 1), (*workload.shape[:2], 2)).astype(np.float32)
    options: dict[str, Any] = {"shape": (HEIGHT, WIDTH), "sigma": SIGMA, "split_ratio": SPLIT_RATIO}
    memory = workload.blank(1)
    out = fc.SimCC(*_parts(workload, memory), None)
    fc.encode.simcc(points, out=out, **options)
    few = fc.SimCC(out.x[:_FEW].copy(), out.y[:_FEW].copy(), None)
    assert_agrees(_operations[ENCODER], few, (points[:_FEW],), options)

    def images() -> list[Any]:
        return [_mmpose(image) for image in points[:_FEW]]

    for image, x, y in zip(images(), out.x, out.y, strict=False):
        np.testing.assert_allclose(image[0], x, atol=0.11)  # mmpose rounds the centre to a bin
        np.testing.assert_allclose(image[1], y, atol=0.11)
    peers = {"mmpose, restated": Peer(images, np.asarray, len(points) / _FEW), **_broadcast(points, out)}
    throughput.run(
        benchmark,
        settings,
        ENCODER,
        workload,
        with_out=lambda: fc.encode.simcc(points, out=out, **options),
        allocating=lambda: fc.encode.simcc(points, **options),
        ceilings=ceiling.writing(memory),
        peers=peers,
    )


def _mmpose(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What mmpose 1.3's `SimCCLabel` makes of the points of an image ("gaussian", not normalized), restated."""
    extents = [SPLIT_RATIO * extent for extent in (WIDTH, HEIGHT)]
    labels = [np.zeros((len(points), extent), np.float32) for extent in extents]
    grids = [np.arange(extent, dtype=np.float32) for extent in extents]
    for n, mu in enumerate(np.around(points * SPLIT_RATIO)):
        for axis in (0, 1):
            labels[axis][n] = np.exp(-((grids[axis] - mu[axis]) ** 2) / (2 * SIGMA**2))
    return labels[0], labels[1]


def _broadcast(points: NDArray[Any], out: fc.SimCC) -> dict[str, Peer]:
    """All axes at once, in NumPy, without new arrays."""
    grids = [np.arange(labels.shape[-1], dtype=np.float32) for labels in (out.x, out.y)]

    def write() -> fc.SimCC:
        for axis, labels in enumerate((out.x, out.y)):
            np.subtract(grids[axis], points[..., axis, None] * SPLIT_RATIO, out=labels)
            np.square(labels, out=labels)
            np.multiply(labels, np.float32(-1 / (2 * SIGMA**2)), out=labels)
            np.exp(labels, out=labels)
        return out

    return {"NumPy in place": Peer(write, np.asarray, allocates=False)}
