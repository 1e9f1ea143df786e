"""How fastcoord compiles for the CPU: one set of options, one disk cache.

A formula is `inlined`; a loop over maps is a `kernel`. Neither compiles anything before its first call.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import sys
import threading
import types
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numba.misc.appdirs
import numpy as np
from numba.core.caching import _Cache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher

from fastcoord._threads import guarded

F = TypeVar("F", bound=Callable[..., Any])

# Pixels below which one thread is faster. The break-even was measured at 75 to 100 thousand with two threads; more
# threads gain more, hence the power of two below.
SERIAL_LIMIT = 1 << 16

_core: Any = numba.core  # Any, because Numba's types cover little of it
_config = _core.config  # read at each use: a file (.numba_config.yaml), the environment and the caller may change it

# Never fastmath: NaN, infinities and the order of additions are part of the result.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# What only compiled functions call needs no entry for Python and none for C.
_INNER: dict[str, Any] = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# Every setting of Numba that changes the code it generates.
_SETTINGS = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "DEBUG_ARRAY_OPT_RUNTIME", "DEBUG_NRT",
    "DISABLE_INTEL_SVML", "ENABLE_AVX", "ENABLE_PROFILING", "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS", "LOOP_VECTORIZE", "OPT", "PARFOR_MAX_TUPLE_SIZE", "SLP_VECTORIZE", "USING_SVML",
)  # fmt: skip

_PACKAGE = os.path.dirname(os.path.abspath(__file__))

_compiled = _stored = _read = 0


def inlined(function: F) -> F:
    """`function`, compiled into whatever compiled function calls it: a kernel, another formula, a CUDA kernel."""
    return cast(F, _inner(function, forceinline=True))


def outlined(function: F) -> F:
    """`function`, compiled by itself and called: with `_vector.out_of_line()` in its body it is never copied."""
    # forceinline is said, or the caller's is taken
    return cast(F, _inner(function, forceinline=False))


def _inner(function: Callable[..., Any], forceinline: bool) -> Any:
    function = _named(function)
    if _config.DISABLE_JIT:
        return function
    options = {**_OPTIONS, **_INNER, "forceinline": forceinline}
    return _Inner(py_func=function, targetoptions=options, pipeline_class=_InnerCompiler)


class _Inner(CPUDispatcher):  # type: ignore[misc]  # Numba has no types
    """A function for compiled functions. Python has no entry to its code: called there it is the plain function."""

    def add_overload(self, result: Any) -> None:
        self.overloads[tuple(result.signature.args)] = result  # and not where a call from Python looks for it

    def _compile_for_args(self, *args: Any, **keywords: Any) -> Any:
        return self.py_func  # which is then called


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is linked into its callers, optimized there, and made into machine code there and nowhere else.

    Numba does both for every function by itself too: 4.1 instead of 3.0 s for the first `decode.onehot` of one image,
    5.1 instead of 4.0 for many (Emerald Rapids).
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _WithoutEngine(self._codegen)


class _WithoutEngine:
    """Numba's code generator, for a library that has no machine code."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing: an environment is for exceptions and Python objects."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class _InnerCompiler(Compiler):  # type: ignore[misc]
    def __init__(self, typing_context: Any, target_context: Any, library: Any, *others: Any) -> None:
        if library is None and isinstance(target_context.codegen(), _core.codegen.JITCPUCodegen):
            library = _InnerLibrary(target_context.codegen(), "inner")
        super().__init__(typing_context, target_context, library, *others)


def kernel(function: Callable[..., Any]) -> "Kernel":
    """`function`, compiled once for one thread and once for all of them. It loops over maps with `numba.prange`.

    The machine code is kept on disk under the sources of fastcoord: what `function` and its formulas read from their
    modules must follow from these sources, never from the environment.
    """
    return Kernel(function)


class Kernel:
    """One source, compiled twice: `serial`, for which `numba.prange` is `range`, and `parallel`. Made by `kernel`."""

    __slots__ = ("_run", "function", "parallel", "serial")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = _named(function)

    def __call__(self, work: int, /, *args: Any) -> Any:
        """The result of the kernel for `args`; `work`, the number of pixels it visits, decides how many threads run."""
        if work < SERIAL_LIMIT:
            return self.serial(*args)
        return self._run(*args)

    def __getattr__(self, name: str) -> Any:
        # Reached while a slot is empty. A dispatcher costs 40 µs, too much to make two for every kernel at import.
        if name == "serial":
            self.serial = _dispatcher(self.function, parallel=False)
        elif name == "parallel":
            self.parallel = _dispatcher(self.function, parallel=True)
        elif name == "_run":
            self._run = guarded(self)
        else:
            raise AttributeError(name)
        return object.__getattribute__(self, name)


def cache_folder() -> Path | None:
    """The folder that takes new machine code (it need not exist yet), or None where there is none.

    It lies in `NUMBA_CACHE_DIR` if that is set, else in the package's `__pycache__`, else in the user's cache folder.
    """
    for folder in _folders():
        existing = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return folder
    return None


def counts() -> tuple[int, int, int]:
    """How many kernels this process has compiled, how many of them it has stored, and how many it has read."""
    return _compiled, _stored, _read


def _dispatcher(function: Callable[..., Any], parallel: bool) -> Any:
    dispatcher: Any = numba.njit(**_OPTIONS, parallel=parallel)(function)
    if not _config.DISABLE_JIT:  # then it is `function` itself
        dispatcher._cache = _DiskCache(function, parallel)
        dispatcher.compile = functools.partial(_in_a_thread, dispatcher.compile)
    return dispatcher


def _in_a_thread(compile_or_read: Callable[..., Any], *args: Any) -> Any:
    """What ``compile_or_read(*args)`` returns, called by a thread that no signal interrupts.

    Python raises KeyboardInterrupt in the main thread, wherever it is: in the middle of Numba's registries or of a
    finalizer it broke every later call (7 of 40 first calls that were interrupted; Linux, OpenMP). Here the main thread
    only waits; what was begun is ended, and the next call finds it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or _core.compiler_lock.global_compiler_lock.is_locked():  # by this thread: it would wait for itself
        return compile_or_read(*args)
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(compile_or_read(*args))
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="fastcoord compiles")
    try:
        thread.start()
    except RuntimeError:  # while Python ends there are no new threads
        return compile_or_read(*args)
    while thread.is_alive():
        thread.join(0.1)  # a signal that comes just before a wait does not end it
    return done.result()


def _digest_of_sources() -> str | None:
    """A digest of all sources of this package; None where they are not on disk (a zip file, compiled files only)."""
    digest = hashlib.sha256()
    try:
        os.stat(os.path.join(_PACKAGE, "_compile.py"))
        for folder, subfolders, names in os.walk(_PACKAGE):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            for name in sorted(names):
                if name.endswith(".py") and not name.startswith("."):  # editors' lock files are links to nowhere
                    path = os.path.join(folder, name)
                    with open(path, "rb") as file:
                        digest.update(f"{path[len(_PACKAGE) :]}\n{hashlib.sha256(file.read()).hexdigest()}\n".encode())
    except OSError:
        return None
    return digest.hexdigest()[:32]


# Read before the modules with the kernels are imported: what was edited since then is not what gets compiled.
_SOURCES = _digest_of_sources()


def _folders() -> list[Path]:
    """Where machine code may lie, best first."""
    if _SOURCES is None:
        return []
    # The package's place is in the name: what another installation keeps in the same folder is not stale.
    name = f"fastcoord-{hashlib.sha256(_PACKAGE.encode()).hexdigest()[:16]}"
    if _config.CACHE_DIR:
        return [Path(_config.CACHE_DIR, name)]
    appdirs: Any = numba.misc.appdirs
    user = Path(appdirs.AppDirs(appname="fastcoord", appauthor=False).user_cache_dir, name)
    return [Path(_PACKAGE, "__pycache__", "fastcoord")] + ([user] if user.is_absolute() else [])  # no home: "~/.cache"


def _described(value: Any) -> object:
    """A function or a closure's constant in words that are the same in every process.

    Numba pickles these, and a pickled dispatcher holds a random number: no closure over a formula is ever found again.
    """
    value = getattr(value, "py_func", getattr(value, "_defn", value))  # what is under @njit or @intrinsic
    if isinstance(value, tuple):
        return [_described(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if inspect.isfunction(value):
        code = value.__code__
        if not os.path.abspath(code.co_filename).startswith(_PACKAGE + os.sep):
            raise TypeError(f"{value} is not in the sources of fastcoord")
        constants = tuple(cell.cell_contents for cell in value.__closure__ or ())
        defaults = value.__defaults__, tuple((value.__kwdefaults__ or {}).items())
        return value.__module__, code.co_qualname, code.co_firstlineno, code.co_code, _described((constants, defaults))
    if value is None or isinstance(value, _CONSTANTS):
        return type(value).__qualname__, repr(value)
    raise TypeError(f"{value!r} may be something else in the next process")


_CONSTANTS = (
    int, float, complex, str, bytes, type, types.BuiltinFunctionType, np.generic, np.dtype, np.ufunc, numba.types.Type,
)  # fmt: skip


def _named(function: F) -> F:
    """`function`; a nested one under a name that tells where it was defined and what its constants are.

    A symbol of Numba's is a function's name, its types and a number that counts from 1 in each process. Two closures
    from one line, one of them read from disk, can share a symbol, and the linker then takes the wrong code: seen.
    """
    if "<locals>" in function.__qualname__:
        try:
            words = repr(_described(function))
        except (TypeError, ValueError):
            words = uuid.uuid4().hex
        function.__qualname__ += f"_{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    return function


class _DiskCache(_Cache):  # type: ignore[misc]  # Numba has no types
    """One file for each kernel, signature, target and setting. Whatever fails here costs time and nothing else.

    Numba's own cache does not see edits in the modules of the formulas, and lets two processes swap signatures.
    """

    def __init__(self, function: Callable[..., Any], parallel: bool) -> None:
        self._function, self._parallel, self._enabled = function, parallel, True

    @property
    def cache_path(self) -> Path | None:
        return cache_folder()

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    flush = disable  # by Dispatcher.recompile(): a global has changed, and the key does not tell

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        global _read
        target_context.refresh()
        try:
            name = self._file_name(sig, target_context.codegen())
            for folder in _folders() if self._enabled else ():  # all: an image may hold a filled one that is read-only
                with contextlib.suppress(OSError):
                    content = (folder / name).read_bytes()
                    if hashlib.sha256(content[32:]).digest() == content[:32]:
                        found = _core.compiler.CompileResult._rebuild(target_context, *pickle.loads(content[32:]))
                        _read += 1
                        return found
        except Exception as error:
            _core.caching._cache_log("[cache] not read: %r", error)  # printed if NUMBA_DEBUG_CACHE=1
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        global _compiled, _stored
        _compiled += 1
        can_save = self._enabled and not data.lifted and not data.library.has_dynamic_globals
        try:
            if can_save and _digest_of_sources() == _SOURCES:
                name = self._file_name(sig, data.codegen)
                payload = _core.serialize.dumps(data._reduce())
                content = hashlib.sha256(payload).digest() + payload
                _stored += any(_written(folder, name, content) for folder in _folders())  # one is enough
        except Exception as error:
            _core.caching._cache_log("[cache] not saved: %r", error)

    def _file_name(self, sig: Any, codegen: Any) -> str:
        arguments, returned = _core.sigutils.normalize_signature(sig)
        key = (
            (numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag),
            (getattr(sys, "abiflags", ""), sys.flags.optimize),  # -O drops assertions
            [repr(getattr(_config, setting, None)) for setting in _SETTINGS],
            (codegen.magic_tuple(), _described(self._function), [*map(str, arguments)], str(returned)),
        )
        kind = "parallel" if self._parallel else "serial"
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return f"{self._function.__name__}-{kind}-{_SOURCES}-{digest}.kernel"


def _written(folder: Path, name: str, content: bytes) -> bool:
    """Whether the file is in the folder: all of it or nothing, whoever else writes it and whatever interrupts."""
    temporary = folder / f"{name}.{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    # What was made from other sources is never used again; files for other targets and settings stay.
    for path in folder.glob("*.kernel*"):
        if f"-{_SOURCES}-" not in path.name:
            path.unlink(missing_ok=True)
    return True
