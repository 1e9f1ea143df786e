"""What `encode.splat` is tried on."""

from collections.abc import Iterator

from tests import cases
from tests.cases import Case


def splats() -> Iterator[Case]:
    """Those of `cases.points`, but for halves; and grids, but of float32, which round the points."""
    for case in cases.points():
        if not case.is_half:
            yield case
    for case in cases.points_in_grids():
        if not case.name.endswith("float32"):
            yield case
