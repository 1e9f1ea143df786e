"""`decode.soft_argmax`: the mean position under the softmax of a heatmap, and its gradient."""

import operator
from typing import Any

import numpy as np

from fastcoord._arrays import Maps, is_on_gpu
from fastcoord._decode import decoded
from fastcoord._exponential import rate
from fastcoord.decode._soft_argmax import cpu
from fastcoord.grid import Grid
from fastcoord.results import Decoded

__all__ = ["soft_argmax"]

_COLDEST, _HOTTEST = 1e-30, 1e30  # of temperatures: between them no factor overflows or vanishes in float32


def soft_argmax(
    heatmaps: Any,
    *,
    temperature: float = 1.0,
    covariance: bool = False,
    window: int | None = None,
    axes: tuple[int, int] = (-2, -1),
    grid: Grid | None = None,
    out: Decoded | None = None,
) -> Decoded:
    """Mean position of each heatmap under the softmax of its pixels, and the largest probability.

    Equals, for a heatmap ``a``::

        p = np.exp((a - a.max()) / temperature);  p /= p.sum()
        x = (p * np.arange(W)).sum();  y = (p * np.arange(H)[:, None]).sum();  score = p.max()

    with two reads of each heatmap, the second one from the cache.

    Parameters
    ----------
    heatmaps : array (..., H, W)
        The logits: bool, (u)int8, (u)int16, int32, int64, float32 or float64, and on the CPU float16 or bfloat16, of
        NumPy (or nested lists), PyTorch or JAX on the CPU, or on a GPU; with any strides: they are read in place (but
        copied if the strides are no whole elements). Integers and floats of 16 bits are taken as float32. Pixels that
        are −∞ count nothing; otherwise any finite numbers are fine, however large. Not modified.
    temperature : float
        What the logits are divided by, from 1e-30 to 1e30: the smaller, the nearer to the largest pixel.
    covariance : bool
        Whether to compute the covariance of x and y under the probabilities too.
    window : int
        Only pixels at most so many columns and rows from the largest pixel (the first in row-major order) count; 1 for
        3×3 of them; None: all.
    axes : two ints
        Which axes are height and width; (1, 2) for NHWC. The batch is the remaining axes in their order.
    grid : fastcoord.grid.Grid
        What xy counts: one of `fastcoord.grid`; None: pixels.
    out : Decoded
        Where to write: arrays as this function would return, sharing no memory with `heatmaps` or each other, and on a
        GPU contiguous. Arrays of JAX cannot be written.

    Returns
    -------
    Decoded, of arrays of the library of `heatmaps`
        xy (..., 2): (x, y) in pixels (or as `grid` says), float32 (float64 for float64 heatmaps), the centre of the
        top left pixel is (0, 0). score (...): the largest probability, of the same type. covariance (..., 2, 2): of the
        same type, in px², in the order (x, y), or None. status (...) int32: EMPTY if all pixels are −∞, NAN if a pixel
        is NaN or +∞; xy, score and covariance are then NaN.

    Raises
    ------
    TypeError
        If the type of an array, of `temperature`, `covariance`, `window`, `axes` or `grid` is none of these, if arrays
        are of two libraries or devices, or if a tensor requires grad.
    ValueError
        If there are fewer than two axes, H or W is 0, `temperature` or `window` is out of its range, or `grid` or `out`
        does not fit.

    Notes
    -----
    Source: D. C. Luvizon et al., "Human pose regression by combining indirect part detection and contextual
    information", 2019; X. Sun et al., "Integral human pose regression", ECCV 2018. The covariance is taken about the
    mean, as ``Σ p (x − μ)(x − μ)ᵀ``.

    Examples
    --------
    >>> import numpy as np, fastcoord as fc
    >>> heatmaps = np.zeros((1, 48, 64), np.float32)
    >>> heatmaps[0, 5, 7:9] = 30
    >>> fc.decode.soft_argmax(heatmaps).xy
    array([[7.5, 5. ]], dtype=float32)
    """
    number = checked_temperature(temperature)
    if not isinstance(covariance, (bool, np.bool_)):
        raise TypeError(f"covariance: expected a bool; got {covariance!r}")
    reach = checked_window(window)
    if is_on_gpu(heatmaps):
        from fastcoord.decode._soft_argmax import cuda

        return cuda.soft_argmax(heatmaps, number, bool(covariance), reach, axes, grid, out)

    def decode(maps: Maps, numbers: Any, xy: Any, score: Any, spread: Any, status: Any) -> None:
        wants = cpu.COVARIANCE if covariance else cpu.NOTHING_MORE
        cpu.soft_argmax(maps, rate(number, xy.dtype), reach, numbers, xy, score, spread, status, wants)

    return decoded("heatmaps", heatmaps, axes, grid, out, decode, bool(covariance))


def checked_temperature(temperature: Any) -> float:
    """`temperature`, a number that is not too large or small."""
    if not isinstance(temperature, (int, float, np.integer, np.floating)) or isinstance(temperature, bool):
        raise TypeError(f"temperature: expected a number; got {temperature!r}")
    if not _COLDEST <= temperature <= _HOTTEST:
        raise ValueError(f"temperature: expected a number from {_COLDEST:g} to {_HOTTEST:g}; got {temperature!r}")
    return float(temperature)


def checked_window(window: Any) -> int | None:
    """`window`, an integer that is not negative, or None."""
    if window is None:
        return None
    try:
        reach = operator.index(window)
    except TypeError:
        raise TypeError(f"window: expected an integer or None; got {window!r}") from None
    if reach < 0 or isinstance(window, bool):
        raise ValueError(f"window: expected an integer of at least 0; got {window!r}")
    return reach
