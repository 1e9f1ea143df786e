"""Coordinates to bitmaps and heatmaps."""

from fastcoord.encode._box import box
from fastcoord.encode._onehot import onehot

__all__ = ["box", "onehot"]
