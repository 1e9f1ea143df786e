"""What `encode.simcc` is: on each axis e^(−(bin − split_ratio·position)²/(2σ²)).

What is less than 2^−62 (2^−510 in float64) is 0. With `norm="sum"` an axis is divided by its sum, with "density" by the
integral of the Gaussian.
"""

import numpy as np

LEAST = {np.dtype(np.float64): 510}


def _axis(position, sigma, bins, norm, dtype, working):
    distance = np.arange(bins) - np.longdouble(position)
    far = np.longdouble(sigma) * np.sqrt(2 * np.log(np.longdouble(2)) * LEAST.get(np.dtype(dtype), 62))
    inside = np.abs(distance) <= far
    distance, sigma = distance.astype(working), np.asarray(sigma, working)
    labels = np.where(inside, np.exp(-(distance**2) / (2 * sigma**2)), 0).astype(working)
    if norm == "sum" and labels.any():
        labels = labels / labels.sum()
    elif norm == "density":
        labels = labels / (sigma * np.sqrt(2 * np.pi).astype(working))
    return labels.astype(working)


def simcc(xy, *, shape, sigma=6.0, split_ratio=2.0, norm="peak", compat=None, dtype=np.float32, working=np.float64):
    """(x, y, weight) of points (..., 2): zeros, of weight 0, where the point is not finite or too far away."""
    bins = [round(shape[1] * split_ratio), round(shape[0] * split_ratio)]
    sigma = np.broadcast_to(sigma, xy.shape)
    weight = np.zeros(xy.shape[:-1], np.float32)
    axes = [np.zeros((*weight.shape, n), working) for n in bins]
    for index in np.ndindex(weight.shape):
        if not np.isfinite(xy[index]).all():
            continue
        place = xy[index].astype(np.float64) * split_ratio
        if compat == "mmpose":
            place, reach = np.around(place), 3 * sigma[index]
            if (place - reach >= bins).any() or (place + reach + 1 < 0).any():
                continue
        both = [_axis(*given, norm, dtype, working) for given in zip(place, sigma[index], bins, strict=True)]
        if (both[0].any() and both[1].any()) or compat == "mmpose":
            weight[index] = 1
            for axis, labels in zip(axes, both, strict=True):
                axis[index] = labels
    return *axes, weight
