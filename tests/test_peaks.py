"""`decode.peaks`: what is its own."""

import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.ndimage import maximum_filter

import fastcoord as fc
from fastcoord._decoder_options import REFINEMENTS
from fastcoord.decode._peaks import cpu, formula
from fastcoord.results import Status
from tests.agreement import assert_agrees
from tests.cases import HALVES, PIXEL_TYPES, dense, half_type
from tests.cases_peaks import levels, spots
from tests.operations import OPERATIONS

small = pytest.mark.small
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="uncompiled: too slow")
uncompiled_only = pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="compiled: a kernel for each")
PEAKS = next(operation for operation in OPERATIONS if operation.name == "decode.peaks")
EMPTY, NAN, PLATEAU, TRUNCATED = (int(flag) for flag in (Status.EMPTY, Status.NAN, Status.PLATEAU, Status.TRUNCATED))
_n, _i = np.nan, np.inf

# pixels of one row, options (threshold 0), x of the peaks, statuses
_ANSWERS = [
    ([0, 1, 0, 2, 0], {}, [3, 1], [0, 0]),
    ([1, 0, 2], {}, [2, 0], [0, 0]),
    ([0, 1, 1, 0], {}, [1.5], [PLATEAU]),
    ([0, 1, 1, 2, 0], {}, [3], [0]),
    ([1, 1, 1], {}, [], []),
    ([2, 2, 1], {}, [0.5], [PLATEAU]),
    ([1, 0, 1, 0, 1], {}, [0, 2, 4], [0, 0, 0]),
    ([1, 0, 1, 0, 1], {"radius": 2}, [0, 4], [0, 0]),
    ([1, 0, 1, 0, 1], {"k": 2}, [0, 2], [0, TRUNCATED]),
    ([1, 0, 2, 0, 3], {"k": 1}, [4], [TRUNCATED]),
    ([1, 1, 0, 2, 2], {"k": 1}, [3.5], [PLATEAU | TRUNCATED]),
    ([1, 0, 2, 0, 3], {"radius": 2}, [4], [0]),
    ([0, 1, 0, 2, 0], {"threshold": 1}, [3], [0]),
    ([0, -1, 0.0, -1, -0.0], {"threshold": None}, [0, 2, 4], [0, 0, 0]),
    ([-3, -2, -3], {"threshold": None}, [1], [0]),
    ([-3, -2, -3], {}, [], []),
    ([0, _i, 0, 1, 0], {}, [1, 3], [0, 0]),
    ([-_i, 1, -_i], {}, [1], [0]),
    ([_n, 1, 0], {}, [], [NAN]),
    ([_n, 1, 0], {"nan": "ignore"}, [1], [0]),
    ([_n, 1, _n], {"nan": "ignore"}, [], []),
    ([0, 1, 1, 0], {"compat": "sleap"}, [], []),
    ([5], {}, [], []),
    ([5], {"compat": "sleap"}, [0], [0]),
]


@small
@pytest.mark.parametrize(("pixels", "options", "x", "status"), _ANSWERS, ids=repr)
@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(dtype, marks=uncompiled_only) for dtype in ("float64", *HALVES))]
)
def test_answers(pixels, options, x, status, dtype):
    options = {"threshold": 0, "k": 4, **options}
    image = np.array([pixels], np.float32).astype(half_type(dtype) if dtype in HALVES else dtype)
    for turned in (image, image.T, image[:, ::-1]):
        assert_agrees(PEAKS, fc.decode.peaks(turned, **options), (turned,), options)
    found = fc.decode.peaks(image, **options)
    k, count = options["k"], len(x)
    assert found.count == count
    np.testing.assert_array_equal(found.xy[:, 0], [*x, *[np.nan] * (k - count)])
    is_spoilt = status == [NAN]
    np.testing.assert_array_equal(found.status, [NAN] * k if is_spoilt else [*status, *[EMPTY] * (k - count)])


_DIFFERENT = st.tuples(st.integers(1, 12), st.integers(1, 40)).flatmap(
    lambda shape: st.permutations(range(shape[0] * shape[1])).map(lambda p: np.array(p, np.float32).reshape(shape))
)


@small
@given(_DIFFERENT, st.integers(1, 4), st.integers(1, 30))
def test_the_line_of_the_documentation(image, radius, k):
    threshold = 20
    found = fc.decode.peaks(image, k=k, radius=radius, threshold=threshold)
    y, x = np.nonzero((image == maximum_filter(image, 2 * radius + 1)) & (image > threshold))
    first = np.argsort(-image[y, x], kind="stable")[:k]
    if image.size == 1:
        first = first[:0]  # a map that is the same everywhere has none
    assert found.count == len(first)
    np.testing.assert_array_equal(found.xy[: len(first)], np.stack([x, y], -1)[first])
    np.testing.assert_array_equal(found.score[: len(first)], image[y, x][first])


_FEW = npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 3))


@small
@given(_FEW, st.integers(1, 3), st.integers(1, 9), st.sampled_from([None, 0.5, 1]))
def test_plateaus_of_any_form(image, radius, k, threshold):
    options = {"radius": radius, "k": k, "threshold": threshold}
    assert_agrees(PEAKS, fc.decode.peaks(image, **options), (image,), options)


def sleap(image, threshold):
    """sleap-nn's `find_local_peaks_rough`, as it is documented and observed: (x, y) in row-major order."""
    padded = np.pad(image, 1, constant_values=-np.inf)
    height, width = image.shape
    beside = [padded[j : j + height, i : i + width] for j in range(3) for i in range(3) if (j, i) != (1, 1)]
    y, x = np.nonzero((image > np.max(beside, 0)) & (image > threshold))
    return np.stack([x, y], -1)


@small
@pytest.mark.parametrize("make", [dense, levels, spots])
def test_sleap(make):
    for image in make((6, 19, 37)):
        wanted = sleap(image, 0.2)
        found = fc.decode.peaks(image, compat="sleap", k=1000)
        assert found.count == len(wanted) > 0
        order = np.lexsort((found.xy[: len(wanted), 0], found.xy[: len(wanted), 1]))
        np.testing.assert_array_equal(found.xy[order], wanted)


@small
@uncompiled_only
@pytest.mark.parametrize("dtype", [*PIXEL_TYPES, *HALVES])
def test_all_types(dtype):
    image = levels((3, 20, 70), "float32", 9 if dtype != "bool" else 2)
    image = image.astype(half_type(dtype) if dtype in HALVES else dtype)
    options = {"k": 50, "threshold": 0, "radius": 2}
    for turned in (image, image[:, ::-1, ::2]):
        assert_agrees(PEAKS, fc.decode.peaks(turned, **options), (turned,), options)


@small
@uncompiled_only
def test_integers_that_floats_take_for_equal():
    least = 2**53
    image = np.zeros((5, 9), np.int64)
    image[2, 2:5], image[1, 7] = [least, least + 1, least], least + 2
    found = fc.decode.peaks(image, k=3)
    np.testing.assert_array_equal(found.xy[:2], [[7, 1], [3, 2]])
    assert found.count == 2


@small
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("threshold", [-np.inf, -1e300, -129, -0.5, 0, 0.2, 1, 127, 127.5, 255, 300, 1e300, np.inf])
def test_the_limit_is_the_threshold(dtype, threshold):
    """A pixel is above the threshold, in the type of the score, where it is above the limit, in its own."""
    dtype, number = np.dtype(dtype), np.float64 if dtype == "float64" else np.float32
    limit = formula.limit_of(threshold, dtype, np.dtype(number))
    assert type(limit) is dtype.type
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    pixels = np.array([info.min, -1 if info.min else 0, 0, 1, 126, 127, 200 if info.max > 127 else 3, info.max], dtype)
    with np.errstate(over="ignore"):
        wanted = pixels.astype(number) > number(threshold)
    # the least of all integers is never a peak: nothing beside it is less
    is_other = pixels != info.min
    np.testing.assert_array_equal((pixels > limit)[is_other], wanted[is_other])


@small
@pytest.mark.parametrize(
    "refine",
    [pytest.param(refine, marks=() if refine in ("dark", None) else uncompiled_only) for refine in REFINEMENTS],
)
def test_a_peak_is_refined_as_argmax_does(refine):
    maps = spots((12, 24, 30), 1, noise=0.005)
    maps[0, 0, 7] = 2  # on the border
    options = {"refine": refine, "sigma": 2.0}
    found, wanted = fc.decode.peaks(maps, k=1, **options), fc.decode.argmax(maps, **options)
    np.testing.assert_array_equal(found.xy[:, 0], wanted.xy)
    np.testing.assert_array_equal(found.score[:, 0], wanted.score)
    np.testing.assert_array_equal(found.status[:, 0] & ~TRUNCATED, wanted.status)


@small
def test_a_plateau_is_not_refined():
    image = np.zeros((20, 20), np.float32)
    image[9:11, 9:11], image[4, 4:7] = 1, [0.4, 0.5, 0.3]
    found = fc.decode.peaks(image, refine="dark", k=2)
    np.testing.assert_array_equal(found.xy[0], [9.5, 9.5])
    assert found.status[0] == PLATEAU
    assert 4.7 < found.xy[1, 0] < 5


@pytest.mark.parametrize("count", [30, 3000])
@compiled_only
def test_memory_does_not_depend_on_the_number_of_maps_or_maxima(count):
    """Beyond the result a call takes less than the marks of some maps, whose pages it does not even touch."""
    heatmaps = np.random.default_rng(3).random((count, 64, 48), np.float32)
    out = fc.decode.peaks(heatmaps)
    assert (out.count == 20).all()
    tracemalloc.start()
    fc.decode.peaks(heatmaps, out=out)
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < (cpu.TASKS + 1) * (64 * 48 + 1000)


@small
@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("k", [1, 5, 30, 64, 200])
@pytest.mark.parametrize("name", ["noise", "ties", "NaN", "plateau"])
def test_one_map_on_all_threads(monkeypatch, rows, k, name):
    """Each looks at some rows; where pixels are equal the map is looked at as a whole."""
    monkeypatch.setattr(cpu, "SERIAL_LIMIT", 0)
    monkeypatch.setattr(cpu, "ROWS", rows)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 8)
    heatmaps = dense((2, 41, 37))
    if name == "ties":
        heatmaps = levels((2, 41, 37), "float32", 30)
    elif name == "NaN":
        heatmaps[1, 33, 5] = np.nan
    elif name == "plateau":
        heatmaps[0, 10:30, 4] = 9
    for radius in (1, 2):
        options = {"k": k, "radius": radius, "threshold": 0.1}
        found = fc.decode.peaks(heatmaps, **options)
        assert_agrees(PEAKS, found, (heatmaps,), options)
    assert found.count.max() > min(k - 1, 30)
    assert (found.count[1] == 0) == (name == "NaN")


@compiled_only
def test_any_number_of_threads():
    heatmaps = levels((300, 48, 64), "uint8", 40)
    before = numba.get_num_threads()
    try:
        results = []
        for threads in {1, before}:
            numba.set_num_threads(threads)
            results.append(fc.decode.peaks(heatmaps, threshold=30, radius=2))
    finally:
        numba.set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


_WRONG = [
    ({"k": 0}, ValueError, "k: expected an integer from 1 to 2147483646; got 0"),
    ({"k": 2.0}, TypeError, "k: expected an integer; got 2.0"),
    ({"k": True}, TypeError, "k: expected an integer; got True"),
    ({"radius": 0}, ValueError, "radius: expected an integer from 1 to 65535; got 0"),
    ({"radius": None}, TypeError, "radius: expected an integer; got None"),
    ({"threshold": "low"}, TypeError, "threshold: expected a number or None; got 'low'"),
    ({"threshold": np.nan}, ValueError, "threshold: expected a number that is not NaN; got nan"),
    ({"nan": "skip"}, ValueError, 'nan: expected "propagate" or "ignore"; got \'skip\''),
    ({"refine": "best"}, ValueError, "refine: expected one of "),
    ({"sigma": 0}, ValueError, "sigma: expected a number from 0.001 to 1e+06; got 0"),
    ({"blur": 4}, ValueError, "blur: expected an odd integer from 1 to 65535; got 4"),
    ({"compat": "mmpose"}, ValueError, "compat: expected None or \"sleap\"; got 'mmpose'"),
    ({"compat": "sleap", "radius": 2}, ValueError, "compat: expected radius=1 and refine=None for 'sleap'; got 2 and"),
    ({"compat": "sleap", "refine": "dark"}, ValueError, "compat: expected radius=1 and refine=None for 'sleap'"),
]


@small
@pytest.mark.parametrize(("options", "error", "message"), _WRONG, ids=repr)
def test_errors(options, error, message):
    with pytest.raises(error) as raised:
        fc.decode.peaks(np.zeros((3, 4), np.float32), **options)
    assert str(raised.value).startswith(message)


@small
@pytest.mark.parametrize("member", ["xy", "score", "status", "count"])
def test_out_of_another_shape(member):
    image = dense((2, 9, 9))
    out = fc.decode.peaks(image, k=3)
    wrong = out._replace(**{member: getattr(out, member)[:1].copy()})
    with pytest.raises(ValueError, match=rf"^out\.{member}: expected shape"):
        fc.decode.peaks(image, k=3, out=wrong)
    with pytest.raises(ValueError, match=r"^out\.xy: expected shape \(2, 4, 2\); got \(2, 3, 2\)"):
        fc.decode.peaks(image, k=4, out=out)
