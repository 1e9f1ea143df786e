"""What the contract tests share: calls that work, outputs that tell whether they were written, and messages.

The tests go by the room: what holds for one decoder holds for all of them.
"""

import re

import numpy as np
import pytest

from tests import cases
from tests.operations import OPERATIONS, members

CANVAS = (7, 9)

decoders = pytest.mark.parametrize(
    "decoder", [operation for operation in OPERATIONS if operation.room == "decode"], ids=str
)
single_decoders = pytest.mark.parametrize(  # which give one answer for each map
    "decoder", [o for o in OPERATIONS if o.room == "decode" and o.name != "decode.peaks"], ids=str
)
encoders = pytest.mark.parametrize(
    "encoder", [operation for operation in OPERATIONS if operation.room == "encode"], ids=str
)
networks = pytest.mark.parametrize(
    "network", [operation for operation in OPERATIONS if operation.room == "CoordNet"], ids=str
)
# Of maps: what others promise stands in their own tests
OF_MAPS = [operation for operation in OPERATIONS if operation.room != "simcc"]
operations = pytest.mark.parametrize("operation", OF_MAPS, ids=str)


def images(*batch):
    """One-hot maps."""
    return cases.one_hot((*batch, *CANVAS))


def points(*batch):
    """Points of the canvas."""
    return cases.points_within(batch, *CANVAS)


def valid(operation, *batch):
    """Arguments and options of a call that works, for a batch of this shape."""
    if operation.room == "encode":
        return (points(*batch),), {"shape": CANVAS}
    return (images(*batch),), {}


def said(*parts):
    """A message that holds these parts in this order, whatever stands between them."""
    return "(?s)" + ".*".join(re.escape(str(part)) for part in parts)


def filled(result, byte=0x7F):
    """Arrays like those of a result, filled with a byte that no result holds."""
    arrays = {}
    for name, array in members(result).items():
        if array is not None:
            array = np.empty_like(array)
            array.reshape(-1).view(np.uint8)[:] = byte
        arrays[name] = array
    return type(result)(**arrays) if hasattr(result, "_asdict") else arrays["maps"]


def is_untouched(out, byte=0x7F):
    return all(
        (np.ascontiguousarray(array).reshape(-1).view(np.uint8) == byte).all()
        for array in members(out).values()
        if isinstance(array, np.ndarray)
    )


def with_member(out, name, array):
    """`out` with another array: the member of this name, or the only one."""
    return out._replace(**{name: array}) if hasattr(out, "_replace") else array


def foreign(dtype):
    """In the byte order that this machine does not have."""
    return np.dtype(dtype).newbyteorder()


def path_of(out, name):
    """How a message names a member."""
    return f"out.{name}:" if hasattr(out, "_replace") else "out:"
