"""Real input: what scikit-image and scikit-learn ship, through the operations that people use on it."""

import numpy as np
import pytest
from skimage import data
from skimage.feature import match_template
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
