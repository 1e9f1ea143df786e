"""What `encode.box` is: two convolutions, each followed by a ReLU, from two coordinates to a square.

The network of `encode.onehot` with a bias. The input has four channels: the point's x and y tiled over the canvas, and
the coordinate maps X and Y. The first layer makes the positive and the negative parts of X − x and Y − y and takes the
radius r = (size − 1) / 2 from each: nothing is left of those of a pixel in the square. The second adds up what is left,
which is 0 in the square and at least 1 elsewhere, and rectifies 1 − sum. A last factor is the square's value.
"""

import numpy as np

#                    x   y   X   Y
FIRST = np.array([[-1, 0, 1, 0], [1, 0, -1, 0], [0, -1, 0, 1], [0, 1, 0, -1]])
SECOND, BIAS = np.array([[-1, -1, -1, -1]]), 1


def network(x, y, height, width, radius):
    """The (H, W) image that is 1 up to `radius` pixels from the pixel (x, y) on both axes; all of them integers."""
    rows, columns = np.mgrid[:height, :width]
    channels = np.stack([np.full((height, width), x), np.full((height, width), y), columns, rows])
    features = np.maximum(np.einsum("fc,chw->fhw", FIRST, channels) - radius, 0)
    return np.maximum(np.einsum("oc,chw->ohw", SECOND, features) + BIAS, 0)[0]


def box(xy, *, shape, size=9, value=1, dtype=np.float32):
    """(images, weight) of points (..., 2): zero images, of weight 0, where the centre is not on the canvas."""
    height, width = shape
    images = np.zeros((*xy.shape[:-1], height, width), dtype)
    weight = np.zeros(xy.shape[:-1], np.float32)
    for index in np.ndindex(weight.shape):
        x, y = np.floor(xy[index].astype(np.longdouble) + np.longdouble(0.5))
        if 0 <= x < width and 0 <= y < height:
            is_inside = network(int(x), int(y), height, width, size // 2) > 0
            images[index] = np.where(is_inside, np.asarray(value, dtype), np.zeros((), dtype))  # ∞ · 0 is NaN
            weight[index] = 1
    return images, weight
