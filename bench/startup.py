"""Time to start: import, and the first result, each in a new process.

The processes of the different kinds take turns. Each tells the time from before its first import to after its last
line; the start of Python itself is not in it.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.machine import ROOT
from bench.measure import measured
from bench.settings import Settings
from fastcoord._compile import _digest_of_sources

NUMBA, FASTCOORD = "import numba", "import fastcoord"
WARM, COLD = "warm", "cold"
# One image is decoded by the kernel for one thread, many by the one for all threads.
SIZES = {"serial": 1, "parallel": 256}
FIRST_RESULTS = {
    "decode.onehot": "fc.decode.onehot(np.zeros(({maps}, 64, 64), np.float32))",
    "encode.onehot": "fc.encode.onehot(np.zeros(({maps}, 2), np.float32), shape=(64, 64))",
}


def first_result(operation: str, size: str, cache: str) -> str:
    """The name under which the time of import and first result is stored."""
    return f"{operation}, {size}, {cache}"


def measure(settings: Settings) -> dict[str, list[float]]:
    """Seconds of every kind of start, each in each of its new processes."""
    sources = _digest_of_sources()
    with tempfile.TemporaryDirectory() as folder:
        imports = {code: functools.partial(seconds, code, folder) for code in (NUMBA, FASTCOORD)}
        results = {
            first_result(operation, size, WARM): functools.partial(seconds, code, folder)
            for operation, size, code in _first_results()
        }
        # the trial of `measured` fills the caches, Python's included
        taken = measured(imports, budget=0, least=settings.imports, clock=_call)
        taken |= measured(results, budget=0, least=settings.warm_starts, clock=_call)
    for operation, size, code in _first_results():
        taken[first_result(operation, size, COLD)] = [_cold(code) for _ in range(settings.cold_starts)]
    if _digest_of_sources() != sources:
        raise RuntimeError("fastcoord was edited meanwhile: warm starts that followed an edit were cold")
    return taken


def seconds(code: str, cache: str) -> float:
    """Seconds that `code` takes in a new process that keeps machine code in the folder `cache`."""
    program = f"import time; start = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Numba's modules were compiled when it was installed; ours are when they are first imported, if that is allowed
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": path}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(cache), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{code}: {done.stderr}")
    return float(done.stdout)


def _call(start: Callable[[], float]) -> float:
    return start()  # the new process has a clock of its own


def _cold(code: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return seconds(code, folder)


def _first_results() -> list[tuple[str, str, str]]:
    return [
        (operation, size, f"import numpy as np\nimport fastcoord as fc\n{call.format(maps=maps)}")
        for operation, call in FIRST_RESULTS.items()
        for size, maps in SIZES.items()
    ]
