"""Data sets that are made, not downloaded."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcoord import encode

__all__ = ["NotSoClevr", "Squares", "not_so_clevr"]

_CANVAS = 64, 64  # height, width
_SIDE, _GREY = 9, 128
_CENTRES = range(4, 60)  # all whose square is on the canvas
_SPLIT_SEED, _ORDER_SEED = 20202, 10101
_SPLITS = None, "uniform", "quadrant"


class Squares(NamedTuple):
    """Images of a square each, and where it is."""

    images: NDArray[np.uint8]
    """(n, 64, 64), 128 in the 9 × 9 pixels of the square, 0 elsewhere."""
    onehots: NDArray[np.uint8]
    """(n, 64, 64), 1 at the centre of the square, 0 elsewhere."""
    locations: NDArray[np.float32]
    """(n, 2), the centre (x, y) in pixels: 4 … 59. The paper's networks learn them divided by 64."""


class NotSoClevr(NamedTuple):
    """The two parts of the data, which have no square in common."""

    train: Squares
    validation: Squares


def not_so_clevr(split: Literal["uniform", "quadrant"] | None = None) -> NotSoClevr:
    """The 3,136 squares of the CoordConv paper's Not-so-Clevr data, as images, one-hot maps and coordinates.

    Equals, for each centre (x, y), x in the outer loop, both from 4 to 59::

        image[y - 4 : y + 5, x - 4 : x + 5] = 128;  onehot[y, x] = 1

    Parameters
    ----------
    split : None, "uniform" or "quadrant"
        Which squares are kept for validation: none, so that all are in `train`, in the order above; 768 of them at
        random, all over the canvas; or the 729 in the quadrant where x and y are greater than 32. The same squares in
        the same order as in the files of the paper's code.

    Returns
    -------
    NotSoClevr(train, validation)
        Each Squares(images, onehots, locations): (n, 64, 64) uint8, (n, 64, 64) uint8 and (n, 2) float32. There are
        3136 and 0, 2368 and 768, or 2407 and 729 of them. New arrays at each call.

    Raises
    ------
    ValueError
        If `split` is none of these.

    Notes
    -----
    Source: R. Liu et al., "An intriguing failing of convolutional neural networks and the CoordConv solution", arXiv
    1807.03247, and the code released with it. That code seeds NumPy's legacy generator with 20202 and goes through the
    squares in the order above; for "uniform" a square is for validation where ``random() < 0.25``. Then each part is
    put into the order of a permutation, before which the generator is seeded with 10101, once for each part. (Its
    images have three channels and floats; the one-hot maps a channel.) NumPy's global generator is not touched.

    Examples
    --------
    >>> import fastcoord as fc
    >>> train, validation = fc.datasets.not_so_clevr("quadrant")
    >>> train.images.shape, validation.images.shape
    ((2407, 64, 64), (729, 64, 64))
    >>> bool((fc.decode.onehot(train.onehots).xy == train.locations).all())
    True
    >>> validation.locations.min(axis=0)
    array([33., 33.], dtype=float32)
    """
    if not (split is None or isinstance(split, str)) or split not in _SPLITS:
        raise ValueError(f"split: expected None, 'uniform' or 'quadrant'; got {split!r}")
    centres = np.array([(x, y) for x in _CENTRES for y in _CENTRES], np.float32)
    if split is None:
        return NotSoClevr(_squares(centres), _squares(centres[:0]))
    is_kept: NDArray[np.bool_]
    if split == "uniform":
        is_kept = np.random.RandomState(_SPLIT_SEED).random_sample(len(centres)) < 0.25
    else:
        is_kept = np.logical_and(centres[:, 0] > 32, centres[:, 1] > 32)
    return NotSoClevr(_squares(_permuted(centres[~is_kept])), _squares(_permuted(centres[is_kept])))


def _permuted(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    permuted: NDArray[np.float32] = centres[np.random.RandomState(_ORDER_SEED).permutation(len(centres))]
    return permuted


def _squares(centres: NDArray[np.float32]) -> Squares:
    images: Any = encode.box(centres, shape=_CANVAS, size=_SIDE, value=_GREY, dtype=np.uint8)
    return Squares(images, encode.onehot(centres, shape=_CANVAS, dtype=np.uint8), centres)
