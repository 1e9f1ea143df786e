"""`_exponential` and `_reciprocal`: their errors, and what is exact."""

import numba
import numpy as np
import pytest

from fastcoord._exponential import exponential, rate
from fastcoord._memory import load, memory, store
from fastcoord._reciprocal import reciprocal

small = pytest.mark.small
UNCOMPILED = bool(numba.config.DISABLE_JIT)
ULPS = 1.9  # where a product and a sum are rounded once


def by_vectors(values, given, out):
    from_place, to_place = memory(values), memory(out)
    for k in range(0, values.size, 16):
        store(to_place, k, exponential(load(from_place, k, 16), given))


def by_scalars(values, given, out):
    for i in range(values.size):
        out[i] = exponential(values[i], given)


def reciprocals(values, out):
    for i in range(values.size):
        out[i] = reciprocal(values[i])


def compiled(function):
    return function if UNCOMPILED else numba.njit(error_model="numpy")(function)


def powers(values, temperature, walk=by_vectors):
    out = np.empty_like(values)
    compiled(walk)(values, tuple(rate(temperature, values.dtype)), out)
    return out


def units(computed, wanted):
    """The largest error in units in the last place."""
    error = np.abs(computed.astype(np.longdouble) - wanted)
    return float((error / np.spacing(wanted.astype(computed.dtype))).max())


@small
@pytest.mark.parametrize("walk", [by_vectors, by_scalars])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(dtype, walk):
    info = np.finfo(dtype)
    for temperature in (1.0, 1e-30, 1e30, 0.3):
        lowest = float(np.log(np.longdouble(info.tiny))) * temperature
        values = np.full(16, -0.0, dtype)
        values[:5] = 0, np.nan, -np.inf, lowest * 1.01, -np.nan
        if temperature < 1e5:
            values[5] = info.min
        found = powers(values, temperature, walk)
        np.testing.assert_array_equal(found[:5], [1, np.nan, 0, 0, np.nan])
        assert found[5] == (0 if temperature < 1e5 else 1)
        assert (found[6:] == 1).all()


@pytest.mark.parametrize("temperature", [1.0, 0.3, 7e5, 3e-9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error(dtype, temperature):
    factor = np.longdouble(rate(temperature, np.dtype(dtype)).factor)
    for lowest in (1, 20, 87 if dtype == "float32" else 700):
        values = (-np.random.default_rng(1).random(1 << 14) * lowest * temperature).astype(dtype)
        assert units(powers(values, temperature), np.exp2(values * factor)) <= ULPS
        assert units(powers(values, temperature, by_scalars), np.exp2(values * factor)) <= ULPS


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twin(dtype):
    """Rounded twice, a product is wrong by up to half a unit of itself."""
    values = (-np.random.default_rng(2).random(1 << 8) * 20).astype(dtype)
    assert units(powers(values, 1.0), np.exp(values.astype(np.longdouble))) <= ULPS + 20


@small
@pytest.mark.parametrize("temperature", [1.0, 1 / 3, 1e-30, 1e30])
def test_factor_is_rounded_once(temperature):
    exact = 1.4426950408889634074 / np.longdouble(temperature)
    for dtype in (np.float32, np.float64):
        factor = rate(temperature, np.dtype(dtype)).factor
        assert abs(np.longdouble(factor) - exact) <= 0.51 * np.longdouble(np.spacing(factor))


@small
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reciprocals_are_rounded_once(dtype):
    values = np.exp(np.random.default_rng(3).random(1000) * 40).astype(dtype)
    values[:4] = 1, 2, 3, 1 << 24
    out = np.empty_like(values)
    compiled(reciprocals)(values, out)
    assert units(out, 1 / values.astype(np.longdouble)) <= 0.51
    assert (out[[0, 1, 3]] == [1, 0.5, 2.0**-24]).all()
