"""`CoordNet`: networks of all shapes against the reference, what the constructed ones decode, gradients, refusals."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcoord as fc
from fastcoord.network import formula, reference
from tests.agreement import assert_close
from tests.cases import PIXEL_TYPES, dense, one_hot
from tests.contract import foreign, said
from tests.operations import OPERATIONS

small = pytest.mark.small
_NAN, _INF = float("nan"), float("inf")


def network(features, channels, height=1, width=1, outputs=2, seed=0):
    """Random kernels whose responses are of the size of the pixels' on maps of some dozens of pixels."""
    random = np.random.default_rng((features, channels, height, width, seed))
    weight = random.normal(size=(features, channels + 2, height, width))
    weight[:, -2:] /= 16
    return fc.CoordNet(
        weight,
        random.normal(size=features),
        random.normal(size=(outputs, features)),
        random.normal(size=outputs),
    )


def parameters(net):
    return net.weight, net.bias, net.readout, net.offset


def with_channels(net, images):
    return images[..., None, :, :] if net.channels == 1 else images


def assert_agrees(net, images, out=None):
    """The result agrees with the reference, by the one rule: against the widest type where it is float64."""
    computed = net(images) if out is None else out
    wide = np.longdouble if computed.dtype == np.float64 else np.float64
    maps = with_channels(net, images)
    with np.errstate(all="ignore"):
        precise = reference.network(maps, *parameters(net), dtype=wide)
        plain = reference.network(maps, *parameters(net), dtype=computed.dtype)
    assert computed.shape == precise.shape
    assert_close("net(images)", computed, precise, plain)


# Against the reference

# features, channels, kernel height and width; image height and width
_SHAPES = [
    *((1, 1, 1, 1, 1, 1), (1, 1, 3, 3, 1, 1), (2, 1, 3, 3, 1, 7), (3, 1, 3, 3, 9, 1), (4, 1, 3, 3, 4, 16)),
    *((5, 2, 3, 3, 5, 17), (7, 3, 1, 1, 6, 33), (8, 1, 3, 3, 13, 20), (4, 1, 1, 5, 3, 40), (3, 2, 5, 1, 9, 15)),
    *((2, 1, 9, 9, 4, 5), (1, 2, 7, 5, 2, 3), (6, 1, 5, 5, 5, 5), (2, 4, 1, 1, 17, 31), (2, 1, 1, 1, 35, 16)),
]
shapes = pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: "{} of {}x{}x{} on {}x{}".format(*shape))


def case_of(shape, dtype, *batch):
    features, channels, kernel_height, kernel_width, height, width = shape
    net = network(features, channels, kernel_height, kernel_width)
    images = dense((*batch, channels, height, width), dtype)
    return net, images[..., 0, :, :] if channels == 1 else images


@small
@shapes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_reference(shape, dtype):
    assert_agrees(*case_of(shape, dtype, 2))


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
@pytest.mark.parametrize("shape", [(3, 2, 3, 3, 9, 20), (2, 2, 1, 1, 9, 20)], ids=["taps", "centre only"])
def test_types_and_layouts_of_several_channels(dtype, shape):
    net, images = case_of(shape, dtype, 2, 3)
    wanted = net(images)
    assert_agrees(net, images, wanted)
    nhwc = np.ascontiguousarray(np.moveaxis(images, 2, -1))
    for same, axes in (
        (np.moveaxis(nhwc, -1, 2), (-2, -1)),
        (nhwc, (2, 3)),
        (np.ascontiguousarray(images[..., ::-1, ::-1])[..., ::-1, ::-1], (-2, -1)),
        (np.ascontiguousarray(images[:, :, ::-1])[:, :, ::-1], (-2, -1)),
        (np.asfortranarray(images), (-2, -1)),
        (np.repeat(images, 2, axis=-1)[..., ::2], (-2, -1)),
        (np.repeat(images, 2, axis=1)[:, ::2], (-2, -1)),
        (np.ascontiguousarray(images.swapaxes(0, 1)).swapaxes(0, 1), (-2, -1)),
    ):
        np.testing.assert_array_equal(net(same, axes=axes), wanted)


@pytest.mark.parametrize(
    "shape", [(4, 1, 3, 3, 300, 610), (2, 1, 1, 1, 600, 700), (3, 1, 5, 3, 2, 9000), (2, 2, 3, 3, 9000, 2)], ids=repr
)
def test_large_maps_and_threads(shape):
    net, images = case_of(shape, "float32", 2)
    result = net(images)
    assert_agrees(net, images, result)
    try:
        numba.set_num_threads(1)
        one = net(images), *net.vjp(np.ones((2, 2)), images)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    many = result, *net.vjp(np.ones((2, 2)), images)
    for a, b in zip(one, many, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("kernel", "pixels"), [(1, 8), (3, 8), (3, 40)])
def test_many_small_maps_are_as_each_alone(kernel, pixels):
    net = network(3, 1, kernel, kernel)
    images = dense((700, pixels, pixels))
    together = net(images)
    alone = np.stack([net(image) for image in images[::100]])
    np.testing.assert_array_equal(together[::100], alone)


# What the constructed networks decode


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_all_positions_of_the_posts_image(dtype):
    height, width = 70, 100
    xy = np.stack(np.divmod(np.arange(height * width), width)[::-1], -1)
    net = fc.CoordNet.onehot_decoder(height, width)
    for some in np.split(xy, 7):
        images = fc.encode.onehot(some, shape=(height, width), dtype=dtype)
        np.testing.assert_array_equal(net(images), some)


_DECODE = next(operation for operation in OPERATIONS if operation.name == "decode.onehot")


@small
@pytest.mark.parametrize("case", [case for case in _DECODE.cases() if case.is_small], ids=str)
def test_onehot_decoder_is_decode_onehot(case):
    (images,) = case.arguments
    axes = case.options.get("axes", (-2, -1))
    maps = np.moveaxis(images, axes, (-2, -1))
    net = fc.CoordNet.onehot_decoder(*maps.shape[-2:])
    result = net(images, axes=axes)
    assert_agrees(net, maps, result)
    xy = fc.decode.onehot(images, axes=axes).xy
    assert result.dtype == xy.dtype
    np.testing.assert_array_equal(np.isfinite(result), np.isfinite(xy))
    np.testing.assert_array_equal(result[~np.isfinite(xy)], xy[~np.isfinite(xy)])


def squares(points, height, width, size, value, dtype):
    images = np.zeros((len(points), height, width), dtype)
    half = size // 2
    for image, (x, y) in zip(images, points, strict=True):
        image[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1] = value
    return images


def inner_points(height, width, size):
    half = size // 2
    return np.array([(x, y) for x in range(half, width - half) for y in range(half, height - half)])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_all_squares_of_not_so_clevr(dtype):
    points = inner_points(64, 64, 9)
    assert len(points) == 3136
    net = fc.CoordNet.box_decoder(64, 64, size=9, value=128)
    np.testing.assert_array_equal(net(squares(points, 64, 64, 9, 128, dtype)), points)


@small
def test_box_decoder_is_the_network_of_the_design():
    net = fc.CoordNet.box_decoder(64, 64)
    np.testing.assert_array_equal(net.weight[:, 0], np.full((2, 9, 9), 64 / 128))
    np.testing.assert_array_equal(net.bias, [-80 * 64] * 2)
    for k in (0, 1):
        delta = np.zeros((2, 9, 9))
        delta[k, 4, 4] = -1
        np.testing.assert_array_equal(net.weight[k, 1:], delta)
    np.testing.assert_array_equal(net.readout, [[-1, 0], [0, -1]])
    np.testing.assert_array_equal(net.offset, [64, 64])


@pytest.mark.parametrize(
    ("height", "width", "size", "value"),
    [(10, 21, 3, 1), (10, 21, 1, 255), (21, 10, 5, 77), (17, 40, 9, 3), (9, 9, 9, 200), (30, 13, 3, 0.5)],
)
def test_squares_of_any_size_and_integer_value_are_exact(height, width, size, value):
    points = inner_points(height, width, size)
    net = fc.CoordNet.box_decoder(height, width, size, value)
    np.testing.assert_array_equal(net(squares(points, height, width, size, value, np.float32)), points)
    if value >= 1:
        np.testing.assert_array_equal(net(squares(points, height, width, size, value, np.uint8)), points)


@small
def test_squares_that_are_clipped_or_darker_give_what_nothing_gives():
    net = fc.CoordNet.box_decoder(11, 12, size=3, value=100)
    clipped = squares([(0, 5), (5, 0), (11, 10), (0, 0)], 11, 12, 3, 100, np.uint8)
    darker = squares([(5, 5)], 11, 12, 3, 60, np.uint8)
    smaller = squares([(5, 5)], 11, 12, 1, 100, np.uint8)
    for images in (clipped, darker, smaller, np.zeros((2, 11, 12), np.uint8)):
        np.testing.assert_array_equal(net(images), [[12, 11]] * len(images))


# Properties


@small
@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from([(1, 1), (3, 3), (5, 1)]))
def test_a_shifted_object_gives_sums_shifted_by_the_coordinates_weights(right, down, kernel):
    """An object away from the border, and features that no background pixel passes."""
    net = network(3, 1, *kernel)
    weight = net.weight.copy()
    weight[:, 0] = 50 * np.abs(weight[:, 0])  # the object passes, nothing else does
    weight[:, 1:] = 0
    weight[:, 1:, kernel[0] // 2, kernel[1] // 2] = [[-1, 0], [0, -1], [-0.25, -0.5]]
    net = dataclasses.replace(net, weight=weight, bias=np.zeros(3), readout=-np.eye(3), offset=np.zeros(3))
    image = np.zeros((16, 16), np.float32)
    image[5, 4] = 50
    shifted = np.roll(image, (down, right), (0, 1))
    taps = kernel[0] * kernel[1]
    change = [right * taps, down * taps, (right / 4 + down / 2) * taps]
    np.testing.assert_allclose(net(shifted) - net(image), change, atol=0.05)


@small
@given(st.permutations(range(5)), st.sampled_from([1, 3]))
def test_a_permuted_batch_has_permuted_results(order, kernel):
    net = network(3, 1, kernel, kernel)
    images = dense((5, 6, 7))
    np.testing.assert_array_equal(net(images)[list(order)], net(images[list(order)]))


@small
@pytest.mark.parametrize("kernel", [1, 3])
def test_permuted_features_and_outputs(kernel):
    net = network(5, 2, kernel, kernel, outputs=3)
    images = dense((2, 2, 6, 18), "float64")
    order = [3, 0, 4, 2, 1]
    permuted = dataclasses.replace(
        net, weight=net.weight[order], bias=net.bias[order], readout=net.readout[::-1, order], offset=net.offset[::-1]
    )
    np.testing.assert_allclose(permuted(images)[:, ::-1], net(images), rtol=1e-13)


@small
@pytest.mark.parametrize("shape", [(7, 9), (1, 20), (20, 1), (2, 2)], ids=repr)
def test_zeros_round_a_kernel_change_nothing(shape):
    """A centre-only network of 1×1, and the same as 3×3 and 5×5."""
    net = network(3, 2, 1, 1)
    images = dense((2, 2, *shape))
    images[0, 0, 0, 0] = _INF
    images[1, 1, -1, -1] = _NAN
    for rim in (1, 2):
        wide = dataclasses.replace(net, weight=np.pad(net.weight, ((0, 0), (0, 0), (rim, rim), (rim, rim))))
        np.testing.assert_array_equal(wide(images), net(images))


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("pixel", [(0, 0), (4, 20), (2, 16), (3, 15)], ids=repr)
def test_nan_and_infinities(dtype, kernel, pixel):
    net = network(3, 1, kernel, kernel)
    net = dataclasses.replace(net, readout=np.abs(net.readout))  # or ∞ − ∞
    images = np.zeros((3, 5, 21), dtype)
    images[(slice(None), *pixel)] = _NAN, _INF, -_INF
    assert_agrees(net, images)
    assert np.isnan(net(images)[0]).all()
    assert not np.isnan(net(images)[1:]).any()


@small
@pytest.mark.parametrize("kernel", [1, 3])
def test_what_lies_beyond_the_map_in_memory_is_not_read_into_it(kernel):
    net = network(2, 1, kernel, kernel)
    inside = dense((3, 5, 18))
    for garbage in (_NAN, _INF):
        around = np.full((3, 9, 26), garbage, np.float32)
        around[:, 2:-2, 3:-5] = inside
        np.testing.assert_array_equal(net(around[:, 2:-2, 3:-5]), net(inside))


@small
def test_a_network_whose_weights_are_all_zero_gives_its_bias():
    net = fc.CoordNet(np.zeros((2, 3, 3, 3)), [1, -1], np.eye(2), [0.5, 0.25])
    np.testing.assert_array_equal(net(np.full((4, 5), _NAN, np.float32)), [20.5, 0.25])


@small
def test_formula_pixel_by_pixel_is_the_network():
    net, image = network(2, 1, 3, 3), dense((4, 6), "float64")
    constant, slope = formula.coordinate_tables(net.weight, net.bias, 4, 6)
    padded = np.pad(image, 1)
    one = np.float64(1)
    states = [(0 * one, 0 * one)] * 2
    for k in range(2):
        halves = []
        for rows in (range(2), range(2, 4)):
            state = 0 * one, 0 * one
            for row in rows:
                in_tables = formula.row_class(row, 4, formula.border_rows(3, 4))
                for column in range(6):
                    response = formula.begin(constant[in_tables, k, column], slope[in_tables, k, column], row * one)
                    for i, j in np.ndindex(3, 3):
                        response = formula.absorb(response, padded[row + i, column + j], net.weight[k, 0, i, j])
                    state = formula.add(state, formula.rectify(response))
            halves.append(state)
        states[k] = formula.merge(*halves)
    outputs = []
    for m in range(2):
        output = net.offset[m], 0 * one
        for k in range(2):
            output = formula.read_out(output, states[k], net.readout[m, k])
        outputs.append(formula.finish(output))
    assert_agrees(net, image, np.array(outputs))


# Gradients


def gradients(net, grad, images, dtype):
    with np.errstate(all="ignore"):
        found = reference.vjp(grad, with_channels(net, images), *parameters(net), dtype=dtype)
    return [*found[:-1], found[-1].reshape(images.shape)]


def assert_gradients_agree(net, images, vjp=None):
    batch = images.shape[: -2 - (net.channels > 1)]
    grad = np.random.default_rng(5).normal(size=(*batch, len(net.offset)))
    computed = (vjp or net.vjp)(grad, images)
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    precise, plain = (gradients(net, grad, images, t) for t in (np.longdouble, dtype))
    for name, array, wanted, approximate in zip(computed._fields, computed, precise, plain, strict=True):
        assert array.dtype == dtype, name
        assert array.shape == wanted.shape, name
        scale = max(1, float(np.abs(wanted).max(initial=0)))  # what cancels in one element is large in another
        assert_close(name, array / dtype(scale), wanted / scale, approximate / dtype(scale))


@small
@shapes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_agree_with_reference(shape, dtype):
    assert_gradients_agree(*case_of(shape, dtype, 2))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64"])
def test_gradients_of_each_type(dtype):
    net, images = case_of((3, 2, 3, 3, 9, 20), dtype, 2)
    if images.dtype.kind in "iu":
        images = (images % 7).astype(dtype)
    assert_gradients_agree(net, images)
    assert_gradients_agree(net, np.asfortranarray(images))


@pytest.mark.parametrize("shape", [(5, 1, 3, 3, 100, 150), (2, 2, 5, 5, 70, 33), (2, 1, 1, 1, 200, 64)], ids=repr)
def test_gradients_of_maps_of_several_pieces(shape):
    assert_gradients_agree(*case_of(shape, "float64", 3))


@small
@pytest.mark.parametrize("shape", [(3, 1, 3, 3, 5, 6), (2, 2, 3, 5, 3, 4), (5, 1, 1, 1, 4, 5)], ids=repr)
def test_gradients_are_finite_differences(shape):
    net, images = case_of(shape, "float64", 2)
    grad = np.random.default_rng(1).normal(size=(2, 2))
    found = net.vjp(grad, images)

    def loss(values):
        changed = dict(zip(("weight", "bias", "readout", "offset"), values, strict=False))
        return (grad * dataclasses.replace(net, **changed)(values[-1])).sum()

    values = [*parameters(net), images]
    random = np.random.default_rng(2)
    for number, gradient in enumerate(found):
        for _ in range(3):
            direction = random.normal(size=gradient.shape)
            step = 1e-7
            forth, back = (
                [v + sign * step * direction if i == number else v for i, v in enumerate(values)] for sign in (1, -1)
            )
            slope = (loss(forth) - loss(back)) / (2 * step)
            np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-6)


@small
def test_gradients_in_other_orders_of_axes():
    net = network(2, 3, 3, 3)
    images = dense((2, 3, 5, 7))
    grad = np.ones((2, 2), np.float32)
    wanted, found = net.vjp(grad, images), net.vjp(grad, np.moveaxis(images, 1, -1), axes=(1, 2))
    np.testing.assert_array_equal(np.moveaxis(found.images, -1, 1), wanted.images)
    np.testing.assert_array_equal(found.weight, wanted.weight)


@small
def test_gradients_of_nothing():
    net = network(2, 1, 3, 3)
    found = net.vjp(np.zeros((0, 2)), np.zeros((0, 5, 6), np.float32))
    assert found.images.shape == (0, 5, 6)
    for gradient, parameter in zip(found, parameters(net), strict=False):
        np.testing.assert_array_equal(gradient, np.zeros(parameter.shape))


@small
def test_at_zero_the_gradient_is_zero():
    net = fc.CoordNet([[[[1]], [[0]], [[0]]]], [0], [[1]], [0])
    image = np.array([[-1, 0, -0.0, 2]], np.float32)
    np.testing.assert_array_equal(net.vjp([1], image).images, [[0, 0, 0, 1]])


# Refusals


@small
@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        ({"weight": np.zeros((2, 3, 2, 3))}, ValueError, ("weight", "odd", "2 × 3")),
        ({"weight": np.zeros((2, 3, 3, 4))}, ValueError, ("weight", "odd", "3 × 4")),
        ({"weight": np.zeros((2, 3, 0, 3))}, ValueError, ("weight", "odd", "0 × 3")),
        ({"weight": np.zeros((2, 2, 3, 3))}, ValueError, ("weight", "one image channel", "(2, 2, 3, 3)")),
        ({"weight": np.zeros((0, 3, 3, 3))}, ValueError, ("weight", "one feature", "(0, 3, 3, 3)")),
        ({"weight": np.zeros((2, 3, 3))}, ValueError, ("weight", "(K, C + 2, kh, kw)", "(2, 3, 3)")),
        ({"weight": np.zeros((2, 3, 3, 3), complex)}, TypeError, ("weight", "real numbers", "complex128")),
        ({"weight": [[1, 2], [3]]}, ValueError, ("weight", "(K, C + 2, kh, kw)", "inhomogeneous")),
        ({"weight": "abc"}, TypeError, ("weight", "real numbers", "str")),
        ({"bias": np.zeros(3)}, ValueError, ("bias", "(2,)", "(3,)")),
        ({"bias": 1}, ValueError, ("bias", "(K,)", "()")),
        ({"bias": [None, 1]}, TypeError, ("bias", "real numbers", "object")),
        ({"readout": np.zeros((2, 3))}, ValueError, ("readout", "(2, 2)", "(2, 3)")),
        ({"readout": np.zeros(2)}, ValueError, ("readout", "(M, K)", "(2,)")),
        ({"offset": np.zeros(3)}, ValueError, ("readout", "(3, 2)", "(2, 2)")),
        ({"offset": []}, ValueError, ("offset", "one output", "(0,)")),
        ({"offset": np.zeros((2, 1))}, ValueError, ("offset", "(M,)", "(2, 1)")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_that_do_not_fit(changes, error, parts):
    right = {"weight": np.zeros((2, 3, 3, 3)), "bias": np.zeros(2), "readout": np.eye(2), "offset": np.zeros(2)}
    with pytest.raises(error, match=said(*parts[:1], "expected", *parts[1:-1], "got", parts[-1])):
        fc.CoordNet(**(right | changes))


@small
@pytest.mark.parametrize("shape", [(3, 5, 6), (2, 4, 5, 6), (2, 5, 6), (5, 6), (3, 2, 5, 6)], ids=repr)
def test_images_of_other_channels(shape):
    net = network(2, 3, 3, 3)
    images = np.zeros(shape, np.float32)
    if shape[:-2][-1:] == (3,):
        assert net(images).shape == (*shape[:-3], 2)
        return
    for call in (net, lambda images: net.vjp(np.zeros(2), images)):
        with pytest.raises(ValueError, match=said("images", "expected", "(..., 3, H, W)", "got", shape)):
            call(images)


@small
@pytest.mark.parametrize(
    ("grad", "error", "parts"),
    [
        (np.zeros(2), ValueError, ("(3, 2)", "(2,)")),
        (np.zeros((3, 3)), ValueError, ("(3, 2)", "(3, 3)")),
        (np.zeros((3, 2), complex), TypeError, ("real numbers", "complex128")),
        ("grad", TypeError, ("real numbers", "str")),
    ],
)
def test_a_gradient_that_does_not_fit(grad, error, parts):
    with pytest.raises(error, match=said("grad", "expected", parts[0], "got", parts[1])):
        network(2, 1).vjp(grad, one_hot((3, 5, 6)))


@small
@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        *(((0, 5), ValueError, "shape"), ((5, -1), ValueError, "shape"), ((5.0, 6), TypeError, "shape")),
        *(((5, 6, 2), ValueError, "size"), ((5, 6, 3.0), TypeError, "size"), ((5, 6, 0), ValueError, "size")),
        *(((5, 6, 3, 0), ValueError, "value"), ((5, 6, 3, -1), ValueError, "value")),
        *(((5, 6, 3, _NAN), ValueError, "value"), ((5, 6, 3, _INF), ValueError, "value")),
        ((5, 6, 3, "grey"), TypeError, "value"),
    ],
)
def test_decoders_that_cannot_be_built(arguments, error, name):
    with pytest.raises(error, match=said(name, "expected", "got")):
        fc.CoordNet.box_decoder(*arguments)


@small
def test_parameters_are_copied_and_cannot_be_changed():
    weight = np.zeros((1, 3, 1, 1))
    net = fc.CoordNet(weight, [1], [[1]], [0])
    weight[:] = 7
    assert not net.weight.any()
    for array in parameters(net):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.bias = np.zeros(1)
    assert net != fc.CoordNet(np.zeros((1, 3, 1, 1)), [1], [[1]], [0])
    assert len({net, net}) == 1
    assert fc.CoordNet(weight.astype(foreign("f8")), [1], [[1]], [0]).weight.max() == 7


@small
def test_a_network_serves_many_shapes():
    net = network(2, 1, 3, 3)
    for height in (*range(1, 13), *range(1, 13)):
        assert_agrees(net, dense((height, 5)))


# Memory

_MEASURE = """
import json, resource
import numpy as np
import fastcoord as fc

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def growth(function):
    "By how many bytes the peak rises above what the process holds when the call begins."
    ballast, before = [], peak()
    while peak() - before < 1 << 18:
        ballast.append(np.ones(1 << 16, np.uint8))
    before = peak()
    function()
    return peak() - before

random = np.random.default_rng(0)
net = fc.CoordNet(random.normal(size=(8, 3, 3, 3)), np.zeros(8), np.ones((2, 8)), np.zeros(2))
maps, large = np.ones((2048, 64, 64), np.float32), np.ones((2048, 4096), np.float32)
answer = {}
for name, images in ("maps", maps), ("large", large):
    features = np.empty((8, *images[:1].shape), np.float32)
    net(images)
    grad = np.ones((*images.shape[:-2], 2))
    net.vjp(grad, images)
    answer[name] = growth(lambda: net(images))
    answer[f"{name}, gradients"] = growth(lambda: net.vjp(grad, images))
    answer[f"{name}, bytes"] = images.nbytes
answer["plain"] = growth(lambda: np.maximum(np.multiply.outer(np.ones(2, np.float32), large), 0).sum())
print(json.dumps(answer))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_no_feature_map_is_stored():
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    # Otherwise glibc keeps freed memory for the next large array, and a peak does not show
    environment |= {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "0"}
    environment["PYTHONPATH"] = str(Path(fc.__file__).parent.parent)
    command = [sys.executable, "-c", _MEASURE]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    growth = json.loads(process.stdout)
    for name in ("maps", "large"):
        pixels = growth[f"{name}, bytes"]  # a feature map would be as large, and there are eight
        assert growth[name] < pixels / 8, growth
        assert growth[f"{name}, gradients"] < 2 * pixels, growth  # one is that of the images
    assert growth["plain"] > 1.5 * growth["large, bytes"], growth  # the same measurement sees feature maps
