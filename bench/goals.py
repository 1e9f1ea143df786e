"""What must be reached, as data: `report` shows every goal beside what was measured."""

from dataclasses import dataclass
from typing import Any

from bench import startup
from bench.throughput import OUT, TENSOR
from bench.workloads import ONE, ONE_HOT, PEAKS, RANDOM, TEN


@dataclass(frozen=True)
class Fraction:
    """At least this fraction of the ceiling, with ``out=``, on each of these workloads."""

    at_least: float
    operation: str
    labels: tuple[str, ...]
    dtypes: tuple[str, ...]
    content: str = ONE_HOT

    def applies(self, row: dict[str, Any]) -> bool:
        return (
            row["operation"] == self.operation
            and row["workload"] in self.labels
            and row["dtype"] in self.dtypes
            and row["content"] == self.content
        )


@dataclass(frozen=True)
class Limit:
    """A time, or a ratio of times, that is at most this."""

    at_most: float
    unit: str
    title: str
    benchmark: str  # "latency" or "startup"
    call: str
    minus: str | None = None  # the call whose time is subtracted
    over: str | None = None  # the call by whose time it is divided

    def measured(self, times: dict[str, Any]) -> float | None:
        """The figure, in `unit`, or None if it was not measured."""
        if any(name is not None and name not in times for name in (self.call, self.minus, self.over)):
            return None
        figure = times[self.call]["median"]
        if self.minus is not None:
            figure -= times[self.minus]["median"]
        if self.over is not None:
            figure /= times[self.over]["median"]
        return float(figure * {"µs": 1e6, "s": 1, "×": 1}[self.unit])


_BATCHES = ("N5", "N1")

FRACTIONS = (
    Fraction(0.95, "decode.onehot", _BATCHES, ("float32",)),
    Fraction(0.9, "decode.onehot", _BATCHES, ("uint8", "bool")),
    Fraction(0.85, "decode.onehot", _BATCHES, ("float32",), RANDOM),
    Fraction(0.95, "decode.argmax", ("D2", "D4", "D6"), ("float32",), RANDOM),
    Fraction(0.85, "decode.argmax", ("D1",), ("float32", "float16", "uint8"), RANDOM),
    Fraction(0.9, "decode.argmax", ("D2", "D4"), ("float16", "uint8"), RANDOM),
    Fraction(0.9, "decode.center_of_mass", ("D2", "D4", "D6"), ("float32",), RANDOM),
    Fraction(0.8, "decode.center_of_mass", ("D2", "D4"), ("uint8",), RANDOM),
    Fraction(0.75, "decode.center_of_mass", ("D1",), ("float32",), RANDOM),
    Fraction(0.5, "decode.center_of_mass", ("D1",), ("uint8",), RANDOM),
    Fraction(0.75, "decode.soft_argmax", ("D2", "D4"), ("float32",), RANDOM),
    Fraction(0.55, "decode.soft_argmax", ("D1",), ("float32",), RANDOM),
    *(
        Fraction(fraction, f"decode.argmax {refine}", labels, ("float32",), PEAKS)
        for refine, in_memory, in_cache in (
            ("quarter", 0.95, 0.75),
            ("quadratic", 0.95, 0.75),
            ("dark", 0.9, 0.65),
            ("gaussian", 0.9, 0.65),
        )
        for labels, fraction in ((("D2", "D4"), in_memory), (("D1",), in_cache))
    ),
    *(
        Fraction(fraction, "decode.peaks", labels, ("float32",), content)
        for content, in_memory, in_cache in ((ONE, 0.9, 0.6), (TEN, 0.55, 0.3), (RANDOM, 0.3, 0.2))
        for labels, fraction in ((("D2", "D4"), in_memory), (("D1",), in_cache))
    ),
    Fraction(0.9, "encode.onehot", _BATCHES, ("float32", "uint8", "bool")),
    Fraction(0.9, "encode.box", _BATCHES, ("float32", "uint8", "bool")),
    Fraction(0.9, "encode.gaussian", ("D2", "D4"), ("float32",)),
    Fraction(0.6, "encode.gaussian", ("D1",), ("float32",)),
    Fraction(0.9, "encode.gaussian windowed", ("D1", "D2", "D4"), ("float32",)),
    Fraction(0.9, "encode.splat", ("D1", "D2", "D4"), ("float32",)),
)

LIMITS = (
    *(
        Limit(
            most,
            "µs",
            f"`{operation}`, one 64×64 image{kind}{', `out=`' if given else ''}",
            "latency",
            f"{operation}{kind}{given}",
        )
        for kind, most in (("", 10), (f", {TENSOR}", 25))
        for operation in startup.FIRST_RESULTS
        for given in ("", f", {OUT}")
    ),
    Limit(1.3, "×", "`import fastcoord`, against `import numba`", "startup", startup.FASTCOORD, over=startup.NUMBA),
    *(
        Limit(
            0.6,
            "s",
            f"import and first result of `{operation}` ({size} kernel), warm cache, beyond `import numba`",
            "startup",
            startup.first_result(operation, size, startup.WARM),
            minus=startup.NUMBA,
        )
        for operation in startup.FIRST_RESULTS
        for size in startup.SIZES
    ),
    *(
        Limit(
            4,
            "s",
            f"import and first result of `{operation}` ({size} kernel), cold cache",
            "startup",
            startup.first_result(operation, size, startup.COLD),
        )
        for operation in startup.FIRST_RESULTS
        for size in startup.SIZES
    ),
)


def fraction(row: dict[str, Any]) -> float | None:
    """The fraction of the ceiling that a throughput benchmark must reach, if any."""
    return next((goal.at_least for goal in FRACTIONS if goal.applies(row)), None)
