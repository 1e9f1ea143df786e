"""Where and how figures were measured: what a stored result says about itself."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


def machine(command: str, load: Sequence[float]) -> dict[str, Any]:
    """The machine, the versions, the date, the command and the revision of the sources."""
    numba.get_num_threads()  # starts the threads: only then is their layer known
    return {
        "name": name(cpu_model(), llvmlite.binding.get_host_cpu_name()),
        "cpu": cpu_model(),
        "target": llvmlite.binding.get_host_cpu_name(),
        "cores": os.cpu_count(),
        "threads": numba.get_num_threads(),
        "threading_layer": numba.threading_layer(),
        "load": round(load[0], 2),  # programs that ran in the minute before: figures of a busy machine are worth little
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            package: _version(package)
            for package in ("fastcoord", "numpy", "numba", "llvmlite", "torch", "scipy", "pytest-benchmark")
        },
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": command,
        "revision": revision(),
    }


def name(model: str, target: str) -> str:
    """A file name for a CPU: ``amd-epyc-zen5``, ``intel-xeon-platinum-8370c-icelake-server``."""
    words = re.sub(r"\((r|tm)\)|\bcpu\b|processor|@.*", " ", f"{model.lower()}")
    target = re.sub(r"^znver", "zen", target.lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {target}").strip("-")


def cpu_model() -> str:
    """What the CPU calls itself."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def revision() -> str | None:
    """The commit of the sources, with ``-dirty`` where they differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package == "fastcoord":  # not installed, but on the path
            import fastcoord

            return fastcoord.__version__
        return None
