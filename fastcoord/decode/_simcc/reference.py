"""What `decode.simcc` is: the first largest bin of each axis, and a step from there between the bins."""

import numpy as np

LEAST, FLOOR = 2.0**-100, 1e-10  # a maximum that counts as 0; the least of a neighbour, in units of the maximum
EMPTY, NAN, TIE, BORDER, FLAT = 1, 2, 4, 32, 128


def simcc(x_logits, y_logits, *, split_ratio=2.0, refine=None, threshold=None, nan="propagate", dtype=np.float64):
    """(xy, score, None, status) of the axes (..., bins); xy and score in `dtype`."""
    batch = x_logits.shape[:-1]
    xy = np.full((*batch, 2), np.nan, dtype)
    score = np.full(batch, np.nan, dtype)
    status = np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        axes = [axis if axis.dtype.kind in "iub" else axis.astype(dtype) for axis in (x_logits[index], y_logits[index])]
        are_nan = [axis != axis for axis in axes]
        if nan == "propagate" and any(is_nan.any() for is_nan in are_nan):
            status[index] = NAN
            continue
        if any(is_nan.all() for is_nan in are_nan):
            status[index] = EMPTY
            continue
        largest = [axis[~is_nan].max() for axis, is_nan in zip(axes, are_nan, strict=True)]
        bins = [np.flatnonzero(axis == top) for axis, top in zip(axes, largest, strict=True)]
        score[index] = min(largest)
        status[index] = TIE * any(len(found) > 1 for found in bins)
        if threshold is not None and not score[index] > threshold:
            status[index] |= EMPTY
            continue
        for i, (axis, found) in enumerate(zip(axes, bins, strict=True)):
            step, bits = (0, 0) if refine is None else _step(axis.astype(dtype), found[0], refine)
            xy[(*index, i)] = (np.asarray(found[0], dtype) + np.asarray(step, dtype)) / np.asarray(split_ratio, dtype)
            status[index] |= bits
    return xy, score, None, status


def _step(axis, at, refine):
    """To the maximum of the parabola through three bins, or through their logarithms."""
    if not 0 < at < len(axis) - 1:
        return 0, BORDER
    three = axis[at - 1 : at + 2]
    with np.errstate(all="ignore"):
        if refine == "gaussian":
            if not (axis[at] > LEAST and np.isfinite(three).all()):
                return 0, FLAT
            three = np.log(np.maximum(three / axis[at], FLOOR))
        curvature = (three[0] - three[1]) + (three[2] - three[1])
        if not (curvature < 0 and np.isfinite(curvature)):
            return 0, FLAT
        return 0.5 * (three[0] - three[2]) / curvature, 0
