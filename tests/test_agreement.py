"""Every operation agrees with its reference in every case, writes all of its result and nothing else."""

import numba
import numpy as np
import pytest

import fastcoord as fc
from tests import cases
from tests.agreement import allowed_error, assert_agrees, assert_close
from tests.operations import OPERATIONS, members

GUARD = 64  # bytes before and after a contiguous output


_ALL = [
    pytest.param(operation, case, id=f"{operation}-{case}", marks=[pytest.mark.small] if case.is_small else [])
    for operation in OPERATIONS
    for case in operation.cases()
]


class Contiguous:
    """An array in the middle of others' memory, which begins on an odd cache line's offset for its item."""

    garbage = 0xFF  # NaN as a float, −1 as an integer

    def __init__(self, array):
        before = GUARD + array.itemsize
        self.memory = np.full(array.nbytes + before + GUARD, self.garbage, np.uint8)
        # NumPy's memory begins at a multiple of 16 bytes
        self.array = self.memory[before : before + array.nbytes].view(array.dtype).reshape(array.shape)
        self.before = self.memory.copy()

    def assert_only(self, array):
        """`array` was written, and nothing beside it."""
        wanted = self.before.copy()
        view = wanted[GUARD + array.itemsize : GUARD + array.itemsize + array.nbytes]
        view[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        np.testing.assert_array_equal(self.memory, wanted)


class Strided:
    """Every second element, on every axis, of a larger array, the last axis backwards."""

    garbage = 0x7F

    def __init__(self, array):
        self.memory = np.empty(tuple(2 * n + 1 for n in array.shape), array.dtype)
        self.memory.reshape(-1).view(np.uint8)[:] = self.garbage
        self.array = self._view(self.memory)
        self.before = self.memory.copy()

    @staticmethod
    def _view(memory):
        return memory[(slice(1, None, 2),) * (memory.ndim - 1) + (slice(-2, None, -2),)] if memory.ndim else memory

    def assert_only(self, array):
        wanted = self.before.copy()
        self._view(wanted)[...] = array
        # as bytes: a bool of 0x7F is no bool
        np.testing.assert_array_equal(self.memory.reshape(-1).view(np.uint8), wanted.reshape(-1).view(np.uint8))


def _given(result, guard):
    """Guarded outputs for what looks like `result`: the `out` argument, and the guards by name."""
    guards = {name: None if array is None else guard(array) for name, array in members(result).items()}
    arrays = {name: guarded and guarded.array for name, guarded in guards.items()}
    return (type(result)(**arrays) if hasattr(result, "_asdict") else arrays["maps"]), guards


@pytest.mark.parametrize(("operation", "case"), _ALL)
def test_agrees_with_reference(operation, case):
    arguments = case.arguments
    result = operation.function(*arguments, **case.options)
    assert_agrees(operation, result, arguments, case.options)
    if case.name.startswith("large, "):
        return
    for guard in (Contiguous, Strided):
        out, guards = _given(result, guard)
        returned = operation.function(*arguments, **case.options, out=out)
        assert returned is out
        for name, array in members(result).items():
            if array is not None:
                guards[name].assert_only(array)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_results_do_not_depend_on_the_number_of_threads(operation):
    with_threads = [case for case in operation.cases() if case.name.startswith("large")]
    assert len(with_threads) >= 3
    for case in with_threads:
        arguments = case.arguments
        try:
            results = []
            for threads in (1, numba.config.NUMBA_NUM_THREADS):
                numba.set_num_threads(threads)
                results.append(operation.function(*arguments, **case.options))
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        for (name, one), many in zip(members(results[0]).items(), members(results[1]).values(), strict=True):
            if one is not None:
                assert one.tobytes() == many.tobytes(), f"{case}: {name}"


@pytest.mark.small
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_cases_are_the_same_each_time_and_have_their_own_names(operation):
    all_cases = list(operation.cases())
    assert len({case.name for case in all_cases}) == len(all_cases)
    for case in all_cases:
        if case.is_small:
            for first, second in zip(case.arguments, case.arguments, strict=True):
                assert (first.shape, first.dtype, first.tobytes()) == (second.shape, second.dtype, second.tobytes())


# The rule and the guards can fail


@pytest.mark.small
def test_rule_allows_twice_the_error_of_plain_code_and_no_more():
    precise, plain = np.array([100.0, 0.0]), np.array([100.001, 0.0], np.float32)
    allowed = allowed_error(precise, plain, np.float32)
    np.testing.assert_allclose(allowed, [0.002 + 4 * 2.0**-23 * 100, 4 * 2.0**-23], rtol=1e-2)
    assert_close("xy", np.array([100.002, 4e-7], np.float32), precise, plain)
    for wrong in ([100.0022, 0], [100, 5e-7], [np.nan, 0], [100, np.inf]):
        with pytest.raises(AssertionError, match="xy"):
            assert_close("xy", np.array(wrong, np.float32), precise, plain)


@pytest.mark.small
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rule_wants_nan_and_infinities_where_the_reference_has_them(value):
    precise = np.array([value, 1.0])
    assert_close("xy", precise.astype(np.float32), precise, precise)
    for wrong in (np.nan, np.inf, -np.inf, 0):
        if not np.array_equal(wrong, value, equal_nan=True):
            with pytest.raises(AssertionError, match="NaN and infinities"):
                assert_close("xy", np.array([wrong, 1], np.float32), precise, precise)


@pytest.mark.small
def test_wrong_results_are_found():
    operation = next(operation for operation in OPERATIONS if operation.name == "decode.onehot")
    images = cases.one_hot((2, 5, 21))
    right = fc.decode.onehot(images)
    assert_agrees(operation, right, (images,), {})
    for wrong in (
        right._replace(xy=right.xy + 1e-5),
        right._replace(xy=right.xy[..., ::-1]),
        right._replace(xy=right.xy[0]),
        right._replace(score=np.nextafter(right.score, np.float32(2))),
        right._replace(status=right.status + 1),
        right._replace(covariance=right.xy),
        right._replace(score=None),
    ):
        with pytest.raises(AssertionError):
            assert_agrees(operation, wrong, (images,), {})


@pytest.mark.small
@pytest.mark.parametrize("guard", [Contiguous, Strided])
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_unwritten_and_stray_elements_are_found(guard, dtype):
    array = np.ones((3, 4), dtype)

    def written():
        guarded = guard(array)
        guarded.array[...] = array
        return guarded

    written().assert_only(array)
    unwritten = guard(array)
    unwritten.array[:, :3] = 1
    with pytest.raises(AssertionError):
        unwritten.assert_only(array)
    for beside in (0, -1):
        stray = written()
        stray.memory.reshape(-1).view(np.uint8)[beside] = 3
        with pytest.raises(AssertionError):
            stray.assert_only(array)
