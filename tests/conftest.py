"""The three modes the tests run in, and what each of them runs.

Compiled: all but the simulator's tests. ``NUMBA_DISABLE_JIT=1``: those marked `small`, since a kernel is then a Python
loop. ``NUMBA_ENABLE_CUDASIM=1``: those marked `simulator`.
"""

import hypothesis
import numba
import numpy as np
import pytest

if numba.config.ENABLE_CUDASIM:
    from tests import simulator

    simulator.install()  # before a module with kernels is imported

hypothesis.settings.register_profile(
    "fastcoord", derandomize=True, deadline=None, max_examples=30, database=None, print_blob=False
)
hypothesis.settings.load_profile("fastcoord")


def _runs(item: pytest.Item) -> bool:
    in_simulator = item.get_closest_marker("simulator") is not None
    if numba.config.ENABLE_CUDASIM:
        return in_simulator
    if numba.config.DISABLE_JIT:
        return item.get_closest_marker("small") is not None
    return not in_simulator


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another mode, and skip what this machine cannot run."""
    left_out = [item for item in items if not _runs(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _runs(item)]
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, its driver and numba-cuda"))


def _has_gpu() -> bool:
    if numba.config.ENABLE_CUDASIM:
        return False
    try:
        from numba import cuda
    except ImportError:
        return False
    return bool(cuda.is_available())


@pytest.fixture(autouse=True)
def _floating_point_as_in_compiled_code():
    """Compiled code says nothing about overflow or ∞ − ∞; NumPy, which runs uncompiled kernels, warns."""
    with np.errstate(**({"all": "ignore"} if numba.config.DISABLE_JIT else {})):
        yield
