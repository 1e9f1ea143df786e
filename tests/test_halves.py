"""Floats of 16 bits: all 65,536 of each format, compiled and as twins, on several processors.

``python -m tests.test_halves`` makes the checks for whatever processor NUMBA_CPU_NAME names.
"""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from fastcoord._halves import FORMATS, GREATEST, LOWEST, format_of, narrowed
from fastcoord._memory import gather, item_bytes, load, load_first, load_line, memory, store
from fastcoord._vector import convert
from tests.test_vector import TARGETS, assert_same, variants

pytestmark = pytest.mark.small

BITS = np.arange(1 << 16, dtype=np.uint16)
formats = pytest.mark.parametrize("form", FORMATS)


def values(form):
    """The number that each of `BITS` stands for, from the definition of the format."""
    exponent_bits, fraction_bits = {"float16": (5, 10), "bfloat16": (8, 7)}[form]
    bias = (1 << (exponent_bits - 1)) - 1
    sign = np.where(BITS >> 15, -1.0, 1.0)
    exponent = (BITS >> fraction_bits).astype(np.int64) & ((1 << exponent_bits) - 1)
    fraction = (BITS & ((1 << fraction_bits) - 1)).astype(np.float64) / (1 << fraction_bits)
    normal = np.ldexp(1 + fraction, exponent - bias)
    numbers = np.where(exponent == 0, np.ldexp(fraction, 1 - bias), normal)
    last = exponent == (1 << exponent_bits) - 1
    numbers = np.where(last, np.where(fraction == 0, np.inf, np.nan), numbers)
    return (sign * numbers).astype(np.float32)


def read(halves, one, loaded, gathered, single, double):
    place, results, others = memory(halves), memory(loaded), memory(gathered)
    for at in range(0, halves.size, 16):
        store(results, at, load(place, at, 16))
        store(others, at, gather(place, at + 15, -1, 16, 16))
    for i in range(0, halves.size, 251):
        single[i] = convert(place[i], one)
        double[i] = convert(place[i], 1.0)


def read_first(halves, first, line, sizes):
    place = memory(halves)
    for count in range(17):
        store(memory(first), 16 * count, load_first(place, 3, count, 16))
    store(memory(line), 0, load_line(place, 5, 30))
    sizes[0] = item_bytes(place)


def check(form, runs=variants):
    halves, expected = BITS.view(FORMATS[form]), values(form)
    for run in runs(read):
        loaded, gathered, single = (np.zeros(BITS.size, np.float32) for _ in range(3))
        double = np.zeros(BITS.size)
        run(halves, np.float32(1), loaded, gathered, single, double)
        assert_same(loaded, expected, any_nan=True)
        assert_same(gathered, expected.reshape(-1, 16)[:, ::-1].reshape(-1), any_nan=True)
        assert_same(single[::251], expected[::251], any_nan=True)
        assert_same(double[::251], expected[::251].astype(np.float64), any_nan=True)


@formats
def test_all_values(form):
    check(form)


@formats
def test_some_elements(form):
    halves, expected = BITS[:40].view(FORMATS[form]), values(form)[:40]
    for run in variants(read_first):
        first, line, sizes = np.zeros((17, 16), np.float32), np.zeros(32, np.float32), np.zeros(1, np.int64)
        run(halves, first, line, sizes)
        for count in range(17):
            assert_same(first[count, :count], expected[3 : 3 + count])
            assert (first[count, count:] == -np.inf).all()
        assert_same(line[:30], expected[5:35])
        assert (line[30:] == -np.inf).all()
        assert sizes[0] == 2


@formats
def test_constants(form):
    finite = values(form)[np.isfinite(values(form))]
    assert values(form)[LOWEST[form]] == -np.inf
    assert finite.max() == GREATEST[form]


@formats
def test_numbers_are_rounded_to_the_nearest(form):
    held = values(form)
    for bits in np.random.default_rng(1).integers(1, LOWEST[form] & 0x7FFF, 300):
        low, high = float(held[bits - 1]), float(held[bits])
        if high > GREATEST[form]:
            continue
        middle = (low + high) / 2  # a float64 holds it
        even = bits - 1 if bits % 2 else bits
        for number, wanted in ((high, bits), (middle, even), (np.nextafter(middle, 0), bits - 1)):
            assert narrowed(number, form) == wanted
            assert narrowed(-number, form) == wanted | 0x8000
        assert narrowed(np.nextafter(middle, np.inf), form) == bits
    assert np.isnan(held[narrowed(np.nan, form)])
    assert held[narrowed(np.inf, form)] == np.inf
    assert narrowed(0.0, form) == 0


def test_other_records_are_none():
    for dtype in (np.dtype([("float16", "u1")]), np.dtype([("a", "u2")]), np.dtype("u2"), np.dtype("f2")):
        assert format_of(dtype) is None
    with pytest.raises(ValueError, match="expected a contiguous, aligned array of numbers"):
        memory(np.zeros(3, [("a", "u2")]))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="about compiled code")
@pytest.mark.parametrize("target", TARGETS)
def test_on_each_processor(target):
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_halves"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode == 3:
        pytest.skip(f"needs a processor with the instructions of {target}")
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    from tests.test_vector import processor_flags

    if not TARGETS[numba.config.CPU_NAME] <= processor_flags():
        sys.exit(3)
    for name in FORMATS:
        check(name, lambda function: variants(function)[1:])
