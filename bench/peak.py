"""The multiply-adds a second that this machine does in registers: the ceiling of what computes more than it reads.

``python -m bench.peak`` prints it.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.measure import measured
from fastcoord._compile import kernel
from fastcoord._memory import load, memory, store
from fastcoord._vector import fma, splat

LANES = 16
CHAINS = 12  # independent sums: twice what two units of four cycles take, and they fit the registers of AVX2 as pairs
STEPS = 1 << 17  # of each chain; some milliseconds a task
TASKS = 16  # a multiple of most numbers of threads


def work() -> int:
    """The multiply-adds of one call of `multiply_adds`."""
    return TASKS * STEPS * CHAINS * LANES


def multiply_adds(lanes: NDArray[np.float32]) -> None:
    """`work()` multiply-adds of float32 on all threads; `lanes` has `TASKS` × 16 numbers, and takes the sums."""
    _multiply_adds.parallel(STEPS, lanes)


@kernel
def _multiply_adds(steps: int, lanes: Any) -> None:
    place = memory(lanes)
    for index in numba.prange(lanes.size // LANES):
        at = np.int64(index) * LANES
        factor, change = splat(np.float32(0.999), LANES), splat(np.float32(0.001), LANES)
        a = b = c = d = e = f = g = h = i = j = k = m = load(place, at, LANES)
        for _ in range(steps):
            a, b, c = fma(a, factor, change), fma(b, factor, change), fma(c, factor, change)
            d, e, f = fma(d, factor, change), fma(e, factor, change), fma(f, factor, change)
            g, h, i = fma(g, factor, change), fma(h, factor, change), fma(i, factor, change)
            j, k, m = fma(j, factor, change), fma(k, factor, change), fma(m, factor, change)
        store(place, at, ((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + m)))


def blank() -> NDArray[np.float32]:
    """An array for `multiply_adds`."""
    return np.ones(TASKS * LANES, np.float32)


def main() -> None:
    lanes = blank()
    seconds = min(measured({"peak": lambda: multiply_adds(lanes)}, budget=2, least=7)["peak"])
    print(f"{work() / seconds / 1e9:.1f} billion multiply-adds of float32 a second, {numba.get_num_threads()} threads")


if __name__ == "__main__":
    main()
