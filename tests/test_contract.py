"""What every operation promises its callers: which arguments it takes, what it says of others, what it leaves alone."""

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest

import fastcoord as fc
from fastcoord.results import Encoded
from tests import cases
from tests.contract import (
    CANVAS,
    decoders,
    encoders,
    foreign,
    images,
    networks,
    operations,
    points,
    said,
    single_decoders,
    valid,
)
from tests.operations import OPERATIONS, members


def types_of(operation):
    """How a message names the types of pixels."""
    if operation.name == "encode.offsets":
        return "float32 or float64"
    if operation.has_points_outside:
        return "float16, bfloat16, float32 or float64"
    halves = "float16, bfloat16, " if operation.is_general else ""
    return f"bool, (u)int8, (u)int16, int32, int64, {halves}float32 or float64"


pytestmark = pytest.mark.small
GRIDDED = [operation for operation in OPERATIONS if operation.room in ("decode", "encode")]


class Tensor:
    """Looks like another library's array on the CPU."""

    def __dlpack_device__(self):
        return 1, 0


# The first argument


_WRONG_TYPES = [
    (lambda a: a.astype(np.complex64), "complex64"),
    (lambda a: a.astype(np.complex128), "complex128"),
    (lambda a: a.astype(object), "object"),
    (lambda a: a.astype(np.longdouble), np.dtype(np.longdouble).name),
    (lambda a: a.astype(np.uint64), "uint64"),
    (lambda a: a.astype(foreign("f4")), "byte order"),
    (lambda a: a.astype(foreign("i2")), "byte order"),
    (lambda a: a.astype("U1"), "str"),
    (lambda a: np.zeros(a.shape, "M8[s]"), "datetime64"),
    (lambda a: np.zeros(a.shape, [("x", "f4")]), "void"),
    (np.ma.masked_invalid, "masked"),
    (lambda a: Tensor(), "Tensor"),
    (lambda a: None, "NoneType"),
    (lambda a: "image", "str"),
    (lambda a: 3.5, "float"),
    (lambda a: {"a": 1}, "dict"),
    (lambda a: object(), "object"),
]


@operations
@pytest.mark.parametrize(("change", "got"), _WRONG_TYPES, ids=lambda value: value if isinstance(value, str) else "")
def test_first_argument_of_a_wrong_type(operation, change, got):
    (first,), options = valid(operation, 2)
    with pytest.raises(TypeError, match=said(operation.argument, "expected", "got", got)):
        operation.function(change(first), **options)


@decoders
def test_maps_of_uint32_are_refused(decoder):
    with pytest.raises(
        TypeError, match=said(decoder.argument, f"expected {types_of(decoder)}", "got uint32", "float32")
    ):
        decoder.function(images(2).astype(np.uint32))


@encoders
def test_points_of_bool_are_refused(encoder):
    with pytest.raises(TypeError, match=said(encoder.argument, "expected", "got bool")):
        encoder.function(points(2) > 0, shape=CANVAS)


@operations
@pytest.mark.parametrize(
    "change",
    [lambda a: a.astype(np.uint64), lambda a: a.astype(foreign("f4")), np.ma.masked_invalid],
    ids=["uint64", "byte order", "masked"],
)
def test_a_refusal_of_a_type_names_the_remedy(operation, change):
    (first,), options = valid(operation, 2)
    with pytest.raises(TypeError, match=r"\.astype\(|\.filled\("):
        operation.function(change(first), **options)


@decoders
@pytest.mark.parametrize("shape", [(), (5,)])
def test_maps_of_too_few_axes(decoder, shape):
    with pytest.raises(ValueError, match=said(decoder.argument, "expected", "(..., H, W)", "got", shape)):
        decoder.function(np.zeros(shape, np.float32))


@decoders
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 0, 5), (3, 5, 0), (0, 0, 5)])
def test_maps_without_pixels(decoder, shape):
    expected = said(decoder.argument, "expected", "at least 1", "got", f"H = {shape[-2]}", f"W = {shape[-1]}")
    with pytest.raises(ValueError, match=expected):
        decoder.function(np.zeros(shape, np.float32))


@decoders
def test_height_and_width_are_those_of_axes(decoder):
    with pytest.raises(ValueError, match=said("H = 0", "W = 5")):
        decoder.function(np.zeros((5, 0, 3), np.float32), axes=(1, 0))


@encoders
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 1), (2, 0), (3, 3)])
def test_points_that_are_no_pairs(encoder, shape):
    with pytest.raises(ValueError, match=said(encoder.argument, "expected", "(..., 2)", "got", shape)):
        encoder.function(np.zeros(shape), shape=CANVAS)


@operations
def test_ragged_lists(operation):
    _, options = valid(operation)
    with pytest.raises(ValueError, match=said(operation.argument, "expected", "got")):
        operation.function([[1, 2], [3]], **options)


@operations
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)], ids=repr)
def test_lists_are_arrays(operation, batch):
    (first,), options = valid(operation, *batch)
    wanted = operation.function(np.asarray(first.tolist()), **options)
    for nested in (first.tolist(), tuple(first.tolist())):
        for one, other in zip(
            members(operation.function(nested, **options)).values(), members(wanted).values(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@operations
def test_subclasses_of_arrays_are_read_as_arrays(operation):
    class Subclass(np.ndarray):
        def __getitem__(self, index):
            raise AssertionError("read by its own rules")

    (first,), options = valid(operation, 2)
    result = operation.function(first.view(Subclass), **options)
    for array in members(result).values():
        assert array is None or type(array) is np.ndarray


@operations
def test_first_argument_is_not_modified(operation):
    for case in operation.cases():
        if case.is_small and case.name.startswith(("type", "layout")):
            arguments = case.arguments
            before = [np.array(a) for a in arguments]
            writable = [a.flags.writeable for a in arguments]
            operation.function(*arguments, **case.options)
            assert [a.flags.writeable for a in arguments] == writable
            for array, copy in zip(arguments, before, strict=True):
                assert array.tobytes() == copy.tobytes(), case.name


# Options


@operations
def test_options_are_keyword_only_and_documented(operation):
    first, *options = inspect.signature(operation.function).parameters.values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}
    arguments, given = valid(operation)
    with pytest.raises(TypeError, match="positional argument"):
        operation.function(*arguments, *given.values(), (-2, -1))
    text = operation.function.__doc__
    for heading in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
        assert re.search(rf"^ *{heading}\n *-{{{len(heading)}}}$", text, re.MULTILINE), heading
    for parameter in (first, *options):
        assert re.search(rf"^ *{parameter.name} : ", text, re.MULTILINE), parameter.name
    assert "Source: " in text
    assert ">>> " in text


@operations
@pytest.mark.parametrize("axes", [3, None, "HW", (1,), (0, 1, 2), (0.0, 1.0), ("0", "1"), (None, 1)], ids=repr)
def test_axes_of_a_wrong_type(operation, axes):
    arguments, options = valid(operation, 2)
    with pytest.raises(TypeError, match=said("axes: expected two integers", "got", repr(axes))):
        operation.function(*arguments, **options, axes=axes)


def of_three_axes(operation):
    """A call that works, whose maps have one batch axis."""
    return valid(operation, *(() if operation.members else (2,)))


@operations
@pytest.mark.parametrize("axes", [(0, 3), (-4, 0), (3, 4), (0, 1 << 40)], ids=repr)
def test_axes_out_of_range(operation, axes):
    arguments, options = of_three_axes(operation)
    with pytest.raises(ValueError, match=said("axes: expected", "3 axes", "got", repr(axes))):
        operation.function(*arguments, **options, axes=axes)


@operations
@pytest.mark.parametrize("axes", [(0, 0), (1, -2), (-1, 2)], ids=repr)
def test_axes_that_are_the_same(operation, axes):
    arguments, options = of_three_axes(operation)
    with pytest.raises(ValueError, match=said("axes: expected two different axes", "got", repr(axes))):
        operation.function(*arguments, **options, axes=axes)


@operations
@pytest.mark.parametrize("axes", [[-2, -1], np.array([-2, -1]), (np.int8(1), np.int64(2)), (-2, 2)], ids=repr)
def test_axes_may_be_any_integers(operation, axes):
    arguments, options = of_three_axes(operation)
    wanted = operation.function(*arguments, **options)
    result = operation.function(*arguments, **options, axes=axes)
    for one, other in zip(members(result).values(), members(wanted).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@encoders
def test_shape_is_needed(encoder):
    with pytest.raises(TypeError, match="shape"):
        encoder.function(points())


@encoders
@pytest.mark.parametrize("shape", [5, None, (5,), (5, 6, 7), (5.0, 6), "56", ("5", "6")], ids=repr)
def test_shape_of_a_wrong_type(encoder, shape):
    with pytest.raises(TypeError, match=said("shape: expected two integers", "got", repr(shape))):
        encoder.function(points(), shape=shape)


@encoders
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 5), (5, -3)], ids=repr)
def test_shape_without_pixels(encoder, shape):
    with pytest.raises(ValueError, match=said("shape: expected", "at least 1", "got", repr(shape))):
        encoder.function(points(), shape=shape)


@encoders
@pytest.mark.parametrize("dtype", ["longdouble", "uint32", "uint64", "complex64", object, "U1", "M8[s]", foreign("f4")])
def test_dtype_that_is_none_of_ours(encoder, dtype):
    with pytest.raises(TypeError, match=said(f"dtype: expected {types_of(encoder)}", "got", "")):
        encoder.function(points(), shape=CANVAS, dtype=dtype)


@encoders
@pytest.mark.parametrize("dtype", ["pixel", 3.5, [1], "f3"], ids=repr)
def test_dtype_that_is_none(encoder, dtype):
    with pytest.raises(TypeError, match=said(f"dtype: expected {types_of(encoder)}", "got", repr(dtype))):
        encoder.function(points(), shape=CANVAS, dtype=dtype)


@pytest.mark.parametrize("operation", GRIDDED, ids=str)
@pytest.mark.parametrize(
    "grid",
    ["corners", 2, np.ones(4), fc.grid, fc.grid.strides, [fc.grid.half]],
    ids=["name", "number", "array", "module", "maker", "list"],  # the name of a function holds its address
)
def test_grid_that_is_none(operation, grid):
    arguments, options = valid(operation, 2)
    with pytest.raises(TypeError, match=said("grid: expected a grid of fastcoord.grid, or None", "got")):
        operation.function(*arguments, **options, grid=grid)


@pytest.mark.parametrize("operation", GRIDDED, ids=str)
@pytest.mark.parametrize("batch", [(), (2,), (0,), (3, 1)], ids=repr)
def test_boxes_for_other_maps(operation, batch):
    arguments, options = valid(operation, *batch)
    with pytest.raises(ValueError, match=said("grid: expected boxes", f"batch shape {batch}", "got (3,)")):
        operation.function(*arguments, **options, grid=fc.grid.crops(np.arange(12).reshape(3, 4)))


# Points beyond the canvas

_BEYOND = [
    *((np.nan, 3), (3, np.nan), (np.inf, 3), (3, -np.inf), (-0.51, 3), (3, -0.51), (8.5, 3), (3, 6.5), (9, 3), (3, 7)),
    *((1e300, 3), (-1e300, 3), (2.0**63, 3), (3, 2.0**64), (-(2.0**63), 3)),
]


@encoders
@pytest.mark.parametrize("point", _BEYOND, ids=repr)
def test_point_beyond_the_canvas(encoder, point):
    batch = points(2, 3)
    batch[1, 2] = point
    out = np.full((2, 3, *encoder.members, *CANVAS), 7, np.float32)
    if encoder.has_points_outside and np.isfinite(point).all():
        assert np.isfinite(encoder.function(batch, shape=CANVAS, out=out)).all()
        return
    where = ("finite",) if encoder.has_points_outside else (7, 9)
    expected = said(encoder.argument, "expected", *where, "return_weight", "got", list(map(float, point)), "(1, 2)")
    with pytest.raises(ValueError, match=expected):
        encoder.function(batch, shape=CANVAS, out=out)
    assert (out == 7).all()
    with pytest.raises(ValueError, match=said(encoder.argument, "expected", "got")):
        encoder.function(point, shape=CANVAS)
    encoded = encoder.function(batch, shape=CANVAS, return_weight=True)
    np.testing.assert_array_equal(encoded.weight, [[1, 1, 1], [1, 1, 0]])
    assert not encoded.maps[1, 2].any()
    assert encoded.maps[0, 0].any()


@encoders
def test_the_first_point_beyond_the_canvas_is_the_one_named(encoder):
    batch = points(5)
    wrong = np.nan if encoder.has_points_outside else -7.0
    batch[[1, 3]] = [(wrong, 0), (0, wrong)]
    with pytest.raises(ValueError, match=said(f"got [{wrong}, 0.0] at index (1,)")):
        encoder.function(batch, shape=CANVAS)


# Results


@single_decoders
@pytest.mark.parametrize("dtype", cases.PIXEL_TYPES)
@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 0), (1, 2)], ids=repr)
def test_types_and_shapes_of_what_is_decoded(decoder, dtype, batch):
    decoded = decoder.function(images(*batch).astype(dtype))
    assert type(decoded) is fc.Decoded
    number = np.float64 if dtype == "float64" else np.float32
    assert [(name, a.shape, a.dtype.type) for name, a in decoded._asdict().items() if a is not None] == [
        ("xy", (*batch, 2), number),
        ("score", batch, number),
        ("status", batch, np.int32),
    ]
    assert decoded.covariance is None
    assert all(type(a) is np.ndarray and a.flags.writeable for a in decoded if a is not None)


@encoders
@pytest.mark.parametrize("dtype", cases.PIXEL_TYPES)
@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 0), (1, 2)], ids=repr)
def test_types_and_shapes_of_what_is_encoded(encoder, dtype, batch):
    if encoder.has_points_outside and np.dtype(dtype).kind != "f":
        with pytest.raises(TypeError, match=said(f"dtype: expected {types_of(encoder)}", "got", dtype)):
            encoder.function(points(*batch), shape=CANVAS, dtype=dtype)
        return
    encoded = encoder.function(points(*batch), shape=CANVAS, dtype=dtype, return_weight=True)
    assert type(encoded) is Encoded
    assert [(a.shape, a.dtype.type) for a in encoded] == [
        ((*batch, *encoder.members, *CANVAS), np.dtype(dtype).type),
        (batch, np.float32),
    ]
    alone = encoder.function(points(*batch), shape=CANVAS, dtype=np.dtype(dtype))
    assert all(type(a) is np.ndarray and a.flags.writeable for a in (*encoded, alone))
    np.testing.assert_array_equal(alone, encoded.maps)


@encoders
def test_maps_are_float32_whatever_the_points(encoder):
    for dtype in cases.POINT_TYPES:
        assert encoder.function(points(2).astype(dtype), shape=CANVAS).dtype == np.float32


@networks
@pytest.mark.parametrize("dtype", cases.PIXEL_TYPES)
@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 0), (1, 2)], ids=repr)
def test_types_and_shapes_of_what_a_network_gives(network, dtype, batch):
    result = network.function(images(*batch).astype(dtype))
    assert result.shape == (*batch, 2)
    assert result.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert type(result) is np.ndarray
    assert result.flags.writeable


@operations
def test_results_are_new_memory_each_time(operation):
    arguments, options = valid(operation, 3)
    first, second = (operation.function(*arguments, **options) for _ in range(2))
    arrays = [a for result in (first, second) for a in members(result).values() if a is not None]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in (*arrays[:i], *arguments))


# Examples in docstrings


def _public_modules():
    for room in (fc.decode, fc.encode):
        for name in room.__all__:
            yield getattr(room, name).__module__
    yield from ("fastcoord.results", "fastcoord.grid", "fastcoord.datasets", fc.CoordNet.__module__)


@pytest.mark.parametrize("module", sorted(set(_public_modules())))
def test_examples(module):
    failures, examples = doctest.testmod(importlib.import_module(module))
    assert examples
    assert not failures
