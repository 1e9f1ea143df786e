"""Every operation on CUDA arrays: in the simulator, as sm_90 machine code, and on a GPU where there is one."""

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
from numba import config, cuda, types
from numba.np.numpy_support import from_dtype

import fastcoord as fc
from fastcoord import _arrays, _decode_cuda, _draw_cuda, _lanes, _launch
from fastcoord._halves import FORMATS
from fastcoord._placement import NUMBERS
from fastcoord.decode._argmax import cuda as argmax
from fastcoord.decode._center_of_mass import cuda as mass
from fastcoord.decode._center_of_mass import gradient_cuda as slopes
from fastcoord.decode._onehot import cuda as decode
from fastcoord.decode._peaks import cuda as peaks
from fastcoord.decode._simcc import cuda as read_bins
from fastcoord.decode._soft_argmax import cuda as soft
from fastcoord.decode._soft_argmax import gradient_cuda as soft_vjp
from fastcoord.encode._box import cuda as box
from fastcoord.encode._gaussian import cuda as gaussian
from fastcoord.encode._gaussian import gradient_cuda as gaussian_vjp
from fastcoord.encode._offsets import cuda as offsets
from fastcoord.encode._onehot import cuda as onehot
from fastcoord.encode._simcc import cuda as write_bins
from fastcoord.encode._splat import cuda as splat
from fastcoord.encode._splat import gradient_cuda as splat_vjp
from fastcoord.network import cuda as network
from fastcoord.results import Decoded
from tests import cases
from tests.agreement import assert_agrees
from tests.contract import encoders, single_decoders
from tests.operations import OPERATIONS, members

in_simulator = pytest.mark.simulator
needs_compiler = pytest.mark.skipif(bool(config.ENABLE_CUDASIM), reason="the simulator replaces the compiler")

DECODE, ENCODE = (next(o for o in OPERATIONS if o.name == name) for name in ("decode.onehot", "encode.onehot"))
GUARD = 64  # bytes, a multiple of 16

# What the simulator visits in about a second beside the small cases: several rounds of each loop, and bytes in float64.
_LARGER = {
    "decode.onehot": (
        *("type float32, patches", "type float32, dense", "type uint8, patches", "type uint8, negative"),
        *("type float64, sparse", "size 1x4097 uint8, one_hot", "value all 255", "layout crop, wide"),
    ),
    "decode.argmax": (
        *("type float32, patches", "type float32, dense", "type uint8, patches", "type int8, dense"),
        *("type float64, sparse", "type int64, dense", "size 1x4097 uint8, one_hot", "layout crop, wide"),
    ),
    "decode.center_of_mass": (
        *("type float32, patches", "type uint8, patches", "type int8, dense", "type float64, sparse"),
        *("layout crop, wide", "mass of blobs in 64x48 float32", "mass of blobs in 70x100 uint8"),
        "mass of blobs and NaN, ignore, window",
    ),
    "decode.soft_argmax": ("value gaussian (3, 64, 48), covariance=True, window=None", "layout crop, wide"),
    "decode.peaks": (),
    "encode.onehot": ("type float32, 100x70", "type uint8, 100x70", "type float64, 100x70", "size 3x5000 float32"),
    "encode.box": ("type float32, 100x70", "type uint8, 100x70", "type float64, 100x70", "size 3x5000 float32"),
    "encode.gaussian": (),
    "decode.simcc": (),
    "encode.offsets": ("size 64x48",),
    "encode.simcc": (),
    "encode.splat": ("type float32, 100x70", "type uint8, 100x70", "type float64, 100x70", "size 3x5000 float32"),
    "CoordNet.taps": ("type float32, patches",),
    "CoordNet.onehot": ("type float32, dense", "type uint8, patches", "type float64, sparse", "layout crop, wide"),
}
DECODERS = {  # the modules of the decoders
    "decode.onehot": decode,
    "decode.argmax": argmax,
    "decode.center_of_mass": mass,
    "decode.soft_argmax": soft,
}
KERNELS_OF = {  # the modules of the encoders
    "encode.onehot": onehot,
    "encode.box": box,
    "encode.gaussian": gaussian,
    "encode.offsets": offsets,
    "encode.splat": splat,
}

MOST = 1 << 31
FORMS = {  # of `_decode_cuda.share`, and what brings a decoder to choose each for any map
    "warps": {"WARP_GROUPS": MOST, "AGAIN_GROUPS": MOST, "LANES": 0},
    "blocks": {"WARP_GROUPS": -1, "AGAIN_GROUPS": -1, "BLOCK_GROUPS": MOST},
    "parts": {"WARP_GROUPS": -1, "AGAIN_GROUPS": -1, "BLOCK_GROUPS": -1, "LANES": 1 << 13},
}


def choose(monkeypatch, form):
    for name, value in FORMS[form].items():
        monkeypatch.setattr(_decode_cuda, name, value)
    monkeypatch.setattr(_decode_cuda, "PART", 1 << 9)


def has_turn(operation, number, form):
    """Whether case `number` is run in this form.

    Networks, whose kernels are the slowest here, go by turns: what a pixel is does not change their way through a map.
    """
    if str(operation) == "decode.peaks":  # whose kernel has one form, and is slow in the simulator
        return form == "blocks" and number % 4 == 0
    if operation.room == "simcc":  # whose kernels have one form
        return form == "warps"
    if form == "parts":
        return operation.room == "decode" and number % 10 == 0
    is_slow = operation.room == "CoordNet" or str(operation) == "decode.center_of_mass"
    return not is_slow or number % 2 == (form == "blocks")


IN_SIMULATOR = [
    pytest.param(operation, case, form, id=f"{operation}-{case}-{form}")
    for operation in OPERATIONS
    for number, case in enumerate(
        case
        for case in operation.cases()
        if (case.is_small or case.name in _LARGER[operation.name])
        and not case.is_only_cpu
        and not (case.is_half and operation.room == "CoordNet")
    )
    for form in FORMS
    if has_turn(operation, number, form)
]


class Foreign:
    """A copy of an array, with its strides, on the device and amid garbage: as of a library that nobody knows."""

    def __init__(self, array, shift=0):
        """Its lowest byte stands `shift` bytes after a multiple of 16."""
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
        window = np.zeros(0, np.uint8)
        if array.size:
            first = array[tuple(slice(-1, None) if n < 0 else slice(1) for n in array.strides)]
            window = np.lib.stride_tricks.as_strided(first.reshape(-1)[:1].view(np.uint8), (high - low,), (1,))
        before = GUARD + shift
        self.before = np.concatenate([np.full(before, 0xFF, np.uint8), window, np.full(GUARD, 0xFF, np.uint8)])
        self.offset = before + array.__array_interface__["data"][0] - low if array.size else before
        self.like = array
        self.memory = cuda.to_device(self.before)
        address = self.memory.__cuda_array_interface__["data"][0]
        assert address % 16 == 0
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "strides": array.strides,
            "typestr": array.dtype.str,
            "data": (address + self.offset, False),
            "version": 3,
        }
        if array.dtype.name == "bfloat16":
            self.__cuda_array_interface__["descr"] = FORMATS["bfloat16"].descr

    def _view(self, memory):
        return np.ndarray(self.like.shape, self.like.dtype, memory, self.offset, self.like.strides)

    def copy_to_host(self):
        return self._view(self.memory.copy_to_host())

    def assert_only(self, array):
        """`array` stands there, and nothing beside it was written."""
        wanted = self.before.copy()
        self._view(wanted)[...] = array
        np.testing.assert_array_equal(self.memory.copy_to_host(), wanted)


def garbage(shape, dtype):
    return np.full((*shape, np.dtype(dtype).itemsize), 0xFF, np.uint8).view(dtype).reshape(shape)


def every_second(array):
    """Every second element of a larger array of garbage, the last axis backwards."""
    memory = garbage(tuple(2 * n + 1 for n in array.shape), array.dtype)
    return memory[(slice(1, None, 2),) * (memory.ndim - 1) + (slice(-2, None, -2),)]


def on_host(result):
    """The result with NumPy arrays in place of the device's."""
    arrays = {name: array if array is None else array.copy_to_host() for name, array in members(result).items()}
    for name, array in arrays.items():
        if array is not None and array.dtype.names:
            arrays[name] = array.view(cases.half_type(array.dtype.names[0]))
    return type(result)(**arrays) if hasattr(result, "_asdict") else arrays["maps"]


def garbage_like(array):
    return garbage(array.shape, array.dtype)


def _like(like, name):
    return like if name in ("maps", "x", "y") else garbage_like


def given(result, like):
    """Arrays to write into, for what looks like `result`: `out`, and the same by name."""
    arrays = {
        name: None
        if array is None
        else Foreign((like if name in ("maps", "x", "y") else garbage_like)(array), array.itemsize)
        for name, array in members(result).items()
    }
    return (type(result)(**arrays) if hasattr(result, "_asdict") else arrays["maps"]), arrays


def check(operation, case):
    """The case agrees with the reference on the device, also off multiples of 16 bytes and in arrays that are given."""
    arguments = case.arguments
    arrays = [np.asarray(argument) for argument in arguments]
    for name, array in zip(inspect.signature(operation.function).parameters, arrays, strict=False):
        if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
            with pytest.raises(ValueError, match=f"{name}: expected aligned elements, whole elements apart"):
                operation.function(*[Foreign(other, array is other) for other in arrays], **case.options)
            return
    result = on_host(operation.function(*[Foreign(array) for array in arrays], **case.options))
    assert_agrees(operation, result, arguments, case.options)
    sources = [Foreign(array, array.itemsize) for array in arrays]
    for like in (garbage_like, every_second)[: 2 if operation.name.startswith("encode.") else 1]:
        out, guards = given(result, like)
        assert operation.function(*sources, **case.options, out=out) is out
        # Sums in another order, since the groups of 16 bytes begin at other pixels, may differ in the last bit.
        assert_agrees(operation, on_host(out), arguments, case.options)
        for guard in filter(None, guards.values()):
            guard.assert_only(guard.copy_to_host())
    for source, array in zip(sources, arrays, strict=True):
        source.assert_only(array)


# In the simulator


def test_lanes_are_shared_among_maps():
    share = _decode_cuda.share
    assert share(16384 * 17, 768) == ("warps", 256, 1, 32)
    assert share(16384 * 17, 768, again=True) == ("blocks", 192, 1, 192)
    assert share(1, 1 << 26, 9) == ("parts", 256, 9, 9 * 256)
    assert share(1, 1 << 26, 1) == share(1, 1 << 26, 9, may_part=False) == ("blocks", 256, 1, 256)
    assert share(64 * 17, 768) == ("blocks", 192, 1, 192)  # four groups a lane: one step
    assert share(1, 1) == ("blocks", 32, 1, 32)
    assert share(133, 1728) == ("blocks", 224, 1, 224)  # two steps
    assert share(4096, 1 << 20) == ("blocks", 256, 1, 256)
    assert share(1, 1 << 26) == ("parts", 256, 4096, 1 << 20)
    assert share(64, 1 << 18) == ("parts", 256, 64, 1 << 14)
    assert share(1, 8193) == ("parts", 256, 2, 512)
    assert (share(16384, 768).blocks(9), share(1, 1).blocks(9), share(1, 8193).blocks(2)) == (2, 9, 4)
    assert (share(1, 1 << 26).mergers, share(1, 8193).mergers) == (256, 32)


@in_simulator
@pytest.mark.parametrize(("operation", "case", "form"), IN_SIMULATOR)
def test_agrees_with_reference_in_the_simulator(monkeypatch, operation, case, form):
    choose(monkeypatch, form)
    monkeypatch.setattr(network, "THREADS", 2 * _lanes.WARP)  # 256 cost the simulator seconds
    if form != "warps":
        monkeypatch.setattr(_decode_cuda, "THREADS", 2 * _lanes.WARP)
        monkeypatch.setattr(peaks, "THREADS", (1 + (case.name[-1] in "2e")) * _lanes.WARP)
        monkeypatch.setattr(network, "BAND", 64 if case.is_small else 1 << 10)  # several tasks a map
        monkeypatch.setattr(_draw_cuda, "TILE", 32 if case.is_small else 1 << 10)  # several tiles a map
    check(operation, case)


def kernels_of(monkeypatch, module, call):
    launched = []
    monkeypatch.setattr(
        module, "launch", lambda kernel, *rest: launched.append(kernel) or _launch.launch(kernel, *rest)
    )
    call()
    return launched


@in_simulator
@pytest.mark.parametrize(
    ("array", "items"),
    [
        (np.zeros((2, 5, 21), np.float32), 4),
        (np.zeros((2, 5, 21), np.uint8), 16),
        (np.zeros((2, 5, 21), np.bool_), 16),
        (np.zeros((2, 5, 21), np.float64), 1),
        (np.zeros((2, 5, 21), np.int32), 1),
        (np.zeros((2, 5, 42), np.float32)[..., ::2], 1),
        (np.zeros((2, 5, 42), np.float32)[..., :21], 1),
        (np.zeros((1, 7), np.float32), 1),
    ],
)
@single_decoders
def test_decoder_reads_groups_where_it_can(monkeypatch, decoder, array, items):
    module, call = DECODERS[decoder.name], lambda: decoder.function(Foreign(array))
    if decoder.name == "decode.argmax" and array.flags.c_contiguous and array.nbytes >= 32:  # has groups of any type
        items = 16 // array.itemsize
    for form in FORMS if module in (decode, argmax) else ("warps", "blocks"):
        choose(monkeypatch, form)
        kernels = module.kernels[form][False, False] if module is soft else module.kernels[form]
        assert kernels_of(monkeypatch, module, call)[0] == kernels[items]


@in_simulator
@pytest.mark.parametrize(
    ("encoder", "dtype", "items"),
    [
        pytest.param(operation, dtype, items, id=f"{operation}-{dtype}-{items}")
        for operation in OPERATIONS
        for dtype, items in (("bool", 16), ("int16", 8), ("float32", 4), ("int64", 2))
        if operation.room == "encode" and (dtype == "float32" or not operation.has_points_outside)
    ],
)
def test_encoder_writes_groups_where_it_can(monkeypatch, encoder, dtype, items):
    points = Foreign(np.ones((3, 2), np.float32))
    for axes, expected in (((-2, -1), items), ((-1, -2), 1), ((0, 1), 1)):
        call = lambda axes=axes: encoder.function(points, shape=(5, 7), dtype=dtype, axes=axes)  # noqa: E731
        assert kernels_of(monkeypatch, _draw_cuda, call) == [KERNELS_OF[encoder.name].encoders[expected]]


@in_simulator
@pytest.mark.parametrize("maps", [1, 7, 8, 9, 19])
def test_several_blocks_of_maps(maps):
    images = cases.one_hot((maps, 3, 11))
    decoded = fc.decode.onehot(Foreign(images))
    assert_agrees(DECODE, on_host(decoded), (images,), {})
    again = fc.encode.onehot(decoded.xy, shape=(3, 11))
    np.testing.assert_array_equal(again.copy_to_host(), images)


@in_simulator
def test_several_starts_of_images_and_of_points():
    """Batch axes that do not fold into two, in the images and otherwise in the points."""
    images = np.zeros((4, 6, 4, 6, 3, 8), np.float32)[::2, ::3, ::2, ::3]
    points = np.zeros((4, 4, 4, 4, 2), np.float32)[::2, ::2, ::2, ::2]
    points[...] = cases.points_within((2, 2, 2, 2), 3, 8)
    out = Foreign(images)
    assert fc.encode.onehot(Foreign(points), shape=(3, 8), out=out) is out
    out.assert_only(ENCODE.reference(points, shape=(3, 8), working=np.float64)[0])
    assert_agrees(DECODE, on_host(fc.decode.onehot(out)), (out.copy_to_host(),), {})
    assert list(_draw_cuda.stretches(4, 6, 12)) == [(0, 4), (4, 6), (6, 8), (8, 12)]


@in_simulator
@encoders
def test_a_missing_point_without_weight_is_a_zero_image(encoder):
    images = encoder.function(Foreign(np.array([[np.nan, 1], [2, 1], [2, 3]], np.float32)), shape=(3, 4))
    is_drawn = [False, True, encoder.has_points_outside]
    found = images.copy_to_host()
    assert found.any(tuple(range(1, found.ndim))).tolist() == is_drawn


@in_simulator
def test_results_repeat_bit_for_bit():
    images = Foreign(cases.dense((3, 40, 50)))
    first, second = (on_host(fc.decode.onehot(images)) for _ in range(2))
    for name in ("xy", "score", "status"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@in_simulator
def test_a_numba_array_gives_numba_arrays():
    for batch in ((), (0,), (3,)):
        decoded = fc.decode.onehot(cuda.to_device(cases.one_hot((*batch, 4, 5))))
        assert [tuple(a.shape) for a in (decoded.xy, decoded.score, decoded.status)] == [(*batch, 2), batch, batch]
        assert {type(a) for a in (decoded.xy, decoded.score, decoded.status)} == {type(cuda.device_array(1))}
        assert decoded.covariance is None


def _on_device_1(array):
    foreign = Foreign(array)
    foreign.__dlpack_device__ = lambda: (2, 1)
    return foreign


@in_simulator
@encoders
def test_a_type_of_torch_names_the_pixels(encoder):
    torch = pytest.importorskip("torch")
    images = encoder.function(Foreign(np.ones((2, 2), np.float32)), shape=(3, 4), dtype=torch.float64)
    assert images.dtype == np.float64
    with pytest.raises(TypeError, match=r"dtype: expected .*; got '?complex64"):
        encoder.function(Foreign(np.ones((2, 2), np.float32)), shape=(3, 4), dtype=torch.complex64)


@in_simulator
def test_errors_of_decoding_name_the_argument():
    image = Foreign(np.zeros((4, 5), np.float32))

    def refuses(error, message, images=image, axes=(-2, -1), **members):
        out = None
        if members:
            given = {"xy": np.zeros(2, np.float32), "score": np.zeros((), np.float32), "status": np.zeros((), np.int32)}
            foreign = {name: Foreign(array) for name, array in given.items()}
            out = members.get("out") or Decoded(**{"covariance": None, **foreign, **members})
        with pytest.raises(error, match=message):
            fc.decode.onehot(images, axes=axes, out=out)

    refuses(TypeError, "images: expected bool.*; got complex64", Foreign(np.zeros((2, 2), "complex64")))
    refuses(TypeError, "images: .*foreign byte order", Foreign(np.zeros((2, 2), ">f4")))
    refuses(ValueError, "images: expected at least 2 axes", Foreign(np.zeros(2)))
    refuses(ValueError, "images: expected a height and a width", Foreign(np.zeros((2, 0))))
    refuses(ValueError, "axes: expected two different axes", axes=(1, 1))
    huge = Foreign(np.zeros((1, 1), np.float32))
    huge.__cuda_array_interface__ |= {"shape": (1 << 16, 1 << 15), "strides": (0, 0)}
    refuses(ValueError, "images: expected maps of less than 2³¹ pixels", huge)
    masked = Foreign(np.zeros((2, 2)))
    masked.__cuda_array_interface__["mask"] = image
    refuses(TypeError, "images: expected a plain array; got a masked array", masked)
    refuses(TypeError, "out: expected Decoded", out=image)
    refuses(TypeError, r"out\.covariance: expected None", covariance=image)
    refuses(TypeError, r"out\.xy: expected a CUDA array.*got numpy\.ndarray", xy=np.zeros(2, np.float32))
    refuses(TypeError, r"out\.xy: expected dtype <f4", xy=Foreign(np.zeros(2)))
    refuses(ValueError, r"out\.score: expected shape \(\)", score=image)
    refuses(ValueError, r"out\.xy: expected a contiguous array on a GPU", xy=Foreign(np.zeros(4, np.float32)[::2]))
    inside = Foreign(np.zeros((), np.float32))
    inside.__cuda_array_interface__["data"] = image.__cuda_array_interface__["data"]
    refuses(ValueError, r"out\.score: expected memory of its own", score=inside)
    on_device_0, on_device_1 = Foreign(np.zeros((4, 5), np.float32)), Foreign(np.zeros(2, np.float32))
    on_device_0.__dlpack_device__, on_device_1.__dlpack_device__ = lambda: (2, 0), lambda: (2, 1)
    refuses(TypeError, r"out\.xy: expected an array on CUDA device 0.*device 1", on_device_0, xy=on_device_1)


@in_simulator
@encoders
def test_errors_of_encoding_name_the_argument(encoder):
    point = Foreign(np.zeros(2, np.float32))

    def refuses(error, message, xy=point, **options):
        with pytest.raises(error, match=message):
            encoder.function(xy, **{"shape": (3, 4), **options})

    refuses(ValueError, r"xy: expected shape \(\.\.\., 2\)", Foreign(np.zeros(3)))
    refuses(TypeError, "xy: expected an integer type", Foreign(np.zeros(2, bool)))
    refuses(ValueError, "shape: expected a height", shape=(0, 4))
    refuses(ValueError, "shape: expected maps of less than 2³¹ pixels", shape=(1 << 16, 1 << 15))
    refuses(TypeError, "dtype: expected .*float64; got", dtype="complex64")
    refuses(ValueError, rf"out: expected shape {re.escape(str((*encoder.members, 3, 4)))}", out=point)
    refuses(TypeError, "out: expected Encoded", return_weight=True, out=point)
    refuses(TypeError, "out: expected a CUDA array", out=np.zeros((3, 4), np.float32))


# The machine code


FLOATS, DOUBLES, WORDS = (types.CPointer(number) for number in (types.float32, types.float64, types.int32))
LAYOUT = types.NamedUniTuple(types.int64, len(_launch.Layout._fields), _launch.Layout)


def placement_types(out):
    """The types of `_decode_cuda.placement`, for such an array of coordinates."""
    return types.UniTuple(out.dtype, NUMBERS), out, types.boolean


def decoder_types(dtype, working):
    pixels, out = types.CPointer(from_dtype(np.dtype(dtype))), DOUBLES if dtype == "float64" else FLOATS
    counts, working = (types.int64, types.int64), from_dtype(np.dtype(working))
    return types.void(pixels, WORDS, LAYOUT, *counts, working, *placement_types(out), out, out, WORDS)


def argmax_types(dtype, working):
    pixels, number = types.CPointer(from_dtype(np.dtype(dtype))), types.float64 if dtype == "float64" else types.float32
    counts, working, out = (types.int64, types.int64), from_dtype(np.dtype(working)), types.CPointer(number)
    options = types.boolean, number, *placement_types(out)
    return types.void(pixels, LAYOUT, *counts, working, *options, out, out, WORDS)


def mass_types(dtype, working, compared):
    pixels, out = types.CPointer(from_dtype(np.dtype(dtype))), DOUBLES if dtype == "float64" else FLOATS
    number, compared = from_dtype(np.dtype(working)), from_dtype(np.dtype(compared))
    options = number, compared, types.int64, types.int64, number, number, *placement_types(out), types.boolean
    return types.void(pixels, LAYOUT, types.int64, types.int64, *options, out, out, out, WORDS, out, types.boolean)


def slope_types(dtype, working):
    out = DOUBLES if dtype == "float64" else FLOATS
    number, pixels, counts = (
        from_dtype(np.dtype(working)),
        types.CPointer(from_dtype(np.dtype(dtype))),
        [types.int64] * 6,
    )
    limits = number, types.boolean, types.CPointer(number), WORDS, *placement_types(out)
    return types.void(out, LAYOUT, pixels, LAYOUT, *counts, *limits, out, out, types.boolean, out, types.boolean)


def peak_types(dtype, working):
    out = DOUBLES if dtype == "float64" else FLOATS
    pixels, working = types.CPointer(from_dtype(np.dtype(dtype))), from_dtype(np.dtype(working))
    search = working, working, types.int64, types.int64, types.boolean, types.boolean, types.CPointer(types.uint8)
    return types.void(pixels, LAYOUT, types.int64, *search, out.dtype, *placement_types(out), out, out, WORDS, WORDS)


def bins_types(dtype, working):
    out = DOUBLES if dtype == "float64" else FLOATS
    bins, working = types.CPointer(from_dtype(np.dtype(dtype))), from_dtype(np.dtype(working))
    axes = bins, LAYOUT, types.int64, bins, LAYOUT, *[types.int64] * 3
    options = working, types.int64, types.boolean, types.boolean, out.dtype, out.dtype
    return types.void(*axes, *options, *placement_types(out), out, out, WORDS)


def labels_types(dtype):
    number = from_dtype(np.dtype(dtype))
    where = types.CPointer(number), LAYOUT, FLOATS, LAYOUT, FLOATS, *[types.int64] * 6, types.boolean, types.boolean
    placement = types.float32, types.float64, types.UniTuple(types.float32, NUMBERS), FLOATS, types.boolean
    sizes = types.UniTuple(number, 8), types.CPointer(number), types.boolean, types.int64
    return types.void(*where, *placement, *sizes, types.float64, types.boolean, types.int64)


def soft_types(dtype):
    number = types.float64 if dtype == "float64" else types.float32
    counts, out = [types.int64] * 3, types.CPointer(number)
    options = types.UniTuple(number, 2), *placement_types(out)
    return types.void(types.CPointer(from_dtype(np.dtype(dtype))), LAYOUT, *counts, *options, out, out, out, WORDS)


def soft_vjp_types():
    counts, number = [types.int64] * 4, types.float32
    options = types.UniTuple(number, 2), number, *placement_types(FLOATS)
    return types.void(FLOATS, LAYOUT, types.int64, LAYOUT, *counts, *options, FLOATS, FLOATS)


def gaussian_options(number):
    return types.UniTuple(number, 8), types.CPointer(number), types.boolean, types.int64, types.boolean


def pull_types(dtype, points, *numbers):
    """The types of a gradient's kernel, whose last arguments are `numbers`."""
    number, point = from_dtype(np.dtype(dtype)), from_dtype(np.dtype(points))
    out = types.CPointer(point)
    arrays = types.CPointer(number), LAYOUT, out, LAYOUT, out, *[types.int64] * 5
    return types.void(*arrays, point, number, types.UniTuple(point, NUMBERS), out, types.boolean, *numbers)


def gaussian_types(dtype, points, *last):
    number = from_dtype(np.dtype(dtype))
    return encoder_types(dtype, points, *gaussian_options(number), *last)


def encoder_types(dtype, points, *numbers):
    """The types of an encoder's kernel, whose last arguments are `numbers`."""
    pixel, point = from_dtype(np.dtype(dtype)), from_dtype(np.dtype(points))
    position = types.float32 if points == "float32" else types.float64
    counts = [types.int64] * 6
    images, places = types.CPointer(pixel), types.CPointer(point)
    last = types.UniTuple(position, NUMBERS), FLOATS, types.boolean, pixel, *numbers
    return types.void(images, WORDS, LAYOUT, places, LAYOUT, FLOATS, *counts, position, *last)


# name, kernel, types, the wide accesses it must have, whether it may compute in float64
KERNELS = [
    *(
        (f"decode float32, {scope}", kernels[4], decoder_types("float32", "float32"), {"LDG.E.128": 5}, False)
        for scope, kernels in decode.kernels.items()
        if scope != "parts"
    ),
    *(
        (f"decode uint8, {scope}", kernels[16], decoder_types("uint8", "float32"), {"LDG.E.128": 5}, False)
        for scope, kernels in decode.kernels.items()
        if scope != "parts"
    ),
    (
        "decode uint8 > 4096, blocks",
        decode.kernels["blocks"][16],
        decoder_types("uint8", "float64"),
        {"LDG.E.128": 5},
        True,
    ),
    ("decode float32 strided, warps", decode.kernels["warps"][1], decoder_types("float32", "float32"), {}, False),
    ("decode float32 strided, blocks", decode.kernels["blocks"][1], decoder_types("float32", "float32"), {}, False),
    ("decode uint8 strided, blocks", decode.kernels["blocks"][1], decoder_types("uint8", "float32"), {}, False),
    ("decode float64, warps", decode.kernels["warps"][1], decoder_types("float64", "float64"), {}, True),
    ("decode float64, blocks", decode.kernels["blocks"][1], decoder_types("float64", "float64"), {}, True),
    *(
        (f"argmax {title}, {scope}", kernels[items], argmax_types(dtype, working), wide, dtype == "float64")
        for scope, kernels in argmax.kernels.items()
        if scope in ("warps", "blocks")
        for title, dtype, working, items, wide in (
            ("float32", "float32", "float32", 4, {"LDG.E.128": 4}),
            ("uint8", "uint8", "int32", 16, {"LDG.E.128": 4}),
            ("int16", "int16", "int32", 8, {"LDG.E.128": 4}),
            ("float32 strided", "float32", "float32", 1, {}),
            ("int64", "int64", "int64", 2, {"LDG.E.128": 4}),
            ("float64", "float64", "float64", 2, {"LDG.E.128": 4}),
        )
        if scope == "warps" or dtype in ("float32", "uint8")
    ),
    *(
        (f"mass {title}, {scope}", kernels[items], mass_types(dtype, *numbers), wide, numbers[0] == "float64")
        for scope, kernels in mass.kernels.items()
        if scope != "parts"
        for title, dtype, items, numbers, wide in (
            ("float32", "float32", 4, ("float32", "float32"), {"LDG.E.128": 2}),
            ("uint8", "uint8", 16, ("float32", "int32"), {"LDG.E.128": 1}),
            ("float32 strided", "float32", 1, ("float32", "float32"), {}),
            ("int64", "int64", 1, ("float64", "int64"), {}),
            ("float64", "float64", 1, ("float64", "float64"), {}),
        )
    ),
    *(
        (f"peaks {dtype}", peaks.decoder(None), peak_types(dtype, working), {}, dtype == "float64")
        for dtype, working in (
            ("float32", "float32"),
            ("uint8", "int32"),
            ("int64", "int64"),
            ("float64", "float64"),
        )
    ),
    *(
        (f"simcc {dtype}", read_bins.decode, bins_types(dtype, working), {}, dtype == "float64")
        for dtype, working in (("float32", "float32"), ("uint8", "int32"), ("float64", "float64"))
    ),
    # the place of a point in bins is computed in float64
    *((f"labels {dtype}", write_bins.encode, labels_types(dtype), {}, True) for dtype in ("float32", "float64")),
    ("slopes float32", slopes.writers[4], slope_types("float32", "float32"), {"STG.E.128": 1}, False),
    ("slopes uint8", slopes.writers[4], slope_types("uint8", "float32"), {"STG.E.128": 1}, False),
    ("slopes float32 strided", slopes.writers[1], slope_types("float32", "float32"), {}, False),
    ("slopes float64", slopes.writers[1], slope_types("float64", "float64"), {}, True),
    *(
        (f"soft_argmax {title}, {scope}", kernels[way][items], soft_types(dtype), wide, dtype == "float64")
        for scope, kernels in soft.kernels.items()
        for title, dtype, items, way, wide in (
            ("float32", "float32", 4, (False, False), {"LDG.E.128": 8}),
            ("float32, covariance", "float32", 4, (True, False), {"LDG.E.128": 12}),
            ("float32, window", "float32", 4, (True, True), {}),
            ("uint8", "uint8", 16, (False, False), {"LDG.E.128": 5}),
            ("float64", "float64", 1, (False, False), {}),
        )
    ),
    *(
        (f"soft_argmax_vjp, {scope}", soft_vjp.differentiators[blocks, False][4], soft_vjp_types(), wide, False)
        for scope, blocks, wide in (("warps", False, {"LDG.E.128": 8}), ("blocks", True, {"LDG.E.128": 8}))
    ),
    *(
        (
            f"gaussian {title}",
            gaussian.encoders[items],
            gaussian_types(dtype, points),
            wide,
            "float64" in (dtype, points),
        )
        for title, dtype, points, items, wide in (
            ("float32", "float32", "float32", 4, {"STG.E.128": 1}),
            ("float32 strided", "float32", "float32", 1, {}),
            ("float64", "float64", "float64", 1, {}),
        )
    ),
    *(
        (f"gaussian join {dtype}", gaussian.join, gaussian_types(dtype, dtype, types.int64, types.boolean), {}, is_wide)
        for dtype, is_wide in (("float32", False), ("float64", True))
    ),
    *(
        row
        for dtype, is_wide in (("float32", False), ("float64", True))
        for number in (from_dtype(np.dtype(dtype)),)
        for row in (
            (f"splat_vjp {dtype}", splat_vjp.differentiate, pull_types(dtype, dtype), {}, is_wide),
            (
                f"gaussian_vjp {dtype}",
                gaussian_vjp.differentiate,
                pull_types(dtype, dtype, *gaussian_options(number)),
                {},
                is_wide,
            ),
        )
    ),
    *(
        (
            f"offsets {title}",
            offsets.encoders[items],
            encoder_types(dtype, "float32", types.int64, types.float64, types.float64, types.boolean),
            wide,
            True,  # what is in a disc is found out in float64
        )
        for title, dtype, items, wide in (
            ("float32", "float32", 4, {"STG.E.128": 1}),
            ("float32 strided", "float32", 1, {}),
            ("float64", "float64", 2, {"STG.E.128": 1}),
        )
    ),
    *(
        (f"{name} {title}", kernels[items], encoder_types(dtype, points, *numbers), wide, points != "float32")
        for name, kernels, numbers in (
            ("onehot", onehot.encoders, ()),
            ("box", box.encoders, (types.int64,)),
            ("splat", splat.encoders, ()),
        )
        for title, dtype, points, items, wide in (
            ("float32", "float32", "float32", 4, {"STG.E.128": 1}),
            ("uint8", "uint8", "float32", 16, {"STG.E.128": 1}),
            ("float32 strided", "float32", "float32", 1, {}),
            ("float64 of int64", "float64", "int64", 2, {"STG.E.128": 1}),
        )
    ),
]


_COUNTS, _F4 = (types.int64, types.int64), types.float32
_KEPT = types.CPointer(types.uint8)
_WRITTEN = (*placement_types(FLOATS), FLOATS, FLOATS, WORDS)
_PARTS = {
    "decode, parts": (decode.kernels["parts"][4], FLOATS, WORDS, LAYOUT, *_COUNTS, _F4, _KEPT),
    "decode, merge": (decode.merge_parts, _KEPT, LAYOUT, *_COUNTS, _F4, *_WRITTEN),
    "soft_argmax, parts": (
        *(soft.part_decoders[True][4], FLOATS, LAYOUT, *_COUNTS, types.int64, types.UniTuple(_F4, 2), _KEPT),
    ),
    "soft_argmax, merge": (
        *(soft.part_mergers[True], _KEPT, *_COUNTS, types.UniTuple(_F4, 2), *_WRITTEN[:-1], FLOATS, WORDS),
    ),
    "mass, parts": (
        *(mass.kernels["parts"][4], FLOATS, LAYOUT, *_COUNTS, types.int64, _F4, _F4, _F4, types.boolean, _KEPT),
    ),
    "mass, merge": (
        *(mass.merge_parts, _KEPT, *_COUNTS, *_COUNTS, _F4, *_WRITTEN[:3], types.boolean),
        *(FLOATS, FLOATS, FLOATS, WORDS, FLOATS, types.boolean),
    ),
    "argmax, parts": (argmax.kernels["parts"][4], FLOATS, LAYOUT, *_COUNTS, _F4, _KEPT),
    "argmax, merge": (
        *(argmax.kernels["merge"][4], FLOATS, LAYOUT, *_COUNTS, _KEPT, _F4, types.boolean, _F4),
        *_WRITTEN,
    ),
}
KERNELS += [
    (name, kernel, types.void(*arguments), {"LDG.E.128": 4} if "parts" in name else {}, False)
    for name, (kernel, *arguments) in _PARTS.items()
]


@needs_compiler
def test_kernels_compile_to_what_they_should(capsys):
    from tests.machine_code import compile_kernel, table  # imports the compiler, which the simulator replaces

    codes = [compile_kernel(kernel, signature, name=name) for name, kernel, signature, _, _ in KERNELS]
    with capsys.disabled():
        print(f"\n\nsm_90 machine code\n{table(codes)}")
    for code, (name, _kernel, _signature, wide, has_float64) in zip(codes, KERNELS, strict=True):
        assert (code.stack, code.spills) == (0, 0), name
        assert bool(code.float64) == has_float64, name
        assert all(code.memory()[operation] >= count for operation, count in wide.items()), name
        assert not code.memory("ATOM", "ATOMG", "ATOMS", "RED", "REDG"), name
        # One lane divides, by the mass of a map or the bins of a pixel, for which there is a routine; of the first two
        # others hold six sums and their rests
        routines: tuple[str, ...] = ("div_rn",) if name.startswith(("mass", "slopes", "simcc")) else ()
        if name == "simcc float64":  # and for a logarithm
            routines = ("div_rn", "rcp_rn")
        if name.startswith("peaks"):  # integers, of 64 bits: once for a peak, and for a row of a plateau
            routines = ("div_s64", "div_u64", "rem_s64")
        calls = [line for line in code.sass.splitlines() if "CALL" in line]
        assert all(any(routine in line for routine in routines) for line in calls), name
        # 16, 20, 24 or 32 warps on a multiprocessor
        first, *_, last = name.split()
        most = 104 if first == "peaks" else (96 if routines else 64)
        if first == "gaussian_vjp" or name.startswith("gaussian join"):  # both axes, and the sums of a row
            most = 96 if last == "float32" else 128
        assert code.registers <= most, name
        if first == "offsets":  # squares are rounded before they are added, as on the CPU
            assert "DFMA" not in code.sass, name


# Without a GPU, and without numba-cuda


class OnNoDevice:
    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (4, 2),
        "strides": None,
        "typestr": "<f4",
        "data": (1 << 20, False),
        "version": 3,
    }


@needs_compiler
@pytest.mark.skipif(not config.ENABLE_CUDASIM and cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_error_says_so():
    for operation in OPERATIONS:
        options = {"shape": (3, 4)} if operation.name.startswith("encode.") else {}
        arrays = [OnNoDevice()] * (2 if operation.name == "decode.simcc" else 1)
        with pytest.raises(RuntimeError, match="a CUDA array needs an NVIDIA driver and a GPU, and none was found"):
            operation.function(*arrays, **options)


@needs_compiler
def test_without_numba_cuda_the_error_says_what_to_install():
    script = """
import sys
sys.modules["numba_cuda"] = None
import fastcoord as fc
class Array:
    __cuda_array_interface__ = {}
onto = {"shape": (3, 4)}
calls = (fc.decode.soft_argmax, {}), (fc.decode.argmax, {}), (fc.encode.onehot, onto), (fc.encode.box, onto)
for call, options in calls:
    try:
        call(Array(), **options)
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'fastcoord[cuda13]'") == 4


def test_a_tensor_that_requires_grad_is_refused():
    class OnGpu:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    assert _arrays.is_on_gpu(OnGpu())
    torch = pytest.importorskip("torch")
    assert not _arrays.is_on_gpu(torch.zeros(1, requires_grad=True))
    with pytest.raises(TypeError, match=r"images: .*requires grad: take its \.detach\(\)"):
        _launch.described("images", torch.zeros(1, requires_grad=True))
    with pytest.raises(TypeError, match=r"images: .*lazy negative: take its \.resolve_neg\(\)"):
        _launch.described("images", torch.zeros(1, dtype=torch.complex64).conj().imag)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64"])
def test_results_are_tensors_where_the_input_is_one(dtype):
    torch = pytest.importorskip("torch")
    made = _launch._empty(torch.zeros(1), (2, 3), np.dtype(dtype))
    assert (made.shape, made.dtype, made.device.type) == ((2, 3), getattr(torch, dtype), "cpu")
