"""Bitmaps and heatmaps to coordinates."""

from fastcoord.decode._argmax import argmax
from fastcoord.decode._onehot import onehot
from fastcoord.decode._soft_argmax import soft_argmax, soft_argmax_vjp

__all__ = ["argmax", "onehot", "soft_argmax", "soft_argmax_vjp"]
