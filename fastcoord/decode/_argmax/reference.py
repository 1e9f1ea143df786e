"""What `decode.argmax` is: the position of the largest pixel, map by map."""

import numpy as np


def argmax(heatmaps, *, threshold=None, nan="propagate", dtype=np.float64):
    """(xy, score, None, status) of (..., H, W) heatmaps; xy and score in `dtype`."""
    batch = heatmaps.shape[:-2]
    xy = np.full((*batch, 2), np.nan, dtype)
    score = np.full(batch, np.nan, dtype)
    status = np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        heatmap = heatmaps[index]
        if heatmap.dtype.kind not in "iub":  # integers are compared as they are: float64 does not hold all of them
            heatmap = heatmap.astype(dtype)
        is_nan = heatmap != heatmap
        if is_nan.any() and nan == "propagate":
            status[index] = 2
        elif is_nan.all():
            status[index] = 1
        else:
            largest = heatmap[~is_nan].max()
            rows, columns = np.nonzero(heatmap == largest)  # in row-major order
            score[index] = largest
            status[index] = 4 * (len(rows) > 1)
            if threshold is None or score[index] > threshold:
                xy[index] = columns[0], rows[0]
            else:
                status[index] |= 1
    return xy, score, None, status
