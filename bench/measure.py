"""How a time is taken: every call against the others, in one run.

A machine's speed wanders by more than the differences of interest: other programs, clock rates, page placement. So all
calls that are to be compared run in rounds. In a round each runs once, timed, in an order that rotates from round to
round. What is reported is the median over the rounds and, for the spread, the quartiles.

Each timed call follows an untimed one of the same call. Without it a call's time would depend on its predecessor: a
writer that goes past the caches leaves the next one an array that is not in them, and the idle threads of a library
(OpenMP's, in PyTorch) spin for a while before they free their core.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Call = Callable[[], Any]


def seconds_of(call: Call) -> float:
    """Seconds of one call after an untimed one; freeing the result is not part of it."""
    call()
    start = time.perf_counter()
    result = call()
    end = time.perf_counter()
    del result
    return end - start


class Interleaved:
    """Calls that are measured in rounds; `seconds` has a time of each call for each round."""

    def __init__(self, calls: Mapping[str, Call], clock: Callable[[Call], float] = seconds_of) -> None:
        self.calls = dict(calls)
        self.clock = clock
        self.seconds: dict[str, list[float]] = {name: [] for name in self.calls}
        self._rounds = 0

    def round(self) -> None:
        """Run and time each call once."""
        names = list(self.calls)
        start = self._rounds % len(names) if names else 0
        for name in names[start:] + names[:start]:
            self.seconds[name].append(self.clock(self.calls[name]))
        self._rounds += 1

    def trial(self) -> float:
        """Seconds of a round that is not counted: it compiles, and maps the pages of every array."""
        for call in self.calls.values():
            call()
        if self.clock is not seconds_of:
            return 0.0
        start = time.perf_counter()
        for call in self.calls.values():
            self.clock(call)
        return time.perf_counter() - start


def rounds_for(budget: float, seconds_a_round: float, least: int, most: int = 101) -> int:
    """How many rounds fit into `budget` seconds, within limits."""
    return max(least, min(most, int(budget / max(seconds_a_round, 1e-9))))


def measured(
    calls: Mapping[str, Call], *, budget: float, least: int, clock: Callable[[Call], float] = seconds_of
) -> dict[str, list[float]]:
    """Seconds of each call in each round."""
    race = Interleaved(calls, clock)
    for _ in range(rounds_for(budget, race.trial(), least)):
        race.round()
    return race.seconds


def measured_by(
    benchmark: Any, calls: Mapping[str, Call], operation: str, *, budget: float, least: int
) -> dict[str, list[float]]:
    """As `measured`, but pytest-benchmark runs the rounds and times `operation` itself.

    Its ``pedantic`` mode runs a set-up, which it does not time, before each round of what it does: all the other calls
    are timed there. What pytest-benchmark prints and stores of the operation is thus from the same rounds.
    """
    others = Interleaved({name: call for name, call in calls.items() if name != operation})
    call = calls[operation]
    whole_round = others.trial() + Interleaved({operation: call}).trial()

    def other_calls() -> None:
        others.round()
        call()  # untimed, as in `seconds_of`

    benchmark.pedantic(call, setup=other_calls, rounds=rounds_for(budget, whole_round, least))
    return {operation: list(benchmark.stats.stats.data), **others.seconds}


def summary(seconds: list[float], scale: float = 1.0) -> dict[str, Any]:
    """Median, quartiles, least and number of `seconds`, and the raw times; all times `scale`."""
    taken = [t * scale for t in seconds]
    q1, median, q3 = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
    times = {"median": median, "q1": q1, "q3": q3, "least": min(taken)}
    return {
        **{name: rounded(t) for name, t in times.items()},
        "rounds": len(taken),
        "seconds": [rounded(t) for t in taken],
    }


def rounded(number: float) -> float:
    """Five digits: more than a clock tells, and a file that can be read."""
    return float(f"{number:.5g}")
