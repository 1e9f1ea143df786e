"""`decode.center_of_mass`, with covariance, and its gradient: beside the ceilings, SciPy, OpenCV and PyTorch."""

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import decoded_garbage, over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import MASSES, NHWC, QUICK_MASSES, Workload
from fastcoord.decode._center_of_mass.reference import center_of_mass_vjp
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER, GRADIENT = "decode.center_of_mass", "decode.center_of_mass_vjp"
FEW = 16  # maps that a peer without batches is timed on; its time is scaled
_operation = next(operation for operation in OPERATIONS if operation.name == DECODER)


@over(lambda settings: QUICK_MASSES if settings.quick else MASSES)
def bench_center_of_mass(benchmark: Any, settings: Settings, workload: Workload) -> None:
    heatmaps = workload.images()
    options: dict[str, Any] = {"covariance": True, "axes": workload.axes}
    plain = decoded_garbage(workload)
    out = plain._replace(covariance=np.full((*plain.score.shape, 2, 2), np.nan, plain.score.dtype))
    fc.decode.center_of_mass(heatmaps, out=out, **options)
    check(workload, heatmaps, out)
    check(workload, heatmaps, fc.decode.center_of_mass(heatmaps, **options))
    rivals = _rivals(workload, heatmaps)
    for name, peer in rivals.items():
        answer = peer.answer(peer.call())
        np.testing.assert_allclose(answer, out.xy.reshape(-1, 2)[: len(answer)], rtol=1e-4, err_msg=name)
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.center_of_mass(heatmaps, out=out, **options),
        allocating=lambda: fc.decode.center_of_mass(heatmaps, **options),
        ceilings=ceiling.reading(heatmaps),
        peers=rivals,
    )


@over(lambda settings: [] if settings.quick else [work for work in MASSES if work.dtype == "float32"])
def bench_center_of_mass_vjp(benchmark: Any, settings: Settings, workload: Workload) -> None:
    """Beside a write of the gradient; the heatmaps are read besides."""
    heatmaps = workload.images()
    grad = np.ones((*workload.shape[:-2], 2), np.float32)
    out = np.full_like(heatmaps, np.nan)
    fc.decode.center_of_mass_vjp(grad, heatmaps, axes=workload.axes, out=out)
    chosen = np.unravel_index(sample(workload), workload.shape[:-2])
    wanted = center_of_mass_vjp(grad[chosen], workload.maps_last(heatmaps)[chosen])
    np.testing.assert_allclose(workload.maps_last(out)[chosen], wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())
    throughput.run(
        benchmark,
        settings,
        GRADIENT,
        workload,
        with_out=lambda: fc.decode.center_of_mass_vjp(grad, heatmaps, axes=workload.axes, out=out),
        allocating=lambda: fc.decode.center_of_mass_vjp(grad, heatmaps, axes=workload.axes),
        ceilings=ceiling.writing(out),
        peers={},
    )


def check(workload: Workload, heatmaps: NDArray[Any], decoded: fc.Decoded) -> None:
    """A sample agrees with the reference, and every score is nearly the sum."""
    maps = workload.maps_last(heatmaps)
    chosen = np.unravel_index(sample(workload), maps.shape[:-2])
    some = fc.Decoded(*(None if member is None else member[chosen] for member in decoded))
    assert_agrees(_operation, some, (maps[chosen],), {"covariance": True})
    np.testing.assert_allclose(decoded.score, maps.sum((-2, -1), dtype=np.float64), rtol=1e-5)


def _rivals(workload: Workload, heatmaps: NDArray[Any]) -> dict[str, Peer]:
    """SciPy's centre of mass, OpenCV's moments where it is installed, and PyTorch's sums over both axes.

    Only OpenCV gives the second moments too.
    """
    maps = workload.maps_last(heatmaps).reshape(-1, *workload.canvas)  # of NHWC maps a copy, which is not timed
    few = maps[: max(1, min(FEW, len(maps), (1 << 22) // math.prod(workload.canvas)))]
    scale = len(maps) / len(few)

    def in_scipy() -> Any:
        return np.array([ndimage.center_of_mass(heatmap) for heatmap in few])[:, ::-1]

    rivals = {"SciPy center_of_mass": Peer(in_scipy, lambda xy: xy, scale)}
    library = peers.torch()
    if library is not None and workload.dtype == "float32" and workload.content != NHWC:
        tensor = library.from_numpy(maps)
        height, width = workload.canvas
        columns, rows = library.arange(width, dtype=tensor.dtype), library.arange(height, dtype=tensor.dtype)

        def in_torch() -> Any:
            across, down = tensor.sum(-2), tensor.sum(-1)
            mass = down.sum(-1)
            return library.stack([across @ columns / mass, down @ rows / mass], -1)

        rivals["PyTorch sums"] = Peer(in_torch, lambda xy: xy.numpy())
    try:
        moments = importlib.import_module("cv2").moments
    except ImportError:
        return rivals

    def in_opencv() -> Any:
        return [moments(heatmap) for heatmap in few]

    def centres(found: Any) -> NDArray[Any]:
        return np.array([(m["m10"] / m["m00"], m["m01"] / m["m00"]) for m in found])

    return {**rivals, "OpenCV moments": Peer(in_opencv, centres, scale)}
