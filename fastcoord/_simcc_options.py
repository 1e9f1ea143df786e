"""Bins: the options of what reads and writes them, as users give them, and how kernels reach them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import Maps, maps

SPLIT_RATIOS = 1.0, 1000.0  # the least and the greatest


def split_ratio_of(split_ratio: Any) -> float:
    """Bins for each pixel, as a float."""
    if isinstance(split_ratio, bool) or not isinstance(split_ratio, (int, float, np.integer, np.floating)):
        raise TypeError(f"split_ratio: expected a number; got {split_ratio!r}")
    ratio = float(split_ratio)
    if not SPLIT_RATIOS[0] <= ratio <= SPLIT_RATIOS[1]:
        raise ValueError(f"split_ratio: expected a number from 1 to 1,000; got {split_ratio!r}")
    return ratio


def bins_of_pixels(pixels: int, split_ratio: float) -> int:
    """How many bins so many pixels have, as mmpose rounds (1.3, `SimCCLabel`)."""
    return round(pixels * split_ratio)


def pixels_of_bins(bins: int, split_ratio: float) -> int:
    """How many pixels so many bins stand for: the inverse."""
    return max(round(bins / split_ratio), 1)


def require_alike(x_axes: Maps, y_axes: Maps, x_bins: NDArray[Any], y_bins: NDArray[Any]) -> None:
    """Refuse bins of two types or batch shapes."""
    if y_bins.dtype != x_bins.dtype:
        raise TypeError(f"y_logits: expected {x_bins.dtype}, as x_logits is; got {y_bins.dtype}")
    if y_axes.batch != x_axes.batch:
        raise ValueError(f"y_logits: expected the batch shape of x_logits, {x_axes.batch}; got {y_axes.batch}")


def maps_of_bins(name: str, bins: NDArray[Any], for_writing: bool = False) -> Maps:
    """Maps of one row each."""
    if bins.ndim < 1 or bins.shape[-1] < 1:
        raise ValueError(f"{name}: expected shape (..., bins), at least one bin; got {bins.shape}")
    return maps(name, bins[..., np.newaxis, :], (-2, -1), for_writing)


def layout_of(axes: Maps, first: int) -> tuple[int, ...]:
    """Where the axes are, in elements, from number `first` on; and how many bins each has."""
    start = axes.starts[first // axes.count]
    here = first % axes.count, start, axes.outer_stride, axes.inner_count, axes.inner_stride
    return *here, axes.column_stride, axes.width


def members_of(out: Any, return_weight: bool) -> tuple[Any, Any, Any]:
    """The members of `out`, where labels are encoded."""
    if out is None:
        return None, None, None
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(f"out: expected SimCC(x, y, weight); got {type(out).__qualname__}")
    if (out[2] is not None) != return_weight:
        expected = "an array, as return_weight=True" if return_weight else "None, as no weight is asked for"
        raise TypeError(f"out.weight: expected {expected}; got {type(out[2]).__qualname__}")
    x_labels, y_labels, weight = out
    return x_labels, y_labels, weight
