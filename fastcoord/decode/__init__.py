"""Bitmaps and heatmaps to coordinates."""

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
