"""What `decode.center_of_mass` is: the mean position of the pixels, each weighed by its value, map by map."""

import numpy as np


def counted(heatmap, window=None, clip_negative=False, nan="propagate"):
    """Which pixels of a floating-point (H, W) heatmap count, as bool: none of them if NaN spoils it."""
    is_nan = heatmap != heatmap
    if is_nan.any() and nan == "propagate":
        return np.zeros(heatmap.shape, bool)
    counts = ~is_nan
    if window is not None and counts.any():
        largest = np.where(is_nan, -np.inf, heatmap).max()
        row, column = np.argwhere(heatmap == largest)[0]
        rows, columns = np.ogrid[: heatmap.shape[0], : heatmap.shape[1]]
        tall, wide = (window, window) if np.ndim(window) == 0 else window
        counts &= (abs(rows - row) <= tall) & (abs(columns - column) <= wide)
    return counts & ~(heatmap < 0) if clip_negative else counts


def center_of_mass(heatmaps, *, covariance=False, window=None, clip_negative=False, nan="propagate", dtype=np.float64):
    """(xy, score, covariance, status) of (..., H, W) heatmaps; all but status in `dtype`."""
    batch = heatmaps.shape[:-2]
    rows, columns = (indices.astype(dtype) for indices in np.ogrid[: heatmaps.shape[-2], : heatmaps.shape[-1]])
    xy, score = np.full((*batch, 2), np.nan, dtype), np.zeros(batch, dtype)
    spread, status = np.full((*batch, 2, 2), np.nan, dtype), np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        heatmap = heatmaps[index].astype(dtype)
        counts = counted(heatmap, window, clip_negative, nan)
        is_spoilt = nan == "propagate" and bool((heatmap != heatmap).any())
        weights = np.where(counts, heatmap, 0)
        mass = score[index] = np.nan if is_spoilt else weights.sum()
        if mass <= 0:
            status[index] = 1
        elif not mass < np.inf:
            status[index] = 2
        else:
            x, y = xy[index] = (weights * columns).sum() / mass, (weights * rows).sum() / mass
            across, down = columns - x, rows - y
            xx, xy_, yy = ((weights * a * b).sum() / mass for a, b in ((across, across), (across, down), (down, down)))
            spread[index] = [[xx, xy_], [xy_, yy]]
    return xy, score, spread if covariance else None, status


def center_of_mass_vjp(
    grad_xy, heatmaps, *, grad_score=None, grad_covariance=None, per_pixel=(1, 1), dtype=np.float64, **options
):
    """The gradient of (grad_xy * xy).sum(), and of the others likewise, for each pixel of (..., H, W) heatmaps.

    `per_pixel`: how much x and y of the answer grow from one pixel to the next.
    """
    batch = heatmaps.shape[:-2]
    rows, columns = (indices.astype(dtype) for indices in np.ogrid[: heatmaps.shape[-2], : heatmaps.shape[-1]])
    xy, score, covariance, status = center_of_mass(heatmaps, covariance=True, dtype=dtype, **options)
    gradient = np.zeros(heatmaps.shape, dtype)
    for index in np.ndindex(batch):
        if status[index] == 0:
            across, down = columns - xy[index][0], rows - xy[index][1]
            g_x, g_y = np.asarray(grad_xy)[index].astype(dtype) * np.asarray(per_pixel, dtype)
            slope = g_x * across + g_y * down
            if grad_covariance is not None:
                g, spread = np.asarray(grad_covariance)[index].astype(dtype), covariance[index]
                pairs = ((across, across), (across, down), (down, across), (down, down))
                slope += sum(w * (a * b - s) for w, s, (a, b) in zip(g.flat, spread.flat, pairs, strict=True))
            slope /= score[index]
            if grad_score is not None:
                slope += np.asarray(grad_score)[index].astype(dtype)
            gradient[index] = np.where(counted(heatmaps[index].astype(dtype), **options), slope, 0)
    return gradient
