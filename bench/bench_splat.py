"""`encode.splat`: throughput beside the machine's write ceiling."""

from typing import Any

import numpy as np

import fastcoord as fc
from bench import ceiling, throughput
from bench.bench_onehot import over, sample
from bench.settings import Settings
from bench.workloads import QUICK_SPLAT, SPLAT, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

ENCODER = "encode.splat"
_operation = next(operation for operation in OPERATIONS if operation.name == ENCODER)


@over(lambda settings: QUICK_SPLAT if settings.quick else SPLAT)
def bench_splat(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Points anywhere between the pixels."""
    points = workload.points()
    points += np.random.default_rng(5).uniform(-0.49, 0.49, points.shape).astype(np.float32)
    options: dict[str, Any] = {"shape": workload.canvas}
    out = workload.blank(1)
    fc.encode.splat(points, out=out, **options)
    chosen = np.unravel_index(sample(workload), workload.shape[:-2])
    assert_agrees(_operation, out[chosen], (points[chosen],), options)
    throughput.run(
        benchmark,
        settings,
        ENCODER,
        workload,
        with_out=lambda: fc.encode.splat(points, out=out, **options),
        allocating=lambda: fc.encode.splat(points, **options),
        ceilings=ceiling.writing(out),
        peers={},
    )
