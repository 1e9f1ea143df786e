"""A throughput benchmark: an operation, the machine's ceiling and the peers, side by side on the same bytes."""

from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.measure import measured_by, rounded, summary
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import Workload

Call = Callable[[], Any]

OUT, ALLOCATING = "out=", "allocating"  # the operation into the caller's arrays, and into new ones
TENSOR = "PyTorch tensors"  # in and out, instead of NumPy arrays


def check_peers(peers: Mapping[str, Peer], expected: NDArray[Any]) -> None:
    """Each peer gives the right answer, if only to the first maps: a time of anything else tells nothing."""
    for name, peer in peers.items():
        answer = peer.answer(peer.call())
        np.testing.assert_array_equal(answer, expected[: len(answer)], err_msg=name)


def run(
    benchmark: Any,
    settings: Settings,
    operation: str,
    workload: Workload,
    *,
    with_out: Call,
    allocating: Call,
    ceilings: Mapping[str, Call],
    peers: Mapping[str, Peer],
) -> None:
    """Measure all of them in the same rounds, and store what was found in ``benchmark.extra_info``."""
    calls = {OUT: with_out, ALLOCATING: allocating, **ceilings, **{name: peer.call for name, peer in peers.items()}}
    taken = measured_by(benchmark, calls, OUT, budget=settings.budget, least=settings.least)
    times = {name: summary(seconds, peers[name].scale if name in peers else 1) for name, seconds in taken.items()}
    best = min(ceilings, key=lambda name: times[name]["median"])
    ceiling = times[best]["median"]
    benchmark.extra_info.update(
        kind="throughput",
        operation=operation,
        workload=workload.label,
        shape=list(workload.shape),
        dtype=workload.dtype,
        content=workload.content,
        axes=list(workload.axes),
        bytes=workload.nbytes,
        threads=numba.get_num_threads(),
        operations={
            name: {
                "out": name == OUT,
                "fraction_of_ceiling": rounded(ceiling / times[name]["median"]),
                "gigabytes_per_second": rounded(workload.nbytes / times[name]["median"] / 1e9),
                **times[name],
            }
            for name in (OUT, ALLOCATING)
        },
        ceiling={"best": best, "median": ceiling, "of": {name: times[name] for name in ceilings}},
        peers={
            name: {"out": not peer.allocates, "scaled_by": rounded(peer.scale), **times[name]}
            for name, peer in peers.items()
        },
    )
