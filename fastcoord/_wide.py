"""CUDA: 16 bytes at a time, from memory and to it, and what becomes of them: floats of 16 bits, and bytes in words."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic, models, register_model

from fastcoord._halves import Half
from fastcoord._lanes import GROUP, overload_on_gpu
from fastcoord._vector import convert

__all__ = [
    "largest_byte",
    "load_eight",
    "load_four",
    "load_sixteen",
    "load_two",
    "load_words",
    "store_four",
]

# Floats of 16 bits

register_model(Half)(lambda manager, half: models.PrimitiveModel(manager, half, ir.IntType(16)))


@intrinsic  # type: ignore[untyped-decorator]
def _widen(typing_context: Any, half: Any, unit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = arguments[0]
        if half.form == "float16":
            single = builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType())
        else:
            wide = builder.zext(bits, ir.IntType(32))
            single = builder.bitcast(builder.shl(wide, ir.Constant(wide.type, 16)), ir.FloatType())
        return single if unit == types.float32 else builder.fpext(single, ir.DoubleType())

    return unit(half, unit), generate


@overload_on_gpu(convert)  # type: ignore[untyped-decorator]
def _convert_half(value: Any, unit: Any) -> Any:
    if not isinstance(value, Half) or unit not in (types.float32, types.float64):
        return None
    return lambda value, unit: _widen(value, unit)


# 16 bytes at a time


def _require_whole_vector(array: Any, index: int, items: int) -> None:
    """Raise what the GPU would answer with a fault, or with a wrong item: the uncompiled twins' check."""
    if array.dtype.itemsize * items != GROUP:
        raise TypeError(f"expected items of {GROUP // items} bytes, got {array.dtype}")
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise TypeError(f"expected a contiguous array of one dimension, got strides {array.strides}")
    if (array.ctypes.data + int(index) * array.dtype.itemsize) % GROUP:
        raise ValueError(f"item {index} is not at a multiple of {GROUP} bytes in memory")


def _check_types(array: Any, items: int) -> None:
    """The same, of Numba's types, when the kernel is compiled: an address says nothing of its alignment."""
    bits = 8 * GROUP // items
    is_flat = isinstance(array, types.CPointer) or (
        isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    )
    if not (is_flat and _bits(array.dtype) == bits):
        raise TypingError(f"expected a contiguous array of one dimension with {bits}-bit items, got {array}")


def _bits(item: Any) -> int:
    return 8 if item == types.boolean else int(item.bitwidth)


def _vector_pointer(context: Any, builder: Any, signature: Any, arguments: Any, vector: Any) -> Any:
    """LLVM's pointer to the vector at `array[index]`, the first two arguments."""
    data = arguments[0]
    if isinstance(signature.args[0], types.Array):
        data = context.make_array(signature.args[0])(context, builder, data).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())


def _loader(items: int) -> Callable[[Any, Any], tuple[Any, ...]]:
    """The function that reads so many items, which make 16 bytes."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load_vector(typing_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            item = signature.args[0].dtype
            bits = _bits(item)
            word = ir.IntType(max(bits, 32))
            # Whole words, taken apart by shifts: a vector of bytes or halves, or a bitcast to one, is split into four
            # loads of 4 bytes (bytes) or two of 8 (halves).
            vector = ir.VectorType(word, 8 * GROUP // word.width)
            loaded = builder.load(_vector_pointer(context, builder, signature, arguments, vector))
            loaded.align = GROUP
            model = context.data_model_manager[item]
            values = []
            for position in range(items):
                number, shift = divmod(position * bits, word.width)
                value = builder.extract_element(loaded, ir.Constant(ir.IntType(32), number))
                value = builder.trunc(builder.lshr(value, ir.Constant(word, shift)), ir.IntType(bits))
                values.append(model.from_data(builder, builder.bitcast(value, model.get_data_type())))
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(array.dtype, items)(array, types.intp), generate

    def load(array: Any, index: int) -> tuple[Any, ...]:
        """16 bytes: `array[index]` and the items after it."""
        _require_whole_vector(array, index, items)
        return tuple(array[index + position] for position in range(items))

    @overload_on_gpu(load)  # type: ignore[untyped-decorator]
    def compiled(array: Any, index: Any) -> Any:
        _check_types(array, items)
        return lambda array, index: load_vector(array, index)

    return load


# load(array, index) is the tuple of `array[index]` and the items after it, 16 bytes in one instruction (LDG.E.128). The
# array is contiguous, of one dimension, with items of the size below; `index` counts items, and `array[index]` stands
# at a multiple of 16 bytes in memory.
load_two = _loader(2)  # 8 bytes: float64, int64
load_four = _loader(4)  # 4 bytes: float32, int32
load_eight = _loader(8)  # 2 bytes: float16, (u)int16, bfloat16 as uint16
load_sixteen = _loader(16)  # 1 byte: bool, (u)int8


def load_words(array: Any, index: int) -> tuple[Any, ...]:
    """As `load_sixteen`, the bytes in four words, signed if they are."""
    _require_whole_vector(array, index, GROUP)
    word = np.int32 if array.dtype == np.int8 else np.uint32
    return tuple(np.asarray(array[index : index + GROUP]).view(word))


@intrinsic  # type: ignore[untyped-decorator]
def _load_words(typing_context: Any, array: Any, index: Any) -> Any:
    word = types.int32 if array.dtype == types.int8 else types.uint32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), 4)
        loaded = builder.load(_vector_pointer(context, builder, signature, arguments, vector))
        loaded.align = GROUP
        words = [builder.extract_element(loaded, ir.Constant(ir.IntType(32), number)) for number in range(4)]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(word, 4)(array, types.intp), generate


@overload_on_gpu(load_words)  # type: ignore[untyped-decorator]
def _compiled_load_words(array: Any, index: Any) -> Any:
    _check_types(array, GROUP)
    return lambda array, index: _load_words(array, index)


def largest_byte(words: tuple[Any, ...]) -> Any:
    """The largest of the bytes in four words, signed as these are, as int32."""
    return np.int32(np.array(words).view(np.int8 if words[0].dtype == np.int32 else np.uint8).max())


@intrinsic  # type: ignore[untyped-decorator]
def _largest_byte(typing_context: Any, words: Any) -> Any:
    compare = "icmp_signed" if words.dtype == types.int32 else "icmp_unsigned"

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = ir.IntType(32)
        # Each byte in turn is moved to the top, where words are compared by it first: nothing needs to be cut out.
        values = [
            builder.shl(word, ir.Constant(bits, shift)) if shift else word
            for word in cgutils.unpack_tuple(builder, arguments[0])
            for shift in (0, 8, 16, 24)
        ]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [builder.select(getattr(builder, compare)(">", a, b), a, b) for a, b in pairs]
        shift_right = builder.ashr if words.dtype == types.int32 else builder.lshr
        return shift_right(values[0], ir.Constant(bits, 24))

    return types.int32(words), generate


@overload_on_gpu(largest_byte)  # type: ignore[untyped-decorator]
def _compiled_largest_byte(words: Any) -> Any:
    return lambda words: _largest_byte(words)


def store_four(array: Any, index: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Store a, b, c, d at `array[index]` and after it, in one instruction (STG.E.128): `load_four`'s counterpart."""
    _require_whole_vector(array, index, 4)
    for position, value in enumerate((a, b, c, d)):
        array[index + position] = value


@intrinsic  # type: ignore[untyped-decorator]
def _store_vector(typing_context: Any, array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), 4)
        value = ir.Constant(vector, ir.Undefined)
        for position, item in enumerate(arguments[2:]):
            value = builder.insert_element(value, item, ir.Constant(ir.IntType(32), position))
        pointer = _vector_pointer(context, builder, signature, arguments, vector)
        builder.store(value, pointer).align = GROUP
        return context.get_dummy_value()

    return types.none(array, types.intp, *[array.dtype] * 4), generate


@overload_on_gpu(store_four)  # type: ignore[untyped-decorator]
def _store_four(array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    _check_types(array, 4)
    return lambda array, index, a, b, c, d: _store_vector(array, index, a, b, c, d)
