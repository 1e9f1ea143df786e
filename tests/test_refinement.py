"""`decode.argmax` between the pixels."""

import dataclasses
import itertools

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import fastcoord as fc
from fastcoord import _refinement as refinement
from fastcoord.results import Status
from tests import peer_conventions
from tests.agreement import assert_agrees
from tests.cases import HALVES, PIXEL_TYPES, half_type
from tests.operations import OPERATIONS

small = pytest.mark.small
# A kernel for each type, layout and method would take minutes to compile
uncompiled_only = pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="uncompiled: a kernel for each")
# What is refined is rounded
REFINED = dataclasses.replace(
    next(operation for operation in OPERATIONS if operation.name == "decode.argmax"),
    exact=frozenset({"score", "status"}),
)
EMPTY, NAN, TIE, BORDER, CLAMPED, FLAT = (
    int(s) for s in (Status.EMPTY, Status.NAN, Status.TIE, Status.BORDER, Status.CLAMPED, Status.FLAT)
)
METHODS = refinement.METHODS
TAYLOR = METHODS[1:]  # to the maximum of a quadratic
_n, _i = np.nan, np.inf

methods = pytest.mark.parametrize("refine", METHODS)


def gaussians(xy, shape, sigma=2.0, dtype="float64", scale=1.0):
    """A Gaussian at each of these points, cut to the map."""
    xy = np.asarray(xy, np.float64)
    x, y = np.arange(shape[1]), np.arange(shape[0])
    across = np.exp(-((x - xy[..., :1]) ** 2) / (2 * sigma**2))
    down = np.exp(-((y - xy[..., 1:]) ** 2) / (2 * sigma**2))
    return (scale * down[..., :, None] * across[..., None, :]).astype(dtype)


def points(count, shape, margin=0.0, seed=0):
    height, width = shape
    low, high = (margin, margin), (width - 1 - margin, height - 1 - margin)
    return np.random.default_rng(seed).uniform(low, high, size=(count, 2))


def noisy(count, shape, dtype="float32", noise=0.02, seed=0):
    """Gaussians anywhere, also at the border."""
    numbers = np.random.default_rng(seed).normal(size=(count, *shape))
    return (gaussians(points(count, shape, seed=seed), shape) + noise * numbers).astype(dtype)


def agrees(heatmaps, **options):
    decoded = fc.decode.argmax(heatmaps, **options)
    assert_agrees(REFINED, decoded, (heatmaps,), options)
    return decoded


# Against the reference


@small
@methods
def test_agrees_with_the_reference(refine):
    few = 1 if numba.config.DISABLE_JIT else 20
    for shape in ((24, 20), (9, 33), (1, 1), (1, 7), (7, 1), (4, 4), (5, 5), (3, 40), (16, 6)):
        agrees(noisy(2 * few, shape), refine=refine)
        agrees(np.random.default_rng(1).normal(size=(2 * few, *shape)).astype(np.float32), refine=refine)
    whole = agrees(noisy(6 * few, (30, 28), noise=0.1), refine=refine, threshold=0.9)
    assert few == 1 or (0 < (whole.status & EMPTY).sum() < len(whole.status))
    crop = noisy(few, (26, 30))[:, 1:-2, 3:-4]
    agrees(crop, refine=refine)


_WINDOWS = {"dark": "blur", "dark_udp": "blur", "gaussian": "sigma"}


@small
@pytest.mark.parametrize("refine", _WINDOWS)
def test_windows_of_any_size(refine):
    for size in (1, 3, 5, 17, 35, 201) if _WINDOWS[refine] == "blur" else (0.1, 0.6, 1.0, 3, 5.5, 12, 1e5):
        agrees(noisy(3, (40, 37), seed=3), refine=refine, **{_WINDOWS[refine]: size})


_LAYOUTS = {
    "columns reversed": lambda a: a[..., ::-1],
    "every second column": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "rows and columns exchanged": lambda a: a.swapaxes(-1, -2),
    "all reversed": lambda a: a[::-1, ::-1, ::-1],
    "rows broadcast": lambda a: np.broadcast_to(a[:, 7:8], a.shape),
    "columns broadcast": lambda a: np.broadcast_to(a[..., 7:8], a.shape),
}


@small
@pytest.mark.parametrize(
    "refine",
    [pytest.param("quadratic", marks=uncompiled_only), pytest.param("gaussian", marks=uncompiled_only), "dark"],
)
def test_any_strides(refine):
    heatmaps = noisy(4, (17, 21))
    for change in _LAYOUTS.values():
        agrees(change(heatmaps), refine=refine)
    channels_last = np.ascontiguousarray(np.moveaxis(heatmaps, 0, -1))
    decoded = fc.decode.argmax(channels_last, refine=refine, axes=(0, 1))
    np.testing.assert_array_equal(decoded.xy, fc.decode.argmax(heatmaps, refine=refine).xy)


def _scaled(dtype):
    """Gaussians that use much of the type, with values below zero where it has any."""
    heatmaps = noisy(3, (15, 18), "float64", seed=5)
    if dtype in HALVES:
        return heatmaps.astype(half_type(dtype))
    if np.dtype(dtype).kind == "f":
        return heatmaps.astype(dtype)
    return (np.clip(heatmaps, 0, 1) * min(np.iinfo(dtype).max if dtype != "bool" else 1, 2**60)).astype(dtype)


@small
@uncompiled_only
@methods
@pytest.mark.parametrize("dtype", [*PIXEL_TYPES, *HALVES])
def test_all_types(dtype, refine):
    heatmaps = _scaled(dtype)
    agrees(heatmaps, refine=refine)
    agrees(heatmaps[:, ::-1, ::-1], refine=refine)
    if dtype == "float64":
        agrees(heatmaps * 1e300, refine=refine)


@pytest.mark.parametrize(("dtype", "refine"), [("float16", "gaussian"), ("float64", "quadratic")])
def test_some_types_compiled(dtype, refine):
    agrees(_scaled(dtype), refine=refine)


def test_all_threads_and_one_large_map():
    heatmaps = noisy(60, (64, 48))
    assert heatmaps.size > 1 << 17
    whole = agrees(heatmaps, refine="dark")
    for i in (0, 59):
        np.testing.assert_array_equal(fc.decode.argmax(heatmaps[i], refine="dark").xy, whole.xy[i])
    wide = np.zeros((700, 900), np.float32)
    wide[400:424, 500:520] = noisy(1, (24, 20))[0]
    agrees(wide, refine="dark")


@small
@pytest.mark.parametrize("refine", METHODS)
@pytest.mark.parametrize("value", [1, 0, -2, _i, -_i, 1e-45, 1e-33, 3e38])
def test_where_there_is_no_maximum(refine, value):
    """A map of one value: no step, and but for "quarter" FLAT."""
    heatmaps = np.full((1, 31, 33), value, np.float32)
    heatmaps[0, 15, 16] = np.nextafter(np.float32(value), np.float32(_i)) if 0 < abs(value) < _i else value
    y, x = divmod(int(heatmaps[0].argmax()), 33)
    decoded = agrees(heatmaps, refine=refine, sigma=1)
    np.testing.assert_array_equal(decoded.xy, [[x, y]])
    if refine != "quarter" and (x, y) == (16, 15) and not (refine == "quadratic" and value < 0):
        assert decoded.status[0] & FLAT


@small
@methods
def test_nan_and_infinities_in_the_window(refine):
    for bad, nan in itertools.product((_n, _i, -_i), ("ignore", "propagate")):
        heatmaps = gaussians([[9.3, 8.4]] * 6, (19, 20), dtype="float32")
        for heatmap, (row, column) in zip(heatmaps, ((8, 9), (8, 10), (9, 9), (6, 9), (7, 8), (3, 3)), strict=True):
            heatmap[row, column] = bad
        decoded = agrees(heatmaps, refine=refine, nan=nan)
        if nan == "propagate" and bad != bad:
            assert (decoded.status == NAN).all()
            assert np.isnan(decoded.xy).all()
        else:
            assert np.isfinite(decoded.xy).all()


@small
@methods
def test_values_of_any_size_and_sign(refine):
    heatmaps = noisy(3, (19, 20), seed=8)
    for factor in (1e-25, 1e30, -1.0):
        agrees((heatmaps * np.float32(factor)), refine=refine)
    agrees(heatmaps - 3, refine=refine)


_elements = st.sampled_from([0.0, -0.0, 1.0, 2.0, -_i, _i, _n]) | st.floats(0, 1, width=32)


@small
@methods
@given(data=st.data())
def test_any_heatmap(refine, data):
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=12))
    heatmap = data.draw(npst.arrays(np.float32, shape, elements=_elements))
    decoded = agrees(heatmap, refine=refine, nan="ignore", sigma=1.0, blur=5)
    if not decoded.status & EMPTY:
        whole = fc.decode.argmax(heatmap, nan="ignore")
        assert np.abs(decoded.xy - whole.xy).max() <= (1 if refine != "gaussian" else 4)


# Properties


@small
@pytest.mark.parametrize(
    ("refine", "error"), [("quadratic", 1e-4), ("dark", 1e-3), ("dark_udp", 1e-3), ("gaussian", 4e-4)]
)
def test_finds_gaussians(refine, error):
    xy = points(5 if numba.config.DISABLE_JIT else 200, (33, 31), margin=10)
    decoded = fc.decode.argmax(gaussians(xy, (33, 31), dtype="float32"), refine=refine)
    np.testing.assert_allclose(decoded.xy, xy, atol=error)
    np.testing.assert_array_equal(decoded.status, 0)


@small
@pytest.mark.parametrize("sigma", [0.8, 2.5])
def test_a_gaussian_of_another_width_than_told(sigma):
    xy = points(4, (41, 43), margin=14)
    decoded = fc.decode.argmax(gaussians(xy, (41, 43), 2 * sigma, "float32"), refine="gaussian", sigma=sigma)
    np.testing.assert_allclose(decoded.xy, xy, atol=0.02)


@small
def test_gaussian_looks_beside_the_largest_pixel():
    """Of a peak with one pixel too large, two away, the peak is found."""
    heatmap = gaussians([[16.2, 15.1]], (31, 33), 3, "float32")
    heatmap[0, 14, 18] = 1.2
    decoded = fc.decode.argmax(heatmap, refine="gaussian", sigma=3)
    assert np.abs(decoded.xy - (16.2, 15.1)).max() < 0.1
    far = gaussians([[16, 15]], (31, 33), 3, "float32")
    far[0, 15, 23] = 2
    decoded = fc.decode.argmax(far, refine="gaussian", sigma=3)
    assert decoded.status & CLAMPED or 19 <= decoded.xy[0, 0] <= 24


@small
@pytest.mark.parametrize("refine", TAYLOR)
def test_a_shifted_map_has_a_shifted_result(refine):
    heatmap = noisy(1, (16, 15), noise=0.01, seed=2)[0]
    whole = np.zeros((60, 64), np.float32)
    results = []
    for row, column in ((20, 22), (21, 25), (24, 30)):
        whole[...] = 0
        whole[row : row + 16, column : column + 15] = heatmap
        decoded = fc.decode.argmax(whole, refine=refine)
        results.append(decoded.xy - (column, row))
    np.testing.assert_allclose(results, [results[0]] * 3, atol=1e-5)


@small
@methods
def test_a_turned_map_has_a_turned_result(refine):
    heatmap = noisy(1, (21, 21), noise=0.01, seed=4)[0]
    x, y = fc.decode.argmax(heatmap, refine=refine).xy
    np.testing.assert_allclose(fc.decode.argmax(heatmap.T.copy(), refine=refine).xy, [y, x], atol=1e-5)
    if refine != "dark_udp":  # whose mixed derivative is one-sided
        np.testing.assert_allclose(fc.decode.argmax(heatmap[:, ::-1].copy(), refine=refine).xy, [20 - x, y], atol=1e-5)


@small
@pytest.mark.parametrize("refine", ["dark", "dark_udp", "quadratic", "gaussian"])
def test_a_scaled_map_has_the_same_result(refine):
    heatmap = noisy(1, (21, 22), seed=4)[0]
    wanted = fc.decode.argmax(heatmap, refine=refine)
    for factor in (2.0**-60, 2.0**60):
        decoded = fc.decode.argmax(heatmap * np.float32(factor), refine=refine)
        np.testing.assert_allclose(decoded.xy, wanted.xy, atol=1e-6)
        assert decoded.status == wanted.status


@small
def test_bounds():
    """How far from the border a peak must be to be refined, and where the window is whole."""
    refined = {"quarter": 1, "quadratic": 2, "dark": 2, "dark_udp": 1, "gaussian": 0}
    whole = {"quarter": 1, "quadratic": 2, "dark": 7, "dark_udp": 6, "gaussian": 6}
    for refine in METHODS:
        for at in range(9):
            for x, y in ((at, 12), (26 - at, 12), (13, at), (13, 24 - at)):
                heatmap = gaussians([[x + 0.2, y + 0.2]], (25, 27), dtype="float32")
                decoded = fc.decode.argmax(heatmap, refine=refine)
                assert bool(decoded.status[0] & BORDER) == (at < whole[refine]), (refine, x, y)
                if refine != "gaussian":
                    moved = decoded.xy[0] != (x, y)
                    assert moved.all() == (at >= refined[refine]), (refine, x, y)


@small
def test_steps_are_limited():
    heatmap = np.zeros((1, 21, 21), np.float32)
    heatmap[0, 8:13, 8:13] = np.exp(-0.02 * (np.arange(5) - 6) ** 2)
    heatmap[0, 10, 10] = 1.01
    for refine in ("quadratic", "dark", "dark_udp"):
        decoded = agrees(heatmap, refine=refine)
        assert np.abs(decoded.xy - 10).max() <= 1


@small
def test_a_grid_counts_what_is_refined():
    heatmaps = noisy(3, (24, 20))
    pixels = fc.decode.argmax(heatmaps, refine="dark").xy
    corners = fc.decode.argmax(heatmaps, refine="dark", grid=fc.grid.corners).xy
    np.testing.assert_allclose(corners, pixels / np.float32([19, 23]) * 2 - 1, atol=1e-6)
    missing = fc.decode.argmax(heatmaps - 2, refine="dark", compat="mmpose", grid=fc.grid.corners).xy
    np.testing.assert_array_equal(missing, -1)


# Other libraries' conventions

_PEERS = [(library, refine) for library, known in refinement.COMPATIBLE.items() for refine in known]


def _heatmaps_for_peers():
    """Like a network's: peaks anywhere, weak ones, none, and what is less than zero."""
    count = 12 if numba.config.DISABLE_JIT else 120
    shape = (19, 16)
    strong = noisy(count, shape, noise=0.01)
    weak = strong * np.float32(1e-3)
    negative = strong - np.float32(0.7)
    huge = strong * np.float32(90)
    sharp = gaussians(points(count, shape), shape, 0.7, "float32")
    empty = np.stack([np.zeros(shape), np.full(shape, -1.0), -np.eye(*shape)]).astype(np.float32)
    rows, columns = np.divmod(np.arange(shape[0] * shape[1])[:: 7 if count == 12 else 1], shape[1])
    everywhere = gaussians(np.stack([columns + 0.2, rows - 0.3], -1), shape, 1.5, "float32")
    return np.concatenate([strong, weak, negative, huge, sharp, empty, everywhere])


@small
@pytest.mark.parametrize(
    ("library", "refine"),
    [pytest.param(*peer, marks=[] if "dark" in str(peer[1]) else [uncompiled_only]) for peer in _PEERS],
)
def test_conventions_of_other_libraries(library, refine):
    heatmaps = _heatmaps_for_peers()
    decoded = fc.decode.argmax(heatmaps, refine=refine, compat=library)
    checked = 0
    for heatmap, xy, score, status in zip(heatmaps, *decoded[:2], decoded.status, strict=True):
        wanted, peak = peer_conventions.decoded(heatmap, library, refine)
        assert score == peak
        assert bool(status & EMPTY) == (peak <= 0)
        # what is ill-conditioned depends on the last bit
        tolerance = 2e-5 * max(1, *np.abs(wanted))
        np.testing.assert_allclose(xy, wanted, rtol=0, atol=tolerance)
        checked += 1
    assert checked == len(heatmaps)


@small
@pytest.mark.parametrize("blur", [3, 5, 7, 17])
def test_blurs_of_other_libraries(blur):
    heatmaps = noisy(6, (24, 23), noise=0.005)
    decoded = fc.decode.argmax(heatmaps, refine="dark", compat="mmpose", blur=blur)
    wanted = [peer_conventions.decoded(heatmap, "mmpose", "dark", blur)[0] for heatmap in heatmaps]
    np.testing.assert_allclose(decoded.xy, wanted, rtol=0, atol=1e-4)


@small
@uncompiled_only
def test_conventions_hold_with_a_threshold_and_nan():
    heatmaps = np.zeros((3, 5, 6), np.float32)
    heatmaps[0, 2, 3], heatmaps[1, 2, 3], heatmaps[2, 1, 1] = 0.5, 0.1, _n
    for library, missing in (("mmpose", -1), ("hrnet", 0)):
        decoded = fc.decode.argmax(heatmaps, compat=library, threshold=0.3)
        np.testing.assert_array_equal(decoded.xy, [[3, 2], [missing, missing], [_n, _n]])
        np.testing.assert_array_equal(decoded.status, [0, EMPTY, NAN])
        # below 0 a threshold finds no more than 0
        assert fc.decode.argmax(heatmaps[0] - 1, compat=library, threshold=-5).status & EMPTY


# Options


@small
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"refine": "none"}, ValueError, r"refine: expected one of \(None, 'quarter'.*; got 'none'"),
        ({"refine": 3}, ValueError, "refine: expected"),
        ({"refine": ["dark"]}, ValueError, "refine: expected"),
        ({"sigma": 0}, ValueError, "sigma: expected a number from 0.001 to 1e\\+06; got 0"),
        ({"sigma": 1e200}, ValueError, "sigma: expected a number from 0.001 to 1e\\+06; got 1e\\+200"),
        ({"blur": 2**63 + 1}, ValueError, "blur: expected an odd integer from 1 to 65535"),
        ({"sigma": -1.5}, ValueError, "sigma: expected a number from"),
        ({"sigma": _i}, ValueError, "sigma: expected a number from"),
        ({"sigma": _n}, ValueError, "sigma: expected a number that is not NaN"),
        ({"sigma": "wide"}, TypeError, "sigma: expected a number"),
        ({"blur": 10}, ValueError, "blur: expected an odd integer from 1 to 65535; got 10"),
        ({"blur": -3}, ValueError, "blur: expected an odd integer"),
        ({"blur": 11.0}, TypeError, "blur: expected an odd integer; got 11.0"),
        ({"blur": True}, TypeError, "blur: expected an odd integer"),
        ({"compat": "openpose"}, ValueError, r"compat: expected None or one of \('mmpose', 'hrnet'\); got 'openpose'"),
        ({"compat": 1}, ValueError, "compat: expected None or one of"),
        (
            {"compat": "hrnet", "refine": "dark_udp"},
            ValueError,
            r"refine: expected one of \(None, 'quarter', 'dark'\) for compat='hrnet'; got 'dark_udp'",
        ),
        ({"compat": "mmpose", "refine": "gaussian"}, ValueError, "refine: expected one of"),
    ],
    ids=repr,
)
def test_options_that_are_wrong(options, error, message):
    with pytest.raises(error, match=message):
        fc.decode.argmax(np.zeros((2, 3)), **options)
