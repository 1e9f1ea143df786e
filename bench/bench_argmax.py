"""`decode.argmax`: throughput beside the machine's read ceiling, and the largest pixels in NumPy and PyTorch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import decoded_garbage, over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import ARGMAX, QUICK_ARGMAX, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER = "decode.argmax"
_operation = next(operation for operation in OPERATIONS if operation.name == DECODER)


@over(lambda settings: QUICK_ARGMAX if settings.quick else ARGMAX)
def bench_argmax(benchmark: Any, settings: Settings, workload: Workload) -> None:
    heatmaps = workload.images()
    axes, out = workload.axes, decoded_garbage(workload)
    fc.decode.argmax(heatmaps, axes=axes, out=out)
    check(workload, heatmaps, out)
    check(workload, heatmaps, fc.decode.argmax(heatmaps, axes=axes))
    rivals = _rivals(workload, heatmaps)
    throughput.check_peers(rivals, out.xy.reshape(-1, 2))
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.argmax(heatmaps, axes=axes, out=out),
        allocating=lambda: fc.decode.argmax(heatmaps, axes=axes),
        ceilings=ceiling.reading(heatmaps),
        peers=rivals,
    )


def check(workload: Workload, heatmaps: NDArray[Any], decoded: fc.Decoded) -> None:
    """A sample agrees with the reference, and every score is the maximum."""
    maps = workload.maps_last(heatmaps)
    chosen = np.unravel_index(sample(workload), maps.shape[:-2])
    some = fc.Decoded(*(None if member is None else member[chosen] for member in decoded))
    assert_agrees(_operation, some, (maps[chosen],), {})
    np.testing.assert_array_equal(decoded.score, maps.max((-2, -1)))


def _rivals(workload: Workload, heatmaps: NDArray[Any]) -> dict[str, Peer]:
    """NumPy's position and value of the largest pixels, and PyTorch's, which finds both in one call."""
    maps = workload.maps_last(heatmaps)
    flat = maps.reshape(*maps.shape[:-2], -1)  # of NHWC maps a copy, which is not timed

    def in_numpy() -> tuple[Any, Any]:
        return flat.argmax(-1), flat.max(-1)

    rivals = {"NumPy argmax and max": Peer(in_numpy, lambda found: _points(workload, found[0]))}
    library = peers.torch()
    if library is not None:
        tensor = library.from_numpy(flat)
        rivals["PyTorch max"] = Peer(lambda: tensor.max(-1), lambda found: _points(workload, found.indices.numpy()))
    return rivals


def _points(workload: Workload, positions: NDArray[Any]) -> NDArray[Any]:
    rows, columns = np.unravel_index(positions.reshape(-1), workload.canvas)
    return np.stack([columns, rows], -1).astype(np.float32)
