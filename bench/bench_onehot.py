"""`decode.onehot` and `encode.onehot`: throughput beside the machine's ceiling, time of one call, time to start."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, startup, throughput
from bench.measure import measured, summary
from bench.settings import Settings
from bench.throughput import TENSOR
from bench.workloads import DECODE, ENCODE, ONE_HOT, QUICK_DECODE, QUICK_ENCODE, RANDOM, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER, ENCODER = "decode.onehot", "encode.onehot"
_operations = {operation.name: operation for operation in OPERATIONS}
_SAMPLE = 16  # maps compared with the reference, which takes milliseconds for each


def over(choice: Callable[[Settings], Any]) -> Callable[[Any], Any]:
    """Mark a benchmark with the workloads it runs on."""

    def mark(function: Any) -> Any:
        function.workloads = choice
        return function

    return mark


@over(lambda settings: QUICK_DECODE if settings.quick else DECODE)
def bench_decode(benchmark: Any, settings: Settings, workload: Workload) -> None:
    images = workload.images()
    out = decoded_garbage(workload)
    fc.decode.onehot(images, axes=workload.axes, out=out)
    check_decoded(workload, images, out)
    check_decoded(workload, images, fc.decode.onehot(images, axes=workload.axes))
    rivals = {} if workload.content == RANDOM else peers.decoders(workload, images)  # no peer sums random maps
    throughput.check_peers(rivals, workload.points().reshape(-1, 2))
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.onehot(images, axes=workload.axes, out=out),
        allocating=lambda: fc.decode.onehot(images, axes=workload.axes),
        ceilings=ceiling.reading(images),
        peers=rivals,
    )


@over(lambda settings: QUICK_ENCODE if settings.quick else ENCODE)
def bench_encode(benchmark: Any, settings: Settings, workload: Workload) -> None:
    points = workload.points()
    options: dict[str, Any] = {"shape": workload.canvas, "dtype": workload.dtype, "axes": workload.axes}
    out = workload.blank(1)
    fc.encode.onehot(points, out=out, **options)
    check_encoded(workload, points, out)
    check_encoded(workload, points, fc.encode.onehot(points, **options))
    rivals = peers.encoders(workload, points, out)
    throughput.check_peers(rivals, workload.maps_last(out).reshape(-1, *workload.canvas).copy())
    throughput.run(
        benchmark,
        settings,
        ENCODER,
        workload,
        with_out=lambda: fc.encode.onehot(points, out=out, **options),
        allocating=lambda: fc.encode.onehot(points, **options),
        ceilings=ceiling.writing(out),
        peers=rivals,
    )


def bench_latency(benchmark: Any, settings: Settings) -> None:
    """One 64×64 image a call, from Python; pytest-benchmark's own time is that of all rounds together."""
    workload = Workload("N1")
    image, point = workload.images()[7].copy(), workload.points()[7]
    decoded = fc.decode.onehot(image)
    encoded = fc.encode.onehot(point, shape=image.shape)
    assert_agrees(_operations[DECODER], decoded, (image,), {})
    assert_agrees(_operations[ENCODER], encoded, (point,), {"shape": image.shape, "dtype": np.float32})
    column, row = map(int, point)
    calls = {
        DECODER: lambda: fc.decode.onehot(image),
        f"{DECODER}, out=": lambda: fc.decode.onehot(image, out=decoded),
        ENCODER: lambda: fc.encode.onehot(point, shape=(64, 64)),
        f"{ENCODER}, out=": lambda: fc.encode.onehot(point, shape=(64, 64), out=encoded),
        **_calls_of_tensors(image, point),
        "NumPy argmax": lambda: np.unravel_index(image.argmax(), image.shape),
        "NumPy zeros": lambda: _written(np.zeros((64, 64), np.float32), column, row),
    }
    repeated = {name: _repeated(call, settings.calls) for name, call in calls.items()}
    taken = benchmark.pedantic(lambda: measured(repeated, budget=settings.budget, least=15), rounds=1)
    benchmark.extra_info.update(
        kind="latency", calls={name: summary(times, 1 / settings.calls) for name, times in taken.items()}
    )


def _calls_of_tensors(image: NDArray[Any], point: NDArray[Any]) -> dict[str, Callable[[], Any]]:
    """The same calls with tensors of PyTorch, in and out; none where it is not installed."""
    torch = peers.torch()
    if torch is None:
        return {}
    images, points = torch.from_numpy(image), torch.from_numpy(point)
    decoded = fc.decode.onehot(images)
    encoded = fc.encode.onehot(points, shape=image.shape)
    assert torch.equal(decoded.xy, points)
    assert torch.equal(encoded, images)
    return {
        f"{DECODER}, {TENSOR}": lambda: fc.decode.onehot(images),
        f"{DECODER}, {TENSOR}, out=": lambda: fc.decode.onehot(images, out=decoded),
        f"{ENCODER}, {TENSOR}": lambda: fc.encode.onehot(points, shape=(64, 64)),
        f"{ENCODER}, {TENSOR}, out=": lambda: fc.encode.onehot(points, shape=(64, 64), out=encoded),
    }


def bench_startup(benchmark: Any, settings: Settings) -> None:
    """Import, and the first result with a warm and with a cold cache; pytest-benchmark's own time is that of all."""
    taken = benchmark.pedantic(lambda: startup.measure(settings), rounds=1)
    benchmark.extra_info.update(kind="startup", starts={name: summary(times) for name, times in taken.items()})


def decoded_garbage(workload: Workload) -> fc.Decoded:
    """A place for results, filled with what no result is."""
    batch = workload.shape[:-2]
    dtype = np.float64 if workload.dtype == "float64" else np.float32
    nan = float("nan")
    return fc.Decoded(np.full((*batch, 2), nan, dtype), np.full(batch, nan, dtype), None, np.full(batch, -1, np.int32))


def sample(workload: Workload) -> NDArray[np.intp]:
    """The numbers of some maps: the first, the last, and others."""
    some = np.random.default_rng(3).integers(workload.maps, size=_SAMPLE - 2)
    return np.unique(np.concatenate([[0, workload.maps - 1], some]))


def check_decoded(workload: Workload, images: NDArray[Any], decoded: fc.Decoded) -> None:
    """A sample agrees with the reference; of one-hot images every answer is exactly right."""
    maps = workload.maps_last(images)
    batch = maps.shape[:-2]
    chosen = np.unravel_index(sample(workload), batch)
    some = fc.Decoded(*(None if member is None else member[chosen] for member in decoded))
    assert_agrees(_operations[DECODER], some, (maps[chosen],), {})
    if workload.content == ONE_HOT:
        np.testing.assert_array_equal(decoded.xy, workload.points())


def check_encoded(workload: Workload, points: NDArray[Any], images: NDArray[Any]) -> None:
    """A sample equals the reference, and there is one hot pixel for each point."""
    maps = workload.maps_last(images)
    chosen = np.unravel_index(sample(workload), maps.shape[:-2])
    options = {"shape": workload.canvas, "dtype": np.dtype(workload.dtype)}
    assert_agrees(_operations[ENCODER], maps[chosen], (points[chosen],), options)
    assert np.count_nonzero(images) == workload.maps


def _written(image: NDArray[Any], column: int, row: int) -> NDArray[Any]:
    image[row, column] = 1
    return image


def _repeated(call: Callable[[], Any], times: int) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(times):
            call()

    return calls
