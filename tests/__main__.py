"""``python -m tests``: everything that must pass, in order, up to the first failure. This is the whole of CI."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTEST = ("pytest", "-q", "-n", "2", "--dist", "loadfile")  # two processes, each with files of its own
STAGES: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("ruff check", ("ruff", "check"), {}),
    ("ruff format", ("ruff", "format", "--check"), {}),
    ("mypy", ("mypy",), {}),
    ("tests, compiled", PYTEST, {}),
    ("tests, uncompiled", (*PYTEST, "-m", "small"), {"NUMBA_DISABLE_JIT": "1"}),
    (
        "tests, CUDA simulator",
        (*PYTEST, "-m", "simulator"),
        {"NUMBA_DISABLE_JIT": "1", "NUMBA_ENABLE_CUDASIM": "1"},
    ),
)


def main() -> int:
    """Run the stages; 1 if one fails."""
    modes = {name for _title, _command, settings in STAGES for name in settings}
    environment = {name: value for name, value in os.environ.items() if name not in modes}
    times = []
    for title, command, settings in STAGES:
        words = " ".join([*(f"{name}={value}" for name, value in settings.items()), "python -m", *command])
        print(f"→ {title}: {words}", flush=True)
        start = time.perf_counter()
        code = subprocess.call([sys.executable, "-m", *command], cwd=ROOT, env=environment | settings)
        times.append(f"{time.perf_counter() - start:7.1f} s  {title}")
        if code:
            print("\n".join(times))
            print(f"FAILED: {title}. To run it alone: {words}", file=sys.stderr)
            return 1
    print("\n".join(times))
    print("All passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
