"""`decode.center_of_mass`: what is its own."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import fastcoord as fc
from fastcoord import _moments
from fastcoord.decode._center_of_mass import cpu, formula, gradient
from fastcoord.decode._center_of_mass.reference import center_of_mass_vjp as reference_vjp
from fastcoord.results import Status
from tests.agreement import assert_agrees, assert_close
from tests.cases import HALVES, blobs, dense, half_type, in_grid
from tests.operations import OPERATIONS

small = pytest.mark.small
MASS = next(operation for operation in OPERATIONS if operation.name == "decode.center_of_mass")
EMPTY, NAN = int(Status.EMPTY), int(Status.NAN)
_n, _i = np.nan, np.inf

# pixels of one row, options, x, score, variance, status
_ANSWERS = [
    ([1, 0, 3], {}, 1.5, 4, 0.75, 0),
    ([0, 0, 5], {}, 2, 5, 0, 0),
    ([-1, 0, 3], {}, 3, 2, -3, 0),
    ([-1, 0, 3], {"clip_negative": True}, 2, 3, 0, 0),
    ([0, 0, 0], {}, _n, 0, _n, EMPTY),
    ([1, -1, 0], {}, _n, 0, _n, EMPTY),
    ([1, -3, 0], {}, _n, -2, _n, EMPTY),
    ([-1, -3, -_i], {"clip_negative": True}, _n, 0, _n, EMPTY),
    ([1, -_i, 1], {}, _n, -_i, _n, EMPTY),
    ([1, -_i, 1], {"clip_negative": True}, 1, 2, 1, 0),
    ([1, _i, 1], {}, _n, _i, _n, NAN),
    ([-_i, _i, 1], {}, _n, _n, _n, NAN),
    ([_n, 1, 1], {}, _n, _n, _n, NAN),
    ([_n, 1, 1], {"clip_negative": True}, _n, _n, _n, NAN),
    ([_n, 1, 1], {"nan": "ignore"}, 1.5, 2, 0.25, 0),
    ([_n, _n, _n], {"nan": "ignore"}, _n, 0, _n, EMPTY),
    ([_n, _n, _n], {"nan": "ignore", "window": 1}, _n, 0, _n, EMPTY),
    ([1, 2, 4, 0, 3], {"window": 1}, 5 / 3, 6, 2 / 9, 0),
    ([1, 2, 4, 0, 4], {"window": 0}, 2, 4, 0, 0),
    ([1, 2, 4, 0, 3], {"window": (5, 0)}, 2, 4, 0, 0),
    ([1, 2, 4, 0, 3], {"window": (0, 9)}, 2.2, 10, 1.76, 0),
    ([4, 2, 1, 0, _n], {"window": 1}, _n, _n, _n, NAN),
    ([4, 2, 1, 0, _n], {"window": 1, "nan": "ignore"}, 1 / 3, 6, 2 / 9, 0),
    ([_i, 2, 1, 0, 4], {"window": 1}, _n, _i, _n, NAN),
    ([0, 0, -0.0], {"window": 1}, _n, 0, _n, EMPTY),
]


@small
@pytest.mark.parametrize(("pixels", "options", "x", "score", "variance", "status"), _ANSWERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", *HALVES])
def test_answers(pixels, options, x, score, variance, status, dtype):
    dtype = half_type(dtype) if dtype in HALVES else dtype
    row = np.array([pixels], np.float32)
    options = {"covariance": True, **options}
    if not isinstance(options.get("window"), tuple):
        for heatmap in (row.T, np.repeat(row, 9, 0), row[:, ::-1]):
            heatmap = heatmap.astype(dtype)
            assert_agrees(MASS, fc.decode.center_of_mass(heatmap, **options), (heatmap,), options)
    decoded = fc.decode.center_of_mass(row.astype(dtype), **options)
    np.testing.assert_allclose(decoded.xy, [x, 0 * x], rtol=1e-6)
    np.testing.assert_array_equal(decoded.score, score)
    np.testing.assert_allclose(decoded.covariance, [[variance, 0 * x], [0 * x, 0 * x]], rtol=1e-6)
    assert decoded.status == status


@small
@given(
    data=st.data(),
    options=st.fixed_dictionaries(
        {
            "covariance": st.booleans(),
            "window": st.sampled_from([None, 0, 1, 3, (0, 2), (4, 1)]),
            "nan": st.sampled_from(["propagate", "ignore"]),
            "clip_negative": st.booleans(),
        }
    ),
)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
def test_any_heatmap(dtype, data, options):
    elements = {
        "float32": st.sampled_from([0.0, -0.0, 1.0, 2.0, _i, -_i, _n]) | st.floats(2**-20, 2**20, width=32),
        "uint8": st.integers(0, 255),
        "int16": st.integers(-300, 300),
    }
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=20))
    heatmaps = data.draw(npst.arrays(dtype, shape, elements=elements[dtype]))
    assert_agrees(MASS, fc.decode.center_of_mass(heatmaps, **options), (heatmaps,), options)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "float64"])
def test_a_lone_pixel_is_its_own_centre(dtype):
    """At each place of a map that has rows and columns left over."""
    height, width = 13, 37
    maps = np.zeros((height * width, height, width), dtype)
    np.fill_diagonal(maps.reshape(height * width, -1), 7)
    decoded = fc.decode.center_of_mass(maps, covariance=True)
    rows, columns = np.divmod(np.arange(height * width), width)
    np.testing.assert_array_equal(decoded.xy, np.stack([columns, rows], -1))
    np.testing.assert_array_equal(decoded.covariance, 0)
    np.testing.assert_array_equal(decoded.score, 7)


@small
def test_a_shifted_map_has_a_shifted_centre():
    blob = blobs(1, 9, 11, "float32")[0]
    heatmap = np.zeros((40, 50), np.float32)
    heatmap[3:12, 5:16] = blob
    shifted = np.roll(heatmap, (20, 30), (0, 1))
    one, other = (fc.decode.center_of_mass(a, covariance=True) for a in (heatmap, shifted))
    np.testing.assert_allclose(other.xy - one.xy, [30, 20], atol=1e-5)
    np.testing.assert_allclose(other.covariance, one.covariance, atol=2e-6)


@small
def test_transposed_maps_have_transposed_answers():
    maps = blobs(3, 9, 20, "float64")
    one = fc.decode.center_of_mass(maps, covariance=True)
    other = fc.decode.center_of_mass(maps, covariance=True, axes=(2, 1))
    np.testing.assert_allclose(other.xy, one.xy[:, ::-1], atol=1e-14)
    np.testing.assert_allclose(other.covariance, one.covariance[:, ::-1, ::-1], atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32", "float64"])
def test_pieces_give_the_same_answer(monkeypatch, dtype):
    maps = blobs(3, 70, 90, dtype)
    for heatmaps in (maps, maps[:, 1:, 2:], maps[:, :, ::2]):
        for piece, columns in ((1000, 64), (100, 33), (37, 8)):
            monkeypatch.setattr(cpu, "PIECE", piece)
            monkeypatch.setattr(cpu, "PIECE_COLUMNS", columns)
            assert_agrees(MASS, fc.decode.center_of_mass(heatmaps, covariance=True), (heatmaps,), {"covariance": True})
        monkeypatch.undo()


def test_integers_are_exact():
    """Sums that float32 does not hold, and moments that cancel in it."""
    maps = np.full((2, 600, 700), 255, np.uint8)
    maps[1, 7, 9] = 254
    decoded = fc.decode.center_of_mass(maps.astype(np.int32) * 101, covariance=True)
    assert_agrees(MASS, decoded, (maps.astype(np.int32) * 101,), {"covariance": True})
    decoded = fc.decode.center_of_mass(maps)
    assert decoded.score[0] == np.float32(255 * 600 * 700)
    np.testing.assert_array_equal(decoded.xy[0], [349.5, 299.5])


def test_a_sum_beyond_float32_has_a_centre():
    heatmap = np.zeros((9, 40), np.float32)
    heatmap[3, 5] = heatmap[3, 7] = heatmap[6, 30] = 3e38
    decoded = fc.decode.center_of_mass(heatmap, covariance=True)
    np.testing.assert_allclose(decoded.xy, [14, 4], rtol=1e-6)
    assert decoded.score == np.inf
    assert decoded.status == 0


@small
def test_no_centre_is_beyond_the_map():
    corner = np.zeros((5, 7))
    corner[4, 6] = 0.1
    assert formula.nearest(np.float32(6.5), 7, np.int64(0)) == 6
    assert formula.nearest(np.float32(1e30), 7, np.int64(0)) == 6
    assert formula.nearest(np.float32(-5), 7, np.int64(0)) == 0
    assert formula.nearest(np.float32(_n), 7, np.int64(0)) == 0
    np.testing.assert_allclose(fc.decode.center_of_mass(corner).xy, [6, 4])


@small
def test_moments_of_both_halves_are_those_of_the_whole():
    pixels = [(1.5, 3, 4), (2.0, -1, 7), (0.5, 2, -2), (4.0, 0, 0)]

    def moments(some, x, y):
        state = formula.nothing(np.float64(0))
        for value, column, row in some:
            state = _moments.absorb_pixel(state, np.float64(value), np.float64(column - x), np.float64(row - y))
        return state

    whole = moments(pixels, 0, 0)
    halves = formula.about(moments(pixels[:2], 2, 5), 2, 5), formula.about(moments(pixels[2:], -1, 3), -1, 3)
    np.testing.assert_allclose(formula.merge(*halves), whole, rtol=1e-14)
    kept = _moments.merge_kept(*(half + formula.nothing(np.float64(0)) for half in halves))
    np.testing.assert_allclose(_moments.total(kept), whole, rtol=1e-14)


# The gradient


def _gradients(batch):
    random = np.random.default_rng(6)
    shapes = {"grad_xy": (*batch, 2), "grad_score": batch, "grad_covariance": (*batch, 2, 2)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def assert_gradient_agrees(heatmaps, vjp=fc.decode.center_of_mass_vjp, axes=(-2, -1), only_xy=False, **options):
    maps = np.moveaxis(heatmaps, axes, (-2, -1))
    dtype = np.dtype(np.float64 if heatmaps.dtype == np.float64 else np.float32)
    grads = {name: array.astype(dtype) for name, array in _gradients(maps.shape[:-2]).items()}
    if only_xy:
        grads = {"grad_xy": grads["grad_xy"]}
    grad_xy = grads.pop("grad_xy")
    computed = vjp(grad_xy, heatmaps, **grads, axes=axes, **options)
    assert computed.dtype == dtype
    assert computed.shape == heatmaps.shape
    if "grid" in options:
        corners = np.array([[0, 0], [1, 1]], np.longdouble)
        options["per_pixel"] = np.diff(in_grid(options.pop("grid"), corners, *maps.shape[-2:]), axis=0)[0]
    with np.errstate(all="ignore"):
        precise, plain = (reference_vjp(grad_xy, maps, **grads, dtype=t, **options) for t in (np.longdouble, dtype))
    scale = max(1, float(np.abs(precise).max(initial=0)))  # what cancels in one pixel is large in another
    assert_close("gradient", np.moveaxis(computed, axes, (-2, -1)) / dtype.type(scale), precise / scale, plain / scale)


GRADIENTS = {
    "whole": (lambda dtype: blobs(3, 9, 20, dtype), {}),
    "narrow": (lambda dtype: blobs(3, 9, 5, dtype), {}),
    "one pixel": (lambda dtype: blobs(1, 1, 1, dtype), {}),
    "only xy": (lambda dtype: blobs(2, 8, 16, dtype), {"only_xy": True}),
    "window": (lambda dtype: blobs(3, 9, 20, dtype), {"window": (1, 3)}),
    "clipped": (lambda dtype: dense((3, 9, 20), dtype), {"clip_negative": True, "window": 4}),
    "grid": (lambda dtype: blobs(3, 9, 20, dtype), {"grid": fc.grid.corners}),
    "empty": (lambda dtype: np.zeros((2, 5, 17), dtype), {}),
    "rows reversed": (lambda dtype: blobs(3, 9, 20, dtype)[:, ::-1], {"clip_negative": True}),
    "columns apart": (lambda dtype: blobs(3, 9, 40, dtype)[..., ::2], {"clip_negative": True}),
    "NHWC": (lambda dtype: np.moveaxis(blobs(3, 9, 20, dtype)[None], 1, -1), {"axes": (1, 2)}),
}


@small
@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_agrees_with_reference(name, dtype):
    make, options = GRADIENTS[name]
    assert_gradient_agrees(make(dtype), **options)


@small
@pytest.mark.parametrize("nan", ["propagate", "ignore"])
def test_gradient_of_maps_with_nan(nan):
    maps = blobs(3, 9, 20, "float32")
    maps[1, 3, 4] = _n
    assert_gradient_agrees(maps, nan=nan)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_gradient_of_integers(dtype):
    assert_gradient_agrees(blobs(3, 30, 40, dtype))


@pytest.mark.parametrize("name", HALVES)
def test_gradient_of_halves(name):
    maps = blobs(3, 30, 40, "float32").astype(half_type(name))
    computed = fc.decode.center_of_mass_vjp(np.ones((3, 2)), maps)
    wanted = fc.decode.center_of_mass_vjp(np.ones((3, 2)), maps.astype(np.float32))
    np.testing.assert_array_equal(computed, wanted)


def test_gradient_of_parts_and_past_the_caches(monkeypatch):
    for shape in ((2, 300, 400), (40, 64, 50)):
        assert_gradient_agrees(blobs(*shape, "float32"), only_xy=True)
    monkeypatch.setattr(gradient, "PART", 999)
    monkeypatch.setattr(gradient, "STREAM", 0)
    for shape in ((2, 30, 40), (3, 70, 50)):
        assert_gradient_agrees(blobs(*shape, "float32"))


@small
@pytest.mark.parametrize("options", [{}, {"window": 2}, {"clip_negative": True}, {"grid": fc.grid.half}], ids=repr)
def test_gradient_is_finite_differences(options):
    heatmaps = blobs(2, 5, 9, "float64") + 0.01
    if "clip_negative" in options:
        heatmaps[:, ::2, ::3] *= -1
    grads = _gradients((2,))
    computed = fc.decode.center_of_mass_vjp(heatmaps=heatmaps, **grads, **options)

    def loss(maps):
        decoded = fc.decode.center_of_mass(maps, covariance=True, **options)
        wanted = zip(grads.values(), (decoded.xy, decoded.score, decoded.covariance), strict=True)
        return sum((grad * member).sum() for grad, member in wanted)

    random = np.random.default_rng(2)
    for _ in range(4):
        direction = random.normal(size=heatmaps.shape) * 1e-6
        slope = loss(heatmaps + direction) - loss(heatmaps - direction)
        np.testing.assert_allclose(2 * (computed * direction).sum(), slope, rtol=1e-5, atol=1e-9)


@small
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)], ids=repr)
def test_gradient_into_an_array(batch):
    heatmaps = np.ones((*batch, 4, 5), np.float32)
    grad = np.ones((*batch, 2))
    wanted = fc.decode.center_of_mass_vjp(grad, heatmaps)
    assert wanted.shape == heatmaps.shape
    for out in (np.full_like(heatmaps, _n), np.full((*batch, 8, 10), _n, np.float32)[..., ::2, ::-2]):
        assert fc.decode.center_of_mass_vjp(grad, heatmaps, out=out) is out
        np.testing.assert_array_equal(out, wanted)
    if grad.size:
        np.testing.assert_array_equal(fc.decode.center_of_mass_vjp(grad.tolist(), heatmaps), wanted)


def test_gradient_of_tensors():
    torch = pytest.importorskip("torch")
    heatmaps = torch.from_numpy(blobs(2, 9, 20, "float32"))
    grad = torch.ones(2, 2)
    computed = fc.decode.center_of_mass_vjp(grad, heatmaps)
    wanted = fc.decode.center_of_mass_vjp(np.ones((2, 2)), heatmaps.numpy())
    np.testing.assert_array_equal(computed.numpy(), wanted)
    x = torch.arange(20.0)
    heatmaps.requires_grad_()
    ((heatmaps * (x + torch.arange(9.0)[:, None])).sum((1, 2)) / heatmaps.sum((1, 2))).sum().backward()
    np.testing.assert_allclose(computed.numpy(), heatmaps.grad.numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="grad_xy: expected a PyTorch tensor on the CPU, as heatmaps is"):
        fc.decode.center_of_mass_vjp(np.ones((2, 2)), heatmaps.detach())


def test_gradients_do_not_depend_on_the_number_of_threads():
    heatmaps = blobs(5, 200, 300, "float32")
    found = []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            found.append(fc.decode.center_of_mass_vjp(np.ones((5, 2)), heatmaps).tobytes())
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert found[0] == found[1]


def _on_device(grad_xy, heatmaps, **options):
    """`center_of_mass_vjp` by way of the device."""
    from tests.test_cuda import Foreign

    given = {k: Foreign(v) if isinstance(v, np.ndarray) and k.startswith("grad") else v for k, v in options.items()}
    computed = fc.decode.center_of_mass_vjp(Foreign(grad_xy), Foreign(heatmaps, heatmaps.itemsize), **given)
    return computed.copy_to_host()


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float32") for name in GRADIENTS), ("whole", "float64"), ("NHWC", "uint8")]
)
def test_gradient_on_a_device(monkeypatch, name, dtype):
    from fastcoord.decode._center_of_mass import gradient_cuda

    make, options = GRADIENTS[name]
    monkeypatch.setattr(gradient_cuda, "TILE", 64)  # several tiles a map
    assert_gradient_agrees(make(dtype), _on_device, **options)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_gradient_on_a_gpu(dtype):
    for make, options in GRADIENTS.values():
        assert_gradient_agrees(make(dtype), _on_device, **options)
    assert_gradient_agrees(blobs(3, 300, 200, dtype), _on_device)


@pytest.mark.simulator
def test_gradients_on_a_device_that_do_not_fit():
    from tests.test_cuda import Foreign

    heatmaps, grad = Foreign(np.ones((2, 4, 5), np.float32)), Foreign(np.ones((2, 2), np.float32))
    refused = [
        ({"grad_xy": Foreign(np.ones((2, 2)))}, TypeError, "grad_xy: expected dtype"),
        ({"grad_xy": Foreign(np.ones((3, 2), np.float32))}, ValueError, "grad_xy: expected shape"),
        ({"grad_xy": np.ones((2, 2), np.float32)}, TypeError, "grad_xy: expected a CUDA array"),
        ({"grad_xy": grad, "grad_score": grad}, ValueError, "grad_score: expected shape"),
        ({"grad_xy": grad, "out": grad}, ValueError, "out: expected shape"),
    ]
    for arguments, error, message in refused:
        with pytest.raises(error, match=message):
            fc.decode.center_of_mass_vjp(heatmaps=heatmaps, **arguments)


# Refusals


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nan": "skip"}, ValueError, 'nan: expected "propagate" or "ignore"; got \'skip\''),
        ({"nan": None}, ValueError, "nan: expected"),
        ({"window": -1}, ValueError, "window: expected integers of at least 0; got -1"),
        ({"window": (1, -2)}, ValueError, r"window: expected integers of at least 0; got \(1, -2\)"),
        ({"window": 1.5}, TypeError, r"window: expected an integer, or two integers, \(rows, columns\); got 1\.5"),
        ({"window": (1, 2, 3)}, TypeError, "window: expected an integer"),
        ({"window": "3"}, TypeError, "window: expected an integer"),
    ],
    ids=repr,
)
def test_options_that_are_wrong(options, error, message):
    with pytest.raises(error, match=message):
        fc.decode.center_of_mass(np.zeros((2, 3)), **options)
    with pytest.raises(error, match=message):
        fc.decode.center_of_mass_vjp([0, 0], np.zeros((2, 3)), **options)


@small
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grad_xy": [1, 2, 3]}, ValueError, r"grad_xy: expected shape \(2,\); got \(3,\)"),
        ({"grad_xy": [1j, 2]}, TypeError, "grad_xy: expected real numbers; got complex128"),
        ({"grad_xy": [1, 2], "grad_score": [1]}, ValueError, r"grad_score: expected shape \(\); got \(1,\)"),
        ({"grad_xy": [1, 2], "grad_covariance": [1]}, ValueError, r"grad_covariance: expected shape \(2, 2\)"),
        ({"grad_xy": [1, 2], "out": np.zeros((2, 4))}, ValueError, r"out: expected shape \(2, 3\); got \(2, 4\)"),
        ({"grad_xy": [1, 2], "out": np.zeros((2, 3), np.float32)}, TypeError, "out: expected dtype"),
        ({"grad_xy": [1, 2], "grid": 3}, TypeError, "grid: expected"),
        ({"grad_xy": [1, 2], "axes": (0, 0)}, ValueError, "axes: expected two different axes"),
    ],
    ids=repr,
)
def test_gradients_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        fc.decode.center_of_mass_vjp(heatmaps=np.ones((2, 3)), **arguments)


@small
def test_gradient_does_not_overlap_its_input():
    heatmaps = np.ones((2, 3))
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        fc.decode.center_of_mass_vjp([1, 2], heatmaps, out=heatmaps)
