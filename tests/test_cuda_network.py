"""`CoordNet` on CUDA arrays: what goes beyond the table of operations, in the simulator and as sm_90 machine code."""

import copy
import pickle

import numpy as np
import pytest
from numba import cuda, types
from numba.np.numpy_support import from_dtype

import fastcoord as fc
from fastcoord import _lanes, _launch
from fastcoord.network import Gradients, gradient_cuda
from fastcoord.network import cuda as network
from fastcoord.network.plan_cuda import Sizes
from tests.cases import dense, one_hot
from tests.test_cuda import LAYOUT, Foreign, needs_compiler
from tests.test_network import assert_agrees, assert_gradients_agree, case_of, inner_points, squares
from tests.test_network import network as random_network

in_simulator = pytest.mark.simulator

# features, channels, kernel height and width; image height and width
_SHAPES = [
    *((1, 1, 1, 1, 1, 1), (1, 1, 3, 3, 1, 1), (2, 1, 3, 3, 1, 7), (3, 1, 3, 3, 9, 1), (4, 1, 3, 3, 4, 16)),
    *((5, 2, 3, 3, 5, 17), (7, 3, 1, 1, 6, 33), (8, 1, 3, 3, 13, 20), (4, 1, 1, 5, 3, 40), (3, 2, 5, 1, 9, 15)),
    *((2, 1, 9, 9, 4, 5), (1, 2, 7, 5, 2, 3), (6, 1, 5, 5, 5, 5), (2, 4, 1, 1, 17, 31), (2, 1, 1, 1, 35, 16)),
    # kernels of several parts; features of several groups, some of them filled up; columns that begin at 16 bytes
    *(
        (1, 1, 17, 17, 2, 3),
        (1, 1, 3, 21, 6, 35),
        (11, 1, 3, 3, 6, 7),
        (17, 2, 1, 1, 5, 4),
        (3, 1, 1, 1, 9, 32),
        (4, 1, 1, 1, 2, 4),
    ),
]


@in_simulator
@pytest.mark.parametrize(
    ("dtype", "is_divided"),
    [("float32", False), ("float32", True), ("uint8", False), ("float64", True)],
    ids=["float32", "float32, divided", "uint8", "float64, divided"],
)
@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: "{} of {}x{}x{} on {}x{}".format(*shape))
def test_networks_of_all_shapes(monkeypatch, shape, dtype, is_divided):
    if is_divided:
        monkeypatch.setattr(network, "BAND", 1)
        monkeypatch.setattr(network, "THREADS", _lanes.WARP)
    net, images = case_of(shape, dtype, 2)
    result = net(Foreign(images)).copy_to_host()
    assert_agrees(net, images, result)
    assert net(Foreign(images, images.itemsize)).copy_to_host().shape == result.shape


@in_simulator
@pytest.mark.parametrize("shape", [(3, 2, 3, 3, 9, 20), (2, 3, 1, 1, 9, 20)], ids=["taps", "centre only"])
def test_layouts_of_several_channels(shape):
    net, images = case_of(shape, "float32", 2, 3)
    wanted = net(Foreign(images)).copy_to_host()
    assert_agrees(net, images, wanted)
    nhwc = np.ascontiguousarray(np.moveaxis(images, 2, -1))
    for same, axes in (
        (nhwc, (2, 3)),
        (np.ascontiguousarray(images[..., ::-1, ::-1])[..., ::-1, ::-1], (-2, -1)),
        (np.asfortranarray(images), (-2, -1)),
        (np.repeat(images, 2, axis=1)[:, ::2], (-2, -1)),
        (np.ascontiguousarray(images.swapaxes(0, 1)).swapaxes(0, 1), (-2, -1)),
    ):
        np.testing.assert_array_equal(net(Foreign(same), axes=axes).copy_to_host(), wanted)


@in_simulator
@pytest.mark.parametrize("kernel", [1, 3])
def test_several_starts_of_images(kernel):
    """Batch axes that do not fold into two."""
    images = dense((4, 6, 4, 6, 3, 8))[::2, ::3, ::2, ::3]
    net = random_network(3, 1, kernel, kernel)
    assert_agrees(net, images, net(Foreign(images)).copy_to_host())


@in_simulator
def test_what_lies_beyond_the_map_takes_no_part():
    net = random_network(2, 1, 3, 3)
    inside = dense((3, 5, 18))
    around = np.full((3, 9, 26), np.nan, np.float32)
    around[:, 2:-2, 3:-5] = inside
    np.testing.assert_array_equal(
        net(Foreign(around[:, 2:-2, 3:-5])).copy_to_host(), net(Foreign(inside)).copy_to_host()
    )


@in_simulator
def test_a_network_without_taps_gives_its_bias():
    for kernel in (1, 3):
        weight = np.zeros((2, 3, kernel, kernel))
        weight[0, 1, 0, 0] = 1
        net = fc.CoordNet(weight, [1, -1], np.eye(2), [0.5, 0.25])
        image = np.full((4, 5), np.nan, np.float32)
        np.testing.assert_array_equal(net(Foreign(image)).copy_to_host(), net(image))


@in_simulator
def test_squares_are_exact():
    points = inner_points(16, 20, 9)[::7]
    net = fc.CoordNet.box_decoder(16, 20, size=9, value=128)
    images = squares(points, 16, 20, 9, 128, np.uint8)
    np.testing.assert_array_equal(net(Foreign(images)).copy_to_host(), points)


@in_simulator
@pytest.mark.parametrize("divided", [1 << 13, 1])
def test_onehot_decoder_is_decode_onehot(monkeypatch, divided):
    monkeypatch.setattr(network, "BAND", divided)
    images = Foreign(one_hot((3, 8, 16)))
    net = fc.CoordNet.onehot_decoder(8, 16)
    np.testing.assert_array_equal(net(images).copy_to_host(), fc.decode.onehot(images).xy.copy_to_host())


@in_simulator
@pytest.mark.parametrize("kernel", [1, 3])
def test_results_repeat_bit_for_bit(monkeypatch, kernel):
    monkeypatch.setattr(network, "BAND", 64)
    net, images = random_network(9, 1, kernel, kernel), Foreign(dense((2, 20, 40)))
    first, second = (net(images).copy_to_host() for _ in range(2))
    assert first.tobytes() == second.tobytes()


def kernels_of(monkeypatch, call):
    launched = []
    monkeypatch.setattr(
        network, "launch", lambda kernel, *rest: launched.append(kernel) or _launch.launch(kernel, *rest)
    )
    call()
    return launched


@in_simulator
@pytest.mark.parametrize(
    ("net", "array", "items"),
    [
        ((2, 1), np.zeros((2, 5, 20), np.float32), 4),
        ((2, 1), np.zeros((2, 5, 40), np.float32)[..., :20], 4),
        ((2, 1), np.zeros((2, 5, 32), np.uint8), 16),
        ((2, 1), np.zeros((2, 5, 16), np.bool_), 16),
        ((2, 1), np.zeros((2, 5, 20), np.uint8), 1),
        ((2, 1), np.zeros((2, 5, 21), np.float32), 1),
        ((2, 1), np.zeros((2, 5, 40), np.float32)[..., ::2], 1),
        ((2, 1), np.zeros((2, 5, 41), np.float32)[..., :20], 1),
        ((2, 1), np.zeros((2, 5, 20), np.float64), 1),
        ((2, 2), np.zeros((2, 5, 20), np.float32), 1),
        ((2, 1, 3, 3), np.zeros((2, 5, 20), np.float32), 0),
    ],
)
def test_rows_are_read_in_groups_where_they_begin_so(monkeypatch, net, array, items):
    launched = kernels_of(monkeypatch, lambda: random_network(*net)(Foreign(array)))
    number = np.float64 if array.dtype == np.float64 else np.float32
    assert launched == [network.network_kernel(2, number, items, False)]


@in_simulator
def test_a_second_launch_reads_out_where_a_map_has_several_tasks(monkeypatch):
    images = Foreign(np.zeros((2, 8, 8), np.float32))
    several = [network.network_kernel(3, np.float32, 0, True), network.readout_kernel]
    assert kernels_of(monkeypatch, lambda: random_network(9, 1, 3, 3)(images)) == several
    monkeypatch.setattr(network, "BAND", 1)
    monkeypatch.setattr(network, "THREADS", _lanes.WARP)
    assert kernels_of(monkeypatch, lambda: random_network(3, 1, 3, 3)(images)) == several


@in_simulator
def test_tables_are_copied_once_and_stay_out_of_pickles(monkeypatch):
    net, image = random_network(2, 1, 3, 3), dense((4, 5))
    made = []
    monkeypatch.setattr(network, "plan", lambda *rest, make=network.plan: made.append(rest) or make(*rest))
    first = net(Foreign(image)).copy_to_host()
    for again in (net, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(again(Foreign(image)).copy_to_host(), first)
        np.testing.assert_array_equal(again(image), net(image))
    assert len(made) == 3


@in_simulator
def test_a_numba_array_gives_a_numba_array():
    for batch in ((), (0,), (3,)):
        result = fc.CoordNet.onehot_decoder(4, 5)(cuda.to_device(one_hot((*batch, 4, 5))))
        assert (tuple(result.shape), type(result)) == ((*batch, 2), type(cuda.device_array(1)))


@in_simulator
def test_errors_name_the_argument():
    net, image = random_network(2, 1, 3, 3), Foreign(np.zeros((4, 5), np.float32))

    def refuses(error, message, images=image, **options):
        with pytest.raises(error, match=message):
            net(images, **options)

    refuses(TypeError, "images: expected bool.*; got complex64", Foreign(np.zeros((2, 2), "complex64")))
    refuses(ValueError, "images: expected at least 2 axes", Foreign(np.zeros(2)))
    refuses(ValueError, "axes: expected two different axes", axes=(1, 1))
    refuses(TypeError, "out: expected dtype <f4", out=Foreign(np.zeros(2)))
    refuses(ValueError, r"out: expected shape \(2,\)", out=image)
    refuses(ValueError, "out: expected a contiguous array on a GPU", out=Foreign(np.zeros(4, np.float32)[::2]))
    refuses(TypeError, "out: expected a CUDA array", out=np.zeros(2, np.float32))
    huge = Foreign(np.zeros((1, 1), np.float32))
    huge.__cuda_array_interface__ |= {"shape": (1 << 16, 1 << 15), "strides": (0, 0)}
    refuses(ValueError, "images: expected maps of less than 2³¹ pixels", huge)
    with pytest.raises(ValueError, match=r"images: expected shape \(\.\.\., 3, H, W\); got"):
        random_network(2, 3)(image)


# Gradients


def on_device(net, **options):
    """`net.vjp` by way of the device."""

    def vjp(grad, images):
        found = net.vjp(Foreign(grad), Foreign(images, images.itemsize), **options)
        return Gradients(*(array.copy_to_host() for array in found))

    return vjp


@in_simulator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: "{} of {}x{}x{} on {}x{}".format(*shape))
def test_gradients_agree_with_reference(shape, dtype):
    net, images = case_of(shape, dtype, 2)
    assert_gradients_agree(net, images, on_device(net))


@in_simulator
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_gradients_of_other_types(dtype):
    net, images = case_of((3, 2, 3, 3, 9, 20), dtype, 2)
    images = images if dtype == "bool" else (images % 7).astype(dtype)
    assert_gradients_agree(net, images, on_device(net))
    assert_gradients_agree(net, np.asfortranarray(images), on_device(net))


@in_simulator
def test_gradients_of_several_tasks(monkeypatch):
    monkeypatch.setattr(gradient_cuda, "TASKS", 2)
    net, images = case_of((5, 1, 3, 3, 20, 34), "float32", 2)
    assert_gradients_agree(net, images, on_device(net))


@in_simulator
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_of_several_starts(kernel):
    net = random_network(3, 1, kernel, kernel)
    images = dense((4, 6, 4, 6, 3, 8))[::2, ::3, ::2, ::3]
    assert_gradients_agree(net, images, on_device(net))


@in_simulator
def test_gradients_in_other_orders_of_axes():
    net, images, grad = random_network(2, 3, 3, 3), dense((2, 3, 5, 7)), np.ones((2, 2), np.float32)
    wanted = on_device(net)(grad, images)
    for axes in ((1, 2), (0, 2)):
        moved = np.moveaxis(images, (-2, -1), axes)
        found = on_device(net, axes=axes)(grad, np.ascontiguousarray(moved))
        np.testing.assert_array_equal(found.images, np.moveaxis(wanted.images, (-2, -1), axes))
        np.testing.assert_array_equal(found.weight, wanted.weight)


@in_simulator
def test_gradients_of_nothing():
    net = random_network(2, 1, 3, 3)
    found = on_device(net)(np.zeros((0, 2)), np.zeros((0, 5, 6), np.float32))
    assert found.images.shape == (0, 5, 6)
    for gradient, parameter in zip(found, (net.weight, net.bias, net.readout, net.offset), strict=False):
        np.testing.assert_array_equal(gradient, np.zeros(parameter.shape))


@in_simulator
def test_gradients_repeat_bit_for_bit():
    net, images, grad = random_network(5, 1, 3, 3), dense((2, 9, 34)), dense((2, 2))
    for one, other in zip(on_device(net)(grad, images), on_device(net)(grad, images), strict=True):
        assert one.tobytes() == other.tobytes()


@in_simulator
def test_a_gradient_that_does_not_fit():
    net, images, grad = random_network(2, 1), Foreign(np.zeros((3, 4, 5), np.float32)), np.zeros((3, 2), np.float32)
    for given, error, message in (
        (Foreign(grad[:2]), ValueError, r"grad: expected shape \(3, 2\); got \(2, 2\)"),
        (Foreign(grad.astype(complex)), TypeError, "grad: expected real numbers; got complex128"),
        (Foreign(np.zeros((3, 4), np.float32)[:, ::2]), ValueError, "grad: expected a contiguous array on a GPU"),
        (grad, TypeError, r"grad: expected a CUDA array.*got numpy\.ndarray"),
    ):
        with pytest.raises(error, match=message):
            net.vjp(given, images)
    with pytest.raises(TypeError, match="grad: expected an array on the CPU, as images is; got one on a GPU"):
        net.vjp(Foreign(grad), np.zeros((3, 4, 5), np.float32))


# The machine code

SIZES = types.NamedUniTuple(types.int64, len(Sizes._fields), Sizes)


def arrays(*dtypes):
    return [types.CPointer(from_dtype(np.dtype(dtype))) for dtype in dtypes]


def kernel_types(dtype, working, target):
    pixels, numbers, program, written = arrays(dtype, working, "int32", target)
    unit = from_dtype(np.dtype(working))
    return types.void(pixels, LAYOUT, SIZES, types.int64, numbers, program, written, unit)


def readout_types(working, out):
    sums, numbers, written = arrays(working, working, out)
    return types.void(sums, SIZES, numbers, written, from_dtype(np.dtype(working)))


_COMPILED = (  # name, features at a time, pixels, working, target, items, has_tasks, wide accesses
    ("centre float32", 2, "float32", "float32", "float32", 4, False, {"LDG.E.128": 4}),
    ("centre uint8", 2, "uint8", "float32", "float32", 16, False, {"LDG.E.128": 4}),
    ("centre float32, plain", 2, "float32", "float32", "float32", 1, True, {}),
    ("centre float32, plain, 8 features", 8, "float32", "float32", "float32", 1, True, {"LDG.E.128": 2}),
    ("centre int32", 2, "int32", "float64", "float32", 1, False, {}),
    ("taps float32, 2 features", 2, "float32", "float32", "float32", 0, False, {}),
    ("taps float32, 7 features", 7, "float32", "float32", "float32", 0, True, {}),
    ("taps float32, 8 features", 8, "float32", "float32", "float32", 0, True, {"LDG.E.128": 6}),
    ("taps uint8, 8 features", 8, "uint8", "float32", "float32", 0, True, {"LDG.E.128": 6}),
    ("taps float64, 2 features", 2, "float64", "float64", "float64", 0, True, {"LDG.E.128": 3}),
)
KERNELS = [
    *(
        (name, network.network_kernel(features, np.dtype(working).type, items, several), signature, wide, working)
        for name, features, dtype, working, target, items, several, wide in _COMPILED
        for signature in [kernel_types(dtype, working, target)]
    ),
    ("readout float32", network.readout_kernel, readout_types("float32", "float32"), {}, "float32"),
]


def parameters_types(dtype, working):
    pixels, numbers, integers = arrays(dtype, working, "int32")
    rest = [numbers, integers, integers, *[types.int64] * 2, *[numbers] * 3, numbers.dtype]
    return types.void(pixels, LAYOUT, SIZES, *[types.int64] * 6, *rest)


def images_types(dtype, working):
    pixels, numbers, integers = arrays(dtype, working, "int32")
    layouts = [LAYOUT, LAYOUT, *[types.int64] * 3, SIZES, *[types.int64] * 4]
    return types.void(pixels, *layouts, numbers, integers, numbers, numbers, numbers.dtype)


_FLOATS, _INTEGERS = arrays("float32", "int32")
KERNELS += [
    *(
        (f"gradients of {name} {dtype}", make(features, np.dtype(working).type), signature(dtype, working), {}, working)
        for dtype, working, features in (("float32", "float32", 4), ("uint8", "float32", 4), ("float64", "float64", 2))
        for name, make, signature in (
            ("parameters", gradient_cuda.parameters_kernel, parameters_types),
            ("images", gradient_cuda.images_kernel, images_types),
        )
    ),
    *(
        (kernel.__name__, kernel, types.void(*signature, types.float32), {}, "float32")
        for kernel, signature in (
            (gradient_cuda.of_features, (_FLOATS, SIZES, _FLOATS, types.int64, _FLOATS)),
            (gradient_cuda.gather_parameters, (_FLOATS, _INTEGERS, *[types.int64] * 3, SIZES, _FLOATS, _FLOATS)),
            (gradient_cuda.gather_outputs, (_FLOATS, _FLOATS, *[types.int64] * 2, SIZES, _FLOATS, _FLOATS)),
        )
    ),
]


@needs_compiler
def test_kernels_compile_to_what_they_should(capsys):
    from tests.machine_code import compile_kernel, table  # imports the compiler, which the simulator replaces

    codes = [compile_kernel(kernel, signature, name=name) for name, kernel, signature, _, _ in KERNELS]
    with capsys.disabled():
        print(f"\n\nCoordNet: sm_90 machine code\n{table(codes)}")
    for code, (name, _kernel, _signature, wide, working) in zip(codes, KERNELS, strict=True):
        assert (code.stack, code.spills) == (0, 0), name
        assert bool(code.float64) == (working == "float64"), name
        assert all(code.memory()[operation] >= count for operation, count in wide.items()), name
        assert not code.memory("ATOM", "ATOMG", "ATOMS", "RED", "REDG"), name
        assert not any(opcode.startswith("CALL") for opcode in code.opcodes), name
        assert code.registers <= 128, name  # two blocks on a multiprocessor
