"""What `out=` promises: exactly what the function returns, or a refusal before anything is written."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.contract import (
    CANVAS,
    OF_MAPS,
    encoders,
    filled,
    foreign,
    images,
    is_untouched,
    operations,
    path_of,
    said,
    single_decoders,
    valid,
    with_member,
)
from tests.operations import members

pytestmark = pytest.mark.small


def _members(operation):
    """Options, and the name of a member of the result with these options."""
    if operation.room == "decode":
        last = ("count",) if operation.name == "decode.peaks" else ()
        return [({}, name) for name in ("xy", "score", "status", *last)]
    if operation.room == "CoordNet":
        return [({}, "maps")]
    weighted = {"shape": CANVAS, "return_weight": True}
    return [({"shape": CANVAS}, "maps"), (weighted, "maps"), (weighted, "weight")]


each_member = pytest.mark.parametrize(
    ("operation", "options", "name"),
    [
        pytest.param(operation, options, name, id=f"{operation}-{name}{'-of two' * ('return_weight' in options)}")
        for operation in OF_MAPS
        for options, name in _members(operation)
    ],
)
several_members = pytest.mark.parametrize(
    ("operation", "options"),
    [
        pytest.param(operation, _members(operation)[-1][0], id=str(operation))
        for operation in OF_MAPS
        if len(_members(operation)) > 1
    ],
)


def refuse(operation, options, name, spoil, error, *parts, arguments=None):
    """The call with a spoilt `out` is refused, in these words, before anything is written."""
    arguments = valid(operation, 2)[0] if arguments is None else arguments
    out = filled(operation.function(*arguments, **options))
    spoilt = with_member(out, name, spoil(members(out)[name]))
    with pytest.raises(error, match=said(path_of(out, name), "expected", *parts)):
        operation.function(*arguments, **options, out=spoilt)
    assert is_untouched(out)


@each_member
def test_out_of_another_shape(operation, options, name):
    shape = members(operation.function(*valid(operation, 2)[0], **options))[name].shape
    for change in (lambda a: a[:1], lambda a: a[None], lambda a: a.reshape(-1), lambda a: np.concatenate([a, a])):
        wrong = change(np.empty(shape))
        if wrong.shape != shape:
            got = wrong.shape
            refuse(operation, options, name, lambda a, c=change: c(a), ValueError, f"shape {shape}", "got", got)


@each_member
@pytest.mark.parametrize("dtype", ["float16", "int64", "uint32", "complex64", "object", foreign("f4"), foreign("i4")])
def test_out_of_another_dtype(operation, options, name, dtype):
    refuse(
        *(operation, options, name, lambda a: np.zeros(a.shape, dtype)),
        *(TypeError, "dtype", "got", np.dtype(dtype).str),
    )


@each_member
@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda a: a.tolist(), "list"),
        (lambda a: np.ma.array(a), "MaskedArray"),
        (lambda a: SimpleNamespace(shape=a.shape, dtype=a.dtype), "SimpleNamespace"),
        (lambda a: memoryview(a), "memoryview"),
    ],
    ids=["list", "masked", "look-alike", "memoryview"],
)
def test_out_that_is_no_array(operation, options, name, change, got):
    arguments, _ = valid(operation, 2)
    out = filled(operation.function(*arguments, **options))
    spoilt = with_member(out, name, change(members(out)[name]))
    with pytest.raises(TypeError, match=said("out", "expected", "got", got)):
        operation.function(*arguments, **options, out=spoilt)
    assert is_untouched(out)


@each_member
def test_out_that_is_read_only(operation, options, name):
    def read_only(array):
        array.flags.writeable = False
        return array

    refuse(operation, options, name, read_only, ValueError, "writable", "got", "read-only")


@each_member
def test_out_that_is_broadcast(operation, options, name):
    def broadcast(array):
        one = np.lib.stride_tricks.as_strided(array, array.shape, (0,) * array.ndim)
        assert one.flags.writeable
        return one

    refuse(operation, options, name, broadcast, ValueError, "got", "broadcast")


@each_member
def test_out_that_overlaps_with_the_input(operation, options, name):
    (first,), _ = valid(operation, 2)
    result = members(operation.function(first, **options))[name]
    memory = np.zeros(first.nbytes + result.nbytes + 16, np.uint8)
    for shift in (0, 8):
        shared = memory[: first.nbytes].view(first.dtype).reshape(first.shape)
        shared[...] = first
        before = memory.copy()
        overlapping = memory[shift : shift + result.nbytes].view(result.dtype).reshape(result.shape)
        refuse(operation, options, name, lambda a, o=overlapping: o, ValueError, "got", "overlaps", arguments=(shared,))
        np.testing.assert_array_equal(memory, before)


@single_decoders
def test_out_that_interleaves_with_the_input_is_fine(decoder):
    memory = np.zeros((2, 7, 10), np.float32)
    memory[..., :9] = images(2)
    wanted = decoder.function(memory[..., :9].copy())
    out = wanted._replace(xy=memory[..., :2, 9], score=memory[:, 5, 9], status=np.empty(2, np.int32))
    decoder.function(memory[..., :9], out=out)
    np.testing.assert_array_equal(out.xy, wanted.xy)
    np.testing.assert_array_equal(out.score, wanted.score)
    np.testing.assert_array_equal(memory[..., :9], images(2))


@several_members
def test_outputs_that_overlap_with_each_other(operation, options):
    arguments, _ = valid(operation, 2)
    out = filled(operation.function(*arguments, **options))
    arrays = {name: array for name, array in members(out).items() if array is not None}
    memory = np.full(sum(array.nbytes for array in arrays.values()), 0x7F, np.uint8)
    for first in arrays:
        for second in arrays:
            if first == second:
                continue
            views = {
                n: memory[: arrays[n].nbytes].view(arrays[n].dtype).reshape(arrays[n].shape) for n in (first, second)
            }
            with pytest.raises(ValueError, match=said("out.", "expected", "got", "overlaps")):
                operation.function(*arguments, **options, out=out._replace(**views))
            assert (memory == 0x7F).all()
            assert is_untouched(out)


@single_decoders
@pytest.mark.parametrize("change", [list, lambda out: out.xy, lambda out: tuple(out)[:3], lambda out: "out"])
def test_out_that_is_no_such_tuple(decoder, change):
    arguments, options = valid(decoder, 2)
    out = filled(decoder.function(*arguments, **options))
    with pytest.raises(TypeError, match=said("out", "expected", "Decoded", "got", type(change(out)).__qualname__)):
        decoder.function(*arguments, **options, out=change(out))
    assert is_untouched(out)


@single_decoders
def test_out_with_a_covariance_that_nobody_computes(decoder):
    arguments, options = valid(decoder, 2)
    out = filled(decoder.function(*arguments, **options))
    with pytest.raises(TypeError, match=said("out.covariance: expected None", "got ndarray")):
        decoder.function(*arguments, **options, out=out._replace(covariance=np.empty((2, 2, 2), np.float32)))
    assert is_untouched(out)


@encoders
def test_out_with_and_without_weight(encoder):
    (first,), options = valid(encoder, 2)
    both = filled(encoder.function(first, **options, return_weight=True))
    with pytest.raises(TypeError, match=said("out: expected", "got", "ndarray")):
        encoder.function(first, **options, return_weight=True, out=both.maps)
    with pytest.raises(TypeError, match=said("out: expected", "got", "Encoded")):
        encoder.function(first, **options, out=both)
    with pytest.raises(TypeError, match=said("out: expected Encoded(maps, weight)", "got tuple")):
        encoder.function(first, **options, return_weight=True, out=(*both, both.weight))
    assert is_untouched(both)
    assert encoder.function(first, **options, return_weight=True, out=both) is both


@encoders
def test_out_of_what_axes_say(encoder):
    (first,), options = valid(encoder, 2, 3)
    shape = (2, *CANVAS, 3, *encoder.members)
    out = np.empty(shape, np.float32)
    assert encoder.function(first, **options, axes=(1, 2), out=out) is out
    with pytest.raises(ValueError, match=said("out: expected shape", shape, "got")):
        encoder.function(first, **options, axes=(1, 2), out=np.moveaxis(out, (1, 2), (-2, -1)))


@operations
@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (1,), (2, 3)], ids=repr)
def test_out_of_each_batch_shape(operation, batch):
    arguments, options = valid(operation, *batch)
    wanted = operation.function(*arguments, **options)
    out = filled(wanted)
    assert operation.function(*arguments, **options, out=out) is out
    for one, other in zip(members(out).values(), members(wanted).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@operations
def test_out_that_is_not_aligned_is_written_or_refused(operation):
    (first,), options = valid(operation, 2)
    wanted = operation.function(first, **options)
    out = filled(wanted)
    for name, array in members(out).items():
        if array is None or array.itemsize == 1:
            continue
        memory = np.full(array.nbytes + 2, 0x7F, np.uint8)
        crooked = memory[1:-1].view(array.dtype).reshape(array.shape)
        message = None
        try:
            operation.function(first, **options, out=with_member(out, name, crooked))
        except ValueError as error:
            message = str(error)
        if message is not None:
            assert re.search(said(path_of(out, name), "expected aligned", "got"), message)
            assert (memory == 0x7F).all()
        else:
            np.testing.assert_array_equal(crooked, members(wanted)[name])
            assert memory[0] == memory[-1] == 0x7F
