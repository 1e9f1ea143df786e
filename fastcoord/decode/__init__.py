"""Bitmaps and heatmaps to coordinates."""

from fastcoord.decode._argmax import argmax
from fastcoord.decode._onehot import onehot

__all__ = ["argmax", "onehot"]
