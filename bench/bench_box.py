"""`encode.box`: throughput of 9×9 squares beside the machine's write ceiling, and what one would write in NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import over, sample
from bench.settings import Settings
from bench.workloads import ENCODE, QUICK_ENCODE, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

ENCODER = "encode.box"
SIDE = 9
_operation = next(operation for operation in OPERATIONS if operation.name == ENCODER)


@over(lambda settings: QUICK_ENCODE if settings.quick else ENCODE)
def bench_box(benchmark: Any, settings: Settings, workload: Workload) -> None:
    points, value = workload.points(), value_of(workload)
    options: dict[str, Any] = {
        "shape": workload.canvas,
        "size": SIDE,
        "value": value,
        "dtype": workload.dtype,
        "axes": workload.axes,
    }
    out = workload.blank(1)
    fc.encode.box(points, out=out, **options)
    check(workload, points, out)
    check(workload, points, fc.encode.box(points, **options))
    rivals = peers.boxes(workload, points, SIDE, value, out)
    throughput.check_peers(rivals, workload.maps_last(out).reshape(-1, *workload.canvas).copy())
    throughput.run(
        benchmark,
        settings,
        ENCODER,
        workload,
        with_out=lambda: fc.encode.box(points, out=out, **options),
        allocating=lambda: fc.encode.box(points, **options),
        ceilings=ceiling.writing(out),
        peers=rivals,
    )


def value_of(workload: Workload) -> int:
    """The grey of the paper's squares, or what a bool can hold."""
    return 1 if workload.dtype == "bool" else 128


def check(workload: Workload, points: NDArray[Any], images: NDArray[Any]) -> None:
    """A sample equals the reference, and as many pixels are not zero as the squares have on their canvases."""
    maps = workload.maps_last(images)
    chosen = np.unravel_index(sample(workload), maps.shape[:-2])
    dtype = np.dtype(workload.dtype)
    options = {"shape": workload.canvas, "size": SIDE, "value": value_of(workload), "dtype": dtype}
    assert_agrees(_operation, maps[chosen], (points[chosen],), options)
    first, end = (np.clip(points + reach, 0, workload.canvas[::-1]) for reach in (-(SIDE // 2), SIDE // 2 + 1))
    assert np.count_nonzero(images) == (end - first).prod(axis=-1).sum()
