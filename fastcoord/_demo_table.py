"""The table of times that both halves of `fastcoord demo` print."""

from collections.abc import Collection, Iterable, Mapping

import numba
from rich.table import Table

import fastcoord

__all__ = ["speed_table", "threads"]


def speed_table(
    nbytes: int,
    seconds: Mapping[str, float],
    rows: Iterable[tuple[str, str, str]],
    readers: Collection[str],
    writers: Collection[str],
) -> tuple[Table, list[str]]:
    """A table of times, and the ceilings in words.

    `seconds` has all of them by name, also of the `readers` and `writers` of the same `nbytes`. A row is a label, a
    name and "read" or "write", which of the ceilings it stands under. What reads is compared with the row "decode".
    """
    fastest = {
        "read": min(readers, key=lambda name: seconds[name]),
        "write": min(writers, key=lambda name: seconds[name]),
    }
    table = Table()
    for heading in ("", "ms", "GB/s", "of the ceiling", "× decode"):
        table.add_column(heading, justify="right" if heading else "left")
    for label, name, kind in rows:
        share = seconds[fastest[kind]] / seconds[name]
        digits = 2 if share >= 0.1 else 4
        ratio = seconds[name] / seconds["decode"]
        times = f"{ratio:,.{1 if ratio >= 0.95 else 3}f}" if kind == "read" else ""
        cells = f"{seconds[name] * 1e3:,.2f}", _speed(nbytes, seconds[name]), f"{share:.{digits}f} {kind}", times
        table.add_row(label, *cells)
    notes = []
    for kind, all_of_them in (("read", f"{len(readers)} readers"), ("write", f"{len(writers)} writers")):
        name = fastest[kind]
        ceiling = _speed(nbytes, seconds[name])
        notes.append(f"{kind} ceiling: {ceiling} GB/s ({name}: the fastest of {all_of_them})")
    return table, notes


def threads() -> str:
    """How many there are, and of which version."""
    count = numba.get_num_threads()
    return f"{count} thread{'s' if count != 1 else ''} (fastcoord {fastcoord.__version__})"


def _speed(nbytes: int, seconds: float) -> str:
    speed = nbytes / seconds / 1e9
    return f"{speed:.1f}" if speed >= 1 else f"{speed:.3f}"
