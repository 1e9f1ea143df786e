"""Stored figures: one JSON file for each machine, written by `python -m bench`, read by `bench.report`.

``{"machine": {…}, "benchmarks": {name: {…}}}``: where and how, as in machine.py; and each benchmark's ``extra_info``,
with the raw times of every call in seconds.
"""

import json
import re
from pathlib import Path
from typing import Any

from bench.machine import RESULTS

QUICK, INCOMPLETE = "-quick.json", "-incomplete.json"


def from_pytest_benchmark(path: Path) -> dict[str, Any]:
    """The figures in a JSON file of pytest-benchmark."""
    raw = json.loads(path.read_text())
    return {
        "machine": raw["machine_info"],
        "benchmarks": {benchmark["name"]: benchmark["extra_info"] for benchmark in raw["benchmarks"]},
    }


def store(results: dict[str, Any], path: Path) -> None:
    """Write a file that a person can read, and that differs from line to line where figures do."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    # lists of numbers on one line
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def load(path: Path) -> dict[str, Any]:
    """The figures in a file that `store` wrote."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stored() -> list[Path]:
    """The files of all machines; those of quick and of incomplete runs are for the eye only."""
    return sorted(path for path in RESULTS.glob("*.json") if not path.name.endswith((QUICK, INCOMPLETE)))
