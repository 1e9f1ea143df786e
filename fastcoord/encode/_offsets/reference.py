"""What `encode.offsets` is: x − X and y − Y at each pixel (X, Y) of a disc round the point (x, y)."""

import numpy as np


def offsets(xy, *, shape, radius, with_disc=False, compat=None, dtype=np.float32, working=np.float64):
    """(maps, weight) of points (..., 2): zeros, of weight 0, where the point is not finite or no pixel in its disc."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    maps = np.zeros((*xy.shape[:-1], 3, *shape), working)
    weight = np.zeros(xy.shape[:-1], np.float32)
    for index in np.ndindex(weight.shape):
        x, y = xy[index].astype(np.float64)
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        inside = (x - columns) ** 2 + (y - rows) ** 2 <= np.float64(radius) ** 2
        weight[index] = inside.any() or compat == "mmpose"
        steps = [np.asarray(at, working) - pixels for at, pixels in ((x, columns), (y, rows))]
        maps[index] = inside, *(steps if compat == "mmpose" else np.where(inside, steps, 0))
    if compat == "mmpose":
        maps[..., 1:, :, :] /= np.asarray(radius, working)
    return maps if with_disc or compat == "mmpose" else maps[..., 1:, :, :], weight
