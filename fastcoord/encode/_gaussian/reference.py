"""What `encode.gaussian` is: at each pixel e^(−((X − x)²/σx² + (Y − y)²/σy²)/2), an outer product of two axes.

An axis has no more than 2^−62 to lose (2^−510 in float64): what is less is 0. With `norm="sum"` each axis is divided by
its sum over the pixels of the map. `radius` leaves those within so many sigmas on each axis.
"""

import numpy as np

LEAST = {np.dtype(np.float64): 510}


def reach_of(sigma, radius, dtype):
    """How far from its centre an axis is not 0."""
    far = sigma * np.sqrt(2 * np.log(np.longdouble(2)) * LEAST.get(np.dtype(dtype), 62))
    return far if radius is None else np.minimum(radius * sigma, far)


def axis(position, sigma, extent, norm, radius, dtype, working):
    """The factors of an axis and their derivatives by the position."""
    distance = np.arange(extent) - np.longdouble(position)
    inside = np.abs(distance) <= reach_of(np.longdouble(sigma), radius, dtype)
    distance, sigma = distance.astype(working), np.asarray(sigma, working)
    factors = np.where(inside, np.exp(-(distance**2) / (2 * sigma**2)), 0).astype(working)
    by_position = distance / sigma**2
    if norm == "sum" and factors.any():
        factors = factors / factors.sum()
        by_position = by_position - (factors * by_position).sum()
    return factors, factors * by_position


def _axes(point, sigma, shape, norm, radius, dtype, working):
    height, width = shape
    x = axis(point[0], sigma[0], width, norm, radius, dtype, working)
    return x, axis(point[1], sigma[1], height, norm, radius, dtype, working)


def gaussian(xy, *, shape, sigma=2.0, norm="peak", radius=None, reduce=None, dtype=np.float32, working=None):
    """(maps, weight) of points (..., 2): zeros, of weight 0, where the point is not finite or too far away."""
    working = np.float64 if working is None else working
    sigma = np.broadcast_to(sigma, xy.shape)
    maps = np.zeros((*xy.shape[:-1], *shape), working)
    weight = np.zeros(xy.shape[:-1], np.float32)
    for index in np.ndindex(weight.shape):
        if np.isfinite(xy[index]).all():
            (x, _), (y, _) = _axes(xy[index], sigma[index], shape, norm, radius, dtype, working)
            maps[index] = y[:, None] * x
            weight[index] = x.any() and y.any()
    if reduce is not None:
        maps = np.max(maps, axis=-3, initial=0) if reduce == "max" else np.sum(maps, axis=-3)
    return maps, weight


def gaussian_vjp(grad_maps, xy, *, sigma=2.0, norm="peak", radius=None, reduce=None, dtype=np.float32, working=None):
    """The gradient of ``(grad_maps * gaussian(xy).maps).sum()`` by xy; `reduce` is None or "sum"."""
    working = np.float64 if working is None else working
    sigma = np.broadcast_to(sigma, xy.shape)
    by_xy = np.zeros(xy.shape, working)
    for index in np.ndindex(xy.shape[:-1]):
        if np.isfinite(xy[index]).all():
            gradient = grad_maps[index if reduce is None else index[:-1]].astype(working)
            x, y = _axes(xy[index], sigma[index], gradient.shape, norm, radius, dtype, working)
            by_xy[index] = y[0] @ gradient @ x[1], y[1] @ gradient @ x[0]
    return by_xy
