"""Programs that call kernels from many threads and forks: ``python -m tests.situations NAME`` runs one.

Each checks every answer and prints, as JSON, which variant of a kernel ran where: "parallel" or "serial".
"""

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import FrameType, SimpleNamespace
from typing import Any

import numba
import numpy as np

import fastcoord as fc
from fastcoord import _compile
from fastcoord._threads import guarded

MAPS, HEIGHT, WIDTH = 64, 48, 64
assert MAPS * HEIGHT * WIDTH >= _compile.SERIAL_LIMIT
POINTS = np.random.default_rng(0).integers((WIDTH, HEIGHT), size=(MAPS, 2)).astype(np.float32)
IMAGES = np.zeros((MAPS, HEIGHT, WIDTH), np.float32)
IMAGES[np.arange(MAPS), POINTS[:, 1].astype(int), POINTS[:, 0].astype(int)] = 1

_PROBE = SimpleNamespace(parallel=lambda: "parallel", serial=lambda: "serial")
LIMIT = 100  # seconds after which a child hangs; one that compiles while others work may take half a minute


def check() -> str:
    """Both directions at a size for all threads, with right answers; which variant of the kernels that was."""
    np.testing.assert_array_equal(fc.decode.onehot(IMAGES).xy, POINTS)
    np.testing.assert_array_equal(fc.encode.onehot(POINTS, shape=(HEIGHT, WIDTH)), IMAGES)
    return str(guarded(_PROBE)())


def check_item(item: Any) -> str:
    return check()


def forked(function: Callable[[], str] = check) -> str:
    """What `function` returns in a forked child, or how that ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, function().encode())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + LIMIT
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.002)
    with os.fdopen(reader) as file:
        return file.read() or "dies"


def eight_threads() -> Any:
    barrier = threading.Barrier(8)

    def work(_: int) -> set[str]:
        barrier.wait()  # the first calls, which start Numba's threads and compile, come at once too
        return {check() for _ in range(20)}

    with ThreadPoolExecutor(8) as pool:
        return sorted(set.union(*pool.map(work, range(8))))


def fork_before() -> Any:
    return [forked(), check()]


def fork_after() -> Any:
    return [check(), forked(), check()]


def fork_nested() -> Any:
    check()
    return forked(lambda: check() + " " + forked(lambda: check() + " " + forked()))


def fork_among_threads() -> Any:
    check()
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            check()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    variants = {forked() for _ in range(10)}
    is_over.set()
    for thread in threads:
        thread.join()
    return [*sorted(variants), check()]


def fork_in_thread() -> Any:
    check()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(forked).result()


def fork_while_compiling() -> Any:
    is_compiling = threading.Event()

    @numba.extending.overload(check_item)
    def _typed(item):  # type: ignore[no-untyped-def]  # Numba compares the two signatures
        is_compiling.set()
        time.sleep(0.3)
        return lambda item: 0

    compiled = numba.njit(lambda: check_item(0))
    thread = threading.Thread(target=compiled)
    thread.start()
    is_compiling.wait()
    variant = forked(lambda: check() + " " * numba.njit(lambda: 0)())
    thread.join()
    return variant


def _pool(method: str) -> Any:
    check()
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        variants = set(pool.map(check_item, range(6)))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        variants.update(executor.map(check_item, range(6)))
    return [*sorted(variants), check()]


def pool_fork() -> Any:
    return _pool("fork")


def pool_forkserver() -> Any:
    return _pool("forkserver")


def pool_spawn() -> Any:
    return _pool("spawn")


def start_method() -> Any:
    check()
    multiprocessing.set_start_method("spawn")  # refused if the method is settled
    return check()


class Decoded:
    """A data set of what each worker decodes, for PyTorch's DataLoader."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> str:
        return check()


def _loader(method: str) -> Any:
    import torch
    from torch.utils.data import DataLoader

    check()
    torch.set_num_threads(2)
    torch.ones(1000, 1000).exp().sum()  # starts PyTorch's threads
    variants: set[str] = set()
    for _ in range(2 if method == "fork" else 1):
        loader = DataLoader(Decoded(), batch_size=None, num_workers=2, multiprocessing_context=method)  # type: ignore[arg-type, var-annotated]
        variants.update(loader)
    return [*sorted(variants), check()]


def loader_fork() -> Any:
    return _loader("fork")


def loader_spawn() -> Any:
    return _loader("spawn")


def fork_after_torch() -> Any:
    import torch

    torch.set_num_threads(2)
    torch.ones(1000, 1000).exp().sum()
    return [forked(), check()]


def inside_prange() -> Any:
    variants = set()

    def call() -> int:
        variants.add(check())
        return 1

    @numba.njit(parallel=True)
    def loop(done: Any) -> None:
        for i in numba.prange(done.size):
            with numba.objmode(one="int64"):
                one = call()
            done[i] = one

    done = np.zeros(8, np.int64)
    loop(done)
    assert done.all()
    return [*sorted(variants), check()]


def beside_a_prange() -> Any:
    """Loops of the user's own in one Python thread, ours in others."""
    is_over = threading.Event()

    @numba.njit(parallel=True, nogil=True)
    def total(array: Any) -> Any:
        sums = np.zeros(len(array))
        for i in numba.prange(len(array)):
            sums[i] = array[i].sum()
        return sums.sum()

    def loop() -> bool:
        while not is_over.is_set():
            if total(IMAGES) != MAPS:
                return False
        return True

    with ThreadPoolExecutor(3) as pool:
        theirs = pool.submit(loop)
        ours = [
            variant for variants in pool.map(lambda _: {check() for _ in range(30)}, range(2)) for variant in variants
        ]
        is_over.set()
        assert theirs.result(LIMIT)
    return ours


def interrupts() -> Any:
    """Interrupts at many moments, in calls that read and write much."""
    images = np.concatenate([IMAGES] * 40)
    points = np.concatenate([POINTS] * 40)
    buffer = np.empty_like(images)
    check()
    gc.collect()  # what compilation leaves has finalizers, in which an interrupt would be lost
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    count = 0
    for k in range(60):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + k))
            while True:
                fc.decode.onehot(images)
                fc.encode.onehot(points, shape=(HEIGHT, WIDTH), out=buffer)
        except KeyboardInterrupt:
            count += 1
        if k % 10 == 0:  # a lock that nobody gave back would stop others than this thread
            with ThreadPoolExecutor(1) as pool:
                pool.submit(check).result(LIMIT)
    assert count == 60
    return [check(), forked()]


def interrupt_of_the_first_call() -> Any:
    """An interrupt at many moments of fastcoord's own, while kernels are read and Numba's threads are started.

    The moments are counted, not timed: an interrupt inside Numba's registries, an import or llvmlite's finalizers can
    break them for good (seen as KeyError, TypeError, AttributeError or ReferenceError in what comes later, or printed),
    which no caller can mend. Python looks for signals where a function starts, and after a function of C has returned.
    """
    forked()  # stores the machine code, if no other process has
    ours = os.path.dirname(fc.__file__)
    left = 0

    def interrupt(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left
        frames = (frame, frame.f_back) if event == "call" else (frame,) if event == "c_return" else ()
        if frame.f_code.co_name != "__del__" and any(f and f.f_code.co_filename.startswith(ours) for f in frames):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    moment = count = 0
    while left == 0:  # until a call is over before the moment comes
        moment += 1 + moment // 8
        left = moment
        try:
            sys.setprofile(interrupt)
            check()
        except KeyboardInterrupt:
            count += 1
        finally:
            sys.setprofile(None)
    assert count > 20, count
    with ThreadPoolExecutor(1) as pool:  # stopped by a lock that nobody gave back
        pool.submit(check).result(LIMIT)
    return [check(), forked()]


def threads_of_ones_own() -> Any:
    check()
    results = []
    for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(count)
        results.append(fc.decode.onehot(IMAGES).xy.tobytes())
    assert len(set(results)) == 1
    numba.set_num_threads(1)
    with ThreadPoolExecutor(1) as pool:  # what is set holds for the thread that sets it
        assert pool.submit(numba.get_num_threads).result() == numba.config.NUMBA_NUM_THREADS
    return [len(results), check()]


if __name__ == "__main__":
    warnings.simplefilter("error")
    # Python ≥ 3.12 warns of forks beside threads, which is what is tried here
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    print(json.dumps(globals()[sys.argv[1]]()))
