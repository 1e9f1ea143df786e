"""Options and hooks of the benchmarks: ``python -m pytest bench --benchmark-only [--quick]``."""

import os
from typing import Any

import pytest

from bench.machine import machine
from bench.settings import FULL, QUICK, Settings

_LOAD = pytest.StashKey[tuple[float, float, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="fewer workloads and rounds: two minutes, once all kernels are compiled"
    )
    parser.addoption("--bench-command", default="python -m pytest bench", help="what the results say was run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LOAD] = os.getloadavg()
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark of workloads says which: ``bench_x.workloads = settings -> list``."""
    workloads = getattr(metafunc.function, "workloads", None)
    if workloads is not None:
        chosen = workloads(_settings(metafunc.config))
        metafunc.parametrize("workload", chosen, ids=lambda workload: str(workload).replace(" ", "-").replace("×", "x"))


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """Ours instead of pytest-benchmark's, which has the name of the host."""
    return machine(config.getoption("--bench-command"), config.stash[_LOAD])


@pytest.fixture(scope="session")
def settings(request: pytest.FixtureRequest) -> Settings:
    return _settings(request.config)


def _settings(config: pytest.Config) -> Settings:
    return QUICK if config.getoption("--quick") else FULL
