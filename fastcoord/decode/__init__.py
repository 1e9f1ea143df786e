"""Bitmaps and heatmaps to coordinates."""

from fastcoord.decode._argmax import argmax
from fastcoord.decode._center_of_mass import center_of_mass
from fastcoord.decode._onehot import onehot

__all__ = ["argmax", "center_of_mass", "onehot"]
