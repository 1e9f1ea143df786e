"""The gradient of `decode.soft_argmax` on the CPU: the mean as it is decoded, then p · (towards · (pixel − mean)).

The map is read twice for its mean, and once more, from the cache, for the gradient.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel, outlined
from fastcoord._exponential import Rate
from fastcoord._memory import load_first, memory, store_first
from fastcoord._vector import convert, lane_numbers, out_of_line, splat
from fastcoord.decode._soft_argmax.formula import slope, state_of
