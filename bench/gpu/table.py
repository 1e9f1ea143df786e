"""What is measured on a GPU: operations, the maps they run on, their goals, and the same with other libraries.

A new operation is one line in `OPERATIONS`; one that fastcoord does not have is left out.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

import fastcoord as fc
from bench.gpu import timing

SHAPES = {
    "D1": (64, 17, 64, 48),
    "D2": (32, 133, 96, 72),
    "eight D2": (8 * 32, 133, 96, 72),
    "many": (16384, 17, 64, 48),
    "one": (1, 1, 16384, 16384),
    "images": (1024, 64, 64),
}
LARGE = ("eight D2", "many", "one")
QUICK = (*LARGE, "D1")
SHORT = 12e-6  # seconds of the GPU for D1, at most


# Inputs


def random_maps(shape: tuple[int, ...], dtype: Any) -> Any:
    """Numbers of [0, 1), or all of an integer type."""
    if dtype.is_floating_point:
        return torch.rand(shape, device=timing.DEVICE, dtype=torch.float32).to(dtype)
    return torch.randint(0, 256, shape, device=timing.DEVICE, dtype=dtype)


def random_points(shape: tuple[int, ...]) -> Any:
    """The centre of a pixel of each map."""
    extent = torch.tensor([shape[-1], shape[-2]], device=timing.DEVICE, dtype=torch.float32)
    return (torch.rand((*shape[:-2], 2), device=timing.DEVICE) * extent).floor().minimum(extent - 1)


def one_hot_maps(shape: tuple[int, ...], dtype: Any) -> Any:
    maps = torch.zeros(shape, device=timing.DEVICE, dtype=dtype)
    draw_with_scatter(random_points(shape), maps)
    return maps


def blobs(shape: tuple[int, ...], dtype: Any) -> Any:
    """A peak in each map, with some noise: as heatmaps are, whose mean is far from the middle."""
    maps = (0.001 * torch.rand(shape, device=timing.DEVICE)).view(-1, *shape[-2:])
    points = random_points(shape).view(-1, 2)
    x = torch.arange(shape[-1], device=timing.DEVICE)
    y = torch.arange(shape[-2], device=timing.DEVICE)
    for start in range(0, len(maps), 1 << 13):
        some = points[start : start + (1 << 13)]
        along = torch.exp(-0.125 * (x - some[:, :1]) ** 2)
        across = torch.exp(-0.125 * (y - some[:, 1:]) ** 2)
        maps[start : start + (1 << 13)] += across[:, :, None] * along[:, None, :]
    return maps.view(shape).to(dtype)


# The same with PyTorch


def draw_with_scatter(points: Any, maps: Any) -> Any:
    width = maps.shape[-1]
    position = (points[..., 1] * width + points[..., 0]).long().unsqueeze(-1)
    return maps.zero_().flatten(-2).scatter_(-1, position, 1)


def argmax_in_torch(maps: Any) -> Any:
    width = maps.shape[-1]
    score, position = maps.flatten(-2).max(-1)
    return torch.stack([position % width, position // width], -1).float(), score


def soft_argmax_in_torch(maps: Any) -> Any:
    weights = maps.flatten(-2).softmax(-1).view(maps.shape)
    x = torch.arange(maps.shape[-1], device=maps.device, dtype=maps.dtype)
    y = torch.arange(maps.shape[-2], device=maps.device, dtype=maps.dtype)
    return torch.stack([(weights.sum(-2) * x).sum(-1), (weights.sum(-1) * y).sum(-1)], -1)


def box_in_torch(points: Any, height: int, width: int, reach: int) -> Any:
    x = torch.arange(width, device=points.device)
    y = torch.arange(height, device=points.device)
    nearest = (points + 0.5).floor()
    inside = (x - nearest[..., :1]).abs()[..., None, :] <= reach
    return (inside & ((y - nearest[..., 1:]).abs()[..., :, None] <= reach)).float()


def network_in_torch(images: Any, weight: Any, bias: Any, readout: Any, offset: Any) -> Any:
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype).expand(len(images), 1, height, width)
    y = torch.arange(height, device=images.device, dtype=images.dtype)[:, None].expand(len(images), 1, height, width)
    features = torch.nn.functional.conv2d(torch.cat([images[:, None], x, y], 1), weight, bias, padding="same")
    return features.relu().sum((-2, -1)) @ readout.T + offset


def argmax_in_cupy(maps: Any) -> Any:
    import cupy

    flat = cupy.asarray(maps.flatten(-2))

    def find() -> Any:
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            return flat.argmax(-1)

    return find


# The table


@dataclass(frozen=True)
class Work:
    """One operation on maps of one shape and type: what is called, and with what."""

    operation: str
    label: str
    dtype: str
    call: Callable[..., Any]  # of an input, and `out`
    make: Callable[[], Any]  # a new input
    nbytes: int  # that must be read, or written
    bandwidth: str  # "read" or "write"; "" where arithmetic is the limit
    goal: float | None = None  # of the bandwidth
    in_torch: Callable[[Any], Any] | None = None  # the same of an input
    is_right: Callable[[Any, Any], bool] | None = None  # whether the result is, of an input
    cupy: Callable[[Any], Callable[[], Any]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.operation}, {self.label}, {self.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPES[self.label]


def _points_of(maps: Any) -> Any:
    return argmax_in_torch(maps)[0]


def _decoded_right(result: Any, maps: Any) -> bool:
    return bool(torch.equal(result.xy, _points_of(maps.float() if maps.dtype == torch.uint8 else maps)))


def _decoder(
    name: str, goal: float, make: Any = random_maps, options: Any = None, is_right: Any = None, peer: Any = None
) -> Any:
    """Works of a decoder: `name` in fastcoord.decode, with `options`, which are added to the name."""

    def works(labels: tuple[str, ...], dtypes: tuple[str, ...]) -> Iterator[Work]:
        function = getattr(fc.decode, name, None)
        if function is None:
            return
        chosen = options or {}
        title = " ".join([f"decode.{name}", *(f"{key}={value}" for key, value in chosen.items())])
        for label in labels:
            for dtype in dtypes:
                kind = getattr(torch, dtype)
                yield Work(
                    title,
                    label,
                    dtype,
                    functools.partial(function, **chosen),
                    functools.partial(make, SHAPES[label], kind),
                    math.prod(SHAPES[label]) * kind.itemsize,
                    "read",
                    goal if dtype == "float32" else min(goal, 0.85),
                    in_torch=argmax_in_torch if is_right is not None else peer,
                    is_right=is_right,
                    cupy=argmax_in_cupy if name == "argmax" and not chosen else None,
                )

    return works


def _encoder(name: str, goal: float | None, in_torch: Any = None, options: Any = None) -> Any:
    """Works of an encoder: `name` in fastcoord.encode."""

    def works(labels: tuple[str, ...], dtypes: tuple[str, ...]) -> Iterator[Work]:
        function = getattr(fc.encode, name, None)
        if function is None:
            return
        chosen = options or {}
        title = " ".join([f"encode.{name}", *(f"{key}={value}" for key, value in chosen.items())])
        for label in labels:
            for dtype in dtypes:
                shape = SHAPES[label]
                reference = in_torch
                if in_torch == "scatter":
                    reference = functools.partial(_scattered, shape, getattr(torch, dtype))
                elif in_torch is not None:
                    reference = functools.partial(in_torch, height=shape[-2], width=shape[-1])
                yield Work(
                    title,
                    label,
                    dtype,
                    functools.partial(function, shape=shape[-2:], dtype=getattr(torch, dtype), **chosen),
                    functools.partial(random_points, shape),
                    math.prod(shape) * getattr(torch, dtype).itemsize,
                    "write",
                    goal,
                    in_torch=reference,
                    is_right=_same_maps(reference) if label == "D1" and reference is not None else None,
                )

    return works


def _scattered(shape: tuple[int, ...], dtype: Any, points: Any) -> Any:
    return draw_with_scatter(points, torch.empty(shape, device=timing.DEVICE, dtype=dtype)).view(shape)


def _same_maps(reference: Any) -> Callable[[Any, Any], bool]:
    return lambda result, points: bool(torch.equal(result, reference(points)))


def networks(labels: tuple[str, ...], dtypes: tuple[str, ...]) -> Iterator[Work]:
    """The network of eight 3×3 features on 1024 images."""
    import numpy as np

    numbers = np.random.default_rng(7)
    parts = [numbers.integers(-8, 9, size=size) / 64 for size in ((8, 3, 3, 3), (8,), (2, 8), (2,))]
    net = fc.CoordNet(*parts)
    tensors = [torch.as_tensor(part, device=timing.DEVICE, dtype=torch.float32) for part in parts]

    def reference(images: Any) -> Any:
        return network_in_torch(images, *tensors)

    def is_right(result: Any, images: Any) -> bool:
        return bool(torch.allclose(result, reference(images), rtol=1e-3))

    shape = SHAPES["images"]
    flops = 2 * 8 * 9 * math.prod(shape)
    make = functools.partial(random_maps, shape, torch.float32)
    options = {"flops": flops}
    yield Work(
        "CoordNet 3×3, 8 features", "images", "float32", net.__call__, make, 4 * math.prod(shape), "", None, reference,
        is_right, options=options,
    )  # fmt: skip


OPERATIONS = (
    _decoder("argmax", 0.9, is_right=_decoded_right),
    _decoder("onehot", 0.9, one_hot_maps, is_right=_decoded_right),
    _decoder("center_of_mass", 0.9, blobs, options={"covariance": True}),
    _decoder("argmax", 0.9, blobs, options={"refine": "dark"}),
    _decoder("soft_argmax", 0.85, peer=soft_argmax_in_torch),
    _encoder("onehot", None, "scatter"),
    _encoder("box", None, functools.partial(box_in_torch, reach=4)),
    _encoder("gaussian", 0.9, options={"sigma": 2.0}),
    _encoder("splat", None),
)


def chosen(is_quick: bool) -> Iterator[Work]:
    """What is measured, what has a goal first."""
    for works in OPERATIONS:
        yield from works(QUICK, ("float32",))
    for works in OPERATIONS[:2]:
        yield from works(("eight D2",), ("uint8", "float16"))
    yield from networks((), ())
    if is_quick:
        return
    for works in OPERATIONS:
        yield from works(("D2",), ("float32",))
    yield from _decoder("soft_argmax", 0.85, options={"covariance": True})(("eight D2",), ("float32",))
    of_bytes = "encode.onehot", "encode.box"
    for works in OPERATIONS:
        yield from (work for work in works(("eight D2",), ("uint8",)) if work.operation.startswith(of_bytes))
