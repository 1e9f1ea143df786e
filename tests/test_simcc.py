"""What is `decode.simcc`'s and `encode.simcc`'s own: two arrays, mmpose's conventions, the steps, and the inverse."""

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest

import fastcoord as fc
from tests import cases, cases_simcc
from tests.agreement import assert_close
from tests.contract import said

small = pytest.mark.small
DECODE, ENCODE = fc.decode.simcc, fc.encode.simcc
SHAPE = (7, 9)


def bins(*batch, dtype="float32"):
    return cases_simcc.axes_of(batch, (18, 14), dtype)


# mmpose


def _mmpose_maximum(simcc_x, simcc_y):
    """What mmpose 1.3's `get_simcc_maximum` gives for (K, bins), restated."""
    locations = np.stack([simcc_x.argmax(1), simcc_y.argmax(1)], -1).astype(np.float32)
    values = np.minimum(simcc_x.max(1), simcc_y.max(1))
    locations[values <= 0] = -1
    return locations, values


@small
@pytest.mark.parametrize("split_ratio", [1, 2.0, 3])
def test_compat_is_what_mmpose_decodes(split_ratio):
    x, y = cases_simcc.axes_of((200,), (6, 5))
    x[:20] -= 9
    y[10:40] -= 9
    found = DECODE(x, y, split_ratio=split_ratio, compat="mmpose")
    locations, values = _mmpose_maximum(x, y)
    np.testing.assert_array_equal(found.xy, locations / np.float32(split_ratio))
    np.testing.assert_array_equal(found.score, values)
    assert (values <= 0).any()
    np.testing.assert_array_equal(found.status & fc.Status.EMPTY != 0, values <= 0)


def _mmpose_labels(points, size, sigma, split_ratio, normalize):
    """What mmpose 1.3's `SimCCLabel` makes of visible points ("gaussian"), restated."""
    sigma = np.broadcast_to(np.asarray(sigma, float), 2)
    extents = [int(np.around(pixels * split_ratio)) for pixels in size]
    labels = [np.zeros((len(points), extent), np.float32) for extent in extents]
    weight = np.ones(len(points), np.float32)
    for n, mu in enumerate(np.around(points * split_ratio).astype(np.int64)):
        first, last = mu - 3 * sigma, mu + 3 * sigma + 1
        if (first >= extents).any() or (last < 0).any():
            weight[n] = 0
            continue
        for axis in (0, 1):
            grid = np.arange(extents[axis], dtype=np.float32)
            labels[axis][n] = np.exp(-((grid - mu[axis]) ** 2) / (2 * sigma[axis] ** 2))
            if normalize:
                labels[axis][n] /= sigma[axis] * np.sqrt(np.pi * 2)
    return *labels, weight


@small
@pytest.mark.parametrize("sigma", [6.0, 2, (4.9, 5.66)])
@pytest.mark.parametrize("split_ratio", [1, 2.0, 3])
def test_compat_is_what_mmpose_encodes(sigma, split_ratio):
    points = cases.random("mmpose's points").uniform(-20, 70, (60, 2))
    points[:8] = np.arange(16).reshape(8, 2) / 4  # halves of a bin
    for norm in ("peak", "density"):
        options = {"sigma": sigma, "split_ratio": split_ratio, "norm": norm, "compat": "mmpose", "return_weight": True}
        found = ENCODE(points, shape=(48, 36), **options)
        x, y, weight = _mmpose_labels(points, (36, 48), sigma, split_ratio, norm == "density")
        np.testing.assert_array_equal(found.weight, weight)
        assert {0, 1} == set(weight)
        np.testing.assert_allclose(found.x, x, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.y, y, rtol=1e-5, atol=1e-7)


# The inverse


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grid", [None, *(grid for grid, _x, _y in cases.GRIDS.values() if not grid.batch)], ids=str)
def test_decode_is_the_inverse_of_encode(grid, dtype):
    height, width, tolerance = 48, 36, 2e-5 if dtype == "float32" else 1e-12
    pixels = cases.random("inverse").uniform(1, (width - 2, height - 2), (40, 2)).astype(dtype)
    xy = pixels if grid is None else grid.from_pixels(pixels, height, width).astype(dtype)
    for split_ratio, sigma in ((1, 1.5), (2.0, 6.0), (3.3, (2, 8))):
        labels = ENCODE(
            xy, shape=(height, width), split_ratio=split_ratio, sigma=sigma, grid=grid, dtype=dtype, norm="sum"
        )
        found = DECODE(labels.x, labels.y, split_ratio=split_ratio, refine="gaussian", grid=grid)
        assert not found.status.any()
        back = found.xy if grid is None else grid.to_pixels(found.xy, height, width)
        np.testing.assert_allclose(back, pixels, rtol=0, atol=tolerance + 2 * np.spacing(np.abs(xy).max()))


@small
def test_a_parabola_of_logarithms_is_a_gaussian():
    labels = ENCODE([[7.25, 3.5], [20, 11.125]], shape=(20, 30), sigma=3)
    with np.errstate(divide="ignore"):
        logits = [np.log(axis) for axis in labels[:2]]
    found = DECODE(*logits, refine="quadratic")
    np.testing.assert_allclose(found.xy, [[7.25, 3.5], [20, 11.125]], rtol=0, atol=2e-5)


@small
def test_bins_of_whole_points_are_whole():
    points = np.stack(np.meshgrid(np.arange(9), np.arange(7)), -1)
    for split_ratio in (1, 2, 5):
        labels = ENCODE(points, shape=SHAPE, split_ratio=split_ratio, sigma=0.5)
        assert labels.x.shape == (7, 9, 9 * split_ratio)
        assert labels.y.shape == (7, 9, 7 * split_ratio)
        np.testing.assert_array_equal(DECODE(labels.x, labels.y, split_ratio=split_ratio).xy, points)


# Halves, libraries, threads


@small
@pytest.mark.parametrize("name", cases.HALVES)
@pytest.mark.parametrize("norm", ["peak", "sum", "density"])
def test_labels_of_halves_are_those_of_float32_rounded(name, norm):
    points = cases_simcc.points((6,), 20, 25)
    given = {"shape": (20, 25), "norm": norm, "sigma": 2.5}
    halves, floats = ENCODE(points, dtype=name, **given), ENCODE(points, **given)
    for one, other in zip(halves[:2], floats[:2], strict=True):
        np.testing.assert_array_equal(one.astype(np.float32), other.astype(one.dtype).astype(np.float32))
        assert one.any()


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_arrays_of_other_libraries(library):
    module = pytest.importorskip(library)
    make = module.as_tensor if library == "torch" else module.numpy.asarray
    kind = module.Tensor if library == "torch" else module.Array
    points = np.array([[3.25, 4.5], [8, 2]], np.float32)
    labels = ENCODE(make(points), shape=SHAPE, sigma=2, return_weight=True)
    assert all(isinstance(member, kind) for member in labels)
    wanted = ENCODE(points, shape=SHAPE, sigma=2)
    np.testing.assert_array_equal(np.asarray(labels.x), wanted.x)
    found = DECODE(labels.x, labels.y, refine="gaussian")
    assert all(isinstance(member, kind) for member in (found.xy, found.score, found.status))
    np.testing.assert_allclose(np.asarray(found.xy), points, atol=1e-5)
    with pytest.raises(TypeError, match="y_logits: expected an array of the library of x_logits"):
        DECODE(labels.x, wanted.y)
    if library == "torch":
        half = DECODE(labels.x.bfloat16(), labels.y.bfloat16())
        np.testing.assert_array_equal(half.xy, [[3.0, 4.5], [8, 2]])
        out = ENCODE(make(points) * 0, shape=SHAPE, sigma=2)
        assert ENCODE(make(points), shape=SHAPE, sigma=2, out=out) is out
        np.testing.assert_array_equal(out.y, wanted.y)
        with pytest.raises(TypeError, match=r"x_logits: .*require grad"):
            DECODE(labels.x.clone().requires_grad_(), labels.y)


@small
def test_arrays_that_the_functions_read_are_not_changed():
    x, y = bins(4)
    points = cases.points_within((4,), *SHAPE)
    before = x.tobytes(), y.tobytes(), points.tobytes()
    DECODE(x, y, refine="gaussian")
    ENCODE(points, shape=SHAPE)
    assert before == (x.tobytes(), y.tobytes(), points.tobytes())
    assert x.flags.writeable
    assert points.flags.writeable


# Bad input


@small
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x.astype(complex), y), TypeError, ("x_logits: expected", "complex128")),
        (lambda x, y: (x, y.astype(complex)), TypeError, ("y_logits: expected", "complex128")),
        (lambda x, y: (x, np.ma.masked_invalid(y)), TypeError, ("y_logits: expected", "masked")),
        (lambda x, y: (None, y), TypeError, ("x_logits: expected", "NoneType")),
        (lambda x, y: (x, y.astype(np.float64)), TypeError, ("y_logits: expected float32", "float64")),
        (lambda x, y: (x, y[:1]), ValueError, ("y_logits: expected the batch shape of x_logits, (2,)", "(1,)")),
        (lambda x, y: (x[:, :0], y), ValueError, ("x_logits: expected shape (..., bins)", "(2, 0)")),
        (lambda x, y: (x, y[:, :0]), ValueError, ("y_logits: expected shape (..., bins)", "(2, 0)")),
        (lambda x, y: (np.float32(3), y), TypeError, ("x_logits: expected",)),
        (lambda x, y: (x, [[1.0, 2], [3]]), ValueError, ("y_logits: expected nested lists",)),
    ],
)
def test_bins_that_are_refused(change, error, message):
    with pytest.raises(error, match=said(*message)):
        DECODE(*change(*bins(2)))


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split_ratio": "2"}, TypeError, "split_ratio: expected a number"),
        ({"split_ratio": True}, TypeError, "split_ratio: expected a number"),
        ({"split_ratio": 0.5}, ValueError, "split_ratio: expected a number from 1 to 1,000; got 0.5"),
        ({"split_ratio": 1001}, ValueError, "split_ratio: expected a number from 1"),
        ({"split_ratio": np.nan}, ValueError, "split_ratio: expected"),
        ({"refine": "dark"}, ValueError, "refine: expected one of"),
        ({"refine": 3}, ValueError, "refine: expected one of"),
        ({"compat": "hrnet"}, ValueError, 'compat: expected None or "mmpose"'),
        ({"threshold": "0"}, TypeError, "threshold: expected a number"),
        ({"threshold": np.nan}, ValueError, "threshold: expected"),
        ({"nan": None}, ValueError, "nan: expected"),
        ({"grid": "unit"}, TypeError, "grid: expected"),
        ({"grid": fc.grid.crops(np.ones((3, 4)) * [0, 0, 5, 5])}, ValueError, "grid: expected boxes"),
        ({"out": 3}, TypeError, "out: expected Decoded"),
    ],
)
def test_options_of_decode_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        DECODE(*bins(2), **options)


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shape": 5}, TypeError, "shape: expected two integers"),
        ({"shape": (0, 5)}, ValueError, "shape: expected"),
        ({"sigma": 0}, ValueError, "sigma: expected numbers"),
        ({"sigma": [1, 2, 3]}, ValueError, "sigma: expected an array that broadcasts"),
        ({"sigma": "6"}, TypeError, "sigma: expected a number"),
        ({"norm": "mean"}, ValueError, "norm: expected one of"),
        ({"compat": "kornia"}, ValueError, "compat: expected"),
        ({"dtype": "uint8"}, TypeError, "dtype: expected float16, bfloat16, float32 or float64; got uint8"),
        ({"split_ratio": 0}, ValueError, "split_ratio: expected"),
        ({"grid": 3}, TypeError, "grid: expected"),
        ({"out": np.zeros(3)}, TypeError, r"out: expected SimCC\(x, y, weight\)"),
        ({"shape": (1 << 40, 1 << 60)}, MemoryError, "shape: bins along the width of shape"),
        ({"shape": (1 << 60, 4)}, MemoryError, "shape: bins along the height of shape"),
    ],
)
def test_options_of_encode_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ENCODE(cases.points_within((2,), *SHAPE), **{"shape": SHAPE, **options})


@small
@pytest.mark.parametrize("wrong", [(np.nan, 1), (1, np.inf), (-np.inf, 0)])
def test_a_point_that_is_not_finite_needs_a_weight(wrong):
    points = np.array([[1, 2], wrong])
    with pytest.raises(ValueError, match=said("xy: expected finite points, or return_weight=True; got", "index (1,)")):
        ENCODE(points, shape=SHAPE)
    labels = ENCODE(points, shape=SHAPE, return_weight=True)
    assert labels.weight.tolist() == [1, 0]
    assert not labels.x[1].any()
    assert not labels.y[1].any()
    assert ENCODE([[1, 2]], shape=SHAPE).weight is None


@small
@pytest.mark.parametrize("name", ["xy", "score", "status"])
def test_out_of_decode(name):
    x, y = bins(3)
    wanted = DECODE(x, y)
    out = wanted._replace(**{name: getattr(wanted, name)[:2].copy()})
    with pytest.raises(ValueError, match=rf"out\.{name}: expected shape"):
        DECODE(x, y, out=out)
    for given in (x, y):
        inside = given.reshape(-1)[: wanted.score.size * 2].view(getattr(wanted, name).dtype)
        inside = inside[: getattr(wanted, name).size].reshape(getattr(wanted, name).shape)
        with pytest.raises(ValueError, match=rf"out\.{name}: expected memory of its own"):
            DECODE(x, y, out=wanted._replace(**{name: inside}))


@small
def test_out_of_encode():
    points = cases.points_within((3,), *SHAPE, "float32")
    given = {"shape": SHAPE, "return_weight": True}
    wanted = ENCODE(points, **given)
    for name in ("x", "y", "weight"):
        member = getattr(wanted, name)
        for spoilt, error in ((member[:2], ValueError), (member.astype(np.float64), TypeError)):
            with pytest.raises(error, match=rf"out\.{name}: expected"):
                ENCODE(points, **given, out=wanted._replace(**{name: spoilt}))
    with pytest.raises(TypeError, match=r"out\.weight: expected an array"):
        ENCODE(points, **given, out=wanted._replace(weight=None))
    with pytest.raises(TypeError, match=r"out\.weight: expected None"):
        ENCODE(points, shape=SHAPE, out=wanted)
    with pytest.raises(ValueError, match=r"out\.y: expected memory of its own"):
        ENCODE(points, **given, out=wanted._replace(y=wanted.x[:, : wanted.y.shape[1]]))


@small
@pytest.mark.parametrize("function", [DECODE, ENCODE], ids=["decode", "encode"])
def test_documentation(function):
    parameters = inspect.signature(function).parameters.values()
    text = function.__doc__
    for heading in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
        assert re.search(rf"^ *{heading}\n *-{{{len(heading)}}}$", text, re.MULTILINE), heading
    for parameter in parameters:
        assert re.search(rf"^ *(\w+, )?{parameter.name}(, \w+)? : ", text, re.MULTILINE), parameter.name
        assert parameter.name in ("xy", "x_logits", "y_logits") or parameter.kind is parameter.KEYWORD_ONLY
    module = importlib.import_module(function.__module__)
    assert doctest.testmod(module).attempted >= 3


@small
def test_the_step_of_a_bin_is_at_most_half():
    x, y = cases_simcc.axes_of((300,), (7, 7), "float64", 5)
    plain, refined = DECODE(x, y, split_ratio=1), DECODE(x, y, split_ratio=1, refine="quadratic")
    steps = np.abs(refined.xy - plain.xy)
    assert 0.4 < steps.max() <= 0.5
    assert_close("score", refined.score, plain.score, plain.score)
    assert (refined.status & ~plain.status & ~int(fc.Status.BORDER | fc.Status.FLAT)).max() == 0
