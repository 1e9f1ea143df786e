"""`decode.argmax`: what is its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import fastcoord as fc
from fastcoord import _largest
from fastcoord.decode._argmax import cpu
from fastcoord.results import Status
from tests.agreement import assert_agrees
from tests.cases import HALVES, PIXEL_TYPES, dense, half_type
from tests.operations import OPERATIONS

small = pytest.mark.small
ARGMAX = next(operation for operation in OPERATIONS if operation.name == "decode.argmax")
EMPTY, NAN, TIE = int(Status.EMPTY), int(Status.NAN), int(Status.TIE)
_n, _i = np.nan, np.inf

# pixels of one row, options, x, score, status
_ANSWERS = [
    ([1, 3, 2], {}, 1, 3, 0),
    ([1, 3, 3], {}, 1, 3, TIE),
    ([3, 3, 3], {}, 0, 3, TIE),
    ([-0.0, 0.0, -1], {}, 0, 0, TIE),
    ([-1, 0.0, -0.0], {}, 1, 0, TIE),
    ([-_i, -_i, -_i], {}, 0, -_i, TIE),
    ([-_i, _i, 1], {}, 1, _i, 0),
    ([_n, 1, 2], {}, _n, _n, NAN),
    ([_n, 2, 2], {}, _n, _n, NAN),
    ([_n, _n, _n], {"threshold": 0}, _n, _n, NAN),
    ([_n, 1, 2], {"nan": "ignore"}, 2, 2, 0),
    ([2, _n, 2], {"nan": "ignore"}, 0, 2, TIE),
    ([_n, -_i, _n], {"nan": "ignore"}, 1, -_i, 0),
    ([_n, -_i, -_i], {"nan": "ignore"}, 1, -_i, TIE),
    ([_n, _n, _n], {"nan": "ignore"}, _n, _n, EMPTY),
    ([1, 3, 2], {"threshold": 2.5}, 1, 3, 0),
    ([1, 3, 2], {"threshold": 3}, _n, 3, EMPTY),
    ([1, 3, 3], {"threshold": 4}, _n, 3, EMPTY | TIE),
    ([-_i, -_i, -5], {"threshold": -_i}, 2, -5, 0),
    ([-_i, -_i, -_i], {"threshold": -_i}, _n, -_i, EMPTY | TIE),
    ([1, _i, 2], {"threshold": _i}, _n, _i, EMPTY),
]


@small
@pytest.mark.parametrize(("pixels", "options", "x", "score", "status"), _ANSWERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", *HALVES])
def test_answers(pixels, options, x, score, status, dtype):
    dtype = half_type(dtype) if dtype in HALVES else dtype
    row = np.array([pixels], np.float32)
    for image in (row, row.T, row[:, ::-1]):
        decoded = fc.decode.argmax(image.astype(dtype), **options)
        assert_agrees(ARGMAX, decoded, (image.astype(dtype),), options)
    decoded = fc.decode.argmax(row.astype(dtype), **options)
    np.testing.assert_array_equal(decoded.xy, [x, 0 * x])
    np.testing.assert_array_equal(decoded.score, score)
    assert decoded.status == status


_elements = {
    "float32": st.sampled_from([0.0, -0.0, 1.0, 2.0, -_i, _i, _n]) | st.floats(width=32),
    "float16": st.sampled_from([0.0, -0.0, 1.0, 2.0, -_i, _i, _n]) | st.floats(width=16),
    "uint8": st.integers(0, 255) | st.integers(0, 1),
    "int8": st.integers(-128, 127) | st.integers(-128, -127),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.integers(2**53, 2**53 + 2),
}


@small
@pytest.mark.parametrize("dtype", _elements)
@given(data=st.data(), nan=st.sampled_from(["propagate", "ignore"]), threshold=st.sampled_from([None, 0, 1, -_i]))
def test_any_heatmap(dtype, data, nan, threshold):
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=24))
    heatmaps = data.draw(npst.arrays(dtype, shape, elements=_elements[dtype]))
    options = {"nan": nan, "threshold": threshold}
    assert_agrees(ARGMAX, fc.decode.argmax(heatmaps, **options), (heatmaps,), options)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "float16", "float64"])
@pytest.mark.parametrize("shape", [(9, 131), (64, 48)])
def test_every_position_and_every_second_maximum(dtype, shape):
    """The last pixel that is as large, and one alone, at each place of several blocks and of what is left of one."""
    pixels = shape[0] * shape[1]
    maps = np.zeros((pixels, *shape), dtype)
    flat = maps.reshape(pixels, pixels)
    np.fill_diagonal(flat, 3)
    alone = fc.decode.argmax(maps)
    np.testing.assert_array_equal(alone.xy[:, 1] * shape[1] + alone.xy[:, 0], np.arange(pixels))
    assert not alone.status.any()
    for other in (0, 17, pixels // 2, pixels - 1):
        flat[:, other] = 3
        both = fc.decode.argmax(maps)
        np.testing.assert_array_equal(
            both.xy[:, 1] * shape[1] + both.xy[:, 0], np.minimum(np.arange(pixels), other), err_msg=str(other)
        )
        np.testing.assert_array_equal(both.status, np.where(np.arange(pixels) == other, 0, TIE))
        flat[:, other] = 0
        np.fill_diagonal(flat, 3)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16"])
@pytest.mark.parametrize("shape", [(9, 13), (5, 3), (1, 300)])
def test_every_position_of_maps_side_by_side(dtype, shape):
    """As above; and NaN in a map tells nothing of its neighbours."""
    pixels = shape[0] * shape[1]
    maps = np.zeros((*shape, pixels), dtype)
    flat = maps.reshape(pixels, pixels)  # the last axis counts maps
    for padded in (maps, np.concatenate([maps, maps], -1)[..., :pixels], maps[:, ::-1].copy()[:, ::-1]):
        np.fill_diagonal(flat, 3)
        for other in (0, 7, pixels - 1):
            flat[other] = 3
            padded[...] = maps
            decoded = fc.decode.argmax(padded, axes=(0, 1))
            positions = np.minimum(np.arange(pixels), other)
            np.testing.assert_array_equal(decoded.xy[:, 1] * shape[1] + decoded.xy[:, 0], positions, err_msg=str(other))
            np.testing.assert_array_equal(decoded.status, np.where(np.arange(pixels) == other, 0, TIE))
            flat[other] = 0
            np.fill_diagonal(flat, 3)
    if dtype != "uint8":
        flat[3, 1::2] = _n
        decoded = fc.decode.argmax(maps, axes=(0, 1), nan="ignore")
        spoilt = fc.decode.argmax(maps, axes=(0, 1))
        assert (decoded.status[np.arange(pixels) != 3] == 0).all()
        np.testing.assert_array_equal(spoilt.status, np.where(np.arange(pixels) % 2, NAN, 0))


@small
@pytest.mark.parametrize("name", HALVES)
def test_keys_of_16_bit_floats_are_in_their_order(name):
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = bits.view(half_type(name)).astype(np.float32)
    keys, is_nan = _largest.key(bits.view(np.int16), np.full_like(bits.view(np.int16), _largest.INFINITY_BITS[name]))
    np.testing.assert_array_equal(is_nan, np.isnan(numbers))
    assert (keys[is_nan] == _largest.LOWEST_KEY).all()
    order = np.argsort(numbers[~is_nan], kind="stable")
    ordered, ordered_keys = numbers[~is_nan][order], keys[~is_nan][order].astype(int)
    np.testing.assert_array_equal(np.sign(np.diff(ordered_keys)), np.diff(ordered) != 0)
    assert ordered_keys.min() > _largest.LOWEST_KEY


@small
def test_merge_does_not_depend_on_the_order():
    pixels = [(3, _n), (5, 2.0), (9, 7.0), (4, 7.0), (1, -1.0)]
    states = [_largest.pixel(np.float32(value), place, _largest.FAR) for place, value in pixels]
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 3, 1)):
        merged = states[order[0]]
        for i in order[1:]:
            merged = _largest.merge(merged, states[i], _largest.FAR)
        assert merged == (7, 4, 1, 1)


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_pieces_give_the_same_answer(monkeypatch, dtype):
    maps = dense((3, 70, 90), dtype)
    for heatmaps in (maps, maps[:, 1:, 2:], maps[:, :, ::2]):
        whole = fc.decode.argmax(heatmaps)
        for piece in (1000, 100, 37):
            monkeypatch.setattr(cpu, "PIECE", piece)
            for one, other in zip(fc.decode.argmax(heatmaps), whole, strict=True):
                np.testing.assert_array_equal(one, other)
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16"])
def test_pieces_of_maps_side_by_side_give_the_same_answer(monkeypatch, dtype):
    maps = dense((19, 30, 41), dtype)
    beside = np.ascontiguousarray(np.moveaxis(maps, 0, -1))
    expected = fc.decode.argmax(maps)
    for heatmaps in (beside, np.concatenate([beside, beside], 1)[:, :41]):
        for piece in (1 << 18, 1000, 37):
            monkeypatch.setattr(cpu, "PIECE", piece)
            for one, other in zip(fc.decode.argmax(heatmaps, axes=(0, 1)), expected, strict=True):
                np.testing.assert_array_equal(one, other)


@small
@pytest.mark.parametrize("name", HALVES)
def test_extremes_of_bits_tell_the_greatest_key_and_nan(name):
    random = np.random.default_rng(4)
    bits = random.integers(-(1 << 15), 1 << 15, (40000, 3), np.int16)
    bits[::2] |= np.int16(-(1 << 15))  # all negative
    bits[1::4, 1:] &= np.int16(0x7FFF)
    infinity = np.int16(_largest.INFINITY_BITS[name])
    keys, is_nan = _largest.key(bits, infinity)
    start = np.full(len(bits), _largest.negative(infinity))
    extremes = start.view(np.int16), start, start
    for column in bits.T:
        extremes = _largest.absorb_bits(extremes, column)
    greatest = _largest.greatest_key(*extremes[:2])
    spoilt = _largest.is_nan_among(greatest, extremes[2], infinity)
    np.testing.assert_array_equal(spoilt, is_nan.any(1))
    np.testing.assert_array_equal(greatest[~spoilt], keys[~spoilt].max(1))


@small
@given(st.permutations(range(5)))
def test_a_permuted_batch_has_permuted_results(order):
    maps = dense((5, 6, 7))
    decoded, permuted = fc.decode.argmax(maps), fc.decode.argmax(maps[list(order)])
    np.testing.assert_array_equal(decoded.xy[list(order)], permuted.xy)


@small
def test_decoding_undoes_encoding():
    xy = np.array([[3, 1], [0, 0], [12, 8]], np.float32)
    decoded = fc.decode.argmax(fc.encode.box(xy, shape=(9, 13), size=1))
    np.testing.assert_array_equal(decoded.xy, xy)


def test_last_pixel_of_more_than_a_float32_counts():
    maps = np.zeros((4099, 4097), np.uint8)
    maps[-1, -1] = 1
    np.testing.assert_array_equal(fc.decode.argmax(maps).xy, [4096, 4098])


@small
def test_a_threshold_is_compared_in_the_type_of_the_score():
    score = np.float32(0.1)  # above 0.1 in float64
    assert fc.decode.argmax(np.full((1, 1), score), threshold=0.1).status == EMPTY
    assert fc.decode.argmax(np.full((1, 1), np.float64(score)), threshold=0.1).status == 0


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nan": "skip"}, ValueError, 'nan: expected "propagate" or "ignore"; got \'skip\''),
        ({"nan": None}, ValueError, "nan: expected"),
        ({"threshold": "high"}, TypeError, "threshold: expected a number or None; got 'high'"),
        ({"threshold": np.zeros(2)}, TypeError, "threshold: expected a number"),
        ({"threshold": _n}, ValueError, "threshold: expected a number that is not NaN"),
    ],
    ids=repr,
)
def test_options_that_are_wrong(options, error, message):
    with pytest.raises(error, match=message):
        fc.decode.argmax(np.zeros((2, 3)), **options)
