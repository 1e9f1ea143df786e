"""``python -m tests``: everything that must pass, in order, up to the first failure. This is the whole of CI."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Two processes: each begins with half of the tests, and who is done takes over half of what the other has left.
PYTEST = ("pytest", "-q", "-n", "2", "--dist", "worksteal")
# What stands on one line runs at the same time: a title, a command, the mode.
STAGES: tuple[tuple[tuple[str, tuple[str, ...], dict[str, str]], ...], ...] = (
    (("ruff check", ("ruff", "check"), {}), ("ruff format", ("ruff", "format", "--check"), {})),
    (("mypy", ("mypy",), {}), ("tests, uncompiled", (*PYTEST, "-m", "small"), {"NUMBA_DISABLE_JIT": "1"})),
    (("tests, compiled", PYTEST, {}),),
    (
        (
            "tests, CUDA simulator",
            (*PYTEST, "-m", "simulator"),
            {"NUMBA_DISABLE_JIT": "1", "NUMBA_ENABLE_CUDASIM": "1"},
        ),
    ),
)


def main() -> int:
    """Run the stages; 1 if one fails."""
    modes = {name for stage in STAGES for _title, _command, settings in stage for name in settings}
    environment = {name: value for name, value in os.environ.items() if name not in modes}
    times = []
    for stage in STAGES:
        start = time.perf_counter()
        running = []
        for number, (title, command, settings) in enumerate(stage, 1):
            words = " ".join([*(f"{name}={value}" for name, value in settings.items()), "python -m", *command])
            print(f"→ {title}: {words}", flush=True)
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=environment | settings,
                stdout=None if number == len(stage) else subprocess.PIPE,  # the last writes for itself
                stderr=None if number == len(stage) else subprocess.STDOUT,
                text=True,
            )
            running.append((title, words, process))
        failed = []
        for title, words, process in reversed(running):
            said, _ = process.communicate()
            if said:
                print(f"{title}: {said}", end="", flush=True)
            if process.returncode:
                failed.append((title, words))
            times.append(f"{time.perf_counter() - start:7.1f} s  {title}")
        if failed:
            print("\n".join(times))
            for title, words in failed:
                print(f"FAILED: {title}. To run it alone: {words}", file=sys.stderr)
            return 1
    print("\n".join(times))
    print("All passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
