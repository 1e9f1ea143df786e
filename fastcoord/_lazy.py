"""Public functions whose rooms are imported when they are first asked for (PEP 562).

So an import of fastcoord costs what it needs, and not the modules and dispatchers of every operation.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def from_rooms(package: str, names: Sequence[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package of rooms: each name is in that of its operation."""
    known = frozenset(names)

    def find(name: str) -> Any:
        if name not in known:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        room = importlib.import_module(f"{package}._{name.removesuffix('_vjp')}")
        found = getattr(room, name)
        setattr(sys.modules[package], name, found)  # the next time nobody is asked
        return found

    return find, lambda: sorted({*vars(sys.modules[package]), *known})
