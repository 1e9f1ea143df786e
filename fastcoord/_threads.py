"""Parallel loops for calls from any Python thread, and in children however they were forked.

Numba runs a parallel loop on one of three layers, whichever it finds first (or the user chose), and each ends or hangs
the process in its own way. `workqueue` aborts when two threads call at once, also from inside a user's own parallel
loop. GNU OpenMP (`omp`) kills a forked child whose parent has started Numba's threads, and hangs in one whose parent
has run another library's OpenMP loops (PyTorch's, scikit-learn's). `tbb` says that it cannot end its threads before a
fork, and that the child may break, if several Python threads have used them. And whatever the layer, a child hangs that
was forked while another thread compiled.

So under `workqueue` one Python thread runs at a time; a fork waits until nobody runs or compiles; and a child that has
lost its threads has one. Loops that other packages compile do not know of this.
"""

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numba

_numba: Any = numba  # Any, because Numba's types cover little of it

_lock = threading.RLock()  # held while a loop runs under workqueue, while Numba's threads are started, and by a fork
_running: set[int] = set()  # the Python threads that are in a loop under TBB
_users: set[int] = set()  # and those that have ever been


def guarded(kernel: Any) -> Callable[..., Any]:
    """A function that runs ``kernel.parallel``, and where that cannot be done ``kernel.serial``."""
    if _numba.core.config.DISABLE_JIT:
        parallel: Callable[..., Any] = kernel.parallel  # plain Python
        return parallel
    return {"workqueue": _one_at_a_time, "tbb": _counted, "omp": _uncounted}[_layer()](kernel)


def _layer() -> str:
    """What runs parallel loops; known only when Numba's threads are started."""
    import multiprocessing

    with _lock:
        # Numba asks for the start method, which settles it: the program's own set_start_method would be refused
        is_open = multiprocessing.get_start_method(allow_none=True) is None
        numba.get_num_threads()
        if is_open:
            multiprocessing.set_start_method(None, force=True)
        return str(_numba.threading_layer())


def _one_at_a_time(kernel: Any) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        # A thread that Python did not start may be a worker of workqueue's, in a user's loop that calls Python
        if isinstance(threading.current_thread(), threading._DummyThread):
            return kernel.serial(*args)
        with _lock:
            return kernel.parallel(*args)

    return run


def _counted(kernel: Any) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        if _has_lost_tbb:
            return kernel.serial(*args)
        thread = threading.get_ident()
        try:  # first, so that an interrupt leaves nobody in the set
            with _lock:
                _running.add(thread)
                _users.add(thread)
            return kernel.parallel(*args)
        finally:
            _running.discard(thread)

    return run


def _uncounted(kernel: Any) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        return (kernel.serial if _has_lost_openmp else kernel.parallel)(*args)

    return run


def _is_forked() -> bool:
    """Whether this process is a fork of another program and not a new program; on Linux, else False."""
    with contextlib.suppress(OSError), open("/proc/self/stat", "rb") as file:
        flags = int(file.read().rpartition(b")")[2].split()[6])
        return bool(flags & 0x40)  # PF_FORKNOEXEC
    return False


def _has_openmp() -> bool:
    """Whether GNU OpenMP is in this process, be it Numba's or another library's."""
    try:
        ctypes.CDLL("libgomp.so.1", os.RTLD_NOLOAD | os.RTLD_LAZY)
    except (OSError, AttributeError):  # not here; not a system with such files
        return False
    return True


# The threads that GNU OpenMP has started do not exist in a forked child, but it waits for them. Nobody can tell whether
# it has started any: that it was there before the fork must do, and where the fork came first, that it is here now.
_has_lost_openmp = _is_forked() and _has_openmp()
_has_lost_tbb = False


def _compiler_lock() -> Any:
    return _numba.core.compiler_lock.global_compiler_lock


def _before_fork() -> None:
    _lock.acquire()
    while _running - {threading.get_ident()}:
        time.sleep(1e-4)
    _compiler_lock().acquire()  # the last, because a kernel that holds the first may have to be compiled


def _after_fork() -> None:
    for lock in (_compiler_lock(), _lock):
        with contextlib.suppress(RuntimeError):  # an interrupt came before it was acquired
            lock.release()


def _after_fork_in_child() -> None:
    global _has_lost_openmp, _has_lost_tbb
    _has_lost_openmp = _has_lost_openmp or _has_openmp()
    _has_lost_tbb = _has_lost_tbb or bool(_users - {threading.get_ident()})
    _running.clear()
    _users.clear()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
