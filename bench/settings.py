"""How much is measured: everything, or a quick version."""

from typing import NamedTuple


class Settings(NamedTuple):
    quick: bool
    budget: float  # seconds of rounds a throughput benchmark
    least: int  # rounds a throughput benchmark
    calls: int  # calls in a row a round, of a latency benchmark
    imports: int  # new processes for each import
    warm_starts: int  # new processes for each first result with a warm cache
    cold_starts: int  # and with a cold one


FULL = Settings(quick=False, budget=2.0, least=11, calls=1000, imports=15, warm_starts=7, cold_starts=3)
QUICK = Settings(quick=True, budget=0.5, least=5, calls=200, imports=5, warm_starts=1, cold_starts=1)
