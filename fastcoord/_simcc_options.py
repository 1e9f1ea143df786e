"""Options of what reads and writes bins, as users give them."""

from typing import Any

from fastcoord._decoder_options import number

SPLIT_RATIOS = 1.0, 1000.0  # the least and the greatest


def split_ratio_of(split_ratio: Any) -> float:
    """Bins for each pixel, as a float."""
    if isinstance(split_ratio, bool):
        raise TypeError(f"split_ratio: expected a number; got {split_ratio!r}")
    ratio = number("split_ratio", split_ratio)
    if not SPLIT_RATIOS[0] <= ratio <= SPLIT_RATIOS[1]:
        raise ValueError(f"split_ratio: expected a number from 1 to 1,000; got {split_ratio!r}")
    return ratio


def bins_of_pixels(pixels: int, split_ratio: float) -> int:
    """How many bins so many pixels have, as mmpose rounds (1.3, `SimCCLabel`)."""
    return round(pixels * split_ratio)


def pixels_of_bins(bins: int, split_ratio: float) -> int:
    """How many pixels so many bins stand for: the inverse."""
    return max(round(bins / split_ratio), 1)
