"""Threads, forks and interrupts on each of Numba's threading layers: right answers, no crash, no hang.

Each situation of `tests.situations` runs in a process of its own, since it may end it.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numba
import pytest

from fastcoord import _compile

ROOT = Path(__file__).parent.parent
LIBRARIES = Path(sys.prefix, "lib")  # where `pip install tbb` puts its library; the loader has to be told

LAYERS = {
    "workqueue": "",
    "omp": "needs GNU OpenMP, libgomp.so.1 (Debian, Ubuntu: apt install libgomp1)",
    "tbb": "needs TBB (pip install tbb, for Linux on x86-64)",
}
ALL = ["parallel", "parallel"]
# What Numba's TBB layer says whenever several threads have used it before a fork, or another thread forks than the one
# that was the first to call; and what becomes of a lock that Numba makes in the children of a fork server
_SAID = ("Numba: Attempted to fork from a non-main thread", "resource_tracker")
_LOST = "Unable to join threads to shut down before fork(). This can break multithreading in child processes."

# What runs, by the layer or on all of them.
SITUATIONS: dict[str, Any] = {
    "eight_threads": ["parallel"],
    "threads_of_ones_own": [2, "parallel"],
    "fork_before": ALL,
    "fork_after": {"omp": ["parallel", "serial", "parallel"], "": ["parallel"] * 3},
    "fork_nested": {"omp": "serial serial serial", "": "parallel parallel parallel"},
    "fork_among_threads": {"workqueue": ALL, "": ["serial", "parallel"]},
    "fork_in_thread": {"workqueue": "parallel", "": "serial"},
    "fork_while_compiling": "parallel",
    "pool_fork": {"omp": ["serial", "parallel"], "": ALL},
    "pool_forkserver": ALL,
    "pool_spawn": ALL,
    "start_method": "parallel",
    "inside_prange": {"workqueue": ["serial", "parallel"], "": ALL},
    "beside_a_prange": {"workqueue": None, "": ALL},  # not possible: it would end the process
    "interrupts": {"workqueue": ALL, "": ["parallel", "serial"]},
    "interrupt_of_the_first_call": {"workqueue": ALL, "": ["parallel", "serial"]},
}
WITH_TORCH: dict[str, Any] = {
    "fork_after_torch": {"omp": ["serial", "parallel"], "": ALL},
    "loader_fork": {"omp": ["serial", "parallel"], "": ALL},
    "loader_spawn": ALL,
}


def environment(layer: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    path = os.pathsep.join(filter(None, [str(LIBRARIES), kept.get("LD_LIBRARY_PATH")]))
    return kept | {
        "NUMBA_THREADING_LAYER": layer,
        "NUMBA_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",  # many threads on few processors: those that spin take the others' time
        "NUMBA_CACHE_DIR": str(folder),
        "PYTHONPATH": str(ROOT),
        **({"LD_LIBRARY_PATH": path} if layer == "tbb" else {}),
    }


@cache
def is_here(layer: str) -> bool:
    command = [sys.executable, "-c", "import numba; numba.get_num_threads()"]
    done = subprocess.run(command, env=environment(layer, Path()), capture_output=True, check=False, timeout=120)
    return done.returncode == 0


def result(situation: str, layer: str, folder: Path) -> tuple[Any, str]:
    """What a situation printed, and what was said on its error stream."""
    if not is_here(layer):
        pytest.skip(LAYERS[layer])
    done = subprocess.run(
        [sys.executable, "-m", "tests.situations", situation],
        cwd=ROOT,
        env=environment(layer, folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, answer = done.stdout.splitlines()
    assert not [
        line for line in lines if line and not line.startswith("Unable to join threads to shut down before fork")
    ]
    return json.loads(answer), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for machine code, so that all but the first process start quickly."""
    return tmp_path_factory.mktemp("machine-code")


def agrees(situation: str, expected: Any, layer: str, folder: Path) -> None:
    if isinstance(expected, dict):
        expected = expected.get(layer, expected[""])
    if expected is None:
        pytest.skip(f"not possible on {layer}")
    answer, errors = result(situation, layer, folder)
    assert answer == expected
    assert not [line for line in errors.splitlines() if not any(words in line for words in _SAID)]


layers = pytest.mark.parametrize("layer", LAYERS)


@layers
@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation(situation, layer, folder):
    agrees(situation, SITUATIONS[situation], layer, folder)


@layers
@pytest.mark.parametrize("situation", WITH_TORCH)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install torch")
def test_situation_with_torch(situation, layer, folder):
    agrees(situation, WITH_TORCH[situation], layer, folder)


def test_a_situation_that_fails_is_seen(folder):
    with pytest.raises(AssertionError, match="KeyError"):
        result("no_such_situation", "workqueue", folder)


def test_an_interrupt_does_not_reach_what_compiles():
    """The caller is interrupted while it waits; what was begun is ended, in a thread that no signal reaches."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    has_begun, may_end, ended = threading.Event(), threading.Event(), []

    def compiles(signature):
        has_begun.set()
        may_end.wait(60)
        ended.append(signature)
        return "machine code"

    def interrupt():
        has_begun.wait(60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            _compile._in_a_thread(compiles, "first")
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert not ended
    may_end.set()
    assert _compile._in_a_thread(compiles, "second") == "machine code"
    assert "second" in ended
    with pytest.raises(KeyError, match="no such type"):
        _compile._in_a_thread({}.__getitem__, "no such type")
    with numba.core.compiler_lock.global_compiler_lock:  # a thread of its own would wait for this one
        assert _compile._in_a_thread(threading.current_thread) is threading.main_thread()


def test_what_compiles_while_python_ends_has_no_thread(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert _compile._in_a_thread(int, "3") == 3
