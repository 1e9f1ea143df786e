"""The networks that are measured, and what they must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcoord as fc
from bench.workloads import SEED


@dataclass(frozen=True)
class NetworkWorkload:
    """Random images, and a network of random weights; `goals`: the least of each figure that must be reached."""

    maps: int
    channels: int
    features: int
    kernel: int
    goals: Mapping[str, float] = field(default_factory=dict)
    height: int = 64
    width: int = 64

    def __str__(self) -> str:
        size = f"{self.maps}×{self.channels}×{self.height}×{self.width}"
        return f"{size}, {self.features} features of {self.kernel}×{self.kernel}"

    @property
    def multiply_adds(self) -> int:
        """Those of the image's taps; of the coordinates, ReLU and sum none is counted."""
        return self.maps * self.height * self.width * self.channels * self.features * self.kernel**2

    def images(self) -> NDArray[np.float32]:
        shape = (self.maps, *([self.channels] if self.channels > 1 else []), self.height, self.width)
        return np.random.default_rng((SEED, *shape)).random(shape, np.float32)

    def network(self) -> fc.CoordNet:
        random = np.random.default_rng((SEED, self.features, self.kernel))

        def normal(*shape: int) -> NDArray[Any]:
            return random.normal(size=shape)

        return fc.CoordNet(
            normal(self.features, self.channels + 2, self.kernel, self.kernel),
            normal(self.features),
            normal(2, self.features),
            normal(2),
        )


NETWORKS = (
    NetworkWorkload(1024, 1, 8, 3, {"times PyTorch": 25, "of the multiply-adds": 0.3, "times PyTorch, both": 10}),
    NetworkWorkload(128, 3, 16, 5, {"of the multiply-adds": 0.3}),
    NetworkWorkload(1024, 1, 2, 1, {"of the read ceiling": 0.8}),
    NetworkWorkload(4096, 1, 2, 1, {"of the read ceiling": 0.8}),
)
QUICK_NETWORKS = NETWORKS[1:3]
