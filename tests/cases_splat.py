"""What `encode.splat` is tried on."""

from collections.abc import Iterator
from dataclasses import replace

from tests import cases
from tests.cases import Case


def splats() -> Iterator[Case]:
    """Those of `cases.points`, on the CPU those of halves too; and grids, but of float32, which round the points."""
    for case in cases.points():
        yield replace(case, is_only_cpu=case.is_half)
    for case in cases.points_in_grids():
        if not case.name.endswith("float32"):
            yield case
