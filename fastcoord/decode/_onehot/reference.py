"""What `decode.onehot` is: the post's computation, with its feature maps."""

import numpy as np

DELTA = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def convolve(image, kernel):
    """The 3×3 convolution of a (H, W) image: same size, zeros beyond the border."""
    height, width = image.shape
    padded = np.pad(image, 1)
    result = np.zeros_like(image)
    for i in range(3):
        for j in range(3):
            if kernel[2 - i, 2 - j] != 0:  # 0·∞ would not be nothing
                result += kernel[2 - i, 2 - j] * padded[i : i + height, j : j + width]
    return result


def network(image):
    """(x, y) of a (H, W) image, in the image's floating-point type."""
    height, width = image.shape
    rows, columns = np.mgrid[:height, :width].astype(image.dtype)
    dx = np.maximum(convolve(image, width * DELTA) + convolve(columns, -DELTA), 0)
    dy = np.maximum(convolve(image, height * DELTA) + convolve(rows, -DELTA), 0)
    return width - dx.sum(), height - dy.sum()


def onehot(images, *, dtype=np.float64):
    """(xy, score, None, status) of (..., H, W) images, computed in `dtype`."""
    batch = images.shape[:-2]
    xy = np.empty((*batch, 2), dtype)
    score = np.empty(batch, dtype)
    status = np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        image = images[index].astype(dtype)
        hot = image[image > 0]
        xy[index] = network(image)
        score[index] = image.max()
        if np.isnan(image).any():
            status[index] = 2
        elif len(hot) == 0:
            status[index] = 1
        else:
            status[index] = 8 * (len(hot) > 1) + 16 * bool((hot != 1).any())
    return xy, score, None, status
