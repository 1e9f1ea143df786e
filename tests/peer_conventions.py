"""mmpose's and HRNet's refinements, restated in plain NumPy from what they are documented and observed to do.

One heatmap at a time, in float64, the whole heatmap blurred.
"""

import numpy as np

# OpenCV does not compute blurs as small as these
_TABLE = {
    1: [1.0],
    3: [0.25, 0.5, 0.25],
    5: [0.0625, 0.25, 0.375, 0.25, 0.0625],
    7: [0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125],
}


def decoded(heatmap, library, refine, blur=11):
    """(x, y) and the score."""
    heatmap = np.asarray(heatmap, np.float64)
    width = heatmap.shape[1]
    score = heatmap.max()
    y, x = divmod(int(heatmap.argmax()), width)
    if score <= 0:  # missing
        return ((-1.0, -1.0) if library == "mmpose" else (0.0, 0.0)), score
    if refine is None:
        return (float(x), float(y)), score
    if refine == "quarter":
        dx, dy = _quarter(heatmap, library, x, y)
    elif refine == "dark":
        dx, dy = _dark(np.log(np.maximum(_blurred(heatmap, blur), 1e-10)), x, y)
    else:
        dx, dy = _udp(np.log(np.clip(_blurred(heatmap, blur), 1e-3, 50)), x, y)
    return (x + dx, y + dy), score


def _quarter(heatmap, library, x, y):
    height, width = heatmap.shape
    if library == "mmpose":  # each axis has its own condition
        moves_x, moves_y = 1 < x < width - 1 and 0 < y < height, 1 < y < height - 1 and 0 < x < width
    else:
        moves_x = moves_y = 1 < x < width - 1 and 1 < y < height - 1
    dx = np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]) / 4 if moves_x else 0
    dy = np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]) / 4 if moves_y else 0
    return dx, dy


def _blurred(heatmap, size):
    """Blurred before zeros, and scaled to the old maximum."""
    if size in _TABLE:
        taps = np.array(_TABLE[size])
    else:
        width = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        taps = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * width**2))
        taps /= taps.sum()
    lines = np.array([np.convolve(row, taps, "full") for row in heatmap])
    whole = np.array([np.convolve(column, taps, "full") for column in lines.T]).T
    edge = size // 2
    whole = whole[edge : edge + heatmap.shape[0], edge : edge + heatmap.shape[1]]
    return whole * (heatmap.max() / whole.max())


def _dark(log, x, y):
    height, width = log.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return 0, 0
    gradient = [(log[y, x + 1] - log[y, x - 1]) / 2, (log[y + 1, x] - log[y - 1, x]) / 2]
    xx = (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4
    yy = (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4
    xy = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
    if abs(xx * yy - xy**2) < 1e-12:
        return 0, 0
    return -np.linalg.solve([[xx, xy], [xy, yy]], gradient)


def _udp(log, x, y):
    log = np.pad(log, 1, mode="edge")
    x, y = x + 1, y + 1
    here, right, left = log[y, x], log[y, x + 1], log[y, x - 1]
    below, above = log[y + 1, x], log[y - 1, x]
    xy = (log[y + 1, x + 1] - right - below + 2 * here - left - above + log[y - 1, x - 1]) / 2
    hessian = np.array([[right - 2 * here + left, xy], [xy, below - 2 * here + above]])
    hessian += np.finfo(np.float32).eps * np.eye(2)
    return -np.linalg.solve(hessian, [(right - left) / 2, (below - above) / 2])
