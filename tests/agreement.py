"""What it means that a result agrees with the reference: one rule for every operation, type and target."""

from typing import Any

import numpy as np

from tests.operations import Operation, members

FACTOR = 2  # times the error of plain code
SLACK = 4  # units in the last place, for results where plain code happens to make no error


def allowed_error(precise: Any, plain: Any, dtype: Any) -> Any:
    """Per element: 2 × the error of plain NumPy in the working type + 4·eps·max(1, abs(reference))."""
    with np.errstate(all="ignore"):
        plain_error = np.abs(plain.astype(precise.dtype) - precise)
        # where plain code overflows or is undone by a cancelled infinity, it excuses nothing
        plain_error = np.where(np.isfinite(plain_error), plain_error, 0)
        return FACTOR * plain_error + SLACK * np.finfo(dtype).eps * np.maximum(1, np.abs(precise))


def assert_close(name: str, computed: Any, precise: Any, plain: Any) -> None:
    """Finite where the reference, rounded to the type of `computed`, is finite, and within the allowed error there.

    NaN and the infinities stand where they stand in the reference.
    """
    computed = np.asarray(computed)
    with np.errstate(all="ignore"):
        rounded = precise.astype(computed.dtype)
        finite = np.isfinite(rounded)
        error = np.abs(computed.astype(precise.dtype) - precise)
        allowed = allowed_error(precise, np.asarray(plain), computed.dtype)
    np.testing.assert_array_equal(computed[~finite], rounded[~finite], err_msg=f"{name}: NaN and infinities")
    wrong = finite & ~(error <= allowed)
    if wrong.any():
        where = tuple(map(int, np.argwhere(wrong)[0]))
        raise AssertionError(
            f"{name}{list(where)}: {computed[where]!r}, but the reference is {precise[where]!r} ± {allowed[where]:.3g} "
            f"(plain NumPy: {plain[where]!r}); so are {int(wrong.sum())} of {wrong.size}"
        )


def assert_agrees(operation: Operation, result: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """`result`, as arrays that NumPy reads, is the operation's answer for these arguments.

    The reference is computed in float64; in the widest type there is where the result itself is float64.
    """
    computed = {name: None if array is None else np.asarray(array) for name, array in members(result).items()}
    exact = operation.exact_with(options)
    working = np.result_type(
        np.float32, *(a.dtype for name, a in computed.items() if _is_float(a) and name not in exact)
    )
    precise_type = np.float64 if working == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        precise = operation.reference(*arguments, working=precise_type, **options)
        plain = precise
        if not exact.issuperset(computed):
            plain = operation.reference(*arguments, working=working, **options)
    assert len(computed) == len(precise)
    for (name, array), wanted, approximate in zip(computed.items(), precise, plain, strict=True):
        assert (array is None) == (wanted is None), f"{name}: expected {wanted}; got {array}"
        if array is None:
            continue
        assert array.shape == wanted.shape, f"{name}: expected shape {wanted.shape}; got {array.shape}"
        if name in exact or not _is_float(array):
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(comparable(array), comparable(wanted.astype(array.dtype)), err_msg=name)
        else:
            assert_close(name, array, wanted, approximate)


def comparable(array: Any) -> Any:
    """`array` in a type whose NaN NumPy knows: bfloat16 as float32."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _is_float(array: Any) -> bool:
    return array is not None and array.dtype.kind == "f"
