"""What `encode.splat` is: the ReLUs of the post's exercise, relu(1 − |X − x|) · relu(1 − |Y − y|)."""

import numpy as np


def splat(xy, *, shape, dtype=np.float32):
    """(maps, weight) of points (..., 2): zero maps, of weight 0, where the nearest pixel is not on the canvas."""
    height, width = shape
    maps = np.zeros((*xy.shape[:-1], height, width), dtype)
    weight = np.zeros(xy.shape[:-1], np.float32)
    rows, columns = np.mgrid[:height, :width]
    for index in np.ndindex(weight.shape):
        x, y = xy[index].astype(np.longdouble)
        half = np.longdouble(0.5)
        if 0 <= np.floor(x + half) < width and 0 <= np.floor(y + half) < height:
            shares = np.maximum(1 - abs(columns - x), 0) * np.maximum(1 - abs(rows - y), 0)
            maps[index] = np.floor(shares + half) if np.dtype(dtype).kind in "iub" else shares
            weight[index] = 1
    return maps, weight


def splat_vjp(grad_maps, xy, *, dtype=np.float64):
    """The gradient of ``(grad_maps * maps).sum()`` with respect to the points."""
    height, width = grad_maps.shape[-2:]
    rows, columns = np.mgrid[:height, :width]
    gradient = np.zeros(xy.shape, dtype)
    for index in np.ndindex(xy.shape[:-1]):
        x, y = xy[index].astype(dtype)
        if 0 <= np.floor(x + 0.5) < width and 0 <= np.floor(y + 0.5) < height:
            of_x, of_y = np.maximum(1 - abs(columns - x), 0), np.maximum(1 - abs(rows - y), 0)
            up, left = (rows == np.floor(y)), (columns == np.floor(x))
            right, down = (columns == np.floor(x) + 1), (rows == np.floor(y) + 1)
            slope_x, slope_y = right.astype(dtype) - left, down.astype(dtype) - up
            gradient[index] = (grad_maps[index] * slope_x * of_y).sum(), (grad_maps[index] * of_x * slope_y).sum()
    return gradient
