"""`python -m fastcoord`."""

import sys

from fastcoord.cli import main

if __name__ == "__main__":  # not in the processes that multiprocessing spawns
    sys.exit(main())
