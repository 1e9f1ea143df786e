"""`decode.soft_argmax` and its gradient: what is their own."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcoord as fc
from fastcoord.decode._soft_argmax import cpu, formula
from fastcoord.decode._soft_argmax.reference import soft_argmax as reference
from fastcoord.decode._soft_argmax.reference import soft_argmax_vjp as gradient
from fastcoord.results import Status
from tests.agreement import assert_agrees, assert_close
from tests.cases import dense, gaussian_logits, halved
from tests.operations import OPERATIONS

small = pytest.mark.small
in_simulator = pytest.mark.simulator
SOFT = next(operation for operation in OPERATIONS if operation.name == "decode.soft_argmax")
EMPTY, NAN = int(Status.EMPTY), int(Status.NAN)
_n, _i = np.nan, np.inf

# pixels of one row, options, x, score, variance of x, status
_ANSWERS = [
    ([0, 0, 0], {}, 1, 1 / 3, 2 / 3, 0),
    ([0, -_i, 0], {}, 1, 0.5, 1, 0),
    ([-_i, -_i, -7], {}, 2, 1, 0, 0),
    ([3e38, -3e38, 3e38], {}, 1, 0.5, 1, 0),
    ([-3e38, -3e38, -3e38], {}, 1, 1 / 3, 2 / 3, 0),
    ([0, 0, np.log(2)], {}, 1.25, 0.5, 0.6875, 0),
    ([0, 0, np.log(4)], {"temperature": 2}, 1.25, 0.5, 0.6875, 0),
    ([1, 0, 1, 1], {"window": 0}, 0, 1, 0, 0),
    ([1, 0, 2, 2], {"window": 1}, None, None, None, 0),
    ([5, -_i, 5, 5], {"window": 1}, 0, 1, 0, 0),
    ([-_i, -_i, -_i], {}, _n, _n, _n, EMPTY),
    ([-_i, -_i, -_i], {"window": 1}, _n, _n, _n, EMPTY),
    ([_n, 1, 2], {}, _n, _n, _n, NAN),
    ([_n, 0, 0, 0, 2], {"window": 0}, _n, _n, _n, NAN),
    ([_n, -_i, -_i], {}, _n, _n, _n, NAN),
    ([_i, 1, 2], {}, _n, _n, _n, NAN),
    ([_i, -_i, -_i], {"window": 1}, _n, _n, _n, NAN),
]


@small
@pytest.mark.parametrize(("pixels", "options", "x", "score", "variance", "status"), _ANSWERS, ids=repr)
def test_answers(pixels, options, x, score, variance, status):
    row = np.array([pixels], np.float32)
    options = {**options, "covariance": True}
    for heatmap in (row, row.T, row[:, ::-1]):
        assert_agrees(SOFT, fc.decode.soft_argmax(heatmap, **options), (heatmap,), options)
    decoded = fc.decode.soft_argmax(row, **options)
    assert decoded.status == status
    if x is not None:
        np.testing.assert_allclose(decoded.xy, [x, 0 * x], rtol=5e-7)
        np.testing.assert_allclose(decoded.score, score, rtol=5e-7)
        np.testing.assert_allclose(decoded.covariance, [[variance, 0 * x], [0 * x, 0 * x]], rtol=1e-6, atol=1e-7)


@small
def test_one_logit_is_exact():
    heatmaps = np.full((2, 5, 21), -_i, np.float32)
    heatmaps[:, 3, 20] = 2, -1e30
    for covariance in (False, True):
        decoded = fc.decode.soft_argmax(heatmaps, covariance=covariance)
        np.testing.assert_array_equal(decoded.xy, [[20, 3]] * 2)
        np.testing.assert_array_equal(decoded.score, [1, 1])
    assert not decoded.covariance.any()


@small
@given(st.integers(0, 6), st.integers(0, 9), st.sampled_from([0.25, 1.0, 3.0]))
def test_a_shifted_heatmap_has_a_shifted_mean(down, right, temperature):
    block = dense((5, 8))
    at_corner, shifted = (np.full((11, 17), -_i, np.float32) for _ in range(2))
    at_corner[:5, :8] = block
    shifted[down : down + 5, right : right + 8] = block
    options = {"temperature": temperature, "covariance": True}
    one, other = fc.decode.soft_argmax(at_corner, **options), fc.decode.soft_argmax(shifted, **options)
    np.testing.assert_allclose(other.xy, one.xy + [right, down], rtol=1e-6)
    np.testing.assert_allclose(other.covariance, one.covariance, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other.score, one.score, rtol=1e-6)


@small
@given(st.permutations(range(5)))
def test_a_permuted_batch_has_permuted_results(order):
    maps = dense((5, 6, 7))
    decoded, permuted = fc.decode.soft_argmax(maps), fc.decode.soft_argmax(maps[list(order)])
    np.testing.assert_array_equal(decoded.xy[list(order)], permuted.xy)


def test_a_gaussian_is_found():
    heatmaps = gaussian_logits((20, 64, 48), sigma=1.5)
    decoded = fc.decode.soft_argmax(heatmaps, covariance=True, window=9)
    inside = (np.abs(decoded.xy - [23.5, 31.5]) < [13, 21]).all(-1)
    assert inside.sum() > 5
    covariance = decoded.covariance[inside]
    np.testing.assert_allclose(covariance, np.broadcast_to(1.5**2 * np.eye(2), covariance.shape), atol=0.02)


def test_pieces_give_the_same_answer(monkeypatch):
    heatmaps = gaussian_logits((3, 70, 90))
    for maps in (heatmaps, heatmaps[:, :, ::2]):
        for options in ({"covariance": True}, {"window": 5}):
            whole = fc.decode.soft_argmax(maps, **options)
            for piece in (1000, 37):
                monkeypatch.setattr(cpu, "PIECE", piece)
                decoded = fc.decode.soft_argmax(maps, **options)
                np.testing.assert_allclose(decoded.xy, whole.xy, rtol=1e-6)
                np.testing.assert_allclose(decoded.score, whole.score, rtol=1e-6)
                if whole.covariance is not None:
                    np.testing.assert_allclose(decoded.covariance, whole.covariance, rtol=1e-5, atol=1e-5)
            monkeypatch.undo()


@small
def test_merge_has_what_both_have():
    values = np.array([0.5, -1.0, 3.0, -_i, 2.0], np.float32)
    given_rate = tuple(np.float32(number) for number in (1.4426950408889634, -88))

    def state(k):
        mass = np.float32(values[k] > -_i)
        nil = np.float32(0)
        return values[k], mass, np.float32(k), np.float32(7), nil, nil, nil, nil, nil

    p = np.exp(values - 3)
    p /= p.sum()
    mean = (p * np.arange(5)).sum()
    for order in ((0, 1, 2, 3, 4), (3, 2, 0, 4, 1)):
        merged = state(order[0])
        for k in order[1:]:
            merged = formula.merge(merged, state(k), given_rate)
        x, y, score, xx, xy, yy, flags = formula.finish(merged)
        np.testing.assert_allclose([x, y, score], [mean, 7, p.max()], rtol=1e-6)
        np.testing.assert_allclose([xx, xy, yy], [(p * (np.arange(5) - mean) ** 2).sum(), 0, 0], atol=1e-5)
        assert flags == 0


def test_last_pixel_of_more_than_a_float32_counts():
    maps = np.zeros((4099, 4097), np.uint8)
    maps[-1, -1] = 255
    np.testing.assert_array_equal(fc.decode.soft_argmax(maps).xy, [4096, 4098])


# The gradient


def _grads(batch):
    return np.random.default_rng(5).normal(size=(*batch, 2))


def check_gradient(heatmaps, axes=(-2, -1), scale=(1, 1), **options):
    maps = np.moveaxis(heatmaps, axes, (-2, -1))
    grad = _grads(maps.shape[:-2])
    found = np.moveaxis(fc.decode.soft_argmax_vjp(grad, heatmaps, axes=axes, **options), axes, (-2, -1))
    options.pop("grid", None)
    working = found.dtype.type
    precise = np.longdouble if working is np.float64 else np.float64
    with np.errstate(all="ignore"):
        wanted, plain = (gradient(grad, maps, scale=scale, dtype=dtype, **options) for dtype in (precise, working))
    assert_close("gradient", found, wanted, plain)
    return found


_HEATMAPS = {
    "small": (dense((3, 9, 21)) * 3, {}),
    "temperature": (dense((3, 9, 21)) * 3, {"temperature": 3}),
    "NHWC": (dense((2, 9, 21, 3)), {"axes": (1, 2)}),
    "crop": (dense((3, 9, 21))[:, 2:, 3:-1], {}),
    "window": (dense((3, 9, 21)) * 3, {"window": 2}),
    "grid": (dense((3, 9, 21)), {"grid": fc.grid.corners, "scale": (2 / 20, 2 / 8)}),
    "one map": (dense((9, 21)), {}),
    "no map": (dense((0, 9, 21)), {}),
    "float64": (dense((2, 9, 21), "float64"), {}),
}


@small
@pytest.mark.parametrize("name", _HEATMAPS)
def test_gradient_agrees_with_reference(name):
    heatmaps, options = _HEATMAPS[name]
    check_gradient(heatmaps, **options)


def test_gradient_of_many_and_of_large_maps():
    check_gradient(dense((50, 64, 48)))
    check_gradient(dense((2, 300, 301)))
    check_gradient(gaussian_logits((2, 300, 301)), window=4)


@small
def test_gradient_is_that_of_finite_differences():
    heatmap, grad, step = dense((4, 5), "float64"), np.array([0.7, -1.3]), 1e-6
    for options in ({}, {"temperature": 0.4}, {"grid": fc.grid.half}):
        found = fc.decode.soft_argmax_vjp(grad, heatmap, **options)
        for place in np.ndindex(heatmap.shape):
            ends = []
            for sign in (1, -1):
                moved = heatmap.copy()
                moved[place] += sign * step
                ends.append((grad * fc.decode.soft_argmax(moved, **options).xy).sum())
            assert abs((ends[0] - ends[1]) / (2 * step) - found[place]) < 1e-8


@small
def test_gradient_where_there_is_no_mean():
    heatmaps = dense((4, 9, 21))
    heatmaps[0, 3, 3] = _n
    heatmaps[1] = -_i
    heatmaps[2, :, 4:] = -_i
    found = check_gradient(heatmaps)
    assert not found[:2].any()
    assert not found[2, :, 4:].any()
    assert found[3].all()


@small
def test_gradient_into_what_is_given():
    heatmaps, grad = dense((3, 9, 21)), _grads((3,))
    wanted = fc.decode.soft_argmax_vjp(grad, heatmaps)
    for out in (np.full((3, 9, 21), 7, np.float32), np.full((3, 9, 42), 7, np.float32)[..., ::-2]):
        assert fc.decode.soft_argmax_vjp(grad, heatmaps, out=out) is out
        np.testing.assert_array_equal(out, wanted)
    for wrong, error, message in (
        (np.zeros((3, 9, 20), np.float32), ValueError, r"out: expected shape \(3, 9, 21\)"),
        (np.zeros((3, 9, 21)), TypeError, "out: expected dtype <f4"),
        (heatmaps, ValueError, "out: expected memory of its own"),
    ):
        with pytest.raises(error, match=message):
            fc.decode.soft_argmax_vjp(grad, heatmaps, out=wrong)


@small
def test_gradient_of_other_libraries_and_types():
    torch = pytest.importorskip("torch")
    heatmaps, grad = dense((2, 5, 6)), _grads((2,))
    found = fc.decode.soft_argmax_vjp(torch.from_numpy(grad), torch.from_numpy(heatmaps))
    assert found.dtype == torch.float32
    tensor = torch.from_numpy(heatmaps).requires_grad_()
    p = torch.softmax(tensor.flatten(1), -1).reshape(tensor.shape)
    xy = torch.stack([(p * torch.arange(6)).sum((1, 2)), (p * torch.arange(5)[:, None]).sum((1, 2))], -1)
    (xy * torch.from_numpy(grad)).sum().backward()
    np.testing.assert_allclose(found.numpy(), tensor.grad.numpy(), atol=1e-6)
    half = halved(heatmaps, "float16")
    of_half = fc.decode.soft_argmax_vjp(grad, half)
    np.testing.assert_array_equal(of_half, fc.decode.soft_argmax_vjp(grad, half.astype(np.float32)))


def test_gradient_does_not_depend_on_the_number_of_threads():
    for shape in ((50, 64, 48), (2, 300, 301)):
        heatmaps, grad = dense(shape), _grads(shape[:1])
        try:
            found = []
            for threads in (1, numba.config.NUMBA_NUM_THREADS):
                numba.set_num_threads(threads)
                found.append(fc.decode.soft_argmax_vjp(grad, heatmaps))
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        assert found[0].tobytes() == found[1].tobytes()


@in_simulator
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("name", ["small", "NHWC", "crop", "window", "grid", "one map", "no map", "float64"])
def test_gradient_in_the_simulator(monkeypatch, name, blocks):
    from tests.test_cuda import Foreign, choose

    choose(monkeypatch, "blocks" if blocks else "warps")
    heatmaps, options = _HEATMAPS[name]
    axes, scale = options.get("axes", (-2, -1)), options.get("scale", (1, 1))
    options = {key: value for key, value in options.items() if key not in ("axes", "scale")}
    maps = np.moveaxis(heatmaps, axes, (-2, -1))
    grad = _grads(maps.shape[:-2]).astype(heatmaps.dtype)
    found = fc.decode.soft_argmax_vjp(Foreign(grad), Foreign(heatmaps), axes=axes, **options)
    options.pop("grid", None)
    wanted, plain = (
        gradient(grad, maps, scale=scale, dtype=t, **options) for t in (np.longdouble, heatmaps.dtype.type)
    )
    assert_close("gradient", np.moveaxis(found.copy_to_host(), axes, (-2, -1)), wanted, plain)


# Options


@small
@pytest.mark.parametrize("function", ["soft_argmax", "soft_argmax_vjp"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "temperature: expected a number from 1e-30 to 1e[+]30; got 0"),
        ({"temperature": -1.0}, ValueError, "temperature: expected"),
        ({"temperature": _n}, ValueError, "temperature: expected"),
        ({"temperature": _i}, ValueError, "temperature: expected"),
        ({"temperature": "hot"}, TypeError, "temperature: expected a number; got 'hot'"),
        ({"temperature": None}, TypeError, "temperature: expected a number"),
        ({"window": -1}, ValueError, "window: expected an integer of at least 0; got -1"),
        ({"window": 1.5}, TypeError, "window: expected an integer or None; got 1.5"),
        ({"grid": "corners"}, TypeError, "grid: expected"),
        ({"axes": (0, 0)}, ValueError, "axes: expected"),
    ],
    ids=repr,
)
def test_options_that_are_wrong(function, options, error, message):
    arguments = (np.zeros((2, 3)),) if function == "soft_argmax" else ([0, 0], np.zeros((2, 3)))
    with pytest.raises(error, match=message):
        getattr(fc.decode, function)(*arguments, **options)


@small
def test_other_arguments_that_are_wrong():
    with pytest.raises(TypeError, match="covariance: expected a bool; got 1"):
        fc.decode.soft_argmax(np.zeros((2, 3)), covariance=1)
    for grad, error, message in (
        (np.zeros(3), ValueError, r"grad_xy: expected shape \(2,\); got \(3,\)"),
        (["a", "b"], TypeError, "grad_xy: expected real numbers"),
        (object(), TypeError, "grad_xy: expected"),
    ):
        with pytest.raises(error, match=message):
            fc.decode.soft_argmax_vjp(grad, np.zeros((2, 3)))


@small
def test_reference_is_what_its_docstring_says():
    heatmap = dense((4, 6), "float64")
    xy, score, _covariance, status = reference(heatmap[None], temperature=0.5)
    p = np.exp(heatmap / 0.5)
    p /= p.sum()
    np.testing.assert_allclose(xy[0], [(p.sum(0) * np.arange(6)).sum(), (p.sum(1) * np.arange(4)).sum()])
    np.testing.assert_allclose(score[0], p.max())
    assert status[0] == 0
