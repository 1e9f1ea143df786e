"""What may enter a kernel, and where results are allocated. Every check stands here and is made before any work."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._halves import FORMATS, GREATEST, format_of, narrowed, widened
from fastcoord._libraries import Library, is_bfloat16, library_of

Shape = tuple[int, ...]

PIXEL_TYPES = tuple(np.dtype(name) for name in ("?", "u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8"))
_PIXEL_TYPES = frozenset(PIXEL_TYPES)
_POINT_TYPES = frozenset(np.dtype(name) for name in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"))
_NAMES = "bool, (u)int8, (u)int16, int32, int64, float32 or float64"
_NAMES_AND_HALVES = _NAMES.replace("float32", "float16, bfloat16, float32")
_BOOL, _FLOAT16 = np.dtype(np.bool_), np.dtype(np.float16)
_BY_TYPE: dict[type, np.dtype[Any]] = {dtype.type: dtype for dtype in PIXEL_TYPES}
_ONES = {dtype: (np.uint8 if dtype.kind == "b" else dtype.type)(1) for dtype in PIXEL_TYPES}  # maps has bool as bytes
_HALVES = frozenset(FORMATS.values())
_LAST = (-2, -1)
_GREATEST = {dtype: float(np.finfo(dtype).max) for dtype in PIXEL_TYPES if dtype.kind == "f"}
_GREATEST |= {_FLOAT16: GREATEST["float16"], FORMATS["bfloat16"]: GREATEST["bfloat16"]}
_LIMITS = {dtype: (np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in PIXEL_TYPES if dtype.kind in "iu"}


@dataclass(slots=True)
class Maps:
    """Maps as a kernel reads or writes them: flat memory, and where in it the pixels are, in elements.

    Map i begins at ``start + (i // inner_count) * outer_stride + (i % inner_count) * inner_stride``, once for each
    start; each start stands for `count` maps. There is more than one only where the batch axes do not fold into two.
    """

    memory: NDArray[Any]
    starts: Sequence[int]
    count: int
    outer_stride: int
    inner_count: int
    inner_stride: int
    row_stride: int
    column_stride: int
    height: int
    width: int
    batch: Shape


def is_on_gpu(array: Any) -> bool:
    """Whether `array` lives on an NVIDIA GPU; an array of any library that can tell."""
    if type(array) is np.ndarray or isinstance(array, (np.ndarray, list, tuple, int, float)):
        return False
    library = library_of(array)
    if library is not None:
        return library.is_on_gpu(array)
    try:
        if hasattr(array, "__cuda_array_interface__"):
            return True
    except RuntimeError:  # as of PyTorch's CUDA tensors that require grad, which are refused where CUDA arrays are
        return True
    device = getattr(array, "__dlpack_device__", None)
    return device is not None and device()[0] in (2, 13)  # kDLCUDA, kDLCUDAManaged


def pixel_array(name: str, array: Any, halves: bool = False) -> NDArray[Any]:
    """`array` as a plain NumPy array of a type the kernels read, not copied unless it is a nested list.

    `halves`: they read float16 and bfloat16 too, which come as `_halves.FORMATS` has them.
    """
    if type(array) is not np.ndarray:
        array = _numpy_array(name, array)
    if array.dtype not in _PIXEL_TYPES:  # nor are those in foreign byte order
        if halves:
            array = as_format(array)
        if not halves or array.dtype not in _HALVES:
            raise _wrong_type(name, array.dtype, _NAMES_AND_HALVES if halves else _NAMES)
    plain: NDArray[Any] = array
    return plain


def as_format(array: NDArray[Any]) -> NDArray[Any]:
    """float16 and bfloat16 as `_halves.FORMATS` has them, other arrays as they are."""
    if array.dtype == _FLOAT16:
        return array.view(FORMATS["float16"])
    return array.view(FORMATS["bfloat16"]) if is_bfloat16(array.dtype) else array


def point_array(name: str, array: Any) -> NDArray[Any]:
    """`array` as a contiguous, aligned (..., 2) array of points, copied if need be: it is small beside the maps."""
    if type(array) is not np.ndarray:
        array = _numpy_array(name, array)
    if array.dtype not in _POINT_TYPES:  # nor are those in foreign byte order
        array = as_format(array)
        if array.dtype in _HALVES:
            array = widened(array)
    if array.dtype not in _POINT_TYPES:
        raise _wrong_type(name, array.dtype, "an integer type but uint64, float16, bfloat16, float32 or float64")
    if array.ndim < 1 or array.shape[-1] != 2:
        raise ValueError(f"{name}: expected shape (..., 2), the last axis (x, y); got {array.shape}")
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    points: NDArray[Any] = np.ascontiguousarray(array)
    return points if points.flags.aligned else points.copy()


def _numpy_array(name: str, array: Any) -> NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array; got a masked array (its .filled(value) is one)")
    if isinstance(array, np.ndarray):  # a memmap, a matrix
        return array.view(np.ndarray)
    if isinstance(array, (list, tuple)):
        try:
            return np.asarray(array)
        except ValueError as error:
            raise ValueError(f"{name}: expected nested lists of one shape; got {error}") from None
    library = library_of(array)
    if library is not None:
        return library.read(name, array)
    raise TypeError(f"{name}: expected an array of NumPy, PyTorch, JAX or CUDA; got {_kind(array)}")


def _wrong_type(name: str, dtype: np.dtype[Any], expected: str) -> TypeError:
    remedy = ""
    if not dtype.isnative:
        remedy = " in foreign byte order; .astype(dtype.newbyteorder('=')) makes it native"
    elif dtype.kind == "c":
        remedy = "; .real, .imag or abs() is a real map"
    elif dtype.kind in "fu" or format_of(dtype) is not None:
        remedy = "; .astype(np.float32) converts it"
    return TypeError(f"{name}: expected {expected}; got {format_of(dtype) or dtype.name}{remedy}")


def maps(name: str, array: NDArray[Any], axes: Any, for_writing: bool = False) -> Maps:
    """How a kernel reaches the (H, W) maps of `array`, whatever its strides.

    Nothing is copied, unless it is read and its elements are not aligned or not a whole number of elements apart.
    """
    if array.ndim < 2:
        raise ValueError(f"{name}: expected at least 2 axes (..., H, W); got shape {array.shape}")
    if type(axes) is not tuple or axes != _LAST:
        array = np.moveaxis(array, _checked_axes(axes, array.ndim), _LAST)
    shape = array.shape
    height, width = shape[-2:]
    if height == 0 or width == 0:
        raise ValueError(f"{name}: expected a height and a width of at least 1; got H = {height}, W = {width}")
    batch = shape[:-2]
    if array.dtype == _BOOL:
        array = array.view(np.uint8)
    if array.flags.c_contiguous and array.flags.aligned:
        pixels = height * width
        memory = array.ravel()  # here a view, at a third of the time of reshape(-1)
        if not for_writing:
            memory = read_only(memory)
        return Maps(memory, (0,), array.size // pixels, 0, _most, pixels, width, 1, height, width, batch)
    return _strided_maps(name, array, for_writing)


def read_only(view: NDArray[Any]) -> NDArray[Any]:
    """A view of one's own that nobody can write; so all inputs have one type, and need one compilation."""
    view.setflags(False)  # type: ignore[call-arg]  # by name, as the stubs want it, it takes 0.3 µs instead of 0.1
    return view


_most = 1 << 62  # an inner_count that no index reaches


def _checked_axes(axes: Any, dimensions: int) -> tuple[int, int]:
    try:
        row_axis, column_axis = (operator.index(axis) for axis in axes)
    except (TypeError, ValueError):
        raise TypeError(f"axes: expected two integers, (height axis, width axis); got {axes!r}") from None
    if not (-dimensions <= row_axis < dimensions and -dimensions <= column_axis < dimensions):
        raise ValueError(f"axes: expected axes of an array with {dimensions} axes; got {axes!r}")
    if row_axis % dimensions == column_axis % dimensions:
        raise ValueError(f"axes: expected two different axes; got {axes!r}")
    return row_axis, column_axis


def _strided_maps(name: str, array: NDArray[Any], for_writing: bool) -> Maps:
    size = array.itemsize
    used = [stride for n, stride in zip(array.shape, array.strides, strict=True) if n > 1]
    if not array.flags.aligned or any(stride % size for stride in used):
        if for_writing:
            raise ValueError(
                f"{name}: expected aligned elements, whole elements apart; got strides {array.strides} bytes"
            )
        return maps(name, array.copy(), _LAST)
    shape = array.shape
    strides = [stride // size if n > 1 else 1 for n, stride in zip(shape, array.strides, strict=True)]
    lowest = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True) if stride < 0 < n)
    span = 1 + sum((n - 1) * abs(stride) for n, stride in zip(shape, strides, strict=True)) if array.size else 0
    corner = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in strides)]
    memory = np.lib.stride_tricks.as_strided(corner, (span,), (size,), writeable=for_writing)
    folded: list[tuple[int, int]] = []
    for n, stride in zip(shape[:-2], strides[:-2], strict=True):
        if n == 1:
            continue
        if folded and folded[-1][1] == n * stride:
            folded[-1] = (folded[-1][0] * n, stride)
        else:
            folded.append((n, stride))
    while len(folded) < 2:
        folded.insert(0, (1, 0))
    *rest, (outer_count, outer_stride), (inner_count, inner_stride) = folded
    starts = np.array([-lowest], np.int64)
    for n, stride in rest:
        starts = np.add.outer(starts, np.arange(n) * stride).reshape(-1)
    return Maps(
        memory,
        starts.tolist(),
        outer_count * inner_count,
        outer_stride,
        max(inner_count, 1),
        inner_stride,
        strides[-2],
        strides[-1],
        shape[-2],
        shape[-1],
        shape[:-2],
    )


def canvas(shape: Any) -> tuple[int, int]:
    """`shape` as (height, width)."""
    try:
        height, width = shape
        height, width = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        raise TypeError(f"shape: expected two integers, (height, width); got {shape!r}") from None
    if height < 1 or width < 1:
        raise ValueError(f"shape: expected a height and a width of at least 1; got {shape!r}")
    return height, width


def pixel_type(dtype: Any, halves: bool = False) -> np.dtype[Any]:
    """`dtype` as the type of the pixels that an encoder writes; bfloat16 as `_halves.FORMATS` has it.

    It may be one of PyTorch's. `halves`: float16 and bfloat16 are written too.
    """
    if isinstance(dtype, type) and dtype in _BY_TYPE:
        return _BY_TYPE[dtype]
    names = _NAMES_AND_HALVES if halves else _NAMES
    word = str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype
    if halves and isinstance(word, str) and word == "bfloat16":
        return FORMATS["bfloat16"]
    try:
        wanted = np.dtype(word)
    except TypeError:
        raise TypeError(f"dtype: expected {names}; got {dtype!r}") from None
    if halves and is_bfloat16(wanted):
        return FORMATS["bfloat16"]
    if wanted not in _PIXEL_TYPES and not (halves and wanted == _FLOAT16):
        raise _wrong_type("dtype", wanted, names)
    return wanted


def pixel_value(name: str, value: Any, dtype: np.dtype[Any]) -> np.generic:
    """`value`, a number, as a pixel of type `dtype`, which is rounded where `dtype` is a floating-point type.

    Of float16 and bfloat16 it is the bits, as `stored` has them.
    """
    if not isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number; got {value!r}")
    number: Any = value.item() if isinstance(value, np.generic) else value
    greatest = _GREATEST.get(dtype)
    if greatest is not None:
        fits = abs(number) <= greatest or number - number != 0  # those types have NaN and infinities too
    else:
        lowest, highest = _LIMITS.get(dtype, (0, 1))
        fits = lowest <= number <= highest and number == int(number)
    if not fits:
        raise ValueError(f"{name}: expected a value that {format_of(dtype) or dtype.name} can hold; got {value!r}")
    if dtype not in _PIXEL_TYPES:
        return narrowed(number, format_of(dtype) or dtype.name)
    pixel: np.generic = dtype.type(number)
    return pixel


def radius(name: str, size: Any, height: int, width: int) -> int:
    """How many pixels a square of this `size` reaches from its centre to each side, within a canvas."""
    try:
        side = operator.index(size)
    except TypeError:
        raise TypeError(f"{name}: expected an odd integer; got {size!r}") from None
    if side < 1 or side % 2 == 0:
        raise ValueError(f"{name}: expected an odd integer of at least 1; got {size!r}")
    return min(side // 2, max(height, width))


def stored(images: NDArray[Any]) -> NDArray[Any]:
    """`images`, to be written, as the kernels write them: float16 and bfloat16 as uint16."""
    is_half = images.dtype not in _PIXEL_TYPES
    return images.view(np.uint16) if is_half else images


def batch_with_canvas(batch: Shape, height: int, width: int, axes: Any) -> Shape:
    """The shape of an array of maps with these batch axes and `height` and `width` at `axes`."""
    if type(axes) is tuple and axes == _LAST:
        return (*batch, height, width)
    dimensions = len(batch) + 2
    row_axis, column_axis = (axis % dimensions for axis in _checked_axes(axes, dimensions))
    rest = iter(batch)
    return tuple(
        height if axis == row_axis else width if axis == column_axis else next(rest) for axis in range(dimensions)
    )


def result(
    name: str, given: Any, shape: Shape, dtype: Any, *others: NDArray[Any], library: Library | None = None
) -> NDArray[Any]:
    """A new NumPy array, or the memory of `given`, an array of `library`, if it is as a new one would be.

    That is writable, and shares no memory with `others`.
    """
    if given is None:
        return np.empty(shape, dtype)
    if library is not None:
        if library_of(given) is not library or library.is_on_gpu(given):
            raise TypeError(f"{name}: expected {library.noun} on the CPU, as the first argument is; got {_kind(given)}")
        given = library.write(name, given)
    elif type(given) is not np.ndarray and (not isinstance(given, np.ndarray) or isinstance(given, np.ma.MaskedArray)):
        raise TypeError(f"{name}: expected a NumPy array; got {_kind(given)}")
    if given.dtype != dtype:
        if not (is_bfloat16(given.dtype) and dtype == FORMATS["bfloat16"]):
            got = format_of(given.dtype) or given.dtype.str
            raise TypeError(f"{name}: expected dtype {format_of(np.dtype(dtype)) or np.dtype(dtype).str}; got {got}")
        given = given.view(dtype)
    if given.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; got {given.shape}")
    flags = given.flags
    if not flags.writeable:
        raise ValueError(f"{name}: expected a writable array; got a read-only one")
    if not flags.c_contiguous and any(n > 1 and not s for n, s in zip(given.shape, given.strides, strict=True)):
        raise ValueError(f"{name}: expected an element of memory for each pixel; got a broadcast array")
    if others:
        require_apart((name,), given, *others)
    plain: NDArray[Any] = given
    return plain


def _kind(given: Any) -> str:
    where = " on a GPU" if is_on_gpu(given) else ""
    return f"{type(given).__module__}.{type(given).__qualname__}{where}"


def require_apart(names: Sequence[str], *arrays: NDArray[Any]) -> None:
    """Refuse arrays, the first of which have these `names`, that share memory with each other or with the others."""
    owners = []
    for array in arrays:
        base = array.base
        owner = array if base is None else base
        if type(owner) is not np.ndarray or not owner.flags.owndata:
            break
        owners.append(id(owner))
    else:
        # Each has memory of another owner. Found in 1.1 µs for four; np.may_share_memory takes 1.8 for their six pairs
        if len(set(owners)) == len(arrays):
            return
    for i, name in enumerate(names):
        for other in arrays[i + 1 :]:
            if np.may_share_memory(arrays[i], other) and _overlap(arrays[i], other):
                expected = "expected memory of its own; got an array that overlaps with another argument"
                raise ValueError(f"{name}: {expected}")


def decoded_members(out: Any, covariance: bool = False) -> tuple[Any, Any, Any, Any]:
    """The members of `out`, where the decoder gives a covariance or not."""
    if not isinstance(out, tuple) or len(out) != 4:
        raise TypeError(f"out: expected Decoded(xy, score, covariance, status); got {type(out).__qualname__}")
    if (out[2] is not None) != covariance:
        expected = "an array, as covariance=True" if covariance else "None, as no covariance is asked for"
        raise TypeError(f"out.covariance: expected {expected}; got {type(out[2]).__qualname__}")
    return out


def peak_members(out: Any) -> tuple[Any, Any, Any, Any]:
    """The members of `out`, where the decoder gives peaks."""
    if not isinstance(out, tuple) or len(out) != 4:
        raise TypeError(f"out: expected Peaks(xy, score, status, count); got {type(out).__qualname__}")
    return out


def encoded_members(out: Any) -> tuple[Any, Any]:
    """The members of `out`, where the encoder gives a weight."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"out: expected Encoded(maps, weight); got {type(out).__qualname__}")
    return out


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> bool:
    try:
        return np.shares_memory(a, b, max_work=1 << 16)  # type: ignore[arg-type]  # the stubs know 0 and -1 only
    except np.exceptions.TooHardError:
        return True


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """A flat array to write into: the memory of `array` where it is in one piece, else new memory for `write_back`."""
    if array.flags.carray:
        return array.ravel()
    return np.empty(math.prod(array.shape), array.dtype)


def write_back(flat_array: NDArray[Any], array: NDArray[Any]) -> None:
    """Copy what was written into ``flat(array)`` to `array`, where they are not the same memory."""
    if flat_array.base is None:
        array[...] = flat_array.reshape(array.shape)
