"""What `decode.soft_argmax` is: the mean position under the softmax of the pixels, map by map."""

import numpy as np


def softmax(heatmap, temperature=1.0, window=None):
    """The probabilities of an (H, W) heatmap; 0 beyond ±`window` of the first maximum in row-major order."""
    largest = heatmap.max()
    weights = np.exp((heatmap - largest) / heatmap.dtype.type(temperature))
    if window is not None:
        row, column = np.unravel_index(np.argmax(heatmap), heatmap.shape)
        rows, columns = np.indices(heatmap.shape)
        weights[np.maximum(abs(rows - row), abs(columns - column)) > window] = 0
    return weights / weights.sum()


def soft_argmax(heatmaps, *, temperature=1.0, covariance=False, window=None, dtype=np.float64):
    """(xy, score, covariance or None, status) of (..., H, W) heatmaps, computed in `dtype`; xy in pixels."""
    *batch, height, width = heatmaps.shape
    xy = np.full((*batch, 2), np.nan, dtype)
    score = np.full(batch, np.nan, dtype)
    spread = np.full((*batch, 2, 2), np.nan, dtype)
    status = np.zeros(batch, np.int32)
    x, y = np.arange(width, dtype=dtype), np.arange(height, dtype=dtype)[:, None]
    for index in np.ndindex(*batch):
        heatmap = heatmaps[index].astype(dtype)
        if not heatmap.max() < np.inf:
            status[index] = 2
        elif heatmap.max() == -np.inf:
            status[index] = 1
        else:
            p = softmax(heatmap, temperature, window)
            xy[index] = (p * x).sum(), (p * y).sum()
            dx, dy = x - xy[index][0], y - xy[index][1]
            spread[index] = np.reshape([(p * a * b).sum() for a in (dx, dy) for b in (dx, dy)], (2, 2))
            score[index] = p.max()
    return xy, score, spread if covariance else None, status


def soft_argmax_vjp(grad_xy, heatmaps, *, temperature=1.0, window=None, scale=(1, 1), dtype=np.float64):
    """The gradient (..., H, W) of ``(grad_xy * xy).sum()``, where x and y are `scale` times what is in pixels."""
    xy, _score, _covariance, status = soft_argmax(heatmaps, temperature=temperature, window=window, dtype=dtype)
    gradient = np.zeros(heatmaps.shape, dtype)
    height, width = heatmaps.shape[-2:]
    for index in np.ndindex(*heatmaps.shape[:-2]):
        if status[index] == 0:
            p = softmax(heatmaps[index].astype(dtype), temperature, window)
            towards = np.asarray(grad_xy[index], dtype) * np.asarray(scale, dtype) / dtype(temperature)
            dx, dy = np.arange(width) - xy[index][0], np.arange(height)[:, None] - xy[index][1]
            gradient[index] = p * (towards[0] * dx + towards[1] * dy)
    return gradient
