"""What `encode.onehot` is: two convolutions, each followed by a ReLU, from two coordinates to a one-hot image.

The post leaves this direction as an exercise. The input has four channels, as in the CoordConv paper's supervised task:
the point's x and y tiled over the canvas, and the coordinate maps X and Y. The first layer makes the positive and the
negative parts of X − x and Y − y; the second adds them up to the city-block distance, which is 0 at the point and at
least 1 elsewhere, and rectifies 1 − distance. With 1×1 kernels a convolution is a matrix over the channels.
"""

import numpy as np

#                    x   y   X   Y
FIRST = np.array([[-1, 0, 1, 0], [1, 0, -1, 0], [0, -1, 0, 1], [0, 1, 0, -1]])
SECOND, BIAS = np.array([[-1, -1, -1, -1]]), 1


def network(x, y, height, width):
    """The (H, W) image of the pixel (x, y), both integers."""
    rows, columns = np.mgrid[:height, :width]
    channels = np.stack([np.full((height, width), x), np.full((height, width), y), columns, rows])
    features = np.maximum(np.einsum("fc,chw->fhw", FIRST, channels), 0)
    return np.maximum(np.einsum("oc,chw->ohw", SECOND, features) + BIAS, 0)[0]


def onehot(xy, *, shape, dtype=np.float32):
    """(images, weight) of points (..., 2): zero images, of weight 0, where the point is not on the canvas."""
    height, width = shape
    images = np.zeros((*xy.shape[:-1], height, width), dtype)
    weight = np.zeros(xy.shape[:-1], np.float32)
    for index in np.ndindex(weight.shape):
        x, y = np.floor(xy[index].astype(np.longdouble) + np.longdouble(0.5))
        if 0 <= x < width and 0 <= y < height:
            images[index] = network(int(x), int(y), height, width)
            weight[index] = 1
    return images, weight
