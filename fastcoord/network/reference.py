"""What `CoordNet` is: the convolution with its feature maps, the ReLU, the sum and the readout; and its gradient.

The channels are the image's and then the maps of x and y, in pixels. Cross-correlation as in deep learning; zeros
beyond the border, of the coordinate maps too. A tap whose weight is zero in every feature takes no part, nor does a
feature in an output that reads it with weight zero: 0·∞ would not be nothing.
"""

import numpy as np


def channels(image):
    """A (C, H, W) image, with the maps of x and y, (C + 2, H, W)."""
    rows, columns = np.mgrid[: image.shape[1], : image.shape[2]].astype(image.dtype)
    return np.concatenate([image, [columns, rows]])


def taps(weight):
    """(channel, row, column) of each tap of (K, C + 2, kh, kw) weights that takes part."""
    return zip(*np.nonzero((weight != 0).any(axis=0)), strict=True)


def shifted(maps, weight):
    """A function that gives the (H, W) values under a tap."""
    (kh, kw), (height, width) = weight.shape[2:], maps.shape[1:]
    padded = np.pad(maps, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)))
    return lambda c, i, j: padded[c, i : i + height, j : j + width]


def responses(image, weight, bias):
    """The (K, H, W) feature maps before the ReLU."""
    under = shifted(channels(image), weight)
    features = np.zeros((len(bias), *image.shape[1:]), image.dtype) + bias[:, None, None]
    for tap in taps(weight):
        features += weight[(slice(None), *tap)][:, None, None] * under(*tap)
    return features


def network(images, weight, bias, readout, offset, *, dtype=np.float64):
    """(..., M) of (..., C, H, W) images, computed in `dtype`."""
    weight, bias, readout, offset = (np.asarray(a).astype(dtype) for a in (weight, bias, readout, offset))
    result = np.empty((*images.shape[:-3], len(offset)), dtype)
    for index in np.ndindex(images.shape[:-3]):
        features = responses(images[index].astype(dtype), weight, bias)
        sums = np.maximum(features, 0).sum(axis=(1, 2))
        result[index] = np.multiply(readout, sums, where=readout != 0, out=np.zeros_like(readout)).sum(axis=1) + offset
    return result


def vjp(grad, images, weight, bias, readout, offset, *, dtype=np.float64):
    """The gradients of (grad * network(images)).sum(), for each parameter and for the images, in `dtype`."""
    parameters = [np.asarray(a).astype(dtype) for a in (weight, bias, readout, offset)]
    weight, bias, readout, offset = parameters
    of_weight, of_bias, of_readout, of_offset = (np.zeros_like(a) for a in parameters)
    of_images = np.zeros(images.shape, dtype)
    for index in np.ndindex(images.shape[:-3]):
        image, g = images[index].astype(dtype), np.asarray(grad)[index].astype(dtype)
        features = responses(image, weight, bias)
        of_offset += g
        of_readout += np.outer(g, np.maximum(features, 0).sum(axis=(1, 2)))
        of_features = np.where(features <= 0, 0, (readout.T @ g)[:, None, None])
        of_bias += of_features.sum(axis=(1, 2))
        under, around = shifted(channels(image), weight), shifted(of_features, weight)
        for c, i, j in np.ndindex(weight.shape[1:]):
            of_weight[:, c, i, j] += (of_features * under(c, i, j)).sum(axis=(1, 2))
        for c, i, j in taps(weight[:, :-2]):  # from where a tap sees a pixel, the pixel is on the tap's other side
            opposite = around(slice(None), weight.shape[2] - 1 - i, weight.shape[3] - 1 - j)
            of_images[(*index, c)] += (weight[:, c, i, j, None, None] * opposite).sum(axis=0)
    return of_weight, of_bias, of_readout, of_offset, of_images
