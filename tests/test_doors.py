"""What decoders get from the door they share, by decoders that answer without looking at the maps."""

import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _decode
from tests.contract import said

pytestmark = pytest.mark.small


def decoded(array, out=None, grid=None, covariance=True):
    """By a decoder whose covariances count up from 0."""

    def decode(maps, numbers, xy, score, spread, status):
        assert spread.shape == (4 * score.size if covariance else 0,)
        assert numbers.dtype == xy.dtype == score.dtype == spread.dtype
        xy[...], score[...], status[...] = 1, 2, 3
        spread[...] = np.arange(spread.size)

    return _decode.decoded("maps", array, (-2, -1), grid, out, decode, covariance)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)], ids=repr)
def test_covariance(batch, dtype):
    maps, number = np.zeros((*batch, 4, 5), dtype), "float64" if dtype == "float64" else "float32"
    result = decoded(maps)
    wanted = np.arange(4 * np.prod(batch, dtype=int), dtype=number).reshape(*batch, 2, 2)
    assert result.covariance.dtype == number
    np.testing.assert_array_equal(result.covariance, wanted)
    out = fc.Decoded(*(np.zeros_like(member) for member in result))
    assert decoded(maps, out) is out
    np.testing.assert_array_equal(out.covariance, wanted)
    apart = np.zeros((*batch, 2, 3), number)[..., :2]
    decoded(maps, out._replace(covariance=apart))
    np.testing.assert_array_equal(apart, wanted)
    assert decoded(maps, covariance=False).covariance is None


def test_covariance_in_the_library_of_the_maps():
    torch = pytest.importorskip("torch")
    maps = torch.zeros(2, 4, 5)
    result = decoded(maps)
    assert result.covariance.dtype == torch.float32
    assert result.covariance.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    version = result.covariance._version
    decoded(maps, fc.Decoded(*(torch.zeros_like(member) for member in result))._replace(covariance=result.covariance))
    assert result.covariance._version > version


@pytest.mark.parametrize(
    ("member", "error", "expected"),
    [
        (None, TypeError, ("out.covariance: expected an array", "got NoneType")),
        (np.zeros((2, 2, 2)), TypeError, ("out.covariance: expected dtype", "<f4", "got <f8")),
        (np.zeros((2, 2), np.float32), ValueError, ("out.covariance: expected shape (2, 2, 2)", "got (2, 2)")),
    ],
)
def test_covariance_that_does_not_fit(member, error, expected):
    maps = np.zeros((2, 4, 5), np.float32)
    with pytest.raises(error, match=said(*expected)):
        decoded(maps, decoded(maps)._replace(covariance=member))


def test_covariance_that_overlaps():
    maps = np.zeros((2, 4, 5), np.float32)
    result = decoded(maps)
    with pytest.raises(ValueError, match=said("out.xy: expected memory of its own")):
        decoded(maps, result._replace(xy=result.covariance[:, 0]))
    with pytest.raises(ValueError, match=said("out.covariance: expected memory of its own")):
        decoded(maps, result._replace(covariance=maps.reshape(-1)[:8].reshape(2, 2, 2)))


def test_covariance_that_nobody_asks_for():
    maps = np.zeros((2, 4, 5), np.float32)
    with pytest.raises(TypeError, match=said("out.covariance: expected None", "got ndarray")):
        decoded(maps, decoded(maps), covariance=False)
