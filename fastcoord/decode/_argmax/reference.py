"""What `decode.argmax` is: the position of the largest pixel, map by map, and a step from there between the pixels."""

import numpy as np

LEAST, FLOOR = 2.0**-100, 1e-10  # a maximum that counts as 0; the least of blurred pixels, in units of the maximum
EMPTY, NAN, TIE, BORDER, CLAMPED, FLAT = 1, 2, 4, 32, 64, 128


def argmax(heatmaps, *, refine=None, sigma=2.0, blur=11, threshold=None, nan="propagate", dtype=np.float64):
    """(xy, score, None, status) of (..., H, W) heatmaps; xy and score in `dtype`."""
    batch = heatmaps.shape[:-2]
    xy = np.full((*batch, 2), np.nan, dtype)
    score = np.full(batch, np.nan, dtype)
    status = np.zeros(batch, np.int32)
    for index in np.ndindex(batch):
        heatmap = heatmaps[index]
        if heatmap.dtype.kind not in "iub":  # integers are compared as they are: float64 does not hold all of them
            heatmap = heatmap.astype(dtype)
        is_nan = heatmap != heatmap
        if is_nan.any() and nan == "propagate":
            status[index] = NAN
        elif is_nan.all():
            status[index] = EMPTY
        else:
            largest = heatmap[~is_nan].max()
            rows, columns = np.nonzero(heatmap == largest)  # in row-major order
            score[index] = largest
            status[index] = TIE * (len(rows) > 1)
            if threshold is None or score[index] > threshold:
                x, y, bits = columns[0], rows[0], 0
                if refine == "quarter":
                    dx, dy, bits = _quarter(heatmap, x, y)
                elif refine is not None:
                    dx, dy, bits = _fitted(heatmap.astype(dtype), x, y, refine, sigma, blur)
                xy[index] = (x, y) if refine is None else (x + dx, y + dy)
                status[index] |= bits
            else:
                status[index] |= EMPTY
    return xy, score, None, status


def _quarter(heatmap, x, y):
    """A quarter of a pixel towards the larger neighbour, on each axis."""
    step, bits = [], 0
    for line, at in ((heatmap[y], x), (heatmap[:, x], y)):
        if 0 < at < len(line) - 1:
            step.append(0.25 * (line[at + 1] > line[at - 1]) - 0.25 * (line[at + 1] < line[at - 1]))
        else:
            step.append(0)
            bits = BORDER
    return *step, bits


def _fitted(heatmap, x, y, refine, sigma, blur):
    """To the maximum of a quadratic, by its first and second derivatives."""
    height, width = heatmap.shape
    stencil = {"quadratic": 2, "dark": 2, "dark_udp": 1, "gaussian": 0}[refine]
    reach = {"quadratic": 2, "dark": blur // 2 + 2, "dark_udp": blur // 2 + 1, "gaussian": int(np.ceil(3 * sigma))}
    room = min(x, y, width - 1 - x, height - 1 - y)
    bits = BORDER if room < reach[refine] else 0
    if room < stencil:
        return 0, 0, BORDER
    score = heatmap[y, x]
    if refine == "quadratic":
        gradient, hessian = _quadratic(heatmap[y - 2 : y + 3, x - 2 : x + 3], score)
        return _step(gradient, hessian, 1e-5)
    if not LEAST < score < np.inf:
        return 0, 0, bits | FLAT
    if refine == "gaussian":
        return _gaussian(heatmap, x, y, sigma, reach[refine])
    rows, columns = (slice(max(at - reach[refine], 0), at + reach[refine] + 1) for at in (y, x))
    if not np.isfinite(heatmap[rows, columns]).all():
        return 0, 0, bits | FLAT
    offsets = np.arange(-(blur // 2), blur // 2 + 1)
    taps = np.exp(-(offsets**2) / (2 * (0.3 * ((blur - 1) / 2 - 1) + 0.8) ** 2))
    padded = np.pad(heatmap, reach[refine])  # what lies outside is 0
    taps = (taps / taps.sum()).astype(heatmap.dtype)

    def log(dx, dy):
        rows, columns = (at + reach[refine] + offsets for at in (y + dy, x + dx))
        blurred = taps @ padded[np.ix_(rows, columns)] @ taps
        return np.log(np.maximum(blurred / score, heatmap.dtype.type(FLOOR)))

    gradient = (log(1, 0) - log(-1, 0)) / 2, (log(0, 1) - log(0, -1)) / 2
    centre = log(0, 0)
    if refine == "dark":
        xx, yy = (log(2, 0) - 2 * centre + log(-2, 0)) / 4, (log(0, 2) - 2 * centre + log(0, -2)) / 4
        xy = (log(1, 1) - log(1, -1) - log(-1, 1) + log(-1, -1)) / 4
    else:
        xx, yy = log(1, 0) - 2 * centre + log(-1, 0), log(0, 1) - 2 * centre + log(0, -1)
        lines = log(1, 0) + log(0, 1) + log(-1, 0) + log(0, -1)
        xy = (log(1, 1) + log(-1, -1) - lines + 2 * centre) / 2
    dx, dy, flags = _step(gradient, (xx, xy, yy), 1e-5)
    return dx, dy, bits | flags


def _quadratic(window, score):
    """Least squares over 25 values: their logarithms, or if one is not positive they themselves."""
    i = np.arange(-2, 3).astype(window.dtype)
    if (window > 0).all() and LEAST < score < np.inf:
        values = np.log(np.maximum(window / score, window.dtype.type(FLOOR)))
    else:
        extent = score / 2 - window.min() / 2
        values = (window / 2 - score / 2) / extent if LEAST < extent < np.inf else np.full((5, 5), np.nan)
    columns, rows = values.sum(0), values.sum(1)
    gradient = (columns * i).sum() / 50, (rows * i).sum() / 50
    xy = (values * i * i[:, None]).sum() / 100
    return gradient, ((columns * (i**2 - 2)).sum() / 35, xy, (rows * (i**2 - 2)).sum() / 35)


def _gaussian(heatmap, x, y, sigma, reach):
    """By the mean and the covariance of the pixels, times a Gaussian of width `sigma` round the nearest pixel."""
    height, width = heatmap.shape
    first = (x, y)
    limits = [(max(at - 3, 0), min(at + 3, size - 1)) for at, size in ((x, width), (y, height))]
    for turn in range(3):
        across, down = min(reach, x, width - 1 - x), min(reach, y, height - 1 - y)
        bits = BORDER if min(across, down) < reach else 0
        i, j = (np.arange(-size, size + 1).astype(heatmap.dtype) for size in (across, down))
        weights = (np.exp(-(i**2) / (2 * sigma**2)), np.exp(-(j**2) / (2 * sigma**2)))
        window = heatmap[y - down : y + down + 1, x - across : x + across + 1] / heatmap[first[::-1]]
        window = window * weights[0].astype(heatmap.dtype) * weights[1].astype(heatmap.dtype)[:, None]
        mass = window.sum()
        if not FLOOR < mass < np.inf:
            return 0, 0, bits | FLAT
        mean = (window * i).sum() / mass, (window.T * j).sum() / mass
        second = (window * i**2).sum(), (window * i * j[:, None]).sum(), (window.T * j**2).sum()
        xx, xy, yy = (s / mass - a * b for s, a, b in zip(second, (mean[0], *mean), (*mean, mean[1]), strict=True))
        hessian = xx / sigma**2 - 1, xy / sigma**2, yy / sigma**2 - 1
        dx, dy, flags = _step(mean, hessian, 0.05)
        if flags & FLAT:
            return 0, 0, bits | FLAT
        moved = [
            min(max(at + int(np.sign(step) * np.floor(np.abs(step) + 0.5 - 2.0**-10)), low), high)
            for at, step, (low, high) in zip((x, y), _step(mean, hessian, 0.05, limit=3)[:2], limits, strict=True)
        ]
        if turn == 2 or moved == [x, y]:
            break
        x, y = moved
    return x - first[0] + dx, y - first[1] + dy, bits | flags


def _step(gradient, hessian, margin, limit=1):
    """From derivatives to the maximum, at most `limit` on each axis; none where a curvature is not below −`margin`."""
    (x, y), (xx, xy, yy) = gradient, hessian
    if not (xx < -margin and yy < -margin and (xx + margin) * (yy + margin) > xy * xy) or not np.isfinite(x * y):
        return 0, 0, FLAT
    determinant = xx * yy - xy * xy
    step = np.array([xy * y - yy * x, xy * x - xx * y]) / determinant
    return *np.clip(step, -limit, limit), CLAMPED if np.abs(step).max() > limit + 2.0**-10 else 0
