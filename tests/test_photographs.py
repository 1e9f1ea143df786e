"""Real input: what scikit-image and scikit-learn ship, through the operations that people use on it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter
from skimage import data
from skimage.feature import match_template, peak_local_max
from skimage.measure import centroid, label
from sklearn.datasets import load_digits

import fastcoord as fc

TEMPLATES = [(20, 300), (30, 40), (93, 150), (200, 240)]  # row and column of the top left pixel: coins, about 50 wide


def test_coins_are_found_by_their_own_pictures():
    coins = data.coins()
    patches = [coins[row : row + 50, column : column + 50] for row, column in TEMPLATES]
    responses = np.stack([match_template(coins, patch) for patch in patches]).astype(np.float32)
    decoded = fc.decode.argmax(responses, threshold=0.9)
    np.testing.assert_array_equal(decoded.xy, np.array(TEMPLATES)[:, ::-1])
    np.testing.assert_allclose(decoded.score, 1, rtol=1e-5)
    assert not decoded.status.any()


@pytest.fixture(scope="module")
def camera():
    return data.camera().astype(np.float64)


def seen(camera, x, y, size=120, across=4):
    """The scene as a coarser sensor sees it: each pixel the mean of 4×4, from (x, y) quarters of a pixel on."""
    cut = camera[16 + y : 16 + y + across * size, 16 + x : 16 + x + across * size]
    return cut.reshape(size, across, size, across).mean((1, 3))


def correlation(first, second, sigma):
    """The phase correlation of two pictures, zero shift in the middle; one shift gives a Gaussian of width `sigma`."""
    window = np.outer(np.hanning(len(first)), np.hanning(len(first)))
    spectra = [np.fft.fft2((picture - picture.mean()) * window) for picture in (first, second)]
    cross = spectra[0] * spectra[1].conj()
    frequency = np.fft.fftfreq(len(first))
    blur = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    return np.fft.fftshift(np.fft.ifft2(cross / np.abs(cross) * blur).real).astype(np.float32)


@pytest.mark.parametrize(("refine", "most"), [("gaussian", 0.03), ("quadratic", 0.03), ("dark", 0.03), (None, 0.6)])
def test_shifts_of_a_camera(camera, refine, most):
    """Quarters of a pixel, which are known, are measured; whole pixels cannot tell them."""
    sigma = 1.5
    shifts = np.array([(x, y) for x in range(-8, 8, 3) for y in range(8)]) / 4
    first = seen(camera, 0, 0)
    surfaces = np.stack([correlation(first, seen(camera, *np.int64(4 * shift)), sigma) for shift in shifts])
    options = {"sigma": sigma} if refine == "gaussian" else {}
    decoded = fc.decode.argmax(surfaces, refine=refine, **options)
    error = decoded.xy - 60 - shifts
    assert np.abs(error).max() < most
    if refine is None:
        assert np.abs(error).max() > 0.4


def test_digits_have_the_moments_that_numpy_finds():
    images = load_digits().images  # 1797 of 8×8, whole numbers from 0 to 16
    decoded = fc.decode.center_of_mass(images.astype(np.uint8), covariance=True)
    mass = images.sum((1, 2))
    y, x = np.mgrid[:8, :8]
    mean = np.stack([(images * axis).sum((1, 2)) / mass for axis in (x, y)], -1)
    dx, dy = (axis - mean[:, k, None, None] for k, axis in enumerate((x, y)))
    spread = [(images * a * b).sum((1, 2)) / mass for a in (dx, dy) for b in (dx, dy)]
    np.testing.assert_array_equal(decoded.score, mass)
    np.testing.assert_allclose(decoded.xy, mean, rtol=3e-7)
    np.testing.assert_allclose(decoded.covariance, np.stack(spread, -1).reshape(-1, 2, 2), rtol=3e-6, atol=1e-6)
    one, zero = load_digits().target == 1, load_digits().target == 0
    assert decoded.covariance[one, 0, 0].mean() < 0.7 * decoded.covariance[zero, 0, 0].mean()  # ones are narrow


@pytest.fixture(scope="module")
def galaxies():
    """The Hubble Deep Field in grey, as it is (with many equal pixels) and smoothed."""
    grey = data.hubble_deep_field().max(-1)
    return grey, gaussian_filter(grey.astype(np.float32), 2)


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_spots_of_a_deep_field(galaxies, radius):
    """Where no two pixels near each other are equal, the peaks are those of scikit-image."""
    smooth = galaxies[1]
    wanted = peak_local_max(smooth, min_distance=radius, threshold_abs=40, exclude_border=False)
    found = fc.decode.peaks(smooth, k=2000, threshold=40, radius=radius)
    count = int(found.count)
    assert count > 500
    assert not found.status[:count].any()
    assert {tuple(at) for at in found.xy[:count]} == {(x, y) for y, x in wanted}
    np.testing.assert_array_equal(found.score[:count], np.sort(smooth[tuple(wanted.T)])[::-1])


def test_plateaus_of_a_deep_field(galaxies):
    """In the picture itself scikit-image finds pixels of plateaus, some of them beside greater ones."""
    picture = galaxies[0]
    found = fc.decode.peaks(picture, k=5000, threshold=60)
    count = int(found.count)
    is_plateau = found.status[:count] == int(fc.Status.PLATEAU)
    assert is_plateau.sum() > 100
    lone = {(int(x), int(y)) for x, y in found.xy[:count][~is_plateau]}
    theirs = {(x, y) for y, x in peak_local_max(picture, min_distance=1, threshold_abs=60, exclude_border=False)}
    assert lone <= theirs  # what is one pixel both find
    equal = maximum_filter(picture, footprint=[[1, 1, 1], [1, 0, 1], [1, 1, 1]]) == picture
    assert all(equal[y, x] for x, y in theirs - lone)  # all others have an equal pixel beside them
    plateaus = label_of_equal(picture)
    where = {plateaus[y, x] for x, y in theirs - lone}
    assert len(where) > is_plateau.sum()  # some are none: a pixel of theirs has a greater one beside it


def label_of_equal(picture):
    """A number for each set of equal pixels that hang together."""
    return label(picture.astype(int) + 1, connectivity=2)


def test_spots_between_the_pixels(galaxies):
    """Peaks that stand alone are refined to where the centroid of the pixels round them is."""
    smooth = galaxies[1]
    found = fc.decode.peaks(smooth, k=2000, threshold=60, radius=8, refine="quadratic")
    whole = fc.decode.peaks(smooth, k=2000, threshold=60, radius=8)
    off = []
    for at, peak in zip(whole.xy[: int(whole.count)].astype(int), found.xy, strict=False):
        x, y = at
        if 4 <= x < smooth.shape[1] - 4 and 4 <= y < smooth.shape[0] - 4:
            window = smooth[y - 3 : y + 4, x - 3 : x + 4]
            row, column = centroid(np.maximum(window - window.min(), 0))
            off.append(peak - (x + column - 3, y + row - 3))
    off = np.abs(off).max(1)
    assert len(off) > 100
    assert np.median(off) < 0.15
    assert (off < 0.6).mean() > 0.95
