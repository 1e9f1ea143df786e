"""Arrays of PyTorch and JAX on the CPU: read in place, and results in kind.

NumPy's arrays have no library here: they are what kernels take.
"""

import importlib
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcoord._halves import FORMATS

_BFLOAT16 = FORMATS["bfloat16"]


class Library:
    """What differs from library to library."""

    name: str
    noun: str  # "a JAX array"

    def is_on_gpu(self, array: Any) -> bool:
        """Whether it lives on an NVIDIA GPU."""
        raise NotImplementedError

    def read(self, name: str, array: Any) -> NDArray[Any]:
        """The same memory as a NumPy array; of bfloat16 as `_halves.FORMATS` has it."""
        raise NotImplementedError

    def write(self, name: str, array: Any) -> NDArray[Any]:
        """The same memory, to be written."""
        raise NotImplementedError

    def wrapped(self, array: NDArray[Any]) -> Any:
        """A new NumPy array, of which nobody keeps a view, as an array of this library."""
        raise NotImplementedError

    def written(self, array: Any) -> None:
        """Tell the library that `array` has other values now."""

    def require_dtype(self, dtype: np.dtype[Any]) -> None:
        """Refuse a type that the library would silently replace."""


class _PyTorch(Library):
    name, noun = "PyTorch", "a PyTorch tensor"

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")

    def is_on_gpu(self, array: Any) -> bool:
        return bool(array.is_cuda)

    def read(self, name: str, array: Any) -> NDArray[Any]:
        if array.requires_grad:
            raise TypeError(
                f"{name}: expected a tensor that does not require grad; got one that does; .detach() gives its numbers "
                "(and fastcoord.torch gradients, where it is there)"
            )
        torch = self._torch
        try:  # .numpy() takes 0.7 µs, DLPack 2.8
            if array.dtype is torch.bfloat16 and array.layout is torch.strided:
                return array.view(torch.int16).numpy().view(_BFLOAT16)  # type: ignore[no-any-return]
            return array.numpy()  # type: ignore[no-any-return]
        except (TypeError, RuntimeError) as error:
            raise TypeError(f"{name}: {_expected(self)}; got {_described(array)}: {_remedy(array, error)}") from None

    write = read

    def wrapped(self, array: NDArray[Any]) -> Any:
        if array.dtype == _BFLOAT16:
            return self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        return self._torch.from_numpy(array)

    def written(self, array: Any) -> None:
        self._torch.autograd.graph.increment_version(array)  # else autograd would take it for what it was


class _JAX(Library):
    name, noun = "JAX", "a JAX array"

    def __init__(self) -> None:
        self._jax: Any = importlib.import_module("jax")

    def is_on_gpu(self, array: Any) -> bool:
        return self._platforms(array) in ({"gpu"}, {"cuda"})

    def _platforms(self, array: Any) -> set[str]:
        if isinstance(array, self._jax.core.Tracer):
            return set()
        return {device.platform for device in array.devices()}

    def read(self, name: str, array: Any) -> NDArray[Any]:
        platforms = self._platforms(array)
        if not platforms:
            raise TypeError(
                f"{name}: expected an array that holds numbers; got a traced one: call fastcoord outside of jax.jit, "
                "jax.grad and jax.vmap, or by jax.pure_callback"
            )
        if platforms != {"cpu"}:
            where = ", ".join(sorted(platforms))
            raise TypeError(
                f"{name}: {_expected(self)}; got one on {where}; jax.device_get(array) copies it to the CPU"
            )
        seen: NDArray[Any] = np.asarray(array)  # its memory, where it is one piece: DLPack knows no bool
        return seen.view(_BFLOAT16) if is_bfloat16(seen.dtype) else seen

    def write(self, name: str, array: Any) -> NoReturn:
        raise TypeError(f"{name}: expected None, since nothing can be written into a JAX array; got one")

    def wrapped(self, array: NDArray[Any]) -> Any:
        return self._jax.numpy.asarray(with_bfloat16(array))

    def require_dtype(self, dtype: np.dtype[Any]) -> None:
        kept = dtype if dtype == _BFLOAT16 else self._jax.dtypes.canonicalize_dtype(dtype)
        if kept != dtype:
            raise TypeError(
                f"dtype: expected a type that JAX keeps; got {dtype.name}, which becomes {kept.name}; "
                "jax.config.update('jax_enable_x64', True) changes that"
            )


_known: dict[type, Library] = {}
_libraries: dict[type[Library], Library] = {}


def library_of(array: Any) -> Library | None:
    """The library of `array`; None for NumPy's, for nested lists and for what belongs to no library known here."""
    kind = type(array)
    if kind is np.ndarray or kind is list:
        return None
    found = _known.get(kind)
    if found is None:
        import array_api_compat  # here, since it takes 15 ms, a fifth of what `import fastcoord` adds to Numba's import

        if array_api_compat.is_torch_array(array):
            found = _libraries.setdefault(_PyTorch, _libraries.get(_PyTorch) or _PyTorch())
        elif array_api_compat.is_jax_array(array):
            found = _libraries.setdefault(_JAX, _libraries.get(_JAX) or _JAX())
        else:
            return None
        _known[kind] = found
    return found


def in_library(library: Library | None, result: Any) -> Any:
    """A new array, or a named tuple of new arrays and None, as arrays of the caller's library."""
    if isinstance(result, tuple):
        members: list[Any] = [None if member is None else in_library(library, member) for member in result]
        made: Any = type(result)
        return made(*members)
    return with_bfloat16(result) if library is None else library.wrapped(result)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether it is the bfloat16 of the package ml_dtypes, which JAX brings."""
    return dtype.kind == "V" and dtype.name == "bfloat16"  # to ask for the name takes 2 µs


def with_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """`array`, its bfloat16 as NumPy users have it."""
    return array.view(numpy_bfloat16()) if array.dtype == _BFLOAT16 else array


def numpy_bfloat16() -> np.dtype[Any]:
    """The bfloat16 of the package ml_dtypes."""
    try:
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise TypeError(
            "dtype: expected another type than bfloat16, which NumPy has only with the package ml_dtypes; it is missing"
        ) from None
    return found


def _expected(library: Library) -> str:
    return f"expected {library.noun} with strides, on the CPU or a CUDA GPU"


def _described(tensor: Any) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}, {str(tensor.layout).removeprefix('torch.')}"


def _remedy(tensor: Any, error: Exception) -> str:
    """What to do, in the words of PyTorch where it knows."""
    if tensor.is_quantized:
        return ".dequantize() gives its numbers"
    if tensor.is_nested or str(tensor.layout) != "torch.strided":
        return ".to_dense() gives its numbers"
    return str(error)
