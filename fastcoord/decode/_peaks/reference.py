"""What `decode.peaks` is: all peaks of a map by the definition, then the strongest of them."""

import numpy as np

EMPTY, NAN, PLATEAU, TRUNCATED = 1, 2, 256, 512


def peaks(heatmaps, *, k=20, threshold=0.2, radius=1, nan="propagate", compat=None, step=None, dtype=np.float64):
    """(xy, score, status, count) of (..., H, W) heatmaps; xy and score in `dtype`.

    `step`: the steps dx and dy and the status bits of a peak that is one pixel, of (heatmap, x, y); None: none.
    """
    batch = heatmaps.shape[:-2]
    number = np.float64 if heatmaps.dtype == np.float64 else np.float32  # in which a pixel is above the threshold
    xy = np.full((*batch, k, 2), np.nan, dtype)
    score = np.full((*batch, k), np.nan, dtype)
    status = np.full((*batch, k), EMPTY, np.int32)
    count = np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        heatmap = heatmaps[index]
        if heatmap.dtype.kind not in "iub":  # integers are compared as they are: float64 does not hold all of them
            heatmap = heatmap.astype(dtype)
        if (heatmap != heatmap).any() and nan == "propagate":
            status[index] = NAN
            continue
        is_hot = heatmap.astype(number) > number(-np.inf if threshold is None else threshold)
        found = every_peak(heatmap, is_hot, radius, compat == "sleap")
        count[index] = min(len(found), k)
        for slot, (value, pixels) in enumerate(found[:k]):
            at, bits = np.mean(pixels, 0), 0
            if len(pixels) > 1:
                bits = PLATEAU
            elif step is not None:
                dx, dy, bits = step(heatmap.astype(dtype), *pixels[0])
                at = at + (dx, dy)
            xy[(*index, slot)], score[(*index, slot)], status[(*index, slot)] = at, value, bits
        if len(found) > k:
            status[(*index, -1)] |= TRUNCATED
    return xy, score, status, count


def every_peak(heatmap, is_hot, radius, is_strict):
    """(value, [(x, y), …]) of every peak, the strongest first, of equal ones the first in row-major order."""
    seen, maxima = np.zeros(heatmap.shape, bool), []
    for y, x in np.argwhere(is_hot):
        value = heatmap[y, x]
        if seen[y, x] or (near(heatmap, x, y, 1) > value).any():
            continue
        pixels = plateau(heatmap, x, y, seen)
        around = np.concatenate([near(heatmap, i, j, radius) for i, j in pixels])
        beside = np.concatenate([near(heatmap, i, j, 1) for i, j in pixels])
        if is_strict:
            is_peak = len(pixels) == 1  # and then all pixels beside it are lower, or there are none
        else:
            is_peak = (beside < value).any() and not (around > value).any()
        if is_peak:
            maxima.append((value, pixels))
    maxima.sort(key=lambda peak: peak[0], reverse=True)  # stable, of equal ones the first stays first
    kept: list[tuple[object, object]] = []
    for value, pixels in maxima:
        here = np.array(pixels)
        if all(abs(here[:, None] - np.array(others)).max(-1).min() > radius for _value, others in kept):
            kept.append((value, pixels))
    return kept


def near(heatmap, x, y, radius):
    """The pixels of a square round this one."""
    return heatmap[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].reshape(-1)


def plateau(heatmap, x, y, seen):
    """The pixels of this value that hang together, on their sides or corners."""
    pixels, seen[y, x] = [(x, y)], True
    for column, row in pixels:  # which grows
        for j in range(max(row - 1, 0), min(row + 2, heatmap.shape[0])):
            for i in range(max(column - 1, 0), min(column + 2, heatmap.shape[1])):
                if heatmap[j, i] == heatmap[y, x] and not seen[j, i]:
                    seen[j, i] = True
                    pixels.append((i, j))
    return pixels
