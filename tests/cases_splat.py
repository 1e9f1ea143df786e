"""What `encode.splat` is tried on."""

from collections.abc import Iterator

from tests import cases
from tests.cases import Case


def splats() -> Iterator[Case]:
    """Those of `cases.points`, but for halves; and grids of float64: one of float32 rounds the points."""
    for case in cases.points():
        if not case.is_half:
            yield case
    for case in cases.points_in_grids():
        if case.name.endswith("float64"):
            yield case
