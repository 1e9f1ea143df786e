"""Coordinates to bitmaps and heatmaps."""

from typing import TYPE_CHECKING

from fastcoord._lazy import from_rooms

if TYPE_CHECKING:
    from fastcoord.encode._box import box
    from fastcoord.encode._gaussian import gaussian, gaussian_vjp
    from fastcoord.encode._offsets import offsets
    from fastcoord.encode._onehot import onehot
    from fastcoord.encode._simcc import simcc
    from fastcoord.encode._splat import splat, splat_vjp

__all__ = ["box", "gaussian", "gaussian_vjp", "offsets", "onehot", "simcc", "splat", "splat_vjp"]

__getattr__, __dir__ = from_rooms(__name__, __all__)
