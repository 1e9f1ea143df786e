"""Options that several decoders take, as users give them."""

import functools
import operator
from typing import Any

import numpy as np

from fastcoord._refinement import METHODS, window_of

REFINEMENTS = (None, *METHODS)
SIGMAS = (1e-3, 1e6)  # the least and the greatest
LARGEST_BLUR = (1 << 16) - 1
_NAN = {"propagate": False, "ignore": True}


def skips_nan(nan: Any) -> bool:
    """Whether pixels that are NaN are skipped."""
    if not isinstance(nan, str) or nan not in _NAN:
        raise ValueError(f'nan: expected "propagate" or "ignore"; got {nan!r}')
    return _NAN[nan]


def refinement(refine: Any, sigma: Any, blur: Any) -> tuple[int, float]:
    """`blur` and `sigma`, where `refine` is one of these."""
    if not (refine is None or isinstance(refine, str)) or refine not in REFINEMENTS:
        raise ValueError(f"refine: expected one of {REFINEMENTS}; got {refine!r}")
    width = number("sigma", sigma)
    if not SIGMAS[0] <= width <= SIGMAS[1]:
        raise ValueError(f"sigma: expected a number from {SIGMAS[0]:g} to {SIGMAS[1]:g}; got {sigma!r}")
    if not isinstance(blur, (int, np.integer)) or isinstance(blur, bool):
        raise TypeError(f"blur: expected an odd integer; got {blur!r}")
    if not 1 <= blur <= LARGEST_BLUR or blur % 2 == 0:
        raise ValueError(f"blur: expected an odd integer from 1 to {LARGEST_BLUR}; got {blur!r}")
    return int(blur), width


@functools.lru_cache(maxsize=64)  # taps take longer to make than a map to decode
def window(*options: Any) -> tuple[Any, ...]:
    """`_refinement.window_of`, as kernels take it."""
    return tuple(window_of(*options))


def number(name: str, value: Any) -> float:
    """`value`, a number that is not NaN."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number or None; got {value!r}")
    made = float(value)
    if made != made:
        raise ValueError(f"{name}: expected a number that is not NaN; got {value!r}")
    return made


def positive_integer(name: str, value: Any, most: int) -> int:
    """`value`, an integer from 1 to `most`."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer; got {value!r}")
    try:
        made = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer; got {value!r}") from None
    if not 1 <= made <= most:
        raise ValueError(f"{name}: expected an integer from 1 to {most}; got {value!r}")
    return made
