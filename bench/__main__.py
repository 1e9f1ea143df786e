"""``python -m bench``: run all benchmarks and store their figures in bench/results/<machine>.json."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import results
from bench.machine import RESULTS, ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run the benchmarks and store their figures for python -m bench.report.",
        epilog="Other options go to pytest (-k decode, --collect-only); such runs are stored only where --output says.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer workloads and rounds: two minutes, once all kernels are compiled"
    )
    parser.add_argument("--output", type=Path, help="the file for the figures (default: bench/results/<machine>.json)")
    given, for_pytest = parser.parse_known_args()
    command = " ".join(["python -m bench", *sys.argv[1:]])
    load = os.getloadavg()[0]
    if load > 0.5:
        # parallel loops wait at their end for whichever thread another program keeps from running: 8 ms and more
        print(f"other programs were running in the last minute (load {load:.1f}): expect figures that mean nothing")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.json")
        code = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "bench", "--benchmark-only"),
                *("--benchmark-columns=median,iqr,rounds", "--benchmark-sort=name", "--benchmark-group-by=func"),
                *([] if "--collect-only" in for_pytest else [f"--benchmark-json={raw}"]),
                f"--bench-command={command}",
                *(["--quick"] if given.quick else []),
                *for_pytest,
            ],
            cwd=ROOT,
            check=False,
        ).returncode
        if not raw.exists() or not raw.stat().st_size:
            return code
        found = results.from_pytest_benchmark(raw)
    if code:  # ten minutes of figures are not thrown away, but no table takes them
        path = RESULTS / f"{found['machine']['name']}{results.INCOMPLETE}"
        results.store(found, path)
        print(f"a benchmark failed; what the others found is in {path}")
        return code
    path = given.output or RESULTS / f"{found['machine']['name']}{'-quick' if given.quick else ''}.json"
    if for_pytest and given.output is None:
        print(f"not stored: these may be some figures of many; --output {path} stores them")
        return 0
    results.store(found, path)
    print(f"stored in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
