"""What `bench.report` shows of a GPU's figures. It needs no PyTorch."""

from collections.abc import Iterable, Sequence
from typing import Any

MISSED = "missed"
SHORT = {"D1": 12e-6}  # seconds of the GPU, at most, for the decoders
LARGE = {"eight D2", "many", "one"}  # what the goals for a fraction of the bandwidth are about


def caption(machine: dict[str, Any]) -> str:
    """One line that says where and how the figures were measured."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    return (
        f"{machine['gpu']}, driver {machine['driver']}, CUDA {machine['cuda']}, {machine['date']}, "
        f"`{machine['command']}`, revision {machine['revision']}; Python {machine['python']}, {versions}."
    )


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[Sequence[str], list[list[str]]]]:
    """The head and the body of each table that the figures suffice for, by name."""
    made = {
        "gpu": _operations([row for row in rows if row["kind"] == "gpu"]),
        "gpu-bandwidth": _bandwidths([row for row in rows if row["kind"] == "gpu ceiling"]),
        "gpu-latency": _latencies([row for row in rows if row["kind"] == "gpu host"]),
    }
    return {name: table for name, table in made.items() if table[1]}


def _operations(rows: Iterable[dict[str, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    head = ["operation", "maps, pixels", "µs", "GB/s", "of the bandwidth", "goal", "others take"]
    body = []
    for row in rows:
        times = row["graph"] or row["called"]
        fraction, goal = row["fraction"], row["goal"]
        limit = SHORT.get(row["label"]) if row["operation"].startswith("decode") else None
        if limit is not None:
            goal_shown = _verdict(times["median"] <= limit, f"≤ {1e6 * limit:.0f} µs")
        else:
            has_goal = goal is not None and fraction is not None and row["label"] in LARGE
            goal_shown = _verdict(fraction >= goal, f"≥ {goal:.2f}") if has_goal else ""
        body.append(
            [
                f"`{row['operation']}`",
                "×".join(map(str, row["shape"])) + f", {row['dtype']}",
                f"{1e6 * times['median']:.1f}",
                f"{row['gigabytes_per_second']:.0f}",
                "" if fraction is None else f"{fraction:.2f} ({row['bandwidth']})",
                goal_shown,
                ", ".join(f"{name} {each['median'] / _like(row, name):.1f}×" for name, each in row["peers"].items()),
            ]
        )
    return head, body


def _like(row: dict[str, Any], peer: str) -> float:
    """Our time that a peer's is compared with: of a graph where the peer was in one."""
    times = row["graph"] if "graph" in peer else row["called"]
    return float((times or row["graph"] or row["called"])["median"])


def _bandwidths(rows: Iterable[dict[str, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    body = [[row["title"], row["best"], f"{row['bytes']}", f"{row['gigabytes_per_second']:.0f}"] for row in rows]
    return ["bandwidth", "best", "bytes", "GB/s"], body


def _latencies(rows: Iterable[dict[str, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    body = []
    for row in rows:
        goal = row["goal"]
        shown = "" if goal is None else _verdict(row["median"] <= goal, f"≤ {1e6 * goal:.0f}")
        body.append([row["title"], f"{1e6 * row['median']:.1f}", shown])
    return ["one call, on the host", "µs", "goal"], body


def _verdict(is_met: bool, shown: str) -> str:
    return shown if is_met else f"**{shown} {MISSED}**"
