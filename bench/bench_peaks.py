"""`decode.peaks`: throughput beside the read ceiling of the machine, sleap-nn, kornia, SciPy and scikit-image."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench import ceiling, peers, throughput
from bench.bench_onehot import over, sample
from bench.peers import Peer
from bench.settings import Settings
from bench.workloads import QUICK_SPOTS, SPOTS, Workload
from tests.agreement import assert_agrees
from tests.operations import OPERATIONS

DECODER = "decode.peaks"
THRESHOLD = 0.2
SLOW_PIXELS = 1 << 22  # the maps of slow peers hold so many in all, or are one; their time is scaled
_operation = next(operation for operation in OPERATIONS if operation.name == DECODER)


@over(lambda settings: QUICK_SPOTS if settings.quick else SPOTS)
def bench_peaks(benchmark: Any, settings: Settings, workload: Workload) -> None:
    heatmaps = workload.images()
    options: dict[str, Any] = {"k": 20 if workload.maps > 1 else 6000, "threshold": THRESHOLD}
    out = fc.decode.peaks(heatmaps, **options)
    if workload.maps > 1:
        chosen = np.unravel_index(sample(workload)[:8], heatmaps.shape[:-2])
        found = fc.results.Peaks(*(member[chosen] for member in out))
        assert_agrees(_operation, found, (heatmaps[chosen],), options)
    rivals = _rivals(workload, heatmaps)
    for name, peer in rivals.items():
        _check(name, peer.answer(peer.call()), workload, heatmaps)
    throughput.run(
        benchmark,
        settings,
        DECODER,
        workload,
        with_out=lambda: fc.decode.peaks(heatmaps, out=out, **options),
        allocating=lambda: fc.decode.peaks(heatmaps, **options),
        ceilings=ceiling.reading(heatmaps),
        peers=rivals,
    )


def _check(name: str, answer: NDArray[Any], workload: Workload, heatmaps: NDArray[Any]) -> None:
    """The peer's (map, x, y) are all peaks of the maps that it saw, but for what it is known to leave out."""
    height, width = workload.canvas
    maps = heatmaps.reshape(-1, height, width)
    seen = int(answer[:, 0].max()) + 1
    every = fc.decode.peaks(maps[:seen], k=height * width // 4, threshold=THRESHOLD)
    known = {
        (i, int(x), int(y))
        for i in range(seen)
        for x, y in every.xy[i, : every.count[i]]
        if x == int(x) and y == int(y)
    }
    theirs = set(map(tuple, answer.astype(int).tolist()))
    missing, more = known - theirs, theirs - known
    if name.startswith("kornia"):  # it never finds one on the border
        missing = {(i, x, y) for i, x, y in missing if 0 < x < width - 1 and 0 < y < height - 1}
    # pixels that happen to be equal: theirs are then two peaks, or none
    assert len(missing) + len(more) <= 1e-4 * len(known) + 2, name


def _rivals(workload: Workload, heatmaps: NDArray[Any]) -> dict[str, Peer]:
    height, width = workload.canvas
    maps = heatmaps.reshape(-1, height, width)
    few = maps[: max(SLOW_PIXELS // (height * width), 1)]
    scale = len(maps) / len(few)
    rivals = {}
    for name, call in (("SciPy maximum_filter", _scipy(few)), ("scikit-image peak_local_max", _skimage(few))):
        if call is not None:
            rivals[name] = Peer(call, lambda points: points, scale)
    library = peers.torch()
    if library is None:
        return rivals
    try:
        importlib.import_module("kornia")
    except ImportError:
        return rivals
    tensor = library.from_numpy(few)
    rivals["sleap-nn local peaks"] = Peer(_sleap(library, tensor), lambda points: points, scale)
    rivals["kornia nms2d"] = Peer(_kornia(tensor), lambda points: points, scale)
    return rivals


def _sleap(library: Any, maps: Any) -> Callable[[], Any]:
    """sleap-nn's `find_local_peaks_rough`, restated: a dilation without the middle, and what exceeds it."""
    morphology = importlib.import_module("kornia.morphology")
    around = library.zeros(3, 3)
    around[1, 1] = -1e4  # kornia adds it, and takes what is missing at the border for −10,000

    def find() -> Any:
        greatest = morphology.dilation(maps[:, None], library.ones(3, 3), structuring_element=around)
        index, _channel, y, x = library.nonzero((maps[:, None] > greatest) & (maps[:, None] > THRESHOLD), as_tuple=True)
        return library.stack([index, x, y], -1).numpy()

    return find


def _kornia(maps: Any) -> Callable[[], Any]:
    nms2d = importlib.import_module("kornia.geometry.subpix").nms2d
    stack = peers.torch().stack

    def find() -> Any:
        kept = nms2d(maps[:, None], (3, 3))
        index, _channel, y, x = (kept > THRESHOLD).nonzero(as_tuple=True)
        return stack([index, x, y], -1).numpy()

    return find


def _scipy(maps: NDArray[Any]) -> Callable[[], Any] | None:
    try:
        maximum_filter = importlib.import_module("scipy.ndimage").maximum_filter
    except ImportError:
        return None

    def find() -> Any:
        index, y, x = np.nonzero((maximum_filter(maps, (1, 3, 3)) == maps) & (maps > THRESHOLD))
        return np.stack([index, x, y], -1)

    return find


def _skimage(maps: NDArray[Any]) -> Callable[[], Any] | None:
    try:
        peak_local_max = importlib.import_module("skimage.feature").peak_local_max
    except ImportError:
        return None

    def find() -> Any:
        found = [peak_local_max(image, min_distance=1, threshold_abs=THRESHOLD, exclude_border=False) for image in maps]
        return np.concatenate([np.insert(points[:, ::-1], 0, i, axis=1) for i, points in enumerate(found)])

    return find
