"""Bitmaps and heatmaps to coordinates."""

from typing import TYPE_CHECKING

from fastcoord._lazy import from_rooms

if TYPE_CHECKING:
    from fastcoord.decode._argmax import argmax
    from fastcoord.decode._center_of_mass import center_of_mass, center_of_mass_vjp
    from fastcoord.decode._onehot import onehot
    from fastcoord.decode._peaks import peaks
    from fastcoord.decode._simcc import simcc
    from fastcoord.decode._soft_argmax import soft_argmax, soft_argmax_vjp

__all__ = [
    "argmax",
    "center_of_mass",
    "center_of_mass_vjp",
    "onehot",
    "peaks",
    "simcc",
    "soft_argmax",
    "soft_argmax_vjp",
]

__getattr__, __dir__ = from_rooms(__name__, __all__)
