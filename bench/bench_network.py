"""`CoordNet` beside the machine's multiply-adds, its read ceiling, and PyTorch's convolution, ReLU and sum.

PyTorch gets the coordinate channels already concatenated, and its backward pass gives their gradients with the image's,
which ours does not compute. It stops at the features' sums: the readout is two numbers for thousands of pixels.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import fastcoord as fc
from bench import ceiling, peak
from bench.measure import measured_by, rounded, summary
from bench.network_workloads import NETWORKS, QUICK_NETWORKS, NetworkWorkload
from bench.settings import Settings
from fastcoord.network import reference
from tests.agreement import assert_close

FORWARD, BOTH, PEAK, PYTORCH, PYTORCH_BOTH = "network", "network and vjp", "multiply-adds", "PyTorch", "PyTorch, both"
_SAMPLE = 4  # maps compared with the reference


def bench_network(benchmark: Any, settings: Settings, workload: NetworkWorkload) -> None:
    net, images = workload.network(), workload.images()
    grad = np.ones((workload.maps, 2), np.float32)
    out = net(images)
    check(net, images, out)
    lanes = peak.blank()

    def both() -> None:
        net(images, out=out)
        net.vjp(grad, images)

    calls: dict[str, Callable[[], Any]] = {BOTH: both, PEAK: lambda: peak.multiply_adds(lanes)}
    readers = ceiling.reading(images)
    calls |= readers | pytorch(workload, net)
    taken = measured_by(
        *(benchmark, {FORWARD: lambda: net(images, out=out), **calls}, FORWARD),
        budget=settings.budget,
        least=settings.least,
    )
    times = {name: summary(seconds) for name, seconds in taken.items()}
    medians = {name: found["median"] for name, found in times.items()}
    figures = {
        "of the multiply-adds": workload.multiply_adds / medians[FORWARD] / (peak.work() / medians[PEAK]),
        "of the read ceiling": min(medians[name] for name in readers) / medians[FORWARD],
    }
    if PYTORCH in medians:
        figures["times PyTorch"] = medians[PYTORCH] / medians[FORWARD]
        figures["times PyTorch, both"] = medians[PYTORCH_BOTH] / medians[BOTH]
    benchmark.extra_info.update(
        kind="network",
        title=str(workload),
        threads=numba.get_num_threads(),
        figures={name: rounded(figure) for name, figure in figures.items()},
        goals=dict(workload.goals),
        times=times,
    )


bench_network.workloads = lambda settings: QUICK_NETWORKS if settings.quick else NETWORKS  # type: ignore[attr-defined]


def check(net: fc.CoordNet, images: Any, out: Any) -> None:
    """The first maps have what the reference says."""
    maps = images[:_SAMPLE] if net.channels > 1 else images[:_SAMPLE, None]
    parameters = net.weight, net.bias, net.readout, net.offset
    precise, plain = (reference.network(maps, *parameters, dtype=dtype) for dtype in (np.float64, np.float32))
    assert_close("out", out[:_SAMPLE], precise, plain)


def pytorch(workload: NetworkWorkload, net: fc.CoordNet) -> dict[str, Callable[[], Any]]:
    """The features' sums in eager PyTorch, and these with their gradients; nothing where it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(numba.get_num_threads())
    rows, columns = np.mgrid[: workload.height, : workload.width].astype(np.float32)
    images = workload.images().reshape(workload.maps, workload.channels, workload.height, workload.width)
    coordinates = np.broadcast_to(np.stack([columns, rows]), (workload.maps, 2, workload.height, workload.width))
    inputs = torch.from_numpy(np.concatenate([images, coordinates], axis=1)).requires_grad_()
    weight, bias = (torch.from_numpy(a.astype(np.float32)).requires_grad_() for a in (net.weight, net.bias))
    convolve = functools.partial(torch.nn.functional.conv2d, padding=workload.kernel // 2)
    ones = torch.ones((workload.maps, workload.features))

    def sums() -> Any:
        return torch.relu(convolve(inputs, weight, bias)).sum((2, 3))

    def forward() -> Any:
        with torch.inference_mode():
            return sums()

    return {PYTORCH: forward, PYTORCH_BOTH: lambda: torch.autograd.grad(sums(), (weight, bias, inputs), ones)}
