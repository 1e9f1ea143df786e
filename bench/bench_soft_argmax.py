"""`decode.soft_argmax`: throughput beside the machine's read ceiling, and soft-argmax of PyTorch, kornia and dsntnn."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import decoded_garbage, over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import NHWC, QUICK_SOFT_ARGMAX, SOFT_ARGMAX, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER = "decode.soft_argmax"
_operation = next(operation for operation in OPERATIONS if operation.name == DECODER)
_FARTHEST = 0.01  # pixels that a peer's answer may be from ours: they add up in float32, in one sum
_LOST = 5e-4  # of a side: PyTorch adds up 4096² float32 weights to .11 px with AVX-512, to .94 px with AVX2


@over(lambda settings: QUICK_SOFT_ARGMAX if settings.quick else SOFT_ARGMAX)
def bench_soft_argmax(benchmark: Any, settings: Settings, workload: Workload) -> None:
    heatmaps = workload.images()
    axes, out = workload.axes, decoded_garbage(workload)
    fc.decode.soft_argmax(heatmaps, axes=axes, out=out)
    check(workload, heatmaps, out)
    check(workload, heatmaps, fc.decode.soft_argmax(heatmaps, axes=axes))
    rivals = _rivals(workload, heatmaps)
    for name, peer in rivals.items():
        np.testing.assert_allclose(
            peer.answer(peer.call()),
            out.xy.reshape(-1, 2),
            atol=max(_FARTHEST, *(_LOST * extent for extent in workload.canvas)),
            err_msg=name,
        )
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.soft_argmax(heatmaps, axes=axes, out=out),
        allocating=lambda: fc.decode.soft_argmax(heatmaps, axes=axes),
        ceilings=ceiling.reading(heatmaps),
        peers=rivals,
    )


def check(workload: Workload, heatmaps: NDArray[Any], decoded: fc.Decoded) -> None:
    """A sample agrees with the reference, and every map has a mean within it."""
    maps = workload.maps_last(heatmaps)
    chosen = np.unravel_index(sample(workload), maps.shape[:-2])
    some = fc.Decoded(*(None if member is None else member[chosen] for member in decoded))
    assert_agrees(_operation, some, (maps[chosen],), {})
    height, width = workload.canvas
    assert ((decoded.xy >= 0) & (decoded.xy <= [width - 1, height - 1])).all()
    assert not decoded.status.any()


def _rivals(workload: Workload, heatmaps: NDArray[Any]) -> dict[str, Peer]:
    """What users of PyTorch call, on float32 maps."""
    library = peers.torch()
    if library is None or workload.dtype != "float32" or workload.content == NHWC:
        return {}
    height, width = workload.canvas
    tensor = library.from_numpy(heatmaps.reshape(-1, *workload.shape[-3:]))
    columns, rows = library.arange(width, dtype=library.float32), library.arange(height, dtype=library.float32)

    def by_marginals() -> Any:
        p = library.softmax(tensor.flatten(-2), -1).view(tensor.shape)
        return library.stack([p.sum(-2) @ columns, p.sum(-1) @ rows], -1)

    def by_products() -> Any:
        p = library.softmax(tensor.flatten(-2), -1).view(tensor.shape)
        return library.stack([(p * columns).sum((-2, -1)), (p * rows[:, None]).sum((-2, -1))], -1)

    rivals = {
        "PyTorch softmax, marginals": Peer(by_marginals, _points),
        "PyTorch softmax, products": Peer(by_products, _points),
    }
    for name in ("kornia", "dsntnn"):
        try:
            module = importlib.import_module({"kornia": "kornia.geometry.subpix", "dsntnn": "dsntnn"}[name])
        except ImportError:
            continue
        if name == "kornia":
            call = lambda m=module: m.spatial_soft_argmax2d(tensor, normalized_coordinates=False)  # noqa: E731
        else:
            call = lambda m=module: m.dsnt(m.flat_softmax(tensor), normalized_coordinates=False)  # noqa: E731
        rivals[f"{name} soft-argmax"] = Peer(call, _points)
    return rivals


def _points(xy: Any) -> NDArray[Any]:
    points: NDArray[Any] = xy.numpy().reshape(-1, 2)
    return points
