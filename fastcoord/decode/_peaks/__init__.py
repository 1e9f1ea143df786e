"""`decode.peaks`: the strongest local maxima."""

import functools
from typing import Any

import numpy as np

from fastcoord._arrays import flat, is_on_gpu, maps, peak_members, pixel_array, require_apart, result, write_back
from fastcoord._decoder_options import number, positive_integer, refinement, skips_nan, window
from fastcoord._halves import loaded_type
from fastcoord._libraries import in_library, library_of
from fastcoord.decode._peaks import cpu
from fastcoord.decode._peaks.formula import limit_of
from fastcoord.grid import Grid, numbers_for, require_grid
from fastcoord.results import Peaks

__all__ = ["peaks"]

LARGEST_RADIUS = (1 << 16) - 1
MOST = (1 << 31) - 2  # peaks: `count` is int32
_SINGLE, _DOUBLE, _FLAGS = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32)


def peaks(
    heatmaps: Any,
    *,
    k: int = 20,
    threshold: float | None = 0.2,
    radius: int = 1,
    refine: str | None = None,
    sigma: float = 2.0,
    blur: int = 11,
    nan: str = "propagate",
    compat: str | None = None,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Peaks | None = None,
) -> Peaks:
    """Coordinates of the strongest local maxima of each heatmap, at most `k`, and their values; the strongest first.

    Equals, for a heatmap ``a`` in which no two pixels near each other are equal, with SciPy's ``maximum_filter``::

        y, x = np.nonzero((a == maximum_filter(a, 2 * radius + 1)) & (a > threshold))
        first = np.argsort(-a[y, x], kind="stable")[:k];  xy = np.stack([x, y], -1)[first];  score = a[y, x][first]

    in one read of the heatmaps, and memory that does not depend on how many maxima there are.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        bool, (u)int8, (u)int16, int32, int64, float16, bfloat16, float32 or float64; of NumPy (or
        nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but copied if
        the strides are no whole elements). Not modified.
    k : int
        How many peaks of a heatmap there can be in the result, at least 1.
    threshold : float
        A peak is found where ``score > threshold``, compared in the type of the score; None: everywhere.
    radius : int
        In pixels, at least 1: no pixel of a square of 2 · `radius` + 1 pixels round a peak is greater.
    refine : None, "quarter", "quadratic", "dark", "dark_udp" or "gaussian"
        How the position of a peak is refined, from the pixels round it: as `decode.argmax` does.
    sigma : float
        The width in pixels of the peaks, for "gaussian".
    blur : int
        The size in pixels of DARK's blur, odd.
    nan : "propagate" or "ignore"
        What a pixel that is NaN does: there are no peaks then, or nothing, as if it were not there.
    compat : None or "sleap"
        Peaks are those that sleap-nn's `find_local_peaks_rough` finds, which are strictly greater than the (up to)
        eight pixels beside them: there are no plateaus, and a peak midway between two pixels is lost. Of heatmaps with
        no NaN, for `radius` 1 and no refinement. They are sorted and limited as others.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels.
    out : Peaks
        Where to write: arrays as this function would return, sharing no memory with `heatmaps` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Peaks, of arrays of the library of `heatmaps`
        xy (..., k, 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 heatmaps), the centre of the
        top left pixel is (0, 0). The strongest peak first, of equal ones the first in row-major order; −0.0 equals 0.0.
        Behind the last peak all is NaN.
        score (..., k): the pixel's value, of the same type.
        status (..., k) int32: PLATEAU if the peak is several pixels, BORDER, CLAMPED and FLAT as `decode.argmax` sets
        them where it refines. TRUNCATED with the last of `k` peaks if there were more. EMPTY behind the last peak; NAN
        alone, in all of them, if a pixel is NaN and is not ignored.
        count (...) int32: how many peaks there are, at most `k`.

    Raises
    ------
    TypeError
        If the type of an array, of a number, of `axes` or `grid` is none of these, if arrays are of two libraries or
        devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `k` is not from 1 to 2³¹ − 2, `radius` not from 1 to 65,535,
        `refine`, `compat` or `nan` is none of these, `compat` comes with another `radius` or with `refine`, `sigma` is
        not from 0.001 to 1,000,000, `blur` is not odd and from 1 to 65,535, `threshold` is NaN, or `grid` or `out` does
        not fit.

    Notes
    -----
    Source: the definition. Pixels that are equal and hang together, on their sides or corners, are a *plateau*; so is a
    pixel alone. A plateau is a *maximum* if no pixel within `radius` of one of its pixels (max(|Δx|, |Δy|) ≤ `radius`)
    is greater, and if one beside it is less: a heatmap that is the same everywhere has none. Border pixels count; what
    lies outside the heatmap is not compared. From the first maximum on, in the order of the result, each one is a peak
    unless a peak before it has a pixel within `radius` of one of its own: only of equal ones that can be.

    A plateau of several pixels is at their mean, and is not refined. Where `nan` is "ignore", a pixel beside which all
    are NaN is no maximum, since nothing beside it is less.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmap = np.zeros((48, 64), np.float32)
    >>> heatmap[5, 7], heatmap[20, 30:32], heatmap[40, 9] = 0.75, 1, 0.1
    >>> found = fc.decode.peaks(heatmap, k=3)
    >>> found.xy
    array([[30.5, 20. ],
           [ 7. ,  5. ],
           [ nan,  nan]], dtype=float32)
    >>> int(found.count), [fc.Status(flags).name for flags in found.status.tolist()]
    (2, ['PLATEAU', None, 'EMPTY'])
    """
    size, width = refinement(refine, sigma, blur)
    skips = skips_nan(nan)
    if compat is not None and not (isinstance(compat, str) and compat == "sleap"):
        raise ValueError(f'compat: expected None or "sleap"; got {compat!r}')
    most = positive_integer("k", k, MOST)
    reach = positive_integer("radius", radius, LARGEST_RADIUS)
    if compat is not None and (reach != 1 or refine is not None):
        raise ValueError(f"compat: expected radius=1 and refine=None for {compat!r}; got {radius!r} and {refine!r}")
    least = -np.inf if threshold is None else number("threshold", threshold)
    search = cpu.Search(most, reach, skips, compat is not None)
    if is_on_gpu(heatmaps):
        on_gpu: Peaks = _cuda().peaks(heatmaps, search, least, axes, grid, out, refine, size, width)
        return on_gpu
    library = library_of(heatmaps)
    array = pixel_array("heatmaps", heatmaps, halves=True)
    read = maps("heatmaps", array, axes)
    dtype = _DOUBLE if array.dtype == _DOUBLE else _SINGLE
    batch = read.batch
    require_grid(grid)
    numbers = numbers_for(grid, dtype, read.height, read.width, batch)
    shapes = {"xy": (*batch, most, 2), "score": (*batch, most), "status": (*batch, most), "count": batch}
    dtypes = {"xy": dtype, "score": dtype, "status": _FLAGS, "count": _FLAGS}
    if out is None:
        written = [np.empty(shape, dtypes[name]) for name, shape in shapes.items()]
    else:
        given = dict(zip(shapes, peak_members(out), strict=True))
        written = [
            result(f"out.{name}", given[name], shape, dtypes[name], library=library) for name, shape in shapes.items()
        ]
        require_apart([f"out.{name}" for name in shapes], *written, array)
    flat_written = [flat(member) for member in written]
    if read.count and read.starts:
        limit = _limit(least, loaded_type(read.memory.dtype), dtype)
        near: Any = () if refine is None else window(refine, size, width, None, read.height, read.width)
        cpu.peaks(read, search, limit, numbers, refine, near, *flat_written)
    if out is None:
        made = Peaks(*written)
        return made if library is None else in_library(library, made)
    for flat_member, member in zip(flat_written, written, strict=True):
        write_back(flat_member, member)
    if library is not None:
        for member in out:
            library.written(member)
    return out


_limit = functools.lru_cache(maxsize=256)(limit_of)


@functools.cache
def _cuda() -> Any:
    """The room's kernels for a GPU: to look for the module at each call takes a microsecond."""
    from fastcoord.decode._peaks import cuda

    return cuda
