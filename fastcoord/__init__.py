"""Bitmaps and heatmaps to coordinates, and back, at the speed of reading or writing each pixel once."""

from fastcoord import datasets, decode, encode, grid
from fastcoord.network import CoordNet
from fastcoord.results import Decoded, Encoded, Peaks, SimCC, Status

__all__ = [
    "CoordNet",
    "Decoded",
    "Encoded",
    "Peaks",
    "SimCC",
    "Status",
    "__version__",
    "datasets",
    "decode",
    "encode",
    "grid",
]

__version__ = "0.1.0"
