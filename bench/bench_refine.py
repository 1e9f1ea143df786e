"""`decode.argmax` between the pixels: throughput beside the machine's read ceiling, and mmpose's refinements."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, mmpose, throughput
from bench.bench_onehot import decoded_garbage, over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import PEAK_WIDTH, QUICK_REFINE, REFINE, Workload
from fastcoord.decode._argmax.reference import argmax

METHODS = ("quarter", "quadratic", "dark", "gaussian")
NEAR = 1e-3  # pixels; float32 in the peers, 1e-3 times the step of DARK


@pytest.mark.parametrize("refine", METHODS)
@over(lambda settings: QUICK_REFINE if settings.quick else REFINE)
def bench_refine(benchmark: Any, settings: Settings, workload: Workload, refine: str) -> None:
    heatmaps, out = workload.images(), decoded_garbage(workload)

    def decode(**given: Any) -> Any:
        return fc.decode.argmax(heatmaps, refine=refine, sigma=PEAK_WIDTH, **given)

    check(workload, heatmaps, decode(), refine)
    rivals = _rivals(heatmaps, refine)
    for name, peer in rivals.items():
        wanted = fc.decode.argmax(heatmaps, refine=refine, compat="mmpose").xy.reshape(-1, 2)
        off = np.abs(peer.answer(peer.call()) - wanted).max(1)
        assert (off < NEAR).mean() > 0.999, name  # a hessian that is nearly singular magnifies what is rounded
    throughput.run(
        benchmark,
        settings,
        f"decode.argmax {refine}",
        workload,
        with_out=lambda: decode(out=out),
        allocating=decode,
        ceilings=ceiling.reading(heatmaps),
        peers=rivals,
    )


def check(workload: Workload, heatmaps: NDArray[Any], decoded: fc.Decoded, refine: str) -> None:
    """A sample agrees with the reference."""
    chosen = np.unravel_index(sample(workload), heatmaps.shape[:-2])
    wanted = argmax(heatmaps[chosen], refine=refine, sigma=PEAK_WIDTH)
    np.testing.assert_allclose(decoded.xy[chosen], wanted[0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(decoded.status[chosen], wanted[3])


def _rivals(heatmaps: NDArray[Any], refine: str) -> dict[str, Peer]:
    """What mmpose does by the same name."""

    def peer(call: Callable[[], Any]) -> Peer:
        return Peer(call, lambda xy: xy)

    if refine == "quarter":
        return {"mmpose quarter": peer(lambda: mmpose.quarter(heatmaps))}
    blur = mmpose.blur_by()
    if refine != "dark" or blur is None:
        return {}
    return {f"mmpose DARK ({blur[0]})": peer(lambda: mmpose.dark(heatmaps, blur[1]))}
