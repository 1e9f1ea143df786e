"""What decoders return."""

from enum import IntFlag
from typing import Any, NamedTuple

__all__ = ["Decoded", "Encoded", "Peaks", "SimCC", "Status"]


class Status(IntFlag):
    """What a decoder noticed about a map, as bits of an int32.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> decoded = fc.decode.onehot(np.zeros((4, 6), np.float32))
    >>> fc.Status(int(decoded.status)).name
    'EMPTY'
    """

    EMPTY = 1  # nothing found
    NAN = 2  # the map holds a NaN
    TIE = 4  # the maximum occurs more than once
    MULTIPLE = 8  # more than one hot pixel
    NOT_UNIT = 16  # a hot pixel is not 1
    BORDER = 32  # the refinement's window leaves the map
    CLAMPED = 64  # a step was limited
    FLAT = 128  # the fit has no maximum, the integer position stands
    PLATEAU = 256  # the peak is several equal pixels
    TRUNCATED = 512  # there were more peaks than asked for
    OUTSIDE = 1024  # the point lies outside the map


class Decoded(NamedTuple):
    """Coordinates read from maps; each member has the batch shape of the maps in front."""

    xy: Any
    """(..., 2), x along the width, y along the height, in pixels or a `grid`; a pixel's centre is its index."""
    score: Any
    """(...), how strong the answer is; each decoder says what it measures."""
    covariance: Any
    """(..., 2, 2) in px², order (x, y); None where it was not asked for."""
    status: Any
    """(...) int32, bits of `Status`."""


class Peaks(NamedTuple):
    """Up to k peaks of each map, the strongest first; each member has the batch shape of the maps in front."""

    xy: Any
    """(..., k, 2), x along the width, y along the height, in pixels or a `grid`; NaN where there is no peak."""
    score: Any
    """(..., k), the pixel's value; NaN where there is no peak."""
    status: Any
    """(..., k) int32, bits of `Status`; EMPTY where there is no peak."""
    count: Any
    """(...) int32, how many of the k are peaks."""


class Encoded(NamedTuple):
    """Maps made from points, some of which may be missing."""

    maps: Any
    """(..., H, W)"""
    weight: Any
    """(...) float32, 1 where the point is on the map, 0 where it is missing and the map is zero."""


class SimCC(NamedTuple):
    """Labels of points for networks that classify x and y by themselves: a row of bins for each axis."""

    x: Any
    """(..., bins along the width)"""
    y: Any
    """(..., bins along the height)"""
    weight: Any
    """(...) float32, 1 where the point has labels, 0 where it is missing and they are zero; None if not asked for."""
